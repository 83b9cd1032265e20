#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/core/apply.h"
#include "device/core/conflict.h"
#include "device/core/testing.h"

/* Far above what triggers stamp in this test, and far below. */
static const uint64_t late = (uint64_t)1 << 62, early = 1;

static struct test_db db;
static struct devdb *d;
static struct err e;

/* A settled row 1, and a pending write of it. */
static const struct shape *begin(const char *write)
{
	test_open(&db);
	test_sql(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
	assert_int_equal(devdb_open(&d, db.path, NULL, &e), NE_OK);
	test_track(d, "t", false);
	test_sql(&db, "INSERT INTO t VALUES(1, 10, 11); DELETE FROM neap_m1");
	test_sql(&db, write);
	return &d->table[0].shape;
}

static void end(void)
{
	devdb_close(d);
	test_close(&db);
}

static struct applied apply(struct test_rows *r)
{
	struct applied out;

	assert_int_equal(devdb_begin(d, &e), NE_OK);
	assert_int_equal(apply_rows(d, &r->rows, false, &out, &e), NE_OK);
	assert_int_equal(devdb_commit(d, &e), NE_OK);
	return out;
}

static const char *records(void)
{
	return test_query(
		&db, "SELECT ifnull(col, '-') || ' ' || ifnull(value, '-') || ' ' || "
		     "ifnull(incoming, '-') || ' ' || (stamp > 1) || ' ' || site || ' ' || "
		     "won_site || ' ' || reason || ' ' || text FROM neap_conflict ORDER BY id");
}

static void a_cell_is_overtaken(void **state)
{
	const struct shape *s = begin("UPDATE t SET a = 20, b = 21");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 0, test_int(30), late, 7);
	test_cell(&r, 1, test_int(31), early, 7);
	assert_int_equal(apply(&r).conflicts, 1);
	assert_string_equal(records(), "a 20 30 1 1000 7 a later write won {\"id\": 1, \"a\": 20}");
	assert_string_equal(test_query(&db, "SELECT tab || row_key || (at_ms > 1) FROM "
					    "neap_conflict"),
			    "t{\"id\": 1}1");
	end();
}

static void the_same_value_has_lost_nothing(void **state)
{
	const struct shape *s = begin("UPDATE t SET a = 20");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 0, test_int(20), late, 7);
	assert_int_equal(apply(&r).conflicts, 0);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_m1"), "0");
	end();
}

static void a_settled_value_is_no_conflict(void **state)
{
	const struct shape *s = begin("UPDATE t SET a = 20");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 1, test_int(31), late, 7);
	assert_int_equal(apply(&r).conflicts, 0);
	end();
}

static void a_delete_takes_pending_cells(void **state)
{
	const struct shape *s = begin("UPDATE t SET a = 20, b = NULL");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_DEAD, late, 7);
	apply(&r);
	assert_string_equal(records(),
			    "a 20 - 1 1000 7 the row was deleted later {\"id\": 1, \"a\": 20}");
	end();
}

static void an_insert_loses_to_a_delete(void **state)
{
	const struct shape *s = begin("REPLACE INTO t VALUES(1, 20, 21); UPDATE t SET b = 22");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_DEAD, late, 7);
	apply(&r);
	assert_string_equal(records(), "- - - 1 1000 7 the row was deleted later {\"id\": 1},"
				       "a 20 - 1 1000 7 the row was deleted later {\"id\": 1, "
				       "\"a\": 20},"
				       "b 22 - 1 1000 7 the row was deleted later {\"id\": 1, "
				       "\"b\": 22}");
	end();
}

static void an_insert_loses_to_an_insert(void **state)
{
	const struct shape *s = begin("INSERT INTO t VALUES(2, 20, 21)");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(2), EXIST_ALIVE, late, 7);
	test_cell(&r, 0, test_int(20), late, 7);
	test_cell(&r, 1, test_int(31), late, 7);
	apply(&r);
	assert_string_equal(records(), "b 21 31 1 1000 7 a later write won {\"id\": 2, \"b\": 21}");
	end();
}

/* The insert stands, one of its values does not: once, however often it is overwritten. */
static void part_of_an_insert_loses_once(void **state)
{
	const struct shape *s = begin("INSERT INTO t VALUES(2, 20, 21)");

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct test_rows r = {0};

		test_row(&r, s, test_int(2), EXIST_NONE, 0, 0);
		test_cell(&r, 1, test_int(31 + i), late + (uint64_t)i, 7);
		assert_int_equal(apply(&r).conflicts, i == 0);
	}
	assert_string_equal(records(), "b 21 31 1 1000 7 a later write won {\"id\": 2, \"b\": 21}");
	assert_string_equal(test_query(&db, "SELECT col FROM neap_m1"), "-1");
	end();
}

static void a_delete_loses_to_an_insert(void **state)
{
	const struct shape *s = begin("DELETE FROM t");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_ALIVE, late, 7);
	test_cell(&r, 0, test_int(30), late, 7);
	apply(&r);
	assert_string_equal(records(), "- - - 1 1000 7 a delete: the row was written anew later "
				       "{\"id\": 1}");
	end();
}

static void two_deletes_agree(void **state)
{
	const struct shape *s = begin("DELETE FROM t");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_DEAD, late, 7);
	assert_int_equal(apply(&r).conflicts, 0);
	end();
}

/* Cells written before a later REPLACE count as that insert's (cut.c sends them so). */
static void marks_under_an_insert_count_as_its(void **state)
{
	const struct shape *s = begin("UPDATE t SET a = 19; REPLACE INTO t VALUES(1, 20, 21)");
	struct test_rows r = {0};

	(void)state;
	test_row(&r, s, test_int(1), EXIST_ALIVE, late, 7);
	test_cell(&r, 0, test_int(30), late, 7);
	test_cell(&r, 1, test_int(21), late, 7);
	apply(&r);
	assert_string_equal(test_query(&db, "SELECT col || value FROM neap_conflict"), "a20");
	end();
}

/* A full pull that finds the row gone at the server. */
static void a_sweep_takes_pending_cells(void **state)
{
	struct applied out;
	bool more;

	begin("UPDATE t SET a = 20; INSERT INTO t VALUES(2, 2, 2)");
	(void)state;
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_int_equal(out.conflicts, 1);
	assert_string_equal(test_query(&db, "SELECT id FROM t"), "2");
	assert_string_equal(records(), "a 20 - 1 1000 0 the server does not have this row any more "
				       "{\"id\": 1, \"a\": 20}");
	end();
}

static void add_many(size_t n, size_t bytes, uint64_t first)
{
	char *text = calloc(1, bytes + 1);
	struct val key = test_int(1);
	struct conflict c = {
		.t = &d->table[0], .key = &key, .column = slice_str("a"), .reason = "why"};
	bool added;

	assert_non_null(text);
	memset(text, 'x', bytes);
	c.value = test_text(text);
	assert_int_equal(devdb_begin(d, &e), NE_OK);
	for (size_t i = 0; i < n; i++) {
		c.reg = (struct reg){first + i, TEST_SITE};
		assert_int_equal(conflict_add(d, &c, &added, &e), NE_OK);
		assert_true(added);
	}
	assert_int_equal(conflict_add(d, &c, &added, &e), NE_OK);
	assert_false(added);
	assert_int_equal(devdb_commit(d, &e), NE_OK);
	free(text);
}

/* The oldest go; those the server has not noted are counted. */
static void the_list_is_bounded(void **state)
{
	(void)state;
	begin("UPDATE t SET a = 20");
	add_many(CONFLICTS_MAX + 5, 1, 1);
	assert_string_equal(test_query(&db, "SELECT count(*) || ' ' || min(id) FROM neap_conflict"),
			    "10000 6");
	assert_string_equal(test_query(&db, "SELECT value FROM neap_meta WHERE key = "
					    "'conflict_dropped'"),
			    "5");
	test_sql(&db, "INSERT INTO neap_meta VALUES('conflict_noted', 9000)");
	/* Each takes twice its value: as text, too. */
	add_many(20, 1 << 20, 100000);
	assert_string_equal(test_query(&db, "SELECT count(*) || ' ' || max(id) FROM neap_conflict"),
			    "7 10025");
	assert_string_equal(test_query(&db, "SELECT value FROM neap_meta WHERE key = "
					    "'conflict_dropped'"),
			    "1023");
	/* Longer than any value that syncs: cut. Ids are never used again. */
	add_many(3, 12 << 20, 200000);
	assert_string_equal(test_query(&db, "SELECT length(value) || ' ' || id FROM neap_conflict "
					    "ORDER BY id DESC LIMIT 1"),
			    "3670016 10028");
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_conflict"), "2");
	test_sql(&db, "UPDATE neap_meta SET value = 10028 WHERE key = 'conflict_noted';"
		      "DELETE FROM neap_conflict");
	add_many(1, 1, 300000);
	assert_string_equal(test_query(&db, "SELECT id FROM neap_conflict"), "10029");
	end();
}

/* The row is larger than what anything is read into at once. */
static void a_row_that_never_syncs_holds_up_nothing(void **state)
{
	const struct shape *s = begin(
		"UPDATE t SET b = zeroblob(60000000); DELETE FROM neap_m1; UPDATE t SET a = 20");
	struct test_rows r = {0};
	struct applied out;
	bool more;

	(void)state;
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 0, test_int(30), late, 7);
	assert_int_equal(apply(&r).conflicts, 1);
	test_sql(&db, "UPDATE t SET b = zeroblob(60000001)");
	r = (struct test_rows){0};
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 1, test_int(31), late + 100, 7);
	assert_int_equal(apply(&r).conflicts, 1);
	assert_string_equal(test_query(&db, "SELECT col || length(value) FROM neap_conflict ORDER "
					    "BY id DESC LIMIT 1"),
			    "b3670016");
	test_sql(&db, "UPDATE t SET b = zeroblob(60000002)");
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM t"), "0");
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cell_is_overtaken),
		cmocka_unit_test(the_same_value_has_lost_nothing),
		cmocka_unit_test(a_settled_value_is_no_conflict),
		cmocka_unit_test(a_delete_takes_pending_cells),
		cmocka_unit_test(an_insert_loses_to_a_delete),
		cmocka_unit_test(an_insert_loses_to_an_insert),
		cmocka_unit_test(part_of_an_insert_loses_once),
		cmocka_unit_test(a_delete_loses_to_an_insert),
		cmocka_unit_test(two_deletes_agree),
		cmocka_unit_test(marks_under_an_insert_count_as_its),
		cmocka_unit_test(a_sweep_takes_pending_cells),
		cmocka_unit_test(the_list_is_bounded),
		cmocka_unit_test(a_row_that_never_syncs_holds_up_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
