/* A user's quota is used up: rows stay pending, deletes go up, and with room again all comes by
 * itself. */
#include "tests/pair/pair.h"

static int setup(void **state)
{
	*state = pair_new();
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	return 0;
}

static void quota(struct pair *p, const char *rows)
{
	char sql[160];

	snprintf(sql, sizeof sql,
		 "INSERT INTO neap_quota(user, rows) SELECT name, %s FROM neap_user WHERE true"
		 " ON CONFLICT(user) DO UPDATE SET rows = excluded.rows",
		 rows);
	pair_exec(p->sql, sql);
}

static const char *state_of(struct pair *p, int i)
{
	static char state[32];
	const struct engine_status st = pair_status(p, i);

	snprintf(state, sizeof state, "%s", st.n_trouble ? st.trouble[0].state : "");
	return state;
}

static void rows_wait_and_deletes_go(void **state)
{
	struct pair *p = *state;
	int a = pair_device(p, "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
			       "CREATE TABLE log(id INTEGER PRIMARY KEY, v)");

	pair_track(p, a, "t", false);
	pair_track(p, a, "log", true);
	pair_app(p, a,
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
		 " INSERT INTO t SELECT i, i FROM n");
	pair_sync(p, a);
	quota(p, "110");
	pair_app(p, a,
		 "INSERT INTO t SELECT id + 200, v FROM t; INSERT INTO log SELECT id, v FROM t");
	pair_pass(p, 60000);
	assert_string_equal(state_of(p, a), "quota");
	assert_string_equal(pair_server(p, "SELECT count(*) FROM t"), "100");
	assert_int_equal(pair_status(p, a).pending_rows, 300);

	/* Changes wait with the inserts; deletes do not, and each makes room. */
	pair_app(p, a, "UPDATE t SET v = -1 WHERE id = 50; DELETE FROM t WHERE id IN (10, 20, 99)");
	pair_pass(p, 400000);
	assert_string_equal(state_of(p, a), "quota");
	assert_string_equal(pair_server(p, "SELECT count(*) FROM t"), "97");
	assert_int_equal(pair_status(p, a).pending_rows, 301);

	quota(p, "1000");
	pair_pass(p, 400000);
	assert_string_equal(state_of(p, a), "");
	assert_int_equal(pair_status(p, a).pending_rows, 0);
	assert_string_equal(pair_server(p, "SELECT count(*), min(v) FROM t"), "197|-1");
	assert_string_equal(pair_server(p, "SELECT count(*) FROM log"), "200");
	assert_string_equal(pair_server(p, "SELECT sum(iif(tab > 0, rows, 0)),"
					   " sum(iif(tab < 0, rows, 0)) FROM neap_usage"),
			    "397|3");
}

/* An operator makes room with SQL. */
static void an_operator_purges(void **state)
{
	struct pair *p = *state;
	int a = pair_device(p, "CREATE TABLE log(id INTEGER PRIMARY KEY, v)");

	pair_track(p, a, "log", true);
	pair_app(p, a, "INSERT INTO log VALUES(1, 1), (2, 2), (3, 3)");
	pair_sync(p, a);
	quota(p, "3");
	pair_app(p, a, "INSERT INTO log VALUES(4, 4)");
	pair_pass(p, 60000);
	assert_string_equal(state_of(p, a), "quota");
	pair_exec(p->sql, "DELETE FROM log WHERE id < 3");
	pair_pass(p, 400000);
	assert_string_equal(state_of(p, a), "");
	assert_string_equal(pair_server(p, "SELECT group_concat(id) FROM log"), "3,4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rows_wait_and_deletes_go, setup, teardown),
		cmocka_unit_test_setup_teardown(an_operator_purges, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
