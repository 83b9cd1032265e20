/* The workloads are those of the other systems' runners: the same seed makes the same rows. */
#include "tests/bench/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bench/bench.h"

void bench_die(const char *fmt, ...)
{
	fail_msg("%s", fmt);
	abort();
}

static void test_w1(void **state)
{
	static const uint8_t id[2][16] = {{0x01, 0x9b, 0x76, 0xda, 0xa8, 0x21, 0x74, 0x7f, 0xab,
					   0x88, 0x29, 0xf5, 0xc6, 0xd0, 0x10, 0x77},
					  {0x01, 0x9b, 0x76, 0xda, 0xa8, 0x4a, 0x76, 0x75, 0x82,
					   0x78, 0xcd, 0xcb, 0x27, 0xd3, 0x88, 0x8c}};
	struct w1_row r;
	struct w1 w;

	(void)state;
	w1_begin(&w, 1);
	w1_next(&w, &r);
	assert_memory_equal(r.id, id[0], sizeof r.id);
	assert_string_equal(r.device, "pump-station-017");
	assert_int_equal(r.ts_ms, 1767225600033);
	assert_string_equal(r.sensor, "temperature");
	assert_true(r.value == 21.46);
	assert_int_equal(r.quality, 0);
	w1_next(&w, &r);
	assert_memory_equal(r.id, id[1], sizeof r.id);
	assert_true(r.value == 47.99);
	assert_int_equal(r.quality, 192);
}

static void test_w2(void **state)
{
	struct w2_update u;
	struct w2 w;

	(void)state;
	w2_begin(&w, 1, 'A');
	w2_next(&w, &u);
	assert_string_equal(u.id, "asset-0386");
	assert_string_equal(w2_column[u.column], "r2");
	assert_true(u.real == 492.39);
	w2_next(&w, &u);
	assert_string_equal(u.id, "asset-0384");
	assert_string_equal(w2_column[u.column], "i1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_w1), cmocka_unit_test(test_w2)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
