/* What REPLACE removes through UNIQUE indexes that a shape cannot say (protocol/marks.h). */
#include "device/core/capture_fixture.h"

static int64_t number_of(const char *sql)
{
	return atoll(one(sql));
}

/* Tracks t, with nothing pending. */
static void begin(const char *sql)
{
	run(sql);
	track("t", false);
	run("DELETE FROM neap_m1");
}

/* "2" or "2,5": the rows that REPLACE may have removed. */
static const char *candidates(void)
{
	return one("SELECT group_concat(k0) FROM (SELECT k0 FROM neap_m1 WHERE col = -2 ORDER BY "
		   "k0)");
}

static void is_refused(const char *sql, const char *why)
{
	struct track_options o = {.priority = 5};

	run("DROP TABLE IF EXISTS t");
	run(sql);
	assert_int_equal(track_table(d, "t", &o, &err), NE_USAGE);
	if (!strstr(err.text, why))
		fail_msg("%s: %s", sql, err.text);
	assert_non_null(strstr(err.text, "UNIQUE index"));
	assert_int_equal(
		number_of("SELECT count(*) FROM sqlite_schema WHERE name GLOB 'neap_m[0-9]*'"), 0);
}

static void test_partial(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);"
	      "CREATE UNIQUE INDEX i ON t(a) WHERE t.b > 1;"
	      "INSERT INTO t VALUES(1, 'x', 1), (2, 'x', 2)");
	run("REPLACE INTO t VALUES(3, 'x', 1)");
	assert_string_equal(candidates(), "");
	run("REPLACE INTO t VALUES(3, 'x', 9)");
	assert_string_equal(candidates(), "2");
	assert_string_equal(one("SELECT group_concat(id) FROM t"), "1,3");
	run("DELETE FROM neap_m1; UPDATE OR REPLACE t SET b = 9 WHERE id = 1");
	assert_string_equal(candidates(), "3");
}

static void test_partial_by_row_number(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE UNIQUE INDEX i ON t(a) WHERE id > "
	      "0;"
	      "INSERT INTO t VALUES(1, 'x')");
	run("REPLACE INTO t(a) VALUES('x')"); /* its id is not known before */
	assert_string_equal(candidates(), "1");
}

static void test_expression(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b TEXT);"
	      "CREATE UNIQUE INDEX i ON t(lower(a) || '-', /* , */ b COLLATE RTRIM DESC);"
	      "INSERT INTO t VALUES('p', 'Name', 'x')");
	run("REPLACE INTO t VALUES('q', 'NAME', 'x  ')");
	assert_string_equal(candidates(), "p");
	run("DELETE FROM neap_m1; UPDATE OR REPLACE t SET a = 'nAME' WHERE id = 'q'");
	assert_string_equal(candidates(), ""); /* itself is none */
}

static void test_collation(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, UNIQUE(a COLLATE NOCASE, b));"
	      "INSERT INTO t VALUES(1, 'x', 1)");
	run("REPLACE INTO t VALUES(2, 'X', 1)");
	assert_string_equal(candidates(), "1");
}

static void test_generated_column(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, g AS (substr(a, 1, 1)) UNIQUE);"
	      "INSERT INTO t(id, a) VALUES(1, 'xa')");
	run("REPLACE INTO t(id, a) VALUES(2, 'xb')");
	assert_string_equal(candidates(), "1");
}

/* A NULL under REPLACE becomes the default, after the BEFORE triggers. */
static void test_default_in_place_of_null(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT \"it's\" UNIQUE,"
	      " b INT NOT NULL DEFAULT -1, c UNIQUE, UNIQUE(b, c));"
	      "INSERT INTO t VALUES(1, 'it''s', 2, 3), (2, 'y', -1, 4)");
	run("REPLACE INTO t VALUES(3, NULL, 7, 7)");
	assert_string_equal(candidates(), "1");
	run("DELETE FROM neap_m1; REPLACE INTO t VALUES(4, 'z', NULL, 4)");
	assert_string_equal(candidates(), "2");
	run("DELETE FROM neap_m1; REPLACE INTO t VALUES(5, 'w', 1, 1)");
	assert_string_equal(candidates(), "");
}

static void test_default_in_an_expression(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'x');"
	      "CREATE UNIQUE INDEX i ON t(upper(a)); INSERT INTO t VALUES(1, 'X')");
	run("REPLACE INTO t VALUES(2, NULL)");
	assert_string_equal(candidates(), "1");
}

static void test_table_called_new(void **state)
{
	(void)state;
	run("CREATE TABLE new(id INTEGER PRIMARY KEY, new TEXT, old);"
	    "CREATE UNIQUE INDEX i ON new(lower(new)) WHERE new.old; INSERT INTO new VALUES(1, "
	    "'a', 1)");
	track("new", false);
	run("DELETE FROM neap_m1; REPLACE INTO new VALUES(2, 'A', 1)");
	assert_string_equal(candidates(), "1");
	run("DELETE FROM neap_m1; UPDATE new SET new = 'B'");
	assert_string_equal(candidates(), "");
}

static void test_none_for_ordinary_tables(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b NOT NULL DEFAULT 3, UNIQUE(id, "
	      "b));"
	      "CREATE INDEX i ON t(lower(a)); CREATE INDEX i2 ON t(a) WHERE b");
	assert_int_equal(number_of("SELECT count(*) FROM sqlite_schema WHERE name GLOB "
				   "'neap_m1_x*'"),
			 0);
}

static void test_what_no_trigger_can_see_is_refused(void **state)
{
	(void)state;
	is_refused("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE UNIQUE INDEX i ON t(id % 10)",
		   "the row's number");
	is_refused("CREATE TABLE t(id INTEGER PRIMARY KEY, a, g AS (id % 10) UNIQUE)",
		   "the row's number");
	is_refused("CREATE TABLE t(id TEXT PRIMARY KEY, a NOT NULL DEFAULT 1, g AS (a + 1) UNIQUE)",
		   "that has a default");
	is_refused("CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT NOT NULL DEFAULT 1);"
		   "CREATE UNIQUE INDEX i ON t(lower(a))",
		   "another type");
}

/* The index is made while nobody looks: what REPLACE removed until then is found by comparing. */
static void test_index_made_later(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES(1, 'x', 1)");
	run("INSERT INTO neap_meta(key, value) VALUES('store', 1)");
	run("CREATE UNIQUE INDEX i ON t(lower(a)); REPLACE INTO t VALUES(2, 'X', 2)");
	OK(devdb_reload(d, &err));
	assert_string_equal(one("SELECT mode FROM neap_catchup"), "2");
	run("DELETE FROM neap_catchup; DELETE FROM neap_m1; REPLACE INTO t VALUES(3, 'x', 3)");
	assert_string_equal(candidates(), "2");
	run("CREATE UNIQUE INDEX i2 ON t(b)");
	OK(devdb_reload(d, &err));
	assert_string_equal(one("SELECT mode FROM neap_catchup"), "2");
	run("DELETE FROM neap_catchup; DROP INDEX i; DROP INDEX i2");
	OK(devdb_reload(d, &err));
	assert_string_equal(one("SELECT count(*) FROM neap_catchup"), "0");
	assert_int_equal(number_of("SELECT count(*) FROM sqlite_schema WHERE name GLOB "
				   "'neap_m1_x*'"),
			 0);
}

static void test_index_made_later_that_hides(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	run("CREATE UNIQUE INDEX i ON t(id / 2)");
	OK(devdb_reload(d, &err));
	assert_false(d->table[0].capture_ok);
	assert_non_null(strstr(d->table[0].reason, "UNIQUE index i of table t cannot be synced"));
	run("DROP INDEX i");
	OK(devdb_reload(d, &err));
	assert_true(d->table[0].capture_ok);
}

static void test_alter_table(void **state)
{
	(void)state;
	begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, c);"
	      "CREATE UNIQUE INDEX i ON t(lower(a)) WHERE t.b; INSERT INTO t VALUES(1, 'x', 1, 1)");
	run("ALTER TABLE t RENAME COLUMN a TO a2; ALTER TABLE t DROP COLUMN c; REPLACE INTO t "
	    "VALUES(2, 'X', 2)");
	assert_string_equal(candidates(), "1");
	OK(devdb_reload(d, &err));
	run("DELETE FROM neap_m1; ALTER TABLE t RENAME TO u; REPLACE INTO u VALUES(3, 'X', 2)");
	assert_string_equal(candidates(), "2");
	OK(devdb_reload(d, &err));
	assert_true(d->table[0].capture_ok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_partial),
		T(test_partial_by_row_number),
		T(test_expression),
		T(test_collation),
		T(test_generated_column),
		T(test_default_in_place_of_null),
		T(test_default_in_an_expression),
		T(test_table_called_new),
		T(test_none_for_ordinary_tables),
		T(test_what_no_trigger_can_see_is_refused),
		T(test_index_made_later),
		T(test_index_made_later_that_hides),
		T(test_alter_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
