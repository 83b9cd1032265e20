#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

const char *const fault_name[FAULT_N] = {
	[FAULT_LOST] = "messages lost",
	[FAULT_REPEATED] = "messages repeated",
	[FAULT_DELAYED] = "messages delayed for long",
	[FAULT_REPLAYED] = "old messages replayed",
	[FAULT_LINK_CUT] = "links cut",
	[FAULT_DEVICE_KILLED] = "devices killed",
	[FAULT_DEVICE_POWER] = "devices without power",
	[FAULT_DEVICE_AT_WRITE] = "devices killed at a write",
	[FAULT_BACKEND_KILLED] = "backends killed",
	[FAULT_BACKEND_UNPUBLISHED] = "backends killed before publishing",
	[FAULT_BACKEND_AT_WRITE] = "backends killed at a write",
	[FAULT_BROKER_WIPED] = "brokers wiped",
	[FAULT_HEAD_LOST] = "retained heads lost",
	[FAULT_CLOCK_JUMP] = "clocks changed",
	[FAULT_APP_LOCK] = "files locked by the app",
	[FAULT_OPERATOR] = "operator's transactions",
	[FAULT_STORE_RESTORED] = "stores restored from a copy",
	[FAULT_STORE_WIPED] = "stores wiped",
	[FAULT_DEVICE_RESTORED] = "devices restored from a copy",
};

enum activity {
	DO_APP,
	DO_OPERATOR,
	DO_LINK_DOWN,
	DO_KILL,
	DO_POWER,
	DO_DIE_AT_WRITE,
	DO_BACKEND_KILL,
	DO_BACKEND_DIE,
	DO_WIPE,
	DO_HEAD_LOST,
	DO_CLOCK,
	DO_SYNC,
	DO_REPLAY,
	DO_STORE_BACKUP,
	DO_STORE_RESTORE,
	DO_STORE_WIPE,
	DO_DEVICE_BACKUP,
	DO_DEVICE_RESTORE,
	DO_N,
};

static const uint32_t base_weight[DO_N] = {
	[DO_APP] = 120,	       [DO_OPERATOR] = 10,     [DO_LINK_DOWN] = 8,
	[DO_KILL] = 5,	       [DO_POWER] = 4,	       [DO_DIE_AT_WRITE] = 8,
	[DO_BACKEND_KILL] = 3, [DO_BACKEND_DIE] = 5,   [DO_WIPE] = 2,
	[DO_HEAD_LOST] = 2,    [DO_CLOCK] = 4,	       [DO_SYNC] = 4,
	[DO_REPLAY] = 6,       [DO_STORE_BACKUP] = 6,  [DO_STORE_RESTORE] = 4,
	[DO_STORE_WIPE] = 2,   [DO_DEVICE_BACKUP] = 8, [DO_DEVICE_RESTORE] = 5,
};

enum { HEAL_ROUNDS = 3, HEAL_ROUND_MS = 30 * 60 * 1000, EVENTS_MAX = 200000 };

/* ---- reporting ---- */

void sim_fail(struct world *w, const char *fmt, ...)
{
	va_list args;

	if (w->failed)
		return;
	va_start(args, fmt);
	vsnprintf(w->why, sizeof w->why, fmt, args);
	va_end(args);
	w->failed = true;
	sim_trace(w, "FAILED: %s", w->why);
}

void sim_trace(const struct world *w, const char *fmt, ...)
{
	va_list args;

	if (!w->opt->trace)
		return;
	uint64_t t = w->now_ms - 1700000000000u;
	printf("%7llu.%03u  ", (unsigned long long)(t / 1000), (unsigned)(t % 1000));
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

void sim_fault(struct world *w, enum fault f)
{
	w->totals->fault[f]++;
}

void sim_clock(const struct world *w, const struct sim_device *d)
{
	memvfs_set_now(d ? device_wall_ms(d) : w->now_ms);
}

/* ---- what is to happen ---- */

static bool before(const struct item *a, const struct item *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(struct world *w, size_t a, size_t b)
{
	struct item *t = w->queue[a];

	w->queue[a] = w->queue[b];
	w->queue[b] = t;
}

struct item *queue_add(struct world *w, enum item_type type, uint64_t after_ms, int device)
{
	struct item *it = calloc(1, sizeof *it);

	assert(it);
	it->at_ms = w->now_ms + after_ms;
	it->order = w->order++;
	it->type = type;
	it->device = device;
	if (w->n_queue == w->cap_queue) {
		w->cap_queue = w->cap_queue ? 2 * w->cap_queue : 256;
		w->queue = realloc(w->queue, w->cap_queue * sizeof(struct item *));
		assert(w->queue);
	}
	size_t i = w->n_queue++;
	w->queue[i] = it;
	for (; i && before(w->queue[i], w->queue[(i - 1) / 2]); i = (i - 1) / 2)
		swap(w, i, (i - 1) / 2);
	return it;
}

static struct item *queue_take(struct world *w)
{
	struct item *first = w->queue[0];

	w->queue[0] = w->queue[--w->n_queue];
	for (size_t i = 0;;) {
		size_t least = i, l = 2 * i + 1, r = l + 1;
		if (l < w->n_queue && before(w->queue[l], w->queue[least]))
			least = l;
		if (r < w->n_queue && before(w->queue[r], w->queue[least]))
			least = r;
		if (least == i)
			return first;
		swap(w, i, least);
		i = least;
	}
}

void item_free(struct item *it)
{
	buf_free(&it->sealed);
	free(it);
}

static void device_item(struct world *w, struct item *it)
{
	struct sim_device *d = &w->device[it->device];
	bool link_item = it->type == ITEM_MESSAGE || it->type == ITEM_SENT;

	if (link_item && (!d->link || it->link_run != d->link_run))
		return;
	switch (it->type) {
	case ITEM_MESSAGE:
		device_receive(d, it);
		break;
	case ITEM_SENT:
		device_step(d, &(struct event){.type = EV_SENT, .sent_bytes = it->bytes});
		break;
	case ITEM_RETRY:
		if (it->link_run != d->link_run && it->event.type != EV_LOCAL)
			break;
		it->event.frame = it->sealed.len ? buf_slice(&it->sealed) : it->event.frame;
		device_step(d, &it->event);
		break;
	case ITEM_APP_COMMIT:
		if (d->app_tx)
			app_end(d);
		break;
	default:
		device_step(d, &(struct event){.type = EV_LOCAL});
	}
}

static void do_item(struct world *w, struct item *it)
{
	if (it->device >= 0) {
		device_item(w, it);
		item_free(it);
	} else if (it->type == ITEM_MESSAGE && it->link_run != w->backend.link_run) {
		item_free(it);
	} else {
		backend_deliver(w, it);
	}
}

/* ---- faults ---- */

static struct sim_device *any_device(struct world *w)
{
	return &w->device[rng_below(&w->chance, w->n_device)];
}

static void change_clock(struct sim_device *d)
{
	struct world *w = d->w;
	int64_t to = 0;

	if (rng_chance(&w->chance, 700))
		to = (int64_t)rng_range(&w->chance, 0, 1200000) - 600000;
	sim_fault(w, FAULT_CLOCK_JUMP);
	sim_trace(w, "%s   clock %lld ms off", d->name, (long long)to);
	d->skew_ms = to;
}

static void wipe(struct world *w)
{
	sim_fault(w, FAULT_BROKER_WIPED);
	sim_trace(w, "broker wiped");
	net_wipe(w);
	queue_add(w, ITEM_BROKER, rng_range(&w->chance, 1, 5000), -1);
}

static void act(struct world *w, enum activity a)
{
	struct sim_device *d = any_device(w);

	switch (a) {
	case DO_APP:
		app_write(d);
		break;
	case DO_OPERATOR:
		operator_write(w);
		break;
	case DO_LINK_DOWN:
		sim_fault(w, FAULT_LINK_CUT);
		device_link_down(d);
		break;
	case DO_KILL:
		device_kill(d, false);
		break;
	case DO_POWER:
		device_kill(d, true);
		break;
	case DO_DIE_AT_WRITE:
		device_die_at_write(d);
		break;
	case DO_BACKEND_KILL:
		backend_kill(w);
		break;
	case DO_BACKEND_DIE:
		backend_die_at_write(w);
		break;
	case DO_WIPE:
		wipe(w);
		break;
	case DO_HEAD_LOST:
		sim_fault(w, FAULT_HEAD_LOST);
		buf_clear(&w->retained[d->user - w->user]);
		break;
	case DO_CLOCK:
		change_clock(d);
		break;
	case DO_SYNC:
		device_step(d, &(struct event){.type = EV_SYNC, .sync_id = 1});
		break;
	case DO_STORE_BACKUP:
		backend_backup(w);
		break;
	case DO_STORE_RESTORE:
		backend_restore(w);
		break;
	case DO_STORE_WIPE:
		backend_wipe(w);
		break;
	case DO_DEVICE_BACKUP:
		device_backup(d);
		break;
	case DO_DEVICE_RESTORE:
		device_restore(d);
		break;
	default:
		net_replay(w);
	}
}

static enum activity choose(struct world *w)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < DO_N; i++)
		sum += w->c.weight[i];
	uint32_t at = rng_below(&w->chance, sum);
	unsigned i = 0;
	for (; at >= w->c.weight[i]; i++)
		at -= w->c.weight[i];
	return (enum activity)i;
}

/* ---- the loop ---- */

/* When the next thing happens, at most `limit`. */
static uint64_t next_ms(const struct world *w, uint64_t limit)
{
	uint64_t t = limit;

	if (w->n_queue && w->queue[0]->at_ms < t)
		t = w->queue[0]->at_ms;
	if (w->backend.wake_ms < t)
		t = w->backend.wake_ms;
	if (w->backend.tick_ms < t)
		t = w->backend.tick_ms;
	for (unsigned i = 0; i < w->n_device; i++) {
		const struct sim_device *d = &w->device[i];
		uint64_t due = engine_deadline_ms(d->en);
		if (!d->link && d->link_up_at < due)
			due = d->link_up_at;
		if (due < t)
			t = due;
	}
	return t > w->now_ms ? t : w->now_ms;
}

/* Does one thing that is due; false if nothing is before `limit`, which is then the time. */
static bool do_next(struct world *w, uint64_t limit)
{
	w->now_ms = next_ms(w, limit);
	if (w->now_ms >= limit)
		return false;
	if (w->n_queue && w->queue[0]->at_ms <= w->now_ms) {
		do_item(w, queue_take(w));
		return true;
	}
	if (w->backend.wake_ms <= w->now_ms) {
		backend_run(w);
		return true;
	}
	for (unsigned i = 0; i < w->n_device; i++) {
		struct sim_device *d = &w->device[i];
		if (!d->link && d->link_up_at <= w->now_ms) {
			device_link_up(d);
			return true;
		}
		if (engine_deadline_ms(d->en) <= w->now_ms) {
			device_step(d, &(struct event){.type = EV_TICK});
			return true;
		}
	}
	backend_tick(w);
	return true;
}

static bool all_synced(const struct world *w, uint64_t id)
{
	for (unsigned i = 0; i < w->n_device; i++)
		if (w->device[i].synced < id)
			return false;
	return true;
}

static void fail_not_synced(struct world *w, uint64_t id)
{
	for (unsigned i = 0; i < w->n_device; i++) {
		struct sim_device *d = &w->device[i];
		struct engine_status s;
		struct err e;
		if (d->synced >= id || engine_status(d->en, &s, &e))
			continue;
		sim_fail(w,
			 "%s does not sync: state %d, cursor %llu hold %llu head %llu%s, %lld rows "
			 "pending, "
			 "%zu sets in flight, number %llu acknowledged %llu: %s %s",
			 d->name, s.state, (unsigned long long)s.cursor, (unsigned long long)s.hold,
			 (unsigned long long)s.head, s.full_pull ? ", full pull" : "",
			 (long long)s.pending_rows, s.inflight_sets,
			 (unsigned long long)s.last_number, (unsigned long long)s.acked_number,
			 ne_name(s.problem), s.reason);
	}
	sim_fail(w, "not synced");
}

/* Everyone asks to be in sync, without faults, `rounds` times. */
static void sync_all(struct world *w, uint64_t id, unsigned rounds)
{
	size_t events = 0;

	for (; rounds > 0 && !w->failed; rounds--, id++) {
		uint64_t end = w->now_ms + HEAL_ROUND_MS;
		for (unsigned i = 0; i < w->n_device && !w->failed; i++)
			device_step(&w->device[i], &(struct event){.type = EV_SYNC, .sync_id = id});
		while (!w->failed && !all_synced(w, id) && do_next(w, end))
			if (++events > EVENTS_MAX)
				sim_fail(w, "no end after %zu events", events);
		if (!w->failed && !all_synced(w, id))
			fail_not_synced(w, id);
	}
}

/* A fleet at work: all rows are there and in sync before the faults begin. */
static void warm_up(struct world *w)
{
	w->healed = true;
	for (unsigned i = 0; i < w->n_device; i++)
		w->device[i].link_up_at = w->now_ms + i;
	for (unsigned u = 0; u < w->n_user && w->c.moving; u++)
		app_prefill(&w->device[u ? w->opt->devices : 0]);
	sync_all(w, 10, 2);
	w->healed = false;
}

static void chaos(struct world *w)
{
	uint64_t end = w->now_ms + w->c.chaos_ms;
	uint64_t mean = w->c.chaos_ms / w->c.activities;

	while (w->now_ms < end && !w->failed) {
		uint64_t next = w->now_ms + 1 + rng_range(&w->chance, 0, 2 * mean);
		while (!w->failed && do_next(w, next))
			;
		if (!w->failed)
			act(w, choose(w));
	}
}

/* No more faults: everyone comes back, and after a few rounds all must be the same. */
static void heal(struct world *w)
{
	w->healed = true;
	memvfs_fail_at("", 0, NULL);
	sim_trace(w, "-- healed");
	for (unsigned i = 0; i < w->n_device; i++) {
		struct sim_device *d = &w->device[i];
		if (d->app_tx)
			app_end(d);
		if (!d->link)
			d->link_up_at = w->now_ms + 100;
		device_step(d, &(struct event){.type = EV_LOCAL});
	}
	queue_add(w, ITEM_SQL, 1, -1);
	sync_all(w, 101, HEAL_ROUNDS);
}

/* ---- a run ---- */

static void draw_climate(struct world *w)
{
	struct rng *r = &w->chance;
	struct climate *c = &w->c;
	static const uint32_t swarm[] = {0, 1, 1, 3};
	bool restores = rng_chance(r, 150); /* of the store or of devices, from copies */

	bool hot = rng_chance(r, 500); /* everyone at the same few cells at once */
	c->chaos_ms = hot ? rng_range(r, 2000, 60000) : rng_range(r, 20, 900) * 1000;
	c->activities = (uint32_t)rng_range(r, 20, 120);
	c->keys = hot ? (uint32_t)rng_range(r, 1, 2) : (uint32_t)rng_range(r, 2, 6);
	c->tables = hot ? 150 : 450;
	c->moving = rng_chance(r, hot ? 700 : 200) ? (uint32_t)rng_range(r, 3, 16) : 0;
	c->dense = c->moving && rng_chance(r, 600);
	c->warm = c->moving || rng_chance(r, 300);
	c->lose = rng_chance(r, 700) ? rng_below(r, 250) : 0;
	c->repeat = rng_chance(r, 600) ? rng_below(r, 150) : 0;
	c->delay = rng_chance(r, 500) ? rng_below(r, 100) : 0;
	c->reorder_ms = rng_chance(r, 700) ? rng_below(r, 3000) : 5;
	c->unpublished = rng_chance(r, 500) ? rng_below(r, 60) : 0;
	c->skew = rng_chance(r, 500) ? 700 : 0;
	c->tear = 500;
	c->set_rows = rng_chance(r, 500) ? (uint32_t)rng_range(r, 1, 12) : 0;
	for (unsigned i = 0; i < DO_N; i++)
		c->weight[i] = base_weight[i] * swarm[rng_below(r, 4)];
	for (unsigned i = DO_STORE_BACKUP; i <= DO_DEVICE_RESTORE && !restores; i++)
		c->weight[i] = 0;
	c->weight[DO_APP] += base_weight[DO_APP];
	c->page_bytes = rng_chance(r, 600) ? (uint32_t)rng_range(r, 60, 2000) : 0;
	c->piece_bytes = rng_chance(r, 200) ? (uint32_t)rng_range(r, 150, 1000) : 0;
	if (c->dense) {
		/* Much at once, so that answers, broadcasts and writes cross each other. */
		c->activities = (uint32_t)rng_range(r, 60, 160);
		c->chaos_ms = c->activities * rng_range(r, 15, 80);
		c->reorder_ms = (uint32_t)rng_range(r, 30, 400);
		c->lose /= 8;
		c->delay = 0;
	}
	/* Calm seeds find what faults would hide. */
	if (rng_chance(r, 100)) {
		c->lose = c->repeat = c->delay = c->unpublished = c->skew = 0;
		for (unsigned i = 0; i < DO_N; i++)
			c->weight[i] = i == DO_APP || i == DO_OPERATOR ? base_weight[i] : 0;
	}
}

static void choose_tables(struct world *w)
{
	while (w->n_table == 0)
		for (unsigned i = 0; i < n_sim_tables; i++)
			if (rng_chance(&w->chance, w->c.tables))
				w->table[w->n_table++] = &sim_tables[i];
}

static void set_up(struct world *w)
{
	unsigned others = rng_chance(&w->chance, 300) ? 2 : 0;

	draw_climate(w);
	choose_tables(w);
	w->n_user = others ? 2 : 1;
	for (unsigned u = 0; u < w->n_user; u++) {
		snprintf(w->user[u].name, sizeof w->user[u].name, "user%u", u);
		rng_bytes(&w->ids, w->user[u].group.at, KEY_LEN);
	}
	backend_open(w);
	for (unsigned i = 0; i < w->opt->devices + others && !w->failed; i++) {
		w->n_device++;
		device_init(w, i, &w->user[i < w->opt->devices ? 0 : 1]);
	}
}

static void tear_down(struct world *w)
{
	memvfs_fail_at("", 0, NULL);
	for (unsigned i = 0; i < w->n_device; i++)
		device_free(&w->device[i]);
	backend_free(w);
	net_free(w);
	for (size_t i = 0; i < w->n_queue; i++)
		item_free(w->queue[i]);
	free(w->queue);
	free(w->inbox);
	free(w->token);
	memvfs_clear();
}

bool world_run(uint64_t seed, const struct options *opt, struct totals *totals, char *why,
	       size_t why_size)
{
	struct world *w = calloc(1, sizeof *w);

	assert(w);
	w->seed = seed;
	w->opt = opt;
	w->totals = totals;
	w->chance.at = seed * 0x5851f42d4c957f2du;
	w->ids.at = ~seed;
	w->now_ms = 1700000000000u;
	w->backend.wake_ms = w->backend.tick_ms = UINT64_MAX;
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, 1, NULL);
	set_up(w);
	if (!w->failed && w->c.warm)
		warm_up(w);
	if (!w->failed)
		chaos(w);
	if (!w->failed)
		heal(w);
	if (!w->failed)
		check_all(w);
	bool ok = !w->failed;
	snprintf(why, why_size, "%s", w->why);
	tear_down(w);
	totals->seeds++;
	free(w);
	return ok;
}
