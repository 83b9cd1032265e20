#include <stdio.h>
#include <stdlib.h>

#include "device/core/aware.h"
#include "device/core/lost.h"

enum { SQL_MAX_BYTES = 65536 };

static int marks_sql(const struct tracked *t, const struct range *r, struct buf *out)
{
	int param = 2;

	TRY(buf_printf(out, "DELETE FROM main.\"%s\" WHERE gen <= ?1", t->marks));
	if (r->lo.len)
		TRY(cut_put_bound(out, t->shape.n_key, ">", &param));
	if (r->hi.len)
		TRY(cut_put_bound(out, t->shape.n_key, "<=", &param));
	return NE_OK;
}

static int settle_marks(struct devdb *d, const struct tracked *t, const struct range *r,
			int64_t gen_hi, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	int param = 2;
	int rc = marks_sql(t, r, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int64(s, 1, gen_hi);
	if (r->lo.len)
		TRY(cut_bind_bound(d->db, s, r->lo, t->shape.n_key, &param, e));
	if (r->hi.len)
		TRY(cut_bind_bound(d->db, s, r->hi, t->shape.n_key, &param, e));
	rc = db_run(d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc;
}

static int bound_of(struct slice s, int64_t *out, struct err *e)
{
	struct val v;

	if (key_unpack(s, &v, 1) || v.type != VAL_INT)
		return err_set(e, NE_CORRUPT, "a range of a set in flight is damaged");
	*out = v.i;
	return NE_OK;
}

static int run_on_numbers(struct devdb *d, const struct tracked *t, const char *head,
			  const char *tail, int64_t lo, int64_t hi, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	int rc = buf_printf(&sql, "%s main.\"%s\" %s", head, t->marks, tail);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int64(s, 1, lo);
	sqlite3_bind_int64(s, 2, hi);
	return db_run(d->db, s, e);
}

static int settle_keys(struct devdb *d, const struct tracked *t, int64_t hi, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db, "UPDATE neap_append SET acked = max(acked, ?2) WHERE id = ?1", &s,
		       e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int64(s, 2, hi);
	return db_run(d->db, s, e);
}

/* Of the numbers after t->swept_to, the next `rows`: those whose row is gone are dropped. */
static int put_drop_gone(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out,
		       "DELETE FROM main.\"%s\" WHERE n IN (SELECT w.n FROM (SELECT n, k0 FROM "
		       "main.\"%s\" WHERE n > ?1 AND n <= ?2) AS w WHERE NOT EXISTS(SELECT 1 FROM "
		       "main.",
		       t->marks, t->marks));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x WHERE x."));
	TRY(sql_put_name(out, t->shape.key[0].name));
	return buf_printf(out, " = w.k0))");
}

static int last_of_next(struct devdb *d, const struct tracked *t, int64_t rows, int64_t *out,
			struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	bool row;
	int rc =
		buf_printf(&sql,
			   "SELECT ifnull(max(n), ?3) FROM (SELECT n FROM main.\"%s\" WHERE n > ?1 "
			   "AND n < 0 ORDER BY n LIMIT ?2)",
			   t->marks);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int64(s, 1, t->swept_to);
	sqlite3_bind_int64(s, 2, rows);
	sqlite3_bind_int64(s, 3, INT64_MIN);
	TRY(db_step(d->db, s, &row, e));
	*out = sqlite3_column_int64(s, 0);
	sqlite3_reset(s);
	return NE_OK;
}

/*
 * The app may have deleted rows whose numbers are kept. Each settled row pays for looking at two of
 * those, in turn, so what is kept of deleted rows is never much more than of those that are here.
 */
static int drop_gone(struct devdb *d, struct tracked *t, int64_t rows, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t from, upto;
	sqlite3_stmt *s;
	int rc;

	if (!t->capture_ok || !rows) /* the table itself may be gone */
		return NE_OK;
	TRY(last_of_next(d, t, rows, &upto, e));
	if (upto == INT64_MIN) { /* all were looked at: once more from the first */
		t->swept_to = INT64_MIN;
		TRY(last_of_next(d, t, rows, &upto, e));
	}
	from = t->swept_to;
	t->swept_to = upto;
	rc = put_drop_gone(t, &sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int64(s, 1, from);
	sqlite3_bind_int64(s, 2, upto);
	return db_run(d->db, s, e);
}

/*
 * Of a table whose keys are its numbers, a settled row stays here as −n as long as it is there: it
 * never goes up under its key, also when the server has lost what it had. So does every settled row
 * of a table that deletes its rows after a while: it is found by its number then.
 */
static int settle_numbers(struct devdb *d, struct tracked *t, int64_t lo, int64_t hi, struct err *e)
{
	if (!policy_keeps(&t->policy) && !t->shape.key_is_number)
		return run_on_numbers(d, t, "DELETE FROM", "WHERE n > ?1 AND n <= ?2", lo, hi, e);
	TRY(run_on_numbers(d, t, "UPDATE", "SET n = -n WHERE n > ?1 AND n <= ?2", lo, hi, e));
	if (policy_keeps(&t->policy))
		return NE_OK;
	return drop_gone(d, t, 2 * (int64_t)sqlite3_changes64(db_handle(d->db)), e);
}

static int settle_range(struct devdb *d, const struct range *r, int64_t gen_hi, struct err *e)
{
	struct tracked *t = devdb_table_by_id(d, r->table);
	int64_t lo = 0, hi = 0;

	if (!t) /* untracked since: its marks are gone */
		return NE_OK;
	if (r->kind == RANGE_MARKS)
		return settle_marks(d, t, r, gen_hi, e);
	TRY(bound_of(r->lo, &lo, e));
	TRY(bound_of(r->hi, &hi, e));
	if (r->kind == RANGE_LOST)
		return lost_settle(d, t->id, lo, hi, e);
	if (r->kind == RANGE_KEYS)
		return settle_keys(d, t, hi, e);
	return settle_numbers(d, t, lo, hi, e);
}

/* One set from neap_inflight, copied out of the statement. */
struct set {
	int64_t number, gen_hi, stamp;
	struct buf ranges;
};

static int load_lowest(struct devdb *d, uint64_t upto, struct set *out, bool *any, struct err *e)
{
	sqlite3_stmt *s;
	int rc = NE_OK;

	TRY(db_prepare(d->db,
		       "SELECT number, gen_hi, stamp, ranges FROM neap_inflight WHERE number <= ?1 "
		       "ORDER BY number LIMIT 1",
		       &s, e));
	sqlite3_bind_int64(s, 1, (int64_t)upto);
	TRY(db_step(d->db, s, any, e));
	if (*any) {
		out->number = sqlite3_column_int64(s, 0);
		out->gen_hi = sqlite3_column_int64(s, 1);
		out->stamp = sqlite3_column_int64(s, 2);
		buf_clear(&out->ranges);
		rc = buf_put(&out->ranges, sqlite3_column_blob(s, 3),
			     (size_t)sqlite3_column_bytes(s, 3));
	}
	sqlite3_reset(s);
	return rc ? err_set(e, rc, "no memory for the ranges of a set") : NE_OK;
}

static int settle_set(struct devdb *d, const struct set *x, struct err *e)
{
	struct slice left = buf_slice(&x->ranges);
	struct range r;
	sqlite3_stmt *s;
	bool any;

	for (;;) {
		if (range_next(&left, &r, &any))
			return err_set(e, NE_CORRUPT, "the ranges of set %lld are damaged",
				       (long long)x->number);
		if (!any)
			break;
		TRY(settle_range(d, &r, x->gen_hi, e));
	}
	TRY(devdb_raise_floor(d, (uint64_t)x->stamp, e));
	TRY(db_prepare(d->db, "DELETE FROM neap_inflight WHERE number = ?1", &s, e));
	sqlite3_bind_int64(s, 1, x->number);
	return db_run(d->db, s, e);
}

static int is_inflight(struct devdb *d, uint64_t number, bool *out, struct err *e)
{
	sqlite3_stmt *s;

	*out = false;
	if (number > INT64_MAX)
		return NE_OK;
	TRY(db_prepare(d->db, "SELECT 1 FROM neap_inflight WHERE number = ?1", &s, e));
	sqlite3_bind_int64(s, 1, (int64_t)number);
	TRY(db_step(d->db, s, out, e));
	sqlite3_reset(s);
	return NE_OK;
}

int cut_settle(struct devdb *d, uint64_t number, struct err *e)
{
	struct set x = {.ranges = {.max = 64 << 20}};
	int64_t acked;
	bool any;
	int rc;

	TRY(is_inflight(d, number, &any, e));
	if (!any)
		return NE_OK;
	while (!(rc = load_lowest(d, number, &x, &any, e)) && any) {
		rc = settle_set(d, &x, e);
		if (rc)
			break;
	}
	buf_free(&x.ranges);
	TRY(rc);
	TRY(aware_settled(d, number, e));
	TRY(devdb_get(d, "acked_number", &acked, e));
	return acked < (int64_t)number ? devdb_set(d, "acked_number", (int64_t)number, e) : NE_OK;
}
