/* Which of the messages that go out are compressed: each user's own devices say so. */
#include "backend/core/testing.h"

enum { ROWS = 100 };

/* notes, as devices declare it that do not want it compressed. */
static struct shape *secret_notes(void)
{
	static struct shape s;
	struct buf b = {.max = 4096};
	struct err e;

	s = *notes();
	s.uncompressed = true;
	assert_int_equal(shape_encode(&s, &b, &e), 0);
	buf_free(&b);
	return &s;
}

static void give_rows(struct world *w, const char *user, uint64_t site, const struct shape *shape,
		      uint64_t number)
{
	struct builder *b = set_new(site, number, number - 1);

	for (int64_t i = 0; i < ROWS; i++) {
		struct row *r = row_add(b, shape, i);
		r->exist = EXIST_ALIVE;
		r->exist_reg = (struct reg){100 * number, site};
		for (uint16_t c = 0; c < 2; c++)
			cell_add(r, c, 100 * number, site,
				 (struct val){.type = VAL_TEXT, .s = slice_str("again and again")});
	}
	give_set(w, user, "d", b);
}

static bool plain(const struct out_message *m)
{
	return m->frame.at[0] != 1;
}

/* The broadcast of the step at hand: in the clear, each value by itself, or packed. */
static void expect_change(struct world *w, bool uncompressed)
{
	struct frame f;
	const struct out_message *m = find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);

	assert_int_equal(rows.table[0].n_row, ROWS);
	if (uncompressed)
		assert_true(plain(m) && f.change.rows.len > (size_t)ROWS * 2 * 15);
	else
		assert_true(f.change.rows.len < ROWS);
}

static void expect_page(struct world *w, const char *user, bool uncompressed)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull = (struct f_pull){
		.nonce = 5,
		.number = 1,
		.at = {.store = store_id(w->store), .term = store_term(w->store)},
		.credit = 1 << 20,
	};
	give(w, user, "e", &f);
	const struct out_message *m = find_out(w, FRAME_PAGE, 0, &f);
	if (uncompressed)
		assert_true(plain(m) && f.page.rows.len > (size_t)ROWS * 2 * 15);
	else
		assert_true(f.page.rows.len < 3 * ROWS);
}

static void hello(struct world *w, const struct shape *shape)
{
	struct frame f = {.type = FRAME_HELLO};

	f.hello = (struct f_hello){
		.nonce = 7, .site = 1, .last_number = 1, .last_cut = 1001, .n_shape = 1};
	f.hello.shape = &shape->id;
	give(w, "u", "d", &f);
}

static void test_one_users_wish_is_not_anothers(void **state)
{
	struct world *w = world_new();
	struct store_table *const *tables;
	(void)state;

	declare_shape(w, "u", "d", secret_notes());
	declare_shape(w, "v", "d", notes());
	assert_int_equal(store_tables(w->store, &tables), 1);
	assert_false(tables[0]->shape.uncompressed);
	give_rows(w, "u", 1, secret_notes(), 1);
	expect_change(w, true);
	give_rows(w, "v", 2, notes(), 1);
	expect_change(w, false);
	expect_page(w, "u", true);
	expect_page(w, "v", false);
	world_stop(w);
	world_start(w);
	expect_page(w, "u", true);
	expect_page(w, "v", false);
	world_free(w);
}

static void test_it_ends_when_no_device_says_so(void **state)
{
	struct world *w = world_new();
	(void)state;

	declare_shape(w, "u", "d", notes());
	declare_shape(w, "u", "e", secret_notes());
	give_rows(w, "u", 1, notes(), 1);
	expect_change(w, true);
	hello(w, notes()); /* of d, which never did: e does */
	give_rows(w, "u", 1, notes(), 2);
	expect_change(w, true);
	w->now_ms += STORE_DECLARED_MS + 1;
	declare_shape(w, "u", "d", notes());
	give_rows(w, "u", 1, notes(), 3);
	expect_change(w, false);
	world_free(w);
}

static void test_rejected_keys(void **state)
{
	struct world *w = world_new();
	struct frame f;
	(void)state;

	declare_shape(w, "u", "d", secret_notes());
	ok(w, store_set_from(w->store, "notes", FROM_SERVER, &w->e));
	give_rows(w, "u", 1, secret_notes(), 1);
	const struct out_message *m = find_out(w, FRAME_REJECT, 0, &f);
	assert_true(plain(m) && f.reject.rows.len > (size_t)ROWS * 8);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_users_wish_is_not_anothers),
		cmocka_unit_test(test_it_ends_when_no_device_says_so),
		cmocka_unit_test(test_rejected_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
