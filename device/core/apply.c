#include "device/core/apply.h"

#include <stdlib.h>
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/aware.h"
#include "device/core/rejected.h"
#include "protocol/conflict.h"

enum { ASIDE_MEMORY = LIMIT_DECODED, ROW_MEMORY = 2 * LIMIT_DECODED };

static bool name_eq(struct slice a, struct slice b)
{
	return a.len == b.len &&
	       !sqlite3_strnicmp((const char *)a.at, (const char *)b.at, (int)a.len);
}

static int find_col(const struct shape_col *col, int n, struct slice name)
{
	for (int i = 0; i < n; i++) {
		if (name_eq(col[i].name, name))
			return i;
	}
	return -1;
}

/* False if the keys are not the same: then it is another table of the same name. */
static bool map_columns(struct work *w, const struct shape *theirs)
{
	const struct shape *ours = &w->tg.t->shape;

	if (ours->n_key != theirs->n_key)
		return false;
	for (int i = 0; i < ours->n_key; i++) {
		w->key_of[i] = find_col(theirs->key, theirs->n_key, ours->key[i].name);
		if (w->key_of[i] < 0 ||
		    theirs->key[w->key_of[i]].affinity != ours->key[i].affinity ||
		    theirs->key[w->key_of[i]].collation != ours->key[i].collation)
			return false;
	}
	for (int i = 0; i < ours->n_col; i++)
		w->col_of[i] = find_col(theirs->col, theirs->n_col, ours->col[i].name);
	return true;
}

int target_open(struct target *tg, struct devdb *d, struct tracked *t, struct applied *out,
		struct err *e)
{
	struct buf text = {.max = 128};
	int64_t any;
	int rc;

	*tg = (struct target){.d = d, .t = t, .out = out, .lost_reason = CONFLICT_OTHER_STORE};
	TRY(table_sql_prepare(d, t, &tg->sql, e));
	rc = buf_printf(&text, "SELECT EXISTS(SELECT 1 FROM \"%s\")", t->marks);
	if (!rc)
		rc = buf_terminate(&text);
	if (!rc)
		rc = db_int(d->db, (const char *)text.at, 0, &any, e);
	buf_free(&text);
	TRY(rc);
	tg->any_marks = any;
	TRY(db_int(d->db, "SELECT EXISTS(SELECT 1 FROM neap_parked)", 0, &any, e));
	tg->any_parked = any;
	return rejected_any_here(d, &tg->any_here, e);
}

static void raise_stamp(struct work *w, uint64_t stamp)
{
	if (stamp > w->stamp_max)
		w->stamp_max = stamp;
}

/* The incoming row in our columns, ascending. */
static void map_row(struct work *w, const struct row *in, uint16_t n_theirs)
{
	const struct shape *s = &w->tg.t->shape;
	uint16_t n = 0;

	memset(&w->image, 0, sizeof(w->image));
	for (int i = 0; i < s->n_key; i++)
		w->image.key[i] = in->key[w->key_of[i]];
	for (int i = 0; i < n_theirs; i++)
		w->cell_of[i] = -1;
	for (int i = 0; i < in->n_cell; i++) {
		w->cell_of[in->cell[i].col] = i;
		raise_stamp(w, in->cell[i].reg.stamp);
	}
	if (in->exist != EXIST_NONE)
		raise_stamp(w, in->exist_reg.stamp);
	memset(w->comes, 0, sizeof(w->comes));
	for (uint16_t i = 0; i < s->n_col; i++) {
		int at = w->col_of[i] < 0 ? -1 : w->cell_of[w->col_of[i]];

		if (at < 0)
			continue;
		w->cell[n] = in->cell[at];
		w->cell[n++].col = i;
		w->comes[i] = true;
	}
	w->row = *in;
	w->row.key = w->image.key;
	w->row.cell = w->cell;
	w->row.n_cell = n;
	w->image.exist = in->exist;
	w->image.exist_reg = in->exist_reg;
}

static int find_row(struct work *w, bool *found, struct err *e)
{
	struct target *tg = &w->tg;

	TRY(sql_bind_key(tg->d, tg->sql.find, 1, tg->t, w->image.key, e));
	TRY(db_step(tg->d->db, tg->sql.find, found, e));
	sqlite3_reset(tg->sql.find);
	return NE_OK;
}

static void take_mark(struct work *w, sqlite3_stmt *s)
{
	int64_t col = sqlite3_column_int64(s, 0);
	struct reg reg = {.stamp = (uint64_t)sqlite3_column_int64(s, 1),
			  .site = sqlite3_column_type(s, 3) == SQLITE_NULL
					  ? w->tg.d->site
					  : (uint64_t)sqlite3_column_int64(s, 3)};
	int64_t gen = sqlite3_column_int64(s, 2);

	if (col == MARK_EXIST || (col == MARK_CANDIDATE && !w->pending.row_exists)) {
		if (!w->pending.has_exist || reg_cmp(reg, w->pending.exist) > 0)
			w->pending.exist = reg;
		w->pending.has_exist = true;
		if (gen > w->exist_gen)
			w->exist_gen = gen;
	} else if (col >= 0 && col < w->pending.n_col) {
		w->has_mark[col] = true;
		w->mark[col] = reg;
		w->gen[col] = gen;
	}
}

int work_read_marks(struct work *w, struct err *e)
{
	sqlite3_stmt *s = w->tg.sql.marks;
	bool more = true;

	w->pending.has_exist = false;
	w->pending.n_col = w->tg.t->shape.n_col;
	w->pending.has = w->has_mark;
	w->pending.cell = w->mark;
	w->exist_gen = 0;
	memset(w->has_mark, 0, sizeof(w->has_mark));
	if (!w->tg.any_marks)
		return NE_OK;
	TRY(sql_bind_key(w->tg.d, s, 1, w->tg.t, w->image.key, e));
	while (more) {
		TRY(db_step(w->tg.d->db, s, &more, e));
		if (more)
			take_mark(w, s);
	}
	sqlite3_reset(s);
	return NE_OK;
}

static void overtook(struct work *w, int64_t gen)
{
	struct applied *out = w->tg.out;

	out->overtook = true;
	if (gen > out->overtook_gen)
		out->overtook_gen = gen;
}

static int drop_mark(struct work *w, int col, int64_t gen, struct err *e)
{
	struct target *tg = &w->tg;

	overtook(w, gen);
	TRY(sql_bind_key(tg->d, tg->sql.drop_mark, 1, tg->t, w->image.key, e));
	if (sqlite3_bind_int(tg->sql.drop_mark, tg->t->shape.n_key + 1, col))
		return db_error(tg->d->db, e, "dropping a mark");
	return db_run(tg->d->db, tg->sql.drop_mark, e);
}

/* A value of an insert that is overtaken: pending as a write of the cell from now on. */
static int keep_value(struct work *w, int col, struct err *e)
{
	bool marked = w->has_mark[col] && reg_cmp(w->mark[col], w->pending.exist) > 0;
	struct reg reg = marked ? w->mark[col] : w->pending.exist;
	int64_t gen = marked && w->gen[col] > w->exist_gen ? w->gen[col] : w->exist_gen;
	sqlite3_stmt *s = w->tg.sql.put_mark;
	int at = w->tg.t->shape.n_key;

	TRY(sql_bind_key(w->tg.d, s, 1, w->tg.t, w->image.key, e));
	if (sqlite3_bind_int(s, at + 1, col) || sqlite3_bind_int64(s, at + 2, (int64_t)reg.stamp) ||
	    sqlite3_bind_int64(s, at + 3, gen) ||
	    (reg.site == w->tg.d->site ? sqlite3_bind_null(s, at + 4)
				       : sqlite3_bind_int64(s, at + 4, (int64_t)reg.site)))
		return db_error(w->tg.d->db, e, "marking a cell");
	return db_run(w->tg.d->db, s, e);
}

static int drop_marks(struct work *w, struct err *e)
{
	if (w->plan.drop_exist_mark) {
		TRY(drop_mark(w, MARK_EXIST, w->exist_gen, e));
		TRY(drop_mark(w, MARK_CANDIDATE, w->exist_gen, e));
	}
	for (int i = 0; i < w->pending.n_col; i++) {
		if (w->plan.drop_mark[i])
			TRY(drop_mark(w, i, w->gen[i], e));
		else if (w->plan.keep[i])
			TRY(keep_value(w, i, e));
	}
	return NE_OK;
}

/* J1 broken, so that a test can see it noticed. False: leave the row alone. */
static bool unjoin(struct work *w)
{
	const struct engine_break *b = &w->tg.d->broken;

	if (b->upsert && w->row.exist == EXIST_NONE && !w->pending.row_exists && w->row.n_cell) {
		w->plan.action = APPLY_INSERT;
		memset(w->write, true, w->row.n_cell);
	}
	for (int i = 0; b->cells_beat_delete && w->row.exist == EXIST_DEAD && i < w->pending.n_col;
	     i++) {
		if (w->has_mark[i] && reg_cmp(w->mark[i], w->row.exist_reg) > 0)
			return false;
	}
	return true;
}

/* The parked image stands in for the row: later changes go to it. */
static int look_parked(struct work *w, struct err *e)
{
	struct image probe;

	w->parked = false;
	if (!w->tg.any_parked)
		return NE_OK;
	/* The app wrote the row since: what is parked must not come back when that one goes. */
	if (w->pending.row_exists)
		return unpark(&w->tg, &w->image, e);
	probe = w->image;
	TRY(parked_read(&w->tg, &probe, &w->row_arena, &w->parked, e));
	w->pending.row_exists = w->parked;
	return NE_OK;
}

static bool stands_before(const struct work *w, bool pending, struct reg mark, struct reg in)
{
	return pending && reg_cmp(mark, in) > 0 && in.site != w->tg.d->site;
}

/* A pending write that the incoming row does not overtake was made without knowing of it (J7). */
static void note_passed_over(struct work *w)
{
	const struct pending *p = &w->pending;
	bool any = w->row.exist != EXIST_NONE &&
		   stands_before(w, p->has_exist, p->exist, w->row.exist_reg);

	for (int i = 0; w->plan.action != APPLY_DELETE && !any && i < w->row.n_cell; i++) {
		const struct cell *c = &w->cell[i];

		any = !w->write[i] && (stands_before(w, p->has[c->col], p->cell[c->col], c->reg) ||
				       stands_before(w, p->has_exist, p->exist, c->reg));
	}
	w->tg.out->passed_over |= any;
}

/*
 * A pending insert carries every column (J1): one that has no mark of its own, and is overwritten
 * here by a later write, is overtaken as well, so that the cut's seq does not stand for what is
 * here (P5).
 */
static void note_overtaken_insert(struct work *w)
{
	for (int i = 0; w->pending.has_exist && w->plan.action != APPLY_DELETE && i < w->row.n_cell;
	     i++)
		if (w->write[i] && !w->has_mark[w->cell[i].col])
			overtook(w, w->exist_gen);
}

/* What of the row is taken, by its marks as they were read. */
static int plan(struct work *w, struct err *e)
{
	default_keep_renamed(w);
	w->plan = (struct apply_plan){.write = w->write, .drop_mark = w->drop, .keep = w->keep};
	merge_device(&w->pending, &w->row, &w->plan);
	return default_no_values(w, e);
}

static int apply_row(struct work *w, const struct row *in, uint16_t n_theirs, struct err *e)
{
	bool again, here = false;

	map_row(w, in, n_theirs);
	TRY(find_row(w, &w->pending.row_exists, e));
	TRY(work_read_marks(w, e));
	TRY(look_parked(w, e));
	/* In a full pull it comes as it was before it was too large: no news. */
	if (w->tg.any_here && w->tg.note_seen && w->pending.row_exists)
		TRY(rejected_here(w->tg.d, w->tg.t, w->image.key, &here, e));
	if (here)
		return seen_note(&w->tg, &w->image, e);
	if (w->tg.compare_up && !w->parked) {
		TRY(default_no_values(w, e));
		return compare_up(w, e);
	}
	if (w->tg.compare && !w->parked) {
		TRY(default_no_values(w, e));
		return compare_row(w, e);
	}
	if (w->tg.compare_own && !w->parked)
		TRY(compare_own(w, e));
	TRY(plan(w, e));
	if (!unjoin(w))
		return NE_OK;
	note_passed_over(w);
	note_overtaken_insert(w);
	TRY(keep_refused(w, &again, e));
	if (again) {
		TRY(work_read_marks(w, e));
		TRY(plan(w, e));
	}
	TRY(default_unnamed(w, e));
	TRY(note_losses(w, e));
	TRY(drop_marks(w, e));
	if (w->plan.action == APPLY_DELETE)
		TRY(work_delete(w, e));
	else if (w->plan.action == APPLY_INSERT || w->pending.row_exists)
		TRY(work_write(w, e));
	return w->tg.note_seen ? seen_note(&w->tg, &w->image, e) : NE_OK;
}

static int apply_all(struct work *w, const struct table_rows *rows, struct err *e)
{
	for (size_t i = 0; i < rows->n_row; i++) {
		int rc = apply_row(w, &rows->row[i], rows->shape->n_col, e);

		arena_free(&w->row_arena);
		TRY(rc);
	}
	return work_write_aside(w, e);
}

enum applying { APPLYING_EFFECT, APPLYING_FULL, APPLYING_REPAIR };

static int apply_table(struct devdb *d, const struct table_rows *rows, enum applying what,
		       uint64_t *stamp_max, struct applied *out, struct err *e)
{
	bool full = what == APPLYING_FULL;
	struct tracked *t = devdb_table_by_name(d, rows->shape->name);
	struct work *w;
	int64_t mode = 0;
	int rc;

	if (!t || t->shape.kind != SHAPE_MERGE || rows->shape->kind != SHAPE_MERGE)
		return NE_OK;
	/* One that only goes up is looked at while its own pull compares it. */
	if (t->shape.direction == DIR_UP && (!t->comparing || t->id != d->seen_table))
		return NE_OK;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_set(e, NE_MEMORY, "no memory to apply changes");
	w->arena.max = ASIDE_MEMORY;
	w->row_arena.max = ROW_MEMORY;
	rc = target_open(&w->tg, d, t, out, e);
	/* The table is gone or another one: when it is back in order it is pulled again (J5). */
	if (rc == NE_INTERNAL && !t->capture_ok) {
		free(w);
		return NE_OK;
	}
	if (!rc && full)
		rc = devdb_get(d, "full", &mode, e);
	if (!rc) {
		w->tg.note_seen = full || t->id == d->seen_table;
		w->tg.save_lost = mode == 2 || t->comparing || what == APPLYING_REPAIR;
		if (what == APPLYING_REPAIR)
			w->tg.lost_reason = CONFLICT_REPAIRED;
		w->tg.compare = t->comparing && d->page_upto && t->known >= (int64_t)d->page_upto;
		w->tg.compare_up = t->shape.direction == DIR_UP;
		w->tg.compare_own = t->comparing && t->known > 0 && !w->tg.compare;
		if (map_columns(w, rows->shape))
			rc = apply_all(w, rows, e);
	}
	if (w->stamp_max > *stamp_max)
		*stamp_max = w->stamp_max;
	arena_free(&w->arena);
	arena_free(&w->row_arena);
	free(w);
	return rc;
}

static int apply(struct devdb *d, const struct rows *rows, enum applying what, struct applied *out,
		 struct err *e)
{
	uint64_t stamp_max = 0;

	*out = (struct applied){0};
	for (size_t i = 0; i < rows->n_table; i++)
		TRY(apply_table(d, &rows->table[i], what, &stamp_max, out, e));
	if (out->passed_over)
		TRY(aware_passed_over(d, what == APPLYING_FULL, e));
	return stamp_max ? devdb_raise_floor(d, stamp_max, e) : NE_OK;
}

int apply_rows(struct devdb *d, const struct rows *rows, bool full, struct applied *out,
	       struct err *e)
{
	return apply(d, rows, full ? APPLYING_FULL : APPLYING_EFFECT, out, e);
}

int apply_repair(struct devdb *d, const struct rows *rows, struct applied *out, struct err *e)
{
	return apply(d, rows, APPLYING_REPAIR, out, e);
}
