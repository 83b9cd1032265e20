/*
 * For the tests of devdb, track and cut: a database in a folder of its own, a
 * stock connection as the app has it, and ours.
 */
#ifndef NEAP_DEVICE_CORE_CAPTURE_FIXTURE_H
#define NEAP_DEVICE_CORE_CAPTURE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/testing_dir.h"
#include "device/core/cut.h"
#include "device/core/track.h"

enum { SITE = 77 };

static char dir[64];
static char path[80];
static sqlite3 *app;
static struct devdb *d;
static struct cutter *cutter;
static struct err err;
static struct arena arena = {.max = 64 << 20};

#define OK(x)                                                                   \
	do {                                                                    \
		int ok_rc_ = (x);                                               \
		if (ok_rc_)                                                     \
			fail_msg("%s: %s (%s)", #x, ne_name(ok_rc_), err.text); \
	} while (0)

static inline void run(const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(app, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

/* The first value of the first row as text; "" for NULL or none. */
static inline const char *one(const char *sql)
{
	static char text[4096];
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(app, sql, -1, &s, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(app));
	text[0] = 0;
	if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0))
		snprintf(text, sizeof text, "%s", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	return text;
}

static inline void open_ours(void)
{
	OK(devdb_open(&d, path, NULL, &err));
	OK(cutter_new(&cutter, d, &err));
}

static inline void close_ours(void)
{
	cutter_free(cutter);
	devdb_close(d);
	cutter = NULL;
	d = NULL;
}

static inline void reopen(void)
{
	close_ours();
	open_ours();
}

static inline int make(void **state)
{
	(void)state;
	testing_dir("neap-capture", dir, sizeof dir);
	snprintf(path, sizeof path, "%s/app.db", dir);
	OK(devdb_init(path, NULL, "alice", "phone", SITE, &err));
	if (sqlite3_open(path, &app) != SQLITE_OK)
		return -1;
	sqlite3_busy_timeout(app, 2000);
	open_ours();
	return 0;
}

static inline int unmake(void **state)
{
	char command[96];

	(void)state;
	close_ours();
	arena_free(&arena);
	sqlite3_close(app);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)

static inline void track(const char *table, bool append)
{
	struct track_options o = {.append = append, .priority = append ? 7 : 5};

	OK(track_table(d, table, &o, &err));
}

static inline void settle(uint64_t number)
{
	OK(devdb_begin(d, &err));
	OK(cut_settle(d, number, &err));
	OK(devdb_commit(d, &err));
}

#endif
