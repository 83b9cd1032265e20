/*
 * Ranges are compared as row values, which an index on the key serves; a column names its collation
 * only where the key's is another than its own, for then no index does.
 */
#include "device/core/verify_sql.h"

#include <string.h>

enum { SQL_MAX = 256 * 1024, FIRST_KEY_PARAM = 2 };

static const char *const collations[] = {
	[COLL_BINARY] = "BINARY", [COLL_NOCASE] = "NOCASE", [COLL_RTRIM] = "RTRIM"};

/* One text being written. */
struct text {
	const struct verify_range *r;
	bool marks; /* on the mark table, whose key columns are k0 … */
	bool own_collation[LIMIT_KEY_COLUMNS];
	struct buf *out;
};

/* Names are of at most LIMIT_NAME bytes. */
static int column_collation(struct text *x, int i, struct err *e)
{
	const struct shape *s = &x->r->t->shape;
	char table[LIMIT_NAME + 1] = "", column[LIMIT_NAME + 1] = "";
	const char *coll = NULL;

	memcpy(table, s->name.at, s->name.len);
	memcpy(column, s->key[i].name.at, s->key[i].name.len);
	if (sqlite3_table_column_metadata(db_handle(x->r->d->db), "main", table, column, NULL,
					  &coll, NULL, NULL, NULL))
		return db_error(x->r->d->db, e, "looking at a key column");
	x->own_collation[i] = coll && sqlite3_stricmp(coll, collations[s->key[i].collation]) == 0;
	return NE_OK;
}

static int put_key(struct text *x, const char *between, struct buf *out)
{
	const struct shape *s = &x->r->t->shape;

	for (int i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? between : ""));
		if (x->marks)
			TRY(buf_printf(out, "k%d", i));
		else
			TRY(sql_put_name(out, s->key[i].name));
		if (!x->marks && !x->own_collation[i])
			TRY(buf_printf(out, " COLLATE %s", collations[s->key[i].collation]));
	}
	return NE_OK;
}

static int put_compare(struct text *x, const char *before, const char *op, int param)
{
	TRY(buf_printf(x->out, "%s(", before));
	TRY(put_key(x, ", ", x->out));
	TRY(buf_printf(x->out, ") %s (", op));
	for (int i = 0; i < x->r->t->shape.n_key; i++)
		TRY(buf_printf(x->out, "%s?%d", i ? ", " : "", param + i));
	return buf_printf(x->out, ")");
}

static int put_from(struct text *x, enum range_query q)
{
	const struct shape *s = &x->r->t->shape;

	TRY(buf_printf(x->out, q == RANGE_MARKS ? "SELECT DISTINCT " : "SELECT "));
	for (int i = 0; i < s->n_key; i++) {
		TRY(buf_printf(x->out, "%s", i ? ", " : ""));
		if (x->marks)
			TRY(buf_printf(x->out, "k%d", i));
		else
			TRY(sql_put_name(x->out, s->key[i].name));
	}
	for (int i = 0; q == RANGE_ROWS && i < s->n_col; i++) {
		TRY(buf_printf(x->out, ", "));
		TRY(sql_put_name(x->out, s->col[i].name));
	}
	TRY(buf_printf(x->out, " FROM main."));
	return sql_put_name(x->out, x->marks ? slice_str(x->r->t->marks) : s->name);
}

static int put_query(struct text *x, enum range_query q)
{
	const struct verify_range *r = x->r;
	int n = r->t->shape.n_key;

	TRY(put_from(x, q));
	if (r->from.len)
		TRY(put_compare(x, " WHERE ", ">", FIRST_KEY_PARAM));
	if (r->to.len)
		TRY(put_compare(x, r->from.len ? " AND " : " WHERE ", "<=", FIRST_KEY_PARAM + n));
	TRY(buf_printf(x->out, " ORDER BY "));
	TRY(put_key(x, ", ", x->out));
	if (q == RANGE_NTH)
		TRY(buf_printf(x->out, " LIMIT 1 OFFSET ?1"));
	if (q == RANGE_MARKS)
		TRY(buf_printf(x->out, " LIMIT ?1"));
	return buf_terminate(x->out);
}

static int bind_key(const struct verify_range *r, sqlite3_stmt *s, int at, struct slice packed,
		    struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];

	if (!packed.len)
		return NE_OK;
	if (key_take_whole(packed, &r->t->shape, key))
		return err_set(e, NE_MALFORMED, "a range of table %.*s ends in no key of it",
			       (int)r->t->shape.name.len, (const char *)r->t->shape.name.at);
	for (int i = 0; i < r->t->shape.n_key; i++) {
		if (val_bind(s, at + i, &key[i]))
			return db_error(r->d->db, e, "verifying a table");
	}
	return NE_OK;
}

int range_query(const struct verify_range *r, enum range_query q, int64_t n, sqlite3_stmt **out,
		struct err *e)
{
	struct buf sql = {.max = SQL_MAX};
	struct text x = {.r = r, .marks = q == RANGE_MARKS, .out = &sql};
	int rc = NE_OK;

	for (int i = 0; !rc && !x.marks && i < r->t->shape.n_key; i++)
		rc = column_collation(&x, i, e);
	if (!rc && put_query(&x, q))
		rc = err_set(e, NE_MEMORY, "no memory for an SQL text");
	if (!rc)
		rc = db_prepare(r->d->db, (const char *)sql.at, out, e);
	buf_free(&sql);
	TRY(rc);
	if ((q == RANGE_NTH || q == RANGE_MARKS) && sqlite3_bind_int64(*out, 1, n))
		return db_error(r->d->db, e, "verifying a table");
	TRY(bind_key(r, *out, FIRST_KEY_PARAM, r->from, e));
	return bind_key(r, *out, FIRST_KEY_PARAM + r->t->shape.n_key, r->to, e);
}

bool range_values(sqlite3_stmt *s, int col, int n, struct val *out)
{
	bool all = true;

	for (int i = 0; i < n; i++) {
		out[i] = val_column(s, col + i);
		all &= out[i].type != VAL_NULL;
	}
	return all;
}

/* "(?1 COLLATE …, …) > (?17, …)" */
static int put_behind(const struct shape *s, struct buf *out)
{
	TRY(buf_printf(out, "SELECT ("));
	for (int i = 0; i < s->n_key; i++)
		TRY(buf_printf(out, "%s?%d COLLATE %s", i ? ", " : "", 1 + i,
			       collations[s->key[i].collation]));
	TRY(buf_printf(out, ") > ("));
	for (int i = 0; i < s->n_key; i++)
		TRY(buf_printf(out, "%s?%d", i ? ", " : "", 1 + s->n_key + i));
	TRY(buf_printf(out, ")"));
	return buf_terminate(out);
}

int verify_behind(struct devdb *d, const struct tracked *t, struct slice a, struct slice b,
		  bool *yes, struct err *e)
{
	const struct verify_range r = {.d = d, .t = (struct tracked *)(uintptr_t)t};
	struct buf sql = {.max = SQL_MAX};
	sqlite3_stmt *s = NULL;
	bool row;
	int rc = put_behind(&t->shape, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_prepare(d->db, (const char *)sql.at, &s, e);
	buf_free(&sql);
	if (!rc)
		rc = bind_key(&r, s, 1, a, e);
	if (!rc)
		rc = bind_key(&r, s, 1 + t->shape.n_key, b, e);
	TRY(rc);
	TRY(db_step(d->db, s, &row, e));
	*yes = row && sqlite3_column_int(s, 0);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return NE_OK;
}
