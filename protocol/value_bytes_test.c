#include "protocol/value_bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct val values[] = {
	{.type = VAL_NULL},
	{.type = VAL_INT, .i = INT64_MIN},
	{.type = VAL_INT, .i = -1},
	{.type = VAL_REAL, .r = -0.0},
	{.type = VAL_REAL, .r = 1e300},
	{.type = VAL_TEXT, .s = {(const uint8_t *)"a\0b", 3}},
	{.type = VAL_TEXT, .s = {NULL, 0}},
	{.type = VAL_BLOB, .s = {(const uint8_t *)"\xff", 1}},
};
enum { N = sizeof values / sizeof *values };

static void test_there_and_back(void **state)
{
	struct buf b = {.max = 1000};
	struct val out[N];

	(void)state;
	assert_int_equal(values_put(&b, values, N), 0);
	struct slice in = buf_slice(&b);
	assert_int_equal(values_take(&in, out, N), 0);
	assert_int_equal(in.len, 0);
	for (size_t i = 0; i < N; i++)
		assert_true(val_eq(&values[i], &out[i]));
	buf_free(&b);
}

/* The input stays as it was, and no byte behind it is read. */
static void test_cut_short_it_is_malformed(void **state)
{
	(void)state;
	for (size_t i = 1; i < N; i++) {
		struct buf b = {.max = 100};

		assert_int_equal(value_put(&b, &values[i]), 0);
		for (size_t len = 0; len < b.len; len++) {
			uint8_t *bytes = malloc(len + 1);
			assert_non_null(bytes);
			memcpy(bytes, b.at, len);
			struct slice in = slice_of(bytes, len);
			struct val v = {.type = VAL_INT, .i = 77};
			assert_int_equal(value_take(&in, &v), NE_MALFORMED);
			assert_int_equal(in.len, len);
			assert_int_equal(v.i, 77);
			free(bytes);
		}
		buf_free(&b);
	}
}

static void test_what_no_value_is(void **state)
{
	static const uint8_t type[] = {5}, nan[] = {2, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0},
			     long_text[] = {3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a'};
	const struct slice bad[] = {slice_of(type, sizeof type), slice_of(nan, sizeof nan),
				    slice_of(long_text, sizeof long_text)};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct slice in = bad[i];
		struct val v;
		assert_int_equal(value_take(&in, &v), NE_MALFORMED);
	}
}

static void test_no_room_leaves_the_buffer(void **state)
{
	struct val text = {.type = VAL_TEXT, .s = slice_str("abc")};

	(void)state;
	for (size_t max = 1; max < 2 * (9 + 3); max++) {
		struct buf b = {.max = max};
		struct val two[] = {text, text};
		assert_int_equal(values_put(&b, two, 2), NE_LIMIT);
		assert_int_equal(b.len, 0);
		buf_free(&b);
	}
}

static bool same(struct val a, struct val b, enum shape_collation c)
{
	struct buf x = {.max = 100}, y = {.max = 100};

	assert_int_equal(value_put_canonical(&x, &a, c), 0);
	assert_int_equal(value_put_canonical(&y, &b, c), 0);
	bool eq = slice_eq(buf_slice(&x), buf_slice(&y));
	buf_free(&x);
	buf_free(&y);
	return eq;
}

static struct val whole(int64_t i)
{
	return (struct val){.type = VAL_INT, .i = i};
}

static struct val real(double r)
{
	return (struct val){.type = VAL_REAL, .r = r};
}

static struct val text(const char *s)
{
	return (struct val){.type = VAL_TEXT, .s = slice_str(s)};
}

static void test_one_spelling_for_equal_values(void **state)
{
	struct val blob = {.type = VAL_BLOB, .s = slice_str("a")};

	(void)state;
	assert_true(same(whole(1), real(1.0), COLL_BINARY));
	assert_true(same(real(-0.0), whole(0), COLL_BINARY));
	assert_true(same(real(-9223372036854775808.0), whole(INT64_MIN), COLL_BINARY));
	assert_false(same(real(9223372036854775808.0), whole(INT64_MAX), COLL_BINARY));
	assert_false(same(real(0.5), whole(0), COLL_BINARY));
	assert_false(same(real(INFINITY), real(-INFINITY), COLL_BINARY));
	assert_true(same(text("aBZ["), text("AbZ["), COLL_NOCASE));
	assert_false(same(text("a"), text("A"), COLL_BINARY));
	assert_false(same(text("\xc3\xa4"), text("\xc3\x84"), COLL_NOCASE));
	assert_true(same(text("a  "), text("a"), COLL_RTRIM));
	assert_false(same(text("a  "), text("a"), COLL_BINARY));
	assert_false(same(text("a"), blob, COLL_NOCASE));
	assert_false(same(text("1"), whole(1), COLL_BINARY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_cut_short_it_is_malformed),
		cmocka_unit_test(test_what_no_value_is),
		cmocka_unit_test(test_no_room_leaves_the_buffer),
		cmocka_unit_test(test_one_spelling_for_equal_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
