#include "device/core/engine_bench.h"
#include "protocol/conflict.h"

static const uint64_t late = (uint64_t)1 << 62;

/* Another site's write of row 1, later than any of ours, at `seq`. */
static void overwrite(struct bench *b, uint64_t seq, uint16_t col, int64_t v)
{
	struct test_rows r = {0};

	test_row(&r, &engine_devdb(b->en)->table[0].shape, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, col, test_int(v), late + 100 * seq, 7);
	give_change(b, seq, &r.rows);
}

static const char *list(struct bench *b)
{
	return test_query(&b->db, "SELECT ifnull(col, '-') || ' ' || ifnull(value, '-') || ' ' || "
				  "todo FROM neap_conflict ORDER BY id");
}

/* Settled row 1; a pending write of it is on its way in a set. */
static uint64_t write_pending(struct bench *b, const char *sql)
{
	test_sql(&b->db, sql);
	happen(b, EV_LOCAL);
	const struct frame *set = find(b, FRAME_SET);
	assert_true(set || find(b, FRAME_PART));
	return set ? set->set.number : 0;
}

static void begin_synced(struct bench *b)
{
	begin_tracked(b, ddl);
	synced_row(b);
}

static int setup(void **state)
{
	int rc = bench_synced(state, ddl);

	synced_row(*state);
	return rc;
}

static void give_noted_of(struct bench *b, uint64_t nonce, uint64_t number, uint64_t term)
{
	struct frame f = {.type = FRAME_NOTED,
			  .noted = {.nonce = nonce,
				    .store = STORE,
				    .term = term,
				    .site = TEST_SITE,
				    .number = number}};

	give(b, EV_DOWN, &f);
}

static void give_noted(struct bench *b, uint64_t number, uint64_t term)
{
	give_noted_of(b, b->reported, number, term);
}

static struct f_conflicts report_of(struct bench *b)
{
	const struct frame *f = find(b, FRAME_CONFLICTS);

	assert_non_null(f);
	return f->conflicts;
}

static int64_t value_of(struct bench *b, const struct lost_value *l)
{
	struct val v;

	assert_int_equal(conflict_get_value(l->value, &b->arena, &v), 0);
	assert_int_equal(v.type, VAL_INT);
	return v.i;
}

/* What is overtaken before the server answers goes up, again and again until it is noted. */
static void what_lost_is_reported_until_noted(void **state)
{
	struct bench *b = *state;
	struct f_conflicts f;

	write_pending(b, "UPDATE t SET a = 20");
	overwrite(b, 2, 0, 30);
	f = report_of(b);
	assert_int_equal(f.site, TEST_SITE);
	assert_int_equal(f.number, 1);
	assert_int_equal(f.n, 1);
	assert_int_equal(value_of(b, &f.lost[0]), 20);
	assert_true(slice_eq(f.lost[0].table, slice_str("t")));
	assert_true(slice_eq(f.lost[0].key, slice_str("{\"id\": 1}")));
	assert_true(slice_eq(f.lost[0].column, slice_str("a")));
	assert_int_equal(f.lost[0].reg.site, TEST_SITE);
	assert_int_equal(f.lost[0].won.stamp, late + 200);
	assert_int_equal(f.lost[0].won.site, 7);
	/* The answer was lost. */
	do
		wait_deadline(b);
	while (!find(b, FRAME_CONFLICTS));
	/* So is an answer of another term, or to something else. */
	give_noted(b, 1, TERM + 1);
	give_noted(b, 2, TERM);
	do
		wait_deadline(b);
	while (!find(b, FRAME_CONFLICTS));
	give_noted(b, 1, TERM);
	assert_string_equal(
		test_query(&b->db, "SELECT value FROM neap_meta WHERE key = 'conflict_noted'"),
		"1");
	for (int i = 0; i < 20; i++) {
		wait_deadline(b);
		assert_null(find(b, FRAME_CONFLICTS));
	}
	assert_string_equal(list(b), "a 20 0");
}

static void a_restart_reports_again(void **state)
{
	struct bench *b = *state;
	struct frame f;

	write_pending(b, "UPDATE t SET a = 20");
	overwrite(b, 2, 0, 30);
	assert_int_equal(report_of(b).n, 1);
	engine_close(b->en);
	open_engine(b);
	happen(b, EV_LINK_UP);
	assert_null(find(b, FRAME_CONFLICTS));
	f = welcome(find(b, FRAME_HELLO), b, 2);
	give(b, EV_DOWN, &f);
	assert_int_equal(report_of(b).number, 1);
	/* A new connection takes it up again. */
	happen(b, EV_LINK_DOWN);
	happen(b, EV_LINK_UP);
	assert_int_equal(report_of(b).number, 1);
	give_noted(b, 1, TERM);
	happen(b, EV_LINK_DOWN);
	happen(b, EV_LINK_UP);
	assert_null(find(b, FRAME_CONFLICTS));
}

/* More than one frame holds, one after the other. */
static void many_go_in_several_frames(void **state)
{
	struct bench *b = *state;
	struct test_rows *r = calloc(75, sizeof(*r));
	struct table_rows all = {0};
	struct rows rows = {1, &all};

	assert_non_null(r);
	test_sql(&b->db, "WITH c(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM c WHERE i < 301) "
			 "INSERT INTO t SELECT i, i, i FROM c; DELETE FROM neap_m1; UPDATE t SET a "
			 "= 1000 + a WHERE id > 1");
	all.shape = &engine_devdb(b->en)->table[0].shape;
	all.row = calloc(300, sizeof(struct row));
	assert_non_null(all.row);
	for (int i = 0; i < 300; i++) {
		test_row(&r[i / 4], all.shape, test_int(i + 2), EXIST_NONE, 0, 0);
		test_cell(&r[i / 4], 0, test_int(5), late, 7);
		all.row[all.n_row++] = r[i / 4].row[i % 4];
	}
	give_change(b, 2, &rows);
	assert_int_equal(report_of(b).n, 256);
	give_noted(b, 256, TERM);
	assert_int_equal(report_of(b).n, 44);
	give_noted(b, 300, TERM);
	assert_string_equal(
		test_query(&b->db, "SELECT value FROM neap_meta WHERE key = 'conflict_noted'"),
		"300");
	free(all.row);
	free(r);
}

/* How long until the sync is over, whose questions are answered at once. */
static uint64_t end_sync(struct bench *b)
{
	uint64_t began = b->mono_ms;

	while (!b->synced) {
		if (find(b, FRAME_HELLO)) {
			struct frame f = welcome(find(b, FRAME_HELLO), b, 2);
			f.welcome.last_number = 2;
			give(b, EV_DOWN, &f);
		} else {
			wait_deadline(b);
		}
	}
	return b->mono_ms - began;
}

static uint64_t sync_takes(struct bench *b, uint64_t id)
{
	b->synced = 0;
	step(b, (struct event){.type = EV_SYNC, .sync_id = id});
	return end_sync(b);
}

/* A sync is not over before the server has noted what lost; but it does not wait for ever. */
static void a_sync_waits_for_the_note(void **state)
{
	(void)state;
	for (int noted = 0; noted < 2; noted++) {
		struct bench b;
		uint64_t took;

		begin_synced(&b);
		write_pending(&b, "UPDATE t SET a = 20");
		give_ack(&b, 2, 2, 0);
		overwrite(&b, 2, 0, 30);
		if (noted)
			give_noted(&b, 1, TERM);
		took = sync_takes(&b, 5);
		if (noted)
			assert_in_range(took, 0, 100);
		else
			assert_in_range(took, 20000, 60000);
		end(&b);
	}
}

/* What was sent in vain before is sent once more when somebody asks. */
static void a_sync_reports_once_more(void **state)
{
	struct bench *b = *state;

	write_pending(b, "UPDATE t SET a = 20");
	give_ack(b, 2, 2, 0);
	overwrite(b, 2, 0, 30);
	assert_in_range(sync_takes(b, 5), 20000, 60000);
	assert_in_range(sync_takes(b, 6), 8000, 20000);
	b->synced = 0;
	step(b, (struct event){.type = EV_SYNC, .sync_id = 7});
	assert_int_equal(report_of(b).number, 1);
	give_noted(b, 1, TERM);
	assert_in_range(end_sync(b), 0, 100);
}

/* A value that one message cannot hold goes in parts, within the window. */
static void a_large_value_goes_in_parts(void **state)
{
	struct bench *b = *state;
	size_t parts = 0;

	write_pending(b, "UPDATE t SET b = 5, a = randomblob(100000)");
	while (b->n_bytes)
		step(b, (struct event){.type = EV_SENT, .sent_bytes = b->n_bytes});
	overwrite(b, 2, 0, 30);
	assert_non_null(find(b, FRAME_PART));
	while (b->n_bytes) {
		assert_in_range(b->n_bytes, 1, 12288 + LIMIT_PIECE + 200);
		parts += b->n_sent;
		step(b, (struct event){.type = EV_SENT, .sent_bytes = b->n_bytes});
	}
	assert_in_range(parts, 25, 26);
	give_noted(b, 1, TERM);
	assert_string_equal(
		test_query(&b->db, "SELECT value FROM neap_meta WHERE key = 'conflict_noted'"),
		"1");
}

/* Rule P5: what the server did not take comes back as a correction, while the mark stands. */
static void a_correction_is_listed(void **state)
{
	struct bench *b = *state;
	uint64_t number;

	number = write_pending(b, "UPDATE t SET a = 20, b = 21");
	give_ack(b, number, 2, 0);
	assert_string_equal(list(b), "");
	overwrite(b, 2, 0, 30);
	assert_string_equal(list(b), "a 20 0");
	assert_int_equal(status(b).pending_rows, 0);
	assert_string_equal(test_query(&b->db, "SELECT a || ' ' || b FROM t"), "30 21");
}

/* What the server took is settled before what came after it is applied: that lost nothing. */
static void what_was_taken_has_not_lost(void **state)
{
	struct bench *b = *state;
	uint64_t number;

	number = write_pending(b, "UPDATE t SET a = 20");
	overwrite(b, 3, 0, 30); /* seq 2 is missing as yet */
	give_ack(b, number, 2, 2);
	assert_int_equal(status(b).cursor, 3);
	assert_string_equal(test_query(&b->db, "SELECT a FROM t"), "30");
	assert_string_equal(list(b), "");
	assert_null(find(b, FRAME_CONFLICTS));
}

/* A reset of the store: what it had noted may be gone with it. */
static void a_reset_reports_all_again(void **state)
{
	struct bench *b = *state;
	struct frame f;

	write_pending(b, "UPDATE t SET a = 20");
	overwrite(b, 2, 0, 30);
	give_noted(b, 1, TERM);
	give_head(b, 9);
	while (!find(b, FRAME_PULL))
		wait_deadline(b);
	f = (struct frame){.type = FRAME_RESET,
			   .reset = {.nonce = find(b, FRAME_PULL)->pull.nonce,
				     .store = STORE,
				     .term = TERM,
				     .head = 2}};
	give(b, EV_DOWN, &f);
	while (!find(b, FRAME_HELLO))
		wait_deadline(b);
	f = welcome(find(b, FRAME_HELLO), b, 2);
	f.welcome.noted = 0;
	give(b, EV_DOWN, &f);
	while (!find(b, FRAME_PULL))
		wait_deadline(b);
	give_page(b, page(find(b, FRAME_PULL), 2, 2), NULL);
	/* The settled row that went is in the list, too. */
	assert_string_equal(list(b), "a 20 0,- - 0");
	assert_int_equal(report_of(b).n, 2);
	assert_int_equal(report_of(b).lost[1].reg.stamp, 0);
}

/* A store that was restored and knows the position all the same: what it has not is told again. */
static void a_welcome_tells_what_the_server_has(void **state)
{
	struct bench *b = *state;
	struct frame f;

	for (uint64_t seq = 2; seq < 4; seq++) {
		test_sql(&b->db, seq == 2 ? "UPDATE t SET a = 20" : "UPDATE t SET a = 21");
		happen(b, EV_LOCAL);
		overwrite(b, seq, 0, 30);
		assert_int_equal(report_of(b).number, seq - 1);
		give_noted(b, seq - 1, TERM);
	}
	for (int noted = 2; noted >= 1; noted--) {
		engine_close(b->en);
		open_engine(b);
		happen(b, EV_LINK_UP);
		f = welcome(find(b, FRAME_HELLO), b, 3);
		f.welcome.term = TERM + 1;
		f.welcome.noted = (uint64_t)noted;
		give(b, EV_DOWN, &f);
		if (noted == 2)
			assert_null(find(b, FRAME_CONFLICTS));
	}
	assert_int_equal(report_of(b).n, 1);
	assert_int_equal(report_of(b).number, 2);
	assert_int_equal(value_of(b, &report_of(b).lost[0]), 21);
	give_noted(b, 2, TERM + 1);
	happen(b, EV_LINK_DOWN);
	happen(b, EV_LINK_UP);
	assert_null(find(b, FRAME_CONFLICTS));
}

/* A store that was put back to before the last report took the next one before we knew of that. */
static void a_number_of_another_term_hides_nothing(void **state)
{
	struct bench *b = *state;
	struct frame f;
	uint64_t before;

	for (uint64_t seq = 2; seq < 4; seq++) {
		test_sql(&b->db, seq == 2 ? "UPDATE t SET a = 20" : "UPDATE t SET a = 21");
		happen(b, EV_LOCAL);
		overwrite(b, seq, 0, 30);
		assert_int_equal(report_of(b).number, seq - 1);
		if (seq == 2)
			give_noted(b, seq - 1, TERM);
	}
	before = b->reported;
	engine_close(b->en);
	open_engine(b);
	happen(b, EV_LINK_UP);
	f = welcome(find(b, FRAME_HELLO), b, 3);
	f.welcome.term = TERM + 1;
	f.welcome.noted = 2;
	give(b, EV_DOWN, &f);
	assert_int_equal(report_of(b).n, 2);
	/* The answer to the report that had only the last of them comes late. */
	give_noted_of(b, before, 2, TERM + 1);
	assert_string_equal(
		test_query(&b->db, "SELECT value FROM neap_meta WHERE key = 'conflict_noted'"),
		"0");
	give_noted(b, 2, TERM + 1);
	assert_string_equal(
		test_query(&b->db, "SELECT value FROM neap_meta WHERE key = 'conflict_noted'"),
		"2");
}

/* ---- callback and resolver ---- */

struct ear {
	unsigned asked;
	int64_t local, incoming, answer;
	enum resolution choice;
	sqlite3 *spoil; /* the engine's connection writes nothing after the answer */
};

static enum resolution resolve(void *ctx, const struct engine_conflict *c, struct val *write)
{
	struct ear *ear = ctx;

	ear->asked++;
	ear->local = c->local.i;
	ear->incoming = c->incoming.i;
	assert_string_equal(c->table, "t");
	assert_string_equal(c->key, "{\"id\": 1}");
	assert_string_equal(c->column, "a");
	*write = test_int(ear->answer);
	if (ear->spoil)
		sqlite3_exec(ear->spoil, "PRAGMA query_only = ON", NULL, NULL, NULL);
	return ear->choice;
}

static void reopen(struct bench *b, struct ear *ear)
{
	engine_close(b->en);
	b->cfg.conflicts = true;
	b->cfg.resolve = resolve;
	b->cfg.resolve_ctx = ear;
	open_engine(b);
}

static void begin_listening(struct bench *b, struct ear *ear)
{
	begin_synced(b);
	reopen(b, ear);
	happen(b, EV_LINK_UP);
	struct frame f = welcome(find(b, FRAME_HELLO), b, 1);
	f.welcome.last_number = 1;
	give(b, EV_DOWN, &f);
}

static const struct engine_conflict *told(const struct bench *b)
{
	for (size_t i = 0; i < b->acts.n; i++)
		if (b->acts.at[i].type == ACT_CONFLICT)
			return b->acts.at[i].conflict;
	return NULL;
}

static void the_callback_hears_once(void **state)
{
	struct bench b;
	struct ear ear = {.choice = RESOLVE_KEEP};

	(void)state;
	begin_listening(&b, &ear);
	write_pending(&b, "UPDATE t SET a = 20");
	overwrite(&b, 2, 0, 30);
	assert_non_null(told(&b));
	assert_string_equal(told(&b)->table, "t");
	assert_string_equal(told(&b)->column, "a");
	assert_int_equal(told(&b)->local.i, 20);
	assert_int_equal(told(&b)->incoming.i, 30);
	assert_int_equal(ear.asked, 1);
	assert_int_equal(ear.local, 20);
	assert_int_equal(ear.incoming, 30);
	assert_string_equal(list(&b), "a 20 0");
	happen(&b, EV_TICK);
	assert_null(told(&b));
	assert_int_equal(ear.asked, 1);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "30");
	end(&b);
}

/* A resolver's value is a new write, later than the winner, and goes up like one. */
static void a_resolver_writes(void **state)
{
	struct bench b;
	struct ear ear = {.choice = RESOLVE_WRITE, .answer = 50};
	uint64_t number;

	(void)state;
	begin_listening(&b, &ear);
	number = write_pending(&b, "UPDATE t SET a = 20");
	overwrite(&b, 2, 0, 30);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t"), "50");
	char sql[100];
	snprintf(sql, sizeof sql, "SELECT stamp > %llu FROM neap_m1 WHERE col = 0",
		 (unsigned long long)late + 200);
	assert_string_equal(test_query(&b.db, sql), "1");
	while (!find(&b, FRAME_SET) || find(&b, FRAME_SET)->set.number == number)
		wait_deadline(&b);
	assert_string_equal(test_query(&b.db, "SELECT reason FROM neap_conflict"),
			    "a later write won; resolved by a new write");
	assert_int_equal(ear.asked, 1);
	/* It can lose in its turn, and that is another conflict. */
	overwrite(&b, 3, 0, 60);
	assert_int_equal(ear.asked, 2);
	assert_int_equal(ear.local, 50);
	assert_int_equal(ear.incoming, 60);
	assert_string_equal(list(&b), "a 20 0,a 50 0");
	end(&b);
}

/* The process ended after the change was applied and before anyone was asked. */
static void a_crash_before_asking_asks_later(void **state)
{
	struct bench *b = *state;
	struct ear ear = {.choice = RESOLVE_WRITE, .answer = 50};

	write_pending(b, "UPDATE t SET a = 20");
	overwrite(b, 2, 0, 30);
	test_sql(&b->db, "UPDATE neap_conflict SET todo = 3");
	reopen(b, &ear);
	happen(b, EV_TICK);
	assert_int_equal(ear.asked, 1);
	assert_non_null(told(b));
	assert_string_equal(test_query(&b->db, "SELECT a FROM t"), "50");
	engine_close(b->en);
	open_engine(b);
	happen(b, EV_TICK);
	assert_int_equal(ear.asked, 1);
	assert_null(told(b));
}

static int try_step(struct bench *b)
{
	struct event ev = {.type = EV_TICK, .now_ms = wall_ms(b), .mono_ms = b->mono_ms += 1000};
	struct err e = {0};

	return engine_step(b->en, &ev, &b->acts, &e);
}

/* A transaction that fails takes back what a resolver wrote: asked anew, as if never before. */
static void a_failed_transaction_asks_again(void **state)
{
	struct bench *b = *state;
	struct ear ear = {.choice = RESOLVE_WRITE, .answer = 50};

	write_pending(b, "UPDATE t SET a = 20");
	overwrite(b, 2, 0, 30);
	test_sql(&b->db, "UPDATE neap_conflict SET todo = 3");
	reopen(b, &ear);
	/* The app holds the lock: nobody is asked. */
	sqlite3_busy_timeout(db_handle(engine_devdb(b->en)->db), 0);
	test_sql(&b->db, "BEGIN IMMEDIATE");
	assert_int_equal(try_step(b), NE_BUSY);
	test_sql(&b->db, "ROLLBACK");
	assert_int_equal(ear.asked, 0);
	/* Nothing can be written from the moment of the answer on. */
	ear.spoil = db_handle(engine_devdb(b->en)->db);
	assert_int_not_equal(try_step(b), NE_OK);
	assert_int_equal(ear.asked, 1);
	assert_string_equal(list(b), "a 20 3");
	assert_string_equal(test_query(&b->db, "SELECT a FROM t"), "30");
	sqlite3_exec(ear.spoil, "PRAGMA query_only = OFF", NULL, NULL, NULL);
	ear.spoil = NULL;
	assert_int_equal(try_step(b), NE_OK);
	assert_int_equal(ear.asked, 2);
	assert_non_null(told(b));
	assert_string_equal(list(b), "a 20 0");
	assert_string_equal(test_query(&b->db, "SELECT a FROM t"), "50");
}

/* The app wrote the cell again, or removed the row, before the resolver's turn: that is its answer.
 */
static void a_newer_write_of_the_app_stands(void **state)
{
	static const char *const writes[] = {
		"UPDATE t SET a = 70", "REPLACE INTO t VALUES(1, 70, 70)", "DELETE FROM t",
		"UPDATE t SET a = 20", /* what had lost */
	};

	(void)state;
	for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
		struct bench b;
		struct ear ear = {.choice = RESOLVE_WRITE, .answer = 50};

		begin_synced(&b);
		write_pending(&b, "UPDATE t SET a = 20");
		overwrite(&b, 2, 0, 30);
		test_sql(&b.db, "UPDATE neap_conflict SET todo = 2");
		test_sql(&b.db, writes[i]);
		reopen(&b, &ear);
		happen(&b, EV_TICK);
		assert_int_equal(ear.asked, 0);
		assert_string_equal(list(&b), "a 20 0");
		end(&b);
	}
}

static void a_value_that_does_not_fit_is_not_written(void **state)
{
	struct bench b;
	struct ear ear = {.choice = RESOLVE_WRITE, .answer = 50};

	(void)state;
	begin(&b, "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b)");
	track(&b);
	first_sync(&b, 0);
	test_sql(&b.db, "INSERT INTO t VALUES(1, 0, 0), (2, 50, 0)");
	happen(&b, EV_LOCAL);
	give_ack(&b, find(&b, FRAME_SET)->set.number, 1, 1);
	reopen(&b, &ear);
	happen(&b, EV_LINK_UP);
	struct frame f = welcome(find(&b, FRAME_HELLO), &b, 1);
	f.welcome.last_number = 1;
	give(&b, EV_DOWN, &f);
	write_pending(&b, "UPDATE t SET a = 20 WHERE id = 1");
	overwrite(&b, 2, 0, 30);
	assert_int_equal(ear.asked, 1);
	assert_string_equal(test_query(&b.db, "SELECT a FROM t ORDER BY id"), "30,50");
	assert_string_equal(test_query(&b.db, "SELECT reason FROM neap_conflict"),
			    "a later write won; the resolver's value violates a constraint and was "
			    "not written");
	end(&b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, bench_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_lost_is_reported_until_noted),
		T(a_restart_reports_again),
		T(many_go_in_several_frames),
		cmocka_unit_test(a_sync_waits_for_the_note),
		T(a_sync_reports_once_more),
		T(a_large_value_goes_in_parts),
		T(a_correction_is_listed),
		T(what_was_taken_has_not_lost),
		T(a_reset_reports_all_again),
		T(a_welcome_tells_what_the_server_has),
		T(a_number_of_another_term_hides_nothing),
		cmocka_unit_test(the_callback_hears_once),
		cmocka_unit_test(a_resolver_writes),
		T(a_crash_before_asking_asks_later),
		T(a_failed_transaction_asks_again),
		cmocka_unit_test(a_newer_write_of_the_app_stands),
		cmocka_unit_test(a_value_that_does_not_fit_is_not_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
