/* J6 at the server: sums and rows of a range of keys. */
#include "backend/core/testing.h"
#include "protocol/value_bytes.h"

enum { SITE_A = 11, SITE_B = 22 };

static struct position here(struct world *w, uint64_t cursor)
{
	return (struct position){store_id(w->store), store_term(w->store), cursor, 0, false, 0};
}

/* Keys 1 … n with x = 10 · key, y = key, as seq 1. */
static struct world *rows_to(int64_t n)
{
	struct world *w = world_new();
	struct builder *b = set_new(SITE_A, 1, 0);

	declare_shape(w, "u", "a", notes());
	for (int64_t i = 1; i <= n; i++)
		put_insert(b, i, 100, i * 10, i);
	give_set(w, "u", "a", b);
	return w;
}

static struct slice key_of(struct world *w, int64_t id)
{
	struct buf b = {.max = 16};
	struct val v = int_val(id);
	struct slice s;

	assert_int_equal(value_put(&b, &v), 0);
	s = arena_copy(&w->arena, buf_slice(&b));
	buf_free(&b);
	return s;
}

static struct f_verify question(struct world *w, uint64_t cursor)
{
	return (struct f_verify){.nonce = 9, .at = here(w, cursor), .shape = notes()->id};
}

/* The last message to the device; NULL-typed (0) if there is none. */
static struct frame ask_as(struct world *w, const char *user, const struct f_verify *v)
{
	struct frame f = {.type = FRAME_VERIFY, .verify = *v}, none = {.type = 0};

	give(w, user, "b", &f);
	if (!w->out.n || w->out.at[w->out.n - 1].kind != TOPIC_DOWN)
		return none;
	assert_string_equal(w->out.at[w->out.n - 1].peer.at, "b");
	return decoded(w, &w->out.at[w->out.n - 1]);
}

static struct f_digest ask(struct world *w, const struct f_verify *v)
{
	struct frame f = ask_as(w, "u", v);

	assert_int_equal(f.type, FRAME_DIGEST);
	assert_int_equal(f.digest.nonce, v->nonce);
	assert_int_equal(f.digest.store, store_id(w->store));
	assert_int_equal(f.digest.term, store_term(w->store));
	return f.digest;
}

/* The sum of rows with these keys, made as by a device. */
static void expect_sum(const struct f_digest *d, const int64_t *id, size_t n)
{
	struct row_sum sum = {0};
	struct buf scratch = {.max = 1000};

	for (size_t i = 0; i < n; i++) {
		struct val key = int_val(id[i]), col[2] = {int_val(id[i] * 10), int_val(id[i])};
		assert_int_equal(row_sum_add(&sum, notes(), &key, col, &scratch), 0);
	}
	buf_free(&scratch);
	assert_int_equal(d->sum.n, n);
	assert_true(row_sum_eq(&d->sum, &sum));
}
#define EXPECT_SUM(d, ...)                              \
	expect_sum((d), (const int64_t[]){__VA_ARGS__}, \
		   sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void a_range_is_behind_one_key_up_to_another(void **state)
{
	struct world *w = rows_to(5);
	struct f_verify v = question(w, 1);
	struct f_digest d = ask(w, &v);
	(void)state;

	EXPECT_SUM(&d, 1, 2, 3, 4, 5);
	assert_int_equal(d.upto.len + d.above.len + d.rows.len, 0);
	assert_int_equal(d.head, 1);
	v.from = key_of(w, 2);
	d = ask(w, &v);
	EXPECT_SUM(&d, 3, 4, 5);
	v.to = key_of(w, 4);
	d = ask(w, &v);
	EXPECT_SUM(&d, 3, 4);
	v.from = (struct slice){0};
	d = ask(w, &v);
	EXPECT_SUM(&d, 1, 2, 3, 4);
	v.except = key_of(w, 3);
	d = ask(w, &v);
	EXPECT_SUM(&d, 1, 2, 4);
	v.from = v.to; /* empty */
	d = ask(w, &v);
	assert_int_equal(d.sum.n, 0);
	world_free(w);
}

/* Rows newer than the cursor, dead ones as well, are named; rows of the past keep their sum. */
static void what_is_newer_is_named(void **state)
{
	struct world *w = rows_to(4);
	struct builder *b = set_new(SITE_A, 2, 1);
	struct f_verify v = question(w, 1);
	struct buf want = {.max = 100};
	struct val keys[2] = {int_val(2), int_val(3)};
	(void)state;

	put_update(b, 2, 200, 0, 77);
	put_delete(b, 3, 200);
	give_set(w, "u", "a", b);
	struct f_digest d = ask(w, &v);
	EXPECT_SUM(&d, 1, 4);
	assert_int_equal(d.head, 2);
	assert_int_equal(values_put(&want, keys, 2), 0);
	assert_true(slice_eq(d.above, buf_slice(&want)));
	buf_free(&want);
	v.at.cursor = 2;
	d = ask(w, &v);
	assert_int_equal(d.above.len, 0);
	assert_int_equal(d.sum.n, 3);
	world_free(w);
}

static void whole_rows_and_tombstones(void **state)
{
	struct world *w = rows_to(3);
	struct builder *b = set_new(SITE_A, 2, 1);
	struct f_verify v = question(w, 2);
	(void)state;

	put_delete(b, 2, 200);
	give_set(w, "u", "a", b);
	v.whole = true;
	v.from = key_of(w, 1);
	struct f_digest d = ask(w, &v);
	struct rows rows = rows_of(w, d.rows);
	assert_int_equal(rows.n_table, 1);
	assert_int_equal(rows.table[0].n_row, 2);
	const struct row *r = rows.table[0].row;
	assert_int_equal(r[0].key[0].i, 2);
	assert_int_equal(r[0].exist, EXIST_DEAD);
	assert_int_equal(r[0].exist_reg.stamp, 200);
	assert_int_equal(r[1].key[0].i, 3);
	assert_int_equal(r[1].exist, EXIST_ALIVE);
	assert_int_equal(r[1].n_cell, 2);
	assert_int_equal(r[1].cell[0].val.i, 30);
	assert_int_equal(r[1].cell[0].reg.site, SITE_A);
	v.from = key_of(w, 3);
	d = ask(w, &v);
	assert_int_equal(d.rows.len, 0);
	world_free(w);
}

/* However much there is, an answer is bounded and says how far it went. */
static void an_answer_goes_only_so_far(void **state)
{
	struct world *w = rows_to(2000);
	struct builder *b = set_new(SITE_A, 2, 1);
	struct f_verify v = question(w, 2);
	struct val key;
	uint64_t n = 0;
	int answers = 0;
	(void)state;

	for (int64_t i = 2001; i <= 4100; i++)
		put_insert(b, i, 100, i * 10, i);
	give_set(w, "u", "a", b);
	do {
		struct f_digest d = ask(w, &v);
		struct slice upto = d.upto;

		n += d.sum.n;
		answers++;
		assert_true(d.sum.n <= 2000);
		if (upto.len) {
			assert_int_equal(value_take(&upto, &key), 0);
			assert_int_equal(key.i, (int64_t)n);
		}
		v.from = arena_copy(&w->arena, d.upto);
	} while (v.from.len);
	assert_int_equal(n, 4100);
	assert_int_equal(answers, 3);
	v.whole = true;
	struct f_digest d = ask(w, &v);
	struct rows rows = rows_of(w, d.rows);
	assert_in_range(rows.table[0].n_row, 500, 1000);
	assert_true(d.upto.len > 0);
	world_free(w);
}

/* What SQL wrote with capture switched off is found, and becomes a change of the server's. */
static void sql_that_went_unseen_is_made_good(void **state)
{
	struct world *w = rows_to(4);
	struct f_verify v = question(w, 1);
	sqlite3 *db;
	bool pending;
	struct frame f;
	(void)state;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	assert_int_equal(sqlite3_exec(db,
				      "DELETE FROM notes WHERE id = 2;"
				      "INSERT INTO notes(user_id, id, x, y) VALUES('u', 9, 90, 9)",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	tick(w);
	assert_int_equal(w->out.n, 0);
	struct f_digest d = ask(w, &v);
	EXPECT_SUM(&d, 1, 3, 4);
	assert_int_equal(d.above.len, 2 * 9);
	ok(w, store_foreign_pending(w->store, &pending, &w->e));
	assert_true(pending);
	tick(w);
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].n_row, 2);
	assert_int_equal(rows.table[0].row[0].exist, EXIST_DEAD);
	assert_int_equal(rows.table[0].row[1].exist, EXIST_ALIVE);
	assert_int_equal(rows.table[0].row[1].cell[0].val.i, 90);
	v.at.cursor = 2;
	d = ask(w, &v);
	EXPECT_SUM(&d, 1, 3, 4, 9);
	assert_int_equal(d.above.len, 0);
	world_free(w);
}

/* A value that no message can carry is not the devices' fault. */
static void rows_too_large_to_travel_are_left_out(void **state)
{
	struct world *w = rows_to(3);
	struct f_verify v = question(w, 2);
	(void)state;

	sql(w, "UPDATE notes SET x = zeroblob(3700000) WHERE id = 2");
	tick(w);
	struct f_digest d = ask(w, &v);
	EXPECT_SUM(&d, 1, 3);
	assert_true(slice_eq(d.above, key_of(w, 2)));
	world_free(w);
}

static void a_user_sees_only_its_own(void **state)
{
	struct world *w = rows_to(3);
	struct f_verify v = question(w, 0);
	struct frame f = ask_as(w, "v", &v);
	(void)state;

	assert_int_equal(f.type, FRAME_DIGEST);
	assert_int_equal(f.digest.sum.n, 0);
	assert_int_equal(f.digest.above.len, 0);
	v.whole = true;
	f = ask_as(w, "v", &v);
	assert_int_equal(f.digest.rows.len, 0);
	world_free(w);
}

static void positions_and_tables_are_checked(void **state)
{
	struct world *w = rows_to(3);
	struct f_verify v = question(w, 2);
	(void)state;

	assert_int_equal(ask_as(w, "u", &v).type, FRAME_RESET); /* beyond the head */
	v = question(w, 1);
	v.at.term ^= 1;
	assert_int_equal(ask_as(w, "u", &v).type, FRAME_RESET);
	v = question(w, 1);
	v.shape.at[0] ^= 1;
	assert_int_equal(ask(w, &v).status, DIGEST_NO_TABLE);
	declare_shape(w, "u", "a", logs());
	v.shape = logs()->id;
	assert_int_equal(ask(w, &v).status, DIGEST_NO_TABLE);
	v = question(w, 1);
	sql(w, "ALTER TABLE notes RENAME TO gone");
	tick(w);
	assert_int_equal(ask(w, &v).status, DIGEST_NO_TABLE);
	world_free(w);
}

static void expect_dropped(struct world *w, const struct f_verify *v)
{
	struct ingest_stats before, after;

	ingest_stats(w->in, &before);
	assert_int_equal(ask_as(w, "u", v).type, 0);
	ingest_stats(w->in, &after);
	assert_int_equal(after.malformed, before.malformed + 1);
}

static void what_is_no_question_is_dropped(void **state)
{
	static const uint8_t null_key[] = {0}, two_keys[18] = {1, [9] = 1};
	struct world *w = rows_to(3);
	struct f_verify v = question(w, 1);
	struct buf many = {.max = 1000};
	(void)state;

	v.from = slice_of(null_key, 1);
	expect_dropped(w, &v);
	v.from = slice_of(two_keys, 18);
	expect_dropped(w, &v);
	v.from = (struct slice){0};
	v.to = slice_of(two_keys, 5);
	expect_dropped(w, &v);
	v.to = (struct slice){0};
	v.except = slice_of(two_keys, 17);
	expect_dropped(w, &v);
	for (int64_t i = 0; i <= LIMIT_EXCEPT; i++) {
		struct val key = int_val(i);
		assert_int_equal(value_put(&many, &key), 0);
	}
	v.except = buf_slice(&many);
	expect_dropped(w, &v);
	buf_free(&many);
	v = question(w, 1);
	v.at.full = true;
	expect_dropped(w, &v);
	world_free(w);
}

/* One answer of a user and two in all in a step; the others hear so at once. */
static void answers_are_rationed(void **state)
{
	struct world *w = rows_to(3);
	struct f_verify v = question(w, 0);
	struct frame f = {.type = FRAME_VERIFY, .verify = v}, got;
	struct slice bytes = encoded(w, &f);
	const struct in_event ev[] = {
		{.type = IN_FRAME, .user = "u", .device = "a", .frame = bytes},
		{.type = IN_FRAME, .user = "u", .device = "b", .frame = bytes},
		{.type = IN_FRAME, .user = "v", .device = "a", .frame = bytes},
		{.type = IN_FRAME, .user = "w", .device = "a", .frame = bytes},
	};
	static const enum digest_status want[] = {DIGEST_OK, DIGEST_BUSY, DIGEST_OK, DIGEST_BUSY};
	(void)state;

	step_n(w, ev, 4);
	for (size_t i = 0; i < 4; i++) {
		find_out(w, FRAME_DIGEST, i, &got);
		assert_int_equal(got.digest.status, want[i]);
	}
	assert_int_equal(count_out(w, FRAME_BUSY), 0);
	step_n(w, ev + 1, 1);
	find_out(w, FRAME_DIGEST, 0, &got);
	assert_int_equal(got.digest.status, DIGEST_OK);
	world_free(w);
}

/* Columns are those of the asking device, in its order. */
static void sums_are_by_the_askers_columns(void **state)
{
	struct world *w = rows_to(3);
	struct shape_col key = {slice_str("ID"), AFF_INTEGER, COLL_BINARY},
			 col[2] = {{slice_str("z"), AFF_BLOB, COLL_BINARY},
				   {slice_str("x"), AFF_BLOB, COLL_BINARY}};
	struct shape other = {.kind = SHAPE_MERGE,
			      .name = slice_str("notes"),
			      .n_key = 1,
			      .n_col = 2,
			      .key = &key,
			      .col = col};
	struct buf scratch = {.max = 1000};
	struct row_sum sum = {0};
	struct f_verify v;
	(void)state;

	declare_shape(w, "u", "b", &other);
	v = question(w, 1);
	v.shape = other.id;
	for (int64_t i = 1; i <= 3; i++) {
		struct val id = int_val(i), vals[2] = {{.type = VAL_NULL}, int_val(i * 10)};
		assert_int_equal(row_sum_add(&sum, &other, &id, vals, &scratch), 0);
	}
	struct f_digest d = ask(w, &v);
	assert_true(row_sum_eq(&d.sum, &sum));
	v.whole = true;
	d = ask(w, &v);
	struct rows rows = rows_of(w, d.rows);
	assert_int_equal(rows.table[0].row[0].n_cell, 1); /* z was never written */
	assert_int_equal(rows.table[0].row[0].cell[0].col, 1);
	buf_free(&scratch);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_is_behind_one_key_up_to_another),
		cmocka_unit_test(what_is_newer_is_named),
		cmocka_unit_test(whole_rows_and_tombstones),
		cmocka_unit_test(an_answer_goes_only_so_far),
		cmocka_unit_test(sql_that_went_unseen_is_made_good),
		cmocka_unit_test(rows_too_large_to_travel_are_left_out),
		cmocka_unit_test(a_user_sees_only_its_own),
		cmocka_unit_test(positions_and_tables_are_checked),
		cmocka_unit_test(what_is_no_question_is_dropped),
		cmocka_unit_test(answers_are_rationed),
		cmocka_unit_test(sums_are_by_the_askers_columns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
