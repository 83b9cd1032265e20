/* What tests of the device core share: a fresh database, and rows made by hand. */
#ifndef NEAP_DEVICE_CORE_TESTING_H
#define NEAP_DEVICE_CORE_TESTING_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/testing_dir.h"
#include "device/core/track.h"

enum { TEST_SITE = 1000 };

struct test_db {
	char dir[64], path[80];
	sqlite3 *app; /* the app's own connection: triggers fire */
};

static inline void test_sql(struct test_db *t, const char *sql)
{
	char *message = NULL;

	if (sqlite3_exec(t->app, sql, NULL, NULL, &message)) {
		fprintf(stderr, "%s: %s\n", sql, message);
		abort();
	}
}

/* The first column of every row, joined by commas; good until the next call. */
static inline const char *test_query(struct test_db *t, const char *sql)
{
	static char text[4096];
	sqlite3_stmt *s = NULL;
	size_t len = 0;

	if (sqlite3_prepare_v2(t->app, sql, -1, &s, NULL)) {
		fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(t->app));
		abort();
	}
	text[0] = '\0';
	while (sqlite3_step(s) == SQLITE_ROW) {
		const char *v = (const char *)sqlite3_column_text(s, 0);
		int n = snprintf(text + len, sizeof(text) - len, "%s%s", len ? "," : "",
				 v ? v : "NULL");

		assert(n >= 0 && (size_t)n < sizeof(text) - len);
		len += (size_t)n;
	}
	sqlite3_finalize(s);
	return text;
}

static inline void test_open(struct test_db *t)
{
	struct err e = {0};

	testing_dir("neap-test", t->dir, sizeof t->dir);
	snprintf(t->path, sizeof(t->path), "%s/app.db", t->dir);
	if (devdb_init(t->path, NULL, "u", "d", TEST_SITE, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	if (sqlite3_open(t->path, &t->app))
		abort();
	sqlite3_busy_timeout(t->app, 2000);
}

static inline void test_close(struct test_db *t)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-journal"};
	char path[96];

	sqlite3_close(t->app);
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", t->path, tails[i]);
		unlink(path);
	}
	rmdir(t->dir);
}

static inline void test_track(struct devdb *d, const char *table, bool append)
{
	struct track_options o = {.append = append, .priority = 5};
	struct err e = {0};

	if (track_table(d, table, &o, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
}

/* Up to four rows of up to four cells. */
struct test_rows {
	struct rows rows;
	struct table_rows table;
	struct row row[4];
	struct val key[4][2];
	struct cell cell[4][4];
};

static inline struct val test_int(int64_t i)
{
	return (struct val){.type = VAL_INT, .i = i};
}

static inline struct val test_text(const char *s)
{
	return (struct val){.type = VAL_TEXT, .s = slice_str(s)};
}

static inline struct row *test_row(struct test_rows *r, const struct shape *s, struct val key,
				   enum row_exist exist, uint64_t stamp, uint64_t site)
{
	size_t n = r->table.n_row++;

	assert(n < 4);
	r->rows = (struct rows){.n_table = 1, .table = &r->table};
	r->table.shape = s;
	r->table.row = r->row;
	r->key[n][0] = key;
	r->row[n] = (struct row){
		.key = r->key[n], .exist = exist, .exist_reg = {stamp, site}, .cell = r->cell[n]};
	return &r->row[n];
}

static inline void test_cell(struct test_rows *r, uint16_t col, struct val v, uint64_t stamp,
			     uint64_t site)
{
	size_t n = r->table.n_row - 1;
	struct cell *c = &r->cell[n][r->row[n].n_cell++];

	*c = (struct cell){.col = col, .reg = {stamp, site}, .val = v};
}

#endif
