#include "protocol/column_real.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/column.h"

static void expect(double r, unsigned e, int64_t i)
{
	int64_t got;
	assert_int_equal(real_decimal(r, &got), e);
	assert_int_equal(got, i);
	assert_true((double)got / column_power[e] == r);
}

static void test_decimals(void **state)
{
	(void)state;
	expect(0, 0, 0);
	expect(1, 0, 1);
	expect(-1, 0, -1);
	expect(21.5, 1, 215);
	expect(-0.07, 2, -7);
	expect(1013.2, 1, 10132);
	expect(0.1, 1, 1);
	expect(1e-15, 15, 1);
	expect(4503599627370495.0, 0, 4503599627370495);
	expect(-4503599627370495.0, 0, -4503599627370495);
}

static void test_others_have_none(void **state)
{
	static const double none[] = {-0.0,	 INFINITY, -INFINITY, 5e-324,
				      0.1 + 0.2, 1e-16,	   1e300,     9007199254740992.0};
	(void)state;
	for (size_t k = 0; k < sizeof none / sizeof none[0]; k++) {
		int64_t i = 7;
		assert_true(real_decimal(none[k], &i) > COLUMN_DECIMAL_MAX ||
			    (double)i / column_power[real_decimal(none[k], &i)] == none[k]);
	}
	int64_t i;
	assert_true(real_decimal(-0.0, &i) > COLUMN_DECIMAL_MAX);
	assert_true(real_decimal(INFINITY, &i) > COLUMN_DECIMAL_MAX);
	assert_true(real_decimal(9007199254740992.0, &i) > COLUMN_DECIMAL_MAX);
}

static void test_raw_bytes(void **state)
{
	struct buf b = {.max = 8};
	(void)state;
	assert_int_equal(real_put_raw(&b, -2), 0);
	assert_true(slice_eq(buf_slice(&b), slice_of("\xc0\0\0\0\0\0\0\0", 8)));
	assert_int_equal(real_put_raw(&b, -2), NE_LIMIT);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decimals),
		cmocka_unit_test(test_others_have_none),
		cmocka_unit_test(test_raw_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
