#include "device/core/apply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/core/apply_internal.h"
#include "device/core/coverage.h"
#include "device/core/rejected.h"
#include "device/core/testing.h"

/* Far above what triggers stamp in this test, and far below. */
static const uint64_t late = (uint64_t)1 << 62, early = 1;

static struct test_db db;
static struct devdb *d;
static struct err e;

static const struct shape *begin(const char *ddl, const char *rows)
{
	test_open(&db);
	test_sql(&db, ddl);
	assert_int_equal(devdb_open(&d, db.path, NULL, &e), NE_OK);
	test_track(d, "t", false);
	if (rows)
		test_sql(&db, rows);
	return &d->table[0].shape;
}

static void end(void)
{
	devdb_close(d);
	test_close(&db);
}

static void settle_all(void)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "DELETE FROM \"%s\"", d->table[0].marks);
	test_sql(&db, sql);
}

static int marks(void)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM \"%s\"", d->table[0].marks);
	return atoi(test_query(&db, sql));
}

static struct applied apply(struct test_rows *r, bool full)
{
	struct applied out;

	assert_int_equal(devdb_begin(d, &e), NE_OK);
	assert_int_equal(apply_rows(d, &r->rows, full, &out, &e), NE_OK);
	assert_int_equal(devdb_commit(d, &e), NE_OK);
	return out;
}

static const char ddl[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT DEFAULT 'none')";

static void test_insert_update_delete(void **state)
{
	const struct shape *s = begin(ddl, NULL);
	struct test_rows ins = {0}, up = {0}, del = {0};

	(void)state;
	test_row(&ins, s, test_int(1), EXIST_ALIVE, 10, 7);
	test_cell(&ins, 0, test_int(5), 10, 7);
	assert_int_equal(apply(&ins, false).rows, 1);
	assert_string_equal(test_query(&db, "SELECT id || '/' || a || '/' || b FROM t"),
			    "1/5/none");
	test_row(&up, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&up, 1, test_text("x"), 11, 7);
	apply(&up, false);
	assert_string_equal(test_query(&db, "SELECT id || '/' || a || '/' || b FROM t"), "1/5/x");
	test_row(&del, s, test_int(1), EXIST_DEAD, 12, 7);
	apply(&del, false);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM t"), "0");
	assert_int_equal(marks(), 0);
	end();
}

static void test_update_of_unknown_row(void **state)
{
	const struct shape *s = begin(ddl, NULL);
	struct test_rows up = {0};

	(void)state;
	test_row(&up, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(5), late, 7);
	assert_int_equal(apply(&up, false).rows, 0);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM t"), "0");
	end();
}

/* What is pending of a column that the incoming insert's sender lacks stays pending (J1). */
static void test_insert_says_nothing_of_a_column_it_lacks(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x')");
	struct test_rows ins = {0};

	(void)state;
	settle_all();
	test_sql(&db, "UPDATE t SET b = 'mine'");
	test_row(&ins, s, test_int(1), EXIST_ALIVE, late, 7);
	test_cell(&ins, 0, test_int(5), late, 7);
	apply(&ins, false);
	assert_string_equal(test_query(&db, "SELECT a || '/' || b FROM t"), "5/mine");
	assert_int_equal(marks(), 1);
	/* Also what a pending insert brought: as a write of the cell at the insert's version. */
	test_sql(&db, "INSERT OR REPLACE INTO t VALUES(1, 6, 'new'); CREATE TEMP TABLE was AS "
		      "SELECT stamp, gen FROM neap_m1 WHERE col = -1");
	ins.rows.table[0].row[0].exist_reg.stamp += 1000; /* later than the floor allows here */
	ins.cell[0][0].reg.stamp += 1000;
	assert_true(apply(&ins, false).overtook);
	assert_string_equal(test_query(&db, "SELECT a || '/' || b FROM t"), "5/new");
	assert_string_equal(test_query(&db, "SELECT count(*) || col FROM neap_m1 JOIN was "
					    "USING(stamp, gen)"),
			    "11");
	assert_int_equal(marks(), 1);
	end();
}

/* A pending insert carries every column: a later write of one overtakes it (P5). */
static void test_later_write_of_a_pending_insert(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x')");
	struct test_rows up = {0}, old = {0};

	(void)state;
	settle_all();
	test_sql(&db, "INSERT INTO t VALUES(2, 1, 'y')");
	test_row(&old, s, test_int(2), EXIST_NONE, 0, 0);
	test_cell(&old, 0, test_int(4), early, 7);
	assert_false(apply(&old, false).overtook);
	test_row(&up, s, test_int(2), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(5), late, 7);
	assert_true(apply(&up, false).overtook);
	assert_string_equal(test_query(&db, "SELECT a || '/' || b FROM t WHERE id = 2"), "5/y");
	assert_int_equal(marks(), 1);
	end();
}

/* A NULL older than the row: it was deleted, and inserted again by an app without the column. */
static void test_no_value_is_the_default(void **state)
{
	const struct shape *s =
		begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b NOT NULL DEFAULT 'd')",
		      "INSERT INTO t VALUES(1, 1, 'old')");
	struct test_rows ins = {0};

	(void)state;
	settle_all();
	test_row(&ins, s, test_int(1), EXIST_ALIVE, late, 7);
	test_cell(&ins, 0, test_int(5), late, 7);
	test_cell(&ins, 1, (struct val){.type = VAL_NULL}, late - 1, 8);
	apply(&ins, false);
	assert_string_equal(test_query(&db, "SELECT a || '/' || b FROM t"), "5/d");
	/* An older write that is still pending here is overtaken. */
	test_sql(&db, "UPDATE t SET b = 'mine'; UPDATE neap_m1 SET stamp = 5");
	apply(&ins, false);
	assert_string_equal(test_query(&db, "SELECT a || '/' || b FROM t"), "5/d");
	assert_int_equal(marks(), 0);
	end();
}

/* What the server knows nothing of goes in a full pull, as in a row that is new here. */
static void test_full_pull_resets_what_is_not_named(void **state)
{
	const struct shape *s = begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b DEFAULT 'd')",
				      "INSERT INTO t VALUES(1, 1, 'old'), (2, 2, 'old')");
	struct test_rows ins = {0};

	(void)state;
	settle_all();
	test_sql(&db, "UPDATE t SET b = 'mine' WHERE id = 2");
	for (int i = 1; i <= 2; i++) {
		test_row(&ins, s, test_int(i), EXIST_ALIVE, late, 7);
		test_cell(&ins, 0, test_int(5), late, 7);
	}
	apply(&ins, false);
	assert_string_equal(test_query(&db, "SELECT group_concat(b) FROM t"), "old,mine");
	apply(&ins, true);
	assert_string_equal(test_query(&db, "SELECT group_concat(b) FROM t"), "d,mine");
	end();
}

/* … also of a column that the server's table lacks: its store is older than that. */
static void test_full_pull_resets_a_column_that_the_server_lacks(void **state)
{
	const struct shape *s = begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b DEFAULT 'd')",
				      "INSERT INTO t VALUES(1, 1, 'old'), (2, 2, 'old')");
	struct shape theirs = *s;
	struct test_rows page = {0};

	(void)state;
	settle_all();
	test_sql(&db, "UPDATE t SET b = 'mine' WHERE id = 2");
	theirs.n_col = 1;
	for (int i = 1; i <= 2; i++) {
		test_row(&page, &theirs, test_int(i), EXIST_ALIVE, 5, 7);
		test_cell(&page, 0, test_int(i), 5, 7);
	}
	apply(&page, false);
	assert_string_equal(test_query(&db, "SELECT group_concat(b) FROM t"), "old,mine");
	assert_int_equal(devdb_set(d, "full", 2, &e), NE_OK);
	apply(&page, true);
	assert_string_equal(test_query(&db, "SELECT group_concat(b) FROM t"), "d,mine");
	assert_string_equal(test_query(&db, "SELECT text FROM neap_conflict"),
			    "{\"id\": 1, \"a\": 1, \"b\": \"old\"}");
	end();
}

static void test_later_mark_stands(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x')");
	struct test_rows up = {0};
	struct applied out;

	(void)state;
	settle_all();
	test_sql(&db, "UPDATE t SET a = 2");
	test_row(&up, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(5), early, 7);
	test_cell(&up, 1, test_text("y"), early, 7);
	out = apply(&up, false);
	assert_false(out.overtook);
	assert_string_equal(test_query(&db, "SELECT a || b FROM t"), "2y");
	assert_int_equal(marks(), 1);
	end();
}

static void test_mark_is_overtaken(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x')");
	struct test_rows up = {0};

	(void)state;
	settle_all();
	test_sql(&db, "UPDATE t SET a = 2");
	test_row(&up, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(5), late, 7);
	assert_true(apply(&up, false).overtook);
	assert_string_equal(test_query(&db, "SELECT a FROM t"), "5");
	assert_int_equal(marks(), 0);
	end();
}

static void test_delete_beats_update(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x')");
	struct test_rows del = {0};

	(void)state;
	settle_all();
	test_sql(&db, "UPDATE t SET a = 2");
	test_row(&del, s, test_int(1), EXIST_DEAD, early, 7);
	assert_true(apply(&del, false).overtook);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM t"), "0");
	assert_int_equal(marks(), 0);
	end();
}

/* Later local writes are later than what was received (M1). */
static void test_floor_rises(void **state)
{
	const struct shape *s = begin(ddl, NULL);
	struct test_rows ins = {0};
	char sql[96];

	(void)state;
	test_row(&ins, s, test_int(1), EXIST_ALIVE, late, 7);
	test_cell(&ins, 0, test_int(5), late + 3, 7);
	apply(&ins, false);
	test_sql(&db, "UPDATE t SET a = 6");
	snprintf(sql, sizeof(sql), "SELECT min(stamp) > %lld FROM \"%s\"", (long long)(late + 3),
		 d->table[0].marks);
	assert_string_equal(test_query(&db, sql), "1");
	end();
}

static const char unique[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b)";

static void test_unique_values_swap(void **state)
{
	const struct shape *s = begin(unique, "INSERT INTO t VALUES(1, 10, 'x'), (2, 20, 'y')");
	struct test_rows up = {0};

	(void)state;
	settle_all();
	test_row(&up, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(20), late, 7);
	test_row(&up, s, test_int(2), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(10), late, 7);
	assert_int_equal(apply(&up, false).parked, 0);
	assert_string_equal(test_query(&db, "SELECT a || b FROM t ORDER BY id"), "20x,10y");
	end();
}

static void test_violating_row_is_parked(void **state)
{
	const struct shape *s = begin(unique, "INSERT INTO t VALUES(1, 10, 'x')");
	struct test_rows ins = {0}, up = {0}, free_it = {0};
	struct applied out;

	(void)state;
	settle_all();
	test_row(&ins, s, test_int(2), EXIST_ALIVE, 5, 7);
	test_cell(&ins, 0, test_int(10), 5, 7);
	test_cell(&ins, 1, test_text("y"), 5, 7);
	assert_int_equal(apply(&ins, false).parked, 1);
	assert_string_equal(test_query(&db, "SELECT a || b FROM t ORDER BY id"), "10x");
	/* A later change goes to the parked image. */
	test_row(&up, s, test_int(2), EXIST_NONE, 0, 0);
	test_cell(&up, 1, test_text("z"), 6, 7);
	apply(&up, false);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_parked"), "1");
	test_row(&free_it, s, test_int(1), EXIST_DEAD, 7, 7);
	apply(&free_it, false);
	assert_int_equal(apply_retry_parked(d, &out, &e), NE_OK);
	assert_int_equal(out.rows, 1);
	assert_string_equal(test_query(&db, "SELECT a || b FROM t ORDER BY id"), "10z");
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_parked"), "0");
	end();
}

/* More rows that never fit than one call tries: those behind them have their turn, too. */
static void test_parked_rows_take_turns(void **state)
{
	enum { NEVER = 1500 };
	const struct shape *s = begin(unique, "INSERT INTO t VALUES(1, 10, 'x'), (2, 20, 'y')");
	struct applied out;

	(void)state;
	settle_all();
	for (int i = 0; i <= NEVER; i++) {
		struct test_rows ins = {0};

		test_row(&ins, s, test_int(100 + i), EXIST_ALIVE, 5, 7);
		test_cell(&ins, 0, test_int(i < NEVER ? 10 : 20), 5, 7);
		assert_int_equal(apply(&ins, false).parked, 1);
	}
	test_sql(&db, "DELETE FROM t WHERE id = 2");
	assert_int_equal(apply_retry_parked(d, &out, &e), NE_OK);
	assert_int_equal(out.rows, 0);
	assert_int_equal(apply_retry_parked(d, &out, &e), NE_OK);
	assert_int_equal(out.rows, 1);
	assert_string_equal(test_query(&db, "SELECT id FROM t WHERE a = 20"), "1600");
	/* And once round from there: the first ones again. */
	test_sql(&db, "DELETE FROM t WHERE id = 1");
	assert_int_equal(apply_retry_parked(d, &out, &e), NE_OK);
	assert_int_equal(out.rows, 1);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_parked"), "1499");
	end();
}

static void test_missing_not_null_is_parked(void **state)
{
	const struct shape *s =
		begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b NOT NULL)", NULL);
	struct test_rows ins = {0};

	(void)state;
	test_row(&ins, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&ins, 0, test_int(10), 5, 7);
	assert_int_equal(apply(&ins, false).parked, 1);
	end();
}

static void test_schema_replace_clause_displaces_nothing(void **state)
{
	const struct shape *s =
		begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE ON CONFLICT REPLACE)",
		      "INSERT INTO t VALUES(1, 10)");
	struct test_rows ins = {0};

	(void)state;
	settle_all();
	test_row(&ins, s, test_int(2), EXIST_ALIVE, 5, 7);
	test_cell(&ins, 0, test_int(10), 5, 7);
	assert_int_equal(apply(&ins, false).parked, 1);
	assert_string_equal(test_query(&db, "SELECT id FROM t"), "1");
	end();
}

/* Without a type 1 and 1.0 are one key, and an insert says which. */
static void test_key_type(void **state)
{
	const struct shape *s =
		begin("CREATE TABLE t(k PRIMARY KEY, a)", "INSERT INTO t VALUES(1, 5)");
	struct test_rows r = {0};

	(void)state;
	settle_all();
	test_row(&r, s, (struct val){.type = VAL_REAL, .r = 1}, EXIST_ALIVE, late, 7);
	test_cell(&r, 0, test_int(6), late, 7);
	apply(&r, false);
	assert_string_equal(test_query(&db, "SELECT typeof(k) || '/' || a FROM t"), "real/6");
	end();
}

static void test_key_spelling(void **state)
{
	const struct shape *s =
		begin("CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, a) WITHOUT ROWID",
		      "INSERT INTO t VALUES('abc', 1)");
	struct test_rows up = {0}, ins = {0};

	(void)state;
	settle_all();
	test_row(&up, s, test_text("ABC"), EXIST_NONE, 0, 0);
	test_cell(&up, 0, test_int(2), 5, 7);
	apply(&up, false);
	assert_string_equal(test_query(&db, "SELECT k || a FROM t"), "abc2");
	test_row(&ins, s, test_text("ABC"), EXIST_ALIVE, 6, 7);
	test_cell(&ins, 0, test_int(3), 6, 7);
	apply(&ins, false);
	assert_string_equal(test_query(&db, "SELECT k || a FROM t"), "ABC3");
	end();
}

static void test_composite_key(void **state)
{
	const struct shape *s = begin("CREATE TABLE t(x TEXT, y INTEGER, a, PRIMARY KEY(y, x))",
				      "INSERT INTO t VALUES('p', 1, 0), ('q', 1, 0)");
	struct test_rows up = {0};

	(void)state;
	settle_all();
	test_row(&up, s, test_int(1), EXIST_NONE, 0, 0);
	up.key[0][1] = test_text("q");
	test_cell(&up, 0, test_int(9), 5, 7);
	apply(&up, false);
	assert_string_equal(test_query(&db, "SELECT a FROM t ORDER BY x"), "0,9");
	end();
}

static void test_unknown_columns_are_left_out(void **state)
{
	const struct shape *s = begin(ddl, NULL);
	struct shape_col cols[3] = {s->col[1], s->col[0], s->col[0]};
	struct shape theirs = *s;
	struct test_rows ins = {0};

	(void)state;
	cols[0].name = slice_str("unheard_of");
	cols[2].name = slice_str("B");
	theirs.n_col = 3;
	theirs.col = cols;
	test_row(&ins, &theirs, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&ins, 0, test_int(1), 5, 7);
	test_cell(&ins, 1, test_int(2), 5, 7);
	test_cell(&ins, 2, test_text("3"), 5, 7);
	apply(&ins, false);
	assert_string_equal(test_query(&db, "SELECT a || '/' || b FROM t"), "2/3");
	end();
}

static void test_full_pull_sweeps(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x'), (2, 2, 'y')");
	struct test_rows page = {0};
	struct applied out;
	bool more;

	(void)state;
	settle_all();
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	test_sql(&db, "INSERT INTO t VALUES(3, 3, 'z')");
	test_row(&page, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&page, 0, test_int(7), 5, 7);
	apply(&page, true);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_false(more);
	/* 2 the server does not have; 3 is pending. */
	assert_string_equal(test_query(&db, "SELECT id || a FROM t ORDER BY id"), "17,33");
	end();
}

/* A value that changes hands, in two slices: the row that waited for it was seen, too. */
static void test_row_parked_in_a_full_pull_is_seen(void **state)
{
	const struct shape *s = begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)",
				      "INSERT INTO t VALUES(1, 'x'), (2, 'y')");
	struct test_rows first = {0}, second = {0};
	struct applied out;
	bool more;

	(void)state;
	settle_all();
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	test_row(&first, s, test_int(2), EXIST_ALIVE, 5, 7);
	test_cell(&first, 0, test_text("x"), 5, 7);
	assert_int_equal(apply(&first, true).parked, 1);
	test_row(&second, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&second, 0, test_text("z"), 5, 7);
	apply(&second, true);
	assert_int_equal(apply_retry_parked(d, &out, &e), NE_OK);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_string_equal(test_query(&db, "SELECT id || a FROM t ORDER BY id"), "1z,2x");
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_parked"), "0");
	end();
}

/* What was parked when the capture of its table was lost stays for the comparison, and no longer.
 */
static void test_parked_row_that_the_server_lacks_goes(void **state)
{
	const struct shape *s = begin("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)",
				      "INSERT INTO t VALUES(1, 'x')");
	struct test_rows in = {0}, page = {0};
	struct applied out;
	bool more;

	(void)state;
	settle_all();
	test_row(&in, s, test_int(2), EXIST_ALIVE, 5, 7);
	test_cell(&in, 0, test_text("x"), 5, 7);
	assert_int_equal(apply(&in, false).parked, 1);
	test_sql(&db, "INSERT INTO neap_catchup(table_id, mode, known, begun) VALUES(1, 2, 9, 1)");
	assert_int_equal(coverage_look(d, &e), NE_OK);
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_parked"), "1");
	test_row(&page, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&page, 0, test_text("x"), 5, 7);
	apply(&page, true);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_string_equal(test_query(&db, "SELECT count(*) FROM neap_parked"), "0");
	end();
}

static void test_reset_saves_what_is_lost(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x'), (2, 2, 'y')");
	struct test_rows page = {0};
	struct applied out;
	bool more;

	(void)state;
	settle_all();
	assert_int_equal(devdb_set(d, "full", 2, &e), NE_OK);
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	test_row(&page, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&page, 0, test_int(7), 5, 7);
	apply(&page, true);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_string_equal(
		test_query(&db, "SELECT text FROM neap_conflict ORDER BY id"),
		"{\"id\": 1, \"a\": 1, \"b\": \"x\"},{\"id\": 2, \"a\": 2, \"b\": \"y\"}");
	end();
}

static void refuse_large(int64_t id)
{
	static struct image im;

	im.key[0] = test_int(id);
	assert_int_equal(rejected_keep(d, &d->table[0], &im, false, "too large", &e), NE_OK);
}

/* What no set can hold is nowhere else: neither the sweep nor what the server has ends it. */
static void test_full_pull_leaves_what_is_too_large(void **state)
{
	const struct shape *s = begin(ddl, "INSERT INTO t VALUES(1, 1, 'x'), (2, 2, 'y')");
	struct test_rows page = {0}, del = {0};
	struct applied out;
	bool more;

	(void)state;
	settle_all();
	refuse_large(1);
	refuse_large(2);
	assert_int_equal(apply_full_begin(d, &e), NE_OK);
	test_row(&page, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&page, 0, test_int(7), 5, 7);
	apply(&page, true);
	assert_int_equal(apply_full_end(d, &out, &more, &e), NE_OK);
	assert_string_equal(test_query(&db, "SELECT id || a FROM t ORDER BY id"), "11,22");
	/* Others' writes are as ever. */
	test_row(&del, s, test_int(1), EXIST_DEAD, 6, 7);
	apply(&del, false);
	assert_string_equal(test_query(&db, "SELECT id || a FROM t ORDER BY id"), "22");
	end();
}

/* A text that is six times as long for a person does not hold up what comes after it. */
static void test_long_text_is_parked(void **state)
{
	const struct shape *s = begin(unique, "INSERT INTO t VALUES(1, 10, 'x')");
	struct test_rows ins = {0};
	char *text = calloc(1, 3 << 20);

	(void)state;
	assert_non_null(text);
	settle_all();
	test_row(&ins, s, test_int(2), EXIST_ALIVE, 5, 7);
	test_cell(&ins, 0, test_int(10), 5, 7);
	test_cell(&ins, 1, (struct val){.type = VAL_TEXT, .s = slice_of(text, 3 << 20)}, 5, 7);
	assert_int_equal(apply(&ins, false).parked, 1);
	free(text);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_insert_update_delete),
		cmocka_unit_test(test_update_of_unknown_row),
		cmocka_unit_test(test_insert_says_nothing_of_a_column_it_lacks),
		cmocka_unit_test(test_later_write_of_a_pending_insert),
		cmocka_unit_test(test_no_value_is_the_default),
		cmocka_unit_test(test_full_pull_resets_what_is_not_named),
		cmocka_unit_test(test_full_pull_resets_a_column_that_the_server_lacks),
		cmocka_unit_test(test_later_mark_stands),
		cmocka_unit_test(test_mark_is_overtaken),
		cmocka_unit_test(test_delete_beats_update),
		cmocka_unit_test(test_floor_rises),
		cmocka_unit_test(test_unique_values_swap),
		cmocka_unit_test(test_violating_row_is_parked),
		cmocka_unit_test(test_parked_rows_take_turns),
		cmocka_unit_test(test_missing_not_null_is_parked),
		cmocka_unit_test(test_schema_replace_clause_displaces_nothing),
		cmocka_unit_test(test_key_spelling),
		cmocka_unit_test(test_key_type),
		cmocka_unit_test(test_composite_key),
		cmocka_unit_test(test_unknown_columns_are_left_out),
		cmocka_unit_test(test_full_pull_sweeps),
		cmocka_unit_test(test_row_parked_in_a_full_pull_is_seen),
		cmocka_unit_test(test_parked_row_that_the_server_lacks_goes),
		cmocka_unit_test(test_reset_saves_what_is_lost),
		cmocka_unit_test(test_full_pull_leaves_what_is_too_large),
		cmocka_unit_test(test_long_text_is_parked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
