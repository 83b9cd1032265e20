/* When the engine deletes by the tables' policies: by itself, by the server's time, in small steps.
 */
#include "device/core/engine_bench.h"

enum { DAY_MS = 24 * 3600 * 1000, PAUSE_MS = 20 };

static void track_log(struct bench *b, struct policy p)
{
	struct track_options o = {.append = true, .priority = 7, .policy = p};
	struct err e;

	if (track_table(engine_devdb(b->en), "log", &o, &e))
		fail_msg("%s", e.text);
}

static const char log_ddl[] = "CREATE TABLE log(id INTEGER PRIMARY KEY, v)";

static void write_rows(struct bench *b, int n)
{
	char sql[200];

	snprintf(
		sql, sizeof sql,
		"WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT %d) INSERT INTO log(v) "
		"SELECT i FROM c",
		n);
	test_sql(&b->db, sql);
	happen(b, EV_LOCAL);
}

static int rows(struct bench *b)
{
	return atoi(test_query(&b->db, "SELECT count(*) FROM log"));
}

/* Steps as the engine asks for them, for `ms` or until nothing is due. */
static void let_pass(struct bench *b, uint64_t ms)
{
	uint64_t until = b->mono_ms + ms;

	while (engine_deadline_ms(b->en) <= until)
		wait_deadline(b);
	b->mono_ms = until;
}

/* Offline, one burst of writes and then nothing: the bound holds all the same. */
static void test_the_bound_on_pending_rows_holds_without_another_write(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, log_ddl);
	track_log(&b, (struct policy){.pending_rows = 160, .drop_oldest = true});
	happen(&b, EV_LOCAL);
	let_pass(&b, 5000);
	write_rows(&b, 200);
	assert_int_equal(rows(&b), 200);
	let_pass(&b, 15000);
	/* Down to a sixteenth below it, the oldest first. */
	assert_int_equal(rows(&b), 150);
	assert_string_equal(test_query(&b.db, "SELECT min(id) FROM log"), "51");
	/* Nothing is due any more. */
	assert_true(engine_deadline_ms(b.en) > b.mono_ms + 3600000);
	end(&b);
}

static void acknowledge_all(struct bench *b)
{
	uint64_t number = 0;

	for (size_t i = 0; i < b->n_sent; i++)
		if (b->sent[i].type == FRAME_SET)
			number = b->sent[i].set.number;
	assert_true(number > 0);
	give_ack(b, number, 0, 0);
	assert_int_equal(status(b).pending_rows, 0);
}

static void test_age_by_the_servers_time(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, log_ddl);
	track_log(&b, (struct policy){.keep_ms = DAY_MS});
	first_sync(&b, 0);
	write_rows(&b, 50);
	acknowledge_all(&b);
	let_pass(&b, DAY_MS / 2);
	assert_int_equal(rows(&b), 50);
	/* A row may stay a 64th longer; the one with the greatest key stays. */
	let_pass(&b, DAY_MS / 2 + DAY_MS / 32);
	assert_int_equal(rows(&b), 1);
	end(&b);
}

/* Many rows go in steps, with pauses between in which the app's writers get in. */
static void test_in_steps_with_pauses(void **state)
{
	struct bench b;
	int before, steps = 0;

	(void)state;
	begin(&b, log_ddl);
	track_log(&b, (struct policy){.keep_rows = 10});
	first_sync(&b, 0);
	write_rows(&b, 3000);
	acknowledge_all(&b);
	for (int i = 0; rows(&b) > 11 && i < 1000; i++) {
		uint64_t began_ms = b.mono_ms;
		before = rows(&b);
		wait_deadline(&b);
		assert_true(before - rows(&b) <= 1000);
		if (rows(&b) < before && steps++)
			assert_true(b.mono_ms - began_ms >= PAUSE_MS);
	}
	assert_in_range(rows(&b), 10, 11);
	assert_true(steps >= 3);
	end(&b);
}

/* A lock that the app holds delays deleting, and nothing else. */
static void test_a_lock_delays_it(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, log_ddl);
	track_log(&b, (struct policy){.keep_rows = 10});
	first_sync(&b, 0);
	write_rows(&b, 100);
	acknowledge_all(&b);
	sqlite3_busy_timeout(db_handle(engine_devdb(b.en)->db), 0);
	test_sql(&b.db, "BEGIN IMMEDIATE");
	let_pass(&b, 5000);
	assert_int_equal(rows(&b), 100);
	assert_int_equal(status(&b).problem, NE_OK);
	test_sql(&b.db, "COMMIT");
	let_pass(&b, 5000);
	assert_in_range(rows(&b), 10, 11);
	end(&b);
}

/* Without a policy nothing is ever due for it. */
static void test_nothing_without_a_policy(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, log_ddl);
	track_log(&b, (struct policy){0});
	happen(&b, EV_LOCAL);
	write_rows(&b, 50);
	assert_true(engine_deadline_ms(b.en) == UINT64_MAX);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_bound_on_pending_rows_holds_without_another_write),
		cmocka_unit_test(test_age_by_the_servers_time),
		cmocka_unit_test(test_in_steps_with_pauses),
		cmocka_unit_test(test_a_lock_delays_it),
		cmocka_unit_test(test_nothing_without_a_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
