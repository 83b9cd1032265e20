/* What is done to the system. */
#include "tests/sim/sim.h"

static const int64_t YEAR_MS = (int64_t)365 * 24 * 3600 * 1000;

static struct sim_device *any_device(struct world *w)
{
	return &w->device[rng_below(&w->chance, w->n_device)];
}

/* Some minutes off, right again, a year ahead, or at 1970. */
static void change_clock(struct sim_device *d)
{
	struct world *w = d->w;
	int64_t to = 0;

	if (w->c.year_ahead)
		to = d->skew_ms ? 0 : YEAR_MS;
	else if (rng_chance(&w->chance, 700))
		to = (int64_t)rng_range(&w->chance, 0, 1200000) - 600000;
	else if (rng_chance(&w->chance, 300))
		to = rng_chance(&w->chance, 500) ? 1000 - (int64_t)w->now_ms : YEAR_MS;
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
	case DO_DEVICE_CLONE:
		device_clone(d);
		break;
	case DO_UPGRADE:
		app_upgrade(d);
		break;
	case DO_PURGE:
		operator_purge(w);
		break;
	case DO_MIGRATE:
		app_migrate(d);
		break;
	case DO_TRACK:
		device_track(d, false);
		break;
	case DO_LATE_SETS:
		device_late_sets(d);
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

/* Not in a trace that is being shortened. */
static bool dropped(const struct world *w, unsigned i)
{
	return i < w->opt->n_drop && w->opt->drop[i];
}

/*
 * Each activity, and what happens until the next, draws its chance anew from the seed and its own
 * number: one that is left out changes nothing of those after it but what follows from it.
 */
static void draw_anew(struct world *w, unsigned i)
{
	w->chance.at = (w->seed * 0x5851f42d4c957f2du) ^ (i + 1) * 0xd1342543de82ef95u;
	w->ids.at = ~w->chance.at * 0xda942042e4dd58b5u;
	rng_u64(&w->chance);
	rng_u64(&w->ids);
}

void chaos(struct world *w)
{
	uint64_t end = w->now_ms + w->c.chaos_ms;
	uint64_t mean = w->c.chaos_ms / w->c.activities;

	while (w->now_ms < end && !w->failed) {
		unsigned i = w->n_activity++;
		if (w->opt->stop && i >= w->opt->stop)
			return;
		draw_anew(w, i);
		uint64_t next = w->now_ms + 1 + rng_range(&w->chance, 0, 2 * mean);
		while (!w->failed && do_next(w, next))
			;
		if (!w->failed && !dropped(w, i))
			act(w, choose(w));
	}
}
