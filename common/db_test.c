#include "common/db.h"

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

static char dir[64];
static char path[80];

static int setup(void **state)
{
	(void)state;
	testing_dir("neap-db", dir, sizeof dir);
	snprintf(path, sizeof path, "%s/a.db", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[80];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static void test_missing_file(void **state)
{
	struct db *db = NULL;
	struct err e;
	(void)state;
	assert_int_equal(db_open(&db, path, 0, NULL, 0, &e), NE_NOT_FOUND);
	assert_null(db);
	assert_non_null(strstr(e.text, path));
}

static void test_open_settings(void **state)
{
	struct db *db;
	struct err e;
	int64_t n;
	int on;
	(void)state;
	assert_int_equal(
		db_open(&db, path, DB_CREATE | DB_SYNC_FULL | DB_TRIGGERS_OFF, NULL, 0, &e), 0);
	assert_int_equal(db_int(db, "PRAGMA synchronous", -1, &n, &e), 0);
	assert_int_equal(n, 2);
	sqlite3_db_config(db_handle(db), SQLITE_DBCONFIG_DEFENSIVE, -1, &on);
	assert_int_equal(on, 1);
	sqlite3_db_config(db_handle(db), SQLITE_DBCONFIG_TRUSTED_SCHEMA, -1, &on);
	assert_int_equal(on, 0);
	sqlite3_db_config(db_handle(db), SQLITE_DBCONFIG_ENABLE_TRIGGER, -1, &on);
	assert_int_equal(on, 0);
	assert_int_equal(db_exec(db, "CREATE TABLE t(a)", &e), 0);
	assert_int_not_equal(db_exec(db, "SELECT \"no such column\" FROM t", &e), 0);

	sqlite3_stmt *s;
	bool row;
	assert_int_equal(db_prepare(db, "PRAGMA journal_mode", &s, &e), 0);
	assert_int_equal(db_step(db, s, &row, &e), 0);
	assert_string_equal(sqlite3_column_text(s, 0), "wal");
	db_close(db);
}

static void test_keeps_the_journal_mode(void **state)
{
	char other[80];
	struct db *db;
	struct err e;
	sqlite3_stmt *s;
	bool row;
	(void)state;
	snprintf(other, sizeof other, "%s/b.db", dir);
	assert_int_equal(db_open(&db, other, DB_CREATE | DB_KEEP_JOURNAL, NULL, 0, &e), 0);
	assert_int_equal(db_prepare(db, "PRAGMA journal_mode", &s, &e), 0);
	assert_int_equal(db_step(db, s, &row, &e), 0);
	assert_string_equal(sqlite3_column_text(s, 0), "delete");
	db_close(db);
}

static void test_statements_are_kept(void **state)
{
	struct db *db;
	struct err e;
	sqlite3_stmt *a, *b;
	int64_t n;
	(void)state;
	assert_int_equal(db_open(&db, path, 0, NULL, 0, &e), 0);
	assert_int_equal(db_prepare(db, "INSERT INTO t VALUES(?1)", &a, &e), 0);
	sqlite3_bind_int(a, 1, 7);
	assert_int_equal(db_run(db, a, &e), 0);
	assert_int_equal(db_prepare(db, "INSERT INTO t VALUES(?1)", &b, &e), 0);
	assert_ptr_equal(a, b);
	assert_int_equal(db_run(db, b, &e), 0); /* bindings were cleared */
	assert_int_equal(db_int(db, "SELECT count(*) FROM t WHERE a IS NULL", -1, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_int_equal(db_int(db, "SELECT a FROM t WHERE a IS NULL", -5, &n, &e), 0);
	assert_int_equal(n, -5);
	db_forget(db);
	assert_int_equal(
		db_execf(db, &e, "INSERT INTO t VALUES(%d);DELETE FROM t WHERE a=%d", 9, 7), 0);
	assert_int_equal(db_int(db, "SELECT sum(a) FROM t", -1, &n, &e), 0);
	assert_int_equal(n, 9);
	db_close(db);
}

static void test_errors(void **state)
{
	struct db *a, *b;
	struct err e;
	sqlite3_stmt *s;
	bool row;
	(void)state;
	assert_int_equal(db_open(&a, path, 0, NULL, 0, &e), 0);
	assert_int_equal(db_open(&b, path, 0, NULL, 0, &e), 0);
	assert_int_equal(db_exec(a, "BEGIN IMMEDIATE", &e), 0);
	assert_int_equal(db_exec(b, "BEGIN IMMEDIATE", &e), NE_BUSY);
	assert_int_equal(db_prepare(b, "SELECT nothing FROM nowhere", &s, &e), NE_INTERNAL);
	assert_non_null(strstr(e.text, "nowhere"));
	assert_int_equal(db_prepare(b, "DELETE FROM t", &s, &e), 0);
	assert_int_equal(db_step(b, s, &row, &e), NE_BUSY);
	db_close(b);
	db_close(a);
	assert_int_equal(ne_from_sqlite(SQLITE_IOERR_FSYNC), NE_DISK);
	assert_int_equal(ne_from_sqlite(SQLITE_BUSY_SNAPSHOT), NE_BUSY);
	assert_int_equal(ne_from_sqlite(SQLITE_NOTADB), NE_CORRUPT);
}

static void test_not_a_database(void **state)
{
	char other[80];
	struct db *db = NULL;
	struct err e;
	(void)state;
	snprintf(other, sizeof other, "%s/c.db", dir);
	FILE *f = fopen(other, "w");
	assert_non_null(f);
	for (int i = 0; i < 2000; i++)
		fputs("not a database ", f);
	fclose(f);
	assert_int_equal(db_open(&db, other, 0, NULL, 0, &e), NE_CORRUPT);
	assert_null(db);
}

static void test_names(void **state)
{
	struct buf b = {.max = 100};
	(void)state;
	assert_int_equal(sql_put_name(&b, slice_str("a\"; DROP")), 0);
	assert_true(slice_eq(buf_slice(&b), slice_str("\"a\"\"; DROP\"")));
	assert_int_equal(sql_put_name(&b, slice_of("a\0b", 3)), NE_USAGE);
	assert_int_equal(b.len, 11);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_open_settings),
		cmocka_unit_test(test_keeps_the_journal_mode),
		cmocka_unit_test(test_statements_are_kept),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_not_a_database),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
