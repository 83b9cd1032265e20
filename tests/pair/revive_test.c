/*
 * Rows deleted and inserted again, or replaced, by a device of an older schema, with devices that
 * have a column more (J1, J5).
 */
#include "tests/pair/pair.h"

static const char old_table[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a)";
static const char rows[] = "SELECT * FROM t ORDER BY 1";
static const char server[] = "SELECT id, a, c FROM t ORDER BY id";

/* Two devices with column c declared as `with`, and one without; all have rows 1 and 2. */
struct fleet {
	struct pair *p;
	int with, other, without;
};

static struct fleet fleet_of(const char *column)
{
	struct fleet f = {.p = pair_new()};
	char add[200];

	f.with = pair_device(f.p, old_table);
	f.other = pair_device(f.p, old_table);
	f.without = pair_device(f.p, old_table);
	for (int i = 0; i < 3; i++)
		pair_track(f.p, i, "t", false);
	pair_app(f.p, f.without, "INSERT INTO t VALUES(1, 'x'), (2, 'x')");
	pair_sync_all(f.p);
	snprintf(add, sizeof add, "ALTER TABLE t ADD COLUMN %s", column);
	pair_app(f.p, f.with, add);
	pair_app(f.p, f.other, add);
	pair_app(f.p, f.with, "UPDATE t SET c = 'v' WHERE id = 1");
	pair_sync_all(f.p);
	return f;
}

static void expect(struct fleet *f, const char *devices, const char *on_server)
{
	pair_sync_all(f->p);
	assert_string_equal(pair_show(f->p, f->with, rows), devices);
	assert_string_equal(pair_show(f->p, f->other, rows), devices);
	assert_string_equal(pair_server(f->p, server), on_server);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pair_status(f->p, i).pending_rows, 0);
		assert_int_equal(pair_status(f->p, i).parked_rows, 0);
	}
}

/* Deleted, then inserted again by the device without the column; `other` meets the outcome only. */
static void revive_unseen(struct fleet *f)
{
	pair_link(f->p, f->other, false);
	pair_app(f->p, f->without, "DELETE FROM t WHERE id = 1");
	pair_sync(f->p, f->without);
	pair_sync(f->p, f->with);
	pair_app(f->p, f->without, "INSERT INTO t VALUES(1, 'again')");
	pair_sync(f->p, f->without);
	pair_sync(f->p, f->with);
}

static void test_value_ended_by_a_delete_is_gone_everywhere(void **state)
{
	static const char *const columns[] = {"c", "c TEXT DEFAULT 'd'",
					      "c TEXT NOT NULL DEFAULT 'd'"};
	static const char *const want[] = {"1|again|NULL,2|x|NULL", "1|again|d,2|x|d",
					   "1|again|d,2|x|d"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct fleet f = fleet_of(columns[i]);
		revive_unseen(&f);
		expect(&f, want[i], "1|again|NULL,2|x|NULL");
		pair_free(f.p);
	}
}

/* The tombstone is collected before the row comes back: nothing tells of the old value any more. */
static void test_value_of_a_collected_tombstone_is_gone(void **state)
{
	struct fleet f = fleet_of("c TEXT DEFAULT 'd'");

	(void)state;
	pair_app(f.p, f.with, "UPDATE t SET c = 'kept' WHERE id = 2");
	pair_sync_all(f.p);
	pair_link(f.p, f.other, false);
	pair_app(f.p, f.without, "DELETE FROM t WHERE id = 1");
	pair_sync(f.p, f.without);
	f.p->wall_ms += (uint64_t)100 * 24 * 3600 * 1000;
	pair_serve(f.p, (struct in_event){.type = IN_TICK});
	assert_string_equal(pair_server(f.p, "SELECT count(*) FROM neap_r1 WHERE state & 1 = 0"),
			    "0");
	pair_app(f.p, f.without, "INSERT INTO t VALUES(1, 'again')");
	pair_sync(f.p, f.without);
	expect(&f, "1|again|d,2|x|kept", "1|again|NULL,2|x|kept");
	pair_free(f.p);
}

/* REPLACE by an app without the column says nothing of it, whichever write arrives first. */
static void test_replace_leaves_the_column_alone(void **state)
{
	(void)state;
	for (int first = 0; first < 2; first++) {
		struct fleet f = fleet_of("c TEXT DEFAULT 'd'");
		pair_link(f.p, f.with, false);
		pair_link(f.p, f.without, false);
		pair_app(f.p, f.with, "UPDATE t SET c = 'new' WHERE id = 1");
		pair_pass(f.p, 1000);
		pair_app(f.p, f.without, "INSERT OR REPLACE INTO t VALUES(1, 'replaced')");
		pair_sync(f.p, first ? f.with : f.without);
		expect(&f, "1|replaced|new,2|x|d", "1|replaced|new,2|x|NULL");
		pair_free(f.p);
	}
}

/* A delete that comes late ends what was written before it, though the row was inserted since. */
static void test_late_delete_ends_the_older_value(void **state)
{
	struct fleet f = fleet_of("c TEXT DEFAULT 'd'");

	(void)state;
	pair_link(f.p, f.other, false);
	pair_app(f.p, f.other, "DELETE FROM t WHERE id = 1");
	pair_pass(f.p, 1000);
	pair_app(f.p, f.without, "INSERT OR REPLACE INTO t VALUES(1, 'replaced')");
	pair_sync(f.p, f.without);
	pair_sync(f.p, f.with);
	assert_string_equal(pair_show(f.p, f.with, rows), "1|replaced|v,2|x|d");
	/* It is sent before its device hears of the row. */
	pair_link(f.p, f.other, true);
	expect(&f, "1|replaced|d,2|x|d", "1|replaced|NULL,2|x|NULL");
	pair_free(f.p);
}

/* What a pending insert brings of a column survives a later insert by an app without it. */
static void test_value_of_an_overtaken_insert_goes_up(void **state)
{
	struct fleet f = fleet_of("c TEXT DEFAULT 'd'");

	(void)state;
	pair_link(f.p, f.with, false);
	pair_app(f.p, f.with, "INSERT INTO t VALUES(3, 'mine', 'mine')");
	pair_pass(f.p, 1000);
	pair_app(f.p, f.without, "INSERT INTO t VALUES(3, 'theirs')");
	pair_sync(f.p, f.without);
	expect(&f, "1|x|v,2|x|d,3|theirs|mine", "1|x|v,2|x|NULL,3|theirs|mine");
	pair_free(f.p);
}

/* A NULL written before a replacing insert that arrived first is none anywhere. */
static void test_late_null_is_no_value_everywhere(void **state)
{
	struct fleet f = fleet_of("c TEXT DEFAULT 'd'");

	(void)state;
	pair_link(f.p, f.with, false);
	pair_app(f.p, f.with, "UPDATE t SET c = NULL WHERE id = 2");
	pair_pass(f.p, 1000);
	pair_app(f.p, f.without, "INSERT OR REPLACE INTO t VALUES(2, 'replaced')");
	pair_sync(f.p, f.without);
	pair_sync(f.p, f.other);
	expect(&f, "1|x|v,2|replaced|d", "1|x|v,2|replaced|NULL");
	/* One written since is a NULL. */
	pair_app(f.p, f.with, "UPDATE t SET c = NULL WHERE id = 2");
	expect(&f, "1|x|v,2|replaced|NULL", "1|x|v,2|replaced|NULL");
	pair_free(f.p);
}

/* A column added while an insert is in flight: the insert goes up again, with it. */
static void test_column_added_to_an_insert_in_flight(void **state)
{
	struct fleet f = fleet_of("c TEXT DEFAULT 'd'");

	(void)state;
	pair_app(f.p, f.without, "INSERT OR REPLACE INTO t VALUES(1, 'replaced')");
	pair_step(f.p, f.without, (struct event){.type = EV_LOCAL});
	pair_link(f.p, f.without, false);
	pair_app(f.p, f.without, "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'd'");
	pair_link(f.p, f.without, true);
	pair_sync_all(f.p);
	assert_string_equal(pair_show(f.p, f.without, rows), pair_show(f.p, f.with, rows));
	pair_sync_all(f.p);
	assert_string_equal(pair_show(f.p, f.other, rows), pair_show(f.p, f.with, rows));
	pair_free(f.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value_ended_by_a_delete_is_gone_everywhere),
		cmocka_unit_test(test_value_of_a_collected_tombstone_is_gone),
		cmocka_unit_test(test_replace_leaves_the_column_alone),
		cmocka_unit_test(test_late_delete_ends_the_older_value),
		cmocka_unit_test(test_value_of_an_overtaken_insert_goes_up),
		cmocka_unit_test(test_late_null_is_no_value_everywhere),
		cmocka_unit_test(test_column_added_to_an_insert_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
