/* Rows of append tables keep the identity they were captured under (J3, M5). */
#include "tests/pair/pair.h"

static const char log_table[] = "CREATE TABLE log(id INTEGER PRIMARY KEY, v)";
static const char uuid_table[] = "CREATE TABLE log(id TEXT PRIMARY KEY, v)";

static const char server_rows[] = "SELECT id, v FROM log ORDER BY id, neap_site, neap_gen, neap_n";

/* A copy of the file as it is now, kept beside it. */
static void save(struct pair *p, int i, const char *as)
{
	char to[96];

	pair_exec(p->dev[i].app, "PRAGMA wal_checkpoint(TRUNCATE)");
	pair_path(p, as, "", to);
	pair_copy(p, p->dev[i].path, to);
}

/* The file is replaced by what was saved; the engine starts on it. */
static void restore(struct pair *p, int i, const char *from)
{
	char at[96];

	pair_close_engine(p, i);
	sqlite3_close(p->dev[i].app);
	pair_path(p, from, "", at);
	pair_copy(p, at, p->dev[i].path);
	assert_int_equal(sqlite3_open(p->dev[i].path, &p->dev[i].app), SQLITE_OK);
	sqlite3_busy_timeout(p->dev[i].app, 2000);
	pair_open_engine(p, i);
}

static void pending_rows_of_a_restored_file_go_up_once(const char *table)
{
	struct pair *p = pair_new();
	int a = pair_device(p, table);

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(1, 'x'), (2, 'x')");
	pair_sync(p, a);
	pair_app(p, a, "INSERT INTO log VALUES(3, 'x'), (4, 'x')");
	save(p, a, "backup");
	pair_sync(p, a);
	restore(p, a, "backup");
	pair_app(p, a, "INSERT INTO log VALUES(5, 'y')");
	pair_sync(p, a);
	assert_int_equal(p->dev[a].new_sites, 1);
	assert_string_equal(pair_server(p, server_rows), "1|x,2|x,3|x,4|x,5|y");
	/* Restored once more: three sites' rows are here. */
	pair_app(p, a, "INSERT INTO log VALUES(6, 'z')");
	save(p, a, "again");
	pair_sync(p, a);
	restore(p, a, "again");
	pair_app(p, a, "INSERT INTO log VALUES(7, 'z')");
	pair_sync(p, a);
	assert_string_equal(pair_server(p, server_rows), "1|x,2|x,3|x,4|x,5|y,6|z,7|z");
	pair_free(p);
}

static void test_integer_keys(void **state)
{
	(void)state;
	pending_rows_of_a_restored_file_go_up_once(log_table);
}

static void test_numbers(void **state)
{
	(void)state;
	pending_rows_of_a_restored_file_go_up_once(uuid_table);
}

/* What was written to both copies after they parted has the same identity and other content. */
static void rows_written_before_the_copy_is_noticed(const char *table)
{
	struct pair *p = pair_new();
	int a = pair_device(p, table);

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(1, 'x')");
	pair_sync(p, a);
	pair_app(p, a,
		 "WITH n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT "
		 "INTO log SELECT i, 'common' FROM n");
	save(p, a, "backup");
	pair_app(p, a, "INSERT INTO log VALUES(50, 'first'), (51, 'first'), (52, 'first')");
	pair_sync(p, a);
	restore(p, a, "backup");
	pair_app(p, a, "INSERT INTO log VALUES(50, 'second'), (51, 'second')");
	pair_sync(p, a);
	pair_app(p, a, "INSERT INTO log VALUES(52, 'third'), (53, 'third')");
	pair_sync(p, a);
	assert_string_equal(pair_server(p, "SELECT v, count(*), count(DISTINCT id) FROM log GROUP "
					   "BY v ORDER BY v"),
			    "common|31|31,first|3|3,second|2|2,third|2|2,x|1|1");
	assert_string_equal(pair_show(p, a, "SELECT count(*) FROM log"), "36");
	pair_free(p);
}

static void test_both_copies_went_on(void **state)
{
	(void)state;
	rows_written_before_the_copy_is_noticed(log_table);
	rows_written_before_the_copy_is_noticed(uuid_table);
}

/*
 * The rows under whose identities the restored device writes were purged meanwhile: what it writes
 * is not taken for them, and they stay purged.
 */
static void rows_written_under_purged_identities(const char *table)
{
	struct pair *p = pair_new();
	int a = pair_device(p, table);

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(1, 'x')");
	pair_sync(p, a);
	pair_app(p, a, "INSERT INTO log VALUES(2, 'pending'), (3, 'pending')");
	save(p, a, "backup");
	pair_app(p, a, "INSERT INTO log VALUES(4, 'first'), (5, 'first'), (6, 'first')");
	pair_sync(p, a);
	pair_exec(p->sql, "DELETE FROM log WHERE id > 1");
	restore(p, a, "backup");
	pair_app(p, a, "INSERT INTO log VALUES(4, 'second'), (5, 'first'), (7, 'second')");
	pair_sync(p, a);
	/* Row 5 says what the purged one said: nobody can tell them apart. */
	assert_string_equal(pair_server(p, server_rows), "1|x,4|second,7|second");
	assert_int_equal(pair_status(p, a).pending_rows, 0);
	pair_free(p);
}

static void test_purged_identities(void **state)
{
	(void)state;
	rows_written_under_purged_identities(log_table);
	rows_written_under_purged_identities(uuid_table);
}

/* Of the rows that went up before, only those get new identities that say something else now. */
static void rows_that_changed_in_the_copy(const char *table)
{
	struct pair *p = pair_new();
	int a = pair_device(p, table);

	pair_track(p, a, "log", true);
	pair_app(p, a,
		 "WITH n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 409) INSERT "
		 "INTO log SELECT i, 'common' FROM n");
	save(p, a, "backup");
	pair_sync(p, a);
	restore(p, a, "backup");
	pair_app(p, a, "UPDATE log SET v = 'changed' WHERE id % 4 = 0");
	pair_sync(p, a);
	assert_string_equal(pair_server(p, "SELECT v, count(*), count(DISTINCT id) FROM log GROUP "
					   "BY v ORDER BY v"),
			    "changed|100|100,common|400|400");
	/* They are named by the server: some of them at once. */
	assert_in_range(p->refusals, 1, 2);
	pair_free(p);
}

static void test_changed_in_the_copy(void **state)
{
	(void)state;
	rows_that_changed_in_the_copy(log_table);
	rows_that_changed_in_the_copy(uuid_table);
}

/* A file copied to another device: its site, and the rows it captured, stay the first one's. */
static void test_another_device_may_not_use_the_site(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, log_table), b;

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(1, 'x')");
	pair_sync(p, a);
	pair_app(p, a, "INSERT INTO log VALUES(2, 'x')");
	save(p, a, "copy");
	b = pair_device(p, log_table);
	restore(p, b, "copy");
	pair_exec(p->dev[b].app, "UPDATE neap_meta SET value = 'd1' WHERE key = 'device'");
	pair_close_engine(p, b);
	pair_open_engine(p, b);
	pair_app(p, b, "INSERT INTO log VALUES(3, 'b')");
	pair_sync_all(p);
	assert_int_equal(p->dev[b].new_sites, 1);
	assert_string_equal(
		pair_server(p, "SELECT device_id, id, v FROM log ORDER BY device_id, id"),
		"d0|1|x,d0|2|x,d1|2|x,d1|3|b");
	pair_free(p);
}

/* A generation never comes back, also after a collision and `neap untrack`. */
static void test_generations_are_not_used_again(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p, log_table);
	const char *gens = "SELECT group_concat(DISTINCT neap_gen) FROM log";

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(1, 'x')");
	pair_sync(p, a);
	pair_exec(p->sql, "UPDATE log SET v = 'changed'");
	pair_exec(p->dev[a].app, "UPDATE neap_append SET acked = 0, cut_from = 0");
	pair_close_engine(p, a);
	pair_open_engine(p, a);
	pair_sync(p, a);
	assert_string_equal(pair_server(p, server_rows), "1|changed,1|x");
	assert_string_equal(pair_server(p, gens), "1,2");
	PAIR_OK(p, untrack_table(engine_devdb(p->dev[a].en), "log", &p->e));
	pair_track(p, a, "log", true);
	pair_sync(p, a);
	assert_string_equal(pair_server(p, gens), "1,2,3");
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integer_keys),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_both_copies_went_on),
		cmocka_unit_test(test_purged_identities),
		cmocka_unit_test(test_changed_in_the_copy),
		cmocka_unit_test(test_another_device_may_not_use_the_site),
		cmocka_unit_test(test_generations_are_not_used_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
