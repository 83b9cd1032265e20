/*
 * A table whose capture was lost for a while (create, copy, drop, rename) against what the server
 * had when it was lost: what differs was written here unseen, and is pending from now on (J5).
 */
#include "device/core/apply_internal.h"
#include "device/core/capture.h"

enum { SQL_MAX = 16 * 1024 };

static int put_mark(const struct tracked *t, const char *stamp_sql, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO main.\"%s\" VALUES(", t->marks));
	for (int i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "?%d, ", i + 2));
	return buf_printf(out, "?1, %s, (SELECT gen FROM neap_clock), NULL) ON CONFLICT DO NOTHING",
			  stamp_sql);
}

static int mark_at(struct target *tg, const struct val *key, int col, const char *stamp_sql,
		   struct err *e)
{
	struct buf sql = {.max = SQL_MAX};
	sqlite3_stmt *s = NULL;
	int rc = put_mark(tg->t, stamp_sql, &sql);

	rc = rc ? rc : buf_terminate(&sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_prepare(tg->d->db, (const char *)sql.at, &s, e);
	buf_free(&sql);
	TRY(rc);
	if (sqlite3_bind_int(s, 1, col))
		return db_error(tg->d->db, e, "marking a row");
	TRY(sql_bind_key(tg->d, s, 2, tg->t, key, e));
	TRY(db_run(tg->d->db, s, e));
	sqlite3_clear_bindings(s);
	return NE_OK;
}

static int mark(struct target *tg, const struct val *key, int col, struct err *e)
{
	return mark_at(tg, key, col, capture_clock_sql, e);
}

/*
 * A column that the row's shape has and the row does not name was never written at the server: a
 * value here is news.
 */
static int is_news(struct work *w, uint16_t col, const struct val *own, bool *yes, struct err *e)
{
	struct val none;

	*yes = !w->comes[col] && !w->has_mark[col];
	if (!*yes)
		return NE_OK;
	TRY(default_value(w, col, &none, e));
	*yes = !val_eq(own, &none);
	return NE_OK;
}

static int compare_cells(struct work *w, struct err *e)
{
	const struct shape *s = &w->tg.t->shape;
	struct image own = {0};
	const struct val *theirs[LIMIT_COLUMNS] = {0};
	bool found;

	for (int i = 0; i < s->n_key; i++)
		own.key[i] = w->image.key[i];
	TRY(sql_read(&w->tg, &own, &w->row_arena, &found, e));
	for (int i = 0; i < w->row.n_cell; i++)
		theirs[w->cell[i].col] = &w->cell[i].val;
	for (uint16_t i = 0; found && i < s->n_col; i++) {
		bool news;

		TRY(is_news(w, i, &own.val[i], &news, e));
		if (news || (theirs[i] && !w->has_mark[i] && !val_eq(theirs[i], &own.val[i])))
			TRY(mark(&w->tg, w->image.key, i, e));
	}
	return NE_OK;
}

/* The app spelled the key anew: a write of the row's existence, which brings every column. */
static int compare_spelling(struct work *w, bool *differs, struct err *e)
{
	TRY(key_spelling(w, differs, e));
	return *differs ? mark(&w->tg, w->image.key, MARK_EXIST, e) : NE_OK;
}

int compare_row(struct work *w, struct err *e)
{
	bool spelled;

	/* A row here that the server deleted is found as one that it does not have. */
	if (w->row.exist != EXIST_ALIVE)
		return NE_OK;
	if (!w->pending.row_exists)
		return w->pending.has_exist ? NE_OK : mark(&w->tg, w->image.key, MARK_EXIST, e);
	if (!w->pending.has_exist)
		TRY(compare_spelling(w, &spelled, e));
	if (!w->pending.has_exist && !spelled)
		TRY(compare_cells(w, e));
	return seen_note(&w->tg, &w->image, e);
}

static int own_cells(struct work *w, bool *any, struct err *e)
{
	const struct shape *s = &w->tg.t->shape;
	struct image own = {0};
	bool found;

	for (int i = 0; i < s->n_key; i++)
		own.key[i] = w->image.key[i];
	TRY(sql_read(&w->tg, &own, &w->row_arena, &found, e));
	for (int i = 0; found && i < w->row.n_cell; i++) {
		const struct cell *c = &w->cell[i];

		if (c->reg.site != w->tg.d->site || w->has_mark[c->col] ||
		    val_eq(&c->val, &own.val[c->col]))
			continue;
		TRY(mark(&w->tg, w->image.key, c->col, e));
		*any = true;
	}
	for (uint16_t i = 0; found && i < s->n_col; i++) {
		bool news;

		TRY(is_news(w, i, &own.val[i], &news, e));
		if (!news)
			continue;
		TRY(mark(&w->tg, w->image.key, i, e));
		*any = true;
	}
	return NE_OK;
}

int compare_own(struct work *w, struct err *e)
{
	bool any = false;

	if (w->row.exist != EXIST_ALIVE || w->pending.has_exist)
		return NE_OK;
	if (w->pending.row_exists && w->row.exist_reg.site == w->tg.d->site)
		TRY(compare_spelling(w, &any, e));
	if (w->pending.row_exists) {
		TRY(own_cells(w, &any, e));
	} else if (w->row.exist_reg.site == w->tg.d->site) {
		TRY(mark(&w->tg, w->image.key, MARK_EXIST, e));
		any = true;
	}
	w->tg.any_marks |= any;
	return any ? work_read_marks(w, e) : NE_OK;
}

int compare_up(struct work *w, struct err *e)
{
	/* A row of others with this key is theirs to delete. */
	bool own = w->row.exist_reg.site == w->tg.d->site;

	if (w->row.exist != EXIST_ALIVE)
		return NE_OK;
	if (!w->pending.row_exists)
		return w->pending.has_exist || !own ? NE_OK
						    : mark(&w->tg, w->image.key, MARK_EXIST, e);
	if (!w->pending.has_exist)
		TRY(compare_cells(w, e));
	return seen_note(&w->tg, &w->image, e);
}

int compare_unseen(struct target *tg, const struct val *key, struct err *e)
{
	return mark(tg, key, MARK_EXIST, e);
}

int compare_unknown(struct target *tg, const struct val *key, struct err *e)
{
	return mark_at(tg, key, MARK_EXIST, "0", e);
}
