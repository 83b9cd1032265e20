/* Deleting rows by the tables' policies: when, and by what clock. */
#include "device/core/engine_internal.h"
#include "device/core/keep.h"

enum {
	KEEP_PAUSE_MS = 20,  /* between steps: the app's writers get in */
	KEEP_NOTE_MS = 1000, /* after something was acknowledged or written */
	KEEP_BUSY_MS = 1000, /* the database was locked, or full */
	KEEP_MAX_MS = 3600 * 1000,
};

static bool any_policy(const struct engine *en)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		const struct policy *p = &en->d->table[i].policy;

		if (policy_keeps(p) || p->drop_oldest)
			return true;
	}
	return false;
}

void engine_keep_wake(struct engine *en)
{
	uint64_t at = en->mono_ms + KEEP_NOTE_MS;

	if (at < en->keep_at_ms && any_policy(en))
		en->keep_at_ms = at;
}

void engine_heard_time(struct engine *en, uint64_t server_ms)
{
	if (server_ms > INT64_MAX / 2)
		return;
	en->server_ms = (int64_t)server_ms;
	en->server_mono_ms = en->mono_ms;
	en->has_server_ms = true;
	engine_keep_wake(en);
}

/*
 * The server's time as heard in this run, plus what the steady clock says has passed: a wall clock
 * that steps makes nothing old. Early by the message's travel at most.
 */
static struct keep_clock clock_now(const struct engine *en)
{
	return (struct keep_clock){
		.known = en->has_server_ms,
		.ms = en->server_ms + (int64_t)(en->mono_ms - en->server_mono_ms),
	};
}

/* How long until the next age is reached, by the server's clock. */
static uint64_t wait_of(const struct engine *en, const struct kept *k)
{
	struct keep_clock now = clock_now(en);
	uint64_t wait = KEEP_MAX_MS;

	if (k->due_ms <= now.ms)
		wait = KEEP_NOTE_MS;
	else if ((uint64_t)(k->due_ms - now.ms) < wait)
		wait = (uint64_t)(k->due_ms - now.ms);
	return wait;
}

static void next(struct engine *en, const struct kept *k, uint64_t drop_ms)
{
	uint64_t at = drop_ms;

	if (k->more)
		at = en->mono_ms;
	else if (k->due_ms && en->mono_ms + wait_of(en, k) < at)
		at = en->mono_ms + wait_of(en, k);
	if (at < en->mono_ms + KEEP_PAUSE_MS)
		at = en->mono_ms + KEEP_PAUSE_MS;
	en->keep_at_ms = at;
}

int engine_keep(struct engine *en, struct err *e)
{
	struct kept k = {0};
	uint64_t drop_ms = NEVER_MS;
	int rc;

	if (en->mono_ms < en->keep_at_ms)
		return NE_OK;
	rc = keep_step(en->d, clock_now(en), &k, e);
	if (!rc)
		rc = keep_drop_pending(en->d, (int64_t)en->now_ms, en->mono_ms, &drop_ms, e);
	if (rc == NE_BUSY || rc == NE_DISK) {
		/* Nothing else depends on it. */
		en->keep_at_ms = en->mono_ms + KEEP_BUSY_MS;
		return NE_OK;
	}
	TRY(rc);
	next(en, &k, drop_ms);
	return NE_OK;
}
