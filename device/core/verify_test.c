/* Ranges of a table at this end: where they end, their sums, rows against the server's. */
#include "device/core/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/core/testing.h"
#include "protocol/value_bytes.h"

static struct test_db t;
static struct devdb *d;
static struct tracked *tab;
static struct arena arena;
static struct err e;

#define OK(call)                                                                \
	do {                                                                    \
		int ok_rc_ = (call);                                            \
		if (ok_rc_)                                                     \
			fail_msg("%s: %s: %s", #call, ne_name(ok_rc_), e.text); \
	} while (0)

/* Rows 1 … n with v = id, all settled. */
static int setup(void **state)
{
	(void)state;
	test_open(&t);
	test_sql(&t, "CREATE TABLE item(id INTEGER PRIMARY KEY, v, w TEXT)");
	OK(devdb_open(&d, t.path, NULL, &e));
	test_track(d, "item", false);
	OK(devdb_reload(d, &e));
	tab = &d->table[0];
	arena = (struct arena){.max = 1 << 24};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_free(&arena);
	devdb_close(d);
	test_close(&t);
	return 0;
}

static void fill(int n)
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < %d)"
		 " INSERT INTO item(id, v) SELECT x, x FROM c; DELETE FROM \"%s\"",
		 n, tab->marks);
	test_sql(&t, sql);
}

static struct slice key(int64_t id)
{
	struct buf b = {.max = 16};
	struct val v = test_int(id);
	struct slice s;

	assert_int_equal(value_put(&b, &v), 0);
	s = arena_copy(&arena, buf_slice(&b));
	buf_free(&b);
	return s;
}

static const struct slice none;

static struct verify_range range(struct slice from, struct slice to)
{
	return (struct verify_range){.d = d, .t = tab, .from = from, .to = to};
}

static void expect_bounds(struct slice from, struct slice end, size_t rows, struct slice to,
			  size_t n_except)
{
	struct verify_range r = range(from, end);
	struct buf got = {.max = 1000}, except = {.max = 10000};

	OK(verify_bounds(&r, rows, &got, &except, &e));
	assert_true(slice_eq(buf_slice(&got), to));
	assert_int_equal(except.len, n_except * 9);
	buf_free(&got);
	buf_free(&except);
}

static void ranges_end_at_a_row_or_where_they_must(void **state)
{
	(void)state;
	fill(500);
	expect_bounds(none, none, 100, key(100), 0);
	expect_bounds(key(100), none, 100, key(200), 0);
	expect_bounds(key(450), none, 100, none, 0);
	expect_bounds(key(100), key(150), 100, key(150), 0);
	expect_bounds(key(100), key(150), 20, key(120), 0);
	expect_bounds(key(500), none, 20, none, 0);
}

/* Pending rows are named, and end the range where there are too many; deleted ones as well. */
static void pending_rows_are_left_out(void **state)
{
	(void)state;
	fill(500);
	test_sql(&t,
		 "UPDATE item SET v = 0, w = 'x' WHERE id IN (7, 9); DELETE FROM item WHERE id = "
		 "20; INSERT INTO item(id) VALUES(1000)");
	expect_bounds(none, none, 100, key(101), 3);
	expect_bounds(key(7), key(19), 100, key(19), 1);
	expect_bounds(key(490), none, 100, none, 1);
	test_sql(&t, "UPDATE item SET v = 0 WHERE id > 200");
	expect_bounds(key(200), none, 100, key(264), LIMIT_EXCEPT);
	expect_bounds(key(200), key(220), 100, key(220), 20);
}

static struct key_set keys(const int64_t *id, size_t n)
{
	struct buf b = {.max = 100000};
	struct key_set k;

	for (size_t i = 0; i < n; i++) {
		struct val v = test_int(id[i]);
		assert_int_equal(value_put(&b, &v), 0);
	}
	assert_int_equal(key_set_read(&tab->shape, buf_slice(&b), n, &arena, &k), 0);
	buf_free(&b);
	return k;
}

/* What a server with rows lo … hi, but for one, would say. */
static struct row_sum sum(int64_t lo, int64_t hi, int64_t but)
{
	struct row_sum s = {0};
	struct buf scratch = {.max = 1000};

	for (int64_t i = lo; i <= hi; i++) {
		struct val id = test_int(i),
			   col[2] = {{.type = VAL_REAL, .r = (double)i}, {.type = VAL_NULL}};
		if (i != but)
			assert_int_equal(row_sum_add(&s, &tab->shape, &id, col, &scratch), 0);
	}
	buf_free(&scratch);
	return s;
}

static enum verify_found compare(struct slice from, struct slice to, struct key_set except,
				 struct key_set above, struct row_sum theirs, uint64_t rows)
{
	struct verify_range r = range(from, to);
	struct verify_counts n = {0};
	enum verify_found found;

	OK(verify_sum(&r, &except, &above, &theirs, &found, &n, &e));
	assert_int_equal(n.rows, rows);
	return found;
}

static void sums(void **state)
{
	const int64_t nine[] = {9}, seven[] = {7};
	struct key_set k9 = {0}, k7 = {0}, no = keys(nine, 0);
	(void)state;

	fill(50);
	k9 = keys(nine, 1);
	k7 = keys(seven, 1);
	assert_int_equal(compare(none, none, no, no, sum(1, 50, 0), 50), VERIFY_EQUAL);
	assert_int_equal(compare(key(10), key(20), no, no, sum(11, 20, 0), 10), VERIFY_EQUAL);
	assert_int_equal(compare(key(10), key(20), no, no, sum(11, 21, 0), 0), VERIFY_DIFFERS);
	assert_int_equal(compare(none, none, no, no, sum(1, 50, 9), 0), VERIFY_DIFFERS);
	assert_int_equal(compare(none, none, no, k9, sum(1, 50, 9), 49), VERIFY_EQUAL);
	assert_int_equal(compare(none, none, k9, no, sum(1, 50, 9), 49), VERIFY_EQUAL);
	/* A row that is pending by now and was not left out: the question is an old one. */
	test_sql(&t, "UPDATE item SET v = 5 WHERE id = 9");
	assert_int_equal(compare(none, none, no, no, sum(1, 50, 0), 0), VERIFY_MOVED);
	assert_int_equal(compare(none, none, k7, no, sum(1, 50, 7), 0), VERIFY_MOVED);
	assert_int_equal(compare(none, none, k9, no, sum(1, 50, 9), 49), VERIFY_EQUAL);
	assert_int_equal(compare(key(9), none, no, no, sum(10, 50, 0), 41), VERIFY_EQUAL);
	test_sql(&t, "DELETE FROM item WHERE id = 30");
	assert_int_equal(compare(none, none, k9, no, sum(1, 50, 9), 0), VERIFY_MOVED);
}

/* A column whose own collation is another than its key's is ordered as the key. */
static void order_is_the_keys(void **state)
{
	struct buf to = {.max = 1000}, except = {.max = 1000}, a = {.max = 100}, z = {.max = 100};
	const struct val la[2] = {test_text("a"), test_int(1)},
			 uz[2] = {test_text("Z"), test_int(1)};
	struct verify_range r;
	bool yes;
	(void)state;

	test_sql(&t, "CREATE TABLE word(k TEXT, n INTEGER, v, PRIMARY KEY(k COLLATE NOCASE, n))");
	test_track(d, "word", false);
	OK(devdb_reload(d, &e));
	tab = &d->table[1];
	assert_int_equal(values_put(&a, la, 2), 0);
	assert_int_equal(values_put(&z, uz, 2), 0);
	OK(verify_behind(d, tab, buf_slice(&z), buf_slice(&a), &yes, &e));
	assert_true(yes);
	OK(verify_behind(d, tab, buf_slice(&a), buf_slice(&z), &yes, &e));
	assert_false(yes);
	OK(verify_behind(d, tab, buf_slice(&a), buf_slice(&a), &yes, &e));
	assert_false(yes);
	assert_int_equal(verify_behind(d, tab, key(1), buf_slice(&a), &yes, &e), NE_MALFORMED);
	test_sql(&t, "INSERT INTO word VALUES('a', 1, 1), ('Z', 1, 1), ('m', 1, 1); DELETE FROM "
		     "neap_m2");
	r = range(buf_slice(&a), none);
	OK(verify_bounds(&r, 1, &to, &except, &e));
	struct val got[2];
	assert_int_equal(key_take_whole(buf_slice(&to), &tab->shape, got), 0);
	assert_true(slice_eq(got[0].s, slice_str("m")));
	const struct val m[2] = {test_text("m"), test_int(1)};
	buf_clear(&a);
	assert_int_equal(values_put(&a, m, 2), 0);
	r.from = buf_slice(&a);
	OK(verify_bounds(&r, 1, &to, &except, &e));
	assert_int_equal(key_take_whole(buf_slice(&to), &tab->shape, got), 0);
	assert_true(slice_eq(got[0].s, slice_str("Z")));
	buf_free(&to);
	buf_free(&except);
	buf_free(&a);
	buf_free(&z);
}

static struct verify_counts against(struct test_rows *rows, struct key_set above, bool repair)
{
	struct verify_range r = range(none, none);
	struct verify_counts n = {0};
	struct applied done;

	OK(verify_rows(&r, &rows->table, &above, repair, &n, &done, &e));
	return n;
}

static void server_row(struct test_rows *rows, int64_t id, struct val v)
{
	test_row(rows, &tab->shape, test_int(id), EXIST_ALIVE, 100, 7);
	test_cell(rows, 0, v, 100, 7);
}

/* w was never written at the server: whatever is here stands. 2 and 2.0 are no difference. */
static void row_by_row(void **state)
{
	static struct test_rows rows;
	const int64_t four[] = {4};
	struct key_set no = keys(four, 0);
	struct verify_counts n;
	(void)state;

	fill(4);
	test_sql(&t, "INSERT INTO item(id, v) VALUES(9, 'mine')");
	server_row(&rows, 1, test_text("other"));
	server_row(&rows, 2, (struct val){.type = VAL_REAL, .r = 2.0});
	server_row(&rows, 5, test_int(5));
	test_row(&rows, &tab->shape, test_int(3), EXIST_DEAD, 100, 7);
	n = against(&rows, no, false);
	assert_int_equal(n.rows, 5);
	assert_int_equal(n.differed, 1);
	assert_int_equal(n.missing, 1);
	assert_int_equal(n.extra, 2); /* 3, which is deleted there, and 4, which is not known */
	assert_int_equal(n.left_out, 1);
	assert_int_equal(n.repaired, 0);
	n = against(&rows, keys(four, 1), false);
	assert_int_equal(n.extra, 1);
	assert_int_equal(n.left_out, 2);
	assert_string_equal(test_query(&t, "SELECT id || v FROM item"), "11,22,33,44,9mine");
	n = against(&rows, no, true);
	assert_int_equal(n.repaired, 4);
	assert_string_equal(test_query(&t, "SELECT id || v FROM item"), "1other,22,44,55,9mine");
	/* Row 4 gives way to any other: stamp 0. */
	assert_string_equal(test_query(&t, "SELECT k0 || ' ' || col || ' ' || (stamp > 0) FROM "
					   "neap_m1"),
			    "4 -1 0,9 -1 1");
	assert_string_equal(test_query(&t, "SELECT row_key || reason FROM neap_conflict"),
			    "{\"id\": 1}repaired by verify,{\"id\": 3}repaired by verify");
	n = against(&rows, no, true);
	assert_int_equal(n.rows, 3);
	assert_int_equal(n.differed + n.missing + n.extra, 0);
}

/* A table that was rebuilt a moment ago, unseen as yet, is the device's to tell of (J5). */
static void nothing_is_mended_after_ddl_that_was_not_looked_at(void **state)
{
	static struct test_rows rows;
	struct verify_range r;
	struct verify_counts n = {0};
	struct key_set no;
	struct applied done;
	(void)state;

	fill(1);
	server_row(&rows, 1, test_text("other"));
	no = keys(NULL, 0);
	test_sql(&t,
		 "CREATE TABLE next(id INTEGER PRIMARY KEY, v, w TEXT); INSERT INTO next VALUES(1, "
		 "'migrated', NULL); DROP TABLE item; ALTER TABLE next RENAME TO item");
	r = range(none, none);
	assert_int_equal(verify_rows(&r, &rows.table, &no, true, &n, &done, &e), NE_CAPTURE);
	assert_int_equal(n.rows + n.repaired, 0);
	assert_string_equal(test_query(&t, "SELECT v FROM item"), "migrated");
	OK(devdb_reload(d, &e));
	tab = &d->table[0];
	rows.table.shape = &tab->shape;
	r = range(none, none);
	OK(verify_rows(&r, &rows.table, &no, false, &n, &done, &e));
	assert_int_equal(n.differed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ranges_end_at_a_row_or_where_they_must, setup,
						teardown),
		cmocka_unit_test_setup_teardown(pending_rows_are_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(sums, setup, teardown),
		cmocka_unit_test_setup_teardown(order_is_the_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(row_by_row, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_mended_after_ddl_that_was_not_looked_at,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
