/*
 * A device on a radio: what is written gathers in the database, and the link is up only for a sync
 * every so often. A wake-up is a sync that gives up where nothing moves, so it ends as `neap sync`
 * does; whoever else asks for a sync or a verification wakes the link as well, and it stays up
 * until all of them have their answer.
 */
#include "device/shell/node_internal.h"

/* How it went is in the status; there is nobody to tell. */
static void on_synced(void *ctx, int code, const char *text, const json_t *status)
{
	(void)ctx;
	(void)code;
	(void)text;
	(void)status;
}

static void wake(struct node *n)
{
	struct err e = {0};

	n->awake = true;
	/* NE_BUSY: others sync already, and the link is up for them. */
	if (node_sync(n, false, on_synced, n, &e))
		node_link_poke(n);
}

void node_wake_step(struct node *n)
{
	if (!n->owner.every_ms || n->awake)
		return;
	if (n->conn.state != CONN_ASLEEP || mono_ms() >= n->conn.deadline_ms)
		wake(n);
}

/* A tenth less at most, so that a fleet that was switched on at once does not stay together. */
static uint64_t until_ms(const struct node *n)
{
	uint64_t every = n->owner.every_ms;
	uint32_t r;

	crypt_random(NULL, &r, sizeof r);
	return mono_ms() + every - r % (every / 10 + 1);
}

void node_rest_step(struct node *n)
{
	if (!n->owner.every_ms || node_syncs_wait(n) || !conn_may_sleep(&n->conn))
		return;
	n->awake = false;
	node_link_sleep(n, until_ms(n));
}
