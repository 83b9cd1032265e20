/* How much is pending: what marks, numbers and keys above the acknowledged one say. */
#include "device/core/cut_internal.h"

enum { SQL_MAX_BYTES = 65536, SAMPLE_ROWS = 16 };

static int one_int(struct devdb *d, int put_rc, struct buf *sql, int64_t *out, struct err *e)
{
	int rc = put_rc ? put_rc : buf_terminate(sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_int(d->db, (const char *)sql->at, 0, out, e);
	buf_free(sql);
	return rc;
}

/* The mean size of a few of the table's rows: near enough to say how much there is to send. */
static int put_row_bytes(const struct tracked *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out, "SELECT CAST(avg(n) AS INTEGER) FROM (SELECT 0"));
	for (int i = 0; i < s->n_key + s->n_col; i++) {
		TRY(buf_printf(out, " + ifnull(length(CAST("));
		TRY(sql_put_name(out, i < s->n_key ? s->key[i].name : s->col[i - s->n_key].name));
		TRY(buf_printf(out, " AS BLOB)), 1)"));
	}
	TRY(buf_printf(out, " AS n FROM main."));
	TRY(sql_put_name(out, s->name));
	return buf_printf(out, " LIMIT %d)", SAMPLE_ROWS);
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

static bool by_key(const struct tracked *t)
{
	/* Without its triggers, or the table itself, nothing can be said of it. */
	return t->shape.key_is_number && t->capture_ok;
}

static int count_rows(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t keys;

	if (t->shape.kind == SHAPE_MERGE)
		return one_int(d, put_marked_rows(t, &sql), &sql, out, e);
	TRY(one_int(d, buf_printf(&sql, "SELECT count(*) FROM main.\"%s\" WHERE n > 0", t->marks),
		    &sql, out, e));
	if (!by_key(t))
		return NE_OK;
	TRY(one_int(d, put_keys(t, true, &sql), &sql, &keys, e));
	*out += keys;
	return NE_OK;
}

int cut_pending(struct devdb *d, const struct tracked *t, struct pending_stats *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t row_bytes = 0;

	*out = (struct pending_stats){0};
	TRY(count_rows(d, t, &out->rows, e));
	if (out->rows == 0)
		return NE_OK;
	if (t->capture_ok)
		TRY(one_int(d, put_row_bytes(t, &sql), &sql, &row_bytes, e));
	out->bytes = out->rows * (row_bytes > 0 ? row_bytes : 8);
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
	*any = n != 0;
	return NE_OK;
}

int cut_any_pending(struct devdb *d, bool *any, struct err *e)
{
	*any = false;
	for (size_t i = 0; i < d->n_table && !*any; i++)
		TRY(any_of(d, &d->table[i], any, e));
	return NE_OK;
}
