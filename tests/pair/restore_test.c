/* A store that was lost, or restored from a copy: what the devices still have comes back (P8). */
#include "tests/pair/pair.h"

static const char log_table[] = "CREATE TABLE log(id INTEGER PRIMARY KEY, v)";
static const char server_rows[] = "SELECT id, v FROM log ORDER BY id, v";

static void close_store(struct pair *p)
{
	sqlite3_close(p->sql);
	ingest_close(p->in);
	store_close(p->store);
}

static void open_store(struct pair *p)
{
	pair_store_open(p);
	assert_int_equal(sqlite3_open(p->path, &p->sql), SQLITE_OK);
	sqlite3_busy_timeout(p->sql, 2000);
	pair_serve(p, (struct in_event){.type = IN_BROKER});
}

/* A copy of the store as it is now. */
static void back_up(struct pair *p)
{
	char to[96];

	pair_exec(p->sql, "PRAGMA wal_checkpoint(TRUNCATE)");
	pair_path(p, "backup", "", to);
	pair_copy(p, p->path, to);
}

/* The server starts on the copy. */
static void restore(struct pair *p)
{
	char from[96];

	close_store(p);
	pair_path(p, "backup", "", from);
	pair_copy(p, from, p->path);
	open_store(p);
}

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
	back_up(p);
	pair_app(p, a, "INSERT INTO log VALUES(6, 'late'), (12, 'x')");
	pair_sync(p, a);
	restore(p);
	pair_sync(p, a);
	assert_string_equal(pair_server(p, server_rows), "5|late,6|late,10|x,11|x,12|x");
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_numbered_row_is_not_sent_under_its_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
