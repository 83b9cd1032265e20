/*
 * What the tests of this folder share: a store in a temporary folder with an
 * ingest on it, two tables, sets built from rows, and what a step published.
 */
#ifndef NEAP_BACKEND_CORE_TESTING_H
#define NEAP_BACKEND_CORE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/core/ingest.h"
#include "common/db.h"
#include "common/testing_dir.h"
#include "protocol/parts.h"

#define NOW_MS 1790000000000ull

struct world {
	char dir[64], path[80];
	struct store *store;
	struct ingest *in;
	struct ingest_config config;
	struct out_messages out;
	uint64_t random, now_ms;
	struct err e;
	struct arena arena; /* of decoded frames */
};

static inline void world_random(void *ctx, void *out, size_t len)
{
	uint64_t *x = ctx;
	uint8_t *at = out;

	for (size_t i = 0; i < len; i++) {
		*x = *x * 6364136223846793005ull + 1442695040888963407ull;
		at[i] = (uint8_t)(*x >> 56);
	}
}

#define ok(w, call)                                                                  \
	do {                                                                         \
		int ok_rc_ = (call);                                                 \
		if (ok_rc_)                                                          \
			fail_msg("%s: %s: %s", #call, ne_name(ok_rc_), (w)->e.text); \
	} while (0)

static inline void world_start(struct world *w)
{
	struct store_config sc = {
		.path = w->path, .busy_ms = 100, .random = world_random, .random_ctx = &w->random};

	ok(w, store_open(&w->store, &sc, &w->e));
	w->config.store = w->store;
	w->config.random = world_random;
	w->config.random_ctx = &w->random;
	ok(w, ingest_open(&w->in, &w->config, w->now_ms, &w->e));
}

static inline void world_stop(struct world *w)
{
	ingest_close(w->in);
	store_close(w->store);
	w->in = NULL;
	w->store = NULL;
}

static inline struct world *world_new_broken(struct ingest_break broken)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	w->random = 1;
	w->now_ms = NOW_MS;
	w->config.broken = broken;
	w->arena.max = 64 * 1024 * 1024;
	testing_dir("neap-store", w->dir, sizeof w->dir);
	snprintf(w->path, sizeof w->path, "%s/store.db", w->dir);
	world_start(w);
	return w;
}

static inline struct world *world_new(void)
{
	return world_new_broken((struct ingest_break){.no_join = false});
}

static inline void world_remove(struct world *w, const char *suffix)
{
	char path[120];

	snprintf(path, sizeof path, "%s%s", w->path, suffix);
	unlink(path);
}

static inline void world_free(struct world *w)
{
	world_stop(w);
	out_messages_free(&w->out);
	arena_free(&w->arena);
	world_remove(w, "");
	world_remove(w, "-wal");
	world_remove(w, "-shm");
	rmdir(w->dir);
	free(w);
}

/* ---- tables ---- */

/* notes(id PRIMARY KEY, x, y), merged. */
static inline struct shape *notes(void)
{
	static struct shape_col key[1] = {{.affinity = AFF_INTEGER}};
	static struct shape_col col[2] = {{.affinity = AFF_BLOB}, {.affinity = AFF_BLOB}};
	static struct shape s = {.kind = SHAPE_MERGE, .n_key = 1, .n_col = 2};
	struct buf b = {.max = 4096};
	struct err e;

	key[0].name = slice_str("id");
	col[0].name = slice_str("x");
	col[1].name = slice_str("y");
	s.name = slice_str("notes");
	s.key = key;
	s.col = col;
	assert_int_equal(shape_encode(&s, &b, &e), 0);
	buf_free(&b);
	return &s;
}

/* log(n INTEGER PRIMARY KEY, v), appended. */
static inline struct shape *logs(void)
{
	static struct shape_col key[1] = {{.affinity = AFF_INTEGER}};
	static struct shape_col col[1] = {{.affinity = AFF_BLOB}};
	static struct shape s = {.kind = SHAPE_APPEND,
				 .direction = DIR_UP,
				 .key_is_number = true,
				 .n_key = 1,
				 .n_col = 1};
	struct buf b = {.max = 4096};
	struct err e;

	key[0].name = slice_str("n");
	col[0].name = slice_str("v");
	s.name = slice_str("log");
	s.key = key;
	s.col = col;
	assert_int_equal(shape_encode(&s, &b, &e), 0);
	buf_free(&b);
	return &s;
}

/* ---- frames in ---- */

static inline void step_n(struct world *w, const struct in_event *ev, size_t n)
{
	ok(w, ingest_step(w->in, w->now_ms, ev, n, &w->out, &w->e));
}

static inline struct slice encoded(struct world *w, const struct frame *f)
{
	struct buf b = {.max = 8 * 1024 * 1024};
	struct slice s;

	ok(w, frame_encode(f, &b, &w->e));
	s = arena_copy(&w->arena, buf_slice(&b));
	assert_non_null(s.at);
	buf_free(&b);
	return s;
}

static inline void give(struct world *w, const char *user, const char *device,
			const struct frame *f)
{
	struct in_event ev = {
		.type = IN_FRAME, .user = user, .device = device, .frame = encoded(w, f)};

	step_n(w, &ev, 1);
}

static inline void tick(struct world *w)
{
	struct in_event ev = {.type = IN_TICK};

	step_n(w, &ev, 1);
}

static inline struct slice declare_frame(struct world *w, struct shape *s)
{
	struct buf b = {.max = 64 * 1024};
	struct slice bytes, out;
	struct frame f = {.type = FRAME_DECLARE};

	ok(w, shape_encode(s, &b, &w->e));
	bytes = buf_slice(&b);
	f.declare.n = 1;
	f.declare.shape = &bytes;
	out = encoded(w, &f);
	buf_free(&b);
	return out;
}

static inline void declare_shape(struct world *w, const char *user, const char *device,
				 struct shape *s)
{
	struct in_event ev = {
		.type = IN_FRAME, .user = user, .device = device, .frame = declare_frame(w, s)};

	step_n(w, &ev, 1);
}

/* A row being built: cells by column with one stamp each. */
static inline struct val int_val(int64_t i)
{
	return (struct val){.type = VAL_INT, .i = i};
}

enum { MAX_ROWS = 2100, MAX_CELLS = 8 };
struct builder {
	struct f_set set;
	struct table_rows table[2];
	struct row row[2][MAX_ROWS];
	struct cell cell[2][MAX_ROWS][MAX_CELLS];
	struct val key[2][MAX_ROWS];
};

static inline struct builder *set_new(uint64_t site, uint64_t number, uint64_t prev)
{
	static struct builder b;

	memset(&b.set, 0, sizeof b.set);
	memset(b.table, 0, sizeof b.table);
	/* Its writer knows of all; tests of J7 say otherwise. */
	b.set = (struct f_set){.site = site,
			       .number = number,
			       .prev = prev,
			       .cut = site * 1000 + number,
			       .seen = INT64_MAX};
	return &b;
}

static inline size_t table_at(struct builder *b, const struct shape *s)
{
	size_t i = 0;

	while (i < 2 && b->table[i].shape && b->table[i].shape != s)
		i++;
	assert_true(i < 2);
	b->table[i].shape = s;
	b->table[i].row = b->row[i];
	return i;
}

static inline struct row *row_add(struct builder *b, const struct shape *s, int64_t key)
{
	size_t t = table_at(b, s), i = b->table[t].n_row++;
	struct row *r = &b->row[t][i];

	assert_true(i < MAX_ROWS);
	b->key[t][i] = int_val(key);
	*r = (struct row){.key = &b->key[t][i], .cell = b->cell[t][i]};
	return r;
}

static inline void cell_add(struct row *r, uint16_t col, uint64_t stamp, uint64_t site,
			    struct val v)
{
	struct cell *c = (struct cell *)(uintptr_t)r->cell;

	c[r->n_cell++] = (struct cell){col, {stamp, site}, v};
}

static inline void put_insert(struct builder *b, int64_t key, uint64_t stamp, int64_t x, int64_t y)
{
	struct row *r = row_add(b, notes(), key);

	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){stamp, b->set.site};
	cell_add(r, 0, stamp, b->set.site, int_val(x));
	cell_add(r, 1, stamp, b->set.site, int_val(y));
}

static inline void put_update(struct builder *b, int64_t key, uint64_t stamp, uint16_t col,
			      int64_t v)
{
	cell_add(row_add(b, notes(), key), col, stamp, b->set.site, int_val(v));
}

static inline void put_delete(struct builder *b, int64_t key, uint64_t stamp)
{
	struct row *r = row_add(b, notes(), key);

	r->exist = EXIST_DEAD;
	r->exist_reg = (struct reg){stamp, b->set.site};
}

static inline void put_log(struct builder *b, uint64_t gen, int64_t n, int64_t v)
{
	struct row *r = row_add(b, logs(), n);

	r->gen = gen;
	r->n = n;
	cell_add(r, 0, 0, 0, int_val(v));
}

static inline struct slice set_bytes(struct world *w, struct builder *b)
{
	struct buf rows = {.max = 8 * 1024 * 1024};
	struct rows r = {.table = b->table};
	struct frame f = {.type = FRAME_SET};

	while (r.n_table < 2 && b->table[r.n_table].shape)
		r.n_table++;
	ok(w, rows_encode(&r, b->set.site, &rows, &w->e));
	f.set = b->set;
	f.set.rows = buf_slice(&rows);
	struct slice s = encoded(w, &f);
	buf_free(&rows);
	return s;
}

static inline void give_set(struct world *w, const char *user, const char *device,
			    struct builder *b)
{
	struct in_event ev = {
		.type = IN_FRAME, .user = user, .device = device, .frame = set_bytes(w, b)};

	step_n(w, &ev, 1);
}

/* ---- messages out ---- */

static inline struct frame decoded(struct world *w, const struct out_message *m)
{
	struct frame f;

	ok(w, frame_decode(m->frame, &w->arena, &f, &w->e));
	return f;
}

/* The index-th published frame of a type; fails the test if there is none. */
static inline const struct out_message *find_out(struct world *w, enum frame_type type,
						 size_t index, struct frame *out)
{
	*out = (struct frame){.type = type};
	for (size_t i = 0; i < w->out.n; i++) {
		*out = decoded(w, &w->out.at[i]);
		if (out->type == type && index-- == 0)
			return &w->out.at[i];
	}
	fail_msg("no %s was published", frame_name(type));
	return NULL;
}

static inline size_t count_out(struct world *w, enum frame_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < w->out.n; i++)
		n += decoded(w, &w->out.at[i]).type == type;
	return n;
}

static inline const struct shape *find_shape(void *ctx, struct shape_id id)
{
	const struct store_shape *sh = store_shape_find(ctx, id);

	return sh ? &sh->shape : NULL;
}

static inline struct rows rows_of(struct world *w, struct slice bytes)
{
	struct shape_finder finder = {find_shape, w->store};
	struct rows rows;

	ok(w, rows_decode(bytes, 0, finder, &w->arena, &rows, NULL, &w->e));
	return rows;
}

/* ---- the store seen by an operator ---- */

static inline void sql(struct world *w, const char *text)
{
	sqlite3 *db;
	char *why = NULL;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 1000);
	if (sqlite3_exec(db, text, NULL, NULL, &why))
		fail_msg("%s: %s", text, why);
	sqlite3_close(db);
}

/* The rows of a query, columns joined by ',' and rows by ' ', into a static buffer. */
static inline const char *query(struct world *w, const char *text)
{
	static char out[65536];
	struct buf b = {.max = sizeof out};
	sqlite3 *db;
	sqlite3_stmt *st;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
	while (sqlite3_step(st) == SQLITE_ROW)
		for (int i = 0; i < sqlite3_column_count(st); i++) {
			const char *v = (const char *)sqlite3_column_text(st, i);
			assert_int_equal(buf_printf(&b, "%s%s",
						    b.len == 0 ? ""
						    : i	       ? ","
							       : " ",
						    v ? v : "NULL"),
					 0);
		}
	sqlite3_finalize(st);
	sqlite3_close(db);
	assert_int_equal(buf_terminate(&b), 0);
	snprintf(out, sizeof out, "%s", (const char *)b.at);
	buf_free(&b);
	return out;
}

#endif
