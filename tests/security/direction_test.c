/* A table that a device only sends: what others write of it does not reach the app's rows (T22). */
#include "tests/pair/pair.h"

static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
static const char rows[] = "SELECT id, v FROM t ORDER BY id";

static void t22_changes_for_a_table_that_only_goes_up(void **state)
{
	struct pair *p = pair_new();
	int up = pair_device(p, schema), both = pair_device(p, schema);
	struct track_options o = {.direction = DIR_UP, .priority = 5};
	(void)state;

	PAIR_OK(p, track_table(engine_devdb(p->dev[up].en), "t", &o, &p->e));
	pair_track(p, both, "t", false);
	pair_app(p, up, "INSERT INTO t VALUES(1, 'mine'), (2, 'mine')");
	pair_sync(p, up);
	pair_sync(p, both);
	assert_string_equal(pair_show(p, both, rows), "1|mine,2|mine");
	/* By broadcast, while both are connected, and by pages afterwards. */
	for (int connected = 1; connected >= 0; connected--) {
		pair_link(p, up, connected);
		pair_app(p, both,
			 "UPDATE t SET v = 'theirs' WHERE id = 1; DELETE FROM t WHERE id = 2;"
			 "INSERT OR REPLACE INTO t VALUES(3, 'new')");
		pair_sync(p, both);
		pair_exec(p->sql, "UPDATE t SET v = 'operator' WHERE id = 3");
		pair_sync_all(p);
		assert_string_equal(pair_show(p, up, rows), "1|mine,2|mine");
		assert_int_equal(pair_status(p, up).pending_rows, 0);
		assert_string_equal(pair_show(p, both, rows), "1|theirs,3|operator");
		pair_app(p, both, "DELETE FROM t WHERE id = 3");
		pair_sync(p, both);
	}
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t22_changes_for_a_table_that_only_goes_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
