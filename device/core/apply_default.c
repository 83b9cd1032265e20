/* What a column holds in a row that nobody wrote it in. */
#include "device/core/apply_internal.h"
#include "device/core/devdb_schema.h"

enum { SQL_MAX = 64 * 1024 };

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory for a column's default");
}

/* The text is one of the app's schema: too varied for the cache of statements. */
static int evaluate(struct devdb *d, const struct buf *sql, struct arena *a, struct val *out,
		    struct err *e)
{
	sqlite3_stmt *s = NULL;
	struct val v = {.type = VAL_NULL};
	bool copied = true;

	/* DEFAULT x, where x is no literal, stands for the text; as a query it is an error. */
	if (sqlite3_prepare_v2(db_handle(d->db), (const char *)sql->at, (int)sql->len, &s, NULL) ==
		    SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW) {
		v = val_column(s, 0);
		copied = val_copy(a, &v, out);
	} else {
		*out = v;
	}
	sqlite3_finalize(s);
	return copied ? NE_OK : no_memory(e);
}

int default_of(struct devdb *d, const struct tracked *t, uint16_t col, struct arena *a,
	       struct val *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX};
	int rc = NE_OK;

	if (buf_printf(&sql, "SELECT ("))
		rc = no_memory(e);
	if (!rc)
		rc = column_default_sql(d->db, t->shape.name, t->shape.col[col].name, &sql, e);
	if (!rc && buf_printf(&sql, ")"))
		rc = no_memory(e);
	if (!rc)
		rc = evaluate(d, &sql, a, out, e);
	buf_free(&sql);
	return rc;
}

int default_value(struct work *w, uint16_t col, struct val *out, struct err *e)
{
	if (!w->has_default[col])
		TRY(default_of(w->tg.d, w->tg.t, col, &w->arena, &w->default_val[col], e));
	w->has_default[col] = true;
	*out = w->default_val[col];
	return NE_OK;
}

int default_no_values(struct work *w, struct err *e)
{
	for (int i = 0; i < w->row.n_cell; i++)
		if (cell_no_value(&w->row, &w->cell[i]))
			TRY(default_value(w, w->cell[i].col, &w->cell[i].val, e));
	return NE_OK;
}

void default_keep_renamed(struct work *w)
{
	uint16_t n = 0;

	if (w->row.exist != EXIST_ALIVE || w->pending.has_exist)
		return;
	for (uint16_t i = 0; i < w->row.n_cell; i++) {
		uint16_t col = w->cell[i].col;
		bool none = cell_no_value(&w->row, &w->cell[i]);
		if (none && w->has_mark[col] && !w->mark[col].stamp)
			continue;
		w->cell[n++] = w->cell[i];
	}
	w->row.n_cell = n;
}

int default_unnamed(struct work *w, struct err *e)
{
	if (!w->tg.note_seen || w->tg.compare_own || w->plan.action != APPLY_INSERT ||
	    !w->pending.row_exists)
		return NE_OK;
	for (uint16_t i = 0; i < w->tg.t->shape.n_col; i++) {
		bool kept = w->has_mark[i] || w->plan.keep[i];
		/* A rebuilt table's values in a column of its own may be news that nobody saw. */
		bool unseen = w->col_of[i] < 0 && w->tg.t->comparing;

		if (w->comes[i] || kept || unseen)
			continue;
		TRY(default_value(w, i, &w->image.val[i], e));
		w->image.has[i] = true;
		w->image.reg[i] = w->row.exist_reg;
	}
	return NE_OK;
}
