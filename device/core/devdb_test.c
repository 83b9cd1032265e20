#include <time.h>

#include "device/core/capture.h"
#include "device/core/capture_fixture.h"
#include "device/core/coverage.h"

static void test_open_what_is_not_there(void **state)
{
	struct devdb *x = NULL;

	(void)state;
	assert_int_equal(devdb_open(&x, "/tmp/neap_no_such_file.db", NULL, &err), NE_NOT_FOUND);
	assert_null(x);
}

static void test_open_what_was_not_initialised(void **state)
{
	struct devdb *x = NULL;
	char other[96];
	sqlite3 *h;

	(void)state;
	snprintf(other, sizeof other, "%s/other.db", dir);
	assert_int_equal(sqlite3_open(other, &h), SQLITE_OK);
	assert_int_equal(sqlite3_exec(h, "CREATE TABLE t(a)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(h);
	assert_int_equal(devdb_open(&x, other, NULL, &err), NE_NOT_FOUND);
	assert_non_null(strstr(err.text, "neap init"));
}

static void test_open_what_is_no_database(void **state)
{
	struct devdb *x = NULL;
	char other[96];
	FILE *f;

	(void)state;
	snprintf(other, sizeof other, "%s/text", dir);
	f = fopen(other, "w");
	assert_non_null(f);
	for (int i = 0; i < 1000; i++)
		fputs("this is no database\n", f);
	fclose(f);
	assert_int_equal(devdb_open(&x, other, NULL, &err), NE_CORRUPT);
}

static void test_init_binds(void **state)
{
	(void)state;
	assert_string_equal(d->user.at, "alice");
	assert_string_equal(d->device.at, "phone");
	assert_int_equal(d->site, SITE);
	assert_int_equal(devdb_init(path, NULL, "bob", "phone", 5, &err), NE_EXISTS);
	assert_non_null(strstr(err.text, "alice"));
	OK(devdb_init(path, NULL, "alice", "tablet", 5, &err));
	reopen();
	assert_string_equal(d->device.at, "tablet");
	assert_int_equal(d->site, SITE);
}

static void test_init_refuses_bad_names(void **state)
{
	char other[96];

	(void)state;
	snprintf(other, sizeof other, "%s/new.db", dir);
	assert_int_equal(devdb_init(other, NULL, "a/#", "x", 5, &err), NE_MALFORMED);
	assert_int_equal(devdb_init(other, NULL, "a", "", 5, &err), NE_MALFORMED);
	assert_int_equal(devdb_init(other, NULL, "a", "b", 0, &err), NE_USAGE);
	assert_int_equal(access(other, F_OK), -1);
}

static void test_journal_mode(void **state)
{
	char other[96];
	sqlite3 *h;

	(void)state;
	assert_string_equal(one("PRAGMA journal_mode"), "wal"); /* the file was new */
	snprintf(other, sizeof other, "%s/delete.db", dir);
	assert_int_equal(sqlite3_open(other, &h), SQLITE_OK);
	assert_int_equal(sqlite3_exec(h, "CREATE TABLE t(a)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(h);
	OK(devdb_init(other, NULL, "a", "b", 5, &err));
	sqlite3_close(app);
	assert_int_equal(sqlite3_open(other, &app), SQLITE_OK);
	assert_string_equal(one("PRAGMA journal_mode"), "delete"); /* the app's choice */
}

static void test_a_newer_format_is_refused(void **state)
{
	struct devdb *x = NULL;

	(void)state;
	run("UPDATE neap_meta SET value = 2 WHERE key = 'format'");
	assert_int_equal(devdb_open(&x, path, NULL, &err), NE_USAGE);
	assert_non_null(strstr(err.text, "newer"));
}

static void test_damaged_meta_is_corrupt(void **state)
{
	struct devdb *x = NULL;

	(void)state;
	run("UPDATE neap_meta SET value = -4 WHERE key = 'site'");
	assert_int_equal(devdb_open(&x, path, NULL, &err), NE_CORRUPT);
}

static void test_connection_settings(void **state)
{
	int64_t n;

	(void)state;
	OK(db_int(d->db, "PRAGMA synchronous", -1, &n, &err));
	assert_int_equal(n, 2);
	OK(db_int(d->db, "PRAGMA foreign_keys", -1, &n, &err));
	assert_int_equal(n, 0);
	OK(db_int(d->db, "PRAGMA ignore_check_constraints", -1, &n, &err));
	assert_int_equal(n, 1);
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	track("t", false);
	OK(db_exec(d->db, "INSERT INTO t VALUES(1, 1)", &err));
	assert_string_equal(one("SELECT count(*) FROM neap_m1"),
			    "0"); /* our writes are not captured */
}

static void test_meta(void **state)
{
	struct buf text = {.max = 100};
	int64_t n;

	(void)state;
	OK(devdb_get(d, "nothing", &n, &err));
	assert_int_equal(n, 0);
	OK(devdb_get_text(d, "nothing", &text, &err));
	assert_int_equal(text.len, 0);
	OK(devdb_set(d, "n", INT64_MAX, &err));
	OK(devdb_get(d, "n", &n, &err));
	assert_int_equal(n, INT64_MAX);
	OK(devdb_set_text(d, "t", slice_str("höh"), &err));
	OK(devdb_set_text(d, "empty", slice_str(""), &err));
	OK(devdb_get_text(d, "t", &text, &err));
	OK(devdb_get_text(d, "empty", &text, &err));
	assert_true(slice_eq(buf_slice(&text), slice_str("höh")));
	buf_free(&text);
}

static void test_rollback(void **state)
{
	int64_t n;

	(void)state;
	OK(devdb_begin(d, &err));
	OK(devdb_set(d, "n", 5, &err));
	devdb_rollback(d);
	devdb_rollback(d);
	OK(devdb_get(d, "n", &n, &err));
	assert_int_equal(n, 0);
}

static void test_raise_floor(void **state)
{
	struct dev_clock c;

	(void)state;
	OK(devdb_raise_floor(d, 500, &err));
	OK(devdb_raise_floor(d, 400, &err));
	OK(devdb_clock(d, &c, &err));
	assert_int_equal(c.floor, 500);
	assert_int_equal(c.gen, 1);
	OK(devdb_raise_floor(d, UINT64_MAX, &err));
	OK(devdb_clock(d, &c, &err));
	assert_int_equal(c.floor, INT64_MAX);
}

static uint64_t stamp_of(int64_t id)
{
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT max(stamp) FROM neap_m1 WHERE k0 = %lld", (long long)id);
	return strtoull(one(sql), NULL, 10);
}

static int64_t now_ms(void)
{
	return atoll(one("SELECT strftime('%s', 'now')")) * 1000;
}

/* A write in the same millisecond as the one before it counts up instead. */
static void next_millisecond(void)
{
	struct timespec was, now;

	clock_gettime(CLOCK_REALTIME, &was);
	do
		clock_gettime(CLOCK_REALTIME, &now);
	while (now.tv_sec == was.tv_sec && now.tv_nsec / 1000000 == was.tv_nsec / 1000000);
}

static bool cut_some(size_t rows)
{
	struct cut_limits limits = {.rows = rows, .cells = LIMIT_CELLS, .bytes = LIMIT_SET};
	struct cut cut;
	bool any;

	arena_free(&arena);
	OK(cutter_next(cutter, &limits, 9, &arena, &cut, &any, &err));
	return any;
}

static void test_offset_restamps_what_was_never_cut(void **state)
{
	uint64_t one_was, two_was;

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(9, 'default')");
	track("t", false);
	run("INSERT INTO t VALUES(1, 1)");
	one_was = stamp_of(1);
	OK(devdb_set_offset(d, -3600000, &err));
	assert_int_equal(stamp_of(1), one_was - (3600000ull << 16));
	assert_int_equal(stamp_of(9), 0);
	assert_true(cut_some(100));
	one_was = stamp_of(1);
	next_millisecond();
	run("INSERT INTO t VALUES(2, 2)");
	two_was = stamp_of(2);
	OK(devdb_set_offset(d, -1800000, &err));
	assert_int_equal(stamp_of(1), one_was); /* in flight */
	/* To the millisecond: row 1 may be of the same, and then 2 stood just above it. */
	assert_int_equal(stamp_of(2) >> 16, (two_was >> 16) + 1800000);
	OK(devdb_set_offset(d, -7200000, &err));
	assert_int_equal(stamp_of(2), one_was + 1); /* not to the floor */
}

static void test_offset_keeps_the_order_of_marks(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
	track("t", false);
	run("INSERT INTO t VALUES(1, 1, 1); UPDATE neap_m1 SET stamp = stamp - 500000;"
	    "UPDATE t SET a = 2; UPDATE neap_m1 SET stamp = stamp - 300000; UPDATE t SET b = 2");
	OK(devdb_set_offset(d, 5000, &err));
	assert_string_equal(one("SELECT group_concat(col) FROM (SELECT col FROM neap_m1 ORDER BY "
				"stamp)"),
			    "-1,0,1");
}

/* Cut under a clock a day ahead: refused, so they were never let in. */
static void test_offset_restamps_what_was_refused(void **state)
{
	const int64_t day = 86400000;

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	track("t", false);
	OK(devdb_set_offset(d, day, &err));
	run("INSERT INTO t VALUES(1, 1), (2, 2)");
	assert_true(cut_some(100));
	OK(devdb_set_offset(d, 0, &err)); /* it may still be committed */
	assert_true((int64_t)(stamp_of(1) >> 16) > now_ms() + day / 2);
	OK(cutter_restart(cutter, &err));
	OK(devdb_set_offset(d, 0, &err));
	assert_true(llabs((int64_t)(stamp_of(1) >> 16) - now_ms()) < 60000);
	run("UPDATE t SET a = 3 WHERE id = 1");
	assert_true(llabs((int64_t)(stamp_of(1) >> 16) - now_ms()) < 60000);
	assert_int_equal(devdb_set_offset(d, INT64_MAX, &err), NE_USAGE);
}

static void reload(void)
{
	OK(devdb_reload(d, &err));
}

static void test_added_column(void **state)
{
	struct shape_id before;

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 1), (2, 2), (3, "
	    "3)");
	track("t", false);
	before = d->table[0].shape.id;
	run("DELETE FROM neap_m1; ALTER TABLE t ADD COLUMN b DEFAULT 'd'; ALTER TABLE t ADD COLUMN "
	    "c");
	run("UPDATE t SET b = 'early' WHERE id = 2; UPDATE t SET c = 1 WHERE id = 3");
	reload();
	assert_true(d->table[0].capture_ok);
	assert_int_equal(d->table[0].shape.n_col, 3);
	assert_false(shape_id_eq(before, d->table[0].shape.id));
	assert_string_equal(one("SELECT group_concat(k0 || ':' || col) FROM neap_m1"), "2:1,3:2");
	run("UPDATE t SET b = 'late' WHERE id = 1");
	assert_string_equal(one("SELECT group_concat(k0 || ':' || col) FROM neap_m1"),
			    "1:1,2:1,3:2");
	before = d->table[0].shape.id;
	reopen();
	assert_true(shape_id_eq(before, d->table[0].shape.id));
	assert_true(d->table[0].capture_ok);
}

static void test_renamed_column(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
	track("t", false);
	run("ALTER TABLE t RENAME COLUMN b TO \"new b\"");
	reload();
	assert_true(d->table[0].capture_ok);
	assert_true(slice_eq(d->table[0].shape.col[1].name, slice_str("new b")));
	run("INSERT INTO t VALUES(1, 1, 1); DELETE FROM neap_m1; UPDATE t SET \"new b\" = 5");
	assert_string_equal(one("SELECT group_concat(k0 || ':' || col) FROM neap_m1"), "1:1");
}

/* Lost before a pull brought its rows: none of the server's is missing here. */
static void test_what_was_never_pulled_is_not_known(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	track("t", false);
	run("INSERT INTO neap_meta VALUES('store', 7), ('cursor', 5); DROP TRIGGER neap_m1_ins");
	reload();
	assert_true(d->table[0].waits && d->table[0].comparing);
	assert_int_equal(d->table[0].known, 0);
	/* Nor what its own pull had not brought yet. */
	run("UPDATE neap_catchup SET mode = 1, begun = 1, cursor = 3; DROP TRIGGER neap_m1_ins");
	reload();
	assert_int_equal(d->table[0].known, 3);
	assert_string_equal(one("SELECT begun || ':' || cursor FROM neap_catchup"), "0:0");
}

static void test_a_dropped_column_needs_no_pull(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
	track("t", false);
	run("INSERT INTO neap_meta VALUES('store', 7), ('cursor', 5)");
	reload();
	assert_true(d->table[0].waits);
	OK(coverage_all(d, &err));
	reload();
	assert_false(d->table[0].waits);
	run("ALTER TABLE t DROP COLUMN a");
	reload();
	assert_false(d->table[0].waits);
	run("ALTER TABLE t ADD COLUMN c");
	reload();
	assert_true(d->table[0].waits);
	OK(coverage_all(d, &err));
	run("ALTER TABLE t RENAME COLUMN b TO d");
	reload();
	assert_true(d->table[0].waits);
}

static void test_migration_breaks_capture(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	track("t", false);
	run("BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, a, b); INSERT INTO n SELECT *, 0 FROM t;"
	    "DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT");
	run("INSERT INTO neap_meta VALUES('store', 7), ('cursor', 5)");
	OK(coverage_all(d, &err));
	reload(); /* installed again, and to be compared with what was known up to there */
	assert_true(d->table[0].capture_ok);
	assert_string_equal(one("SELECT mode || ':' || known || ':' || begun FROM neap_catchup"),
			    "2:5:0");
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_string_equal(
		one("SELECT group_concat(k0 || ':' || col || (stamp > 0)) FROM neap_m1"), "1:-11");
	run("UPDATE t SET b = 2");
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "2");
}

static void test_dropped_or_changed_trigger(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE u(id INTEGER PRIMARY KEY, a);"
	    "CREATE TABLE a(id INTEGER PRIMARY KEY, v)");
	track("t", false);
	track("u", false);
	track("a", true);
	run("DROP TRIGGER neap_m1_upd; DROP TRIGGER neap_m3_ins");
	run("DROP TRIGGER neap_m2_del; CREATE TRIGGER neap_m2_del AFTER DELETE ON u BEGIN SELECT "
	    "1; END");
	reload();
	for (int i = 0; i < 3; i++)
		assert_true(d->table[i].capture_ok);
	assert_string_equal(one("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND "
				"name IN ('neap_m1_upd', 'neap_m3_ins')"),
			    "2");
	run("INSERT INTO u VALUES(1, 1); DELETE FROM u");
	assert_string_equal(one("SELECT count(*) FROM neap_m2"), "1");
}

static void test_dropped_table(void **state)
{
	bool any;

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE a(id INTEGER PRIMARY KEY, v)");
	track("t", false);
	track("a", true);
	run("INSERT INTO t VALUES(1, 1); DROP TABLE t; DROP TABLE a");
	reload();
	assert_false(d->table[0].capture_ok);
	assert_false(d->table[1].capture_ok);
	assert_false(cut_some(10));
	OK(cut_any_pending(d, &any, &err));
	assert_true(any);
}

static void test_tables_by_name_and_shape(void **state)
{
	(void)state;
	run("CREATE TABLE Readings(id INTEGER PRIMARY KEY, a)");
	track("READINGS", false);
	assert_ptr_equal(devdb_table_by_name(d, slice_str("readings")), &d->table[0]);
	assert_true(slice_eq(d->table[0].shape.name, slice_str("Readings")));
	assert_null(devdb_table_by_name(d, slice_str("reading")));
	assert_ptr_equal(devdb_table_by_shape(d, d->table[0].shape.id), &d->table[0]);
	assert_null(devdb_table_by_shape(d, (struct shape_id){{1}}));
}

static void test_reload_writes_nothing_when_nothing_changed(void **state)
{
	int before;

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	track("t", false);
	before = sqlite3_total_changes(db_handle(d->db));
	reload();
	assert_int_equal(sqlite3_total_changes(db_handle(d->db)), before);
}

static void test_keys_as_bytes(void **state)
{
	static const char text[] = "a\0b";
	struct val in[6] = {{.type = VAL_NULL},
			    {.type = VAL_INT, .i = INT64_MIN},
			    {.type = VAL_REAL, .r = -0.5},
			    {.type = VAL_TEXT, .s = slice_of(text, 3)},
			    {.type = VAL_BLOB, .s = slice_of(NULL, 0)},
			    {.type = VAL_INT, .i = 7}};
	struct val out[6];
	struct buf b = {.max = 1000};

	(void)state;
	OK(key_pack(&b, in, 6));
	OK(key_unpack(buf_slice(&b), out, 6));
	for (int i = 0; i < 6; i++)
		assert_true(val_eq(&in[i], &out[i]));
	for (size_t len = 0; len < b.len; len++)
		assert_int_equal(key_unpack(slice_of(b.at, len), out, 6), NE_CORRUPT);
	assert_int_equal(key_unpack(buf_slice(&b), out, 5), NE_CORRUPT);
	b.at[0] = 9;
	assert_int_equal(key_unpack(buf_slice(&b), out, 6), NE_CORRUPT);
	buf_free(&b);
}

/* key_same says what SQLite's own index says. */
static void test_key_same_is_sqlites_equality(void **state)
{
	static const char *const values[] = {"1",
					     "1.0",
					     "'1'",
					     "'a'",
					     "'A'",
					     "'a '",
					     "x'61'",
					     "'a  '",
					     "9007199254740993",
					     "9007199254740992.0",
					     "9e999",
					     "9223372036854775807",
					     "9223372036854775807.0",
					     "'ä'",
					     "'Ä'",
					     "''",
					     "x''",
					     "0.5",
					     "'a' || char(0) || 'b'",
					     "'a' || char(0) || 'c'"};
	static const char *const names[] = {"BINARY", "NOCASE", "RTRIM"};
	enum { n = sizeof values / sizeof *values };

	(void)state;
	for (int c = 0; c < 3; c++) {
		struct shape_col col = {.collation = (enum shape_collation)c};
		struct shape s = {.n_key = 1, .key = &col};

		for (int i = 0; i < n * n; i++) {
			struct val a, b;
			char sql[200];
			sqlite3_stmt *q;

			snprintf(sql, sizeof sql, "SELECT %s, %s, %s = %s COLLATE %s",
				 values[i / n], values[i % n], values[i / n], values[i % n],
				 names[c]);
			assert_int_equal(sqlite3_prepare_v2(app, sql, -1, &q, NULL), SQLITE_OK);
			assert_int_equal(sqlite3_step(q), SQLITE_ROW);
			a = val_column(q, 0);
			b = val_column(q, 1);
			if (key_same(&s, &a, &b) != (sqlite3_column_int(q, 2) == 1))
				fail_msg("%s", sql);
			sqlite3_finalize(q);
		}
	}
}

/* SQLite fires the trigger made last first: the app's would hide the rows that it leaves. */
static void test_trigger_of_the_app_made_later(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	track("t", false);
	run("INSERT INTO neap_meta(key, value) VALUES('store', 1);"
	    "CREATE TRIGGER audit AFTER INSERT ON t BEGIN DELETE FROM t WHERE id > 100; END");
	OK(devdb_reload(d, &err));
	assert_string_equal(one("SELECT count(*) FROM neap_catchup"), "0");
	assert_string_equal(
		one("SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY rowid"),
		"audit");
	run("CREATE TRIGGER only AFTER INSERT ON t WHEN NEW.a BEGIN SELECT RAISE(IGNORE); END;"
	    "INSERT INTO t VALUES(1, 1)");
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
	OK(devdb_reload(d, &err)); /* what it hid until now is found by comparing */
	assert_string_equal(one("SELECT mode FROM neap_catchup"), "2");
	run("INSERT INTO t VALUES(2, 1); DELETE FROM neap_catchup");
	assert_string_equal(one("SELECT group_concat(k0) FROM neap_m1"), "2");
	OK(devdb_reload(d, &err));
	assert_string_equal(one("SELECT count(*) FROM neap_catchup"), "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_open_what_is_not_there),
		T(test_open_what_was_not_initialised),
		T(test_open_what_is_no_database),
		T(test_init_binds),
		T(test_init_refuses_bad_names),
		T(test_journal_mode),
		T(test_a_newer_format_is_refused),
		T(test_damaged_meta_is_corrupt),
		T(test_connection_settings),
		T(test_meta),
		T(test_rollback),
		T(test_raise_floor),
		T(test_offset_restamps_what_was_never_cut),
		T(test_offset_keeps_the_order_of_marks),
		T(test_offset_restamps_what_was_refused),
		T(test_added_column),
		T(test_renamed_column),
		T(test_what_was_never_pulled_is_not_known),
		T(test_a_dropped_column_needs_no_pull),
		T(test_migration_breaks_capture),
		T(test_dropped_or_changed_trigger),
		T(test_dropped_table),
		T(test_tables_by_name_and_shape),
		T(test_reload_writes_nothing_when_nothing_changed),
		T(test_keys_as_bytes),
		T(test_key_same_is_sqlites_equality),
		T(test_trigger_of_the_app_made_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
