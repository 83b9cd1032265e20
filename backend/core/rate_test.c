#include "backend/core/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 1790000000000ull

static struct rates *rates(uint64_t messages_s, uint64_t rows_s, size_t owners)
{
	const struct rate_limit limit = {.messages_s = messages_s, .rows_s = rows_s};
	struct rates *r;

	assert_int_equal(rates_new(&r, owners, &limit, 7), NE_OK);
	return r;
}

static uint64_t wait_ms(struct rates *r, const char *user, const char *device, uint64_t now_ms)
{
	return rates_wait_ms(r, rates_find(r, user, device, now_ms));
}

static void charge(struct rates *r, const char *device, uint64_t messages, uint64_t rows,
		   uint64_t now_ms)
{
	rates_charge(r, rates_find(r, "u", device, now_ms), messages, rows);
}

static void empties_and_fills(void **state)
{
	struct rates *r = rates(10, 100, 64);

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(wait_ms(r, "u", "d", NOW), 0);
		charge(r, "d", 1, 0, NOW);
	}
	assert_int_equal(wait_ms(r, "u", "d", NOW), 100);
	assert_int_equal(wait_ms(r, "u", "d", NOW + 40), 60);
	assert_int_equal(wait_ms(r, "u", "d", NOW + 100), 0);
	assert_int_equal(wait_ms(r, "u", "other", NOW), 0);
	assert_int_equal(wait_ms(r, "v", "d", NOW), 0);
	/* Never more than full, and a clock set back takes nothing. */
	assert_int_equal(wait_ms(r, "u", "d", NOW + 1000000000), 0);
	charge(r, "d", 50, 0, NOW + 1000000000);
	assert_int_equal(wait_ms(r, "u", "d", NOW), 100);
	assert_int_equal(wait_ms(r, "u", "d", NOW + 100), 0);
	rates_free(r);
}

/* What was more than expected is paid for afterwards. */
static void debt(void **state)
{
	struct rates *r = rates(1000, 100, 64);

	(void)state;
	charge(r, "d", 1, 1500, NOW);
	assert_int_equal(wait_ms(r, "u", "d", NOW), 10010);
	assert_int_equal(wait_ms(r, "u", "d", NOW + 10010), 0);
	charge(r, "d", 1, UINT64_MAX, NOW + 10010);
	assert_true(wait_ms(r, "u", "d", NOW + 10010) > 1000000);
	rates_free(r);
}

static void no_limit(void **state)
{
	struct rates *r = rates(0, 0, 64);

	(void)state;
	charge(r, "d", 1000000, 1000000000, NOW);
	assert_int_equal(wait_ms(r, "u", "d", NOW), 0);
	rates_free(r);
}

/* More owners than there is room for: those used last keep their debt, nobody is refused for it. */
static void fixed_size(void **state)
{
	struct rates *r = rates(1, 0, 64);
	char device[32];
	unsigned kept = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		snprintf(device, sizeof device, "d%d", i);
		uint64_t now = NOW + (unsigned)i;
		assert_int_equal(wait_ms(r, "u", device, now), 0);
		charge(r, device, 10, 0, now);
	}
	for (int i = 99999; i >= 100000 - 32; i--) {
		snprintf(device, sizeof device, "d%d", i);
		kept += wait_ms(r, "u", device, NOW + 100000) > 0;
	}
	assert_true(kept >= 16);
	rates_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empties_and_fills),
		cmocka_unit_test(debt),
		cmocka_unit_test(no_limit),
		cmocka_unit_test(fixed_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
