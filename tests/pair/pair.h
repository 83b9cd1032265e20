/*
 * Both ends in one process: engines on files of their own, the ingest on a
 * store, and a network that loses nothing. Each database has a stock
 * connection beside the engine's, as an app has it. The clock is moved by the
 * tests' own loop, so nothing waits.
 */
#ifndef NEAP_TESTS_PAIR_H
#define NEAP_TESTS_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/core/ingest.h"
#include "common/testing_dir.h"
#include "device/core/engine.h"
#include "device/core/track.h"

enum { PAIR_DEVICES = 4, PAIR_QUEUE = 4096, PAIR_STEPS = 20000 };

struct pair_device {
	bool used, link;
	char path[96], name[16];
	const char *vfs;       /* of engine and app; NULL: the default */
	int64_t wrong_ms;      /* its clock less the right one */
	size_t set_rows;       /* of a set, at most; 0: as many as there may be */
	bool may_fail, failed; /* a step that fails is noted, and the last one */
	struct engine *en;
	sqlite3 *app;
	struct actions acts;
	uint64_t synced;
	unsigned new_sites;
};

struct pair_message {
	int to; /* a device; −1 the server */
	int from;
	enum event_type type;
	struct buf frame;
};

struct pair {
	char dir[64], path[96];
	struct store *store;
	struct ingest *in;
	sqlite3 *sql; /* a stock connection to the store */
	struct out_messages out;
	struct pair_device dev[PAIR_DEVICES];
	struct pair_message queue[PAIR_QUEUE];
	size_t head, tail;
	struct buf retained; /* the head */
	uint64_t random, wall_ms, mono_ms;
	uint64_t pull_frames; /* pulls sent by devices */
	uint64_t page_bytes;  /* of rows in pages */
	uint64_t refusals;    /* sets refused */
	uint64_t welcomes;    /* that reached a device */
	uint64_t questions;   /* verifies sent by devices */
	/* by type of frame: plaintext bytes that went by, and how many frames were compressed */
	uint64_t frame_bytes[FRAME_HEAD + 1], compressed[FRAME_HEAD + 1];
	struct err e;
};

#define PAIR_OK(p, call)                                                               \
	do {                                                                           \
		int pair_rc_ = (call);                                                 \
		if (pair_rc_)                                                          \
			fail_msg("%s: %s: %s", #call, ne_name(pair_rc_), (p)->e.text); \
	} while (0)

static inline void pair_random(void *ctx, void *out, size_t len)
{
	uint64_t *x = ctx;
	uint8_t *at = out;

	for (size_t i = 0; i < len; i++) {
		*x = *x * 6364136223846793005ull + 1442695040888963407ull;
		at[i] = (uint8_t)(*x >> 56);
	}
}

static inline void pair_exec(sqlite3 *db, const char *sql)
{
	char *message = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &message))
		fail_msg("%s: %s", sql, message);
}

/* The rows of a query: columns joined by "|", rows by ","; good until the fourth call after. */
static inline const char *pair_rows(sqlite3 *db, const char *sql)
{
	static char texts[4][16384];
	static int next;
	char *text = texts[next++ % 4];
	size_t len = 0, room = sizeof texts[0];
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL))
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	text[0] = 0;
	while (sqlite3_step(s) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(s); i++) {
			const char *v = (const char *)sqlite3_column_text(s, i);
			int n = snprintf(text + len, room - len, "%s%s",
					 i     ? "|"
					 : len ? ","
					       : "",
					 v ? v : "NULL");

			assert_true(n >= 0 && (size_t)n < room - len);
			len += (size_t)n;
		}
	}
	sqlite3_finalize(s);
	return text;
}

/* A file in the folder of the test. */
static inline void pair_path(const struct pair *p, const char *name, const char *tail, char out[96])
{
	char dir[64], path[96];

	memcpy(dir, p->dir, sizeof dir);
	assert_true(snprintf(path, sizeof path, "%.60s/%.20s%.8s", dir, name, tail) < 96);
	memcpy(out, path, sizeof path);
}

static inline void pair_store_open(struct pair *p)
{
	struct store_config sc = {
		.path = p->path, .busy_ms = 100, .random = pair_random, .random_ctx = &p->random};
	struct ingest_config ic = {.random = pair_random, .random_ctx = &p->random};

	PAIR_OK(p, store_open(&p->store, &sc, &p->e));
	ic.store = p->store;
	PAIR_OK(p, ingest_open(&p->in, &ic, p->wall_ms + p->mono_ms, &p->e));
}

/* The server, and an operator's connection to its store. */
static inline void pair_server_start(struct pair *p)
{
	pair_store_open(p);
	assert_int_equal(sqlite3_open(p->path, &p->sql), SQLITE_OK);
	sqlite3_busy_timeout(p->sql, 2000);
}

static inline void pair_server_stop(struct pair *p)
{
	sqlite3_close(p->sql);
	ingest_close(p->in);
	store_close(p->store);
}

static inline struct pair *pair_new(void)
{
	struct pair *p = calloc(1, sizeof *p);

	assert_non_null(p);
	p->random = 1;
	p->mono_ms = 1000;
	p->wall_ms = (uint64_t)time(NULL) * 1000;
	p->retained.max = LIMIT_MESSAGE;
	testing_dir("neap-pair", p->dir, sizeof p->dir);
	pair_path(p, "store", ".db", p->path);
	pair_server_start(p);
	return p;
}

/* Puts a message into the queue; takes a copy. */
static inline void pair_send(struct pair *p, int from, int to, enum event_type type, struct slice f)
{
	struct pair_message *m = &p->queue[p->tail++ % PAIR_QUEUE];

	assert_true(p->tail - p->head < PAIR_QUEUE);
	*m = (struct pair_message){
		.to = to, .from = from, .type = type, .frame = {.max = LIMIT_FRAME * 2}};
	assert_int_equal(buf_put(&m->frame, f.at, f.len), 0);
}

static inline void pair_open_engine(struct pair *p, int i)
{
	struct pair_device *d = &p->dev[i];
	struct engine_config c = {
		.path = d->path, .vfs = d->vfs, .random = pair_random, .random_ctx = &p->random};

	c.set_rows = d->set_rows ? d->set_rows : c.set_rows;
	PAIR_OK(p, engine_open(&d->en, &c, &p->e));
}

static inline void pair_close_engine(struct pair *p, int i)
{
	engine_close(p->dev[i].en);
	p->dev[i].en = NULL;
	p->dev[i].link = false;
}

/* Gives device `i` one event; its messages go into the queue. */
static inline void pair_step(struct pair *p, int i, struct event ev)
{
	struct pair_device *d = &p->dev[i];

	ev.now_ms = p->wall_ms + p->mono_ms + (uint64_t)d->wrong_ms;
	ev.mono_ms = p->mono_ms;
	int rc = engine_step(d->en, &ev, &d->acts, &p->e);
	if (rc == NE_BUSY)
		return;
	if (rc && d->may_fail) {
		d->failed = true;
		return;
	}
	PAIR_OK(p, rc);
	size_t bytes = 0;
	for (size_t k = 0; k < d->acts.n; k++) {
		const struct action *a = &d->acts.at[k];

		if (a->type == ACT_PUBLISH && d->link)
			pair_send(p, i, -1, EV_TICK, a->frame);
		bytes += a->type == ACT_PUBLISH ? a->frame.len : 0;
		if (a->type == ACT_SYNCED)
			d->synced = a->sync_id;
		d->new_sites += a->type == ACT_NEW_SITE;
	}
	if (bytes)
		pair_step(p, i, (struct event){.type = EV_SENT, .sent_bytes = bytes});
}

static inline void pair_link(struct pair *p, int i, bool up)
{
	p->dev[i].link = up;
	pair_step(p, i, (struct event){.type = up ? EV_LINK_UP : EV_LINK_DOWN});
	if (up && p->retained.len)
		pair_send(p, -1, i, EV_HEAD, buf_slice(&p->retained));
}

/* A new device with `sql` run on its file, on a VFS; its site is 1000 + its index. */
static inline int pair_device_on(struct pair *p, const char *vfs, const char *sql)
{
	int i = 0;

	while (p->dev[i].used)
		i++;
	struct pair_device *d = &p->dev[i];
	d->used = true;
	d->vfs = vfs;
	snprintf(d->name, sizeof d->name, "d%d", i);
	pair_path(p, d->name, ".db", d->path);
	PAIR_OK(p, devdb_init(d->path, vfs, "u", d->name, (uint64_t)(1000 + i), &p->e));
	assert_int_equal(sqlite3_open_v2(d->path, &d->app, SQLITE_OPEN_READWRITE, vfs), SQLITE_OK);
	sqlite3_busy_timeout(d->app, 2000);
	pair_exec(d->app, sql);
	pair_open_engine(p, i);
	return i;
}

static inline int pair_device(struct pair *p, const char *sql)
{
	return pair_device_on(p, NULL, sql);
}

static inline void pair_track(struct pair *p, int i, const char *table, bool append)
{
	struct track_options o = {.append = append, .priority = 5};

	PAIR_OK(p, track_table(engine_devdb(p->dev[i].en), table, &o, &p->e));
}

static inline void pair_app(struct pair *p, int i, const char *sql)
{
	pair_exec(p->dev[i].app, sql);
}

static inline const char *pair_show(struct pair *p, int i, const char *sql)
{
	return pair_rows(p->dev[i].app, sql);
}

static inline const char *pair_server(struct pair *p, const char *sql)
{
	return pair_rows(p->sql, sql);
}

/* What a step of the server published. */
static inline void pair_publish(struct pair *p)
{
	for (size_t k = 0; k < p->out.n; k++) {
		const struct out_message *m = &p->out.at[k];

		if (m->kind == TOPIC_HEAD) {
			buf_clear(&p->retained);
			assert_int_equal(buf_put(&p->retained, m->frame.at, m->frame.len), 0);
		}
		for (int i = 0; i < PAIR_DEVICES; i++) {
			bool self = strcmp(m->peer.at, p->dev[i].name) == 0;

			if (!p->dev[i].used || !p->dev[i].link)
				continue;
			if (m->kind == TOPIC_DOWN ? !self : m->kind == TOPIC_CHANGES && self)
				continue;
			pair_send(p, -1, i,
				  m->kind == TOPIC_DOWN	     ? EV_DOWN
				  : m->kind == TOPIC_CHANGES ? EV_CHANGES
							     : EV_HEAD,
				  m->frame);
		}
	}
}

static inline void pair_serve(struct pair *p, struct in_event ev)
{
	PAIR_OK(p, ingest_step(p->in, p->wall_ms + p->mono_ms, &ev, 1, &p->out, &p->e));
	pair_publish(p);
}

/* Looks into what goes by. */
static inline void pair_watch(struct pair *p, struct slice plain)
{
	struct arena a = {.max = 64 << 20};
	struct frame f;

	if (!frame_decode(plain, &a, &f, &p->e)) {
		p->pull_frames += f.type == FRAME_PULL;
		p->page_bytes += f.type == FRAME_PAGE ? f.page.rows.len : 0;
		p->refusals += f.type == FRAME_REFUSE;
		p->welcomes += f.type == FRAME_WELCOME;
		p->questions += f.type == FRAME_VERIFY;
		p->frame_bytes[f.type] += plain.len;
		p->compressed[f.type] += plain.at[0] == 1;
	}
	arena_free(&a);
}

/* Delivers one message; false if there is none. */
static inline bool pair_deliver(struct pair *p)
{
	if (p->head == p->tail)
		return false;
	struct pair_message m = p->queue[p->head++ % PAIR_QUEUE];
	pair_watch(p, buf_slice(&m.frame));
	if (m.to < 0) {
		pair_serve(p, (struct in_event){.type = IN_FRAME,
						.user = "u",
						.device = p->dev[m.from].name,
						.frame = buf_slice(&m.frame)});
	} else if (p->dev[m.to].link) {
		pair_step(p, m.to, (struct event){.type = m.type, .frame = buf_slice(&m.frame)});
	}
	buf_free(&m.frame);
	return true;
}

/* Moves the clock to the next deadline of a linked device. */
static inline void pair_wait(struct pair *p)
{
	uint64_t at = UINT64_MAX;

	for (int i = 0; i < PAIR_DEVICES; i++) {
		if (!p->dev[i].used || !p->dev[i].en)
			continue;
		uint64_t due = engine_deadline_ms(p->dev[i].en);
		at = due < at ? due : at;
	}
	p->mono_ms = at == UINT64_MAX || at > p->mono_ms + 1000 ? p->mono_ms + 1000
		     : at > p->mono_ms				? at
								: p->mono_ms + 1;
	for (int i = 0; i < PAIR_DEVICES; i++) {
		if (p->dev[i].used && p->dev[i].en)
			pair_step(p, i, (struct event){.type = EV_TICK});
	}
}

/* `steps` messages, or until nothing is on its way. */
static inline void pair_run(struct pair *p, size_t steps)
{
	while (steps-- && pair_deliver(p))
		;
}

/* Lets time pass with messages delivered. */
static inline void pair_pass(struct pair *p, uint64_t ms)
{
	uint64_t until = p->mono_ms + ms;

	while (p->mono_ms < until) {
		pair_run(p, PAIR_STEPS);
		pair_wait(p);
	}
	pair_run(p, PAIR_STEPS);
}

/* True once `neap sync` on device `i` would end with 0. */
static inline bool pair_try_sync(struct pair *p, int i, size_t rounds)
{
	static uint64_t id;

	if (!p->dev[i].link)
		pair_link(p, i, true);
	pair_serve(p, (struct in_event){.type = IN_SQL});
	id++;
	pair_step(p, i, (struct event){.type = EV_SYNC, .sync_id = id});
	while (rounds-- && p->dev[i].synced != id) {
		pair_run(p, PAIR_STEPS);
		if (p->dev[i].synced != id)
			pair_wait(p);
	}
	return p->dev[i].synced == id;
}

static inline void pair_sync(struct pair *p, int i)
{
	if (!pair_try_sync(p, i, 2000)) {
		struct engine_status s;

		PAIR_OK(p, engine_status(p->dev[i].en, &s, &p->e));
		fail_msg("device %d does not become in sync: %s (%s)", i, s.reason, s.next_step);
	}
}

/* Every device in use, until the last has what the first ones sent. */
static inline void pair_sync_all(struct pair *p)
{
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < PAIR_DEVICES; i++) {
			if (p->dev[i].used && p->dev[i].en)
				pair_sync(p, i);
		}
	}
}

static inline struct engine_status pair_status(struct pair *p, int i)
{
	struct engine_status s;

	PAIR_OK(p, engine_status(p->dev[i].en, &s, &p->e));
	return s;
}

static inline void pair_copy(struct pair *p, const char *from, const char *to)
{
	char command[1200];

	(void)p;
	snprintf(command, sizeof command, "cp '%s' '%s' && rm -f '%s-wal' '%s-shm'", from, to, to,
		 to);
	assert_int_equal(system(command), 0);
}

/* A copy of the store as it is now. */
static inline void pair_back_up(struct pair *p)
{
	char to[96];

	pair_exec(p->sql, "PRAGMA wal_checkpoint(TRUNCATE)");
	pair_path(p, "backup", "", to);
	pair_copy(p, p->path, to);
}

/* The server goes on with the copy. */
static inline void pair_restore(struct pair *p)
{
	char from[96];

	pair_server_stop(p);
	pair_path(p, "backup", "", from);
	pair_copy(p, from, p->path);
	pair_server_start(p);
	pair_serve(p, (struct in_event){.type = IN_BROKER});
}

/* The server goes on with nothing. */
static inline void pair_wipe(struct pair *p)
{
	char command[400];

	pair_server_stop(p);
	snprintf(command, sizeof command, "rm -f '%s' '%s-wal' '%s-shm'", p->path, p->path,
		 p->path);
	assert_int_equal(system(command), 0);
	pair_server_start(p);
	pair_serve(p, (struct in_event){.type = IN_BROKER});
}

static inline void pair_free(struct pair *p)
{
	char command[120];

	for (int i = 0; i < PAIR_DEVICES; i++) {
		if (!p->dev[i].used)
			continue;
		engine_close(p->dev[i].en);
		actions_free(&p->dev[i].acts);
		sqlite3_close(p->dev[i].app);
	}
	while (p->head != p->tail)
		buf_free(&p->queue[p->head++ % PAIR_QUEUE].frame);
	pair_server_stop(p);
	out_messages_free(&p->out);
	buf_free(&p->retained);
	snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
	assert_int_equal(system(command), 0);
	free(p);
}

#endif
