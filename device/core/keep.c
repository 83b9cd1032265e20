#include "device/core/keep.h"

#include <stdio.h>

#include "device/core/keep_internal.h"
#include "device/core/lost.h"

enum {
	PARTS = 64,	   /* runs a limit is divided into */
	RUNS_MAX = 256,	   /* of a table and order; above it the newest one grows */
	MEASURE_ROWS = 500 /* looked at in one step */
};

/* One row of neap_acked. */
struct run {
	enum keep_by by;
	int64_t upto, lo, first_ms, last_ms, rows, bytes;
};

static const char run_columns[] = "by, upto, lo, first_ms, last_ms, rows, bytes";

/* The first or last run of a table and order; *any. */
static int load_run(struct devdb *d, const struct tracked *t, enum keep_by by, bool last,
		    struct run *out, bool *any, struct err *e)
{
	char sql[200];
	sqlite3_stmt *s;

	snprintf(
		sql, sizeof sql,
		"SELECT %s FROM neap_acked WHERE table_id = ?1 AND by = ?2 ORDER BY upto%s LIMIT 1",
		run_columns, last ? " DESC" : "");
	TRY(db_prepare(d->db, sql, &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, (int)by);
	TRY(db_step(d->db, s, any, e));
	if (*any)
		*out = (struct run){.by = by,
				    .upto = sqlite3_column_int64(s, 1),
				    .lo = sqlite3_column_int64(s, 2),
				    .first_ms = sqlite3_column_int64(s, 3),
				    .last_ms = sqlite3_column_int64(s, 4),
				    .rows = sqlite3_column_int64(s, 5),
				    .bytes = sqlite3_column_int64(s, 6)};
	sqlite3_reset(s);
	return NE_OK;
}

static int drop_run(struct devdb *d, const struct tracked *t, const struct run *r, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "DELETE FROM neap_acked WHERE table_id = ?1 AND by = ?2 AND upto = ?3", &s,
		       e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, (int)r->by);
	sqlite3_bind_int64(s, 3, r->upto);
	return db_run(d->db, s, e);
}

static int put_run(struct devdb *d, const struct tracked *t, const struct run *r, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "INSERT OR REPLACE INTO neap_acked(table_id, by, upto, lo, first_ms, "
		       "last_ms, rows, bytes) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
		       &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, (int)r->by);
	sqlite3_bind_int64(s, 3, r->upto);
	sqlite3_bind_int64(s, 4, r->lo);
	sqlite3_bind_int64(s, 5, r->first_ms);
	sqlite3_bind_int64(s, 6, r->last_ms);
	sqlite3_bind_int64(s, 7, r->rows);
	sqlite3_bind_int64(s, 8, r->bytes);
	return db_run(d->db, s, e);
}

/* Up to which key or number all is acknowledged. */
static int acked_upto(struct devdb *d, const struct tracked *t, enum keep_by by, int64_t *out,
		      struct err *e)
{
	char sql[120];

	if (by == BY_KEY)
		snprintf(sql, sizeof sql, "SELECT acked FROM neap_append WHERE id = %lld",
			 (long long)t->id);
	else
		snprintf(sql, sizeof sql, "SELECT -min(n) FROM main.\"%s\" WHERE n < 0", t->marks);
	return db_int(d->db, sql, by == BY_KEY ? INT64_MIN : 0, out, e);
}

static bool sized(const struct tracked *t)
{
	return t->policy.keep_rows || t->policy.keep_bytes;
}

static int count_runs(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT count(*) FROM neap_acked WHERE table_id = %lld",
		 (long long)t->id);
	return db_int(d->db, sql, 0, out, e);
}

/* True if what is acknowledged now may join the newest run. */
static bool joins(const struct tracked *t, const struct run *r, int64_t now_ms, int64_t n_runs)
{
	const struct policy *p = &t->policy;

	return n_runs >= RUNS_MAX || ((!p->keep_ms || now_ms - r->first_ms <= p->keep_ms / PARTS) &&
				      (!p->keep_rows || r->rows <= p->keep_rows / PARTS) &&
				      (!p->keep_bytes || r->bytes <= p->keep_bytes / PARTS));
}

static int write_note(struct devdb *d, const struct tracked *t, const struct run *old,
		      const struct run *now, struct err *e)
{
	int rc;

	TRY(devdb_begin(d, e));
	rc = old ? drop_run(d, t, old, e) : NE_OK;
	rc = rc ? rc : put_run(d, t, now, e);
	rc = rc ? rc : devdb_commit(d, e);
	if (rc)
		devdb_rollback(d);
	return rc;
}

/* Notes what was acknowledged since the last note, or some of it; *did. */
static int note(struct devdb *d, const struct tracked *t, enum keep_by by, struct keep_clock now,
		bool *did, struct err *e)
{
	struct run last, add = {.by = by, .first_ms = now.ms, .last_ms = now.ms};
	struct swept size = {0};
	int64_t n_runs;
	bool any;

	TRY(acked_upto(d, t, by, &add.upto, e));
	TRY(load_run(d, t, by, true, &last, &any, e));
	add.lo = any ? last.upto : by == BY_KEY ? INT64_MIN : 0;
	if (add.upto <= add.lo)
		return NE_OK;
	*did = true;
	if (sized(t))
		TRY(sweep_measure(d, t, by, false, add.lo, MEASURE_ROWS, &add.upto, &size, e));
	add.rows = size.rows;
	add.bytes = size.bytes;
	TRY(count_runs(d, t, &n_runs, e));
	if (!any || !joins(t, &last, now.ms, n_runs))
		return write_note(d, t, NULL, &add, e);
	add.lo = last.lo;
	add.first_ms = last.first_ms;
	add.last_ms = now.ms > last.last_ms ? now.ms : last.last_ms;
	add.rows += last.rows;
	add.bytes += last.bytes;
	return write_note(d, t, &last, &add, e);
}

/* How much more than its limits the table holds of acknowledged rows. */
static int excess(struct devdb *d, const struct tracked *t, struct swept *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	*out = (struct swept){0};
	if (!sized(t))
		return NE_OK;
	TRY(db_prepare(d->db,
		       "SELECT total(rows), total(bytes) FROM neap_acked WHERE table_id = ?1", &s,
		       e));
	sqlite3_bind_int64(s, 1, t->id);
	TRY(db_step(d->db, s, &row, e));
	if (t->policy.keep_rows)
		out->rows = sqlite3_column_int64(s, 0) - t->policy.keep_rows;
	if (t->policy.keep_bytes)
		out->bytes = sqlite3_column_int64(s, 1) - t->policy.keep_bytes;
	sqlite3_reset(s);
	out->rows = out->rows > 0 ? out->rows : 0;
	out->bytes = out->bytes > 0 ? out->bytes : 0;
	return NE_OK;
}

/* The oldest run of the table that is not `skip`; *any. */
static int oldest_run(struct devdb *d, const struct tracked *t, const bool *skip, struct run *out,
		      bool *any, struct err *e)
{
	*any = false;
	for (int by = t->shape.key_is_number ? BY_KEY : BY_NUMBER; by <= BY_NUMBER; by++) {
		struct run r;
		bool there;

		if (skip[by])
			continue;
		TRY(load_run(d, t, (enum keep_by)by, false, &r, &there, e));
		if (there && (!*any || r.last_ms < out->last_ms))
			*out = r;
		*any |= there;
	}
	return NE_OK;
}

/* Some of the run's rows go, and the run, if none are left; *stuck: only the last key's row is. */
static int sweep_run(struct devdb *d, const struct tracked *t, const struct run *r,
		     const struct swept *wanted, struct kept *out, bool *stuck, struct err *e)
{
	struct sweep sweep = {.by = r->by,
			      .lo = r->lo,
			      .upto = r->upto,
			      .rows = wanted->rows,
			      .bytes = wanted->bytes};
	struct arena a = {.max = LIMIT_DECODED};
	struct candidates found;
	struct swept done;
	struct run left = *r;
	int64_t acked = 0;
	int rc = acked_upto(d, t, r->by, &acked, e);

	if (acked < sweep.upto)
		sweep.upto = acked;
	*stuck = sweep.upto <= r->lo;
	if (rc || *stuck)
		return rc;
	rc = sweep_find(d, t, &sweep, &a, &found, e);
	*stuck = !rc && found.upto == r->lo;
	if (!rc && !*stuck && !(rc = devdb_begin(d, e))) {
		rc = sweep_delete(d, t, &found, &done, e);
		left.lo = found.upto;
		left.rows -= done.rows < left.rows ? done.rows : left.rows;
		left.bytes -= done.bytes < left.bytes ? done.bytes : left.bytes;
		rc = rc ? rc : drop_run(d, t, r, e);
		if (!rc && !(found.end && sweep.upto == r->upto))
			rc = put_run(d, t, &left, e);
		rc = rc ? rc : devdb_commit(d, e);
		if (rc)
			devdb_rollback(d);
		else
			out->deleted += (size_t)done.rows;
	}
	arena_free(&a);
	return rc;
}

/* Deletes some of what is too old or too much; *did. */
static int shrink(struct devdb *d, const struct tracked *t, struct keep_clock now, struct kept *out,
		  bool *did, struct err *e)
{
	const int64_t keep_ms = t->policy.keep_ms;
	bool skip[2] = {false, false}, any, stuck = true;
	struct run r;

	while (stuck && !*did) {
		struct swept wanted;
		bool old;

		TRY(oldest_run(d, t, skip, &r, &any, e));
		if (!any)
			return NE_OK;
		TRY(excess(d, t, &wanted, e));
		old = keep_ms && now.known && r.last_ms <= now.ms - keep_ms;
		if (!old && !wanted.rows && !wanted.bytes) {
			int64_t due = r.last_ms + keep_ms;

			if (keep_ms && now.known && (!out->due_ms || due < out->due_ms))
				out->due_ms = due;
			return NE_OK;
		}
		if (old)
			wanted = (struct swept){.rows = INT64_MAX, .bytes = INT64_MAX};
		TRY(sweep_run(d, t, &r, &wanted, out, &stuck, e));
		skip[r.by] = stuck;
		*did = !stuck;
	}
	return NE_OK;
}

static int step_table(struct devdb *d, const struct tracked *t, struct keep_clock now,
		      struct kept *out, struct err *e)
{
	bool did = false, held;

	TRY(lost_holds(d, t, &held, e));
	if (held)
		return NE_OK;
	/* A run without a time could never be old. */
	if (now.known || !t->policy.keep_ms) {
		if (t->shape.key_is_number)
			TRY(note(d, t, BY_KEY, now, &did, e));
		TRY(note(d, t, BY_NUMBER, now, &did, e));
	}
	TRY(shrink(d, t, now, out, &did, e));
	out->more |= did;
	return NE_OK;
}

int keep_step(struct devdb *d, struct keep_clock now, struct kept *out, struct err *e)
{
	*out = (struct kept){0};
	for (size_t i = 0; i < d->n_table; i++) {
		const struct tracked *t = &d->table[i];

		if (t->shape.kind == SHAPE_APPEND && t->capture_ok && policy_keeps(&t->policy))
			TRY(step_table(d, t, now, out, e));
	}
	return NE_OK;
}

int keep_forget(struct devdb *d, const struct tracked *t, struct err *e)
{
	TRY(db_execf(d->db, e, "DELETE FROM neap_acked WHERE table_id = %lld", (long long)t->id));
	if (t->shape.kind != SHAPE_APPEND || t->shape.key_is_number)
		return NE_OK;
	return db_execf(d->db, e, "DELETE FROM main.\"%s\" WHERE n < 0", t->marks);
}
