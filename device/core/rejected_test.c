/* Own writes that the server refused: kept with their values, put back as new writes. */
#include "device/core/rejected.h"

#include "device/core/engine_bench.h"

static const char people[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, email UNIQUE, n)";

static const char *rejected(struct bench *b)
{
	return test_query(&b->db, "SELECT text || '|' || reason FROM neap_rejected ORDER BY id");
}

static int setup(void **state)
{
	return bench_synced(state, people);
}

static const struct shape *tracked_shape(struct bench *b)
{
	return &engine_devdb(b->en)->table[0].shape;
}

static const struct shape *own_shape(void *ctx, struct shape_id id)
{
	const struct tracked *t = devdb_table_by_shape(ctx, id);

	return t ? &t->shape : NULL;
}

/* The app writes and a set goes out; its first row. */
static const struct row *sends(struct bench *b, const char *sql, struct rows *rows)
{
	struct shape_finder f = {.find = own_shape, .ctx = engine_devdb(b->en)};
	struct err e = {0};
	const struct frame *set;

	test_sql(&b->db, sql);
	happen(b, EV_LOCAL);
	for (int i = 0; i < 5 && !find(b, FRAME_SET); i++)
		wait_deadline(b); /* between cuts there is a pause */
	set = find(b, FRAME_SET);
	assert_non_null(set);
	if (rows_decode(set->set.rows, TEST_SITE, f, &b->arena, rows, NULL, &e))
		fail_msg("%s", e.text);
	return &rows->table[0].row[0];
}

static void give_reject(struct bench *b, const struct shape *s, uint64_t number, const char *why)
{
	struct test_rows r = {0};
	struct frame f = {.type = FRAME_REJECT};

	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	struct buf bytes = encode(&r.rows);
	f.reject = (struct f_reject){.site = TEST_SITE,
				     .number = number,
				     .text = slice_str(why),
				     .rows = buf_slice(&bytes)};
	give(b, EV_DOWN, &f);
	buf_free(&bytes);
}

static void refused_insert(struct bench *b, bool reason_first)
{
	struct test_rows r = {0};
	struct rows rows;
	const struct shape *s = tracked_shape(b);
	const struct row *sent = sends(b, "INSERT INTO t VALUES(1, 'x', 7)", &rows);
	uint64_t stamp = sent->exist_reg.stamp;

	if (reason_first)
		give_reject(b, s, 1, "taken");
	test_row(&r, s, test_int(1), EXIST_DEAD, stamp, SITE_REFUSED);
	give_change(b, 1, &r.rows);
	if (!reason_first) {
		assert_non_null(strstr(rejected(b), "the server refused this write"));
		give_reject(b, s, 1, "taken");
	}
	give_ack(b, 1, 1, 0);
	assert_string_equal(test_query(&b->db, "SELECT count(*) FROM t"), "0");
	assert_string_equal(rejected(b), "{\"id\": 1, \"email\": \"x\", \"n\": 7}|taken");
	assert_int_equal(status(b).rejected_rows, 1);
	assert_int_equal(status(b).pending_rows, 0);
	assert_int_equal(status(b).problem, NE_ROWS);
	assert_string_equal(test_query(&b->db, "SELECT count(*) FROM neap_reason"), "0");
	/* It is no conflict besides, and a repetition after all is settled says nothing new. */
	assert_string_equal(test_query(&b->db, "SELECT count(*) FROM neap_conflict"), "0");
	give_reject(b, s, 1, "again");
	assert_string_equal(test_query(&b->db, "SELECT reason FROM neap_rejected"), "taken");
}

static void test_refused_insert(void **state)
{
	refused_insert(*state, false);
}

static void test_refused_insert_reason_first(void **state)
{
	refused_insert(*state, true);
}

static void test_retry(void **state)
{
	struct bench *b = *state;
	struct test_rows r = {0};
	struct rows rows;
	struct rejected_done done;
	struct err e = {0};
	const struct shape *s = tracked_shape(b);
	const struct row *sent = sends(b, "INSERT INTO t VALUES(1, 'x', 7)", &rows);
	uint64_t stamp = sent->exist_reg.stamp;

	test_row(&r, s, test_int(1), EXIST_DEAD, stamp, SITE_REFUSED);
	give_change(b, 1, &r.rows);
	give_ack(b, 1, 1, 0);
	/* Not while the value is taken here, too. */
	r = (struct test_rows){0};
	test_row(&r, s, test_int(2), EXIST_ALIVE, 5, 9);
	test_cell(&r, 0, test_text("x"), 5, 9);
	test_cell(&r, 1, test_int(8), 5, 9);
	give_change(b, 2, &r.rows);
	assert_int_equal(rejected_retry(engine_devdb(b->en), 0, &done, &e), NE_OK);
	assert_int_equal(done.failed, 1);
	assert_non_null(strstr(done.first.text, "UNIQUE"));
	assert_int_equal(status(b).rejected_rows, 1);
	assert_string_equal(test_query(&b->db, "SELECT count(*) FROM neap_m1"), "0");
	assert_int_equal(rejected_retry(engine_devdb(b->en), 77, &done, &e), NE_NOT_FOUND);
	test_sql(&b->db, "UPDATE t SET email = 'y' WHERE id = 2");
	assert_int_equal(rejected_retry(engine_devdb(b->en), 1, &done, &e), NE_OK);
	assert_int_equal(done.done, 1);
	assert_string_equal(test_query(&b->db, "SELECT id || email || n FROM t"), "1x7,2y8");
	assert_int_equal(status(b).rejected_rows, 0);
	sent = sends(b, "SELECT 1", &rows);
	assert_int_equal(sent->exist, EXIST_ALIVE);
	assert_true(sent->exist_reg.stamp > stamp);
}

static void test_refused_update(void **state)
{
	struct bench *b = *state;
	struct test_rows r = {0};
	struct rows rows;
	const struct shape *s = tracked_shape(b);
	const struct row *sent;
	uint64_t stamp;

	sends(b, "INSERT INTO t VALUES(1, 'a', 7)", &rows);
	give_ack(b, 1, 1, 1);
	sent = sends(b, "UPDATE t SET email = 'x', n = 8", &rows);
	stamp = sent->cell[0].reg.stamp;
	assert_int_equal(sent->n_cell, 2);
	/* Written again meanwhile: that is a write of its own, and stays. */
	test_sql(&b->db, "UPDATE t SET n = 9");
	test_row(&r, s, test_int(1), EXIST_ALIVE, 3, 9);
	test_cell(&r, 0, test_text("a"), stamp, SITE_REFUSED);
	test_cell(&r, 1, test_int(7), stamp, SITE_REFUSED);
	give_change(b, 2, &r.rows);
	give_ack(b, 2, 2, 0);
	assert_string_equal(test_query(&b->db, "SELECT email || n FROM t"), "a9");
	assert_non_null(strstr(rejected(b), "{\"id\": 1, \"email\": \"x\"}|"));
	assert_int_equal(status(b).rejected_rows, 1);
	/* A write that goes up for the same column replaces it; one for another does not. */
	happen(b, EV_LOCAL);
	assert_int_equal(status(b).rejected_rows, 1);
	sends(b, "UPDATE t SET email = 'z'", &rows);
	assert_int_equal(status(b).rejected_rows, 0);
}

static void test_refused_delete(void **state)
{
	struct bench *b = *state;
	struct test_rows r = {0};
	struct rows rows;
	struct rejected_done done;
	struct err e = {0};
	const struct shape *s = tracked_shape(b);
	const struct row *sent;
	uint64_t stamp;

	sends(b, "INSERT INTO t VALUES(1, 'a', 7)", &rows);
	give_ack(b, 1, 1, 1);
	sent = sends(b, "DELETE FROM t", &rows);
	stamp = sent->exist_reg.stamp;
	test_row(&r, s, test_int(1), EXIST_ALIVE, stamp, SITE_REFUSED);
	test_cell(&r, 0, test_text("a"), stamp, SITE_REFUSED);
	test_cell(&r, 1, test_int(7), stamp, SITE_REFUSED);
	give_change(b, 2, &r.rows);
	give_ack(b, 2, 2, 0);
	assert_string_equal(test_query(&b->db, "SELECT email || n FROM t"), "a7");
	assert_int_equal(status(b).rejected_rows, 1);
	assert_int_equal(rejected_retry(engine_devdb(b->en), 0, &done, &e), NE_OK);
	assert_string_equal(test_query(&b->db, "SELECT count(*) FROM t"), "0");
	sent = sends(b, "SELECT 1", &rows);
	assert_int_equal(sent->exist, EXIST_DEAD);
	assert_int_equal(rejected_forget(engine_devdb(b->en), 0, &done, &e), NE_OK);
	assert_int_equal(done.done, 0);
}

/* A row of others that lost its place here still sends what was written to it. */
static void test_parked_rows_marks_go_up(void **state)
{
	struct bench *b = *state;
	struct test_rows r = {0};
	struct rows rows;
	const struct shape *s = tracked_shape(b);
	const struct row *sent;

	sends(b, "INSERT INTO t VALUES(1, 'a', 7)", &rows);
	give_ack(b, 1, 1, 1);
	sends(b, "INSERT INTO t VALUES(2, 'x', 0)", &rows);
	test_sql(&b->db, "UPDATE t SET n = 8 WHERE id = 1");
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 0, test_text("x"), 5, 9);
	give_change(b, 2, &r.rows);
	assert_int_equal(status(b).parked_rows, 1);
	assert_string_equal(test_query(&b->db, "SELECT id FROM t"), "2");
	sent = sends(b, "SELECT 1", &rows);
	assert_int_equal(sent->exist, EXIST_NONE);
	assert_int_equal(sent->key[0].i, 1);
	assert_int_equal(sent->n_cell, 1);
	assert_int_equal(sent->cell[0].val.i, 8);
}

/* The next set that goes out, or none within some minutes; `newest` is what the server has. */
static const struct f_set *next_set(struct bench *b, const struct f_set *newest)
{
	for (int i = 0; i < 200; i++) {
		const struct frame *hello = find(b, FRAME_HELLO);

		if (find(b, FRAME_SET))
			return &find(b, FRAME_SET)->set;
		if (hello) {
			struct frame f = welcome(hello, b, 0);
			f.welcome.last_number = newest->number;
			f.welcome.last_cut = newest->cut;
			give(b, EV_DOWN, &f);
		} else {
			wait_deadline(b);
		}
	}
	return NULL;
}

static void refuse_malformed(struct bench *b, const struct f_set *set)
{
	struct frame f = {.type = FRAME_REFUSE,
			  .refuse = {.store = STORE,
				     .term = TERM,
				     .site = TEST_SITE,
				     .number = set->number,
				     .cut = set->cut,
				     .code = REFUSE_MALFORMED,
				     .text = slice_str("no valid set")}};

	give(b, EV_DOWN, &f);
}

static size_t rows_in(struct bench *b, const struct f_set *set, int64_t *first)
{
	struct shape_finder f = {.find = own_shape, .ctx = engine_devdb(b->en)};
	struct err e = {0};
	struct rows rows;

	assert_int_equal(rows_decode(set->rows, TEST_SITE, f, &b->arena, &rows, NULL, &e), 0);
	*first = rows.table[0].row[0].key[0].i;
	return rows.table[0].n_row;
}

/* A set that the server cannot read is narrowed down to one row, which is put aside; the rest goes.
 */
static void test_a_malformed_set(void **state)
{
	struct bench *b = *state;
	const struct f_set *set;
	int64_t first;
	struct f_set newest = {0};
	size_t sets = 0;

	test_sql(&b->db, "WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100)"
			 " INSERT INTO t SELECT n, n, n FROM c");
	happen(b, EV_LOCAL);
	while (status(b).pending_rows && (set = next_set(b, &newest))) {
		struct f_set sent = *set;
		size_t n = rows_in(b, set, &first);

		assert_true(++sets < 200);
		if (sent.prev != newest.number) { /* another went out with it: both come again */
			wait_deadline(b);
			continue;
		}
		/* Rows go up in the order of their keys; 40 is the bad one. */
		if (first <= 40 && first + (int64_t)n > 40) {
			refuse_malformed(b, &sent);
			continue;
		}
		newest = sent;
		give_ack(b, sent.number, 0, 0);
	}
	assert_string_equal(rejected(b), "{\"id\": 40, \"email\": 40, \"n\": 40}|no valid set");
	assert_int_equal(status(b).pending_rows, 0);
}

/* If row after row is refused it is not the rows: all that is left waits, and the status says so.
 */
static void test_every_set_is_malformed(void **state)
{
	struct bench *b = *state;
	const struct f_set *set;
	struct f_set none = {0};
	uint64_t begun, last = 0;
	int refused = 0;

	test_sql(&b->db, "WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 64)"
			 " INSERT INTO t SELECT n, n, n FROM c");
	happen(b, EV_LOCAL);
	begun = b->mono_ms;
	while (refused < 12 && (set = next_set(b, &none))) {
		struct f_set sent = *set;

		last = b->mono_ms;
		refused++;
		refuse_malformed(b, &sent);
	}
	/* 64 … 1, two more single rows, then one try in five minutes or more. */
	assert_string_equal(test_query(&b->db, "SELECT count(*) FROM neap_rejected"), "3");
	assert_int_equal(status(b).pending_rows, 61);
	assert_string_equal(status(b).trouble[0].state, "set-refused");
	assert_non_null(strstr(status(b).reason, "could not read a change set"));
	assert_true(last - begun > 5 * 60000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, bench_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_refused_insert),	 T(test_refused_insert_reason_first),
		T(test_retry),		 T(test_refused_update),
		T(test_refused_delete),	 T(test_parked_rows_marks_go_up),
		T(test_a_malformed_set), T(test_every_set_is_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
