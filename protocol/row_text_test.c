#include "protocol/row_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void says(const struct val *v, const char *want)
{
	struct buf b = {.max = 4096};

	assert_int_equal(text_member(slice_str("k"), v, true, &b), 0);
	assert_int_equal(buf_terminate(&b), 0);
	assert_string_equal((const char *)b.at, want);
	buf_free(&b);
}

static struct val text(const char *s)
{
	return (struct val){.type = VAL_TEXT, .s = slice_str(s)};
}

static void test_values(void **state)
{
	struct val v = {.type = VAL_NULL};
	(void)state;

	says(&v, "{\"k\": null");
	v = (struct val){.type = VAL_INT, .i = -5};
	says(&v, "{\"k\": -5");
	v = (struct val){.type = VAL_REAL, .r = 0.5};
	says(&v, "{\"k\": 0.5");
	v = (struct val){.type = VAL_REAL, .r = -1e308 * 10};
	says(&v, "{\"k\": -9e999");
	v = (struct val){.type = VAL_BLOB, .s = slice_of("\x00\xff", 2)};
	says(&v, "{\"k\": \"x'00ff'\"");
	v = text("a\"b\\c\n\xc3\xa9");
	says(&v, "{\"k\": \"a\\\"b\\\\c\\u000a\xc3\xa9\"");
	v = text("\x1b[2J\x7f\xc2\x9b\xc2\xa0"); /* nothing for a terminal */
	says(&v, "{\"k\": \"\\u001b[2J\\u007f\\u009b\xc2\xa0\"");
	v = text("a\xff\xc3"); /* not UTF-8 */
	says(&v, "{\"k\": \"a\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void test_what_shows(void **state)
{
	(void)state;

	assert_true(text_shows(slice_str("a \xc3\xa9 \xc2\xa0")));
	assert_true(text_shows(slice_str("")));
	assert_false(text_shows(slice_str("a\n")));
	assert_false(text_shows(slice_str("a\x7f")));
	assert_false(text_shows(slice_str("\xc2\x80")));
}

static void test_key(void **state)
{
	struct shape_col key[2] = {{.name = slice_str("a")}, {.name = slice_str("b")}};
	struct shape s = {.n_key = 2, .key = key};
	struct val v[2] = {{.type = VAL_INT, .i = 1}, text("x")};
	struct buf b = {.max = 4096};
	(void)state;

	assert_int_equal(text_key(&s, v, &b), 0);
	assert_true(slice_eq(buf_slice(&b), slice_str("{\"a\": 1, \"b\": \"x\"}")));
	buf_free(&b);
	b.max = 5;
	assert_int_equal(text_key(&s, v, &b), NE_LIMIT);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_what_shows),
		cmocka_unit_test(test_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
