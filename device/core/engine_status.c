/* What a person may want to know: how much is pending, and what is in the way. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "device/core/devdb_schema.h"
#include "device/core/engine_internal.h"

enum {
	CLOCK_OFF_MS = 5 * 60 * 1000,
	LOCKED_MS = 3000,  /* refused for so long, the database is locked, not busy */
	SILENT_MS = 16000, /* the pause between questions after some of them without an answer */
};

void engine_problem(struct engine *en, int code, const char *reason, const char *next_step)
{
	en->problem = code;
	en->problem_state = code ? "refused" : "notice";
	snprintf(en->reason, sizeof(en->reason), "%s", reason);
	snprintf(en->next_step, sizeof(en->next_step), "%s", next_step);
}

static enum engine_state state_of(const struct engine *en)
{
	if (!en->link)
		return ENGINE_OFFLINE;
	if (!en->welcomed)
		return ENGINE_HELLO;
	return engine_behind(en) ? ENGINE_PULLING : ENGINE_READY;
}

static int add_pending(struct engine *en, struct engine_status *out, struct err *e)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		struct pending_stats p;

		TRY(cut_pending(en->d, &en->d->table[i], &p, e));
		out->pending_rows += p.rows;
		out->pending_bytes += p.bytes;
		out->pending_estimated |= p.bytes_estimated;
		if (p.oldest_ms &&
		    (!out->oldest_pending_ms || p.oldest_ms < out->oldest_pending_ms))
			out->oldest_pending_ms = p.oldest_ms;
	}
	return NE_OK;
}

/* One more trouble, below those before it; NULL when there is no room. */
static struct engine_trouble *add(struct engine_status *out, const char *state, int code,
				  const char *next_step)
{
	struct engine_trouble *t;

	if (out->n_trouble == ENGINE_TROUBLES)
		return NULL;
	t = &out->trouble[out->n_trouble++];
	*t = (struct engine_trouble){.state = state, .code = code};
	snprintf(t->next_step, sizeof(t->next_step), "%s", next_step);
	return t;
}

static void add_text(struct engine_status *out, const char *state, int code, const char *next_step,
		     const char *fmt, ...) NEAP_PRINTF(5, 6);
static void add_text(struct engine_status *out, const char *state, int code, const char *next_step,
		     const char *fmt, ...)
{
	struct engine_trouble *t = add(out, state, code, next_step);
	va_list args;

	if (!t)
		return;
	va_start(args, fmt);
	vsnprintf(t->reason, sizeof(t->reason), fmt, args);
	va_end(args);
}

static void add_capture(const struct engine *en, struct engine_status *out)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		const struct tracked *t = &en->d->table[i];

		if (!t->capture_ok)
			add_text(out, "capture-broken", NE_CAPTURE,
				 "run `neap track` on the table again; if it was dropped, `neap "
				 "untrack` it",
				 "capture of table %.*s is broken: %s", (int)t->shape.name.len,
				 (const char *)t->shape.name.at, t->reason);
	}
}

static void add_locked(const struct engine *en, struct engine_status *out)
{
	uint64_t ms = en->locked_since_ms ? en->mono_ms - en->locked_since_ms : 0;

	if (ms >= LOCKED_MS)
		add_text(out, "database-locked", NE_BUSY,
			 "end that program's transaction; it is tried again by itself",
			 "another program has held the database's write lock for %llu s",
			 (unsigned long long)(ms / 1000));
}

static void add_problem(const struct engine *en, struct engine_status *out)
{
	if (en->reason[0])
		add_text(out, en->problem_state, en->problem, en->next_step, "%s", en->reason);
}

static void add_silent(const struct engine *en, struct engine_status *out)
{
	bool asked = (en->hello.open && en->hello.backoff_ms >= SILENT_MS) ||
		     (en->pull.open && en->pull.backoff_ms >= SILENT_MS) ||
		     (en->lost.open && en->lost.backoff_ms >= SILENT_MS);

	if (en->link && (asked || (en->backoff >= 8 && engine_unacked(en))))
		add_text(out, "server-silent", NE_TIMEOUT,
			 "nothing to do here: it is asked again; is neapd running?",
			 "the broker is there, but the server does not answer");
}

/* Capture is in order again, and what it missed is being looked for. */
static void add_comparing(const struct engine *en, struct engine_status *out)
{
	for (size_t i = 0; i < en->d->n_table && !out->comparing; i++) {
		const struct tracked *t = &en->d->table[i];

		out->comparing = t->comparing;
		if (out->comparing)
			add_text(out, "comparing", NE_CAPTURE,
				 "nothing to do but to sync: what it missed is sent then",
				 "capture of table %.*s was lost: it has to be compared with the "
				 "server",
				 (int)t->shape.name.len, (const char *)t->shape.name.at);
	}
}

/* The newest one of them tells why. */
static int add_rows(struct engine *en, struct engine_status *out, int64_t n, const char *state,
		    const char *sql, const char *next_step, struct err *e)
{
	bool rejected = !strcmp(state, "rows-rejected"), row;
	sqlite3_stmt *s;

	if (!n)
		return NE_OK;
	TRY(db_prepare(en->d->db, sql, &s, e));
	TRY(db_step(en->d->db, s, &row, e));
	add_text(out, state, NE_ROWS, next_step, "%s %.60s: %.110s",
		 rejected ? "a row was refused, table" : "a row of others does not fit table",
		 row ? (const char *)sqlite3_column_text(s, 0) : "?",
		 row && sqlite3_column_text(s, 1) ? (const char *)sqlite3_column_text(s, 1) : "");
	sqlite3_reset(s);
	return NE_OK;
}

static int add_refused(struct engine *en, struct engine_status *out, struct err *e)
{
	TRY(add_rows(en, out, out->rejected_rows, "rows-rejected",
		     "SELECT coalesce(t.name, '?'), r.reason FROM neap_rejected r LEFT JOIN "
		     "neap_table t ON t.id = r.table_id ORDER BY r.id DESC LIMIT 1",
		     "see `neap rejected`; then --retry or --forget", e));
	return add_rows(en, out, out->parked_rows, "rows-parked",
			"SELECT coalesce(t.name, '?'), p.reason FROM neap_parked p LEFT JOIN "
			"neap_table t ON t.id = p.table_id LIMIT 1",
			"see `neap rejected`; change the row that is in its way", e);
}

static int add_bound(struct engine *en, const struct tracked *t, struct engine_status *out,
		     struct err *e)
{
	const struct policy *p = &t->policy;
	struct pending_stats have;

	if (!p->pending_rows && !p->pending_bytes)
		return NE_OK;
	TRY(cut_pending(en->d, t, &have, e));
	if ((p->pending_rows && have.rows > p->pending_rows) ||
	    (p->pending_bytes && have.bytes > p->pending_bytes))
		add_text(out, "pending-over-bound", NE_OK,
			 p->drop_oldest ? "connect; the oldest rows are dropped"
					: "connect; all rows are kept until they are sent",
			 "table %.*s has %lld rows of %lld bytes pending, above its bound",
			 (int)t->shape.name.len, (const char *)t->shape.name.at,
			 (long long)have.rows, (long long)have.bytes);
	return NE_OK;
}

static int add_dropped(struct engine *en, const struct tracked *t, struct engine_status *out,
		       struct err *e)
{
	char sql[100];
	int64_t rows;

	snprintf(sql, sizeof(sql), "SELECT dropped_rows FROM neap_policy WHERE id = %lld",
		 (long long)t->id);
	TRY(db_int(en->d->db, sql, 0, &rows, e));
	out->dropped_rows += rows;
	if (rows)
		add_text(
			out, "rows-dropped", NE_OK,
			"connect more often, or give it a higher bound with `neap track`, which "
			"also ends this notice",
			"%lld rows of table %.*s were deleted unsent, at its bound on pending rows",
			(long long)rows, (int)t->shape.name.len, (const char *)t->shape.name.at);
	return NE_OK;
}

/* Told as long as it lasts: it is above its rate, or the server is busy with others. */
static void add_slow(const struct engine *en, struct engine_status *out)
{
	if (en->link && en->mono_ms < en->busy_until_ms)
		add_text(out, "slow-down", NE_OK, "nothing to do: it goes on by itself",
			 "the server is busy; it is tried again in %llu ms",
			 (unsigned long long)(en->busy_until_ms - en->mono_ms));
}

static void add_clock(struct engine_status *out)
{
	int64_t ms = out->clock_offset_ms;
	int64_t s = (ms < 0 ? -ms : ms) / 1000;

	/* Stamps are corrected by the offset: nothing is in the way. */
	if (ms > CLOCK_OFF_MS || ms < -CLOCK_OFF_MS)
		add_text(out, "clock-far-off", NE_OK, "set the clock; changes are not affected",
			 "this device's clock is %lld %s %s the server's",
			 (long long)(s < 7200 ? s / 60 : s / 3600), s < 7200 ? "minutes" : "hours",
			 ms < 0 ? "ahead of" : "behind");
}

static void add_conflicts(struct engine_status *out)
{
	if (out->conflict_rows)
		add_text(out, "conflicts", NE_OK, "see `neap conflicts`",
			 "%lld values of this device lost against others",
			 (long long)out->conflict_rows);
}

/* What keeps changes from going comes first, then what is only to be known. */
static int find_troubles(struct engine *en, struct engine_status *out, struct err *e)
{
	add_capture(en, out);
	if (!out->n_trouble) /* a sync waits for that, not for people to track a table */
		add_comparing(en, out);
	add_locked(en, out);
	if (en->problem)
		add_problem(en, out);
	add_silent(en, out);
	TRY(add_refused(en, out, e));
	for (size_t i = 0; i < en->d->n_table; i++)
		TRY(add_bound(en, &en->d->table[i], out, e));
	for (size_t i = 0; i < en->d->n_table; i++)
		TRY(add_dropped(en, &en->d->table[i], out, e));
	if (!en->problem)
		add_problem(en, out);
	add_slow(en, out);
	add_clock(out);
	add_conflicts(out);
	if (out->n_trouble) {
		const struct engine_trouble *worst = &out->trouble[0];

		out->problem = worst->code;
		memcpy(out->reason, worst->reason, sizeof(out->reason));
		memcpy(out->next_step, worst->next_step, sizeof(out->next_step));
	}
	return NE_OK;
}

int engine_status(struct engine *en, struct engine_status *out, struct err *e)
{
	struct engine_status s = {.state = state_of(en)};
	struct dev_clock clock;
	int64_t last;

	TRY(devdb_get(en->d, "last_number", &last, e));
	s.store = en->at.store;
	s.term = en->at.term;
	s.cursor = en->at.cursor;
	s.hold = en->at.hold;
	s.head = en->head > en->at.cursor ? en->head : en->at.cursor;
	s.full_pull = en->at.full;
	TRY(lost_any(en->d, &s.asking, e));
	s.acked_number = en->acked_number;
	s.last_number = (uint64_t)last;
	s.verified_wall_ms = en->verified_wall_ms;
	s.inflight_sets = engine_unacked(en);
	s.inflight_bytes = en->outstanding;
	s.bad_frames = en->bad_frames;
	TRY(add_pending(en, &s, e));
	TRY(db_int(en->d->db, "SELECT count(*) FROM neap_parked", 0, &s.parked_rows, e));
	TRY(db_int(en->d->db, "SELECT count(*) FROM neap_rejected", 0, &s.rejected_rows, e));
	TRY(db_int(en->d->db, "SELECT count(*) FROM neap_conflict", 0, &s.conflict_rows, e));
	TRY(devdb_clock(en->d, &clock, e));
	s.clock_offset_ms = clock.offset_ms;
	TRY(find_troubles(en, &s, e));
	*out = s;
	return NE_OK;
}
