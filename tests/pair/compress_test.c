/*
 * Tables that are not to be compressed: what goes by on either way has the same size whatever the
 * values are, as long as they are as long; nothing of it is in a compressed frame.
 */
#include "tests/pair/pair.h"

static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, secret, pin, chosen);"
			     "CREATE TABLE plain(id INTEGER PRIMARY KEY, a)";

enum { ROWS = 10 }; /* few enough that no frame goes in parts */

/* What the frames that carry rows took. */
struct sizes {
	uint64_t set, change, page, conflicts;
};

static void track_secret(struct pair *p, int i, bool uncompressed)
{
	struct track_options o = {.priority = 5, .uncompressed = uncompressed};

	PAIR_OK(p, track_table(engine_devdb(p->dev[i].en), "t", &o, &p->e));
}

/* Rows of `secret` beside as many of what somebody chose to be like it, or not. */
static void write_rows(struct pair *p, int i, bool alike)
{
	char sql[512];

	snprintf(sql, sizeof sql,
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t "
		 "SELECT i, 'correct horse battery staple', %s, %s FROM n",
		 ROWS, alike ? "4711" : "i * 1234567891",
		 alike ? "'correct horse battery staple'" : "substr(hex(randomblob(14)), 1, 28)");
	pair_app(p, i, sql);
}

static struct sizes traffic(const struct pair *p)
{
	return (struct sizes){p->frame_bytes[FRAME_SET], p->frame_bytes[FRAME_CHANGE],
			      p->frame_bytes[FRAME_PAGE], p->frame_bytes[FRAME_CONFLICTS]};
}

/* One device writes, one is told, a third pulls and loses what it had. */
static struct sizes exchange(bool uncompressed, bool alike)
{
	struct pair *p = pair_new();
	const char *all = "SELECT count(*), sum(length(chosen)) FROM t";

	for (int i = 0; i < 2; i++) {
		pair_device(p, schema);
		track_secret(p, i, uncompressed);
	}
	pair_sync_all(p);
	write_rows(p, 0, alike);
	pair_sync_all(p);
	pair_device(p, schema);
	write_rows(p, 2, !alike);
	track_secret(p, 2, uncompressed);
	pair_sync_all(p);
	for (int i = 1; i < 3; i++)
		assert_string_equal(pair_show(p, i, all), pair_show(p, 0, all));
	for (int i = FRAME_SET; uncompressed && i <= FRAME_HEAD; i++)
		assert_int_equal(p->compressed[i], 0);
	struct sizes s = traffic(p);
	pair_free(p);
	return s;
}

static void test_sizes_tell_nothing_of_what_values_have_in_common(void **state)
{
	struct sizes a = exchange(true, true), b = exchange(true, false);
	(void)state;

	print_message("set %zu, change %zu, page %zu, conflicts %zu\n", (size_t)a.set,
		      (size_t)a.change, (size_t)a.page, (size_t)a.conflicts);
	assert_true(a.set > 0 && a.change > 0 && a.page > 0 && a.conflicts > 0);
	assert_int_equal(a.set, b.set);
	assert_int_equal(a.change, b.change);
	assert_int_equal(a.page, b.page);
	assert_int_equal(a.conflicts, b.conflicts);
	/* The same, compressed: any of them would tell. */
	a = exchange(false, true);
	b = exchange(false, false);
	assert_true(b.set > a.set + ROWS);
	assert_true(b.change > a.change + ROWS);
	assert_true(b.page > a.page + ROWS);
}

/* The server's own transaction over both kinds of table is one message, and not compressed. */
static void test_an_operators_transaction(void **state)
{
	struct pair *p = pair_new();
	(void)state;

	for (int i = 0; i < 2; i++) {
		pair_device(p, schema);
		/* One device that says so is enough for what goes to all of the user. */
		track_secret(p, i, i == 0);
		pair_track(p, i, "plain", false);
	}
	write_rows(p, 0, true);
	pair_app(p, 0,
		 "INSERT INTO plain SELECT id, hex(randomblob(60)) || hex(zeroblob(60)) FROM t");
	pair_sync_all(p);
	assert_int_equal(p->compressed[FRAME_SET], 1); /* that of `plain` */
	memset(p->compressed, 0, sizeof p->compressed);
	pair_exec(p->sql, "BEGIN; UPDATE t SET chosen = 'x' WHERE id < 9; UPDATE plain SET a = "
			  "hex(zeroblob(300)) WHERE id < 9; COMMIT");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, 1, "SELECT count(*) FROM t WHERE chosen = 'x'"), "8");
	assert_string_equal(pair_show(p, 1, "SELECT count(*) FROM plain WHERE length(a) = 600"),
			    "8");
	assert_int_equal(p->compressed[FRAME_CHANGE], 0);
	pair_exec(p->sql, "UPDATE plain SET a = hex(zeroblob(301)) WHERE id < 9");
	pair_sync_all(p);
	assert_int_equal(p->compressed[FRAME_CHANGE], 2);
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_tell_nothing_of_what_values_have_in_common),
		cmocka_unit_test(test_an_operators_transaction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
