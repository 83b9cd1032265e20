/* What a person may want to know: how much is pending, and what is in the way. */
#include <stdio.h>

#include "device/core/devdb_schema.h"
#include "device/core/engine_internal.h"

enum { CLOCK_OFF_MS = 24 * 3600 * 1000 };

void engine_problem(struct engine *en, int code, const char *reason, const char *next_step)
{
	en->problem = code;
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
		if (p.oldest_ms &&
		    (!out->oldest_pending_ms || p.oldest_ms < out->oldest_pending_ms))
			out->oldest_pending_ms = p.oldest_ms;
	}
	return NE_OK;
}

static void say(struct engine_status *out, int code, const char *next_step)
{
	out->problem = code;
	snprintf(out->next_step, sizeof(out->next_step), "%s", next_step);
}

static bool capture_broken(const struct engine *en, struct engine_status *out)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		const struct tracked *t = &en->d->table[i];

		if (t->capture_ok)
			continue;
		snprintf(out->reason, sizeof(out->reason), "capture of table %.*s is broken: %s",
			 (int)t->shape.name.len, (const char *)t->shape.name.at, t->reason);
		say(out, NE_CAPTURE, "run `neap track` on the table again");
		return true;
	}
	return false;
}

/* Capture is in order again, and what it missed is being looked for. */
static int comparing(struct engine *en, struct engine_status *out, struct err *e)
{
	for (size_t i = 0; i < en->d->n_table && !out->comparing; i++) {
		const struct tracked *t = &en->d->table[i];
		int64_t known;

		TRY(devdb_comparing(en->d, t->id, &out->comparing, &known, e));
		if (!out->comparing)
			continue;
		snprintf(out->reason, sizeof(out->reason),
			 "capture of table %.*s was lost: it has to be compared with the server",
			 (int)t->shape.name.len, (const char *)t->shape.name.at);
		say(out, NE_CAPTURE, "nothing to do but to sync: what it missed is sent then");
	}
	return NE_OK;
}

/* The newest of the rows rejected, or else of those parked. */
static int rows_waiting(struct engine *en, struct engine_status *out, struct err *e)
{
	bool rejected = out->rejected_rows != 0, row;
	sqlite3_stmt *s;

	TRY(db_prepare(
		en->d->db,
		rejected ? "SELECT coalesce(t.name, '?'), r.reason FROM neap_rejected r LEFT"
			   " JOIN neap_table t ON t.id = r.table_id ORDER BY r.id DESC LIMIT 1"
			 : "SELECT coalesce(t.name, '?'), p.reason FROM neap_parked p LEFT"
			   " JOIN neap_table t ON t.id = p.table_id LIMIT 1",
		&s, e));
	TRY(db_step(en->d->db, s, &row, e));
	snprintf(out->reason, sizeof(out->reason), "%s %.60s: %.120s",
		 rejected ? "a row was refused, table" : "a row of others does not fit table",
		 row ? (const char *)sqlite3_column_text(s, 0) : "?",
		 row && sqlite3_column_text(s, 1) ? (const char *)sqlite3_column_text(s, 1) : "");
	sqlite3_reset(s);
	say(out, NE_ROWS,
	    rejected ? "see `neap rejected`; then --retry or --forget"
		     : "see `neap rejected`; change the row that is in its way");
	return NE_OK;
}

static int clock_off(struct engine *en, struct engine_status *out, struct err *e)
{
	struct dev_clock clock;

	TRY(devdb_clock(en->d, &clock, e));
	if (clock.offset_ms < CLOCK_OFF_MS && clock.offset_ms > -CLOCK_OFF_MS)
		return NE_OK;
	/* Stamps are corrected by the offset, so nothing is in the way: said, not a problem. */
	snprintf(out->reason, sizeof(out->reason),
		 "this device's clock is %lld hours %s the server's",
		 (long long)(clock.offset_ms < 0 ? -clock.offset_ms : clock.offset_ms) / 3600000,
		 clock.offset_ms < 0 ? "ahead of" : "behind");
	say(out, NE_OK, "set the clock");
	return NE_OK;
}

/* What is worst comes first. */
static int find_problem(struct engine *en, struct engine_status *out, struct err *e)
{
	if (capture_broken(en, out))
		return NE_OK;
	TRY(comparing(en, out, e));
	if (out->comparing)
		return NE_OK;
	if (en->problem) {
		snprintf(out->reason, sizeof(out->reason), "%s", en->reason);
		say(out, en->problem, en->next_step);
		return NE_OK;
	}
	if (out->rejected_rows || out->parked_rows)
		return rows_waiting(en, out, e);
	if (en->reason[0]) {
		snprintf(out->reason, sizeof(out->reason), "%s", en->reason);
		say(out, NE_OK, en->next_step);
		return NE_OK;
	}
	return clock_off(en, out, e);
}

int engine_status(struct engine *en, struct engine_status *out, struct err *e)
{
	struct engine_status s = {.state = state_of(en)};
	int64_t last;

	TRY(devdb_get(en->d, "last_number", &last, e));
	s.store = en->at.store;
	s.term = en->at.term;
	s.cursor = en->at.cursor;
	s.hold = en->hold;
	s.head = en->head > en->at.cursor ? en->head : en->at.cursor;
	s.full_pull = en->at.full;
	s.acked_number = en->acked_number;
	s.last_number = (uint64_t)last;
	s.verified_wall_ms = en->verified_wall_ms;
	s.inflight_sets = engine_unacked(en);
	s.inflight_bytes = en->outstanding;
	s.bad_frames = en->bad_frames;
	TRY(add_pending(en, &s, e));
	TRY(db_int(en->d->db, "SELECT count(*) FROM neap_parked", 0, &s.parked_rows, e));
	TRY(db_int(en->d->db, "SELECT count(*) FROM neap_rejected", 0, &s.rejected_rows, e));
	TRY(find_problem(en, &s, e));
	*out = s;
	return NE_OK;
}
