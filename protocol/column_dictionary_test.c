#include "protocol/column_dictionary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N = 1000 };

static void make(int64_t distinct, enum val_type type, struct dictionary *d, struct arena *tmp)
{
	static struct val v[N];
	static char text[N][12];
	for (int64_t i = 0; i < N; i++) {
		int64_t x = i * 7 % distinct;
		v[i].type = type;
		if (type == VAL_INT) {
			v[i].i = x;
			continue;
		}
		for (size_t k = 0; k < sizeof text[i]; k++)
			text[i][k] = (char)('a' + (x >> k) % 16);
		v[i].s = slice_of(text[i], sizeof text[i]);
	}
	assert_int_equal(dictionary_make(v, N, d, tmp), 0);
	for (size_t i = 0; d->n && i < N; i++) {
		assert_in_range(d->index[i], 0, d->n - 1);
		assert_true(val_eq(&d->val[d->index[i]], &v[i]));
	}
}

static void test_distinct_values_in_order_of_use(void **state)
{
	struct arena tmp = {.max = 1 << 20};
	struct dictionary d;
	(void)state;
	make(8, VAL_TEXT, &d, &tmp);
	assert_int_equal(d.n, 8);
	assert_int_equal(d.index[0], 0);
	assert_int_equal(d.index[1], 1);
	assert_int_equal(d.index[8], 0);
	make(16, VAL_INT, &d, &tmp);
	assert_int_equal(d.n, 16);
	arena_free(&tmp);
}

static void test_too_many_distinct_ones(void **state)
{
	struct arena tmp = {.max = 1 << 20};
	struct dictionary d;
	(void)state;
	make(N, VAL_INT, &d, &tmp);
	assert_int_equal(d.n, 0);
	make(65, VAL_INT, &d, &tmp);
	assert_int_equal(d.n, 0);
	make(N, VAL_TEXT, &d, &tmp);
	assert_int_equal(d.n, 0);
	arena_free(&tmp);
}

static void test_types_are_told_apart(void **state)
{
	struct arena tmp = {.max = 1 << 20};
	struct val v[3] = {
		{.type = VAL_TEXT, .s = slice_str("a")},
		{.type = VAL_BLOB, .s = slice_str("a")},
		{.type = VAL_TEXT, .s = slice_str("a")},
	};
	struct dictionary d;
	(void)state;
	assert_int_equal(dictionary_make(v, 3, &d, &tmp), 0);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.index[1], 1);
	assert_int_equal(d.index[2], 0);
	arena_free(&tmp);
}

static void test_no_memory(void **state)
{
	struct arena tmp = {.max = 10};
	struct val v[3] = {{.type = VAL_INT, .i = 1}};
	struct dictionary d;
	(void)state;
	assert_int_equal(dictionary_make(v, 3, &d, &tmp), NE_MEMORY);
	arena_free(&tmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distinct_values_in_order_of_use),
		cmocka_unit_test(test_too_many_distinct_ones),
		cmocka_unit_test(test_types_are_told_apart),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
