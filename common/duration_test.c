#include "common/duration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_units(void **state)
{
	int64_t s = 0;
	(void)state;
	assert_true(duration_read("90s", 1000000, &s));
	assert_int_equal(s, 90);
	assert_true(duration_read("15m", 1000000, &s));
	assert_int_equal(s, 900);
	assert_true(duration_read("12h", 1000000, &s));
	assert_int_equal(s, 43200);
	assert_true(duration_read("7d", 1000000, &s));
	assert_int_equal(s, 604800);
}

static void test_bounds(void **state)
{
	int64_t s = 5;
	(void)state;
	assert_true(duration_read("2m", 120, &s));
	assert_int_equal(s, 120);
	assert_false(duration_read("3m", 179, &s));
	assert_false(duration_read("0s", 120, &s));
	assert_false(duration_read("99999999999999999999d", INT64_MAX, &s));
	assert_int_equal(s, 120);
}

static void test_not_a_duration(void **state)
{
	static const char *const text[] = {"",	  "s",	 "7",	  "d7", "-7d",	"+7d",
					   " 7d", "7 d", "7dd",	  "7w", "1.5h", "0x7d",
					   "7D",  "7d ", "1h30m", "m15"};
	int64_t s = 5;
	(void)state;
	for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
		assert_false(duration_read(text[i], 1000000, &s));
	assert_int_equal(s, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_not_a_duration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
