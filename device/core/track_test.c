#include <time.h>

#include "device/core/capture_fixture.h"

static int try_track(const char *table, bool append)
{
	struct track_options o = {.append = append, .priority = 5};

	return track_table(d, table, &o, &err);
}

static const struct shape *shape_of(const char *table)
{
	return &devdb_table_by_name(d, slice_str(table))->shape;
}

static void test_shape(void **state)
{
	static const enum shape_affinity want[] = {AFF_INTEGER, AFF_TEXT, AFF_TEXT,    AFF_BLOB,
						   AFF_BLOB,	AFF_REAL, AFF_NUMERIC, AFF_INTEGER,
						   AFF_NUMERIC, AFF_TEXT};
	const struct shape *s;

	(void)state;
	run("CREATE TABLE t(k2 TEXT COLLATE RTRIM, a BIGINT, b VARCHAR(9), c clob, d, e BLOB, f "
	    "DOUBLE,"
	    " g DECIMAL(4), h POINT, i BOOLEAN, j CHARINTX, k1 INT, v AS (a + 1), j2 TEXT,"
	    " PRIMARY KEY(k1, k2 COLLATE NOCASE)) WITHOUT ROWID");
	track("t", false);
	s = shape_of("t");
	assert_int_equal(s->n_key, 2);
	assert_true(slice_eq(s->key[0].name, slice_str("k1")));
	assert_int_equal(s->key[0].affinity, AFF_INTEGER);
	assert_true(slice_eq(s->key[1].name, slice_str("k2")));
	assert_int_equal(s->key[1].collation, COLL_NOCASE);
	assert_int_equal(s->n_col, 11); /* v is generated */
	for (int i = 0; i < 7; i++)
		assert_int_equal(s->col[i].affinity, want[i]);
	assert_int_equal(s->col[7].affinity, AFF_INTEGER); /* POINT holds INT */
	assert_int_equal(s->col[8].affinity, AFF_NUMERIC);
	assert_int_equal(s->col[9].affinity, AFF_INTEGER); /* INT comes before CHAR */
	assert_true(slice_eq(s->col[10].name, slice_str("j2")));
	assert_int_equal(s->kind, SHAPE_MERGE);
	assert_int_equal(s->direction, DIR_BOTH);
}

static void test_unique_constraints(void **state)
{
	const struct shape *s;

	(void)state;
	run("CREATE TABLE t(a, id INTEGER PRIMARY KEY, b UNIQUE, c, g AS (c || 'x') UNIQUE, "
	    "UNIQUE(c, id));"
	    "CREATE UNIQUE INDEX i1 ON t(a, b); CREATE UNIQUE INDEX i2 ON t(a) WHERE a > 5;"
	    "CREATE UNIQUE INDEX i3 ON t(a + 1); CREATE UNIQUE INDEX i4 ON t(a COLLATE NOCASE);"
	    "CREATE INDEX i5 ON t(c)");
	track("t", false);
	s = shape_of("t");
	assert_int_equal(s->n_unique, 3); /* whole, of plain columns as they compare themselves */
	assert_int_equal(s->unique[0].n, 2);
	assert_int_equal(s->unique[0].col[0], 1);
	assert_int_equal(s->unique[0].col[1], 2);
	assert_int_equal(s->unique[1].n, 1);
	assert_int_equal(s->unique[1].col[0], 2);
	assert_int_equal(s->unique[2].n, 2);
	assert_int_equal(s->unique[2].col[0], 3);
	assert_int_equal(s->unique[2].col[1], 0);
}

static void test_strict_table(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a ANY, b TEXT) STRICT; CREATE TABLE u(id "
	    "INTEGER "
	    "PRIMARY KEY, a ANY)");
	track("t", false);
	track("u", false);
	assert_int_equal(shape_of("t")->col[0].affinity, AFF_BLOB);
	assert_int_equal(shape_of("u")->col[0].affinity, AFF_NUMERIC);
}

static void test_key_is_number(void **state)
{
	(void)state;
	run("CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE b(id INT PRIMARY KEY, v);"
	    "CREATE TABLE c(id INTEGER PRIMARY KEY DESC, v);"
	    "CREATE TABLE e(id INTEGER PRIMARY KEY, v) WITHOUT ROWID; CREATE TABLE f(v, id "
	    "INTEGER, "
	    "PRIMARY KEY(id))");
	for (const char *t = "abcef"; *t; t++) {
		char name[2] = {*t, 0};

		track(name, true);
	}
	assert_true(shape_of("a")->key_is_number);
	assert_false(shape_of("b")->key_is_number);
	assert_false(shape_of("c")->key_is_number);
	assert_false(shape_of("e")->key_is_number);
	assert_true(shape_of("f")->key_is_number);
	assert_int_equal(shape_of("a")->kind, SHAPE_APPEND);
	assert_int_equal(shape_of("a")->direction, DIR_UP);
}

static void test_what_cannot_be_tracked(void **state)
{
	(void)state;
	run("CREATE TABLE nokey(a); CREATE VIEW w AS SELECT 1 AS a; CREATE VIRTUAL TABLE f USING "
	    "fts5(a);"
	    "CREATE TABLE \"bad\nname\"(a PRIMARY KEY); CREATE TABLE reserved(neap_x PRIMARY KEY)");
	assert_int_equal(try_track("nokey", false), NE_NOT_FOUND);
	assert_non_null(strstr(err.text, "PRIMARY KEY"));
	assert_non_null(strstr(err.text, "rename"));
	assert_int_equal(try_track("none", false), NE_NOT_FOUND);
	assert_int_equal(try_track("w", false), NE_NOT_FOUND);
	assert_int_equal(try_track("f", false), NE_NOT_FOUND);
	assert_int_equal(try_track("neap_meta", false), NE_USAGE);
	assert_int_equal(try_track("SQLITE_schema", false), NE_USAGE);
	assert_int_not_equal(try_track("bad\nname", false), NE_OK);
	assert_int_not_equal(try_track("reserved", false), NE_OK);
	assert_int_equal(d->n_table, 0);
	assert_string_equal(one("SELECT count(*) FROM neap_table"), "0");
	assert_string_equal(one("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'neap_m1%'"),
			    "0");
}

static void test_column_limits(void **state)
{
	struct buf sql = {.max = 1 << 16};

	(void)state;
	for (int n = LIMIT_COLUMNS; n <= LIMIT_COLUMNS + 1; n++) {
		buf_clear(&sql);
		OK(buf_printf(&sql, "CREATE TABLE t%d(id INTEGER PRIMARY KEY", n));
		for (int i = 1; i < n; i++)
			OK(buf_printf(&sql, ", c%d", i));
		OK(buf_printf(&sql, ")"));
		OK(buf_terminate(&sql));
		run((char *)sql.at);
	}
	buf_free(&sql);
	OK(try_track("t200", false));
	assert_int_equal(try_track("t201", false), NE_LIMIT);
}

static void test_table_limit(void **state)
{
	char sql[100], name[20];

	(void)state;
	OK(db_exec(d->db, "PRAGMA synchronous = OFF", &err));
	for (int i = 0; i <= LIMIT_TABLES; i++) {
		snprintf(name, sizeof name, "t%d", i);
		snprintf(sql, sizeof sql, "CREATE TABLE %s(id INTEGER PRIMARY KEY)", name);
		run(sql);
		assert_int_equal(try_track(name, false), i < LIMIT_TABLES ? NE_OK : NE_LIMIT);
	}
	assert_int_equal(d->n_table, LIMIT_TABLES);
}

static void test_options(void **state)
{
	struct track_options o = {.priority = 10};

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 1)");
	assert_int_equal(track_table(d, "t", &o, &err), NE_USAGE);
	o = (struct track_options){.priority = 2, .policy.pending_rows = 5000, .direction = DIR_UP};
	OK(track_table(d, "t", &o, &err));
	assert_int_equal(d->table[0].priority, 2);
	assert_int_equal(d->table[0].policy.pending_rows, 5000);
	assert_int_equal(d->table[0].shape.direction, DIR_UP);
	run("DELETE FROM neap_m1; UPDATE t SET a = 2");
	o.priority = 3;
	OK(track_table(d, "t", &o, &err));
	assert_int_equal(d->n_table, 1);
	assert_int_equal(d->table[0].priority, 3);
	/* Its marks are as they were: nothing is sent again. */
	assert_string_equal(one("SELECT group_concat(col) FROM neap_m1"), "0");
}

static void test_what_only_comes_down_is_not_captured(void **state)
{
	struct track_options o = {.direction = DIR_DOWN};

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 1)");
	OK(track_table(d, "t", &o, &err));
	run("UPDATE t SET a = 2");
	assert_true(d->table[0].capture_ok);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
	track("t", false);
	run("UPDATE t SET a = 3");
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "1");
	OK(track_table(d, "t", &o, &err));
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

static void test_untrack(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE); INSERT INTO t VALUES(1, 1);"
	    "CREATE TABLE a(id INTEGER PRIMARY KEY, v)");
	track("t", false);
	track("a", true);
	OK(untrack_table(d, "T", &err));
	OK(untrack_table(d, "a", &err));
	assert_int_equal(untrack_table(d, "t", &err), NE_NOT_FOUND);
	assert_int_equal(d->n_table, 0);
	assert_string_equal(one("SELECT group_concat(id) FROM t"), "1");
	assert_string_equal(
		one("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' OR name LIKE "
		    "'neap_m_'"),
		"0");
	run("INSERT INTO t VALUES(2, 2)");
}

/* Ids and generations are never used twice: a set in flight may speak of the old ones. */
static void test_tracked_anew(void **state)
{
	(void)state;
	run("CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES(1, 1)");
	track("a", true);
	assert_string_equal(one("SELECT id || ':' || gen FROM neap_append"), "1:1");
	OK(untrack_table(d, "a", &err));
	track("a", true);
	assert_string_equal(one("SELECT id || ':' || gen FROM neap_append"), "2:3");
	/* Another kind only where the app says that it means it. */
	assert_int_equal(try_track("a", false), NE_USAGE);
	assert_non_null(strstr(err.text, "as an append table"));
	assert_non_null(strstr(err.text, "with --append"));
	assert_string_equal(one("SELECT id || ':' || gen FROM neap_append"), "2:3");
	OK(untrack_table(d, "a", &err));
	track("a", false);
	assert_int_equal(try_track("a", true), NE_USAGE);
	assert_string_equal(one("SELECT count(*) FROM neap_append"), "0");
	assert_string_equal(d->table[0].marks, "neap_m3");
	assert_string_equal(
		one("SELECT group_concat(k0 || ':' || col || ':' || stamp) FROM neap_m3"),
		"1:-1:0");
}

static void test_many_rows_are_marked_fast(void **state)
{
	struct timespec a, b;
	double seconds;

	(void)state;
	run("CREATE TABLE t(id TEXT PRIMARY KEY, v); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL "
	    "SELECT "
	    "i + 1 FROM n WHERE i < 100000) INSERT INTO t SELECT hex(i * 7919 % 100003), i FROM n");
	clock_gettime(CLOCK_MONOTONIC, &a);
	track("t", false);
	clock_gettime(CLOCK_MONOTONIC, &b);
	seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	assert_string_equal(one("SELECT count(*) FROM neap_m1 WHERE stamp = 0 AND col = -1"),
			    "100000");
	assert_true(seconds < 10); /* a quarter of a second; the bound is for a busy machine */
}

/* Nothing half-done is left where tracking fails. */
static void test_a_failure_leaves_nothing(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE neap_m1(x)");
	assert_int_not_equal(try_track("t", false), NE_OK);
	assert_int_equal(d->n_table, 0);
	run("DROP TABLE neap_m1");
	track("t", false);
	assert_string_equal(d->table[0].marks, "neap_m1");
}

static void test_odd_table_name(void **state)
{
	(void)state;
	run("CREATE TABLE \"a \"\"b\"\" 'c' [d] %s\"(\"k \"\"1\"\"\" INTEGER PRIMARY KEY, "
	    "\"col\")");
	track("a \"b\" 'c' [d] %s", false);
	run("INSERT INTO \"a \"\"b\"\" 'c' [d] %s\" VALUES(1, 1)");
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "1");
	OK(devdb_reload(d, &err));
	assert_true(d->table[0].capture_ok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_shape),
		T(test_unique_constraints),
		T(test_strict_table),
		T(test_key_is_number),
		T(test_what_cannot_be_tracked),
		T(test_column_limits),
		T(test_table_limit),
		T(test_options),
		T(test_what_only_comes_down_is_not_captured),
		T(test_untrack),
		T(test_tracked_anew),
		T(test_many_rows_are_marked_fast),
		T(test_a_failure_leaves_nothing),
		T(test_odd_table_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
