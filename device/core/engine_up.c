/* Sets on their way up: cutting, the credit window, resending. */
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"
#include "device/core/identity.h"

struct flight *engine_flight(struct engine *en, uint64_t number)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		if (en->flight[i]->number == number)
			return en->flight[i];
	}
	return NULL;
}

void engine_free_flight(struct flight *f)
{
	buf_free(&f->frame);
	free(f->want);
	free(f);
}

void engine_drop_flight(struct engine *en, struct flight *f)
{
	size_t i = 0;

	while (en->flight[i] != f)
		i++;
	engine_free_flight(f);
	en->n_flight--;
	memmove(&en->flight[i], &en->flight[i + 1], (en->n_flight - i) * sizeof(en->flight[0]));
}

void engine_drop_flights(struct engine *en)
{
	for (size_t i = 0; i < en->n_flight; i++)
		engine_free_flight(en->flight[i]);
	en->n_flight = 0;
}

size_t engine_unacked(const struct engine *en)
{
	size_t n = 0;

	for (size_t i = 0; i < en->n_flight; i++)
		n += !en->flight[i]->acked;
	return n;
}

bool engine_quiet(const struct engine *en)
{
	return !engine_unacked(en) && !en->hello.open && !en->pull.open && !en->lost.open;
}

void engine_want_all(struct flight *f)
{
	if (f->acked || !f->frame.len)
		return;
	memset(f->want, true, f->n_piece);
	f->n_want = f->n_piece;
	f->due_ms = f->sent_ms = NEVER_MS;
}

void engine_resend(struct engine *en)
{
	for (size_t i = 0; !en->restart && i < en->n_flight; i++)
		engine_want_all(en->flight[i]);
}

void engine_back_off(struct engine *en, uint64_t first_ms)
{
	en->refused_ms = en->refused_ms >= first_ms ? 2 * en->refused_ms : first_ms;
	if (en->refused_ms > REFUSED_MAX_MS)
		en->refused_ms = REFUSED_MAX_MS;
	en->refused_until_ms = en->mono_ms + engine_jitter(en, en->refused_ms);
}

static int publish_piece(struct engine *en, const struct flight *f, size_t i, struct err *e)
{
	struct buf part = {.max = LIMIT_MESSAGE};
	struct frame frame;
	int rc;

	if (f->n_piece == 1)
		return engine_publish_bytes(en, buf_slice(&f->frame));
	parts_get(buf_slice(&f->frame), en->cfg.piece_bytes, f->cut, i, f->digest, &frame);
	rc = frame_encode(&frame, &part, e);
	if (!rc)
		rc = engine_publish_bytes(en, buf_slice(&part));
	buf_free(&part);
	return rc;
}

/* Publishes what pieces of `f` the window takes. */
int engine_pump_flight(struct engine *en, struct flight *f, struct err *e)
{
	for (size_t i = 0; i < f->n_piece && f->n_want; i++) {
		if (!f->want[i])
			continue;
		if (en->outstanding >= en->cfg.inflight_bytes)
			return NE_OK;
		TRY(publish_piece(en, f, i, e));
		f->want[i] = false;
		f->n_want--;
		if (f->n_want)
			continue;
		f->sent_ms = en->mono_ms;
		f->due_ms = en->mono_ms + en->cfg.ack_ms * en->backoff;
	}
	return NE_OK;
}

static bool overdue(const struct engine *en)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		if (!en->flight[i]->acked && en->flight[i]->due_ms <= en->mono_ms)
			return true;
	}
	return false;
}

/* Sets are published in the order of their numbers: the server takes only successors. */
static int pump(struct engine *en, struct err *e)
{
	if (overdue(en)) {
		if (en->backoff < 8)
			en->backoff *= 2;
		engine_resend(en);
	}
	if (en->mono_ms < en->busy_until_ms)
		return NE_OK;
	if (en->mono_ms >= en->sent_at_ms + STUCK_MS)
		en->outstanding = 0;
	for (size_t i = 0; i < en->n_flight; i++) {
		TRY(engine_pump_flight(en, en->flight[i], e));
		if (en->flight[i]->n_want)
			break;
	}
	return NE_OK;
}

static size_t frame_bytes(const struct engine *en)
{
	size_t n = 0;

	for (size_t i = 0; i < en->n_flight; i++)
		n += en->flight[i]->frame.len;
	return n;
}

uint64_t engine_cut_time(const struct engine *en)
{
	uint64_t at = en->cut_at_ms;

	/* While all is pulled, marks that lose to what comes need not be sent. */
	if (!en->link || !en->welcomed || en->quiet || !en->at.store || en->at.full ||
	    en->restart || en->verify.hold_cuts || !en->dirty || en->n_flight == FLIGHT_MAX ||
	    engine_unacked(en) >= en->window || frame_bytes(en) >= FLIGHT_BYTES_MAX)
		return NEVER_MS;
	for (size_t i = 0; i < en->n_flight; i++) {
		if (en->flight[i]->n_want)
			return NEVER_MS;
	}
	if (at < en->busy_until_ms)
		at = en->busy_until_ms;
	return at < en->refused_until_ms ? en->refused_until_ms : at;
}

int engine_make_flight(struct engine *en, const struct frame *frame, uint64_t id,
		       struct flight **out, struct err *e)
{
	struct flight *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return NE_MEMORY;
	f->frame.max = LIMIT_FRAME;
	f->cut = id;
	rc = frame_encode(frame, &f->frame, e);
	if (!rc) {
		f->n_piece = f->frame.len > en->cfg.piece_bytes
				     ? parts_count(f->frame.len, en->cfg.piece_bytes)
				     : 1;
		f->want = calloc(f->n_piece, sizeof(*f->want));
		rc = f->want ? NE_OK : NE_MEMORY;
	}
	if (rc) {
		engine_free_flight(f);
		return rc;
	}
	parts_digest(buf_slice(&f->frame), f->digest);
	engine_want_all(f);
	*out = f;
	return NE_OK;
}

static int add_flight(struct engine *en, const struct cut *cut, struct err *e)
{
	struct buf rows = {.max = LIMIT_SET};
	struct frame frame = {.type = FRAME_SET, .uncompressed = rows_uncompressed(&cut->rows)};
	struct flight *f = NULL;
	int rc = rows_encode(&cut->rows, cut->site, &rows, e);

	frame.set = (struct f_set){
		.site = cut->site,
		.number = cut->number,
		.prev = cut->prev,
		.cut = cut->cut,
		.flags = cut->flags,
		.captured = cut->captured,
		.seen = cut->seen,
		.rows = buf_slice(&rows),
	};
	if (!rc)
		rc = engine_make_flight(en, &frame, cut->cut, &f, e);
	buf_free(&rows);
	TRY(rc);
	f->number = cut->number;
	f->prev = cut->prev;
	f->gen_hi = cut->gen_hi;
	f->n_row = cut->n_row;
	f->captured = cut->captured;
	en->flight[en->n_flight++] = f;
	return NE_OK;
}

/* A set that packs to more than the limit: smaller ones, down to a single row. */
static int too_large(struct engine *en, const struct cut *cut, struct err *e)
{
	if (cut->n_row > 1 && en->set_bytes > 1) {
		en->set_bytes /= 4;
		return engine_forget(en, e);
	}
	engine_problem(en, NE_ROWS, "a row is larger than a change set may be (4 MiB)",
		       "shorten or delete its largest value");
	engine_back_off(en, REFUSED_MS);
	return engine_forget(en, e);
}

void engine_wait_for_room(struct engine *en)
{
	en->deletes = false;
	en->refused_ms = en->refused_ms >= QUOTA_MS ? 2 * en->refused_ms : QUOTA_MS;
	if (en->refused_ms > QUOTA_MAX_MS)
		en->refused_ms = QUOTA_MAX_MS;
	en->refused_until_ms = en->mono_ms + engine_jitter(en, en->refused_ms);
}

/* Of deletes, which make room, none was found; `more` is left to be looked at. */
static void no_deletes(struct engine *en, bool more)
{
	if (more)
		en->cut_at_ms = en->mono_ms + CUT_PAUSE_MS;
	else
		engine_wait_for_room(en);
}

/* Cuts the next set. *any is false when nothing is pending that is not in flight. */
static int cut_one(struct engine *en, bool *any, struct err *e)
{
	struct cut_limits limits = {.rows = en->few_rows ? en->few_rows : en->cfg.set_rows,
				    .cells = LIMIT_CELLS,
				    .bytes = en->set_bytes,
				    .deletes = en->deletes};
	struct arena a = {.max = 2 * LIMIT_DECODED};
	uint64_t id = engine_random_id(en);
	struct cut cut;

	/*
	 * The file may be an older copy of itself, whose sets of the same numbers are still on
	 * their way: an acknowledgement of theirs must not name one of ours.
	 */
	if (!en->numbered && !en->cfg.broken.no_skip)
		limits.skip = id & SKIP_MASK;
	int rc = cutter_next(en->cutter, &limits, id, &a, &cut, any, e);

	en->numbered |= !rc && *any;
	if (!rc && *any) {
		rc = add_flight(en, &cut, e);
		if (!rc)
			en->flight[en->n_flight - 1]->deletes = limits.deletes;
		if (rc == NE_LIMIT) {
			*any = false;
			rc = too_large(en, &cut, e);
		}
	} else if (!rc && limits.deletes) {
		no_deletes(en, cut.more);
	} else if (!rc) {
		en->dirty = false;
	}
	arena_free(&a);
	return rc;
}

/* SQLite has waited for the lock already: after some of that, other work gets most of the time. */
static void wait_for_lock(struct engine *en)
{
	unsigned shift = en->lock_waits < 5 ? en->lock_waits : 5;

	en->cut_at_ms = en->mono_ms + ((uint64_t)BUSY_MS << shift);
	en->lock_waits++;
	en->cut_locked = true;
	if (!en->locked_since_ms)
		en->locked_since_ms = en->mono_ms + !en->mono_ms;
}

static int cut_more(struct engine *en, struct err *e)
{
	bool any = true;

	while (any && engine_cut_time(en) <= en->mono_ms) {
		int rc = cut_one(en, &any, e);

		if (rc == NE_BUSY) {
			wait_for_lock(en);
			return NE_OK;
		}
		TRY(rc);
		en->cut_locked = false;
		en->lock_waits = 0;
		if (any)
			TRY(pump(en, e));
	}
	if (!any && engine_unacked(en))
		en->cut_at_ms = en->mono_ms + CUT_PAUSE_MS;
	return NE_OK;
}

static int store_offset(struct engine *en, bool always, struct err *e)
{
	struct dev_clock clock;
	int64_t off;

	if (!en->has_offset)
		return NE_OK;
	TRY(devdb_clock(en->d, &clock, e));
	off = en->offset_ms - clock.offset_ms;
	if (always || off > OFFSET_MIN_MS || off < -OFFSET_MIN_MS)
		TRY(devdb_set_offset(en->d, en->offset_ms, e));
	en->has_offset = false;
	return NE_OK;
}

/* A server that knows fewer sets than it acknowledged was restored or wiped (P8). */
static int begin_if_lost(struct engine *en, struct err *e)
{
	int64_t acked;

	TRY(devdb_get(en->d, "acked_number", &acked, e));
	if (en->committed >= (uint64_t)acked)
		return NE_OK;
	return lost_begin(en->d, e);
}

/* Begins to cut anew once every set the server is known to have is settled. */
static int restart(struct engine *en, struct err *e)
{
	if (!en->restart || !en->welcomed || engine_unacked(en) < en->n_flight)
		return NE_OK;
	TRY(devdb_begin(en->d, e));
	TRY(begin_if_lost(en, e));
	if (en->disown)
		TRY(identity_disown(en->d, en->disown, e));
	TRY(cutter_restart(en->cutter, e));
	/* The next set follows the newest number the server has, also if it lost some. */
	TRY(devdb_set(en->d, "acked_number", (int64_t)en->committed, e));
	TRY(devdb_commit(en->d, e));
	en->disown = 0;
	en->acked_number = en->committed;
	engine_drop_flights(en);
	TRY(engine_look_for_lost(en, e));
	if (en->restamp && en->has_offset) {
		if (!en->cfg.broken.no_restamp)
			TRY(store_offset(en, true, e));
		en->restamp = false;
	}
	en->restart = en->restamp;
	if (en->restamp && !en->hello.open)
		engine_want_hello(en, RETRY_MS);
	return NE_OK;
}

/* False after all that were held are no longer tracked, or were changed. */
static bool some_table_is_held(const struct engine *en)
{
	for (size_t i = 0; i < en->d->n_table; i++)
		if (en->d->table[i].held)
			return true;
	return false;
}

/* Tables that the server refused are tried again. If it still refuses, that is told anew. */
static void release_held(struct engine *en)
{
	if (!en->link || !en->any_held)
		return;
	if (some_table_is_held(en) && en->mono_ms < en->held_until_ms)
		return;
	if (en->problem && !en->no_room)
		engine_problem(en, NE_OK, "", "");
	for (size_t i = 0; i < en->d->n_table; i++)
		en->d->table[i].held = false;
	en->any_held = false;
	en->dirty = true;
	cutter_wake(en->cutter);
}

int engine_upload(struct engine *en, struct err *e)
{
	release_held(en);
	if (!en->restamp)
		TRY(store_offset(en, false, e));
	if (!en->link)
		return NE_OK;
	TRY(restart(en, e));
	TRY(pump(en, e));
	return cut_more(en, e);
}
