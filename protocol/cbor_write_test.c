#include "protocol/cbor_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Appendix A of RFC 8949. */
static void test_integers_are_shortest(void **state)
{
	static const struct {
		uint64_t v;
		const char *bytes;
		size_t len;
	} cases[] = {
		{0, "\x00", 1},
		{23, "\x17", 1},
		{24, "\x18\x18", 2},
		{255, "\x18\xff", 2},
		{256, "\x19\x01\x00", 3},
		{65535, "\x19\xff\xff", 3},
		{65536, "\x1a\x00\x01\x00\x00", 5},
		{1000000000000, "\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00", 9},
		{UINT64_MAX, "\x1b\xff\xff\xff\xff\xff\xff\xff\xff", 9},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct buf b = {.max = 100};
		assert_int_equal(cbor_put_uint(&b, cases[i].v), 0);
		assert_true(slice_eq(buf_slice(&b), slice_of(cases[i].bytes, cases[i].len)));
		buf_free(&b);
	}
}

static void test_strings_and_arrays(void **state)
{
	struct buf b = {.max = 100};
	(void)state;
	assert_int_equal(cbor_put_array(&b, 3), 0);
	assert_int_equal(cbor_put_bytes(&b, slice_of("\1\2\3\4", 4)), 0);
	assert_int_equal(cbor_put_text(&b, slice_str("IETF")), 0);
	assert_int_equal(cbor_put_bytes(&b, slice_of(NULL, 0)), 0);
	assert_true(slice_eq(buf_slice(&b), slice_str("\x83\x44\1\2\3\4\x64IETF\x40")));
	buf_free(&b);
}

static void test_what_does_not_fit_leaves_nothing(void **state)
{
	struct buf b = {.max = 5};
	(void)state;
	assert_int_equal(cbor_put_text(&b, slice_str("12345")), NE_LIMIT);
	assert_int_equal(b.len, 0);
	assert_int_equal(cbor_put_text(&b, slice_str("1234")), 0);
	assert_int_equal(cbor_put_uint(&b, 0), NE_LIMIT);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers_are_shortest),
		cmocka_unit_test(test_strings_and_arrays),
		cmocka_unit_test(test_what_does_not_fit_leaves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
