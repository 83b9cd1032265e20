/* An app with more new tables than a user may declare at once: all come, one a second. */
#include "tests/pair/pair.h"

enum { TABLES = 24 };

static void many_tables(void **state)
{
	struct pair *p = pair_new();
	char sql[200], name[16];
	int a = pair_device(p, "CREATE TABLE first(id INTEGER PRIMARY KEY, v)");
	(void)state;

	pair_track(p, a, "first", false);
	pair_sync(p, a);
	for (int i = 0; i < TABLES; i++) {
		snprintf(name, sizeof name, "t%d", i);
		snprintf(sql, sizeof sql,
			 "CREATE TABLE %s(id INTEGER PRIMARY KEY, v); INSERT INTO %s VALUES(1, %d)",
			 name, name, i);
		pair_app(p, a, sql);
		pair_track(p, a, name, false);
	}
	/* Those above 16 wait, which is said, and all their rows stay pending. */
	pair_pass(p, 3000);
	struct engine_status st = pair_status(p, a);
	assert_int_equal(st.n_trouble, 1);
	assert_string_equal(st.trouble[0].state, "slow-down");
	assert_in_range(st.pending_rows, 1, TABLES);
	pair_pass(p, 120000);
	assert_int_equal(pair_status(p, a).pending_rows, 0);
	assert_int_equal(pair_status(p, a).n_trouble, 0);
	assert_string_equal(pair_server(p, "SELECT count(*) FROM neap_table"), "25");
	assert_string_equal(pair_server(p, "SELECT v FROM t23"), "23");
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
