#include "protocol/marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/db.h"

/* A stock connection, as the app has it: nothing of ours is loaded. */
static sqlite3 *app;

static int open_app(void **state)
{
	(void)state;
	return sqlite3_open(":memory:", &app);
}

static int close_app(void **state)
{
	(void)state;
	sqlite3_close(app);
	app = NULL;
	return 0;
}

static int try_sql(const char *sql)
{
	return sqlite3_exec(app, sql, NULL, NULL, NULL);
}

static void run(const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(app, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

static struct shape_col column(const char *name, enum shape_affinity a, enum shape_collation c)
{
	return (struct shape_col){.name = slice_str(name), .affinity = a, .collation = c};
}

#define INT(name) column(name, AFF_INTEGER, COLL_BINARY)
#define TEXT(name) column(name, AFF_TEXT, COLL_BINARY)
#define ANY(name) column(name, AFF_BLOB, COLL_BINARY)

static const char *const device_clock =
	"max(CAST(julianday() * 86400000.0 - 210866759999999.5 AS INTEGER) + offset_ms << 16, "
	"floor + 1)";

static void capture_guarded(struct marks_spec *m, const char *guard)
{
	struct buf sql = {.max = 1 << 20};
	struct err e;

	run("CREATE TABLE IF NOT EXISTS neap_clock(id INTEGER PRIMARY KEY, offset_ms, floor, gen);"
	    "DELETE FROM neap_clock; INSERT INTO neap_clock VALUES(1, 0, 0, 7);");
	m->prefix = "neap_m1";
	m->clock_sql = device_clock;
	m->gen_sql = "gen";
	m->clock_from = "neap_clock";
	m->guard_sql = guard;
	if (guard) { /* as on the server */
		m->clock_sql = m->gen_sql = "0";
		m->clock_from = NULL;
	}
	assert_int_equal(marks_create_table_sql(m, &sql, &e), NE_OK);
	assert_int_equal(marks_create_triggers_sql(m, &sql, &e), NE_OK);
	assert_int_equal(buf_terminate(&sql), NE_OK);
	run((char *)sql.at);
	buf_free(&sql);
}

static void capture(struct marks_spec *m)
{
	capture_guarded(m, NULL);
}

/* t(id INTEGER PRIMARY KEY, a, b). */
static struct shape_col id_key[1], ab_cols[2];
static struct marks_spec plain(void)
{
	id_key[0] = INT("id");
	ab_cols[0] = ANY("a");
	ab_cols[1] = ANY("b");
	return (struct marks_spec){
		.table = slice_str("t"), .n_key = 1, .n_col = 2, .key = id_key, .col = ab_cols};
}

static void setup_plain(void)
{
	struct marks_spec m = plain();

	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
	capture(&m);
}

/* t(id, a UNIQUE, b) */
static uint16_t unique_a[] = {1};
static struct shape_unique one_unique[] = {{.n = 1, .col = unique_a}};
static void setup_unique(void)
{
	struct marks_spec m = plain();

	m.n_unique = 1;
	m.unique = one_unique;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b)");
	capture(&m);
}

static char *one_text(const char *sql)
{
	static char text[4096];
	sqlite3_stmt *s;

	assert_int_equal(sqlite3_prepare_v2(app, sql, -1, &s, NULL), SQLITE_OK);
	text[0] = 0;
	if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0))
		snprintf(text, sizeof text, "%s", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	return text;
}

/* "1E 1:0 2C": existence, column 0, candidate, by key. */
static char *marks(void)
{
	return one_text("SELECT group_concat(k0 || CASE col WHEN -1 THEN 'E' WHEN -2 THEN 'C' "
			"ELSE ':' || col END, ' ') FROM (SELECT * FROM neap_m1 ORDER BY k0, col)");
}

static void forget(void)
{
	run("DELETE FROM neap_m1");
}

static int64_t stamp_of(const char *where)
{
	char sql[200];

	snprintf(sql, sizeof sql, "SELECT stamp FROM neap_m1 WHERE %s", where);
	return atoll(one_text(sql));
}

static void test_insert_update_delete(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 'x', 'y'), (2, 'x', 'y')");
	assert_string_equal(marks(), "1E 2E");
	assert_string_equal(one_text("SELECT DISTINCT gen || ifnull(site, '-') FROM neap_m1"),
			    "7-");
	forget();
	run("UPDATE t SET b = 'z' WHERE id = 1; UPDATE t SET a = 'q', b = 'q' WHERE id = 2");
	assert_string_equal(marks(), "1:1 2:0 2:1");
	run("DELETE FROM t WHERE id = 2");
	assert_string_equal(marks(), "1:1 2E");
}

static void test_update_to_the_same_is_no_change(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 'x', NULL), (2, 1.5, x'00')");
	forget();
	run("UPDATE t SET a = a, b = b, id = id");
	assert_string_equal(marks(), "");
}

static void test_stamp_is_now_with_offset(void **state)
{
	int64_t before, after, ms;

	(void)state;
	setup_plain();
	run("UPDATE neap_clock SET offset_ms = 5000");
	before = atoll(one_text("SELECT strftime('%s', 'now')")) * 1000 + 5000;
	run("INSERT INTO t VALUES(1, 1, 1)");
	after = (atoll(one_text("SELECT strftime('%s', 'now')")) + 1) * 1000 + 5000;
	ms = stamp_of("k0 = 1") >> 16;
	assert_true(ms >= before && ms <= after);
	assert_int_equal(stamp_of("k0 = 1") & 0xffff, 0);
}

/* Every millisecond of an hour comes out of the clock's arithmetic as it went in. */
static void test_ms_are_exact(void **state)
{
	(void)state;
	assert_string_equal(
		one_text("WITH RECURSIVE n(ms) AS (VALUES(1795472400000) UNION ALL SELECT ms + 1 "
			 "FROM n WHERE ms < 1795472400000 + 3600000) "
			 "SELECT count(*) FROM n WHERE CAST((ms + 210866760000000) / 86400000.0 * "
			 "86400000.0 - 210866759999999.5 AS INTEGER) <> ms"),
		"0");
	assert_string_equal(one_text("SELECT CAST(julianday('2026-11-23 22:13:43.123') * "
				     "86400000.0 - 210866759999999.5 AS INTEGER)"),
			    "1795472023123");
}

static void test_stamp_is_above_the_floor_and_rises(void **state)
{
	int64_t first;

	(void)state;
	setup_plain();
	run("UPDATE neap_clock SET floor = 9000000000000000000");
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_int_equal(stamp_of("k0 = 1"), 9000000000000000001);
	run("UPDATE neap_clock SET floor = 0, offset_ms = -1000000000000");
	run("UPDATE neap_m1 SET gen = 1, site = 5");
	run("INSERT OR REPLACE INTO t VALUES(1, 2, 2)");
	assert_int_equal(stamp_of("k0 = 1 AND col = -1"), 9000000000000000002);
	assert_string_equal(one_text("SELECT gen || ifnull(site, '-') FROM neap_m1"), "7-");
	run("UPDATE t SET a = 3");
	first = stamp_of("col = 0");
	run("UPDATE t SET a = 4");
	assert_true(stamp_of("col = 0") > first);
}

static void test_replace_without_recursive_triggers(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 1, 1)");
	forget();
	run("INSERT OR REPLACE INTO t VALUES(1, 2, 1)");
	assert_string_equal(marks(), "1E");
	run("UPDATE t SET b = 9");
	run("REPLACE INTO t VALUES(1, 3, 1)");
	assert_string_equal(marks(), "1E 1:1");
}

static void test_replace_with_recursive_triggers(void **state)
{
	(void)state;
	setup_plain();
	run("PRAGMA recursive_triggers = ON; INSERT INTO t VALUES(1, 1, 1)");
	forget();
	run("UPDATE t SET b = 9; INSERT OR REPLACE INTO t VALUES(1, 2, 1)");
	assert_string_equal(marks(), "1E");
}

static void test_row_displaced_by_insert(void **state)
{
	(void)state;
	setup_unique();
	run("INSERT INTO t VALUES(1, 'u', 1), (2, 'v', 1)");
	forget();
	run("INSERT OR REPLACE INTO t VALUES(3, 'u', 1)");
	assert_string_equal(marks(), "1C 3E");
	run("INSERT OR REPLACE INTO t(a, b) VALUES('v', 1)");
	assert_string_equal(marks(), "1C 2C 3E 4E");
}

static void test_row_with_key_minus_one_displaced(void **state)
{
	(void)state;
	setup_unique();
	run("INSERT INTO t VALUES(-1, 'u', 1), (2, 'v', 1)");
	forget();
	run("INSERT OR REPLACE INTO t(a, b) VALUES('u', 1)");
	assert_string_equal(marks(), "-1C 3E");
}

static void test_row_displaced_by_update(void **state)
{
	(void)state;
	setup_unique();
	run("INSERT INTO t VALUES(1, 'u', 1), (2, 'v', 1)");
	forget();
	run("UPDATE OR REPLACE t SET a = 'u' WHERE id = 2");
	assert_string_equal(marks(), "1C 2:0");
	forget();
	run("UPDATE OR REPLACE t SET b = 7, a = a WHERE id = 2");
	assert_string_equal(marks(), "2:1");
}

static void test_row_displaced_with_recursive_triggers(void **state)
{
	(void)state;
	setup_unique();
	run("PRAGMA recursive_triggers = ON; INSERT INTO t VALUES(1, 'u', 1), (2, 'v', 1)");
	forget();
	run("INSERT OR REPLACE INTO t VALUES(3, 'u', 1)");
	assert_string_equal(marks(), "1E 3E");
}

/* False candidates: the row is still there, so whoever reads the marks drops them. */
static void test_false_candidates(void **state)
{
	(void)state;
	setup_unique();
	run("INSERT INTO t VALUES(1, 'u', 1)");
	forget();
	run("INSERT OR IGNORE INTO t VALUES(2, 'u', 1)");
	assert_string_equal(marks(), "1C");
	run("INSERT INTO t VALUES(3, 'u', 5) ON CONFLICT(a) DO UPDATE SET b = excluded.b");
	assert_string_equal(marks(), "1C 1:1");
	run("DELETE FROM t");
	assert_string_equal(marks(), "1E");
	run("INSERT INTO t VALUES(4, NULL, 1), (5, NULL, 1)");
	assert_string_equal(marks(), "1E 4E 5E");
}

static void test_composite_unique(void **state)
{
	static uint16_t both[] = {1, 2};
	static struct shape_unique u[] = {{.n = 2, .col = both}};
	struct marks_spec m = plain();

	(void)state;
	m.n_unique = 1;
	m.unique = u;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, UNIQUE(a, b))");
	capture(&m);
	run("INSERT INTO t VALUES(1, 'u', 1), (2, 'u', 2)");
	forget();
	run("REPLACE INTO t VALUES(3, 'u', 2)");
	assert_string_equal(marks(), "2C 3E");
}

static void test_upsert(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 1, 1)");
	forget();
	run("INSERT INTO t VALUES(1, 5, 1) ON CONFLICT(id) DO UPDATE SET a = excluded.a");
	assert_string_equal(marks(), "1:0");
	forget();
	run("INSERT INTO t VALUES(1, 6, 1) ON CONFLICT(id) DO NOTHING");
	assert_string_equal(marks(), "");
}

/* The app's conflict clause overrides ours: each must still work with marks already there. */
static void test_conflict_clauses_of_the_app(void **state)
{
	static const char *const clauses[] = {"ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"};
	char sql[200];

	(void)state;
	setup_unique();
	for (int i = 0; i < 5; i++) {
		run("DELETE FROM t; INSERT INTO t VALUES(1, 1, 1), (2, 2, 2)");
		run("UPDATE t SET b = 0");
		run("BEGIN");
		snprintf(sql, sizeof sql, "UPDATE OR %s t SET b = 10, a = a + 10", clauses[i]);
		run(sql);
		snprintf(sql, sizeof sql, "INSERT OR %s INTO t VALUES(3, 3, 3)", clauses[i]);
		run(sql);
		run("DELETE FROM t WHERE id = 3");
		run(sql);
		run("COMMIT");
		assert_string_equal(marks(), "1E 1:0 1:1 2E 2:0 2:1 3E");
		run("UPDATE neap_m1 SET gen = 1");
		snprintf(sql, sizeof sql, "UPDATE OR %s t SET b = 11", clauses[i]);
		run(sql);
		assert_string_equal(
			one_text("SELECT group_concat(k0 || ':' || col, ' ') FROM (SELECT * FROM "
				 "neap_m1 WHERE gen = 7 ORDER BY k0)"),
			"1:1 2:1 3:1");
		run("UPDATE neap_m1 SET gen = 1");
		snprintf(sql, sizeof sql, "UPDATE OR %s t SET id = id + 10", clauses[i]);
		run(sql);
		snprintf(sql, sizeof sql, "UPDATE OR %s t SET id = id - 10", clauses[i]);
		run(sql);
		assert_string_equal(one_text("SELECT group_concat(k0 || ':' || col, ' ') FROM "
					     "(SELECT * FROM neap_m1 ORDER BY k0)"),
				    "1:-1 2:-1 3:-1 11:-1 12:-1 13:-1");
		run("DELETE FROM t");
		forget();
	}
}

static void test_key_change(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 1, 1), (2, 2, 2)");
	forget();
	run("UPDATE t SET a = 5 WHERE id = 1; UPDATE t SET id = 9, b = 3 WHERE id = 1");
	assert_string_equal(marks(), "1E 9E");
	forget();
	run("UPDATE t SET rowid = 10 WHERE id = 9");
	assert_string_equal(marks(), "9E 10E");
	forget();
	run("UPDATE OR REPLACE t SET id = 2 WHERE id = 10");
	assert_string_equal(marks(), "2E 10E");
}

static void test_key_swap(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 'x', 1), (2, 'y', 2)");
	forget();
	run("BEGIN; UPDATE t SET id = -id; UPDATE t SET id = 3 + id; COMMIT");
	assert_string_equal(marks(), "-2E -1E 1E 2E");
	assert_string_equal(one_text("SELECT group_concat(id || a, ' ') FROM t"), "1y 2x");
}

static void setup_nocase(void)
{
	static struct shape_col key[1], cols[1];
	struct marks_spec m = {
		.table = slice_str("t"), .n_key = 1, .n_col = 1, .key = key, .col = cols};

	key[0] = column("name", AFF_TEXT, COLL_NOCASE);
	cols[0] = TEXT("v");
	run("CREATE TABLE t(name TEXT PRIMARY KEY COLLATE NOCASE, v TEXT COLLATE NOCASE)");
	capture(&m);
}

static void test_nocase_key_changes_case(void **state)
{
	(void)state;
	setup_nocase();
	run("INSERT INTO t VALUES('a', 'v')");
	forget();
	run("UPDATE t SET name = 'A'");
	assert_string_equal(one_text("SELECT lower(k0) || col FROM neap_m1"), "a-1");
	assert_string_equal(one_text("SELECT count(*) FROM neap_m1"), "1");
}

static void test_nocase_value_changes_case(void **state)
{
	(void)state;
	setup_nocase();
	run("INSERT INTO t VALUES('a', 'v')");
	forget();
	run("UPDATE t SET v = 'V'");
	assert_string_equal(marks(), "a:0");
}

static void test_types_and_values(void **state)
{
	static const char *const values[] = {
		"NULL",
		"''",
		"x''",
		"0",
		"'0'",
		"1",
		"1.0",
		"'a'",
		"'A'",
		"x'6100'",
		"x'610000'",
		"9223372036854775807",
		"9e999",
		"-9e999",
		"9223372036854775806",
		"9007199254740993",
		"9007199254740992.0",
		"'a' || char(0)",
		"'a' || char(0) || 'b'",
	};
	char sql[200];

	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 'start', 1)");
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		forget();
		snprintf(sql, sizeof sql, "UPDATE t SET a = %s", values[i]);
		run(sql);
		if (strcmp(marks(), "1:0"))
			fail_msg("a change to %s was not seen", values[i]);
		forget();
		run(sql);
		if (strcmp(marks(), ""))
			fail_msg("%s to itself was seen as a change", values[i]);
	}
}

static void test_type_affinity_of_keys(void **state)
{
	static struct shape_col key[1], cols[1];
	struct marks_spec m = {
		.table = slice_str("t"), .n_key = 1, .n_col = 1, .key = key, .col = cols};

	(void)state;
	key[0] = TEXT("k");
	cols[0] = INT("v");
	run("CREATE TABLE t(k TEXT PRIMARY KEY, v INT)");
	capture(&m);
	run("INSERT INTO t VALUES(17, '5')");
	assert_string_equal(one_text("SELECT typeof(k0) || k0 FROM neap_m1"), "text17");
	forget();
	run("UPDATE t SET v = '5.0'");
	assert_string_equal(marks(), "");
	run("UPDATE t SET v = 'five'");
	assert_string_equal(marks(), "17:0");
}

static void test_null_in_key_is_not_captured(void **state)
{
	static struct shape_col key[2], cols[1];
	struct marks_spec m = {
		.table = slice_str("t"), .n_key = 2, .n_col = 1, .key = key, .col = cols};

	(void)state;
	key[0] = TEXT("k");
	key[1] = TEXT("l");
	cols[0] = INT("v");
	run("CREATE TABLE t(k TEXT, l TEXT, v INT, PRIMARY KEY(k, l))");
	capture(&m);
	run("INSERT INTO t VALUES(NULL, 'a', 1), ('b', NULL, 1); UPDATE t SET v = 2");
	assert_string_equal(marks(), "");
	run("UPDATE t SET k = 'a' WHERE k IS NULL");
	assert_string_equal(marks(), "aE");
	run("UPDATE t SET l = NULL WHERE k = 'a'");
	assert_string_equal(marks(), "aE");
	run("DELETE FROM t WHERE k = 'b'");
	assert_string_equal(marks(), "aE");
}

static void test_without_rowid_composite_key(void **state)
{
	static struct shape_col key[2], cols[1];
	struct marks_spec m = {
		.table = slice_str("t"), .n_key = 2, .n_col = 1, .key = key, .col = cols};

	(void)state;
	key[0] = TEXT("k");
	key[1] = INT("l");
	cols[0] = INT("v");
	run("CREATE TABLE t(v INT, l INT, k TEXT, PRIMARY KEY(k, l)) WITHOUT ROWID");
	capture(&m);
	run("INSERT INTO t(k, l, v) VALUES('x', 1, 1), ('x', 2, 1)");
	forget();
	run("UPDATE t SET v = 2 WHERE l = 2; UPDATE t SET l = 3 WHERE l = 1; "
	    "REPLACE INTO t(k, l, v) VALUES('x', 2, 9)");
	assert_string_equal(one_text("SELECT group_concat(k0 || k1 || ':' || col, ' ') FROM "
				     "(SELECT * FROM neap_m1 ORDER BY k0, k1, col)"),
			    "x1:-1 x2:-1 x2:0 x3:-1");
}

static void test_cascades(void **state)
{
	struct marks_spec m = plain();

	(void)state;
	run("PRAGMA foreign_keys = ON; CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE);"
	    "CREATE TABLE t(id INTEGER PRIMARY KEY, a REFERENCES p ON DELETE CASCADE,"
	    " b REFERENCES p(u) ON DELETE SET NULL ON UPDATE CASCADE)");
	capture(&m);
	run("INSERT INTO p VALUES(1, 'x'), (2, 'y'); INSERT INTO t VALUES(1, 1, NULL), (2, 2, 'x'),"
	    " (3, NULL, 'y')");
	forget();
	run("UPDATE p SET u = 'z' WHERE id = 2");
	assert_string_equal(marks(), "3:1");
	forget();
	run("DELETE FROM p WHERE id = 1");
	assert_string_equal(marks(), "1E 2:1");
	forget();
	run("REPLACE INTO p VALUES(2, 'new')");
	assert_string_equal(marks(), "2E 3:1");
}

static void test_triggers_of_the_app(void **state)
{
	(void)state;
	setup_plain();
	run("CREATE TRIGGER a1 AFTER INSERT ON t BEGIN UPDATE t SET b = 'set' WHERE id = NEW.id; "
	    "END;"
	    "CREATE TRIGGER a2 AFTER UPDATE OF a ON t BEGIN UPDATE t SET b = 'upd' WHERE id = "
	    "NEW.id; END;"
	    "CREATE TABLE log(id); CREATE TRIGGER a3 AFTER INSERT ON log BEGIN DELETE FROM t WHERE "
	    "id = NEW.id; INSERT INTO t VALUES(NEW.id + 1, 0, 0); END;");
	run("INSERT INTO t VALUES(1, 'x', 'y')");
	assert_string_equal(marks(), "1E 1:1");
	forget();
	run("UPDATE t SET a = 2");
	assert_string_equal(marks(), "1:0 1:1");
	forget();
	run("INSERT INTO log VALUES(1)");
	assert_string_equal(marks(), "1E 2E 2:1");
}

static void test_generated_columns(void **state)
{
	struct marks_spec m = plain();

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, g AS (a || '!') STORED, b, h AS (b + 1))");
	capture(&m);
	run("INSERT INTO t(id, a, b) VALUES(1, 1, 1)");
	forget();
	run("UPDATE t SET b = 2");
	assert_string_equal(marks(), "1:1");
}

static void test_vacuum_keeps_marks(void **state)
{
	static struct shape_col key[1], cols[1];
	struct marks_spec m = {
		.table = slice_str("t"), .n_key = 1, .n_col = 1, .key = key, .col = cols};

	(void)state;
	key[0] = TEXT("k");
	cols[0] = INT("v");
	run("CREATE TABLE t(k TEXT PRIMARY KEY, v INT)");
	capture(&m);
	run("INSERT INTO t VALUES('a', 1), ('b', 1), ('c', 1)");
	forget();
	run("DELETE FROM t WHERE k = 'a'; UPDATE t SET v = 5 WHERE k = 'c'; VACUUM;");
	run("UPDATE t SET v = 6 WHERE k = 'b'");
	assert_string_equal(marks(), "aE b:0 c:0");
}

static void test_alter_table_add_column(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 1, 1); ALTER TABLE t ADD COLUMN c DEFAULT 5");
	forget();
	run("UPDATE t SET b = 3, c = 2; INSERT INTO t VALUES(2, 2, 2, 2)");
	assert_string_equal(marks(), "1:1 2E");
}

static void test_create_copy_drop_rename_loses_the_triggers(void **state)
{
	(void)state;
	setup_plain();
	run("INSERT INTO t VALUES(1, 1, 1)");
	forget();
	run("BEGIN; CREATE TABLE t2(id INTEGER PRIMARY KEY, a, b); INSERT INTO t2 SELECT * FROM t; "
	    "DROP TABLE t; ALTER TABLE t2 RENAME TO t; COMMIT; UPDATE t SET a = 2");
	assert_string_equal(marks(), "");
	assert_string_equal(
		one_text("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'neap_m1_%'"), "0");
}

static void test_rollback_and_savepoints(void **state)
{
	(void)state;
	setup_plain();
	run("BEGIN; INSERT INTO t VALUES(1, 1, 1); SAVEPOINT s; INSERT INTO t VALUES(2, 2, 2); "
	    "ROLLBACK TO s; COMMIT; BEGIN; DELETE FROM t; ROLLBACK");
	assert_string_equal(marks(), "1E");
	assert_int_not_equal(try_sql("INSERT INTO t VALUES(5, 5, 5), (1, 1, 1)"), SQLITE_OK);
	assert_string_equal(marks(), "1E");
}

#define WIDE 199
static void test_two_hundred_columns(void **state)
{
	static char names[WIDE][8];
	static struct shape_col key[1], cols[WIDE];
	struct marks_spec m = {
		.table = slice_str("t"), .n_key = 1, .n_col = WIDE, .key = key, .col = cols};
	struct buf sql = {.max = 1 << 20};

	(void)state;
	key[0] = INT("id");
	assert_int_equal(buf_printf(&sql, "CREATE TABLE t(id INTEGER PRIMARY KEY"), 0);
	for (int i = 0; i < WIDE; i++) {
		snprintf(names[i], sizeof names[i], "c%d", i);
		cols[i] = ANY(names[i]);
		assert_int_equal(buf_printf(&sql, ", c%d", i), 0);
	}
	assert_int_equal(buf_printf(&sql, ")"), 0);
	assert_int_equal(buf_terminate(&sql), 0);
	run((char *)sql.at);
	capture(&m);
	run("INSERT INTO t(id, c0) VALUES(1, 1)");
	forget();
	run("UPDATE t SET c198 = 1, c0 = 1, c77 = 1");
	assert_string_equal(marks(), "1:77 1:198");
	buf_clear(&sql);
	assert_int_equal(buf_printf(&sql, "UPDATE t SET id = id"), 0);
	for (int i = 0; i < WIDE; i++)
		assert_int_equal(buf_printf(&sql, ", c%d = 'n'", i), 0);
	assert_int_equal(buf_terminate(&sql), 0);
	run((char *)sql.at);
	buf_free(&sql);
	assert_string_equal(one_text("SELECT count(*) FROM neap_m1"), "199");
}

static void test_odd_names(void **state)
{
	static const char *const odd[] = {
		"col", "stamp", "gen",	  "site",     "k1", "NEW",   "x",     "z",	  "a\"b",
		"a'b", "a]b`",	"select", "\xc3\xa9", " ",  "a;b--", "rowid", "excluded", "%s%n"};
	enum { n_odd = sizeof odd / sizeof *odd };
	static struct shape_col key[1], cols[n_odd];
	static uint16_t u[] = {1, 2};
	static struct shape_unique unique[] = {{.n = 2, .col = u}};
	struct marks_spec m = {.table = slice_str("a \"t\" 'é' %d"),
			       .n_key = 1,
			       .n_col = n_odd,
			       .n_unique = 1,
			       .key = key,
			       .col = cols,
			       .unique = unique};
	struct buf sql = {.max = 1 << 20};

	(void)state;
	key[0] = INT("k0");
	assert_int_equal(buf_printf(&sql, "CREATE TABLE "), 0);
	assert_int_equal(sql_put_name(&sql, m.table), 0);
	assert_int_equal(buf_printf(&sql, "(k0 INTEGER PRIMARY KEY"), 0);
	for (int i = 0; i < n_odd; i++) {
		cols[i] = ANY(odd[i]);
		assert_int_equal(buf_printf(&sql, ", "), 0);
		assert_int_equal(sql_put_name(&sql, slice_str(odd[i])), 0);
	}
	assert_int_equal(buf_printf(&sql, ", UNIQUE(\"col\", \"stamp\"))"), 0);
	assert_int_equal(buf_terminate(&sql), 0);
	run((char *)sql.at);
	capture(&m);
	run("INSERT INTO \"a \"\"t\"\" 'é' %d\"(k0, \"col\", \"stamp\") VALUES(1, 1, 1), (2, 2, "
	    "2)");
	assert_string_equal(marks(), "1E 2E");
	forget();
	for (int i = 0; i < n_odd; i++) {
		char want[16];

		buf_clear(&sql);
		assert_int_equal(buf_printf(&sql, "UPDATE "), 0);
		assert_int_equal(sql_put_name(&sql, m.table), 0);
		assert_int_equal(buf_printf(&sql, " SET "), 0);
		assert_int_equal(sql_put_name(&sql, slice_str(odd[i])), 0);
		assert_int_equal(buf_printf(&sql, " = 'new' WHERE k0 = 1"), 0);
		assert_int_equal(buf_terminate(&sql), 0);
		run((char *)sql.at);
		snprintf(want, sizeof want, "1:%d", i);
		assert_string_equal(marks(), want);
		forget();
	}
	run("UPDATE OR REPLACE \"a \"\"t\"\" 'é' %d\" SET \"col\" = 2, stamp = 2 WHERE k0 = 1");
	assert_string_equal(marks(), "1:0 1:1 2C");
	buf_free(&sql);
}

static void test_key_without_other_columns(void **state)
{
	static struct shape_col key[2];
	struct marks_spec m = {.table = slice_str("t"), .n_key = 2, .key = key};

	(void)state;
	key[0] = INT("a");
	key[1] = INT("b");
	run("CREATE TABLE t(a INT, b INT, PRIMARY KEY(a, b))");
	capture(&m);
	run("INSERT INTO t VALUES(1, 2); UPDATE t SET a = 3");
	assert_string_equal(marks(), "1E 3E");
}

static void test_guard(void **state)
{
	struct marks_spec m = plain();

	(void)state;
	m.n_unique = 1;
	m.unique = one_unique;
	run("CREATE TABLE flag(busy); INSERT INTO flag VALUES(1);"
	    "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b)");
	capture_guarded(&m, "NOT (SELECT busy FROM flag)");
	run("INSERT INTO t VALUES(1, 1, 1); REPLACE INTO t VALUES(2, 1, 1); UPDATE t SET b = 2; "
	    "UPDATE t SET id = 9; DELETE FROM t");
	assert_string_equal(marks(), "");
	run("UPDATE flag SET busy = 0; INSERT INTO t VALUES(1, 1, 1)");
	assert_string_equal(marks(), "1E");
}

/* An app that trusts no schema and allows no double-quoted strings. */
static void test_untrusting_app(void **state)
{
	(void)state;
	setup_unique();
	sqlite3_db_config(app, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(app, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(app, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(app, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	run("INSERT INTO t VALUES(1, 1, 1); UPDATE t SET b = 2, id = 3; DELETE FROM t");
	assert_string_equal(marks(), "1E 3E");
}

static void test_drop_triggers(void **state)
{
	struct marks_spec m = plain();
	struct buf sql = {.max = 4096};
	struct err e;

	(void)state;
	setup_unique();
	m.prefix = "neap_m1";
	assert_int_equal(marks_drop_triggers_sql(&m, &sql, &e), 0);
	assert_int_equal(buf_terminate(&sql), 0);
	run((char *)sql.at);
	run((char *)sql.at);
	buf_free(&sql);
	assert_string_equal(one_text("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"),
			    "0");
}

static void test_sql_that_does_not_fit(void **state)
{
	struct marks_spec m = plain();
	struct buf sql = {.max = 100};
	struct err e;

	(void)state;
	m.prefix = "neap_m1";
	m.clock_sql = m.gen_sql = "0";
	assert_int_equal(buf_printf(&sql, "kept"), 0);
	assert_int_equal(marks_create_triggers_sql(&m, &sql, &e), NE_LIMIT);
	assert_int_equal(sql.len, 4);
	buf_free(&sql);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_app, close_app)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_insert_update_delete),
		T(test_update_to_the_same_is_no_change),
		T(test_stamp_is_now_with_offset),
		T(test_ms_are_exact),
		T(test_stamp_is_above_the_floor_and_rises),
		T(test_replace_without_recursive_triggers),
		T(test_replace_with_recursive_triggers),
		T(test_row_displaced_by_insert),
		T(test_row_with_key_minus_one_displaced),
		T(test_row_displaced_by_update),
		T(test_row_displaced_with_recursive_triggers),
		T(test_false_candidates),
		T(test_composite_unique),
		T(test_upsert),
		T(test_conflict_clauses_of_the_app),
		T(test_key_change),
		T(test_key_swap),
		T(test_nocase_key_changes_case),
		T(test_nocase_value_changes_case),
		T(test_types_and_values),
		T(test_type_affinity_of_keys),
		T(test_null_in_key_is_not_captured),
		T(test_without_rowid_composite_key),
		T(test_cascades),
		T(test_triggers_of_the_app),
		T(test_generated_columns),
		T(test_vacuum_keeps_marks),
		T(test_alter_table_add_column),
		T(test_create_copy_drop_rename_loses_the_triggers),
		T(test_rollback_and_savepoints),
		T(test_two_hundred_columns),
		T(test_odd_names),
		T(test_key_without_other_columns),
		T(test_guard),
		T(test_untrusting_app),
		T(test_drop_triggers),
		T(test_sql_that_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
