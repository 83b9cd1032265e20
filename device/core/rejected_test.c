/* Own writes that the server refused: kept with their values, put back as new writes. */
#include "device/core/rejected.h"

#include "device/core/engine_bench.h"

static const char people[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, email UNIQUE, n)";

static const char *rejected(struct bench *b)
{
	return test_query(&b->db, "SELECT text || '|' || reason FROM neap_rejected ORDER BY id");
}

static const struct shape *start(struct bench *b)
{
	const struct shape *s;

	begin(b, people);
	s = track(b);
	first_sync(b, 0);
	return s;
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

static void refused_insert(bool reason_first)
{
	struct bench b;
	struct test_rows r = {0};
	struct rows rows;
	const struct shape *s = start(&b);
	const struct row *sent = sends(&b, "INSERT INTO t VALUES(1, 'x', 7)", &rows);
	uint64_t stamp = sent->exist_reg.stamp;

	if (reason_first)
		give_reject(&b, s, 1, "taken");
	test_row(&r, s, test_int(1), EXIST_DEAD, stamp, SITE_REFUSED);
	give_change(&b, 1, &r.rows);
	if (!reason_first) {
		assert_non_null(strstr(rejected(&b), "the server refused this write"));
		give_reject(&b, s, 1, "taken");
	}
	give_ack(&b, 1, 1, 0);
	assert_string_equal(test_query(&b.db, "SELECT count(*) FROM t"), "0");
	assert_string_equal(rejected(&b), "{\"id\": 1, \"email\": \"x\", \"n\": 7}|taken");
	assert_int_equal(status(&b).rejected_rows, 1);
	assert_int_equal(status(&b).pending_rows, 0);
	assert_int_equal(status(&b).problem, NE_ROWS);
	assert_string_equal(test_query(&b.db, "SELECT count(*) FROM neap_reason"), "0");
	/* It is no conflict besides, and a repetition after all is settled says nothing new. */
	assert_string_equal(test_query(&b.db, "SELECT count(*) FROM neap_conflict"), "0");
	give_reject(&b, s, 1, "again");
	assert_string_equal(test_query(&b.db, "SELECT reason FROM neap_rejected"), "taken");
	end(&b);
}

static void test_refused_insert(void **state)
{
	(void)state;
	refused_insert(true);
	refused_insert(false);
}

static void test_retry(void **state)
{
	struct bench b;
	struct test_rows r = {0};
	struct rows rows;
	struct rejected_done done;
	struct err e = {0};
	const struct shape *s = start(&b);
	const struct row *sent = sends(&b, "INSERT INTO t VALUES(1, 'x', 7)", &rows);
	uint64_t stamp = sent->exist_reg.stamp;

	(void)state;
	test_row(&r, s, test_int(1), EXIST_DEAD, stamp, SITE_REFUSED);
	give_change(&b, 1, &r.rows);
	give_ack(&b, 1, 1, 0);
	/* Not while the value is taken here, too. */
	r = (struct test_rows){0};
	test_row(&r, s, test_int(2), EXIST_ALIVE, 5, 9);
	test_cell(&r, 0, test_text("x"), 5, 9);
	test_cell(&r, 1, test_int(8), 5, 9);
	give_change(&b, 2, &r.rows);
	assert_int_equal(rejected_retry(engine_devdb(b.en), 0, &done, &e), NE_OK);
	assert_int_equal(done.failed, 1);
	assert_non_null(strstr(done.first.text, "UNIQUE"));
	assert_int_equal(status(&b).rejected_rows, 1);
	assert_string_equal(test_query(&b.db, "SELECT count(*) FROM neap_m1"), "0");
	assert_int_equal(rejected_retry(engine_devdb(b.en), 77, &done, &e), NE_NOT_FOUND);
	test_sql(&b.db, "UPDATE t SET email = 'y' WHERE id = 2");
	assert_int_equal(rejected_retry(engine_devdb(b.en), 1, &done, &e), NE_OK);
	assert_int_equal(done.done, 1);
	assert_string_equal(test_query(&b.db, "SELECT id || email || n FROM t"), "1x7,2y8");
	assert_int_equal(status(&b).rejected_rows, 0);
	sent = sends(&b, "SELECT 1", &rows);
	assert_int_equal(sent->exist, EXIST_ALIVE);
	assert_true(sent->exist_reg.stamp > stamp);
	end(&b);
}

static void test_refused_update(void **state)
{
	struct bench b;
	struct test_rows r = {0};
	struct rows rows;
	const struct shape *s = start(&b);
	const struct row *sent;
	uint64_t stamp;

	(void)state;
	sends(&b, "INSERT INTO t VALUES(1, 'a', 7)", &rows);
	give_ack(&b, 1, 1, 1);
	sent = sends(&b, "UPDATE t SET email = 'x', n = 8", &rows);
	stamp = sent->cell[0].reg.stamp;
	assert_int_equal(sent->n_cell, 2);
	/* Written again meanwhile: that is a write of its own, and stays. */
	test_sql(&b.db, "UPDATE t SET n = 9");
	test_row(&r, s, test_int(1), EXIST_ALIVE, 3, 9);
	test_cell(&r, 0, test_text("a"), stamp, SITE_REFUSED);
	test_cell(&r, 1, test_int(7), stamp, SITE_REFUSED);
	give_change(&b, 2, &r.rows);
	give_ack(&b, 2, 2, 0);
	assert_string_equal(test_query(&b.db, "SELECT email || n FROM t"), "a9");
	assert_non_null(strstr(rejected(&b), "{\"id\": 1, \"email\": \"x\"}|"));
	assert_int_equal(status(&b).rejected_rows, 1);
	/* A write that goes up for the same column replaces it; one for another does not. */
	happen(&b, EV_LOCAL);
	assert_int_equal(status(&b).rejected_rows, 1);
	sends(&b, "UPDATE t SET email = 'z'", &rows);
	assert_int_equal(status(&b).rejected_rows, 0);
	end(&b);
}

static void test_refused_delete(void **state)
{
	struct bench b;
	struct test_rows r = {0};
	struct rows rows;
	struct rejected_done done;
	struct err e = {0};
	const struct shape *s = start(&b);
	const struct row *sent;
	uint64_t stamp;

	(void)state;
	sends(&b, "INSERT INTO t VALUES(1, 'a', 7)", &rows);
	give_ack(&b, 1, 1, 1);
	sent = sends(&b, "DELETE FROM t", &rows);
	stamp = sent->exist_reg.stamp;
	test_row(&r, s, test_int(1), EXIST_ALIVE, stamp, SITE_REFUSED);
	test_cell(&r, 0, test_text("a"), stamp, SITE_REFUSED);
	test_cell(&r, 1, test_int(7), stamp, SITE_REFUSED);
	give_change(&b, 2, &r.rows);
	give_ack(&b, 2, 2, 0);
	assert_string_equal(test_query(&b.db, "SELECT email || n FROM t"), "a7");
	assert_int_equal(status(&b).rejected_rows, 1);
	assert_int_equal(rejected_retry(engine_devdb(b.en), 0, &done, &e), NE_OK);
	assert_string_equal(test_query(&b.db, "SELECT count(*) FROM t"), "0");
	sent = sends(&b, "SELECT 1", &rows);
	assert_int_equal(sent->exist, EXIST_DEAD);
	assert_int_equal(rejected_forget(engine_devdb(b.en), 0, &done, &e), NE_OK);
	assert_int_equal(done.done, 0);
	end(&b);
}

/* A row of others that lost its place here still sends what was written to it. */
static void test_parked_rows_marks_go_up(void **state)
{
	struct bench b;
	struct test_rows r = {0};
	struct rows rows;
	const struct shape *s = start(&b);
	const struct row *sent;

	(void)state;
	sends(&b, "INSERT INTO t VALUES(1, 'a', 7)", &rows);
	give_ack(&b, 1, 1, 1);
	sends(&b, "INSERT INTO t VALUES(2, 'x', 0)", &rows);
	test_sql(&b.db, "UPDATE t SET n = 8 WHERE id = 1");
	test_row(&r, s, test_int(1), EXIST_NONE, 0, 0);
	test_cell(&r, 0, test_text("x"), 5, 9);
	give_change(&b, 2, &r.rows);
	assert_int_equal(status(&b).parked_rows, 1);
	assert_string_equal(test_query(&b.db, "SELECT id FROM t"), "2");
	sent = sends(&b, "SELECT 1", &rows);
	assert_int_equal(sent->exist, EXIST_NONE);
	assert_int_equal(sent->key[0].i, 1);
	assert_int_equal(sent->n_cell, 1);
	assert_int_equal(sent->cell[0].val.i, 8);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_insert),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_refused_update),
		cmocka_unit_test(test_refused_delete),
		cmocka_unit_test(test_parked_rows_marks_go_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
