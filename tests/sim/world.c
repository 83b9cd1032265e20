#include <assert.h>
#include <limits.h>
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
	[FAULT_DEVICE_CLONED] = "devices started from another's copy",
	[FAULT_UPGRADED] = "apps upgraded by a column",
	[FAULT_ALL_REPLAYED] = "messages replayed at the end",
	[FAULT_MIGRATED] = "tables rebuilt, columns renamed or dropped",
	[FAULT_PURGED] = "rows of telemetry purged by the operator",
	[FAULT_VANISHED] = "commits of apps lost with the power",
};

enum {
	LAST_MAX = 4,
	HEAL_ROUNDS = 3,
	HEAL_ROUND_MS = 30 * 60 * 1000,
	EVENTS_MAX = 50000 /* a device */
};

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

struct sim_device *device_named(struct world *w, const char *name)
{
	char *end;
	unsigned long i = name[0] == 'd' ? strtoul(name + 1, &end, 10) : ULONG_MAX;

	return i < w->n_device && strcmp(w->device[i].name, name) == 0 ? &w->device[i] : NULL;
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
	case ITEM_BEGIN_ANEW:
		device_begin_anew(d);
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

/* ---- the loop ---- */

/* When a device has something to do by itself. */
static uint64_t device_due_ms(const struct sim_device *d)
{
	uint64_t due = engine_deadline_ms(d->en);

	return !d->link && d->link_up_at < due ? d->link_up_at : due;
}

static void do_due(struct sim_device *d)
{
	if (!d->link && d->link_up_at <= d->w->now_ms)
		device_link_up(d);
	else
		device_step(d, &(struct event){.type = EV_TICK});
}

bool do_next(struct world *w, uint64_t limit)
{
	struct sim_backend *b = &w->backend;
	struct sim_device *first = NULL;
	uint64_t device_ms = UINT64_MAX;

	for (unsigned i = 0; i < w->n_device; i++) {
		uint64_t due = device_due_ms(&w->device[i]);
		if (due < device_ms) {
			device_ms = due;
			first = &w->device[i];
		}
	}
	uint64_t item_ms = w->n_queue ? w->queue[0]->at_ms : UINT64_MAX;
	uint64_t at = item_ms < device_ms ? item_ms : device_ms;
	if (b->wake_ms < at)
		at = b->wake_ms;
	if (b->tick_ms < at)
		at = b->tick_ms;
	if (at < w->now_ms)
		at = w->now_ms;
	w->now_ms = at < limit ? at : limit;
	if (at >= limit)
		return false;
	if (item_ms <= at)
		do_item(w, queue_take(w));
	else if (b->wake_ms <= at)
		backend_run(w);
	else if (device_ms <= at)
		do_due(first);
	else
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
		w->sync_id = id;
		for (unsigned i = 0; i < w->n_device && !w->failed; i++)
			device_step(&w->device[i], &(struct event){.type = EV_SYNC, .sync_id = id});
		while (!w->failed && !all_synced(w, id) && do_next(w, end))
			if (++events > (size_t)EVENTS_MAX * w->n_device)
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
	for (unsigned i = 0; i < w->n_device && w->c.moving; i++)
		if (i == 0 || w->device[i].user != w->device[i - 1].user)
			app_prefill(&w->device[i]);
	sync_all(w, 10, 2);
	w->healed = false;
}

/* No more faults: everyone comes back, and after a few rounds all must be the same. */
static void heal(struct world *w)
{
	w->healed = true;
	if (!w->opt->crash)
		memvfs_fail_at("", 0, NULL);
	sim_trace(w, "-- healed");
	for (unsigned i = 0; i < w->n_device; i++) {
		struct sim_device *d = &w->device[i];
		if (d->app_tx)
			app_end(d);
		if (!d->link)
			d->link_up_at = w->now_ms + 100;
		if (d->untracked)
			device_track(d, true);
		device_step(d, &(struct event){.type = EV_LOCAL});
	}
	operator_repair(w);
	queue_add(w, ITEM_SQL, 1, -1);
	sync_all(w, 101, HEAL_ROUNDS);
	if (!w->failed && !w->opt->crash && rng_chance(&w->chance, 300)) {
		net_replay_all(w);
		sync_all(w, 111, 2);
	}
}

/* What is written when all is in sync wins everywhere, whoever writes it (M1). */
static void write_last(struct world *w)
{
	unsigned n = w->n_device < LAST_MAX ? w->n_device : LAST_MAX;

	memvfs_fail_at("", 0, NULL);
	for (unsigned i = 0; i < n && !w->failed; i++) {
		char last[24];
		snprintf(last, sizeof last, "last of %s", w->device[i].name);
		app_write_last(&w->device[i], last);
		sync_all(w, 121 + i, 1);
		if (!w->failed)
			check_last(w, &w->device[i], last);
	}
	sync_all(w, 131, 1);
}

/* At the end devices have, by the sums of all their rows, what the server has (J6). */
static void verify_all(struct world *w)
{
	uint64_t end = w->now_ms + HEAL_ROUND_MS;

	for (unsigned i = 0; i < w->n_device && !w->failed; i++)
		device_verify(&w->device[i]);
	for (unsigned i = 0; i < w->n_device && !w->failed; i++) {
		while (!w->failed && !w->device[i].verified && do_next(w, end))
			;
		if (!w->failed && !w->device[i].verified)
			sim_fail(w, "%s does not come to the end of a verification",
				 w->device[i].name);
	}
}

/* ---- a run ---- */

/* How many devices the first user has, and how many a second one, if the options do not say. */
static unsigned draw_devices(struct world *w, unsigned *first)
{
	const struct options *o = w->opt;
	unsigned n = (unsigned)rng_range(&w->chance, o->devices, o->devices_most);
	unsigned others = rng_chance(&w->chance, 300) ? 2 : 0;

	if (w->c.kind == CLIMATE_TINY)
		others = 0;
	*first = n;
	w->n_user = o->users ? o->users : others ? 2 : 1;
	if (o->users)
		*first = (n + o->users - 1) / o->users;
	return o->users ? n : n + others;
}

static void set_up(struct world *w)
{
	unsigned first, n;

	draw_climate(w);
	choose_tables(w);
	n = draw_devices(w, &first);
	for (unsigned u = 0; u < w->n_user; u++) {
		snprintf(w->user[u].name, sizeof w->user[u].name, "user%u", u);
		rng_bytes(&w->ids, w->user[u].group.at, KEY_LEN);
	}
	w->cap_device = n;
	w->device = calloc(n, sizeof *w->device);
	assert(w->device);
	winners_open(w);
	backend_open(w);
	for (unsigned i = 0; i < n && !w->failed; i++) {
		w->n_device++;
		device_init(w, i, &w->user[i / first]);
	}
}

static void tear_down(struct world *w)
{
	memvfs_fail_at("", 0, NULL);
	for (unsigned i = 0; i < w->n_device; i++)
		device_free(&w->device[i]);
	winners_close(w);
	backend_free(w);
	net_free(w);
	for (size_t i = 0; i < w->n_queue; i++)
		item_free(w->queue[i]);
	free(w->device);
	free(w->queue);
	free(w->inbox);
	free(w->token);
	memvfs_clear();
}

void world_run(uint64_t seed, const struct options *opt, struct totals *totals, struct outcome *out)
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
	if (opt->crash)
		memvfs_fail_at(opt->crash == CRASH_DEVICE ? w->device[0].path : STORE_PATH,
			       opt->crash_at ? opt->crash_at : UINT64_MAX,
			       opt->power ? &w->chance : NULL);
	if (!w->failed && w->c.warm)
		warm_up(w);
	if (!w->failed)
		chaos(w);
	if (!w->failed)
		heal(w);
	if (!w->failed)
		check_all(w);
	out->writes = UINT64_MAX - memvfs_armed();
	if (!w->failed)
		write_last(w);
	if (!w->failed)
		check_all(w);
	if (!w->failed)
		verify_all(w);
	out->ok = !w->failed;
	out->activities = w->n_activity;
	memcpy(out->why, w->why, sizeof out->why);
	tear_down(w);
	totals->seeds++;
	free(w);
}
