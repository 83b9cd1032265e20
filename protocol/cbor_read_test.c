#include "protocol/cbor_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define IN(s)                                                  \
	{                                                      \
		.left = {(const uint8_t *)(s), sizeof(s) - 1 } \
	}

static int uint_of(const char *bytes, size_t len, uint64_t *v)
{
	struct cbor_in in = {.left = slice_of(bytes, len)};
	int rc = cbor_get_uint(&in, v);
	if (rc)
		assert_int_equal(in.left.len, len); /* as before */
	return rc ? rc : cbor_end(&in);
}

static void test_integers(void **state)
{
	uint64_t v;
	(void)state;
	assert_int_equal(uint_of("\x17", 1, &v), 0);
	assert_int_equal(v, 23);
	assert_int_equal(uint_of("\x18\x18", 2, &v), 0);
	assert_int_equal(v, 24);
	assert_int_equal(uint_of("\x1b\xff\xff\xff\xff\xff\xff\xff\xff", 9, &v), 0);
	assert_true(v == UINT64_MAX);
	/* longer than needed */
	assert_int_equal(uint_of("\x18\x17", 2, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x19\x00\xff", 3, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x1a\x00\x00\xff\xff", 5, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x1b\x00\x00\x00\x00\xff\xff\xff\xff", 9, &v), NE_MALFORMED);
	/* short, reserved, other types, a byte behind */
	assert_int_equal(uint_of("", 0, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x19\x01", 2, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x1c", 1, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x20", 1, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x40", 1, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\xf5", 1, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\xff", 1, &v), NE_MALFORMED);
	assert_int_equal(uint_of("\x00\x00", 2, &v), NE_MALFORMED);
}

static void test_strings(void **state)
{
	struct cbor_in good = IN("\x43"
				 "abc\x62\xc3\xa9"),
		       bad = IN("\x62\xc3\x28"), indefinite = IN("\x5f\x41\x00\xff"),
		       huge = IN("\x5b\xff\xff\xff\xff\xff\xff\xff\xff"
				 "a"),
		       longer = IN("\x58\x01"
				   "a"),
		       brief = IN("\x43"
				  "ab");
	struct slice s;
	(void)state;
	assert_int_equal(cbor_get_bytes(&good, &s), 0);
	assert_true(slice_eq(s, slice_str("abc")));
	assert_int_equal(cbor_get_bytes(&good, &s), NE_MALFORMED); /* a text stands there */
	assert_int_equal(cbor_get_text(&good, &s), 0);
	assert_int_equal(s.len, 2);
	assert_int_equal(cbor_end(&good), 0);
	assert_int_equal(cbor_get_text(&bad, &s), NE_MALFORMED);
	assert_int_equal(bad.left.len, 3);
	assert_int_equal(cbor_get_bytes(&indefinite, &s), NE_MALFORMED);
	assert_int_equal(cbor_get_bytes(&huge, &s), NE_MALFORMED);
	assert_int_equal(cbor_get_bytes(&longer, &s), NE_MALFORMED);
	assert_int_equal(cbor_get_bytes(&brief, &s), NE_MALFORMED);
}

static void test_arrays(void **state)
{
	struct cbor_in in = IN("\x81\x81\x81\x81\x81\x00"), many = IN("\x83\x00\x00"),
		       huge = IN("\x9b\x00\x00\x00\x00\x40\x00\x00\x00\x00"),
		       indefinite = IN("\x9f\x00\xff");
	size_t n;
	(void)state;
	for (size_t i = 0; i < CBOR_DEPTH; i++) {
		assert_int_equal(cbor_get_array(&in, &n), 0);
		assert_int_equal(n, 1);
	}
	assert_int_equal(cbor_get_array(&in, &n), NE_MALFORMED); /* too deep */
	cbor_leave(&in);
	assert_int_equal(cbor_get_array(&in, &n), 0);
	assert_int_equal(cbor_get_array(&many, &n), NE_MALFORMED); /* three of two bytes */
	assert_int_equal(cbor_get_array(&huge, &n), NE_MALFORMED);
	assert_int_equal(cbor_get_array(&indefinite, &n), NE_MALFORMED);
}

static bool utf8(const char *s, size_t len)
{
	return utf8_valid(slice_of(s, len));
}

static void test_utf8(void **state)
{
	(void)state;
	assert_true(utf8("", 0));
	assert_true(utf8("a\0b", 3));
	assert_true(utf8("\xc2\x80\xdf\xbf", 4));
	assert_true(utf8("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 12));
	assert_true(utf8("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8));
	assert_false(utf8("\x80", 1));
	assert_false(utf8("\xc1\xbf", 2));	   /* overlong */
	assert_false(utf8("\xe0\x9f\xbf", 3));	   /* overlong */
	assert_false(utf8("\xf0\x8f\xbf\xbf", 4)); /* overlong */
	assert_false(utf8("\xed\xa0\x80", 3));	   /* a surrogate */
	assert_false(utf8("\xf4\x90\x80\x80", 4)); /* beyond U+10FFFF */
	assert_false(utf8("\xf5\x80\x80\x80", 4));
	assert_false(utf8("\xc3", 1));
	assert_false(utf8("\xe2\x82", 2));
	assert_false(utf8("\xe2\x82\x28", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_utf8),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
