#include "common/backup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/db.h"
#include "common/testing_dir.h"

static char dir[64];
static char from[96], to[96], part[96];

static int setup(void **state)
{
	(void)state;
	testing_dir("neap-backup", dir, sizeof dir);
	snprintf(from, sizeof from, "%s/a.db", dir);
	snprintf(to, sizeof to, "%s/copy.db", dir);
	snprintf(part, sizeof part, "%s/copy.db.partial", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[80];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

/* 2,000 rows in t and as many in u, several steps of pages. */
static struct db *fill(void)
{
	struct db *db;

	assert_int_equal(db_open(&db, from, DB_CREATE, NULL, 0, NULL), 0);
	assert_int_equal(
		db_exec(db,
			"DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS u;"
			"CREATE TABLE t(id INTEGER PRIMARY KEY, b); CREATE TABLE u(id INTEGER "
			"PRIMARY KEY);"
			"WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
			" INSERT INTO t SELECT i, randomblob(2000) FROM n; INSERT INTO u SELECT id "
			"FROM t",
			NULL),
		0);
	return db;
}

struct writer {
	struct db *db;
	int calls;
};

/* Another connection's commits, each to both tables, between the steps of the copy. */
static void write_more(void *ctx, int done, int pages)
{
	struct writer *w = ctx;

	assert_true(done <= pages);
	assert_true(++w->calls < 1000); /* it began anew at every write */
	assert_int_equal(db_exec(w->db,
				 "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(randomblob(2000)); "
				 "INSERT INTO u DEFAULT VALUES; COMMIT",
				 NULL),
			 0);
}

static int64_t count(const char *sql)
{
	struct db *db;
	int64_t n;

	assert_int_equal(db_open(&db, to, 0, NULL, 0, NULL), 0);
	assert_int_equal(db_int(db, sql, -1, &n, NULL), 0);
	db_close(db);
	return n;
}

static void test_one_snapshot_while_others_write(void **state)
{
	struct writer w = {.db = fill()};
	struct err e = {0};
	struct stat st;
	(void)state;

	assert_int_equal(backup_copy(from, to, write_more, &w, &e), 0);
	assert_true(w.calls > 3);
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(access(part, F_OK), -1);
	/* What was there at the start, and nothing that came meanwhile. */
	assert_int_equal(count("SELECT count(*) FROM t"), 2000);
	assert_int_equal(count("SELECT count(*) FROM u"), 2000);
	assert_int_equal(count("SELECT count(*) FROM pragma_integrity_check WHERE "
			       "integrity_check = 'ok'"),
			 1);
	db_close(w.db);
}

static void test_nothing_is_overwritten(void **state)
{
	struct err e = {0};
	FILE *f;
	(void)state;

	assert_int_equal(backup_copy(from, to, NULL, NULL, &e), NE_EXISTS);
	assert_non_null(strstr(e.text, to));
	assert_int_equal(unlink(to), 0);
	f = fopen(part, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(backup_copy(from, to, NULL, NULL, &e), NE_EXISTS);
	assert_non_null(strstr(e.text, part));
	assert_int_equal(access(part, F_OK), 0);
	assert_int_equal(unlink(part), 0);
}

static void test_nothing_is_left_behind(void **state)
{
	struct err e = {0};
	char none[112];
	FILE *f;
	(void)state;

	snprintf(none, sizeof none, "%s/none.db", dir);
	assert_int_equal(backup_copy(none, to, NULL, NULL, &e), NE_NOT_FOUND);
	assert_non_null(strstr(e.text, none));
	f = fopen(none, "w");
	assert_non_null(f);
	for (int i = 0; i < 1000; i++)
		fputs("this is no database ", f);
	fclose(f);
	assert_int_equal(backup_copy(none, to, NULL, NULL, &e), NE_CORRUPT);
	assert_int_equal(access(to, F_OK), -1);
	assert_int_equal(access(part, F_OK), -1);
	snprintf(none, sizeof none, "%s/no/such/folder.db", dir);
	assert_int_equal(backup_copy(from, none, NULL, NULL, &e), NE_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_snapshot_while_others_write),
		cmocka_unit_test(test_nothing_is_overwritten),
		cmocka_unit_test(test_nothing_is_left_behind),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
