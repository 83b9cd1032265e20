#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

static struct sim_user *user_of(struct world *w, const struct topic *t)
{
	for (unsigned i = 0; i < w->n_user; i++)
		if (strcmp(w->user[i].name, t->user.at) == 0)
			return &w->user[i];
	return NULL;
}

static uint64_t latency(struct world *w)
{
	uint64_t ms = w->healed ? 5 : 1 + rng_below(&w->chance, w->c.reorder_ms + 1);

	if (!w->healed && rng_chance(&w->chance, w->c.delay)) {
		sim_fault(w, FAULT_DELAYED);
		ms += rng_range(&w->chance, 1000, 120000);
	}
	return ms;
}

static void send_one(struct world *w, int to, const struct topic *t, struct slice sealed)
{
	struct item *it = queue_add(w, ITEM_MESSAGE, latency(w) + w->late_ms, to);

	it->topic = *t;
	it->link_run = to < 0 ? w->backend.link_run : w->device[to].link_run;
	it->sealed.max = sealed.len;
	if (buf_put(&it->sealed, sealed.at, sealed.len))
		abort();
}

/* One copy to one receiver, as the network pleases. */
static void send_to(struct world *w, int to, const struct topic *t, struct slice sealed)
{
	w->totals->messages++;
	if (!w->healed && rng_chance(&w->chance, w->c.lose)) {
		sim_fault(w, FAULT_LOST);
		sim_trace(w, "     lost on its way to %s", to < 0 ? "backend" : w->device[to].name);
		return;
	}
	send_one(w, to, t, sealed);
	if (!w->healed && rng_chance(&w->chance, w->c.repeat)) {
		sim_fault(w, FAULT_REPEATED);
		send_one(w, to, t, sealed);
	}
}

static void record(struct world *w, const struct topic *t, struct slice sealed)
{
	size_t at =
		w->n_recorded < SEALED_KEPT ? w->n_recorded++ : rng_below(&w->chance, SEALED_KEPT);
	struct recorded *r = &w->recorded[at];

	r->topic = *t;
	r->sealed.max = 1 << 20;
	buf_clear(&r->sealed);
	if (buf_put(&r->sealed, sealed.at, sealed.len))
		abort();
}

/* Who gets it: the broker's subscriptions, as the plugin lets them be. */
static void route(struct world *w, const struct topic *t, struct slice sealed)
{
	const struct sim_user *user = user_of(w, t);

	if (t->kind == TOPIC_UP) {
		send_to(w, -1, t, sealed);
		return;
	}
	for (unsigned i = 0; i < w->n_device; i++) {
		struct sim_device *d = &w->device[i];
		bool mine = strcmp(d->name, t->peer.at) == 0;
		if (d->user != user || !d->link)
			continue;
		/* A device's own echo is withheld. */
		if (t->kind == TOPIC_HEAD || (t->kind == TOPIC_DOWN && mine) ||
		    (t->kind == TOPIC_CHANGES && !mine))
			send_to(w, (int)i, t, sealed);
	}
}

void net_publish(struct world *w, int from, const struct topic *t, struct slice sealed, bool retain)
{
	struct sim_user *user = user_of(w, t);

	(void)from;
	if (!user) {
		sim_fail(w, "a message for a user that does not exist: %s", t->user.at);
		return;
	}
	if (sealed.len > LIMIT_MESSAGE + SEAL_OVERHEAD)
		sim_fail(w, "a message of %zu bytes", sealed.len);
	if (!w->healed)
		record(w, t, sealed);
	if (retain) {
		struct buf *b = &w->retained[user - w->user];
		b->max = 1 << 16;
		buf_clear(b);
		if (buf_put(b, sealed.at, sealed.len))
			abort();
	}
	route(w, t, sealed);
}

void net_subscribed(struct world *w, struct sim_device *d)
{
	const struct buf *b = &w->retained[d->user - w->user];
	struct topic t = {.kind = TOPIC_HEAD};

	if (b->len == 0)
		return;
	if (id_set(&t.user, slice_str(d->user->name), "user", NULL))
		abort();
	send_to(w, (int)d->index, &t, buf_slice(b));
}

/* The broker forgets all it holds: what is on its way, retained heads, sessions. */
void net_wipe(struct world *w)
{
	for (unsigned i = 0; i < w->n_user; i++)
		buf_clear(&w->retained[i]);
	for (unsigned i = 0; i < w->n_device; i++)
		device_link_down(&w->device[i]);
	w->backend.link_run++;
}

/* Someone who recorded a message sends it again, much later. */
void net_replay(struct world *w)
{
	if (w->n_recorded == 0)
		return;
	const struct recorded *r = &w->recorded[rng_below(&w->chance, (uint32_t)w->n_recorded)];
	for (unsigned i = 0; w->c.late_sets && r->topic.kind != TOPIC_UP && i < 20; i++)
		r = &w->recorded[w->n_recorded - 1 -
				 rng_below(&w->chance,
					   w->n_recorded < 60 ? (uint32_t)w->n_recorded : 60)];
	sim_fault(w, FAULT_REPLAYED);
	sim_trace(w, "     replays a recorded message of %s", r->topic.user.at);
	route(w, &r->topic, buf_slice(&r->sealed));
}

/* … or all that were ever sent, in their order. */
void net_replay_all(struct world *w)
{
	sim_trace(w, "     replays all %zu recorded messages", w->n_recorded);
	for (size_t i = 0; i < w->n_recorded; i++) {
		sim_fault(w, FAULT_ALL_REPLAYED);
		route(w, &w->recorded[i].topic, buf_slice(&w->recorded[i].sealed));
	}
}

void net_free(struct world *w)
{
	for (unsigned i = 0; i < w->n_user; i++)
		buf_free(&w->retained[i]);
	for (size_t i = 0; i < w->n_recorded; i++)
		buf_free(&w->recorded[i].sealed);
}
