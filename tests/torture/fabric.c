/* Engines and the ingest in one process: what one publishes reaches the others, once, in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/core/track.h"
#include "tests/torture/torture.h"

enum { STEPS_MAX = 200000, SYNC_MS = 3600 * 1000, SOME_STEPS = 12 };

struct message {
	struct message *next;
	int to; /* device; −1: the ingest */
	unsigned from;
	enum event_type type;
	struct buf frame;
};

/* ---- the clock ---- */

static sqlite3_int64 sqlite_now_ms; /* since noon of 24 November 4714 BC */

static int current_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	(void)vfs;
	*out = sqlite_now_ms;
	return SQLITE_OK;
}

void fabric_clock(uint64_t now_ms)
{
	static sqlite3_vfs vfs;

	if (!vfs.zName) {
		/* The stock file system with a clock that is part of the seed. */
		vfs = *sqlite3_vfs_find(NULL);
		vfs.zName = "torture";
		vfs.xCurrentTimeInt64 = current_time;
		if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
			abort();
	}
	sqlite_now_ms = (sqlite3_int64)(now_ms + 210866760000000u);
}

static void pass_time(struct world *w, uint64_t ms)
{
	w->now_ms += ms;
	fabric_clock(w->now_ms);
}

/* ---- messages ---- */

static void send(struct world *w, int to, unsigned from, enum event_type type, struct slice frame)
{
	struct message *m = calloc(1, sizeof *m);

	if (!m)
		abort();
	*m = (struct message){
		.to = to, .from = from, .type = type, .frame = {.max = LIMIT_FRAME + 4096}};
	if (buf_put(&m->frame, frame.at, frame.len))
		abort();
	*w->last = m;
	w->last = &m->next;
}

static struct message *take(struct world *w)
{
	struct message *m = w->first;

	if (m)
		w->first = m->next;
	if (!w->first)
		w->last = &w->first;
	return m;
}

static void message_free(struct message *m)
{
	buf_free(&m->frame);
	free(m);
}

static bool ok(struct world *w, int rc, const struct err *e, const char *who, const char *what)
{
	if (rc)
		torture_fail(w, "%s: %s: %s (%s)", who, what, e->text, ne_name(rc));
	return !rc;
}

/* ---- the ingest ---- */

static void spread(struct world *w)
{
	for (size_t i = 0; i < w->out.n; i++) {
		const struct out_message *m = &w->out.at[i];
		enum event_type type = m->kind == TOPIC_DOWN	  ? EV_DOWN
				       : m->kind == TOPIC_CHANGES ? EV_CHANGES
								  : EV_HEAD;

		for (unsigned k = 0; k < DEVICES; k++)
			if (w->device[k].en &&
			    (type != EV_DOWN || strcmp(m->peer.at, w->device[k].name) == 0))
				send(w, (int)k, 0, type, m->frame);
	}
}

static void ingest(struct world *w, const struct in_event *ev)
{
	struct err e = {0};

	if (ok(w, ingest_step(w->in, w->now_ms, ev, 1, &w->out, &e), &e, "the server", "step"))
		spread(w);
}

/* ---- devices ---- */

/* False: the database is locked by the app; the event is to be given again. */
static bool step(struct world *w, struct device *d, struct event ev)
{
	struct err e = {0};
	int rc;

	if (w->failed || !d->en)
		return true;
	ev.now_ms = ev.mono_ms = w->now_ms;
	rc = engine_step(d->en, &ev, &d->out, &e);
	if (rc == NE_BUSY && d->index == w->writer && twin_in_transaction(w))
		return false;
	if (!ok(w, rc, &e, d->name, "step"))
		return true;
	size_t sent = 0;
	for (size_t i = 0; i < d->out.n; i++) {
		const struct action *a = &d->out.at[i];

		if (a->type == ACT_PUBLISH) {
			send(w, -1, d->index, EV_TICK, a->frame);
			sent += a->frame.len;
		} else if (a->type == ACT_SYNCED) {
			d->synced = a->sync_id;
		}
	}
	return !sent || step(w, d, (struct event){.type = EV_SENT, .sent_bytes = sent});
}

void device_start(struct world *w, struct device *d)
{
	struct engine_config c = {.path = d->path, .random = rng_bytes, .random_ctx = &w->ids};
	struct err e = {0};

	/* UNIQUE values that change hands in a circle need one set: it has room for a few rows. */
	c.set_rows = (w->has_unique ? 8 : 1) + rng_below(&w->chance, 60);
	if (rng_chance(&w->chance, 500))
		c.set_bytes = rng_range(&w->chance, w->has_unique ? 10000 : 100, 20000);
	if (!ok(w, engine_open(&d->en, &c, &e), &e, d->name, "open"))
		return;
	/* Nobody waits here: what is locked stays locked until the test goes on. */
	sqlite3_busy_timeout(db_handle(engine_devdb(d->en)->db), 0);
	if (sqlite3_exec(db_handle(engine_devdb(d->en)->db), "PRAGMA synchronous = OFF", NULL, NULL,
			 NULL) != SQLITE_OK)
		torture_fail(w, "%s: %s", d->name, "synchronous");
	step(w, d, (struct event){.type = EV_LINK_UP});
}

void device_stop(struct device *d)
{
	engine_close(d->en);
	d->en = NULL;
}

static void track_all(struct world *w, struct device *d)
{
	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		struct track_options o = {.append = w->table[i].append,
					  .priority = w->table[i].append ? 7 : 5};
		struct err e = {0};
		const char *name = d->schema_at < w->table[i].renamed_at ? w->table[i].old_name
									 : w->table[i].name;
		int rc;

		if (w->table[i].untracked)
			continue;
		rc = track_table(engine_devdb(d->en), name, &o, &e);
		if (rc == NE_USAGE && strstr(e.text, "cannot be synced")) {
			/* Never silent: what capture cannot see through is refused, everywhere. */
			note_feature(w, F_index_refused);
			w->table[i].untracked = true;
			continue;
		}
		ok(w, rc, &e, d->name, "track");
	}
}

void device_init(struct world *w, struct device *d)
{
	struct err e = {0};

	d->joined = true;
	if (!ok(w, devdb_init(d->path, NULL, "u", d->name, rng_u64(&w->ids) >> 1 | 1, &e), &e,
		d->name, "init"))
		return;
	device_start(w, d);
	if (!w->failed)
		track_all(w, d);
	step(w, d, (struct event){.type = EV_LOCAL});
}

/* ---- running ---- */

static void deliver(struct world *w, struct message *m)
{
	if (m->to < 0) {
		ingest(w, &(struct in_event){.type = IN_FRAME,
					     .user = "u",
					     .device = w->device[m->from].name,
					     .frame = buf_slice(&m->frame)});
	} else if (!step(w, &w->device[m->to],
			 (struct event){.type = m->type, .frame = buf_slice(&m->frame)})) {
		/* Locked: as if it came later, in the same order as all that is for this device. */
		send(w, m->to, m->from, m->type, buf_slice(&m->frame));
	}
	message_free(m);
}

void fabric_look(struct world *w, struct device *d)
{
	step(w, d, (struct event){.type = EV_LOCAL});
}

void fabric_some(struct world *w)
{
	unsigned n = 1 + rng_below(&w->chance, SOME_STEPS);

	/* Any other writer ends the hopes of a transaction that has only read. */
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (w->app[i] && !sqlite3_get_autocommit(w->app[i]) &&
		    sqlite3_txn_state(w->app[i], "main") != SQLITE_TXN_WRITE)
			return;
	step(w, &w->device[w->writer], (struct event){.type = EV_LOCAL});
	for (unsigned i = 0; i < n && w->first && !w->failed; i++)
		deliver(w, take(w));
	pass_time(w, rng_below(&w->chance, 3));
}

static bool all_synced(const struct world *w)
{
	for (unsigned i = 0; i < DEVICES; i++)
		if (w->device[i].joined && w->device[i].synced != w->sync_id)
			return false;
	return true;
}

/* Nothing is on its way: time passes until the next who wants to do something. */
static void wait(struct world *w)
{
	uint64_t next = w->now_ms + 1000;

	for (unsigned i = 0; i < DEVICES; i++)
		if (w->device[i].en && engine_deadline_ms(w->device[i].en) < next)
			next = engine_deadline_ms(w->device[i].en);
	pass_time(w, next > w->now_ms ? next - w->now_ms : 1);
	for (unsigned i = 0; i < DEVICES; i++)
		step(w, &w->device[i], (struct event){.type = EV_TICK});
}

static void fail_unsynced(struct world *w)
{
	for (unsigned i = 0; i < DEVICES && !w->failed; i++) {
		struct engine_status s = {0};
		struct err e = {0};

		if (!w->device[i].joined || w->device[i].synced == w->sync_id)
			continue;
		if (engine_status(w->device[i].en, &s, &e))
			torture_fail(w, "%s: %s", w->device[i].name, e.text);
		torture_fail(w,
			     "%s does not come in sync: state %d, %lld rows pending, %lld "
			     "parked, cursor %llu, hold %llu, head %llu: %s",
			     w->device[i].name, (int)s.state, (long long)s.pending_rows,
			     (long long)s.parked_rows, (unsigned long long)s.cursor,
			     (unsigned long long)s.hold, (unsigned long long)s.head, s.reason);
	}
}

/* The writer first: a device is in sync with what was committed before it asked. */
static void sync_device(struct world *w, struct device *d)
{
	uint64_t end = w->now_ms + SYNC_MS;

	step(w, d, (struct event){.type = EV_LOCAL});
	step(w, d, (struct event){.type = EV_SYNC, .sync_id = w->sync_id});
	for (unsigned i = 0; i < STEPS_MAX && w->now_ms < end && !w->failed; i++) {
		if (w->first)
			deliver(w, take(w));
		else if (d->synced == w->sync_id)
			return;
		else
			wait(w);
	}
}

void fabric_sync(struct world *w)
{
	w->sync_id++;
	w->totals->syncs++;
	for (unsigned i = 0; i < DEVICES && !w->failed; i++)
		if (w->device[i].joined && !w->device[i].en)
			device_start(w, &w->device[i]);
	sync_device(w, &w->device[w->writer]);
	for (unsigned i = 0; i < DEVICES && !w->failed; i++)
		if (w->device[i].joined && i != w->writer)
			sync_device(w, &w->device[i]);
	if (!w->failed && !all_synced(w))
		fail_unsynced(w);
}

void fabric_open(struct world *w)
{
	struct store_config sc = {
		.path = w->store_path, .random = rng_bytes, .random_ctx = &w->ids};
	struct ingest_config ic = {.random = rng_bytes, .random_ctx = &w->ids};
	struct store_user u;
	struct err e = {0};

	w->last = &w->first;
	if (!ok(w, store_open(&w->store, &sc, &e), &e, "the store", "open") ||
	    !ok(w, store_user_ensure(w->store, "u", &u, &e), &e, "the store", "user"))
		return;
	ic.store = w->store;
	if (rng_chance(&w->chance, 300))
		ic.page_bytes = rng_range(&w->chance, 200, 4000);
	ok(w, ingest_open(&w->in, &ic, w->now_ms, &e), &e, "the ingest", "open");
}

void fabric_close(struct world *w)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		device_stop(&w->device[i]);
		actions_free(&w->device[i].out);
	}
	while (w->first)
		message_free(take(w));
	ingest_close(w->in);
	store_close(w->store);
	out_messages_free(&w->out);
}
