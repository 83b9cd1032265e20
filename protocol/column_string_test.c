#include "protocol/column_string.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/column.h"

static uint8_t mode_of(const char *const *text, size_t n, enum val_type type)
{
	struct arena tmp = {.max = 1 << 20};
	struct buf b = {.max = 1 << 20};
	struct val v[16];
	for (size_t i = 0; i < n; i++)
		v[i] = (struct val){.type = type, .s = slice_str(text[i])};
	assert_int_equal(strings_encode(v, n, &b, &tmp), 0);
	uint8_t mode = b.at[0];
	buf_free(&b);
	arena_free(&tmp);
	return mode;
}

static void test_modes(void **state)
{
	static const char *const words[] = {"on", "off", "unknown"};
	static const char *const paths[] = {"plant/hall-1/pump", "plant/hall-1/valve",
					    "plant/hall-2/pump"};
	static const char *const ids[] = {"\1\1\1\1\1\1\1\1abcd", "\1\1\1\1\1\1\1\2efgh",
					  "\1\1\1\1\1\1\1\3ijkl"};
	static const char *const bytes[] = {"\xf0\xf1", "\xf2", "\xf3\xf4\xf5"};
	(void)state;
	assert_int_equal(mode_of(words, 3, VAL_TEXT), COLUMN_TEXTS_CODED);
	assert_int_equal(mode_of(bytes, 3, VAL_TEXT), COLUMN_TEXTS);
	assert_int_equal(mode_of(bytes, 3, VAL_BLOB), COLUMN_BLOBS);
	assert_int_equal(mode_of(paths, 3, VAL_TEXT), COLUMN_TEXTS_FRONT_CODED);
	assert_int_equal(mode_of(paths, 3, VAL_BLOB), COLUMN_BLOBS_FRONT);
	assert_int_equal(mode_of(ids, 3, VAL_BLOB), COLUMN_BLOBS_SPLIT);
}

static void test_one_text(void **state)
{
	char x[100];
	struct buf b = {.max = 300};
	(void)state;
	memset(x, 'A', sizeof x);
	assert_int_equal(string_put_text(&b, slice_str("C")), 0);
	assert_true(slice_eq(buf_slice(&b), slice_str("AC"))); /* 0x41: one byte as it is */
	buf_clear(&b);
	assert_int_equal(string_put_text(&b, slice_of(x, 63)), 0);
	assert_int_equal(b.at[0], 0x7f); /* eight bits each: the code saves nothing */
	assert_int_equal(b.at[1], 0);
	assert_int_equal(b.len, 65);
	buf_clear(&b);
	memset(x, 'e', sizeof x);
	assert_int_equal(string_put_text(&b, slice_of(x, 63)), 0);
	assert_int_equal(b.at[0], 0xbf);
	assert_int_equal(b.len, 1 + 32);
	buf_clear(&b);
	assert_int_equal(string_put_text(&b, slice_of(x, 64)), 0);
	assert_int_equal(b.at[0], 0x7f);
	assert_int_equal(b.at[1], 1);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_one_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
