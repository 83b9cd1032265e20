/*
 * The ingest: whatever the devices of one user send, in whatever order, the other user's rows stay
 * as they are, nothing is published to that user, and that user's next set is taken.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/core/ingest.h"
#include "backend/core/store_sqlite.h"
#include "tests/fuzz/moves.h"
#include "tests/sim/memvfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static const char path[] = "store.db";
enum { VICTIM_SITE = 33 };

struct world {
	struct store *store;
	struct ingest *in;
	struct out_messages out;
	struct rng rng;
	uint64_t now_ms;
	bool attacked;
};

static void must(int rc, const struct err *e)
{
	if (!rc)
		return;
	fprintf(stderr, "%s: %s\n", ne_name(rc), e->text);
	abort();
}

static void start(struct world *w)
{
	struct err e = {0};
	struct store_config sc = {
		.path = path, .vfs = MEMVFS_NAME, .random = rng_bytes, .random_ctx = &w->rng};

	must(store_open(&w->store, &sc, &e), &e);
	struct ingest_config c = {.store = w->store, .random = rng_bytes, .random_ctx = &w->rng};
	must(ingest_open(&w->in, &c, w->now_ms, &e), &e);
}

static void stop(struct world *w)
{
	ingest_close(w->in);
	store_close(w->store);
}

static void step(struct world *w, struct in_event ev)
{
	struct err e = {0};

	must(ingest_step(w->in, w->now_ms, &ev, 1, &w->out, &e), &e);
	/* Heads are published again after a start, everybody's. */
	for (size_t i = 0; w->attacked && i < w->out.n; i++)
		assert(w->out.at[i].kind == TOPIC_HEAD || strcmp(w->out.at[i].user.at, "v") != 0);
}

static void give(struct world *w, const char *user, const char *device, const struct frame *f)
{
	struct buf b = {.max = LIMIT_FRAME};
	struct err e = {0};

	must(frame_encode(f, &b, &e), &e);
	step(w, (struct in_event){
			.type = IN_FRAME, .user = user, .device = device, .frame = buf_slice(&b)});
	buf_free(&b);
}

static void declare(struct world *w, const char *user, const char *device, struct shape *s)
{
	struct buf b = {.max = 64 * 1024};
	struct err e = {0};

	must(shape_encode(s, &b, &e), &e);
	struct slice bytes = buf_slice(&b);
	struct frame f = {.type = FRAME_DECLARE, .declare = {1, &bytes}};
	give(w, user, device, &f);
	buf_free(&b);
}

/* The other user's: one note and one line of the log; whether it was acknowledged. */
static bool victim_writes(struct world *w, struct moves *m, uint64_t number)
{
	struct val id = {.type = VAL_INT, .i = (int64_t)number}, v = {.type = VAL_INT, .i = 77};
	struct reg reg = {(uint64_t)100 + number, VICTIM_SITE};
	struct cell cell[2] = {{0, reg, v}, {1, reg, v}}, line = {0, {0, 0}, v};
	struct row note = {
		.key = &id, .exist = EXIST_ALIVE, .exist_reg = reg, .n_cell = 2, .cell = cell};
	struct row log = {.key = &id, .n_cell = 1, .cell = &line, .gen = 1, .n = (int64_t)number};
	struct table_rows t[2] = {{.shape = &m->shape[0], .n_row = 1, .row = &note},
				  {.shape = &m->shape[1], .n_row = 1, .row = &log}};
	struct rows rows = {2, t};
	struct buf b = {.max = LIMIT_SET};
	struct frame f = {.type = FRAME_SET};
	struct err e = {0};

	must(rows_encode(&rows, VICTIM_SITE, &b, &e), &e);
	f.set = (struct f_set){.site = VICTIM_SITE,
			       .number = number,
			       .prev = number - 1,
			       .cut = number,
			       .rows = buf_slice(&b)};
	give(w, "v", "x", &f);
	buf_free(&b);
	bool acked = false;
	for (size_t i = 0; i < w->out.n; i++) {
		struct arena a = {.max = LIMIT_DECODED};
		if (!frame_decode(w->out.at[i].frame, &a, &f, NULL) && f.type == FRAME_ACK)
			acked = f.ack.number == number;
		arena_free(&a);
	}
	return acked;
}

static void text_is(struct world *w, const char *sql, const char *want)
{
	sqlite3_stmt *st;

	int rc = sqlite3_prepare_v2(db_handle(w->store->db), sql, -1, &st, NULL);
	assert(rc == SQLITE_OK);
	rc = sqlite3_step(st);
	assert(rc == SQLITE_ROW);
	const char *got = (const char *)sqlite3_column_text(st, 0);
	if (!got || strcmp(got, want) != 0) {
		fprintf(stderr, "%s: \"%s\", not \"%s\"\n", sql, got ? got : "NULL", want);
		abort();
	}
	sqlite3_finalize(st);
}

static void victim_has(struct world *w, const char *notes, const char *log, const char *head)
{
	text_is(w,
		"SELECT group_concat(id || '=' || x || ',' || y, ' ') FROM notes WHERE user_id = "
		"'v'",
		notes);
	text_is(w,
		"SELECT group_concat(neap_n || '=' || x || ',' || device_id, ' ') FROM log WHERE "
		"user_id = 'v'",
		log);
	text_is(w, "SELECT head FROM neap_user WHERE name = 'v'", head);
}

/* A store that both users already use, made once. */
static struct memimage *both_users(void)
{
	struct world w = {.rng = {1}, .now_ms = 1790000000000};
	struct moves m = {.store = 0};

	memvfs_register();
	moves_begin(&m);
	start(&w);
	for (int i = 0; i < 2; i++) {
		declare(&w, "v", "x", &m.shape[i]);
		declare(&w, "u", "a", &m.shape[i]);
	}
	bool acked = victim_writes(&w, &m, 1);
	assert(acked);
	victim_has(&w, "1=77,77", "1=77,x", "1");
	out_messages_free(&w.out);
	stop(&w);
	moves_end(&m);
	return memvfs_image(path, NULL);
}

static void operator_writes(struct world *w, const char *sql)
{
	sqlite3 *db;

	/* Declarations may have given the table rules of its own, so it may be refused. */
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, MEMVFS_NAME);
	assert(rc == SQLITE_OK);
	sqlite3_exec(db, sql, NULL, NULL, NULL);
	sqlite3_close(db);
	step(w, (struct in_event){.type = IN_SQL});
}

static void play(struct world *w, struct moves *m, const struct move *v)
{
	static const char *const devices[] = {"a", "b"};

	switch (v->type) {
	case MOVE_FRAME:
		step(w, (struct in_event){.type = IN_FRAME,
					  .user = "u",
					  .device = devices[v->device],
					  .frame = v->frame});
		break;
	case MOVE_OPERATOR:
		operator_writes(w, v->sql);
		break;
	case MOVE_TIME:
		w->now_ms += v->ms;
		step(w, (struct in_event){.type = IN_TICK});
		break;
	case MOVE_RESTART:
		stop(w);
		start(w);
		m->term = store_term(w->store);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	static struct memimage *image;
	struct world w = {.rng = {2}, .now_ms = 1790000000000};
	struct moves m = {.left = slice_of(at, len), .foreign_site = VICTIM_SITE};
	struct move v;

	if (!image)
		image = both_users();
	memvfs_restore(path, image);
	start(&w);
	m.store = store_id(w.store);
	m.term = store_term(w.store);
	moves_begin(&m);
	w.attacked = true;
	while (moves_next(&m, &v))
		play(&w, &m, &v);
	victim_has(&w, "1=77,77", "1=77,x", "1");
	text_is(&w, "SELECT count(*) FROM neap_conflict WHERE user_id = 'v'", "0");
	text_is(&w, "PRAGMA quick_check", "ok");
	w.attacked = false;
	bool acked = victim_writes(&w, &m, 2);
	assert(acked);
	(void)acked;
	victim_has(&w, "1=77,77 2=77,77", "1=77,x 2=77,x", "2");
	out_messages_free(&w.out);
	stop(&w);
	moves_end(&m);
	return 0;
}
