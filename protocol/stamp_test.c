#include "protocol/stamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_milliseconds(void **state)
{
	(void)state;
	assert_int_equal(stamp_from_ms(0), 0);
	assert_int_equal(stamp_from_ms(1), 65536);
	assert_int_equal(stamp_ms(stamp_from_ms(1790000000000)), 1790000000000);
	assert_int_equal(stamp_ms(stamp_from_ms(1790000000000) + 65535), 1790000000000);
	assert_int_equal(stamp_from_ms(((uint64_t)1 << 47) - 1), (((uint64_t)1 << 47) - 1) << 16);
	assert_int_equal(stamp_from_ms((uint64_t)1 << 47), STAMP_MAX);
	assert_int_equal(stamp_from_ms(UINT64_MAX), STAMP_MAX);
}

static void test_next_is_later_than_both(void **state)
{
	(void)state;
	assert_int_equal(stamp_next(5, 1), 65536);
	assert_int_equal(stamp_next(65536, 1), 65537);
	assert_int_equal(stamp_next(131071, 1), 131072); /* the counter spills into the next ms */
	assert_int_equal(stamp_next(stamp_from_ms(9), 3), stamp_from_ms(9) + 1);
	assert_int_equal(stamp_next(STAMP_MAX, 1), STAMP_MAX);
	assert_int_equal(stamp_next(STAMP_MAX - 1, 1), STAMP_MAX);
	assert_int_equal(stamp_next(0, 0), 1);
}

static void test_sites_break_ties(void **state)
{
	(void)state;
	assert_true(reg_cmp((struct reg){2, 1}, (struct reg){1, 9}) > 0);
	assert_true(reg_cmp((struct reg){1, 9}, (struct reg){2, 1}) < 0);
	assert_true(reg_cmp((struct reg){2, 1}, (struct reg){2, 2}) < 0);
	assert_true(reg_cmp((struct reg){2, INT64_MAX}, (struct reg){2, 2}) > 0);
	assert_int_equal(reg_cmp((struct reg){2, 2}, (struct reg){2, 2}), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_milliseconds),
		cmocka_unit_test(test_next_is_later_than_both),
		cmocka_unit_test(test_sites_break_ties),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
