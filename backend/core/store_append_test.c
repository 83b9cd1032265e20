/* J3: identities of append rows. */
#include "backend/core/testing.h"

enum { SITE_A = 11 };

struct appends {
	struct world *w;
	struct store_user u;
	struct store_site site;
	const struct store_shape *sh;
	struct store_appended got;
};

static struct appends fixture(void)
{
	struct appends a = {.w = world_new()};

	declare_shape(a.w, "u", "a", logs());
	ok(a.w, store_begin(a.w->store, &a.w->e));
	ok(a.w, store_user_ensure(a.w->store, "u", &a.u, &a.w->e));
	ok(a.w, store_site_add(a.w->store, &a.u, SITE_A, "a", 0, &a.site, &a.w->e));
	a.sh = store_shape_find(a.w->store, logs()->id);
	assert_non_null(a.sh);
	return a;
}

static void finish(struct appends *a)
{
	ok(a->w, store_commit(a->w->store, &a->w->e));
	world_free(a->w);
}

static void add(struct appends *a, uint64_t gen, const int64_t *n, size_t count, int64_t v)
{
	struct builder *b = set_new(SITE_A, 1, 0);

	for (size_t i = 0; i < count; i++)
		put_log(b, gen, n[i], v);
	ok(a->w, store_append(a->w->store, &a->u, &a->site, a->sh, b->row[0], count, a->w->now_ms,
			      &a->got, &a->w->e));
}

#define ADD(a, gen, v, ...) \
	add((a), (gen), (int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / 8, (v))

/* Looks at the store from outside, between two transactions. */
static const char *look(struct appends *a, const char *text)
{
	ok(a->w, store_commit(a->w->store, &a->w->e));
	const char *out = query(a->w, text);
	ok(a->w, store_begin(a->w->store, &a->w->e));
	return out;
}

static void dense_ranges_grow(void **state)
{
	struct appends a = fixture();
	(void)state;

	ADD(&a, 1, 5, 1, 2, 3);
	ADD(&a, 1, 5, 4, 5);
	assert_int_equal(a.got.added, 2);
	assert_string_equal(look(&a, "SELECT lo, hi, n FROM neap_range"), "1,5,5");
	ADD(&a, 1, 5, 8, 9);
	ADD(&a, 2, 5, 1);
	assert_string_equal(look(&a, "SELECT gen, lo, hi, n FROM neap_range"),
			    "1,1,5,5 1,8,9,2 2,1,1,1");
	assert_string_equal(look(&a, "SELECT user_id, device_id, n, v FROM log WHERE n = 8"),
			    "u,a,8,5");
	finish(&a);
}

static void the_same_again_is_a_duplicate(void **state)
{
	struct appends a = fixture();
	(void)state;

	ADD(&a, 1, 5, 1, 2, 3);
	ADD(&a, 1, 5, 2, 3, 4);
	assert_int_equal(a.got.duplicates, 2);
	assert_int_equal(a.got.added, 1);
	assert_int_equal(a.got.n_collided, 0);
	assert_string_equal(look(&a, "SELECT lo, hi, n FROM neap_range"), "1,4,4");
	ADD(&a, 1, 6, 3);
	assert_int_equal(a.got.n_collided, 1);
	assert_int_equal(a.got.collided[0]->n, 3);
	finish(&a);
}

static void purged_rows_stay_purged(void **state)
{
	struct appends a = fixture();
	(void)state;

	ADD(&a, 1, 5, 1, 2, 3);
	look(&a, "SELECT 1");
	ok(a.w, store_commit(a.w->store, &a.w->e));
	sql(a.w, "DELETE FROM log WHERE n < 3");
	ok(a.w, store_begin(a.w->store, &a.w->e));
	ADD(&a, 1, 5, 1, 2, 3, 4);
	assert_int_equal(a.got.duplicates, 3);
	assert_string_equal(look(&a, "SELECT n FROM log"), "3 4");
	finish(&a);
}

/* A row under the identity of a purged one is that one only if it says the same. */
static void purged_rows_are_compared(void **state)
{
	struct appends a = fixture();
	int64_t n[2500];
	(void)state;

	for (int i = 0; i < 2500; i++)
		n[i] = i + 1;
	add(&a, 1, n, 300, 5);
	add(&a, 1, n + 300, 100, 5);
	add(&a, 1, n + 400, 2100, 5);
	ok(a.w, store_commit(a.w->store, &a.w->e));
	sql(a.w, "DELETE FROM log WHERE n > 1");
	ok(a.w, store_begin(a.w->store, &a.w->e));
	for (int i = 0; i < 5; i++) {
		add(&a, 1, n + 500 * i, 500, 5);
		assert_int_equal(a.got.n_collided, 0);
		assert_int_equal(a.got.duplicates, 500);
	}
	ADD(&a, 1, 6, 299, 350, 2499, 2500);
	assert_int_equal(a.got.added, 0);
	assert_int_equal(a.got.n_collided, 4);
	assert_int_equal(a.got.collided[3]->n, 2500);
	/* What is forgotten counts as other content: such a row gets another identity. */
	ok(a.w,
	   store_forget_content(a.w->store, a.w->now_ms + 2 * 24 * 3600 * 1000ULL, 100, &a.w->e));
	ADD(&a, 1, 5, 1, 2);
	assert_int_equal(a.got.n_collided, 1);
	assert_int_equal(a.got.collided[0]->n, 2);
	finish(&a);
}

/* Keys far apart make one sparse range, and a row that falls into its gaps is never dropped. */
static void gaps_are_not_taken_for_received(void **state)
{
	struct appends a = fixture();
	int64_t n[100];
	(void)state;

	for (int i = 0; i < 100; i++)
		n[i] = i * 1000;
	add(&a, 1, n, 100, 5);
	assert_string_equal(look(&a, "SELECT lo, hi, n FROM neap_range"), "0,99000,100");
	ADD(&a, 1, 5, 500, 1000, 1500);
	assert_int_equal(a.got.added, 2);
	assert_int_equal(a.got.duplicates, 1);
	assert_string_equal(look(&a, "SELECT lo, hi, n FROM neap_range"), "0,99000,102");
	/* Behind a sparse range a new one begins. */
	ADD(&a, 1, 5, 99001);
	assert_string_equal(look(&a, "SELECT lo, hi, n FROM neap_range"),
			    "0,99000,102 99001,99001,1");
	finish(&a);
}

/* Holes filled later, the ends of the number space, and order within a set. */
static void any_order(void **state)
{
	struct appends a = fixture();
	(void)state;

	ADD(&a, 1, 5, 10, 11, 5, 6, INT64_MIN, INT64_MAX);
	assert_int_equal(a.got.added, 6);
	ADD(&a, 1, 5, 7, 8, 9, INT64_MAX, INT64_MIN);
	assert_int_equal(a.got.added, 3);
	assert_int_equal(a.got.duplicates, 2);
	assert_string_equal(look(&a, "SELECT count(*), count(DISTINCT n) FROM log"), "9,9");
	finish(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dense_ranges_grow),
		cmocka_unit_test(the_same_again_is_a_duplicate),
		cmocka_unit_test(purged_rows_stay_purged),
		cmocka_unit_test(purged_rows_are_compared),
		cmocka_unit_test(gaps_are_not_taken_for_received),
		cmocka_unit_test(any_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
