#include "common/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_set_and_wrap(void **state)
{
	struct err e;
	(void)state;
	assert_int_equal(err_set(&e, NE_DISK, "cannot write %s", "a.db"), NE_DISK);
	assert_int_equal(err_wrap(&e, "table %s", "t"), NE_DISK);
	assert_string_equal(e.text, "table t: cannot write a.db");
	assert_int_equal(err_set(NULL, NE_BUSY, "nobody listens"), NE_BUSY);
}

static void test_wrap_never_overflows(void **state)
{
	struct err e;
	char longest[600];
	(void)state;
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = 0;
	assert_int_equal(err_set(&e, NE_LIMIT, "%s", longest), NE_LIMIT);
	assert_int_equal(err_wrap(&e, "%s", longest), NE_LIMIT);
	assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void test_categories_and_exit_codes(void **state)
{
	(void)state;
	assert_int_equal(ne_category(NE_OK), NE_CAT_NONE);
	assert_int_equal(ne_category(NE_TIMEOUT), NE_CAT_RETRY);
	assert_int_equal(ne_category(NE_PROTOCOL), NE_CAT_PEER);
	assert_int_equal(ne_category(NE_CAPTURE), NE_CAT_CORRUPT);
	assert_int_equal(ne_category(NE_ROWS), NE_CAT_MISUSE);
	assert_int_equal(ne_category(NE_INTERNAL), NE_CAT_RESOURCES);
	assert_int_equal(ne_exit_code(NE_CAPTURE), 10);
	assert_int_equal(ne_exit_code(NE_LOCKED), 7);
	assert_string_equal(ne_name(NE_CERT), "certificate");
	assert_string_equal(ne_name(-5), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_wrap),
		cmocka_unit_test(test_wrap_never_overflows),
		cmocka_unit_test(test_categories_and_exit_codes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
