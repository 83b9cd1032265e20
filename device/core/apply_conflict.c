/* What of a row's pending writes is about to lose to an incoming one (J7). */
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/conflict.h"
#include "protocol/conflict.h"

static int add(struct target *tg, const struct conflict *c, struct err *e)
{
	bool added = false;

	/* It is among the rejected rows. */
	if (tg->refused && c->won.site == SITE_REFUSED)
		return NE_OK;
	TRY(conflict_add(tg->d, c, &added, e));
	tg->out->conflicts += added;
	return NE_OK;
}

/* The incoming cell that will be written to our column; NULL if none will. */
static const struct cell *written_cell(const struct work *w, uint16_t col)
{
	for (uint16_t i = 0; i < w->row.n_cell; i++)
		if (w->cell[i].col == col)
			return w->plan.write[i] ? &w->cell[i] : NULL;
	return NULL;
}

/* The row goes: what was pending of it goes with it. */
static int cell_deleted(struct work *w, const struct val *old, uint16_t col, struct reg reg,
			struct err *e)
{
	const struct conflict c = {
		.t = w->tg.t,
		.key = w->image.key,
		.column = w->tg.t->shape.col[col].name,
		.value = *old,
		.reg = reg,
		.won = w->row.exist_reg,
		.reason = CONFLICT_DELETED,
	};

	return old->type == VAL_NULL ? NE_OK : add(&w->tg, &c, e);
}

static struct reg later(struct reg a, struct reg b)
{
	return reg_cmp(a, b) >= 0 ? a : b;
}

static int cell_overwritten(struct work *w, const struct val *old, uint16_t col, struct reg reg,
			    const struct cell *in, struct err *e)
{
	const struct conflict c = {
		.t = w->tg.t,
		.key = w->image.key,
		.column = w->tg.t->shape.col[col].name,
		.value = *old,
		.incoming = in->val,
		.reg = reg,
		.won = w->plan.action == APPLY_INSERT ? later(in->reg, w->row.exist_reg) : in->reg,
		.row_there = true,
		.reason = CONFLICT_LATER,
	};

	if (reg_cmp(c.won, reg) <= 0 || val_eq(&in->val, old))
		return NE_OK;
	return add(&w->tg, &c, e);
}

/* A pending write of a cell has its own mark, or is part of a later pending insert. */
static int note_cell(struct work *w, const struct val *old, uint16_t col, struct err *e)
{
	struct reg reg = w->has_mark[col] ? w->mark[col] : w->pending.exist;
	const struct cell *in = written_cell(w, col);

	if (!w->has_mark[col] && !w->pending.has_exist)
		return NE_OK;
	if (w->pending.has_exist)
		reg = later(reg, w->pending.exist);
	if (w->plan.action == APPLY_DELETE)
		return cell_deleted(w, old, col, reg, e);
	return in ? cell_overwritten(w, old, col, reg, in, e) : NE_OK;
}

/* A pending insert of a row that is deleted, a pending delete of one that is there. */
static int note_existence(struct work *w, struct err *e)
{
	bool deletes = w->plan.action == APPLY_DELETE;
	const struct conflict c = {
		.t = w->tg.t,
		.key = w->image.key,
		.reg = w->pending.exist,
		.won = w->row.exist_reg,
		.reason = deletes ? CONFLICT_DELETED : CONFLICT_INSERTED,
	};

	if (!w->plan.drop_exist_mark || w->pending.row_exists != deletes)
		return NE_OK;
	return add(&w->tg, &c, e);
}

static bool any_mark(const struct work *w)
{
	bool any = w->pending.has_exist;

	for (int i = 0; i < w->pending.n_col; i++)
		any |= w->has_mark[i];
	return any;
}

/* The row's values are looked at where SQLite has them: it may be larger than any that syncs. */
static int open_row(struct target *tg, const struct val *key, bool *found, struct err *e)
{
	TRY(sql_bind_key(tg->d, tg->sql.read, 1, tg->t, key, e));
	return db_step(tg->d->db, tg->sql.read, found, e);
}

int note_losses(struct work *w, struct err *e)
{
	bool found;
	int rc;

	if (!any_mark(w) || w->parked)
		return NE_OK;
	TRY(note_existence(w, e));
	rc = open_row(&w->tg, w->image.key, &found, e);
	for (uint16_t i = 0; !rc && found && i < w->tg.t->shape.n_col; i++) {
		struct val old = val_column(w->tg.sql.read, i);

		rc = note_cell(w, &old, i, e);
	}
	sqlite3_reset(w->tg.sql.read);
	return rc;
}

static struct reg mark_reg(const struct target *tg, sqlite3_stmt *s)
{
	bool own = sqlite3_column_type(s, 3) == SQLITE_NULL;

	return (struct reg){.stamp = (uint64_t)sqlite3_column_int64(s, 1),
			    .site = own ? tg->d->site : (uint64_t)sqlite3_column_int64(s, 3)};
}

static int note_marked(struct target *tg, const struct val *key, int64_t col, struct reg reg,
		       struct err *e)
{
	struct conflict c = {.t = tg->t, .key = key, .reg = reg, .reason = CONFLICT_GONE};

	if (col < 0 || col >= tg->t->shape.n_col)
		return NE_OK;
	c.column = tg->t->shape.col[col].name;
	c.value = val_column(tg->sql.read, (int)col);
	return c.value.type == VAL_NULL ? NE_OK : add(tg, &c, e);
}

int note_swept(struct target *tg, const struct val *key, struct err *e)
{
	sqlite3_stmt *s = tg->sql.marks;
	bool more = true, found;
	int rc = open_row(tg, key, &found, e);

	if (!rc)
		rc = sql_bind_key(tg->d, s, 1, tg->t, key, e);
	while (!rc && found && more) {
		rc = db_step(tg->d->db, s, &more, e);
		if (!rc && more)
			rc = note_marked(tg, key, sqlite3_column_int64(s, 0), mark_reg(tg, s), e);
	}
	sqlite3_reset(s);
	sqlite3_reset(tg->sql.read);
	return rc;
}
