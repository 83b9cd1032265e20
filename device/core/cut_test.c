#include "device/core/apply.h"
#include "device/core/capture_fixture.h"

static struct cut cut;
static uint64_t next_cut_id = 1000;

static bool cut_limited(size_t rows, size_t bytes)
{
	struct cut_limits limits = {.rows = rows, .cells = LIMIT_CELLS, .bytes = bytes};
	bool any;

	arena_free(&arena);
	OK(cutter_next(cutter, &limits, next_cut_id++, &arena, &cut, &any, &err));
	assert_int_equal(any, cut.n_row > 0);
	return any;
}

static bool cut_all(void)
{
	return cut_limited(LIMIT_ROWS, LIMIT_SET);
}

static void put_val(struct buf *b, const struct val *v)
{
	switch (v->type) {
	case VAL_NULL:
		OK(buf_printf(b, "null"));
		break;
	case VAL_INT:
		OK(buf_printf(b, "%lld", (long long)v->i));
		break;
	case VAL_REAL:
		OK(buf_printf(b, "%.1f", v->r));
		break;
	case VAL_TEXT:
		OK(buf_printf(b, "%.*s", (int)v->s.len, (const char *)v->s.at));
		break;
	case VAL_BLOB:
		OK(buf_printf(b, "x%zu", v->s.len));
		break;
	}
}

/* "t 1+ 0=x 1=y; 2-; 3 1=z": insert, delete, update. Append: "t 1.5(17) 0=x": gen, n, key. */
static const char *shown(void)
{
	static char text[4096];
	struct buf b = {.max = sizeof text - 1};

	for (size_t i = 0; i < cut.rows.n_table; i++) {
		const struct table_rows *t = &cut.rows.table[i];

		OK(buf_printf(&b, "%s%.*s", i ? " | " : "", (int)t->shape->name.len,
			      (const char *)t->shape->name.at));
		for (size_t j = 0; j < t->n_row; j++) {
			const struct row *r = &t->row[j];

			OK(buf_printf(&b, j ? "; " : " "));
			if (t->shape->kind == SHAPE_APPEND)
				OK(buf_printf(&b, "%llu.%lld(", (unsigned long long)r->gen,
					      (long long)r->n));
			for (int k = 0; k < t->shape->n_key; k++) {
				OK(buf_printf(&b, k ? "," : ""));
				put_val(&b, &r->key[k]);
			}
			OK(buf_printf(&b, "%s",
				      t->shape->kind == SHAPE_APPEND ? ")"
				      : r->exist == EXIST_ALIVE	     ? "+"
				      : r->exist == EXIST_DEAD	     ? "-"
								     : ""));
			for (int k = 0; k < r->n_cell; k++) {
				OK(buf_printf(&b, " %d=", r->cell[k].col));
				put_val(&b, &r->cell[k].val);
			}
		}
	}
	if (b.len)
		memcpy(text, b.at, b.len);
	text[b.len] = 0;
	buf_free(&b);
	return text;
}

static void expect_cut(const char *want)
{
	assert_true(cut_all());
	assert_string_equal(shown(), want);
}

static void expect_nothing(void)
{
	if (cut_all())
		fail_msg("unexpectedly cut: %s", shown());
}

static void merge_table(void)
{
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
	track("t", false);
}

static void test_insert_update_delete(void **state)
{
	(void)state;
	merge_table();
	expect_nothing();
	run("INSERT INTO t VALUES(1, 'x', 1.5), (2, 'y', NULL)");
	expect_cut("t 1+ 0=x 1=1.5; 2+ 0=y 1=null");
	assert_int_equal(cut.number, 1);
	assert_int_equal(cut.prev, 0);
	assert_int_equal(cut.site, SITE);
	assert_int_equal(cut.flags, 0);
	expect_nothing();
	run("UPDATE t SET b = 7 WHERE id = 1; DELETE FROM t WHERE id = 2");
	expect_cut("t 1 1=7; 2-");
	assert_int_equal(cut.number, 2);
	assert_int_equal(cut.prev, 1);
	expect_nothing();
}

static void test_existing_rows_have_the_lowest_stamp(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES(1, 'x', 'y'), (5, "
	    "0, 0)");
	track("t", false);
	run("UPDATE t SET a = 'edited' WHERE id = 1");
	expect_cut("t 1+ 0=edited 1=y; 5+ 0=0 1=0");
	const struct row *r = cut.rows.table[0].row;
	assert_int_equal(r[0].exist_reg.stamp, 0);
	assert_int_equal(r[0].cell[1].reg.stamp, 0);
	assert_true(r[0].cell[0].reg.stamp > 0);
	assert_int_equal(r[0].cell[0].reg.site, SITE);
}

/* A row of others comes, and does not fit. */
static void park_row(int64_t id, const char *a)
{
	struct tracked *t = &d->table[0];
	struct val key = {.type = VAL_INT, .i = id};
	struct cell cell[2] = {{.reg = {1, 7}, .val = {.type = VAL_TEXT, .s = slice_str(a)}},
			       {.col = 1, .reg = {1, 7}}};
	struct row row = {
		.key = &key, .exist = EXIST_ALIVE, .exist_reg = {1, 7}, .n_cell = 2, .cell = cell};
	struct table_rows of = {.shape = &t->shape, .n_row = 1, .row = &row};
	struct rows rows = {.n_table = 1, .table = &of};
	struct applied out;

	OK(devdb_begin(d, &err));
	OK(apply_rows(d, &rows, false, &out, &err));
	OK(devdb_commit(d, &err));
	assert_int_equal(out.parked, 1);
}

/* What the app makes of a key stands for what is parked under it, also when that row goes. */
static void test_a_row_in_place_of_a_parked_one(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b); INSERT INTO t VALUES(1, 'x', 0)");
	track("t", false);
	expect_cut("t 1+ 0=x 1=0");
	settle(cut.number);
	park_row(2, "x");
	run("INSERT INTO t VALUES(2, 'y', 5)");
	expect_cut("t 2+ 0=y 1=5");
	settle(cut.number);
	run("REPLACE INTO t VALUES(3, 'y', 6)");
	expect_cut("t 2-; 3+ 0=y 1=6");
}

static void test_settle_clears_only_what_was_carried(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 'x', 'y'), (2, 'x', 'y')");
	assert_true(cut_all());
	run("UPDATE t SET a = 'later' WHERE id = 1");
	settle(1);
	assert_string_equal(one("SELECT group_concat(k0 || ':' || col) FROM neap_m1"), "1:0");
	assert_string_equal(one("SELECT count(*) FROM neap_inflight"), "0");
	expect_cut("t 1 0=later");
	settle(2);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

static void test_settle_is_cumulative(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_true(cut_all());
	run("INSERT INTO t VALUES(2, 1, 1)");
	assert_true(cut_all());
	settle(99);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "2");
	settle(2);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
	assert_string_equal(one("SELECT count(*) FROM neap_inflight"), "0");
}

static void test_stamps_after_a_cut_are_later(void **state)
{
	uint64_t sent;

	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_true(cut_all());
	sent = cut.rows.table[0].row[0].exist_reg.stamp;
	run("UPDATE neap_clock SET offset_ms = -100000000"); /* the clock goes back */
	run("UPDATE t SET a = 2");
	assert_true(cut_all());
	assert_true(cut.rows.table[0].row[0].cell[0].reg.stamp > sent);
}

static void test_restart_cuts_again_under_the_same_stamps(void **state)
{
	struct reg reg;

	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_true(cut_all());
	reg = cut.rows.table[0].row[0].exist_reg;
	expect_nothing();
	OK(cutter_restart(cutter, &err));
	expect_cut("t 1+ 0=1 1=1");
	assert_int_equal(cut.number, 2);
	assert_int_equal(cut.prev, 0);
	assert_int_equal(reg_cmp(reg, cut.rows.table[0].row[0].exist_reg), 0);
}

static void test_a_new_cutter_waits_for_what_is_in_flight(void **state)
{
	struct cut_inflight list[4];
	size_t n;

	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_true(cut_all());
	reopen();
	run("INSERT INTO t VALUES(2, 2, 2)");
	OK(cut_list(d, list, 4, &n, &err));
	assert_int_equal(n, 1);
	assert_int_equal(list[0].number, 1);
	assert_int_equal(list[0].cut, next_cut_id - 1);
	assert_int_equal(list[0].site, SITE);
	expect_nothing();
	settle(1);
	expect_cut("t 2+ 0=2 1=2");
	assert_int_equal(cut.prev, 1);
}

static void test_limits_and_passes(void **state)
{
	int64_t sum = 0;
	int sets = 0;

	(void)state;
	merge_table();
	run("WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
	    "INSERT INTO t SELECT i, 'v', i FROM n");
	while (cut_limited(300, LIMIT_SET)) {
		sum += (int64_t)cut.n_row;
		sets++;
		assert_int_equal(cut.flags, sets < 4 ? SET_PARTIAL : 0);
		if (sets == 2) /* behind, inside and before where the pass stands */
			run("UPDATE t SET a = 'w' WHERE id IN (5, 400, 900)");
	}
	/* 900 goes once with its newest value; 5 and 400 again. */
	assert_int_equal(sets, 5);
	assert_int_equal(sum, 1002);
	assert_string_equal(shown(), "");
	settle(5);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

static void test_byte_limit_takes_one_row_at_least(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, zeroblob(5000), 1), (2, zeroblob(10), 1), (3, zeroblob(10), "
	    "1)");
	assert_true(cut_limited(100, 1000));
	assert_string_equal(shown(), "t 1+ 0=x5000 1=1");
	assert_true(cut_limited(100, 1000));
	assert_string_equal(shown(), "t 2+ 0=x10 1=1; 3+ 0=x10 1=1");
	assert_false(cut_limited(100, 1000));
}

static void test_written_again_behind_the_pass(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1), (2, 2, 2), (3, 3, 3)");
	assert_true(cut_limited(2, LIMIT_SET));
	run("UPDATE t SET a = 'again' WHERE id = 1");
	assert_true(cut_limited(2, LIMIT_SET));
	assert_string_equal(shown(), "t 3+ 0=3 1=3");
	expect_cut("t 1 0=again");
	run("UPDATE t SET a = 'third' WHERE id = 1");
	expect_cut("t 1 0=third");
	expect_nothing();
	settle(4);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

/* What the pass had ahead of it is gone; what was written behind it is cut all the same. */
static void test_nothing_left_ahead_of_the_pass(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1), (2, 2, 2), (3, 3, 3)");
	assert_true(cut_limited(2, LIMIT_SET));
	run("DELETE FROM neap_m1 WHERE k0 = 3; UPDATE t SET a = 'behind' WHERE id = 1");
	expect_cut("t 1 0=behind");
}

static void test_priorities(void **state)
{
	struct track_options o = {.priority = 1};

	(void)state;
	run("CREATE TABLE bulk(id INTEGER PRIMARY KEY, v); CREATE TABLE state(id INTEGER PRIMARY "
	    "KEY, v)");
	track("bulk", false);
	OK(track_table(d, "state", &o, &err));
	run("INSERT INTO bulk VALUES(1, 1), (2, 2); INSERT INTO state VALUES(1, 1)");
	assert_true(cut_limited(1, LIMIT_SET));
	assert_string_equal(shown(), "state 1+ 0=1");
	assert_true(cut_limited(1, LIMIT_SET));
	run("UPDATE state SET v = 2");
	assert_true(cut_limited(1, LIMIT_SET));
	assert_string_equal(shown(), "state 1 0=2");
	assert_true(cut_limited(1, LIMIT_SET));
	assert_string_equal(shown(), "bulk 2+ 0=2");
}

static void test_tables_not_to_be_compressed_go_in_sets_of_their_own(void **state)
{
	struct track_options o = {.priority = 5, .uncompressed = true};

	(void)state;
	run("CREATE TABLE first(id INTEGER PRIMARY KEY, v); CREATE TABLE secret(id INTEGER PRIMARY "
	    "KEY, v); CREATE TABLE other(id INTEGER PRIMARY KEY, v)");
	track("first", false);
	OK(track_table(d, "secret", &o, &err));
	track("other", false);
	run("BEGIN; INSERT INTO first VALUES(1, 1); INSERT INTO secret VALUES(1, 's'); INSERT INTO "
	    "other VALUES(1, 1); COMMIT");
	expect_cut("secret 1+ 0=s");
	assert_true(rows_uncompressed(&cut.rows));
	expect_cut("first 1+ 0=1 | other 1+ 0=1");
	assert_false(rows_uncompressed(&cut.rows));
	expect_nothing();
	settle(2);
	/* It stays so when the app changes the table, and ends when it is tracked otherwise. */
	run("ALTER TABLE secret ADD COLUMN w; INSERT INTO secret VALUES(2, 't', 'u')");
	OK(devdb_reload(d, &err));
	expect_cut("secret 2+ 0=t 1=u");
	assert_true(rows_uncompressed(&cut.rows));
	track("secret", false);
	run("UPDATE secret SET v = 'x' WHERE id = 1; UPDATE first SET v = 2");
	expect_cut("first 1 0=2 | secret 1 0=x");
}

static void test_displaced_through_unique(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)");
	track("t", false);
	run("INSERT INTO t VALUES(1, 'u'), (2, 'v')");
	assert_true(cut_all());
	settle(1);
	run("REPLACE INTO t VALUES(3, 'u'); INSERT OR IGNORE INTO t VALUES(4, 'v')");
	expect_cut("t 1-; 3+ 0=u");
	settle(2);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
	run("INSERT OR IGNORE INTO t VALUES(4, 'v')");
	expect_nothing();
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

static void test_displaced_and_inserted_again(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)");
	track("t", false);
	run("INSERT INTO t VALUES(1, 'u')");
	assert_true(cut_all());
	run("REPLACE INTO t VALUES(3, 'u')");
	expect_cut("t 1-; 3+ 0=u");
	run("INSERT INTO t VALUES(1, 'w')");
	expect_cut("t 1+ 0=w");
}

static void test_nocase_key_changes_case(void **state)
{
	(void)state;
	run("CREATE TABLE t(k TEXT COLLATE NOCASE, n, v, PRIMARY KEY(k, n)) WITHOUT ROWID");
	track("t", false);
	run("INSERT INTO t VALUES('a', 1, 'v'), ('B', 2, 'v')");
	expect_cut("t a,1+ 0=v; B,2+ 0=v");
	run("UPDATE t SET k = 'A' WHERE n = 1; UPDATE t SET v = 'w' WHERE k = 'b'");
	expect_cut("t A,1+ 0=v; B,2 0=w");
	run("UPDATE t SET v = 'x' WHERE n = 1; DELETE FROM t WHERE n = 2");
	expect_cut("t A,1 0=x; B,2-");
}

static void test_marks_of_another_site_keep_it(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1); UPDATE neap_m1 SET site = 5; UPDATE t SET a = 2");
	assert_true(cut_all());
	const struct row *r = cut.rows.table[0].row;
	assert_int_equal(r->exist_reg.site, 5);
	assert_int_equal(r->cell[0].reg.site, SITE);
	assert_int_equal(r->cell[1].reg.site, 5);
}

static void test_broken_capture_is_not_cut(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1); DROP TABLE t");
	OK(devdb_reload(d, &err));
	expect_nothing();
}

static void append_table(void)
{
	run("CREATE TABLE a(id INTEGER PRIMARY KEY, v)");
	track("a", true);
}

static void test_append_by_key(void **state)
{
	bool any;

	(void)state;
	append_table();
	run("INSERT INTO a VALUES(3, 'x'), (7, 'y')");
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
	expect_cut("a 1.3(3) 0=x; 1.7(7) 0=y");
	expect_nothing();
	run("INSERT INTO a(v) VALUES('z')");
	expect_cut("a 1.8(8) 0=z");
	OK(cut_any_pending(d, &any, &err));
	assert_true(any);
	settle(2);
	OK(cut_any_pending(d, &any, &err));
	assert_false(any);
	expect_nothing();
}

static void test_append_changes_before_the_cut(void **state)
{
	(void)state;
	append_table();
	run("INSERT INTO a VALUES(3, 'x'), (7, 'y'), (9, 'z')");
	run("UPDATE a SET v = 'new' WHERE id = 3; DELETE FROM a WHERE id = 7");
	expect_cut("a 1.3(3) 0=new; 1.9(9) 0=z");
	run("UPDATE a SET v = 'local' WHERE id = 9; DELETE FROM a WHERE id = 3");
	expect_nothing();
}

static void test_append_at_or_below_the_high_water(void **state)
{
	(void)state;
	append_table();
	run("INSERT INTO a VALUES(5, 'x'), (7, 'y')");
	assert_true(cut_all());
	run("INSERT INTO a VALUES(6, 'low'); DELETE FROM a WHERE id = 7; INSERT INTO a VALUES(7, "
	    "'back')");
	expect_cut("a 2.1(6) 0=low; 2.2(7) 0=back");
	expect_nothing();
	settle(2);
	run("DELETE FROM a; INSERT INTO a VALUES(1, 'again')");
	expect_cut("a 2.3(1) 0=again");
	settle(3);
	assert_string_equal(one("SELECT n FROM neap_m1 WHERE k0 = 1"), "-3");
}

/* What is kept of numbered rows does not outlive them by much. */
static void test_numbers_of_deleted_rows_go(void **state)
{
	char sql[100];

	(void)state;
	append_table();
	run("INSERT INTO a VALUES(1000, 'x'), (999, 'stays')");
	assert_true(cut_all());
	settle(1);
	run("INSERT INTO a VALUES(500, 'stays')");
	assert_true(cut_all());
	settle(2);
	for (int i = 1; i <= 200; i++) {
		snprintf(sql, sizeof sql, "INSERT INTO a VALUES(%d, 'goes')", i);
		run(sql);
		assert_true(cut_all());
		settle((uint64_t)i + 2);
		run("DELETE FROM a WHERE v = 'goes'");
	}
	assert_string_equal(one("SELECT n FROM neap_m1 WHERE k0 = 500"), "-1");
	assert_in_range(atoi(one("SELECT count(*) FROM neap_m1")), 1, 4);
}

/* A row may move, with its number, to a key above the high water; that key then is taken. */
static void test_a_key_that_moved_up_is_given_again(void **state)
{
	(void)state;
	append_table();
	run("INSERT INTO a VALUES(10, 'x')");
	assert_true(cut_all());
	settle(1);
	run("INSERT INTO a VALUES(3, 'n'); UPDATE a SET id = 30 WHERE id = 3");
	expect_cut("a 2.1(30) 0=n");
	settle(2);
	run("DELETE FROM a WHERE id = 30; INSERT INTO a VALUES(30, 'other'), (31, 'y')");
	expect_cut("a 2.2(30) 0=other; 1.31(31) 0=y");
}

static void test_append_keeps_identity_after_restart(void **state)
{
	(void)state;
	append_table();
	run("INSERT INTO a VALUES(5, 'x'), (7, 'y')");
	assert_true(cut_all());
	run("INSERT INTO a VALUES(6, 'low')");
	assert_true(cut_all());
	settle(1);
	OK(cutter_restart(cutter, &err));
	expect_cut("a 2.1(6) 0=low");
	run("INSERT INTO a VALUES(9, 'high'), (2, 'low')");
	assert_true(cut_all());
	OK(cutter_restart(cutter, &err));
	run("DELETE FROM a WHERE id = 9; INSERT INTO a VALUES(9, 'other')");
	/* 9 was in flight: what has its key now is another row. */
	expect_cut("a 2.1(6) 0=low; 2.2(2) 0=low; 2.3(9) 0=other");
}

static void test_append_key_moves(void **state)
{
	(void)state;
	append_table();
	run("INSERT INTO a VALUES(10, 'x')");
	assert_true(cut_all());
	settle(1);
	run("INSERT INTO a VALUES(20, 'y'), (3, 'n'); UPDATE a SET id = 5 WHERE id = 20; "
	    "UPDATE a SET id = 30 WHERE id = 3");
	expect_cut("a 2.1(30) 0=n; 2.2(5) 0=y");
	expect_nothing();
}

static void test_append_with_another_key(void **state)
{
	(void)state;
	run("CREATE TABLE a(k TEXT COLLATE NOCASE, j INT, v, PRIMARY KEY(k, j));"
	    "INSERT INTO a VALUES('first', 1, 'old')");
	track("a", true);
	run("INSERT INTO a VALUES('b', 2, 'x'), ('a', 3, 'y'), (NULL, 3, 'y')");
	run("UPDATE a SET k = 'B' WHERE j = 2; UPDATE a SET k = 'c' WHERE k IS NULL");
	expect_cut("a 2.1(first,1) 0=old; 2.2(B,2) 0=x; 2.3(a,3) 0=y; 2.4(c,3) 0=y");
	settle(1);
	run("UPDATE a SET v = 'local'; INSERT OR REPLACE INTO a VALUES('c', 3, 'replaced')");
	expect_cut("a 2.5(c,3) 0=replaced");
	run("INSERT INTO a VALUES('gone', 1, 1); DELETE FROM a WHERE k = 'gone'");
	expect_nothing();
	settle(2);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

static void test_append_limits(void **state)
{
	int64_t n = 0;

	(void)state;
	append_table();
	run("WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
	    "INSERT INTO a SELECT i, i FROM n");
	assert_true(cut_limited(100, LIMIT_SET));
	assert_int_equal(cut.flags, SET_PARTIAL);
	run("INSERT INTO a VALUES(-5, 'low')");
	for (n = 100; cut_limited(100, LIMIT_SET);)
		n += (int64_t)cut.n_row;
	assert_int_equal(n, 501);
}

static void test_append_negative_and_extreme_keys(void **state)
{
	(void)state;
	run("CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES"
	    "(-9223372036854775808, 'least'), (-1, 'm'), (9223372036854775807, 'most')");
	track("a", true);
	expect_cut("a 2.1(-9223372036854775808) 0=least; 1.-1(-1) 0=m; "
		   "1.9223372036854775807(9223372036854775807) 0=most");
}

/* Exact for a few rows however their sizes differ; above, by the first and the last. */
static void test_pending_bytes_of_mixed_rows(void **state)
{
	struct pending_stats p;

	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE TABLE a(id INTEGER PRIMARY KEY, "
	    "v)");
	track("t", false);
	track("a", true);
	run("INSERT INTO t VALUES(1, zeroblob(100000), NULL), (2, 'é', 2), (3, 0, 0)");
	OK(cut_pending(d, &d->table[0], &p, &err));
	assert_int_equal(p.bytes, 3 * 8 + 100000 + 8 + 2 + 8 + 8 + 8);
	while (cut_all())
		settle(cut.number);
	/* A cell beside a large value; a deleted row. */
	run("UPDATE t SET b = 'xyz' WHERE id = 1; DELETE FROM t WHERE id = 2");
	OK(cut_pending(d, &d->table[0], &p, &err));
	assert_int_equal(p.rows, 2);
	assert_int_equal(p.bytes, 8 + 3 + 8);
	run("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 3000) "
	    "INSERT INTO a(v) SELECT zeroblob(i) FROM c");
	OK(cut_pending(d, &d->table[1], &p, &err));
	assert_int_equal(p.bytes, 3000 * 8 + 3000 * 3001 / 2);
	assert_false(p.bytes_estimated);
	run("WITH c(i) AS (SELECT 3001 UNION ALL SELECT i + 1 FROM c LIMIT 7000) "
	    "INSERT INTO a(v) SELECT zeroblob(i) FROM c");
	OK(cut_pending(d, &d->table[1], &p, &err));
	assert_true(p.bytes_estimated);
	assert_in_range(p.bytes, 48000000, 52000000); /* 50,085,000 */
}

/* State that changes now is in the next set, whatever telemetry waits. */
static void test_state_goes_before_a_backlog(void **state)
{
	(void)state;
	run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE a(id INTEGER PRIMARY KEY, v)");
	track("t", false);
	track("a", true);
	run("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 100000) "
	    "INSERT INTO a(v) SELECT i FROM c");
	assert_true(cut_limited(1000, LIMIT_SET));
	assert_int_equal(cut.n_row, 1000);
	run("INSERT INTO t VALUES(1, 'alarm')");
	assert_true(cut_limited(1000, LIMIT_SET));
	assert_int_equal(cut.n_row, 1);
	assert_string_equal(cut.rows.table[0].shape->name.at[0] == 't' ? "t" : "a", "t");
	assert_true(cut_limited(1000, LIMIT_SET));
	assert_int_equal(cut.n_row, 1000);
}

static void test_pending_stats(void **state)
{
	struct pending_stats p;

	(void)state;
	merge_table();
	OK(cut_pending(d, &d->table[0], &p, &err));
	assert_int_equal(p.rows, 0);
	assert_int_equal(p.oldest_ms, 0);
	run("INSERT INTO t VALUES(1, 'xxxxxxxxxx', 1), (2, 'xxxxxxxxxx', 1); UPDATE t SET b = 2");
	OK(cut_pending(d, &d->table[0], &p, &err));
	assert_int_equal(p.rows, 2);
	assert_int_equal(p.bytes, 52);
	assert_false(p.bytes_estimated);
	assert_true(llabs(p.oldest_ms - atoll(one("SELECT strftime('%s','now')")) * 1000) < 60000);
	assert_true(cut_all());
	OK(cut_pending(d, &d->table[0], &p, &err));
	assert_int_equal(p.rows, 2);
	run("CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES(1, 1), (2, 2)");
	track("a", true);
	OK(cut_pending(d, &d->table[1], &p, &err));
	assert_int_equal(p.rows, 2);
}

/* All that a failed cut did is undone, in the file and in memory. */
static void test_a_cut_that_fails_gives_out_nothing(void **state)
{
	struct cut_limits limits = {.rows = 10, .cells = LIMIT_CELLS, .bytes = LIMIT_SET};
	struct arena small = {.max = 20000};
	bool any;

	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1), (2, zeroblob(100000), 1)");
	assert_true(cut_limited(1, LIMIT_SET));
	assert_int_not_equal(cutter_next(cutter, &limits, 5, &small, &cut, &any, &err), NE_OK);
	arena_free(&small);
	assert_false(any);
	assert_string_equal(one("SELECT value FROM neap_meta WHERE key = 'last_number'"), "1");
	assert_string_equal(one("SELECT count(*) FROM neap_inflight"), "1");
	run("BEGIN IMMEDIATE");
	sqlite3_busy_timeout(db_handle(d->db), 0);
	assert_int_equal(cutter_next(cutter, &limits, 5, &arena, &cut, &any, &err), NE_BUSY);
	run("COMMIT");
	expect_cut("t 2+ 0=x100000 1=1");
	assert_int_equal(cut.number, 2);
}

static const char *next_deletes(void)
{
	struct cut_limits limits = {
		.rows = 2000, .cells = LIMIT_CELLS, .bytes = LIMIT_SET, .deletes = true};
	bool any;

	arena_free(&arena);
	OK(cutter_next(cutter, &limits, next_cut_id++, &arena, &cut, &any, &err));
	return any ? shown() : cut.more ? "more" : "none";
}

/* Deletes go up by themselves; what stands between them stays pending, and is cut later. */
static void test_deletes_alone(void **state)
{
	(void)state;
	merge_table();
	run("INSERT INTO t(id) VALUES(1), (2), (3), (5), (6), (8)");
	assert_true(cut_all());
	settle(cut.number);
	run("INSERT INTO t VALUES(0, 1, 1), (4, 4, 4), (7, 7, 7), (9, 9, 9)");
	run("DELETE FROM t WHERE id IN (2, 3, 5, 8); UPDATE t SET a = 1 WHERE id = 1");
	assert_string_equal(next_deletes(), "t 2-; 3-");
	assert_string_equal(next_deletes(), "t 5-");
	run("DELETE FROM t WHERE id = 6; UPDATE t SET b = 2 WHERE id = 1");
	assert_string_equal(next_deletes(), "t 6-");
	settle(cut.number - 2);
	assert_string_equal(next_deletes(), "t 8-");
	assert_string_equal(next_deletes(), "none");
	assert_string_equal(next_deletes(), "none");
	/* Later writes to what was just sent are pending like all that was passed over. */
	run("INSERT INTO t VALUES(2, 2, 2)");
	expect_cut("t 0+ 0=1 1=1; 1 0=1 1=2; 2+ 0=2 1=2; 4+ 0=4 1=4; 7+ 0=7 1=7; 9+ 0=9 1=9");
	uint64_t last = cut.number;
	expect_nothing();
	settle(last - 1);
	assert_string_equal(one("SELECT count(DISTINCT k0) FROM neap_m1"), "6");
	settle(last);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

/* They are looked for in pieces, so that nobody waits long for the lock. */
static void test_deletes_behind_a_backlog(void **state)
{
	bool any;

	(void)state;
	merge_table();
	run("INSERT INTO t(id) VALUES(9000)");
	assert_true(cut_all());
	settle(cut.number);
	run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
	    " INSERT INTO t SELECT i, i, i FROM n; DELETE FROM t WHERE id = 9000");
	assert_string_equal(next_deletes(), "more");
	assert_string_equal(next_deletes(), "more");
	assert_string_equal(next_deletes(), "t 9000-");
	settle(cut.number);
	assert_string_equal(next_deletes(), "none");
	for (int i = 0; i < 3; i++) {
		assert_true(cut_limited(2000, LIMIT_SET));
		settle(cut.number);
	}
	assert_false(cut_all());
	OK(cut_any_pending(d, &any, &err));
	assert_false(any);
}

/* A row that no set can hold is kept as rejected and holds up nothing. */
static void test_too_large_a_row(void **state)
{
	bool any;

	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1), (2, zeroblob(3670017), 1), (3, 3, 3)");
	expect_cut("t 1+ 0=1 1=1; 3+ 0=3 1=3");
	assert_string_equal(one("SELECT text FROM neap_rejected"), "{\"id\": 2}");
	settle(1);
	OK(cut_any_pending(d, &any, &err));
	assert_false(any);
	run("UPDATE t SET a = 'short' WHERE id = 2");
	expect_cut("t 2 0=short");
	assert_string_equal(one("SELECT count(*) FROM neap_rejected"), "0");
	run("UPDATE t SET a = zeroblob(3500000), b = zeroblob(3500000) WHERE id = 1");
	expect_nothing();
	assert_string_equal(one("SELECT group_concat(text) FROM neap_rejected"), "{\"id\": 1}");
}

static void test_too_large_append_rows(void **state)
{
	bool any;

	(void)state;
	append_table();
	run("INSERT INTO a VALUES(1, zeroblob(4000000)), (2, 'x')");
	expect_cut("a 1.2(2) 0=x");
	run("INSERT INTO a VALUES(3, zeroblob(4000000))");
	expect_nothing();
	settle(1);
	expect_nothing();
	OK(cut_any_pending(d, &any, &err));
	assert_false(any);
	run("INSERT OR REPLACE INTO a VALUES(1, 'now'), (2, zeroblob(4000000))");
	expect_cut("a 2.1(1) 0=now");
	settle(2);
	OK(cut_any_pending(d, &any, &err));
	assert_false(any);
	assert_string_equal(one("SELECT group_concat(text, ' ') FROM neap_rejected"),
			    "{\"id\": 3} {\"id\": 2}");
}

static int refuse_commit(void *ctx)
{
	(void)ctx;
	return 1;
}

/* A transaction that fails at its very end leaves file and passes as they were. */
static void test_a_commit_that_fails(void **state)
{
	struct cut_limits limits = {.rows = 2, .cells = LIMIT_CELLS, .bytes = LIMIT_SET};
	bool any;

	(void)state;
	merge_table();
	append_table();
	run("INSERT INTO t VALUES(1, 1, 1), (2, 2, 2), (3, 3, 3); INSERT INTO a VALUES(1, 'x'), "
	    "(2, 'y'),"
	    " (3, 'z')");
	for (int i = 0; i < 4; i++) {
		sqlite3_commit_hook(db_handle(d->db), refuse_commit, NULL);
		assert_int_not_equal(cutter_next(cutter, &limits, 5, &arena, &cut, &any, &err), 0);
		assert_false(any);
		sqlite3_commit_hook(db_handle(d->db), NULL, NULL);
		assert_true(cut_limited(2, LIMIT_SET));
		assert_int_equal(cut.number, i + 1);
		assert_string_equal(shown(), i == 0   ? "t 1+ 0=1 1=1; 2+ 0=2 1=2"
					     : i == 1 ? "t 3+ 0=3 1=3"
					     : i == 2 ? "a 1.1(1) 0=x; 1.2(2) 0=y"
						      : "a 1.3(3) 0=z");
	}
	expect_nothing();
	sqlite3_commit_hook(db_handle(d->db), refuse_commit, NULL);
	OK(devdb_begin(d, &err));
	OK(cut_settle(d, 4, &err));
	assert_int_not_equal(devdb_commit(d, &err), NE_OK);
	sqlite3_commit_hook(db_handle(d->db), NULL, NULL);
	devdb_rollback(d);
	assert_string_equal(one("SELECT count(*) FROM neap_inflight"), "4");
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "3");
}

/* What the files hold when a cut returns is what a power cut leaves. */
static void test_durable_on_return(void **state)
{
	char command[512], copy[96];
	struct devdb *after;
	struct cut_inflight list[2];
	size_t n;

	(void)state;
	merge_table();
	run("INSERT INTO t VALUES(1, 1, 1)");
	assert_true(cut_all());
	snprintf(copy, sizeof copy, "%s/copy.db", dir);
	snprintf(command, sizeof command, "cp %s %s && cp %s-wal %s-wal", path, copy, path, copy);
	assert_int_equal(system(command), 0);
	OK(devdb_open(&after, copy, NULL, &err));
	OK(cut_list(after, list, 2, &n, &err));
	assert_int_equal(n, 1);
	assert_int_equal(list[0].number, cut.number);
	assert_int_equal(list[0].cut, cut.cut);
	devdb_close(after);
}

/* What is looked at grows with the marks, never with the app's tables. */
static void test_no_scan_of_the_apps_tables(void **state)
{
	char plan[512];
	sqlite3_stmt *s = NULL;
	int seen = 0;

	(void)state;
	run("CREATE TABLE t(k TEXT COLLATE NOCASE, n, v UNIQUE, PRIMARY KEY(k, n));"
	    "CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE b(k TEXT PRIMARY KEY, v)");
	track("t", false);
	track("a", true);
	track("b", true);
	for (int i = 0; i < 2; i++) {
		run("INSERT OR REPLACE INTO t VALUES('x', 1, 1), ('y', 2, 2), ('z', 3, 3);"
		    "INSERT OR REPLACE INTO a VALUES(1, 1), (9, 9); INSERT OR REPLACE INTO b "
		    "VALUES('k', 1)");
		while (cut_limited(2, LIMIT_SET))
			;
	}
	settle(100);
	while ((s = sqlite3_next_stmt(db_handle(d->db), s))) {
		sqlite3_stmt *q;
		char sql[4096];

		if (!strstr(sqlite3_sql(s), "neap_m") || sqlite3_stmt_isexplain(s) ||
		    strncmp(sqlite3_sql(s), "CREATE", 6) == 0)
			continue;
		snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", sqlite3_sql(s));
		assert_int_equal(sqlite3_prepare_v2(app, sql, -1, &q, NULL), SQLITE_OK);
		while (sqlite3_step(q) == SQLITE_ROW) {
			snprintf(plan, sizeof plan, "%s", (const char *)sqlite3_column_text(q, 3));
			if (strncmp(plan, "SCAN x", 6) == 0 || strncmp(plan, "SCAN t", 6) == 0 ||
			    strncmp(plan, "SCAN a", 6) == 0 || strncmp(plan, "SCAN b", 6) == 0 ||
			    strstr(plan, "TEMP B-TREE"))
				fail_msg("%s: %s", sql, plan);
			seen++;
		}
		sqlite3_finalize(q);
	}
	assert_true(seen >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_insert_update_delete),
		T(test_existing_rows_have_the_lowest_stamp),
		T(test_a_row_in_place_of_a_parked_one),
		T(test_settle_clears_only_what_was_carried),
		T(test_settle_is_cumulative),
		T(test_stamps_after_a_cut_are_later),
		T(test_restart_cuts_again_under_the_same_stamps),
		T(test_a_new_cutter_waits_for_what_is_in_flight),
		T(test_limits_and_passes),
		T(test_byte_limit_takes_one_row_at_least),
		T(test_written_again_behind_the_pass),
		T(test_nothing_left_ahead_of_the_pass),
		T(test_priorities),
		T(test_tables_not_to_be_compressed_go_in_sets_of_their_own),
		T(test_displaced_through_unique),
		T(test_displaced_and_inserted_again),
		T(test_nocase_key_changes_case),
		T(test_marks_of_another_site_keep_it),
		T(test_broken_capture_is_not_cut),
		T(test_append_by_key),
		T(test_append_changes_before_the_cut),
		T(test_append_at_or_below_the_high_water),
		T(test_numbers_of_deleted_rows_go),
		T(test_a_key_that_moved_up_is_given_again),
		T(test_append_keeps_identity_after_restart),
		T(test_append_key_moves),
		T(test_append_with_another_key),
		T(test_append_limits),
		T(test_append_negative_and_extreme_keys),
		T(test_pending_stats),
		T(test_state_goes_before_a_backlog),
		T(test_pending_bytes_of_mixed_rows),
		T(test_a_cut_that_fails_gives_out_nothing),
		T(test_deletes_alone),
		T(test_deletes_behind_a_backlog),
		T(test_too_large_a_row),
		T(test_too_large_append_rows),
		T(test_a_commit_that_fails),
		T(test_durable_on_return),
		T(test_no_scan_of_the_apps_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
