#include <stdlib.h>
#include <string.h>

#include "backend/core/ingest_step.h"

enum {
	PAGE_BYTES = 32 * 1024,
	USER_PARTS = 8 * 1024 * 1024,
	ALL_PARTS = 64 * 1024 * 1024,
	PARTS_MS = 60 * 1000,
	FAR_AHEAD_MS = 300 * 1000,
	GC_EVERY_MS = 60 * 1000,
	GC_PAIRS = 256,
	RECOUNT_ROWS = 20000, /* of a table counted anew, in one step: some 10 ms */
	CONFLICTS_USER = 100000,
	CONFLICT_BYTES_USER = 64 * 1024 * 1024,
	SCRATCH_BYTES = 2 * LIMIT_SET + LIMIT_SLICE,
};

static const uint64_t tombstone_ms = (uint64_t)90 * 24 * 3600 * 1000;
static const uint64_t conflict_ms = (uint64_t)90 * 24 * 3600 * 1000;

static void defaults(struct ingest_config *c)
{
	if (c->far_ahead_ms == 0)
		c->far_ahead_ms = FAR_AHEAD_MS;
	if (c->tombstone_ms == 0)
		c->tombstone_ms = tombstone_ms;
	if (c->page_bytes == 0)
		c->page_bytes = PAGE_BYTES;
	if (c->parts_bytes_user == 0)
		c->parts_bytes_user = USER_PARTS;
	if (c->parts_bytes == 0)
		c->parts_bytes = ALL_PARTS;
	if (c->parts_ms == 0)
		c->parts_ms = PARTS_MS;
	if (c->conflict_keep_ms == 0)
		c->conflict_keep_ms = conflict_ms;
	if (c->conflicts_user == 0)
		c->conflicts_user = CONFLICTS_USER;
	if (c->conflict_bytes_user == 0)
		c->conflict_bytes_user = CONFLICT_BYTES_USER;
}

static uint64_t gc_every_ms(const struct ingest *in)
{
	return in->c.tombstone_ms < GC_EVERY_MS ? in->c.tombstone_ms : GC_EVERY_MS;
}

int ingest_open(struct ingest **out, const struct ingest_config *c, uint64_t now_ms, struct err *e)
{
	struct ingest *in = calloc(1, sizeof *in);
	uint64_t term = 0;

	if (!in)
		return err_set(e, NE_MEMORY, "no memory for the ingest");
	in->c = *c;
	in->store = c->store;
	defaults(&in->c);
	in->rows.max = in->frame.max = SCRATCH_BYTES;
	in->work.max = WORK_BYTES;
	in->gc_due_ms = now_ms + gc_every_ms(in);
	in->heads_due = true;
	while (term == 0) {
		c->random(c->random_ctx, &term, sizeof term);
		term >>= 1;
	}
	int rc = rates_open(in, e);
	if (!rc)
		rc = store_take_term(in->store, term, e);
	if (rc) {
		ingest_close(in);
		return rc;
	}
	*out = in;
	return 0;
}

void ingest_close(struct ingest *in)
{
	if (!in)
		return;
	parts_expire(in, 0, true);
	arena_free(&in->decoded);
	arena_free(&in->work);
	buf_free(&in->rows);
	buf_free(&in->frame);
	rates_free(in->devices);
	rates_free(in->declarations);
	free(in);
}

void ingest_stats(const struct ingest *in, struct ingest_stats *out)
{
	*out = in->stats;
}

void out_messages_free(struct out_messages *o)
{
	arena_free(&o->arena);
	*o = (struct out_messages){0};
}

int step_user(struct step *s, const char *name, struct user_state **out, struct err *e)
{
	struct user_state *us = s->users;

	while (us && strcmp(us->u.name.at, name) != 0)
		us = us->next;
	if (!us) {
		us = arena_alloc(&s->arena, sizeof *us);
		if (!us)
			return err_set(e, NE_MEMORY, "no memory for a step");
		TRY(store_user_ensure(s->store, name, &us->u, e));
		us->next = s->users;
		s->users = us;
	}
	*out = us;
	return 0;
}

static int dispatch(struct step *s, const struct sender *from, const struct frame *f,
		    struct slice *whole, struct err *e)
{
	switch (f->type) {
	case FRAME_HELLO:
		return on_hello(s, from, &f->hello, e);
	case FRAME_SET:
		return on_set(s, from, &f->set, e);
	case FRAME_PULL:
		return on_pull(s, from, &f->pull, e);
	case FRAME_DECLARE:
		return on_declare(s, from, &f->declare, e);
	case FRAME_VERIFY:
		return on_verify(s, from, &f->verify, e);
	case FRAME_CONFLICTS:
		return on_conflicts(s, from, &f->conflicts, e);
	case FRAME_ASK:
		return on_ask(s, from, &f->ask, e);
	case FRAME_PART:
		if (whole)
			return on_part(s, from, &f->part, whole, e);
		break; /* parts within a frame put together from parts */
	default:
		break;
	}
	s->in->stats.malformed++;
	return 0;
}

/* One frame; *whole, if given, is set when it was the last part of another. */
static int one_frame(struct step *s, const struct sender *from, struct slice plain,
		     struct slice *whole, struct err *e)
{
	struct ingest *in = s->in;
	struct frame f;
	struct err bad;

	arena_free(&in->decoded);
	arena_free(&in->work);
	in->decoded.max = LIMIT_DECODED;
	int rc = frame_decode(plain, &in->decoded, &f, &bad);
	if (rc) { /* also NE_MEMORY: a frame that takes more than its share must not stop the step
		   */
		in->stats.malformed++;
		return 0;
	}
	/* The frame's own bytes and the rows in it each may take the limit. */
	in->decoded.max = 2 * (size_t)LIMIT_DECODED;
	return dispatch(s, from, &f, whole, e);
}

int on_frame(struct step *s, const struct sender *from, struct slice plain, struct err *e)
{
	struct slice whole = {NULL, 0};

	TRY(one_frame(s, from, plain, &whole, e));
	if (!whole.at)
		return 0;
	int rc = one_frame(s, from, whole, NULL, e);
	parts_done(s->in, whole);
	return rc;
}

static int on_message(struct step *s, const struct in_event *ev, struct sender *from, struct err *e)
{
	bool now;

	TRY(step_user(s, ev->user, &from->us, e));
	TRY(rates_admit(s, from, &now, e));
	if (!now)
		return 0;
	int rc = on_frame(s, from, ev->frame, e);
	int charged = rates_did(s, from, rc ? NULL : e);
	return rc ? rc : charged;
}

static int on_event(struct step *s, const struct in_event *ev, struct err *e)
{
	struct sender from = {.us = NULL};

	switch (ev->type) {
	case IN_FRAME:
		if (!id_valid(slice_str(ev->user)) ||
		    id_set(&from.device, slice_str(ev->device), "device", NULL)) {
			s->in->stats.malformed++;
			return 0;
		}
		return on_message(s, ev, &from, e);
	case IN_BROKER:
		s->in->heads_due = true;
		s->in->heads_uid = 0;
		return 0;
	case IN_SQL: /* every step looks */
	case IN_TICK:
		return 0;
	}
	return 0;
}

/*
 * Errors of one event that the others of its step need not share: what it asked for is dropped and
 * counted. The rest (disk, lock, corruption) fails the step.
 */
static bool events_own(int rc)
{
	enum ne_category c = ne_category(rc);

	return c == NE_CAT_PEER || rc == NE_USAGE || rc == NE_MEMORY || rc == NE_INTERNAL;
}

static int upkeep(struct step *s, struct err *e)
{
	struct ingest *in = s->in;
	size_t removed;

	parts_expire(in, s->now_ms, false);
	TRY(store_recount_some(s->store, RECOUNT_ROWS, e));
	if (s->now_ms < in->gc_due_ms)
		return 0;
	in->gc_due_ms = s->now_ms + gc_every_ms(in);
	TRY(conflicts_expire(s, e));
	if (s->now_ms < in->c.tombstone_ms)
		return 0;
	TRY(store_forget_content(s->store, s->now_ms - in->c.tombstone_ms, GC_PAIRS, e));
	return store_gc(s->store, s->now_ms - in->c.tombstone_ms, GC_PAIRS, &removed, e);
}

static int run(struct step *s, const struct in_event *ev, size_t n, struct err *e)
{
	TRY(upkeep(s, e));
	TRY(server_changes(s, e));
	for (size_t i = 0; i < n; i++) {
		int rc = on_event(s, &ev[i], e);
		if (!events_own(rc) || store_ended(s->store))
			TRY(rc);
		else
			s->in->stats.malformed++;
	}
	return finish_out(s, e);
}

static int try_step(struct ingest *in, uint64_t now_ms, const struct in_event *ev, size_t n,
		    struct out_messages *out, struct err *e)
{
	struct step s = {
		.in = in,
		.store = in->store,
		.now_ms = now_ms,
		.out = out,
		.arena = {.max = STEP_BYTES},
	};
	bool heads_due = in->heads_due;
	int64_t heads_uid = in->heads_uid;

	s.down_end = &s.down;
	s.rejects_end = &s.rejects;
	out_messages_free(out);
	out->arena.max = OUT_BYTES;
	TRY(store_begin(in->store, e));
	rates_begin(&s, ev, n);
	int rc = run(&s, ev, n, e);
	if (rc)
		store_rollback(in->store);
	else
		rc = store_commit(in->store, e);
	parts_settle(in, !rc);
	if (rc) {
		out_messages_free(out);
		in->heads_due = heads_due;
		in->heads_uid = heads_uid;
		rates_undo(&s);
	}
	arena_free(&s.arena);
	return rc;
}

int ingest_step(struct ingest *in, uint64_t now_ms, const struct in_event *ev, size_t n,
		struct out_messages *out, struct err *e)
{
	int rc = try_step(in, now_ms, ev, n, out, e);

	for (int i = 0; rc && store_rolled_back(in->store) && i < STORE_ROLLED_TRIES; i++)
		rc = try_step(in, now_ms, ev, n, out, e);
	return rc;
}
