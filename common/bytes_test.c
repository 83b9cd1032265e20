#include "common/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_buf_grows_to_its_bound(void **state)
{
	struct buf b = {.max = 100};
	uint8_t bytes[64] = {7};
	(void)state;
	assert_int_equal(buf_put(&b, bytes, 64), 0);
	assert_int_equal(buf_put(&b, bytes, 64), NE_LIMIT);
	assert_int_equal(b.len, 64);
	assert_int_equal(buf_put(&b, bytes, 36), 0);
	assert_int_equal(buf_put_u8(&b, 1), NE_LIMIT);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), NE_LIMIT);
	buf_free(&b);
	/* Also a bound below the first allocation's usual size. */
	struct buf tiny = {.max = 5};
	assert_int_equal(buf_put(&tiny, bytes, 5), 0);
	assert_int_equal(buf_put_u8(&tiny, 1), NE_LIMIT);
	buf_free(&tiny);
}

static void test_buf_text(void **state)
{
	struct buf b = {.max = 100};
	(void)state;
	assert_int_equal(buf_printf(&b, "%d-%s", 12, "ab"), 0);
	assert_int_equal(buf_printf(&b, "!"), 0);
	assert_int_equal(buf_terminate(&b), 0);
	assert_string_equal((char *)b.at, "12-ab!");
	assert_true(slice_eq(buf_slice(&b), slice_str("12-ab!")));
	buf_free(&b);
}

static void test_hex(void **state)
{
	static const uint8_t bytes[] = {0, 0x0f, 0xf0, 0xa5, 0xff};
	struct buf b = {.max = 11};
	(void)state;
	assert_int_equal(buf_put(&b, "x", 1), 0);
	assert_int_equal(buf_put_hex(&b, slice_of(bytes, sizeof bytes)), 0);
	assert_true(slice_eq(buf_slice(&b), slice_str("x000ff0a5ff")));
	assert_int_equal(buf_put_hex(&b, slice_of(NULL, 0)), 0);
	assert_int_equal(buf_put_hex(&b, slice_of(bytes, 1)), NE_LIMIT);
	assert_int_equal(buf_put_hex(&b, slice_of(bytes, SIZE_MAX)), NE_LIMIT);
	assert_int_equal(b.len, 11);
	buf_free(&b);
}

static void test_arena_bound(void **state)
{
	struct arena a = {.max = 1 << 16};
	(void)state;
	size_t got = 0;
	while (arena_alloc(&a, 100))
		got++;
	assert_in_range(got, 500, 600);
	assert_null(arena_array(&a, SIZE_MAX / 2, 8));
	arena_free(&a);
	assert_non_null(arena_alloc(&a, 1 << 15));
	assert_null(arena_alloc(&a, SIZE_MAX));
	struct slice s = arena_copy(&a, slice_str("xyz"));
	assert_true(slice_eq(s, slice_str("xyz")));
	assert_non_null(arena_copy(&a, slice_of(NULL, 0)).at);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_grows_to_its_bound),
		cmocka_unit_test(test_buf_text),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_arena_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
