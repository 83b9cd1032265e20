/* What tests of the engine share: one on a fresh database, and a server of a few lines. */
#ifndef NEAP_DEVICE_CORE_ENGINE_BENCH_H
#define NEAP_DEVICE_CORE_ENGINE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/core/engine.h"
#include "device/core/testing.h"

/* Each test says what the server answers. */
enum { STORE = 50, TERM = 60 };

struct bench {
	struct test_db db;
	struct engine *en;
	struct engine_config cfg; /* what a test sets of it */
	bool skips;		  /* the first number of a run is any */
	struct actions acts;
	struct arena arena; /* of the frames decoded last */
	struct frame sent[64];
	size_t n_sent, n_bytes;
	uint64_t mono_ms;
	uint64_t seed;
	uint64_t synced;
	uint64_t reported; /* the nonce of the last conflicts frame, or of its parts */
	unsigned new_sites, changed;
};

static inline void pseudo_random(void *ctx, void *out, size_t len)
{
	struct bench *b = ctx;
	uint8_t *at = out;

	for (size_t i = 0; i < len; i++) {
		b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
		at[i] = (uint8_t)(b->seed >> 56);
	}
}

static inline void open_engine(struct bench *b)
{
	struct engine_config c = b->cfg;
	struct err e = {0};

	c.path = b->db.path;
	c.random = pseudo_random;
	c.random_ctx = b;
	c.check_ms = 600000;
	c.broken.no_skip = !b->skips; /* numbers count from 1: tests name them */
	if (engine_open(&b->en, &c, &e))
		fail_msg("%s", e.text);
}

static inline void begin(struct bench *b, const char *sql)
{
	memset(b, 0, sizeof(*b));
	b->seed = 1;
	b->mono_ms = 1000;
	test_open(&b->db);
	test_sql(&b->db, sql);
	open_engine(b);
}

static inline void end(struct bench *b)
{
	engine_close(b->en);
	actions_free(&b->acts);
	arena_free(&b->arena);
	test_close(&b->db);
}

static inline uint64_t wall_ms(const struct bench *b)
{
	return 1800000000000u + b->mono_ms;
}

/* Takes the step's actions: published frames to `sent`, in order. */
static inline void take(struct bench *b)
{
	struct err e = {0};

	b->n_sent = b->n_bytes = 0;
	arena_free(&b->arena);
	b->arena.max = 64 << 20;
	for (size_t i = 0; i < b->acts.n; i++) {
		const struct action *a = &b->acts.at[i];

		if (a->type == ACT_PUBLISH) {
			assert_true(b->n_sent < 64);
			const struct frame *f = &b->sent[b->n_sent];

			b->n_bytes += a->frame.len;
			if (frame_decode(a->frame, &b->arena, &b->sent[b->n_sent++], &e))
				fail_msg("%s", e.text);
			if (f->type == FRAME_CONFLICTS)
				b->reported = f->conflicts.nonce;
			else if (f->type == FRAME_PART)
				b->reported = f->part.cut;
		}
		if (a->type == ACT_SYNCED)
			b->synced = a->sync_id;
		b->new_sites += a->type == ACT_NEW_SITE;
		b->changed += a->type == ACT_CHANGED;
	}
}

static inline void step(struct bench *b, struct event ev)
{
	struct err e = {0};

	ev.now_ms = wall_ms(b);
	ev.mono_ms = b->mono_ms;
	if (engine_step(b->en, &ev, &b->acts, &e))
		fail_msg("%s", e.text);
	take(b);
}

static inline void happen(struct bench *b, enum event_type type)
{
	step(b, (struct event){.type = type});
}

static inline void give(struct bench *b, enum event_type type, const struct frame *f)
{
	struct buf plain = {.max = LIMIT_FRAME};
	struct err e = {0};

	if (frame_encode(f, &plain, &e))
		fail_msg("%s", e.text);
	step(b, (struct event){.type = type, .frame = buf_slice(&plain)});
	buf_free(&plain);
}

/* Time passes until the engine wants to be called. */
static inline void wait_deadline(struct bench *b)
{
	uint64_t at = engine_deadline_ms(b->en);

	assert_true(at != UINT64_MAX);
	assert_true(at > b->mono_ms);
	b->mono_ms = at;
	happen(b, EV_TICK);
}

static inline const struct frame *find(const struct bench *b, enum frame_type type)
{
	for (size_t i = 0; i < b->n_sent; i++) {
		if (b->sent[i].type == type)
			return &b->sent[i];
	}
	return NULL;
}

static inline struct engine_status status(struct bench *b)
{
	struct engine_status s;
	struct err e = {0};

	if (engine_status(b->en, &s, &e))
		fail_msg("%s", e.text);
	return s;
}

static inline struct frame welcome(const struct frame *hello, const struct bench *b, uint64_t head)
{
	return (struct frame){.type = FRAME_WELCOME,
			      .welcome = {.nonce = hello->hello.nonce,
					  .store = STORE,
					  .term = TERM,
					  .head = head,
					  .server_ms = wall_ms(b),
					  .site = hello->hello.site,
					  .noted = INT64_MAX}};
}

static inline struct frame page(const struct frame *pull, uint64_t upto, uint64_t head)
{
	return (struct frame){.type = FRAME_PAGE,
			      .page = {.nonce = pull->pull.nonce,
				       .store = STORE,
				       .term = TERM,
				       .from = pull->pull.at.cursor,
				       .upto = upto,
				       .head = head}};
}

static inline struct buf encode(const struct rows *rows)
{
	struct buf out = {.max = LIMIT_SET};
	struct err e = {0};

	if (rows_encode(rows, SITE_SERVER, &out, &e))
		fail_msg("%s", e.text);
	return out;
}

static const struct rows no_rows = {0};

static inline void give_page(struct bench *b, struct frame f, const struct rows *rows)
{
	struct buf bytes = encode(rows ? rows : &no_rows);

	f.page.rows = buf_slice(&bytes);
	give(b, EV_DOWN, &f);
	buf_free(&bytes);
}

static inline void give_change(struct bench *b, uint64_t seq, const struct rows *rows)
{
	struct buf bytes = encode(rows);
	struct frame f = {.type = FRAME_CHANGE,
			  .change = {.term = TERM, .seq = seq, .rows = buf_slice(&bytes)}};

	give(b, EV_CHANGES, &f);
	buf_free(&bytes);
}

static inline void give_ack(struct bench *b, uint64_t number, uint64_t head, uint64_t own)
{
	struct ack_set set = {number, own};
	struct frame f = {.type = FRAME_ACK,
			  .ack = {.store = STORE,
				  .term = TERM,
				  .site = TEST_SITE,
				  .number = number,
				  .head = head,
				  .n = 1,
				  .set = &set}};

	give(b, EV_DOWN, &f);
}

static inline void give_head(struct bench *b, uint64_t head)
{
	struct frame f = {.type = FRAME_HEAD,
			  .head = {.store = STORE, .term = TERM, .head = head, .first = 1}};

	give(b, EV_HEAD, &f);
}

/* Up to and including the end of the first full pull, the server being empty. */
static inline void first_sync(struct bench *b, uint64_t head)
{
	struct frame f;

	happen(b, EV_LINK_UP);
	assert_non_null(find(b, FRAME_HELLO));
	assert_null(find(b, FRAME_SET));
	f = welcome(find(b, FRAME_HELLO), b, head);
	give(b, EV_DOWN, &f);
	assert_non_null(find(b, FRAME_PULL));
	assert_true(find(b, FRAME_PULL)->pull.at.full);
	assert_int_equal(find(b, FRAME_PULL)->pull.at.base, head);
	give_page(b, page(find(b, FRAME_PULL), head, head), NULL);
	assert_int_equal(status(b).cursor, head);
	assert_false(status(b).full_pull);
}

static const char ddl[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)";

static inline const struct shape *track(struct bench *b)
{
	test_track(engine_devdb(b->en), "t", false);
	return &engine_devdb(b->en)->table[0].shape;
}

static inline void synced_row(struct bench *b)
{
	test_sql(&b->db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(b, EV_LOCAL);
	give_ack(b, find(b, FRAME_SET)->set.number, 1, 1);
	assert_int_equal(status(b).pending_rows, 0);
}

/* Table t of `sql` is tracked, and in sync with a server that has nothing. */
static inline void begin_tracked(struct bench *b, const char *sql)
{
	begin(b, sql);
	track(b);
	first_sync(b, 0);
}

/* The same as a cmocka fixture. */
static inline int bench_synced(void **state, const char *sql)
{
	*state = calloc(1, sizeof(struct bench));
	assert_non_null(*state);
	begin_tracked(*state, sql);
	return 0;
}

static inline int bench_end(void **state)
{
	end(*state);
	free(*state);
	return 0;
}

#endif
