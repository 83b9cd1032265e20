/*
 * UNIQUE values that change hands in a backlog of several sets (J2): the row that takes one may go
 * up before the row that gives it up.
 */
#include "tests/pair/pair.h"

enum { SET_ROWS = 4, ROWS = 21 };

static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, rank INTEGER UNIQUE, note)";
static const char fill[] =
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 21) "
	"INSERT INTO t SELECT i, i * 10, 'n' || i FROM n";
static const char all[] = "SELECT id, rank, note FROM t ORDER BY id";

static struct pair *p;
static int dev, other;

static int setup(void **state)
{
	(void)state;
	p = pair_new();
	dev = pair_device(p, schema);
	other = pair_device(p, schema);
	pair_close_engine(p, dev);
	p->dev[dev].set_rows = SET_ROWS;
	pair_open_engine(p, dev);
	pair_track(p, dev, "t", false);
	pair_track(p, other, "t", false);
	pair_app(p, dev, fill);
	pair_sync_all(p);
	pair_link(p, dev, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pair_free(p);
	return 0;
}

static void is_equal_everywhere(void)
{
	assert_string_equal(pair_server(p, all), pair_show(p, dev, all));
	assert_string_equal(pair_show(p, other, all), pair_show(p, dev, all));
}

static void is_clean(int i)
{
	struct engine_status s = pair_status(p, i);

	assert_int_equal(s.pending_rows, 0);
	assert_int_equal(s.rejected_rows, 0);
	assert_int_equal(s.parked_rows, 0);
	assert_string_equal(pair_show(p, i, "SELECT count(*) FROM neap_inflight"), "0");
}

/* What the writer made of the rows stands at all ends. */
static void all_taken(const char *sql)
{
	char want[4096];

	pair_app(p, dev, sql);
	snprintf(want, sizeof want, "%s", pair_show(p, dev, all));
	pair_sync_all(p);
	assert_string_equal(pair_show(p, dev, all), want);
	is_equal_everywhere();
	is_clean(dev);
	is_clean(other);
}

/* All rows are written, so that the backlog takes six sets. */
static void test_swap_of_first_and_last(void **state)
{
	(void)state;
	all_taken("BEGIN; UPDATE t SET note = 'new'; UPDATE t SET rank = -1 WHERE id = 1;"
		  "UPDATE t SET rank = 10 WHERE id = 21; UPDATE t SET rank = 210 WHERE id = 1; "
		  "COMMIT");
}

static void test_all_move_up(void **state)
{
	(void)state;
	all_taken("BEGIN; UPDATE t SET rank = -rank; UPDATE t SET rank = 10 - rank; COMMIT");
}

static void test_all_move_down(void **state)
{
	(void)state;
	all_taken("BEGIN; UPDATE t SET rank = -rank; UPDATE t SET rank = -rank - 10; COMMIT");
}

static void test_row_deleted_behind_its_successor(void **state)
{
	(void)state;
	all_taken("BEGIN; UPDATE t SET note = 'new'; DELETE FROM t WHERE id = 21; INSERT INTO t "
		  "VALUES(0, 210, 'instead'); COMMIT");
}

static void test_value_taken_by_another(void **state)
{
	(void)state;
	pair_app(p, other, "INSERT INTO t VALUES(50, 777, 'first')");
	pair_sync(p, other);
	pair_app(p, dev, "UPDATE t SET note = 'new'; UPDATE t SET rank = 777 WHERE id = 1");
	pair_sync(p, dev);
	assert_int_equal(pair_status(p, dev).rejected_rows, 1);
	assert_string_equal(pair_server(p, "SELECT rank, note FROM t WHERE id IN (1, 2, 21)"),
			    "10|n1,20|new,210|new");
	assert_string_equal(pair_show(p, dev, "SELECT count(*) FROM neap_again"), "0");
	pair_sync(p, other);
	is_equal_everywhere();
}

/* It fits no set and no order: refused, and told, after a few rounds. */
static void test_cycle_larger_than_a_set(void **state)
{
	(void)state;
	pair_app(p, dev,
		 "BEGIN; UPDATE t SET rank = -rank; UPDATE t SET rank = CASE id WHEN 21 THEN 10 "
		 "ELSE 10 - rank END; COMMIT");
	pair_sync(p, dev);
	assert_int_equal(pair_status(p, dev).pending_rows, 0);
	assert_true(pair_status(p, dev).rejected_rows > 0);
	pair_sync(p, other);
	is_equal_everywhere();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_swap_of_first_and_last), T(test_all_move_up),
		T(test_all_move_down),		T(test_row_deleted_behind_its_successor),
		T(test_value_taken_by_another), T(test_cycle_larger_than_a_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
