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
