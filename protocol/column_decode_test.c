#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/column.h"

enum { ROOM = 4096, MOST = 64 };

static int decode(const char *bytes, size_t len, size_t n, struct val *out, struct arena *a)
{
	struct arena tmp = {.max = 1 << 20};
	struct column_in in = {
		.left = slice_of(bytes, len),
		.a = a,
		.tmp = &tmp,
		.room = ROOM,
		.pool_room = ROOM,
	};
	int rc = column_decode(&in, n, out);
	arena_free(&tmp);
	return rc ? rc : in.left.len ? NE_MALFORMED : 0;
}

static int refused(const char *bytes, size_t len, size_t n)
{
	struct arena a = {.max = 1 << 20};
	struct val v[MOST];
	int rc = decode(bytes, len, n, v, &a);
	arena_free(&a);
	return rc;
}

/* One value in every row, by what the document says of each mode. */
static void test_constants(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		struct val v;
	} cases[] = {
		{"\x00", 1, {.type = VAL_NULL}},
		{"\xf0", 1, {.type = VAL_INT, .i = 0}},
		{"\xff", 1, {.type = VAL_INT, .i = 15}},
		{"\xc1\xc0", 2, {.type = VAL_INT, .i = 192}},
		{"\xc8\x7f\xff\xff\xff\xff\xff\xff\xff", 9, {.type = VAL_INT, .i = INT64_MAX}},
		{"\xd0", 1, {.type = VAL_INT, .i = -1}},
		{"\xd1\x01", 2, {.type = VAL_INT, .i = -2}},
		{"\xd8\x7f\xff\xff\xff\xff\xff\xff\xff", 9, {.type = VAL_INT, .i = INT64_MIN}},
		{"\xe2\xa8\x21", 3, {.type = VAL_REAL, .r = 21.32}},
		{"\xe0\x01", 2, {.type = VAL_REAL, .r = -1}},
		{"\xda\x80\x00\x00\x00\x00\x00\x00\x00", 9, {.type = VAL_REAL, .r = -0.0}},
		{"\xda\x7f\xf0\x00\x00\x00\x00\x00\x00", 9, {.type = VAL_REAL, .r = INFINITY}},
		{"\x40", 1, {.type = VAL_TEXT, .s = {(const uint8_t *)"", 0}}},
		{"\x43"
		 "abc",
		 4,
		 {.type = VAL_TEXT, .s = {(const uint8_t *)"abc", 3}}},
		{"\x8b\x08\x4d\x0b\x86\x63\x67\x00",
		 8,
		 {.type = VAL_TEXT, .s = {(const uint8_t *)"temperature", 11}}},
		{"\xd9\x00", 2, {.type = VAL_BLOB, .s = {(const uint8_t *)"", 0}}},
		{"\xd9\x02\x00\x01", 4, {.type = VAL_BLOB, .s = {(const uint8_t *)"\0\1", 2}}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct arena a = {.max = 1 << 20};
		struct val v[3];
		assert_int_equal(decode(cases[i].bytes, cases[i].len, 3, v, &a), 0);
		for (size_t k = 0; k < 3; k++)
			assert_true(val_eq(&v[k], &cases[i].v));
		arena_free(&a);
		for (size_t cut = 0; cut < cases[i].len; cut++)
			assert_int_not_equal(refused(cases[i].bytes, cut, 3), 0);
	}
}

static void test_long_text(void **state)
{
	char bytes[2 + 63 + 5];
	struct arena a = {.max = 1 << 20};
	struct val v;
	(void)state;
	memset(bytes, 'x', sizeof bytes);
	bytes[0] = 0x7f;
	bytes[1] = 5;
	assert_int_equal(decode(bytes, sizeof bytes, 1, &v, &a), 0);
	assert_int_equal(v.s.len, 68);
	arena_free(&a);
}

static void test_modes_that_do_not_exist(void **state)
{
	static const uint8_t none[] = {0x0e, 0x0f, 0x10, 0x3f, 0x80, 0xc0, 0xc9, 0xdb, 0xdf};
	(void)state;
	for (size_t i = 0; i < sizeof none; i++) {
		char bytes[200] = {0};
		bytes[0] = (char)none[i];
		assert_int_equal(refused(bytes, sizeof bytes, 1), NE_MALFORMED);
	}
}

static void test_numbers_that_may_not_be(void **state)
{
	(void)state;
	/* an integer of 2^63; NaN; a decimal of 2^53; e = 16 */
	assert_int_equal(refused("\xc8\x80\0\0\0\0\0\0\0", 9, 1), NE_MALFORMED);
	assert_int_equal(refused("\xda\x7f\xf8\0\0\0\0\0\0", 9, 1), NE_MALFORMED);
	assert_int_equal(refused("\xda\xff\xf0\0\0\0\0\0\1", 9, 1), NE_MALFORMED);
	assert_int_equal(refused("\x04\x7f\xf8\0\0\0\0\0\0", 9, 1), NE_MALFORMED);
	assert_int_equal(refused("\xe0\x80\x80\x80\x80\x80\x80\x80\x20", 9, 1), NE_MALFORMED);
	assert_int_equal(refused("\xe0\xfe\xff\xff\xff\xff\xff\xff\x1f", 9, 1), 0);
	assert_int_equal(refused("\x02\x10\x81", 3, 1), NE_MALFORMED);
	assert_int_equal(refused("\x02\x0f\x81", 3, 1), 0);
}

static void test_strings_that_may_not_be(void **state)
{
	(void)state;
	/* two texts of one byte; a negative length; more bytes than there are; more than room */
	assert_int_equal(refused("\x05\x81"
				 "ab",
				 4, 2),
			 0);
	assert_int_equal(refused("\x05\x00\x01"
				 "ab",
				 5, 2),
			 NE_MALFORMED);
	assert_int_equal(refused("\x05\x82"
				 "ab",
				 4, 2),
			 NE_MALFORMED);
	assert_int_equal(refused("\x05\x00\x80\xa0\x01", 5, 2), NE_LIMIT);
	/* shares more than the value before has */
	assert_int_equal(refused("\x07\x80\x81"
				 "ab",
				 5, 2),
			 0);
	assert_int_equal(refused("\x07\x81\x81"
				 "ab",
				 5, 2),
			 NE_MALFORMED);
	/* blobs with a number in front: of 9 bytes; longer than the blob; too large for its bytes
	 */
	assert_int_equal(refused("\x0b\x02\x01\x85"
				 "ab",
				 6, 2),
			 0);
	assert_int_equal(refused("\x0b\x09\x09\x85", 4, 2), NE_MALFORMED);
	assert_int_equal(refused("\x0b\x01\x02\x85", 4, 2), NE_MALFORMED);
	assert_int_equal(refused("\x0b\x01\x01\x00\x80\x04", 6, 2), NE_MALFORMED);
	assert_int_equal(refused("\x0b\xff\xff\x03\x00", 5, 2), NE_LIMIT);
}

static void test_columns_in_columns(void **state)
{
	(void)state;
	/* a dictionary of two integers; an index beyond; no values; more values than rows */
	assert_int_equal(refused("\x0d\x02\x01\x03\x02\x04\x81", 7, 3), 0);
	assert_int_equal(refused("\x0d\x02\x01\x03\x02\x04\x82", 7, 3), NE_MALFORMED);
	assert_int_equal(refused("\x0d\x00\x80", 3, 3), NE_MALFORMED);
	assert_int_equal(refused("\x0d\x04\xf0\x80", 4, 3), NE_MALFORMED);
	/* mixed: a type that does not exist; a column of another type than told */
	assert_int_equal(refused("\x0c\x81\xf0", 3, 2), 0);
	assert_int_equal(refused("\x0c\x85\xf0", 3, 2), NE_MALFORMED);
	assert_int_equal(refused("\x0c\x81\x40", 3, 2), NE_MALFORMED);
	/* nested three deep and four deep */
	assert_int_equal(refused("\x0d\x01\x0d\x01\xf0\x80\x80", 7, 2), 0);
	assert_int_equal(refused("\x0d\x01\x0d\x01\x0d\x01\xf0\x80\x80\x80", 10, 2), NE_MALFORMED);
}

static void test_a_dictionary_counts_by_its_use(void **state)
{
	/* a text of 100 bytes in 41 rows is more than ROOM */
	char bytes[110] = {0x0d, 1, 0x7f, 37};
	(void)state;
	bytes[104] = (char)0x80;
	assert_int_equal(refused(bytes, 105, 40), 0);
	assert_int_equal(refused(bytes, 105, 41), NE_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constants),
		cmocka_unit_test(test_long_text),
		cmocka_unit_test(test_modes_that_do_not_exist),
		cmocka_unit_test(test_numbers_that_may_not_be),
		cmocka_unit_test(test_strings_that_may_not_be),
		cmocka_unit_test(test_columns_in_columns),
		cmocka_unit_test(test_a_dictionary_counts_by_its_use),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
