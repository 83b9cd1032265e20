/* A bound on pending rows: the oldest that were never sent are deleted above it, and counted. */
#include <stdio.h>

#include "device/core/keep_internal.h"

enum { COUNT_ROWS = 2000, COUNT_AGAIN_MS = 10000, HEADROOM = 16 };

static int column(struct devdb *d, const struct tracked *t, const char *name, int64_t *out,
		  struct err *e)
{
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT %s FROM neap_append WHERE id = %lld", name,
		 (long long)t->id);
	return db_int(d->db, sql, 0, out, e);
}

/* Counts some of what is pending and not counted yet; *more. */
static int count(struct devdb *d, struct tracked *t, enum keep_by by, bool *more, struct err *e)
{
	int64_t *at = by == BY_KEY ? &t->seen.key : &t->seen.n, upto = INT64_MAX;
	struct swept size;

	TRY(sweep_measure(d, t, by, true, *at, COUNT_ROWS, &upto, &size, e));
	t->seen.rows += size.rows;
	t->seen.bytes += size.bytes;
	*more = upto != INT64_MAX;
	*at = size.last;
	return NE_OK;
}

static int count_all(struct devdb *d, struct tracked *t, bool *more, struct err *e)
{
	*more = false;
	if (t->shape.key_is_number)
		TRY(count(d, t, BY_KEY, more, e));
	return *more ? NE_OK : count(d, t, BY_NUMBER, more, e);
}

static int64_t above(int64_t have, int64_t bound)
{
	return bound && have > bound ? have - bound : 0;
}

/* Deletes some rows that no set has ever carried; *any. */
static int drop(struct devdb *d, struct tracked *t, enum keep_by by, int64_t wall_ms, bool *any,
		struct err *e)
{
	const struct policy *p = &t->policy;
	struct sweep sweep = {
		.by = by,
		.pending = true,
		.upto = INT64_MAX,
		.rows = above(t->seen.rows, p->pending_rows - p->pending_rows / HEADROOM),
		.bytes = above(t->seen.bytes, p->pending_bytes - p->pending_bytes / HEADROOM)};
	struct arena a = {.max = LIMIT_DECODED};
	struct candidates found;
	struct swept done = {0};
	int rc = column(d, t, by == BY_KEY ? "high" : "numbered", &sweep.lo, e);

	*any = false;
	rc = rc ? rc : sweep_find(d, t, &sweep, &a, &found, e);
	if (!rc && found.n && !(rc = devdb_begin(d, e))) {
		rc = sweep_delete(d, t, &found, &done, e);
		if (!rc)
			rc = db_execf(d->db, e,
				      "UPDATE neap_policy SET dropped_rows = dropped_rows + %lld, "
				      "dropped_ms = %lld WHERE id = %lld",
				      (long long)done.rows, (long long)wall_ms, (long long)t->id);
		rc = rc ? rc : devdb_commit(d, e);
		if (rc)
			devdb_rollback(d);
	}
	arena_free(&a);
	TRY(rc);
	*any = done.rows > 0;
	t->seen.rows -= done.rows;
	t->seen.bytes -= done.bytes;
	return NE_OK;
}

static bool over(const struct tracked *t, int headroom)
{
	const struct policy *p = &t->policy;
	int64_t rows = p->pending_rows, bytes = p->pending_bytes;

	if (headroom) {
		rows -= rows / headroom;
		bytes -= bytes / headroom;
	}
	return above(t->seen.rows, rows) > 0 || above(t->seen.bytes, bytes) > 0;
}

static int step_table(struct devdb *d, struct tracked *t, int64_t wall_ms, uint64_t mono_ms,
		      uint64_t *due_ms, struct err *e)
{
	struct pending_seen *s = &t->seen;
	bool more;

	if (!s->valid) {
		*due_ms = s->again_ms;
		if (mono_ms < s->again_ms)
			return NE_OK;
		*s = (struct pending_seen){
			.valid = true, .whole = true, .again_ms = mono_ms + COUNT_AGAIN_MS};
		TRY(column(d, t, "acked", &s->key, e));
	}
	*due_ms = mono_ms;
	TRY(count_all(d, t, &more, e));
	if (more)
		return NE_OK;
	s->dropping = s->whole && over(t, s->dropping ? HEADROOM : 0);
	if (!s->dropping) {
		/* Counted as it came, some of it may be acknowledged or deleted since. */
		s->valid = s->whole || !over(t, 0);
		s->whole = false;
		*due_ms = s->valid ? UINT64_MAX : s->again_ms;
		return NE_OK;
	}
	if (t->shape.key_is_number)
		TRY(drop(d, t, BY_KEY, wall_ms, &more, e));
	if (!more)
		TRY(drop(d, t, BY_NUMBER, wall_ms, &more, e));
	/* All that may go is gone; what else is pending is in flight. */
	*due_ms = more ? mono_ms : UINT64_MAX;
	return NE_OK;
}

int keep_drop_pending(struct devdb *d, int64_t wall_ms, uint64_t mono_ms, uint64_t *due_ms,
		      struct err *e)
{
	*due_ms = UINT64_MAX;
	for (size_t i = 0; i < d->n_table; i++) {
		struct tracked *t = &d->table[i];
		uint64_t one = UINT64_MAX;

		if (!t->policy.drop_oldest || !t->capture_ok || t->shape.kind != SHAPE_APPEND)
			continue;
		TRY(step_table(d, t, wall_ms, mono_ms, &one, e));
		if (one < *due_ms)
			*due_ms = one;
	}
	return NE_OK;
}
