/* A store that was lost, or restored from a copy: what the devices still have comes back (P8). */
#include "tests/pair/pair.h"

static const char log_table[] = "CREATE TABLE log(id INTEGER PRIMARY KEY, v)";
static const char server_rows[] = "SELECT id, v FROM log ORDER BY id, v";

/* A row whose key is below the high water goes under a number: it is known by that afterwards. */
static void test_a_numbered_row_is_not_sent_under_its_key(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, log_table);

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(10, 'x'), (11, 'x')");
	pair_sync(p, a);
	pair_app(p, a, "INSERT INTO log VALUES(5, 'late')");
	pair_sync(p, a);
	pair_back_up(p);
	pair_app(p, a, "INSERT INTO log VALUES(6, 'late'), (12, 'x')");
	pair_sync(p, a);
	pair_restore(p);
	pair_sync(p, a);
	assert_string_equal(pair_server(p, server_rows), "5|late,6|late,10|x,11|x,12|x");
	pair_free(p);
}

static struct ingest_stats stats(struct pair *p)
{
	struct ingest_stats s;

	ingest_stats(p->in, &s);
	return s;
}

/* The device's engine dies and starts again. */
static void crash(struct pair *p, int i)
{
	pair_close_engine(p, i);
	pair_open_engine(p, i);
	pair_link(p, i, true);
}

static const char *const tables[] = {
	"CREATE TABLE log(id INTEGER PRIMARY KEY, part, v)",
	"CREATE TABLE log(id TEXT PRIMARY KEY, part, v)",
	("CREATE TABLE log(id TEXT COLLATE NOCASE, part INT, v, PRIMARY KEY(part, id))"
	 " WITHOUT ROWID"),
};
enum { N_TABLES = sizeof tables / sizeof *tables };

/* Rows with ids from … to, under keys that each of the tables takes. */
static void insert(struct pair *p, int a, int from, int to, const char *v)
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "WITH n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO "
		 "log(id, part, v) SELECT i, i %% 7, '%s' FROM n",
		 from, to, v);
	pair_app(p, a, sql);
}

static const char *by_value(struct pair *p)
{
	return pair_server(p, "SELECT v, count(*), count(DISTINCT id) FROM log GROUP BY v ORDER "
			      "BY v");
}

/* What the server lacks is sent, and nothing else. */
static void test_only_what_is_lost_goes_up(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]);

		pair_track(p, a, "log", true);
		insert(p, a, 1, 5000, "kept");
		pair_sync(p, a);
		pair_back_up(p);
		insert(p, a, 5001, 5100, "lost");
		pair_sync(p, a);
		/* What is changed or deleted after it had gone up stays as it was there. */
		pair_app(p, a,
			 "UPDATE log SET v = 'mine' WHERE id IN (3, 4, '3', '4'); DELETE "
			 "FROM log WHERE id IN (10, '10')");
		pair_restore(p);
		insert(p, a, 6000, 6009, "new");
		pair_sync(p, a);
		assert_string_equal(by_value(p), "kept|5000|5000,lost|100|100,new|10|10");
		assert_int_equal(stats(p).rows, 110);
		assert_int_equal(stats(p).duplicates, 0);
		assert_int_equal(p->refusals, 0);
		assert_int_equal(pair_status(p, a).pending_rows, 0);
		assert_int_equal(pair_status(p, a).bad_frames, 0);
		pair_free(p);
	}
}

static void test_a_wiped_store(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]);

		pair_track(p, a, "log", true);
		insert(p, a, 3001, 7000, "first");
		pair_sync(p, a);
		insert(p, a, 1, 10, "low");
		pair_sync(p, a);
		pair_wipe(p);
		pair_sync(p, a);
		assert_string_equal(by_value(p), "first|4000|4000,low|10|10");
		assert_int_equal(stats(p).duplicates, 0);
		/* Once is enough. */
		uint64_t rows = stats(p).rows;
		pair_sync(p, a);
		assert_int_equal(stats(p).rows, rows);
		pair_free(p);
	}
}

/* A sync is not over before the server has what it lost: told by the very message that ends it. */
static void test_a_sync_waits_for_what_was_lost(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]);

		pair_track(p, a, "log", true);
		insert(p, a, 1, 30, "x");
		pair_sync(p, a);
		pair_wipe(p);
		pair_step(p, a, (struct event){.type = EV_SYNC, .sync_id = 99999});
		while (p->dev[a].synced != 99999) {
			if (!pair_deliver(p))
				pair_wait(p);
		}
		assert_string_equal(by_value(p), "x|30|30");
		pair_free(p);
	}
}

/* Rows with holes between their keys; rows that had numbers; rows deleted on both ends. */
static void test_integer_keys_of_all_kinds(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, tables[0]);

	pair_track(p, a, "log", true);
	pair_app(p, a,
		 "WITH n(i) AS (SELECT -3000 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT "
		 "INTO log SELECT i * i * i, 0, 'x' FROM n");
	pair_sync(p, a);
	pair_exec(p->sql, "DELETE FROM log WHERE id = 27");
	pair_app(p, a,
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO "
		 "log SELECT i * i * i + 1, 0, 'kept' FROM n");
	pair_sync(p, a);
	pair_back_up(p);
	pair_app(p, a,
		 "WITH n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO "
		 "log SELECT i * i * i - 1, 0, 'lost' FROM n; DELETE FROM log WHERE id = 8; INSERT "
		 "INTO log VALUES(8, 0, 'under a key used before'), (27000000005, 0, 'high')");
	pair_sync(p, a);
	pair_restore(p);
	pair_sync(p, a);
	/* -3000^3 … 3000^3; 27 went, where the numbers came with holes, so it is back: it was never
	 * missed by the device. */
	assert_string_equal(pair_server(p, "SELECT v, count(*), count(DISTINCT id) FROM log WHERE "
					   "id <> 27 GROUP BY v ORDER BY v"),
			    "high|1|1,kept|3000|3000,lost|2999|2999,under a key used "
			    "before|1|1,x|6000|6000");
	assert_int_equal(stats(p).duplicates, 0);
	assert_int_equal(p->refusals, 0);
	pair_free(p);
}

/* Keys that came without holes: what an operator deleted is not what the server lost. */
static void test_what_an_operator_deleted_stays_deleted(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, tables[0]);

	pair_track(p, a, "log", true);
	insert(p, a, 1, 100, "kept");
	pair_sync(p, a);
	pair_exec(p->sql, "DELETE FROM log WHERE id <= 90");
	pair_back_up(p);
	insert(p, a, 101, 105, "lost");
	pair_sync(p, a);
	pair_restore(p);
	pair_sync(p, a);
	assert_string_equal(by_value(p), "kept|10|10,lost|5|5");
	pair_free(p);
}

/* A sync that is left after so many messages; whether it had ended by then. */
static bool sync_some(struct pair *p, int a, size_t steps)
{
	enum { ID = 99999 };

	pair_step(p, a, (struct event){.type = EV_SYNC, .sync_id = ID});
	for (size_t i = 0; i < steps && p->dev[a].synced != ID; i++) {
		if (!pair_deliver(p))
			pair_wait(p);
	}
	return p->dev[a].synced == ID;
}

/* What was asked, and what was found, survives the engine at any message. */
static void test_a_crash_at_any_message(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		bool all = false;

		for (size_t steps = 1; !all; steps++) {
			struct pair *p = pair_new();
			int a = pair_device(p, tables[t]);

			pair_track(p, a, "log", true);
			insert(p, a, 10, 40, "kept");
			pair_sync(p, a);
			pair_back_up(p);
			insert(p, a, 41, 60, "lost");
			insert(p, a, 1, 4, "low");
			pair_sync(p, a);
			pair_restore(p);
			all = sync_some(p, a, steps);
			crash(p, a);
			pair_sync(p, a);
			assert_string_equal(by_value(p), "kept|31|31,lost|20|20,low|4|4");
			assert_int_equal(pair_status(p, a).pending_rows, 0);
			pair_free(p);
		}
	}
}

/* Restored again while the first loss is being made good. */
static void test_restored_at_any_message(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		bool all = false;

		for (size_t steps = 1; !all; steps++) {
			struct pair *p = pair_new();
			int a = pair_device(p, tables[t]);

			pair_track(p, a, "log", true);
			insert(p, a, 10, 40, "kept");
			pair_sync(p, a);
			pair_back_up(p);
			insert(p, a, 41, 60, "lost");
			pair_sync(p, a);
			pair_restore(p);
			all = sync_some(p, a, steps);
			if (steps % 2)
				pair_wipe(p);
			else
				pair_restore(p);
			insert(p, a, 70, 75, "new");
			pair_sync(p, a);
			assert_string_equal(by_value(p), "kept|31|31,lost|20|20,new|6|6");
			pair_free(p);
		}
	}
}

/* Rows keep the site they were captured under, also those that are sent again. */
static void test_rows_of_an_earlier_site(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]);
		char copy[96];

		pair_track(p, a, "log", true);
		insert(p, a, 10, 40, "kept");
		pair_sync(p, a);
		pair_back_up(p);
		insert(p, a, 41, 50, "lost");
		pair_sync(p, a);
		/* An older copy of the file is put back: it goes on under a new site. */
		pair_exec(p->dev[a].app, "PRAGMA wal_checkpoint(TRUNCATE)");
		pair_path(p, "copy", "", copy);
		pair_copy(p, p->dev[a].path, copy);
		insert(p, a, 51, 52, "gone with the file");
		pair_sync(p, a);
		pair_close_engine(p, a);
		sqlite3_close(p->dev[a].app);
		pair_copy(p, copy, p->dev[a].path);
		assert_int_equal(sqlite3_open(p->dev[a].path, &p->dev[a].app), SQLITE_OK);
		pair_open_engine(p, a);
		pair_link(p, a, true);
		insert(p, a, 60, 69, "new site");
		pair_sync(p, a);
		assert_int_equal(p->dev[a].new_sites, 1);
		pair_restore(p);
		pair_sync(p, a);
		assert_string_equal(by_value(p), "kept|31|31,lost|10|10,new site|10|10");
		assert_int_equal(stats(p).duplicates, 0);
		pair_free(p);
	}
}

/*
 * First an empty store, then the backup is found after all: what was to go up as lost is there, in
 * tables whose numbers were dropped under other ones.
 */
static void test_a_backup_that_is_found_later(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		for (int sent = 0; sent < 2; sent++) {
			struct pair *p = pair_new();
			int a = pair_device(p, tables[t]);

			pair_track(p, a, "log", true);
			insert(p, a, 10, 40, "kept");
			pair_sync(p, a);
			pair_back_up(p);
			insert(p, a, 41, 50, "lost");
			pair_sync(p, a);
			pair_wipe(p);
			pair_step(p, a, (struct event){.type = EV_SYNC, .sync_id = 99999});
			while (atoi(pair_show(p, a, "SELECT count(*) FROM neap_inflight")) == 0) {
				if (!pair_deliver(p))
					pair_wait(p);
			}
			pair_run(p, sent ? 2 : 0);
			pair_restore(p);
			insert(p, a, 60, 65, "new");
			pair_sync(p, a);
			assert_string_equal(by_value(p), "kept|31|31,lost|10|10,new|6|6");
			assert_int_equal(pair_status(p, a).pending_rows, 0);
			pair_free(p);
		}
	}
}

/* An app that holds the write lock only delays it, and keeps nothing else from going on. */
static void test_a_database_that_is_locked(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, tables[1]);

	pair_track(p, a, "log", true);
	insert(p, a, 10, 40, "kept");
	pair_sync(p, a);
	pair_back_up(p);
	insert(p, a, 41, 50, "lost");
	pair_sync(p, a);
	pair_restore(p);
	sqlite3_busy_timeout(db_handle(engine_devdb(p->dev[a].en)->db), 0);
	while (atoi(pair_show(p, a, "SELECT count(*) FROM neap_ask")) == 0) {
		if (!pair_deliver(p))
			pair_wait(p);
	}
	pair_app(p, a, "BEGIN IMMEDIATE");
	pair_pass(p, 5000);
	assert_true(pair_status(p, a).asking);
	/* No step fails for it. */
	struct event tick = {
		.type = EV_TICK, .now_ms = p->wall_ms + p->mono_ms, .mono_ms = p->mono_ms + 1000};
	PAIR_OK(p, engine_step(p->dev[a].en, &tick, &p->dev[a].acts, &p->e));
	p->mono_ms += 1000;
	pair_app(p, a, "COMMIT");
	pair_sync(p, a);
	assert_string_equal(by_value(p), "kept|31|31,lost|10|10");
	pair_free(p);
}

/* Nothing was sent under the new site yet, so no number tells of the loss; the position does. */
static void test_a_new_site_that_sent_nothing(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]);
		char copy[96];

		pair_app(p, a, "CREATE TABLE other(id INTEGER PRIMARY KEY, v)");
		pair_track(p, a, "other", false);
		pair_track(p, a, "log", true);
		insert(p, a, 10, 40, "kept");
		pair_sync(p, a);
		pair_back_up(p);
		insert(p, a, 41, 50, "lost");
		pair_app(p, a, "INSERT INTO other VALUES(1, 1)");
		pair_sync(p, a);
		pair_exec(p->dev[a].app, "PRAGMA wal_checkpoint(TRUNCATE)");
		pair_path(p, "copy", "", copy);
		pair_copy(p, p->dev[a].path, copy);
		pair_app(p, a, "INSERT INTO other VALUES(2, 2)");
		pair_sync(p, a);
		pair_close_engine(p, a);
		sqlite3_close(p->dev[a].app);
		pair_copy(p, copy, p->dev[a].path);
		assert_int_equal(sqlite3_open(p->dev[a].path, &p->dev[a].app), SQLITE_OK);
		pair_open_engine(p, a);
		pair_sync(p, a);
		assert_int_equal(p->dev[a].new_sites, 1);
		pair_restore(p);
		pair_sync(p, a);
		assert_string_equal(by_value(p), "kept|31|31,lost|10|10");
		pair_free(p);
	}
}

/* Rows that are deleted here after a while: not while the server may lack them. */
static void test_retention_waits(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]);
		struct track_options o = {
			.append = true, .priority = 5, .policy = {.keep_ms = 3600 * 1000}};

		PAIR_OK(p, track_table(engine_devdb(p->dev[a].en), "log", &o, &p->e));
		insert(p, a, 100, 3100, "kept");
		pair_sync(p, a);
		pair_back_up(p);
		insert(p, a, 4000, 4010, "lost");
		insert(p, a, 10, 20, "low");
		pair_sync(p, a);
		pair_link(p, a, false);
		pair_restore(p);
		pair_link(p, a, true);
		while (atoi(pair_show(p, a, "SELECT count(*) FROM neap_ask")) == 0) {
			if (!pair_deliver(p))
				pair_wait(p);
		}
		pair_link(p, a, false);
		pair_pass(p, 2 * 3600 * 1000);
		pair_sync(p, a);
		assert_string_equal(by_value(p), "kept|3001|3001,lost|11|11,low|11|11");
		assert_int_equal(stats(p).duplicates, 0);
		pair_pass(p, 2 * 3600 * 1000);
		assert_in_range(atoi(pair_show(p, a, "SELECT count(*) FROM log")), 0, 1);
		pair_free(p);
	}
}

/*
 * A file that was copied to another device: what its site captured is that site's to send, where
 * it is known. Where numbers were dropped it is not: rather twice than not at all.
 */
static void copy_file(struct pair *p, int from, int to)
{
	char sql[96];

	pair_close_engine(p, to);
	sqlite3_close(p->dev[to].app);
	pair_exec(p->dev[from].app, "PRAGMA wal_checkpoint(TRUNCATE)");
	pair_copy(p, p->dev[from].path, p->dev[to].path);
	assert_int_equal(sqlite3_open(p->dev[to].path, &p->dev[to].app), SQLITE_OK);
	snprintf(sql, sizeof sql, "UPDATE neap_meta SET value = 'd%d' WHERE key = 'device'", to);
	pair_exec(p->dev[to].app, sql);
	pair_open_engine(p, to);
}

static int copied_to_another(struct pair *p, int a, const char *table)
{
	int b = pair_device(p, table);

	copy_file(p, a, b);
	return b;
}

static void test_rows_of_another_device_are_its_own(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		struct pair *p = pair_new();
		int a = pair_device(p, tables[t]), b;

		pair_track(p, a, "log", true);
		insert(p, a, 10, 20, "first");
		pair_sync(p, a);
		pair_back_up(p);
		insert(p, a, 21, 30, "lost");
		pair_sync(p, a);
		b = copied_to_another(p, a, tables[t]);
		insert(p, b, 40, 45, "second");
		pair_sync_all(p);
		pair_restore(p);
		uint64_t refusals = p->refusals;
		pair_sync(p, b);
		assert_int_equal(pair_status(p, b).pending_rows, 0);
		pair_sync(p, a);
		assert_int_equal(p->refusals, refusals);
		assert_string_equal(
			pair_server(p, "SELECT device_id, v, count(*) FROM log GROUP BY 1, 2"),
			t == 0 ? "d0|first|11,d0|lost|10,d1|second|6"
			       : "d0|first|11,d0|lost|10,d1|lost|10,d1|second|6");
		pair_free(p);
	}
}

/* … also once the copy had to give its pending rows, of this or of another table, to itself. */
static void what_went_up_before_the_copy_stays(bool pending_here)
{
	struct pair *p = pair_new();
	int a = pair_device(p, tables[0]), b;

	pair_app(p, a, "CREATE TABLE event(id TEXT PRIMARY KEY, v)");
	pair_track(p, a, "log", true);
	pair_track(p, a, "event", true);
	insert(p, a, 10, 20, "first");
	pair_sync(p, a);
	pair_back_up(p);
	insert(p, a, 21, 30, "lost");
	pair_sync(p, a);
	pair_link(p, a, false);
	pair_app(p, a, "INSERT INTO event VALUES('x', 'pending')");
	if (pending_here)
		insert(p, a, 31, 32, "pending");
	b = copied_to_another(p, a, tables[0]);
	pair_link(p, a, true);
	pair_sync_all(p);
	/* Each of them has it by now. */
	assert_string_equal(pair_server(p, "SELECT group_concat(device_id) FROM event"), "d0,d1");
	insert(p, b, 40, 45, "second");
	pair_sync_all(p);
	pair_restore(p);
	pair_sync(p, b);
	pair_sync(p, a);
	assert_string_equal(pair_server(p, "SELECT device_id, v, count(*) FROM log WHERE v <> "
					   "'pending' GROUP BY 1, 2"),
			    "d0|first|11,d0|lost|10,d1|second|6");
	pair_free(p);
}

static void test_what_a_copy_gives_itself(void **state)
{
	(void)state;
	what_went_up_before_the_copy_stays(false);
	what_went_up_before_the_copy_stays(true);
}

/*
 * What a copy left to the first device to send, and that device no longer had, is its own again
 * once the copy comes back to it.
 */
static void test_a_copy_that_comes_back(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, tables[0]), b;

	pair_track(p, a, "log", true);
	insert(p, a, 10, 20, "first");
	pair_sync(p, a);
	b = copied_to_another(p, a, tables[0]);
	insert(p, b, 40, 45, "second");
	pair_sync_all(p);
	pair_wipe(p);
	pair_app(p, a, "DELETE FROM log WHERE id = 15");
	pair_sync(p, a);
	pair_sync(p, b);
	assert_string_equal(pair_server(p, "SELECT count(*) FROM log WHERE id = 15"), "0");
	copy_file(p, b, a);
	pair_sync(p, a);
	assert_string_equal(pair_server(p, "SELECT device_id, v, count(*) FROM log GROUP BY 1, 2"),
			    "d0|first|11,d1|second|6");
	assert_int_equal(stats(p).duplicates, 0);
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_numbered_row_is_not_sent_under_its_key),
		cmocka_unit_test(test_only_what_is_lost_goes_up),
		cmocka_unit_test(test_a_wiped_store),
		cmocka_unit_test(test_a_sync_waits_for_what_was_lost),
		cmocka_unit_test(test_integer_keys_of_all_kinds),
		cmocka_unit_test(test_what_an_operator_deleted_stays_deleted),
		cmocka_unit_test(test_a_crash_at_any_message),
		cmocka_unit_test(test_restored_at_any_message),
		cmocka_unit_test(test_rows_of_an_earlier_site),
		cmocka_unit_test(test_a_backup_that_is_found_later),
		cmocka_unit_test(test_a_database_that_is_locked),
		cmocka_unit_test(test_a_new_site_that_sent_nothing),
		cmocka_unit_test(test_retention_waits),
		cmocka_unit_test(test_rows_of_another_device_are_its_own),
		cmocka_unit_test(test_what_a_copy_gives_itself),
		cmocka_unit_test(test_a_copy_that_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
