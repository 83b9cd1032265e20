#include "device/core/engine_bench.h"
#include "protocol/ranges.h"

static void test_first_sync_uploads_and_concludes(void **state)
{
	struct bench b;
	const struct frame *set;
	struct frame f;

	(void)state;
	begin(&b, ddl);
	track(&b);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 2, 3)");
	step(&b, (struct event){.type = EV_SYNC, .sync_id = 77});
	first_sync(&b, 0);
	set = find(&b, FRAME_SET);
	assert_non_null(set);
	assert_int_equal(set->set.site, TEST_SITE);
	assert_int_equal(set->set.prev, 0);
	assert_int_equal(b.synced, 0);
	/* The ack clears the mark, its own seq stands in for the echo. */
	give_ack(&b, set->set.number, 1, 1);
	assert_int_equal(status(&b).cursor, 1);
	assert_int_equal(status(&b).pending_rows, 0);
	assert_int_equal(b.synced, 0);
	/* Only an answer to a question asked after that concludes. */
	assert_non_null(find(&b, FRAME_HELLO));
	f = welcome(find(&b, FRAME_HELLO), &b, 1);
	give(&b, EV_DOWN, &f);
	assert_int_equal(b.synced, 77);
	assert_int_equal(status(&b).verified_wall_ms, wall_ms(&b));
	end(&b);
}

static void lose_term(struct bench *b, uint64_t last_number, uint64_t last_cut)
{
	struct frame head = {.type = FRAME_HEAD,
			     .head = {.store = STORE, .term = TERM + 1, .head = 0, .first = 1}};
	struct frame f;

	give(b, EV_HEAD, &head);
	while (!find(b, FRAME_HELLO))
		wait_deadline(b);
	f = welcome(find(b, FRAME_HELLO), b, 0);
	f.welcome.term = TERM + 1;
	f.welcome.last_number = last_number;
	f.welcome.last_cut = last_cut;
	give(b, EV_DOWN, &f);
	while (!find(b, FRAME_HELLO))
		wait_deadline(b);
	f = welcome(find(b, FRAME_HELLO), b, 0);
	f.welcome.term = TERM + 1;
	f.welcome.last_number = last_number;
	f.welcome.last_cut = last_cut;
	give(b, EV_DOWN, &f);
}

/* Waits for the question about lost rows of `t` and answers: row 1 is there if `kept`. */
static void answer_ask(struct bench *b, bool kept, bool text)
{
	const struct shape *shape = &engine_devdb(b->en)->table[0].shape;
	const struct val key = {.type = VAL_TEXT, .s = slice_str("1")};
	struct buf has = {.max = 64}, scratch = {.max = 64};
	struct frame f = {.type = FRAME_RANGES};
	const struct f_ask *ask;
	uint64_t hash;
	int64_t at;

	while (!find(b, FRAME_ASK))
		wait_deadline(b);
	ask = &find(b, FRAME_ASK)->ask;
	assert_true(shape_id_eq(ask->shape, shape->id));
	assert_int_equal(ask->site, TEST_SITE);
	assert_int_equal(ask->after, 0);
	assert_int_equal(ask->upto, 3);
	assert_int_equal(ask->salt != 0, text);
	at = ask->after;
	if (kept && text) {
		assert_int_equal(key_hash(ask->salt, shape, &key, &scratch, &hash), 0);
		assert_int_equal(key_hash_put(&has, hash), 0);
	} else if (kept) {
		assert_int_equal(run_put(&has, &at, 1, 1), 0);
	}
	f.ranges = (struct f_ranges){.nonce = ask->nonce + 1,
				     .store = STORE,
				     .term = TERM + 1,
				     .upto = ask->upto,
				     .runs = text ? (struct slice){0} : buf_slice(&has),
				     .keys = text ? buf_slice(&has) : (struct slice){0}};
	/* Not an answer to the question; an answer that goes beyond it. */
	give(b, EV_DOWN, &f);
	f.ranges.nonce--;
	f.ranges.upto++;
	give(b, EV_DOWN, &f);
	assert_int_equal(status(b).bad_frames, 1);
	assert_int_equal(status(b).pending_rows, 0);
	assert_null(find(b, FRAME_SET));
	assert_true(status(b).asking);
	f.ranges.upto--;
	give(b, EV_DOWN, &f);
	while (!find(b, FRAME_SET))
		wait_deadline(b);
	assert_false(status(b).asking);
	buf_free(&has);
	buf_free(&scratch);
}

/* P8: what a restored or wiped server has lost of append tables comes back from the device. */
static void test_lost_telemetry_is_sent_again(void **state)
{
	const char *const tables[] = {ddl, "CREATE TABLE t(id TEXT PRIMARY KEY, a, b)"};
	struct frame ack = {.type = FRAME_ACK};
	uint64_t cut;

	(void)state;
	for (int kept = 0; kept < 2; kept++) {
		for (int text = 0; text < 2; text++) {
			struct bench b;

			begin(&b, tables[text]);
			test_track(engine_devdb(b.en), "t", true);
			first_sync(&b, 0);
			test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
			happen(&b, EV_LOCAL);
			cut = find(&b, FRAME_SET)->set.cut;
			assert_int_equal(find(&b, FRAME_SET)->set.number, 1);
			give_ack(&b, 1, 0, 0);
			test_sql(&b.db, "INSERT INTO t VALUES(2, 0, 0), (3, 0, 0)");
			b.mono_ms += 1000;
			happen(&b, EV_LOCAL);
			assert_int_equal(find(&b, FRAME_SET)->set.number, 2);
			give_ack(&b, 2, 0, 0);
			assert_int_equal(status(&b).pending_rows, 0);
			lose_term(&b, kept ? 1 : 0, kept ? cut : 0);
			assert_null(find(&b, FRAME_SET));
			answer_ask(&b, kept, text);
			assert_int_equal(status(&b).pending_rows, kept ? 2 : 3);
			assert_int_equal(find(&b, FRAME_SET)->set.number, 3);
			assert_int_equal(find(&b, FRAME_SET)->set.prev, kept);
			ack.ack = (struct f_ack){
				.store = STORE, .term = TERM + 1, .site = TEST_SITE, .number = 3};
			give(&b, EV_DOWN, &ack);
			assert_int_equal(status(&b).pending_rows, 0);
			end(&b);
		}
	}
}

/* P2: an answer to a question asked while something was in flight concludes nothing. */
static void test_sync_needs_a_question_asked_after(void **state)
{
	struct bench b;
	struct frame f;
	uint64_t number;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	test_sql(&b.db, "UPDATE t SET a = 1");
	step(&b, (struct event){.type = EV_SYNC, .sync_id = 5});
	number = find(&b, FRAME_SET)->set.number;
	b.mono_ms += 700000;
	happen(&b, EV_TICK);
	f = welcome(find(&b, FRAME_HELLO), &b, 2);
	f.welcome.last_number = number;
	f.welcome.last_cut = find(&b, FRAME_SET)->set.cut;
	give_ack(&b, number, 2, 2);
	give(&b, EV_DOWN, &f);
	assert_int_equal(b.synced, 0);
	f = welcome(find(&b, FRAME_HELLO), &b, 2);
	give(&b, EV_DOWN, &f);
	assert_int_equal(b.synced, 5);
	end(&b);
}

static void update(struct test_rows *r, const struct shape *s, int64_t a, uint64_t stamp)
{
	memset(r, 0, sizeof(*r));
	test_row(r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(r, 0, test_int(a), stamp, 7);
}

static const uint64_t late = (uint64_t)1 << 62;

static void test_broadcasts_in_order(void **state)
{
	const struct shape *s;
	struct test_rows r;
	struct bench b;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	update(&r, s, 30, late + 3);
	give_change(&b, 3, &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "0");
	assert_null(find(&b, FRAME_PULL));
	update(&r, s, 20, late + 2);
	give_change(&b, 2, &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "30");
	assert_int_equal(status(&b).cursor, 3);
	assert_int_equal(b.changed, 1);
	/* Repeats change nothing. */
	give_change(&b, 2, &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "30");
	end(&b);
}

static void test_gap_is_pulled(void **state)
{
	const struct shape *s;
	struct test_rows r;
	struct bench b;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	update(&r, s, 30, late + 3);
	give_change(&b, 3, &r.rows);
	wait_deadline(&b);
	assert_non_null(find(&b, FRAME_PULL));
	assert_int_equal(find(&b, FRAME_PULL)->pull.at.cursor, 1);
	update(&r, s, 40, late + 4);
	give_page(&b, page(find(&b, FRAME_PULL), 4, 4), &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "40");
	assert_int_equal(status(&b).cursor, 4);
	end(&b);
}

/* P3: a page shows rows as of its head; broadcasts up to there are older. */
static void test_hold_keeps_broadcasts_back(void **state)
{
	const struct shape *s;
	struct test_rows r;
	struct bench b;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	give_head(&b, 5);
	wait_deadline(&b);
	update(&r, s, 50, late + 5);
	give_page(&b, page(find(&b, FRAME_PULL), 2, 5), &r.rows);
	assert_int_equal(status(&b).hold, 5);
	assert_non_null(find(&b, FRAME_PULL));
	update(&r, s, 30, late + 3);
	give_change(&b, 3, &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "50");
	assert_int_equal(status(&b).cursor, 2);
	end(&b);
}

/* P5: where a mark of the set was overtaken, its own seq must be pulled. */
static void test_overtaken_own_seq_is_pulled(void **state)
{
	const struct shape *s;
	struct test_rows r;
	struct bench b;
	uint64_t number;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	test_sql(&b.db, "UPDATE t SET a = 1");
	happen(&b, EV_LOCAL);
	number = find(&b, FRAME_SET)->set.number;
	update(&r, s, 20, late + 2);
	give_change(&b, 2, &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "20");
	give_ack(&b, number, 3, 3);
	assert_int_equal(status(&b).cursor, 2);
	assert_non_null(find(&b, FRAME_PULL));
	end(&b);
}

/*
 * M3: another copy of this file, or its life before it was restored, has sets on their way that
 * this one knows nothing of. What the server says of them is not about ours.
 */
static void test_ack_of_another_copy_clears_nothing(void **state)
{
	struct frame f;
	struct f_set set;
	struct bench b;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	engine_close(b.en);
	b.skips = true;
	open_engine(&b);
	happen(&b, EV_LINK_UP);
	f = welcome(find(&b, FRAME_HELLO), &b, 1);
	f.welcome.last_number = 1;
	f.welcome.last_cut = find(&b, FRAME_HELLO)->hello.last_cut;
	give(&b, EV_DOWN, &f);
	test_sql(&b.db, "UPDATE t SET a = 1");
	happen(&b, EV_LOCAL);
	set = find(&b, FRAME_SET)->set;
	assert_int_equal(set.prev, 1);
	assert_true(set.number > 2);
	give_ack(&b, 2, 1, 0);
	assert_non_null(find(&b, FRAME_HELLO));
	assert_int_equal(status(&b).pending_rows, 1);
	give_ack(&b, set.number + 1, 1, 0);
	assert_int_equal(status(&b).pending_rows, 1);
	end(&b);
}

/* M2: what was written again since the cut stays pending. */
static void test_rewritten_cell_stays_pending(void **state)
{
	struct bench b;
	uint64_t first, second;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	test_sql(&b.db, "UPDATE t SET a = 1");
	happen(&b, EV_LOCAL);
	first = find(&b, FRAME_SET)->set.number;
	test_sql(&b.db, "UPDATE t SET a = 2");
	give_ack(&b, first, 2, 2);
	assert_int_equal(status(&b).pending_rows, 1);
	assert_non_null(find(&b, FRAME_SET));
	second = find(&b, FRAME_SET)->set.number;
	assert_true(second > first);
	assert_int_equal(find(&b, FRAME_SET)->set.prev, first);
	give_ack(&b, second, 3, 3);
	assert_int_equal(status(&b).pending_rows, 0);
	end(&b);
}

/* An ack ahead of the cursor clears nothing yet. */
static void test_ack_waits_for_the_cursor(void **state)
{
	const struct shape *s;
	struct test_rows r;
	struct bench b;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	test_sql(&b.db, "UPDATE t SET a = 1");
	happen(&b, EV_LOCAL);
	give_ack(&b, find(&b, FRAME_SET)->set.number, 3, 3);
	assert_int_equal(status(&b).pending_rows, 1);
	assert_int_equal(status(&b).cursor, 1);
	update(&r, s, 20, 5);
	give_change(&b, 2, &r.rows);
	assert_int_equal(status(&b).cursor, 3);
	assert_int_equal(status(&b).pending_rows, 0);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "1");
	end(&b);
}

static void test_reconnect_asks_nothing(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	happen(&b, EV_LINK_DOWN);
	b.mono_ms += 60000;
	happen(&b, EV_LINK_UP);
	assert_int_equal(b.n_sent, 0);
	give_head(&b, 1);
	assert_int_equal(b.n_sent, 0);
	/* Neither does a restart of the backend in which nothing was missed. */
	give(&b, EV_HEAD,
	     &(struct frame){.type = FRAME_HEAD,
			     .head = {.store = STORE,
				      .term = TERM + 1,
				      .head = 1,
				      .prev_term = TERM,
				      .first = 2}});
	assert_int_equal(b.n_sent, 0);
	assert_true(engine_deadline_ms(b.en) > b.mono_ms + 200000);
	end(&b);
}

static void test_unacknowledged_set_is_resent_as_it_was(void **state)
{
	struct bench b;
	struct f_set first, again;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	assert_true(engine_quiet(b.en));
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	first = find(&b, FRAME_SET)->set;
	step(&b, (struct event){.type = EV_SENT, .sent_bytes = b.n_bytes});
	assert_false(engine_quiet(b.en)); /* a connection that ends now costs a set twice */
	b.mono_ms += 4000;
	happen(&b, EV_TICK);
	assert_non_null(find(&b, FRAME_SET));
	again = find(&b, FRAME_SET)->set;
	assert_int_equal(again.number, first.number);
	assert_int_equal(again.cut, first.cut);
	give_ack(&b, first.number, 1, 1);
	assert_true(engine_quiet(b.en));
	end(&b);
}

/* After a crash the welcome tells what was committed; its echo is pulled. */
static void test_restart_settles_what_was_committed(void **state)
{
	struct bench b;
	struct frame f;
	struct f_set set;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	set = find(&b, FRAME_SET)->set;
	engine_close(b.en);
	open_engine(&b);
	happen(&b, EV_LINK_UP);
	assert_null(find(&b, FRAME_SET));
	assert_int_equal(find(&b, FRAME_HELLO)->hello.last_number, set.number);
	assert_int_equal(find(&b, FRAME_HELLO)->hello.last_cut, set.cut);
	f = welcome(find(&b, FRAME_HELLO), &b, 1);
	f.welcome.last_number = set.number;
	f.welcome.last_cut = set.cut;
	give(&b, EV_DOWN, &f);
	assert_int_equal(status(&b).pending_rows, 1);
	give_page(&b, page(find(&b, FRAME_PULL), 1, 1), NULL);
	assert_int_equal(status(&b).pending_rows, 0);
	assert_null(find(&b, FRAME_SET));
	end(&b);
}

static void test_restart_cuts_anew_what_was_not(void **state)
{
	struct bench b;
	struct frame f;
	uint64_t number;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	number = find(&b, FRAME_SET)->set.number;
	engine_close(b.en);
	open_engine(&b);
	happen(&b, EV_LINK_UP);
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	give(&b, EV_DOWN, &f);
	assert_non_null(find(&b, FRAME_SET));
	assert_true(find(&b, FRAME_SET)->set.number > number);
	assert_int_equal(find(&b, FRAME_SET)->set.prev, 0);
	end(&b);
}

/* A set cut after the question overtakes it: no other copy of this database is at work. */
static void test_overtaken_hello_is_no_copy(void **state)
{
	struct bench b;
	struct frame f, asked;
	uint64_t number;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	b.mono_ms += 2000000;
	happen(&b, EV_TICK);
	asked = welcome(find(&b, FRAME_HELLO), &b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	number = find(&b, FRAME_SET)->set.number;
	f = asked;
	f.welcome.site_status = SITE_BEHIND;
	f.welcome.last_number = number;
	give(&b, EV_DOWN, &f);
	assert_int_equal(b.new_sites, 0);
	assert_int_equal(find(&b, FRAME_HELLO)->hello.site, TEST_SITE);
	assert_int_equal(find(&b, FRAME_HELLO)->hello.last_number, number);
	end(&b);
}

static void test_copy_of_a_database_gets_a_new_site(void **state)
{
	struct bench b;
	struct frame f;

	(void)state;
	begin(&b, ddl);
	track(&b);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LINK_UP);
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	f.welcome.site_status = SITE_BEHIND;
	f.welcome.last_number = 9;
	give(&b, EV_DOWN, &f);
	assert_int_equal(b.new_sites, 1);
	assert_non_null(find(&b, FRAME_HELLO));
	assert_true(find(&b, FRAME_HELLO)->hello.site != TEST_SITE);
	assert_int_equal(find(&b, FRAME_HELLO)->hello.last_number, 0);
	assert_null(find(&b, FRAME_SET));
	/* What was captured keeps its site (M5). */
	assert_string_equal(test_query(&b.db, "SELECT DISTINCT site FROM neap_m1"), "1000");
	end(&b);
}

static void test_reset_keeps_pending_changes(void **state)
{
	const struct shape *s;
	struct test_rows r = {0};
	struct bench b;
	struct frame f;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	test_sql(&b.db, "INSERT INTO t VALUES(2, 2, 2)");
	give_head(&b, 9);
	wait_deadline(&b);
	f = (struct frame){.type = FRAME_RESET,
			   .reset = {.nonce = find(&b, FRAME_PULL)->pull.nonce,
				     .store = STORE + 1,
				     .term = TERM + 1,
				     .head = 4}};
	give(&b, EV_DOWN, &f);
	/* What the server has of this site is asked first. */
	assert_null(find(&b, FRAME_PULL));
	while (!find(&b, FRAME_HELLO))
		wait_deadline(&b);
	f = welcome(find(&b, FRAME_HELLO), &b, 4);
	f.welcome.store = STORE + 1;
	f.welcome.term = TERM + 1;
	give(&b, EV_DOWN, &f);
	assert_int_equal(find(&b, FRAME_PULL)->pull.at.cursor, 0);
	assert_int_equal(find(&b, FRAME_PULL)->pull.at.base, 4);
	test_row(&r, s, test_int(3), EXIST_ALIVE, 5, 7);
	test_cell(&r, 0, test_int(3), 5, 7);
	f = page(find(&b, FRAME_PULL), 4, 4);
	f.page.store = STORE + 1;
	f.page.term = TERM + 1;
	give_page(&b, f, &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT id FROM t ORDER BY id"), "2,3");
	assert_int_equal(status(&b).pending_rows, 1);
	assert_string_equal(test_query(&b.db, "SELECT count(*) FROM neap_conflict"), "1");
	end(&b);
}

/*
 * A delete that the server has, and whose tombstone it collected: an older insert that came since
 * stands, though the delete was still pending here.
 */
static void test_full_pull_settles_what_the_server_has(void **state)
{
	const struct shape *s;
	struct test_rows r = {0};
	struct bench b;
	struct frame f, set;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	test_sql(&b.db, "DELETE FROM t");
	happen(&b, EV_LOCAL);
	set = *find(&b, FRAME_SET);
	happen(&b, EV_LINK_DOWN);
	happen(&b, EV_LINK_UP);
	while (!find(&b, FRAME_HELLO))
		wait_deadline(&b);
	f = (struct frame){.type = FRAME_RESET,
			   .reset = {.nonce = find(&b, FRAME_HELLO)->hello.nonce,
				     .store = STORE,
				     .term = TERM,
				     .head = 4}};
	give(&b, EV_DOWN, &f);
	while (!find(&b, FRAME_HELLO))
		wait_deadline(&b);
	f = welcome(find(&b, FRAME_HELLO), &b, 4);
	f.welcome.last_number = set.set.number;
	f.welcome.last_cut = set.set.cut;
	give(&b, EV_DOWN, &f);
	assert_int_equal(status(&b).pending_rows, 0);
	test_row(&r, s, test_int(1), EXIST_ALIVE, 5, 7);
	test_cell(&r, 0, test_int(3), 5, 7);
	give_page(&b, page(find(&b, FRAME_PULL), 4, 4), &r.rows);
	assert_string_equal(test_query(&b.db, "SELECT id || '/' || a FROM t"), "1/3");
	end(&b);
}

/* The app holds the lock when a page comes: where it ended is not where the next one begins. */
static void test_page_not_applied_is_asked_for_again(void **state)
{
	const struct shape *s;
	struct test_rows r = {0};
	struct bench b;
	struct frame f;
	struct err e;

	(void)state;
	begin(&b, ddl);
	s = track(&b);
	first_sync(&b, 0);
	give_head(&b, 9);
	wait_deadline(&b);
	test_row(&r, s, test_int(3), EXIST_ALIVE, 5, 7);
	f = page(find(&b, FRAME_PULL), 0, 9);
	f.page.token = slice_str("behind");
	struct buf bytes = encode(&r.rows), plain = {.max = LIMIT_FRAME};
	f.page.rows = buf_slice(&bytes);
	assert_int_equal(frame_encode(&f, &plain, &e), NE_OK);
	struct event ev = {.type = EV_DOWN,
			   .frame = buf_slice(&plain),
			   .now_ms = wall_ms(&b),
			   .mono_ms = b.mono_ms};
	test_sql(&b.db, "BEGIN IMMEDIATE");
	assert_int_equal(engine_step(b.en, &ev, &b.acts, &e), NE_BUSY);
	test_sql(&b.db, "COMMIT");
	buf_free(&plain);
	buf_free(&bytes);
	while (!find(&b, FRAME_PULL))
		wait_deadline(&b);
	assert_int_equal(find(&b, FRAME_PULL)->pull.token.len, 0);
	end(&b);
}

/* Answers to questions nobody asked, and bytes that mean nothing, change nothing. */
static void test_what_was_not_asked_is_dropped(void **state)
{
	struct bench b;
	struct frame f = {.type = FRAME_RESET,
			  .reset = {.nonce = 5, .store = 9, .term = 9, .head = 3}};

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	synced_row(&b);
	give(&b, EV_DOWN, &f);
	assert_int_equal(status(&b).store, STORE);
	step(&b, (struct event){.type = EV_DOWN, .frame = slice_str("nonsense")});
	assert_int_equal(status(&b).bad_frames, 1);
	/* An ack of another term is only a reason to ask. */
	test_sql(&b.db, "UPDATE t SET a = 5");
	happen(&b, EV_LOCAL);
	f = (struct frame){.type = FRAME_ACK,
			   .ack = {.store = STORE,
				   .term = TERM + 1,
				   .site = TEST_SITE,
				   .number = find(&b, FRAME_SET)->set.number,
				   .head = 1}};
	give(&b, EV_DOWN, &f);
	assert_int_equal(status(&b).pending_rows, 1);
	assert_non_null(find(&b, FRAME_HELLO));
	end(&b);
}

static void test_refusal_is_visible_and_not_repeated_at_once(void **state)
{
	struct bench b;
	struct frame f = {.type = FRAME_REFUSE};
	const struct f_set *set;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0)");
	happen(&b, EV_LOCAL);
	set = &find(&b, FRAME_SET)->set;
	f.refuse = (struct f_refuse){.store = STORE,
				     .term = TERM,
				     .site = TEST_SITE,
				     .number = set->number,
				     .cut = set->cut,
				     .code = REFUSE_SCHEMA,
				     .text = slice_str("no table t")};
	give(&b, EV_DOWN, &f);
	assert_int_equal(status(&b).problem, NE_ROWS);
	assert_non_null(strstr(status(&b).reason, "no table t"));
	assert_int_equal(status(&b).pending_rows, 1);
	f = welcome(find(&b, FRAME_HELLO), &b, 0);
	give(&b, EV_DOWN, &f);
	b.mono_ms += 60000;
	happen(&b, EV_LOCAL);
	assert_null(find(&b, FRAME_SET));
	b.mono_ms += 600000;
	happen(&b, EV_LOCAL);
	assert_non_null(find(&b, FRAME_SET));
	end(&b);
}

static void test_large_set_goes_in_parts_within_the_window(void **state)
{
	struct bench b;
	size_t parts = 0;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, randomblob(60000), 0)");
	happen(&b, EV_LOCAL);
	assert_int_equal(b.sent[0].type, FRAME_PART);
	for (int i = 0; i < 100 && b.n_sent; i++) {
		assert_true(b.n_bytes < 3 * 4096 + 8192);
		parts += b.n_sent;
		step(&b, (struct event){.type = EV_SENT, .sent_bytes = b.n_bytes});
	}
	assert_true(parts >= 15);
	end(&b);
}

/* A link that never says what it took does not stop the uploads for ever. */
static void test_full_window_is_not_believed_for_ever(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, ddl);
	track(&b);
	first_sync(&b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, randomblob(60000), 0)");
	happen(&b, EV_LOCAL);
	assert_int_equal(b.sent[0].type, FRAME_PART);
	wait_deadline(&b);
	assert_true(b.n_sent > 0);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_sync_uploads_and_concludes),
		cmocka_unit_test(test_lost_telemetry_is_sent_again),
		cmocka_unit_test(test_sync_needs_a_question_asked_after),
		cmocka_unit_test(test_ack_of_another_copy_clears_nothing),
		cmocka_unit_test(test_broadcasts_in_order),
		cmocka_unit_test(test_gap_is_pulled),
		cmocka_unit_test(test_hold_keeps_broadcasts_back),
		cmocka_unit_test(test_overtaken_own_seq_is_pulled),
		cmocka_unit_test(test_rewritten_cell_stays_pending),
		cmocka_unit_test(test_ack_waits_for_the_cursor),
		cmocka_unit_test(test_reconnect_asks_nothing),
		cmocka_unit_test(test_unacknowledged_set_is_resent_as_it_was),
		cmocka_unit_test(test_restart_settles_what_was_committed),
		cmocka_unit_test(test_restart_cuts_anew_what_was_not),
		cmocka_unit_test(test_overtaken_hello_is_no_copy),
		cmocka_unit_test(test_copy_of_a_database_gets_a_new_site),
		cmocka_unit_test(test_reset_keeps_pending_changes),
		cmocka_unit_test(test_full_pull_settles_what_the_server_has),
		cmocka_unit_test(test_page_not_applied_is_asked_for_again),
		cmocka_unit_test(test_what_was_not_asked_is_dropped),
		cmocka_unit_test(test_refusal_is_visible_and_not_repeated_at_once),
		cmocka_unit_test(test_large_set_goes_in_parts_within_the_window),
		cmocka_unit_test(test_full_window_is_not_believed_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
