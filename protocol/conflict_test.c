#include "protocol/conflict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_values_come_back(void **state)
{
	struct val values[] = {
		{.type = VAL_NULL},
		{.type = VAL_INT, .i = INT64_MIN},
		{.type = VAL_REAL, .r = 0.1},
		{.type = VAL_TEXT, .s = slice_str("")},
		{.type = VAL_TEXT, .s = slice_str("text")},
		{.type = VAL_BLOB, .s = slice_of("\0\1", 2)},
	};
	(void)state;

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		struct buf b = {.max = 4096};
		struct arena a = {.max = 4096};
		struct val got;

		assert_int_equal(conflict_put_value(&values[i], &b), 0);
		assert_int_equal(conflict_get_value(buf_slice(&b), &a, &got), 0);
		assert_true(val_eq(&got, &values[i]));
		assert_int_not_equal(conflict_get_value(slice_of(b.at, b.len - 1), &a, &got), 0);
		assert_int_equal(buf_put_u8(&b, 0), 0);
		assert_int_equal(conflict_get_value(buf_slice(&b), &a, &got), NE_MALFORMED);
		arena_free(&a);
		buf_free(&b);
	}
}

/* The largest value there is, and the text of the largest key. */
static void test_large(void **state)
{
	uint8_t *bytes = malloc(LIMIT_VALUE);
	struct shape_col col = {.name = slice_str("k")};
	struct shape s = {.n_key = 1, .key = &col};
	struct buf b = {.max = LIMIT_FRAME}, one = {.max = LIMIT_FRAME};
	struct arena a = {.max = LIMIT_DECODED};
	struct val v, got;
	(void)state;

	assert_non_null(bytes);
	for (size_t i = 0; i < LIMIT_VALUE; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	v = (struct val){.type = VAL_BLOB, .s = slice_of(bytes, LIMIT_VALUE)};
	assert_int_equal(conflict_put_value(&v, &b), 0);
	assert_int_equal(conflict_get_value(buf_slice(&b), &a, &got), 0);
	assert_true(val_eq(&got, &v));
	buf_clear(&b);
	assert_int_equal(conflict_key(&s, &v, &b), 0);
	assert_in_range(b.len, 4000, CONFLICT_KEY_BYTES);
	bytes[LIMIT_VALUE - 1] ^= 1;
	assert_int_equal(conflict_key(&s, &v, &one), 0);
	assert_false(slice_eq(buf_slice(&one), buf_slice(&b)));
	arena_free(&a);
	buf_free(&b);
	buf_free(&one);
	free(bytes);
}

static void test_cut(void **state)
{
	struct slice s = slice_str("a\xc3\xa9z");
	(void)state;

	assert_int_equal(conflict_cut(s, 9).len, 4);
	assert_int_equal(conflict_cut(s, 3).len, 3);
	assert_int_equal(conflict_cut(s, 2).len, 1);
	assert_int_equal(conflict_cut(s, 0).len, 0);
}

static bool differ(const struct lost_value *a, const struct lost_value *b)
{
	uint8_t x[CONFLICT_DIGEST], y[CONFLICT_DIGEST];

	assert_int_equal(conflict_digest(a, x), 0);
	assert_int_equal(conflict_digest(b, y), 0);
	return memcmp(x, y, sizeof x) != 0;
}

static void test_what_makes_it_one(void **state)
{
	struct lost_value a = {.table = slice_str("t"),
			       .key = slice_str("k"),
			       .column = slice_str("c"),
			       .value = slice_str("v"),
			       .reg = {5, 6},
			       .lost_ms = 7},
			  b = a;
	(void)state;

	b.value = slice_str("w");
	b.lost_ms = 8;
	b.won.stamp = 9;
	assert_false(differ(&a, &b));
	b.reg.stamp = 6;
	assert_true(differ(&a, &b));
	b = a;
	b.table = slice_str("tk"); /* no two fields run into each other */
	b.key = slice_str("");
	assert_true(differ(&a, &b));
	a.reg = b.reg = (struct reg){0, 0};
	b = a;
	assert_false(differ(&a, &b));
	b.lost_ms++;
	assert_true(differ(&a, &b));
	b = a;
	b.value = slice_str("w");
	assert_true(differ(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values_come_back),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_what_makes_it_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
