/* A table is pulled from 0 by itself after it was tracked or has gained a column (J5). */
#include "tests/pair/pair.h"

static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);"
			     "CREATE TABLE big(id INTEGER PRIMARY KEY, v);"
			     "CREATE TABLE other(id INTEGER PRIMARY KEY, v)";
static const char t_rows[] = "SELECT count(*), sum(a), sum(b), min(id), max(id) FROM t";
static const char other_rows[] = "SELECT count(*), sum(v), min(id), max(id) FROM other";
static const char add[] = "ALTER TABLE t ADD COLUMN c";
static const char c_rows[] = "SELECT count(*), sum(c), sum(a), sum(id) FROM t";

static void fill(struct pair *p, int i, const char *sql, int from, int n)
{
	char text[300];

	snprintf(text, sizeof text,
		 "WITH n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) %s", from,
		 from + n - 1, sql);
	pair_app(p, i, text);
}

/*
 * Device a has a column c of t and 2,000 rows each in t and big; device b has neither the column
 * nor tracks `other`. Both are in sync.
 */
static struct pair *two(int *a, int *b)
{
	struct pair *p = pair_new();

	*a = pair_device(p, schema);
	*b = pair_device(p, schema);
	pair_app(p, *a, add);
	for (int i = 0; i < 2; i++) {
		pair_track(p, i ? *b : *a, "t", false);
		pair_track(p, i ? *b : *a, "big", false);
	}
	pair_track(p, *a, "other", false);
	fill(p, *a, "INSERT INTO big SELECT i, hex(randomblob(20)) FROM n", 1, 2000);
	fill(p, *a, "INSERT INTO t SELECT i, i, -i, 7 * i FROM n", 1, 2000);
	fill(p, *a, "INSERT INTO other SELECT i, i FROM n", 1, 300);
	pair_sync_all(p);
	return p;
}

/* What `sql` says is the same at all three. */
static void expect_same(struct pair *p, int a, int b, const char *sql)
{
	assert_string_equal(pair_show(p, b, sql), pair_show(p, a, sql));
	assert_string_equal(pair_server(p, sql), pair_show(p, a, sql));
}

static void expect_done(struct pair *p, int b)
{
	assert_string_equal(
		pair_show(p, b,
			  "SELECT (SELECT count(*) FROM neap_catchup), (SELECT count(*) "
			  "FROM neap_seen)"),
		"0|0");
	assert_int_equal(pair_status(p, b).pending_rows, 0);
}

/* big alone has 40 bytes a row that do not pack. */
static void test_only_that_table_comes(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);
	uint64_t before = p->page_bytes;

	assert_true(before > 40000);
	pair_app(p, b, add);
	pair_sync(p, b);
	expect_same(p, a, b, c_rows);
	assert_in_range(p->page_bytes - before, 100, 20000);
	expect_done(p, b);

	before = p->page_bytes;
	pair_track(p, b, "other", false);
	pair_sync(p, b);
	expect_same(p, a, b, other_rows);
	assert_in_range(p->page_bytes - before, 20, 4000);

	/* A column less needs nothing. */
	before = p->page_bytes;
	pair_app(p, b, "ALTER TABLE t DROP COLUMN b");
	pair_sync(p, b);
	assert_int_equal(p->page_bytes - before, 0);
	expect_done(p, b);
	pair_free(p);
}

/* What happens on the way: after so many messages that. */
enum on_the_way {
	RESTART,
	CRASHED_SERVER,
	OTHERS_WRITE,
	OWN_WRITES,
	ANOTHER_COLUMN,
	ANOTHER_TABLE,
	LINK_LOST,
	LOST_CAPTURE,
	UNTRACKED,
	N_ON_THE_WAY
};

static void restart_server(struct pair *p)
{
	ingest_close(p->in);
	store_close(p->store);
	pair_store_open(p);
	pair_serve(p, (struct in_event){.type = IN_SQL});
}

static void happen(struct pair *p, enum on_the_way what, int a, int b)
{
	switch (what) {
	case RESTART:
		pair_close_engine(p, b);
		pair_open_engine(p, b);
		break;
	case CRASHED_SERVER:
		restart_server(p);
		break;
	case OTHERS_WRITE:
		pair_app(p, a,
			 "UPDATE t SET c = -1 WHERE id % 100 = 1; UPDATE t SET a = -2 WHERE id % "
			 "100 = 2; DELETE FROM t WHERE id % 100 = 3; INSERT INTO t VALUES(5000, 1, "
			 "1, 1); UPDATE big SET v = 'new' WHERE id < 10; DELETE FROM other WHERE "
			 "id = 7; UPDATE other SET v = 0 WHERE id < 5");
		pair_step(p, a, (struct event){.type = EV_LOCAL});
		break;
	case OWN_WRITES:
		pair_app(p, b,
			 "UPDATE t SET a = -3 WHERE id % 100 = 4; DELETE FROM t WHERE id % 100 = "
			 "5; INSERT INTO t(id, a, b) VALUES(6000, 1, 1); INSERT INTO big "
			 "VALUES(6000, 'own'); INSERT INTO other VALUES(6000, 1); UPDATE other "
			 "SET v = 3 WHERE id = 8");
		pair_step(p, b, (struct event){.type = EV_LOCAL});
		break;
	case ANOTHER_COLUMN:
		pair_app(p, b, "ALTER TABLE big ADD COLUMN x; ALTER TABLE t ADD COLUMN d");
		break;
	case ANOTHER_TABLE:
		pair_app(p, b,
			 "CREATE TABLE more(k TEXT PRIMARY KEY, v); INSERT INTO more VALUES("
			 "'k', 1)");
		pair_track(p, b, "more", false);
		break;
	case LINK_LOST:
		pair_link(p, b, false);
		break;
	case LOST_CAPTURE:
		pair_app(p, b,
			 "BEGIN; CREATE TABLE n AS SELECT * FROM other; DROP TABLE other; CREATE "
			 "TABLE other(id INTEGER PRIMARY KEY, v); INSERT INTO other SELECT * FROM "
			 "n; DROP TABLE n; COMMIT");
		break;
	case UNTRACKED:
		PAIR_OK(p, untrack_table(engine_devdb(p->dev[b].en), "other", &p->e));
		break;
	case N_ON_THE_WAY:
		break;
	}
}

static void run_with(enum on_the_way what, size_t messages)
{
	int a, b;
	struct pair *p = two(&a, &b);

	pair_link(p, a, true);
	pair_link(p, b, true);
	pair_run(p, PAIR_STEPS);
	pair_app(p, b, "INSERT INTO other VALUES(1, 'mine'), (7000, 'mine')");
	pair_app(p, b, add);
	pair_track(p, b, "other", false);
	pair_step(p, b, (struct event){.type = EV_LOCAL});
	pair_run(p, messages);
	happen(p, what, a, b);
	pair_sync_all(p);
	expect_same(p, a, b, c_rows);
	expect_same(p, a, b, t_rows);
	if (what != UNTRACKED)
		expect_same(p, a, b, other_rows);
	expect_same(p, a, b, "SELECT count(*), min(v), max(v) FROM big");
	assert_string_equal(pair_show(p, a, "SELECT count(*) FROM other WHERE id IN (1, 8)"), "2");
	/* A row that was there before it was tracked gives way, and goes up if it is not known. */
	if (what != UNTRACKED) {
		assert_string_equal(pair_show(p, b, "SELECT v = 'mine' FROM other WHERE id = 1"),
				    "0");
		assert_string_equal(pair_show(p, a, "SELECT v FROM other WHERE id = 7000"), "mine");
	}
	expect_done(p, b);
	pair_free(p);
}

static void test_whatever_happens_on_the_way(void **state)
{
	(void)state;
	for (enum on_the_way what = 0; what < N_ON_THE_WAY; what++) {
		for (size_t messages = 0; messages < 26; messages += 3)
			run_with(what, messages);
	}
}

/* The stream goes on in between, and its rows of that table are not lost. */
static void test_others_write_all_the_time(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);
	char sql[200];

	pair_link(p, a, true);
	pair_link(p, b, true);
	pair_run(p, PAIR_STEPS);
	pair_app(p, b, add);
	pair_step(p, b, (struct event){.type = EV_LOCAL});
	for (int i = 0; i < 60; i++) {
		snprintf(sql, sizeof sql,
			 "UPDATE t SET c = -%d WHERE id %% 60 = %d; DELETE FROM t WHERE id = %d; "
			 "INSERT INTO t VALUES(%d, 1, 1, 1)",
			 i, i, 2000 - i, 3000 + i);
		pair_app(p, a, sql);
		pair_step(p, a, (struct event){.type = EV_LOCAL});
		pair_run(p, 8);
		pair_wait(p);
	}
	/* It did not have to wait for the others to stop. */
	assert_string_equal(pair_show(p, b, "SELECT count(*) FROM neap_catchup"), "0");
	pair_sync_all(p);
	expect_same(p, a, b, c_rows);
	expect_same(p, a, b, t_rows);
	expect_done(p, b);
	pair_free(p);
}

/* Rows that the server does not have, and no insert of the device's own is waiting. */
static void test_what_the_server_lacks_goes(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_track(p, b, "other", false);
	pair_sync(p, b);
	PAIR_OK(p, untrack_table(engine_devdb(p->dev[b].en), "other", &p->e));
	pair_app(p, a, "DELETE FROM other WHERE id <= 100");
	pair_sync(p, a);
	pair_sync(p, b);
	/* Its rows are there, but those of a table that only receives are not pending. */
	struct track_options o = {.direction = DIR_DOWN, .priority = 5};
	PAIR_OK(p, track_table(engine_devdb(p->dev[b].en), "other", &o, &p->e));
	pair_app(p, b, "INSERT INTO t(id, a, b) VALUES(9000, 1, 1)");
	pair_sync(p, b);
	expect_same(p, a, b, other_rows);
	pair_sync_all(p);
	expect_same(p, a, b, t_rows);
	expect_done(p, b);
	pair_free(p);
}

/* Tracked and then made anew before it was ever pulled: what it never had is not deleted. */
static void test_rebuilt_before_its_pull(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_close_engine(p, b);
	pair_open_engine(p, b);
	pair_track(p, b, "other", false);
	happen(p, LOST_CAPTURE, a, b);
	pair_app(p, b, "INSERT INTO other VALUES(8000, 8)");
	pair_sync_all(p);
	assert_string_equal(pair_server(p, other_rows), "301|45158|1|8000");
	expect_same(p, a, b, other_rows);
	expect_done(p, b);
	pair_free(p);
}

/* A store put back to an older state while a table is pulled: all is pulled, nothing is lost. */
static void test_a_restored_store_meanwhile(void **state)
{
	(void)state;
	for (size_t messages = 0; messages < 20; messages += 2) {
		int a, b;
		struct pair *p = two(&a, &b);
		char copy[96];

		pair_path(p, "copy", ".db", copy);
		pair_rows(p->sql, "PRAGMA wal_checkpoint(TRUNCATE)");
		pair_copy(p, p->path, copy);
		pair_link(p, a, true);
		pair_link(p, b, true);
		pair_app(p, a,
			 "UPDATE t SET c = 1 WHERE id < 50; INSERT INTO t VALUES(5000, 1, 1, "
			 "1); DELETE FROM t WHERE id = 60");
		pair_sync_all(p);
		pair_app(p, b, add);
		pair_step(p, b, (struct event){.type = EV_LOCAL});
		pair_run(p, messages);
		pair_server_stop(p);
		pair_copy(p, copy, p->path);
		pair_server_start(p);
		pair_serve(p, (struct in_event){.type = IN_SQL});
		pair_sync_all(p);
		expect_same(p, a, b, c_rows);
		expect_same(p, a, b, t_rows);
		expect_done(p, b);
		pair_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_that_table_comes),
		cmocka_unit_test(test_whatever_happens_on_the_way),
		cmocka_unit_test(test_others_write_all_the_time),
		cmocka_unit_test(test_what_the_server_lacks_goes),
		cmocka_unit_test(test_rebuilt_before_its_pull),
		cmocka_unit_test(test_a_restored_store_meanwhile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
