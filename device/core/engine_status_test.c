/*
 * Each state that the engine itself tells: with its reason, what to do, and the code with which a
 * sync ends; and that it goes away again. docs/states.md has the list.
 */
#include "device/core/engine_bench.h"

static void begin_synced(struct bench *b)
{
	begin(b, ddl);
	track(b);
	first_sync(b, 0);
}

static const struct engine_trouble *trouble(struct bench *b, const char *state)
{
	static struct engine_status st;

	st = status(b);
	for (size_t i = 0; i < st.n_trouble; i++)
		if (!strcmp(st.trouble[i].state, state))
			return &st.trouble[i];
	return NULL;
}

/* It is told with `code`, and its texts have these words in them. */
static void expect(struct bench *b, const char *state, int code, const char *reason,
		   const char *next_step)
{
	const struct engine_trouble *t = trouble(b, state);

	if (!t)
		fail_msg("%s is not told", state);
	assert_int_equal(t->code, code);
	if (!strstr(t->reason, reason))
		fail_msg("%s: '%s' is not in: %s", state, reason, t->reason);
	if (!strstr(t->next_step, next_step))
		fail_msg("%s: '%s' is not in: %s", state, next_step, t->next_step);
}

static void expect_none(struct bench *b)
{
	const struct engine_status st = status(b);

	if (st.n_trouble)
		fail_msg("%s is still told", st.trouble[0].state);
	assert_int_equal(st.problem, NE_OK);
}

static void test_rows_that_do_not_fit(void **state)
{
	struct bench b;

	(void)state;
	begin_synced(&b);
	expect_none(&b);
	test_sql(&b.db, "INSERT INTO neap_rejected(table_id, key, reason) VALUES(1, x'00', 'why')");
	expect(&b, "rows-rejected", NE_ROWS, "table t: why", "neap rejected");
	assert_int_equal(status(&b).problem, NE_ROWS);
	test_sql(&b.db, "DELETE FROM neap_rejected");
	test_sql(&b.db,
		 "INSERT INTO neap_parked(table_id, key, reason) VALUES(1, x'00', 'UNIQUE')");
	expect(&b, "rows-parked", NE_ROWS, "does not fit table t: UNIQUE", "neap rejected");
	test_sql(&b.db, "DELETE FROM neap_parked");
	expect_none(&b);
	end(&b);
}

static void test_what_is_only_told(void **state)
{
	struct bench b;

	(void)state;
	begin_synced(&b);
	test_sql(&b.db, "INSERT INTO neap_conflict(table_id, text) VALUES(1, 'c')");
	expect(&b, "conflicts", NE_OK, "1 values of this device lost", "neap conflicts");
	test_sql(&b.db, "DELETE FROM neap_conflict");
	test_sql(&b.db, "UPDATE neap_clock SET offset_ms = -400000");
	expect(&b, "clock-far-off", NE_OK, "6 minutes ahead of", "set the clock");
	test_sql(&b.db, "UPDATE neap_clock SET offset_ms = 3 * 3600000");
	expect(&b, "clock-far-off", NE_OK, "3 hours behind", "set the clock");
	assert_int_equal(status(&b).problem, NE_OK);
	test_sql(&b.db, "UPDATE neap_clock SET offset_ms = 299000");
	expect_none(&b);
	test_sql(&b.db, "UPDATE neap_policy SET dropped_rows = 5");
	expect(&b, "rows-dropped", NE_OK, "5 rows of table t were deleted unsent", "higher bound");
	test_sql(&b.db, "UPDATE neap_policy SET dropped_rows = 0");
	expect_none(&b);
	end(&b);
}

static void test_pending_above_the_bound(void **state)
{
	struct track_options o = {.priority = 5, .policy.pending_rows = 2};
	struct bench b;
	struct err e;

	(void)state;
	begin_synced(&b);
	assert_int_equal(track_table(engine_devdb(b.en), "t", &o, &e), 0);
	happen(&b, EV_LINK_DOWN);
	test_sql(&b.db, "INSERT INTO t(id, a) VALUES(71, 1), (72, 2)");
	happen(&b, EV_LOCAL);
	expect_none(&b);
	test_sql(&b.db, "INSERT INTO t(id, a) VALUES(73, 3)");
	happen(&b, EV_LOCAL);
	expect(&b, "pending-over-bound", NE_OK, "table t has 3 rows", "all rows are kept");
	assert_int_equal(status(&b).problem, NE_OK);
	test_sql(&b.db, "DELETE FROM t WHERE id = 73; DELETE FROM neap_m1 WHERE k0 = 73");
	expect_none(&b);
	end(&b);
}

static void test_capture_that_is_lost(void **state)
{
	struct bench b;

	(void)state;
	begin_synced(&b);
	test_sql(&b.db, "DROP TRIGGER neap_m1_ins");
	happen(&b, EV_LOCAL);
	expect(&b, "comparing", NE_CAPTURE, "capture of table t was lost", "sync");
	assert_int_equal(status(&b).problem, NE_CAPTURE);
	test_sql(&b.db, "DROP TABLE t");
	happen(&b, EV_LOCAL);
	expect(&b, "capture-broken", NE_CAPTURE, "capture of table t is broken", "neap track");
	assert_int_equal(status(&b).problem, NE_CAPTURE);
	end(&b);
}

/* BEGIN held for long: said so, and over once it ends. */
static void test_a_held_lock(void **state)
{
	struct bench b;

	(void)state;
	begin_synced(&b);
	test_sql(&b.db, "INSERT INTO t(id, a) VALUES(1, 1)");
	test_sql(&b.db, "BEGIN IMMEDIATE");
	sqlite3_busy_timeout(db_handle(engine_devdb(b.en)->db), 0);
	happen(&b, EV_LOCAL);
	expect_none(&b);
	b.mono_ms += 5000;
	happen(&b, EV_TICK);
	expect(&b, "database-locked", NE_BUSY, "held the database's write lock for 5 s",
	       "end that program's transaction");
	test_sql(&b.db, "COMMIT");
	b.mono_ms += 5000;
	happen(&b, EV_TICK);
	assert_non_null(find(&b, FRAME_SET));
	expect_none(&b);
	end(&b);
}

/* A page cannot be applied; what needs no lock succeeds meanwhile. */
static void test_a_held_lock_while_others_change(void **state)
{
	struct event ev = {.type = EV_DOWN};
	struct buf plain = {.max = LIMIT_FRAME};
	struct frame f;
	struct bench b;
	struct err e;

	(void)state;
	begin_synced(&b);
	give_head(&b, 1);
	while (!find(&b, FRAME_PULL))
		wait_deadline(&b);
	f = page(find(&b, FRAME_PULL), 1, 1);
	assert_int_equal(frame_encode(&f, &plain, &e), 0);
	ev.frame = buf_slice(&plain);
	test_sql(&b.db, "BEGIN IMMEDIATE");
	sqlite3_busy_timeout(db_handle(engine_devdb(b.en)->db), 0);
	for (int i = 0; i < 5; i++) {
		b.mono_ms += 1000;
		ev.mono_ms = b.mono_ms;
		assert_int_equal(engine_step(b.en, &ev, &b.acts, &e), NE_BUSY);
		if (i == 0) /* later it asks anew, and this page is no answer */
			step(&b, (struct event){.type = EV_SENT});
	}
	expect(&b, "database-locked", NE_BUSY, "held the database's write lock for 4 s", "end");
	/* The work may be gone when the lock is: then it is over after a while. */
	test_sql(&b.db, "COMMIT");
	b.mono_ms += 5000;
	step(&b, (struct event){.type = EV_SENT});
	assert_non_null(trouble(&b, "database-locked"));
	b.mono_ms += 5000;
	step(&b, (struct event){.type = EV_SENT});
	expect_none(&b);
	buf_free(&plain);
	end(&b);
}

static void test_a_silent_server(void **state)
{
	struct frame f;
	struct bench b;

	(void)state;
	begin_synced(&b);
	step(&b, (struct event){.type = EV_SYNC, .sync_id = 1});
	for (int i = 0; i < 6; i++)
		wait_deadline(&b);
	expect(&b, "server-silent", NE_TIMEOUT, "the server does not answer", "is neapd running?");
	while (!find(&b, FRAME_PULL) && !find(&b, FRAME_HELLO))
		wait_deadline(&b);
	if (find(&b, FRAME_HELLO)) {
		f = welcome(find(&b, FRAME_HELLO), &b, 0);
		give(&b, EV_DOWN, &f);
	} else {
		give_page(&b, page(find(&b, FRAME_PULL), 0, 0), NULL);
	}
	expect_none(&b);
	end(&b);
}

/* The set that was sent last is refused with `code`; in `shape`, if that is not NULL. */
static void refuse(struct bench *b, enum refuse_code code, const struct shape_id *shape)
{
	const struct f_set *set = &find(b, FRAME_SET)->set;
	const struct frame f = {.type = FRAME_REFUSE,
				.refuse = {.store = STORE,
					   .term = TERM,
					   .site = TEST_SITE,
					   .number = set->number,
					   .cut = set->cut,
					   .code = code,
					   .n_shape = shape != NULL,
					   .shape = shape,
					   .text = slice_str("says the server")}};

	give(b, EV_DOWN, &f);
}

static void test_a_server_that_is_busy(void **state)
{
	struct bench b;
	struct frame f = {.type = FRAME_BUSY, .busy = {.retry_ms = 2000}};

	(void)state;
	begin_synced(&b);
	give(&b, EV_DOWN, &f);
	expect(&b, "slow-down", NE_OK, "it is tried again in", "goes on by itself");
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	assert_null(find(&b, FRAME_SET));
	b.mono_ms += 3000;
	happen(&b, EV_TICK);
	assert_null(trouble(&b, "slow-down"));
	assert_non_null(find(&b, FRAME_SET));
	end(&b);
}

/* Sets that only people can make acceptable: told until one is taken. */
static void test_refused_sets(void **state)
{
	static const struct {
		enum refuse_code code;
		const char *state, *reason, *next_step;
	} cases[] = {
		{REFUSE_SCHEMA, "schema-refused", ": says the server", "neap untrack"},
		{REFUSE_DIRECTION, "direction-refused", "takes no changes of a table",
		 "--direction down"},
		{REFUSE_QUOTA, "quota", "space on the server is used up", "ask the operator"},
		{REFUSE_COLLISION, "collision", "under the identities of these",
		 "restored from a copy"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bench b;
		struct frame f;
		begin_synced(&b);
		test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
		happen(&b, EV_LOCAL);
		refuse(&b, cases[i].code, NULL);
		expect(&b, cases[i].state, NE_ROWS, cases[i].reason, cases[i].next_step);
		assert_int_equal(status(&b).problem, NE_ROWS);
		assert_int_equal(status(&b).pending_rows, 1);
		f = welcome(find(&b, FRAME_HELLO), &b, 0);
		give(&b, EV_DOWN, &f);
		b.mono_ms += 1000; /* for want of room deletes are looked for: there are none */
		happen(&b, EV_LOCAL);
		expect(&b, cases[i].state, NE_ROWS, cases[i].reason, cases[i].next_step);
		b.mono_ms += 3600000;
		happen(&b, EV_LOCAL);
		give_ack(&b, find(&b, FRAME_SET)->set.number, 1, 1);
		assert_null(trouble(&b, cases[i].state));
		end(&b);
	}
}

/* A declaration that is refused is told, too; a table that the set's refusal names is left out. */
static void test_refused_tables(void **state)
{
	struct frame f = {.type = FRAME_REFUSE};
	struct bench b;

	(void)state;
	begin_synced(&b);
	f.refuse = (struct f_refuse){.store = STORE,
				     .term = TERM,
				     .code = REFUSE_SCHEMA,
				     .text = slice_str("the schema is locked")};
	give(&b, EV_DOWN, &f);
	expect(&b, "schema-refused", NE_ROWS, "the schema is locked", "ask the operator");
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	refuse(&b, REFUSE_SCHEMA, &engine_devdb(b.en)->table[0].shape.id);
	expect(&b, "schema-refused", NE_ROWS, "says the server", "ask the operator");
	assert_true(engine_devdb(b.en)->table[0].held);
	end(&b);
}

/* What is refused waits for people. Once one of them asks, or the table is let go, it is over. */
static void test_refused_tables_are_tried_again(void **state)
{
	struct bench b;
	struct frame f;
	struct err e;

	(void)state;
	begin_synced(&b);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	refuse(&b, REFUSE_SCHEMA, &engine_devdb(b.en)->table[0].shape.id);
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	give(&b, EV_DOWN, &f);
	b.mono_ms += 10000;
	happen(&b, EV_LOCAL);
	assert_null(find(&b, FRAME_SET));
	step(&b, (struct event){.type = EV_SYNC, .sync_id = 1});
	assert_null(trouble(&b, "schema-refused"));
	assert_non_null(find(&b, FRAME_SET)); /* nothing was written meanwhile */
	refuse(&b, REFUSE_SCHEMA, &engine_devdb(b.en)->table[0].shape.id);
	expect(&b, "schema-refused", NE_ROWS, "says the server", "`neap sync`");
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	give(&b, EV_DOWN, &f);
	b.mono_ms += 10000;
	happen(&b, EV_LOCAL);
	assert_null(find(&b, FRAME_SET));
	assert_int_equal(untrack_table(engine_devdb(b.en), "t", &e), 0);
	happen(&b, EV_LOCAL);
	expect_none(&b);
	end(&b);
}

static void test_a_copy_gets_a_new_site(void **state)
{
	struct bench b;
	struct frame f;

	(void)state;
	begin_synced(&b);
	happen(&b, EV_LINK_DOWN);
	engine_close(b.en);
	open_engine(&b);
	happen(&b, EV_LINK_UP);
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	f.welcome.site_status = SITE_BEHIND;
	f.welcome.last_number = 9;
	give(&b, EV_DOWN, &f);
	expect(&b, "notice", NE_OK, "an older copy of itself", "nothing to do");
	assert_int_equal(status(&b).problem, NE_OK);
	assert_int_equal(b.new_sites, 1);
	/* Acknowledgements do not take it away: people are to see it. */
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	give(&b, EV_DOWN, &f);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	f = (struct frame){.type = FRAME_ACK,
			   .ack = {.store = STORE,
				   .term = TERM,
				   .site = find(&b, FRAME_SET)->set.site,
				   .number = find(&b, FRAME_SET)->set.number,
				   .head = 0}};
	give(&b, EV_DOWN, &f);
	assert_int_equal(status(&b).pending_rows, 0);
	assert_non_null(trouble(&b, "notice"));
	end(&b);
}

/* Whatever is in the way comes before what is only told. */
static void test_the_worst_comes_first(void **state)
{
	struct bench b;
	struct engine_status st;

	(void)state;
	begin_synced(&b);
	test_sql(&b.db, "INSERT INTO neap_conflict(table_id, text) VALUES(1, 'c'); UPDATE "
			"neap_clock SET offset_ms = 400000; INSERT INTO neap_rejected(table_id, "
			"key) VALUES(1, x'00'); DROP TABLE t");
	happen(&b, EV_LOCAL);
	st = status(&b);
	assert_string_equal(st.trouble[0].state, "capture-broken");
	assert_string_equal(st.trouble[1].state, "rows-rejected");
	for (size_t i = 1; i < st.n_trouble; i++)
		assert_false(!st.trouble[i - 1].code && st.trouble[i].code);
	assert_string_equal(st.reason, st.trouble[0].reason);
	assert_string_equal(st.next_step, st.trouble[0].next_step);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_that_do_not_fit),
		cmocka_unit_test(test_what_is_only_told),
		cmocka_unit_test(test_pending_above_the_bound),
		cmocka_unit_test(test_capture_that_is_lost),
		cmocka_unit_test(test_a_held_lock),
		cmocka_unit_test(test_a_held_lock_while_others_change),
		cmocka_unit_test(test_a_silent_server),
		cmocka_unit_test(test_a_server_that_is_busy),
		cmocka_unit_test(test_refused_sets),
		cmocka_unit_test(test_refused_tables),
		cmocka_unit_test(test_refused_tables_are_tried_again),
		cmocka_unit_test(test_a_copy_gets_a_new_site),
		cmocka_unit_test(test_the_worst_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
