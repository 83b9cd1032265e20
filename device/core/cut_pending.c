/* How much is pending: what marks, numbers and keys above the acknowledged one say. */
#include <stdio.h>

#include "device/core/lost.h"

enum { SQL_MAX_BYTES = 1 << 20, EXACT_ROWS = 4000 };

static const char *const collation_names[] = {"BINARY", "NOCASE", "RTRIM"};

/* Bytes of one value as they are counted everywhere: val_size() in SQL. */
static int put_size(const char *of, struct slice name, struct buf *out)
{
	TRY(buf_printf(out, "CASE WHEN typeof(%s.", of));
	TRY(sql_put_name(out, name));
	TRY(buf_printf(out, ") IN ('text', 'blob') THEN length(CAST(%s.", of));
	TRY(sql_put_name(out, name));
	return buf_printf(out, " AS BLOB)) ELSE 8 END");
}

static int one_int(struct devdb *d, int put_rc, struct buf *sql, int64_t *out, struct err *e)
{
	int rc = put_rc ? put_rc : buf_terminate(sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_int(d->db, (const char *)sql->at, 0, out, e);
	buf_free(sql);
	return rc;
}

int cut_put_row_size(const struct shape *s, const char *of, struct buf *out)
{
	for (int i = 0; i < s->n_key + s->n_col; i++) {
		TRY(buf_printf(out, "%s", i ? " + " : ""));
		TRY(put_size(of, i < s->n_key ? s->key[i].name : s->col[i - s->n_key].name, out));
	}
	return NE_OK;
}

static int put_marked_rows(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out, "SELECT count(*) FROM (SELECT DISTINCT "));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "%sk%u", i ? ", " : "", i));
	return buf_printf(out, " FROM main.\"%s\")", t->marks);
}

static int put_oldest(const struct tracked *t, struct buf *out)
{
	return buf_printf(out,
			  "SELECT (min(stamp) >> 16) - (SELECT offset_ms FROM neap_clock) FROM "
			  "main.\"%s\" WHERE stamp > 0",
			  t->marks);
}

/* Keys above the acknowledged one; `count` or only whether there is one. */
static int put_keys(const struct tracked *t, bool count, struct buf *out)
{
	TRY(buf_printf(out,
		       count ? "SELECT count(*) FROM main." : "SELECT EXISTS(SELECT 1 FROM main."));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x WHERE x."));
	TRY(sql_put_name(out, t->shape.key[0].name));
	TRY(buf_printf(
		out,
		" > (SELECT acked FROM neap_append WHERE id = %lld) AND NOT EXISTS(SELECT 1 FROM "
		"main.\"%s\" WHERE k0 = x.",
		(long long)t->id, t->marks));
	TRY(sql_put_name(out, t->shape.key[0].name));
	return buf_printf(out, count ? ")" : "))");
}

/* Of keys that the server lost: the rows, with their sizes; `order` by key. */
static int put_lost(const struct tracked *t, const char *order, int limit, struct buf *out)
{
	struct slice key = t->shape.key[0].name;

	TRY(buf_printf(out, "SELECT "));
	TRY(cut_put_row_size(&t->shape, "x", out));
	TRY(buf_printf(out, " AS b FROM neap_lost AS l CROSS JOIN main."));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x ON x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, " > l.lo AND x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out,
		       " <= l.hi WHERE l.table_id = %lld AND l.kind = %d AND NOT EXISTS(SELECT 1 "
		       "FROM main.\"%s\" WHERE k0 = x.",
		       (long long)t->id, RANGE_KEYS, t->marks));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, ") ORDER BY l.lo%s, x.", order));
	TRY(sql_put_name(out, key));
	return buf_printf(out, "%s LIMIT %d", order, limit);
}

static int count_lost(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int rc = buf_printf(&sql, "SELECT count(*) FROM (");

	rc = rc ? rc : put_lost(t, "", INT32_MAX, &sql);
	rc = rc ? rc : buf_printf(&sql, ")");
	return one_int(d, rc, &sql, out, e);
}

static bool by_key(const struct tracked *t)
{
	/* Without its triggers, or the table itself, nothing can be said of it. */
	return t->shape.key_is_number && t->capture_ok;
}

static int count_rows(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t keys, lost;

	if (t->shape.kind == SHAPE_MERGE)
		return one_int(d, put_marked_rows(t, &sql), &sql, out, e);
	TRY(one_int(d, buf_printf(&sql, "SELECT count(*) FROM main.\"%s\" WHERE n > 0", t->marks),
		    &sql, out, e));
	if (!by_key(t))
		return NE_OK;
	TRY(one_int(d, put_keys(t, true, &sql), &sql, &keys, e));
	TRY(count_lost(d, t, &lost, e));
	*out += keys + lost;
	return NE_OK;
}

static int put_match(const struct tracked *t, struct buf *out)
{
	for (unsigned i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, "%sx.", i ? " AND " : ""));
		TRY(sql_put_name(out, t->shape.key[i].name));
		TRY(buf_printf(out, " = m.k%u COLLATE %s", i,
			       collation_names[t->shape.key[i].collation]));
	}
	return NE_OK;
}

static int put_key_size(const struct tracked *t, struct buf *out)
{
	for (unsigned i = 0; i < t->shape.n_key; i++) {
		char name[8];

		snprintf(name, sizeof name, "k%u", i);
		TRY(buf_printf(out, "%s", i ? " + " : ""));
		TRY(put_size("m", slice_str(name), out));
	}
	return NE_OK;
}

/* What mark `m` sends of row `x`: nothing of its own where the row goes whole. */
static int put_mark_size(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out, "CASE WHEN m.col < %d THEN 0 WHEN m.col = %d THEN CASE WHEN x.",
		       MARK_EXIST, MARK_EXIST));
	TRY(sql_put_name(out, t->shape.key[0].name));
	TRY(buf_printf(out, " IS NULL THEN "));
	TRY(put_key_size(t, out));
	TRY(buf_printf(out, " ELSE "));
	TRY(cut_put_row_size(&t->shape, "x", out));
	TRY(buf_printf(out, " END WHEN EXISTS(SELECT 1 FROM main.\"%s\" AS w WHERE ", t->marks));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "w.k%u = m.k%u AND ", i, i));
	TRY(buf_printf(out, "w.col = %d) THEN 0 ELSE ", MARK_EXIST));
	TRY(put_key_size(t, out));
	TRY(buf_printf(out, " + CASE m.col"));
	for (unsigned i = 0; i < t->shape.n_col; i++) {
		TRY(buf_printf(out, " WHEN %u THEN ", i));
		TRY(put_size("x", t->shape.col[i].name, out));
	}
	return buf_printf(out, " %sEND END", t->shape.n_col ? "" : "WHEN 0 THEN 0 ");
}

/* The sizes of `limit` marks, the first or the last ones. */
static int put_marks(const struct tracked *t, const char *order, int limit, struct buf *out)
{
	TRY(buf_printf(out, "SELECT "));
	TRY(put_mark_size(t, out));
	TRY(buf_printf(out, " AS b FROM (SELECT * FROM main.\"%s\" ORDER BY ", t->marks));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "k%u%s, ", i, order));
	TRY(buf_printf(out, "col%s LIMIT %d) AS m LEFT JOIN main.", order, limit));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x ON "));
	return put_match(t, out);
}

/* The same of rows with numbers of their own. */
static int put_numbers(const struct tracked *t, const char *order, int limit, struct buf *out)
{
	TRY(buf_printf(out, "SELECT "));
	TRY(cut_put_row_size(&t->shape, "x", out));
	TRY(buf_printf(out,
		       " AS b FROM (SELECT * FROM main.\"%s\" WHERE n > 0 ORDER BY n%s LIMIT %d) "
		       "AS m JOIN main.",
		       t->marks, order, limit));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x ON "));
	return put_match(t, out);
}

/* The same of rows whose key is their number. */
static int put_keyed(const struct tracked *t, const char *order, int limit, struct buf *out)
{
	struct slice key = t->shape.key[0].name;

	TRY(buf_printf(out, "SELECT "));
	TRY(cut_put_row_size(&t->shape, "x", out));
	TRY(buf_printf(out, " AS b FROM main."));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x WHERE x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out,
		       " > (SELECT acked FROM neap_append WHERE id = %lld) AND NOT EXISTS(SELECT 1 "
		       "FROM main.\"%s\" WHERE k0 = x.",
		       (long long)t->id, t->marks));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, ") ORDER BY x."));
	TRY(sql_put_name(out, key));
	return buf_printf(out, "%s LIMIT %d", order, limit);
}

typedef int put_fn(const struct tracked *t, const char *order, int limit, struct buf *out);

static int sum(struct devdb *d, const struct tracked *t, put_fn *put, const char *order, int limit,
	       int64_t *bytes, int64_t *n, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	bool row;
	int rc = buf_printf(&sql, "SELECT CAST(total(b) AS INTEGER), count(*) FROM (");

	rc = rc ? rc : put(t, order, limit, &sql);
	rc = rc ? rc : buf_printf(&sql, ")");
	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	TRY(db_step(d->db, s, &row, e));
	*bytes += sqlite3_column_int64(s, 0);
	*n += sqlite3_column_int64(s, 1);
	sqlite3_reset(s);
	return NE_OK;
}

/* Of `n` things: all of them, or the mean of the first and the last thousands. */
static int add_bytes(struct devdb *d, const struct tracked *t, put_fn *put, int64_t n,
		     struct pending_stats *out, struct err *e)
{
	int64_t bytes = 0, seen = 0;

	if (n <= EXACT_ROWS) {
		TRY(sum(d, t, put, "", EXACT_ROWS, &bytes, &seen, e));
		out->bytes += bytes;
		return NE_OK;
	}
	TRY(sum(d, t, put, "", EXACT_ROWS / 2, &bytes, &seen, e));
	TRY(sum(d, t, put, " DESC", EXACT_ROWS / 2, &bytes, &seen, e));
	out->bytes_estimated = true;
	if (seen)
		out->bytes += (int64_t)((double)bytes / (double)seen * (double)n);
	return NE_OK;
}

static int measure(struct devdb *d, const struct tracked *t, struct pending_stats *out,
		   struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t marks, lost;

	if (!t->capture_ok) { /* its table may be gone */
		out->bytes = 8 * out->rows;
		out->bytes_estimated = true;
		return NE_OK;
	}
	TRY(one_int(d,
		    buf_printf(&sql, "SELECT count(*) FROM main.\"%s\"%s", t->marks,
			       t->shape.kind == SHAPE_MERGE ? "" : " WHERE n > 0"),
		    &sql, &marks, e));
	if (t->shape.kind == SHAPE_MERGE)
		return add_bytes(d, t, put_marks, marks, out, e);
	TRY(add_bytes(d, t, put_numbers, marks, out, e));
	if (!by_key(t))
		return NE_OK;
	TRY(count_lost(d, t, &lost, e));
	TRY(add_bytes(d, t, put_lost, lost, out, e));
	return add_bytes(d, t, put_keyed, out->rows - marks - lost, out, e);
}

int cut_pending(struct devdb *d, const struct tracked *t, struct pending_stats *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};

	*out = (struct pending_stats){0};
	TRY(count_rows(d, t, &out->rows, e));
	if (out->rows == 0)
		return NE_OK;
	TRY(measure(d, t, out, e));
	if (t->shape.kind == SHAPE_MERGE)
		return one_int(d, put_oldest(t, &sql), &sql, &out->oldest_ms, e);
	return NE_OK;
}

static int any_of(struct devdb *d, const struct tracked *t, bool *any, struct err *e)
{
	const char *where = t->shape.kind == SHAPE_APPEND ? " WHERE n > 0" : "";
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t n;

	TRY(one_int(d,
		    buf_printf(&sql, "SELECT EXISTS(SELECT 1 FROM main.\"%s\"%s)", t->marks, where),
		    &sql, &n, e));
	if (!n && by_key(t))
		TRY(one_int(d, put_keys(t, false, &sql), &sql, &n, e));
	if (!n && by_key(t))
		TRY(one_int(
			d,
			buf_printf(&sql,
				   "SELECT EXISTS(SELECT 1 FROM neap_lost WHERE table_id = %lld "
				   "AND kind = %d)",
				   (long long)t->id, RANGE_KEYS),
			&sql, &n, e));
	*any = n != 0;
	return NE_OK;
}

int cut_any_pending(struct devdb *d, bool *any, struct err *e)
{
	TRY(lost_any(d, any, e));
	for (size_t i = 0; i < d->n_table && !*any; i++)
		TRY(any_of(d, &d->table[i], any, e));
	return NE_OK;
}
