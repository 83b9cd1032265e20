/*
 * Who is served now (R4): a bucket of messages and rows per device, a share of the step per user,
 * and at most one new declaration a second per user. Whoever is above is told `busy` and when to
 * come again; nothing is lost by it, as only an acknowledgement clears a mark. The first two hold
 * only while others are served in the same step: a device that is alone may go as fast as it can.
 */
#include <string.h>

#include "backend/core/ingest_step.h"

enum {
	DEVICES = 65536, /* buckets kept: 2.5 MiB */
	USERS = 4096,
	MESSAGES_S = 1000,
	ROWS_S = 50000,
	DECLARATIONS_S = 1,
	DECLARATIONS_BURST = 16, /* an app's tables at once */
	STEP_ROWS = 20000,	 /* of a user in one step, … */
	SHARE_MS = 1000,	 /* … and when it may come again */
	FULL_MS = 1000,		 /* also when the step's answers are many bytes already */
	WAIT_MAX_MS = 60000,
};

/* A bucket as it was before this step, which may fail and be done again. */
struct rate_touched {
	struct rate_touched *next;
	struct rate_bucket *at, was;
};

int rates_open(struct ingest *in, struct err *e)
{
	const struct rate_limit declarations = {.messages_s = DECLARATIONS_S,
						.messages_burst = in->c.declarations_burst
									  ? in->c.declarations_burst
									  : DECLARATIONS_BURST};
	struct rate_limit device = {.messages_s = in->c.device_messages_s,
				    .rows_s = in->c.device_rows_s};
	uint64_t secret;

	if (!device.messages_s)
		device.messages_s = MESSAGES_S;
	if (!device.rows_s)
		device.rows_s = ROWS_S;
	in->c.random(in->c.random_ctx, &secret, sizeof secret);
	if (rates_new(&in->devices, DEVICES, &device, secret) ||
	    rates_new(&in->declarations, USERS, &declarations, secret))
		return err_set(e, NE_MEMORY, "no memory for the rates of devices");
	return 0;
}

static int touch(struct step *s, struct rate_bucket *b, struct err *e)
{
	struct rate_touched *t = arena_alloc(&s->arena, sizeof *t);

	if (!t)
		return err_set(e, NE_MEMORY, "no memory for a step");
	*t = (struct rate_touched){s->touched, b, *b};
	s->touched = t;
	return 0;
}

void rates_undo(struct step *s)
{
	for (const struct rate_touched *t = s->touched; t; t = t->next)
		*t->at = t->was;
}

void rates_begin(struct step *s, const struct in_event *ev, size_t n)
{
	const struct in_event *first = NULL;

	for (size_t i = 0; i < n && !s->many_users; i++) {
		if (ev[i].type != IN_FRAME)
			continue;
		if (!first)
			first = &ev[i];
		s->many_users = strcmp(ev[i].user, first->user) != 0;
		s->many_devices = s->many_devices || s->many_users ||
				  strcmp(ev[i].device, first->device) != 0;
	}
}

int send_busy(struct step *s, const struct sender *to, uint64_t retry_ms, struct err *e)
{
	struct frame f = {.type = FRAME_BUSY, .busy = {.retry_ms = retry_ms}};

	return send_down(s, to, &f, 0, e);
}

static uint64_t share_ms(const struct step *s, const struct user_state *us)
{
	return s->many_users && us->work >= STEP_ROWS && us->work > s->work / 4 * 3 ? SHARE_MS : 0;
}

/*
 * All that a step gives out has to fit, or it could never be committed. What one frame brings is
 * far below the room that is left.
 */
static uint64_t full_ms(const struct step *s)
{
	return s->out->arena.used > OUT_ANSWER_BYTES ? FULL_MS : 0;
}

int rates_admit(struct step *s, const struct sender *from, bool *now, struct err *e)
{
	struct ingest *in = s->in;
	struct rate_bucket *b =
		rates_find(in->devices, from->us->u.name.at, from->device.at, s->now_ms);
	uint64_t wait = s->many_devices ? rates_wait_ms(in->devices, b) : 0;
	uint64_t share = share_ms(s, from->us), full = full_ms(s);

	TRY(touch(s, b, e));
	wait = share > wait ? share : wait;
	wait = full > wait ? full : wait;
	*now = wait == 0;
	if (*now) {
		rates_charge(in->devices, b, 1, 0);
		return 0;
	}
	in->stats.slowed++;
	in->stats.slowed_user = from->us->u.name;
	in->stats.slowed_device = from->device;
	if (b->told_ms == s->now_ms)
		return 0;
	b->told_ms = s->now_ms;
	return send_busy(s, from, wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS, e);
}

int rates_did(struct step *s, const struct sender *from, struct err *e)
{
	struct rate_bucket *b =
		rates_find(s->in->devices, from->us->u.name.at, from->device.at, s->now_ms);

	TRY(touch(s, b, e));
	rates_charge(s->in->devices, b, 0, s->rows);
	from->us->work += s->rows;
	s->work += s->rows;
	s->rows = 0;
	return 0;
}

uint64_t declaration_wait_ms(struct step *s, const struct sender *from)
{
	struct rates *r = s->in->declarations;

	return rates_wait_ms(r, rates_find(r, from->us->u.name.at, "", s->now_ms));
}

int declaration_charge(struct step *s, const struct sender *from, struct err *e)
{
	struct rates *r = s->in->declarations;
	struct rate_bucket *b = rates_find(r, from->us->u.name.at, "", s->now_ms);

	TRY(touch(s, b, e));
	rates_charge(r, b, 1, 0);
	return 0;
}
