#include "device/core/keep.h"

#include "device/core/capture_fixture.h"
#include "device/core/lost.h"

#define DAY ((int64_t)24 * 3600 * 1000)

static const struct cut_limits limits = {.rows = 2000, .cells = LIMIT_CELLS, .bytes = 1 << 20};

static void track_keep(const char *table, struct policy p)
{
	struct track_options o = {.append = true, .priority = 7, .policy = p};

	OK(track_table(d, table, &o, &err));
}

/* Cuts one set; its number, or 0. */
static uint64_t cut(void)
{
	struct cut c;
	bool any;

	arena_free(&arena);
	arena.max = 64 << 20;
	OK(cutter_next(cutter, &limits, 5, &arena, &c, &any, &err));
	return any ? c.number : 0;
}

/* All that is pending is acknowledged. */
static void send_all(void)
{
	uint64_t n;

	while ((n = cut()) != 0)
		settle(n);
}

/* Steps until there is nothing to do; no step may write more than a few hundred rows. */
static size_t keep_at(int64_t ms)
{
	struct kept k = {.more = true};
	size_t deleted = 0;

	for (int i = 0; k.more; i++) {
		assert_true(i < 10000);
		OK(keep_step(d, (struct keep_clock){.known = true, .ms = ms}, &k, &err));
		assert_true(k.deleted <= 250);
		deleted += k.deleted;
	}
	return deleted;
}

static const char fill[] = "WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 1000) "
			   "INSERT INTO r(v) SELECT i FROM c";

static void test_age_counts_from_the_acknowledgement(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_ms = DAY});
	run(fill);
	send_all();
	assert_int_equal(keep_at(10 * DAY), 0);
	run(fill);
	/* A day is over for the first thousand; the second was never sent. */
	assert_int_equal(keep_at(11 * DAY), 1000);
	assert_string_equal(one("SELECT min(id) || ' ' || count(*) FROM r"), "1001 1000");
	assert_int_equal(keep_at(99 * DAY), 0);
	send_all();
	assert_int_equal(keep_at(100 * DAY), 0);
	assert_int_equal(keep_at(100 * DAY + DAY / 2), 0);
	assert_int_equal(keep_at(101 * DAY), 999); /* the newest row holds its key */
	run("INSERT INTO r(v) VALUES('new')");
	assert_string_equal(one("SELECT max(id) FROM r"), "2001");
	/* What was deleted is not pending, and nothing goes up for it. */
	assert_int_equal(cut(), 2 + 1);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
}

static void test_without_the_servers_time_nothing_is_old(void **state)
{
	struct kept k;

	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_ms = 1000});
	run(fill);
	send_all();
	assert_int_equal(keep_at(1000), 0);
	OK(keep_step(d, (struct keep_clock){.known = false}, &k, &err));
	assert_false(k.more);
	assert_int_equal(k.due_ms, 0);
	OK(keep_step(d, (struct keep_clock){.known = true, .ms = 1500}, &k, &err));
	assert_int_equal(k.due_ms, 2000);
}

static void test_rows(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_rows = 1500});
	for (int i = 0; i < 5; i++)
		run(fill);
	assert_int_equal(keep_at(1), 0);
	send_all();
	assert_int_equal(keep_at(1), 3500);
	assert_string_equal(one("SELECT min(id) || ' ' || count(*) FROM r"), "3501 1500");
	run("DELETE FROM r WHERE id < 4001");
	run(fill);
	send_all();
	keep_at(1);
	assert_string_equal(one("SELECT max(id) FROM r"), "6000");
	assert_in_range(atoi(one("SELECT count(*) FROM r")), 1400, 1500);
}

static void test_bytes(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_bytes = 100000});
	run("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 50) "
	    "INSERT INTO r(v) SELECT zeroblob(4992) FROM c");
	send_all();
	assert_int_equal(keep_at(1), 30);
	assert_string_equal(one("SELECT sum(length(v) + 8) FROM r"), "100000");
}

static void test_other_keys_go_by_their_numbers(void **state)
{
	(void)state;
	run("CREATE TABLE r(a TEXT COLLATE NOCASE, b INT, v, PRIMARY KEY(a, b)) WITHOUT ROWID");
	track_keep("r", (struct policy){.keep_ms = DAY});
	run("INSERT INTO r VALUES('z', 1, 'old'), ('B', 2, 'old'), ('m', 3, 'old')");
	send_all();
	assert_int_equal(keep_at(DAY), 0);
	run("INSERT INTO r VALUES('a', 1, 'new'), ('n', 1, 'new')");
	send_all();
	assert_int_equal(keep_at(DAY + DAY / 2), 0);
	run("UPDATE r SET a = 'b' WHERE a = 'B'; DELETE FROM r WHERE a = 'm';"
	    "INSERT INTO r VALUES('m', 3, 'again')");
	assert_int_equal(keep_at(2 * DAY), 2);
	assert_string_equal(one("SELECT group_concat(a || v) FROM r"), "anew,magain,nnew");
	send_all();
	assert_int_equal(keep_at(3 * DAY), 2);
	assert_int_equal(keep_at(9 * DAY), 1);
	assert_string_equal(one("SELECT count(*) FROM neap_m1"), "0");
	assert_string_equal(one("SELECT count(*) FROM neap_acked"), "0");
}

/* Keys below the greatest one: rows that came later than their key says. */
static void test_keys_given_again(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_ms = DAY});
	run("INSERT INTO r VALUES(100, 'old'), (200, 'old')");
	send_all();
	keep_at(DAY);
	run("INSERT INTO r VALUES(50, 'late'), (150, 'late')");
	assert_int_equal(keep_at(2 * DAY), 1); /* 100; pending rows stay, and the greatest key */
	send_all();
	assert_int_equal(keep_at(2 * DAY + DAY / 2), 0);
	assert_int_equal(keep_at(4 * DAY), 2);
	assert_string_equal(one("SELECT group_concat(id) FROM r"), "200");
}

static void test_what_was_refused_stays(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_ms = DAY});
	run("INSERT INTO r VALUES(1, 'a'), (2, zeroblob(4000000)), (3, 'b'), (4, 'c')");
	send_all();
	assert_string_equal(one("SELECT count(*) FROM neap_rejected"), "1");
	keep_at(DAY);
	assert_int_equal(keep_at(2 * DAY), 2);
	assert_string_equal(one("SELECT group_concat(id) FROM r"), "2,4");
}

/* Answers for a server that has nothing. */
static void server_has_nothing(void)
{
	struct lost_question q;
	enum lost_todo todo;

	for (;;) {
		OK(lost_next(d, 7, &todo, &q, &err));
		if (todo == LOST_NOTHING)
			return;
		if (todo == LOST_ASK)
			OK(lost_answer(d, &q, &(struct lost_known){.upto = q.upto}, &err));
	}
}

/* A lost store: what was acknowledged is pending again, and not deleted. */
static void test_lost_rows_are_pending(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v); CREATE TABLE q(k TEXT PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_ms = DAY});
	track_keep("q", (struct policy){.keep_ms = DAY});
	run("INSERT INTO r VALUES(1, 'a'), (2, 'b'); INSERT INTO q VALUES('x', 1)");
	send_all();
	keep_at(DAY);
	OK(devdb_begin(d, &err));
	OK(lost_begin(d, &err));
	OK(cutter_restart(cutter, &err));
	OK(devdb_commit(d, &err));
	assert_int_equal(keep_at(98 * DAY), 0);
	server_has_nothing();
	assert_int_equal(keep_at(99 * DAY), 0);
	assert_int_equal(one("SELECT count(*) FROM neap_m2 WHERE n > 0")[0], '1');
	send_all();
	assert_int_equal(keep_at(100 * DAY), 0);
	assert_int_equal(keep_at(101 * DAY), 2);
}

/* The number of notes is bounded, and a step costs no more in a large table. */
static void test_notes_are_few(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.keep_ms = 64000});
	for (int i = 1; i <= 3000; i++) {
		run("INSERT INTO r(v) VALUES(1)");
		send_all();
		keep_at(100 * i);
		assert_in_range(atoi(one("SELECT count(*) FROM neap_acked")), 1, 70);
	}
	assert_in_range(atoi(one("SELECT count(*) FROM r")), 640, 660);
}

static void test_options(void **state)
{
	struct track_options o = {.priority = 5, .policy = {.keep_ms = 5}};

	(void)state;
	run("CREATE TABLE r(k TEXT PRIMARY KEY, v); INSERT INTO r VALUES('a', 1)");
	assert_int_equal(track_table(d, "r", &o, &err), NE_USAGE);
	track_keep("r", (struct policy){.keep_ms = 5});
	send_all();
	keep_at(1);
	track_keep("r", (struct policy){0});
	assert_string_equal(one("SELECT (SELECT count(*) FROM neap_m1) + (SELECT count(*) FROM "
				"neap_acked)"),
			    "0");
	assert_int_equal(keep_at(100), 0);
}

static uint64_t mono_ms = 20000;

/* Looks until there is nothing to do, a second later than last time. */
static void drop(void)
{
	uint64_t due_ms;

	mono_ms += 1000;
	for (int i = 0;; i++) {
		assert_true(i < 10000);
		OK(keep_drop_pending(d, 777, mono_ms, &due_ms, &err));
		if (due_ms > mono_ms)
			return;
	}
}

static void test_above_its_bound_the_oldest_pending_go(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.pending_rows = 1600, .drop_oldest = true});
	run(fill);
	send_all();
	drop();
	run(fill);
	assert_int_equal(cut(), 2); /* in flight: stays */
	run("INSERT INTO r(v) VALUES('first')");
	drop();
	assert_string_equal(one("SELECT dropped_rows FROM neap_policy"), "0");
	mono_ms += 10000;
	run(fill);
	drop();
	/* 2001 pending; down to a sixteenth below the bound, from what was never sent. */
	assert_string_equal(one("SELECT dropped_rows || ' ' || dropped_ms FROM neap_policy"),
			    "501 777");
	assert_string_equal(one("SELECT count(*) || ' ' || (SELECT min(id) FROM r WHERE id > 2000) "
				"FROM r WHERE id > 1000"),
			    "1500 2502");
	/* What is left goes up. */
	settle(2);
	send_all();
	assert_string_equal(one("SELECT count(*) FROM neap_inflight"), "0");
	drop();
	assert_string_equal(one("SELECT dropped_rows FROM neap_policy"), "501");
}

/* Rows acknowledged meanwhile are not held against the app: it is counted anew before. */
static void test_what_was_sent_meanwhile_is_not_dropped(void **state)
{
	(void)state;
	run("CREATE TABLE r(id INTEGER PRIMARY KEY, v)");
	track_keep("r", (struct policy){.pending_rows = 1500, .drop_oldest = true});
	for (int i = 0; i < 5; i++) {
		run(fill);
		drop();
		send_all();
	}
	assert_string_equal(one("SELECT dropped_rows FROM neap_policy"), "0");
	assert_string_equal(one("SELECT count(*) FROM r"), "5000");
}

static void test_other_keys_are_bounded_too(void **state)
{
	(void)state;
	run("CREATE TABLE r(k TEXT PRIMARY KEY, v)");
	track_keep("r", (struct policy){.pending_bytes = 16000, .drop_oldest = true});
	run("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 20) "
	    "INSERT INTO r SELECT printf('%08d', 99999 - i), zeroblob(992) FROM c");
	drop();
	assert_string_equal(one("SELECT count(*) || ' ' || max(k) FROM r"), "15 00099993");
	assert_string_equal(one("SELECT dropped_rows FROM neap_policy"), "5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_age_counts_from_the_acknowledgement),
		T(test_without_the_servers_time_nothing_is_old),
		T(test_rows),
		T(test_bytes),
		T(test_other_keys_go_by_their_numbers),
		T(test_keys_given_again),
		T(test_what_was_refused_stays),
		T(test_lost_rows_are_pending),
		T(test_notes_are_few),
		T(test_options),
		T(test_above_its_bound_the_oldest_pending_go),
		T(test_what_was_sent_meanwhile_is_not_dropped),
		T(test_other_keys_are_bounded_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
