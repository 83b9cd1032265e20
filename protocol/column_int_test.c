#include "protocol/column_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/column_io.h"
#include "protocol/rows_random.h"

enum { MOST = 700 };

/* Returns the bytes taken; *first is the first of them. */
static size_t round_trip(const int64_t *v, size_t n, uint8_t *first)
{
	struct arena tmp = {.max = 16 << 20};
	struct buf b = {.max = 1 << 20};
	int64_t back[MOST];
	assert_int_equal(ints_encode(v, n, &b, &tmp), 0);
	/* On the heap and no longer than it is: a sanitizer sees a byte too far. */
	uint8_t *bytes = malloc(b.len + 1);
	assert_non_null(bytes);
	memcpy(bytes, b.at, b.len);
	struct slice in = slice_of(bytes, b.len);
	assert_int_equal(ints_decode(&in, n, back, &tmp), 0);
	assert_int_equal(in.len, 0);
	assert_memory_equal(back, v, n * sizeof *v);
	for (size_t cut = 0; cut < b.len; cut++) {
		in = slice_of(bytes, cut);
		assert_int_not_equal(ints_decode(&in, n, back, &tmp), 0);
	}
	*first = bytes[0];
	size_t len = b.len;
	free(bytes);
	buf_free(&b);
	arena_free(&tmp);
	return len;
}

static int64_t value(unsigned style, size_t i, struct rng *r)
{
	switch (style) {
	case 0:
		return 5;
	case 1:
		return -77777;
	case 2:
		return 1790000000000 + (int64_t)i * 1000;
	case 3:
		return 1790000000000 + (int64_t)i * 1000 + (int64_t)rng_below(r, 20);
	case 4:
		return (int64_t)(i * i);
	case 5: /* eight series in turn, each with its own scale */
		return (int64_t)((i % 8 + 1) * 1000000 + rng_below(r, (uint64_t)1 << 2 * (i % 8)));
	case 6:
		return rng_below(r, 30) ? 192 : (int64_t)rng_below(r, 200);
	case 7:
		return (int64_t)rng_next(r);
	case 8:
		return i % 2 ? INT64_MIN : INT64_MAX;
	case 9:
		return (int64_t)(i % 13) * 100;
	case 10:
		return rng_below(r, 50) ? (int64_t)rng_below(r, 4) : INT64_MIN;
	default:
		return (int64_t)rng_below(r, 10);
	}
}

static void test_series_of_every_kind_and_length(void **state)
{
	static const size_t lengths[] = {1, 2, 3, 4, 7, 11, 12, 13, 24, 25, 64, 100, 257, MOST};
	unsigned coders = 0, predictors = 0;
	struct rng r = {1};
	(void)state;
	for (unsigned style = 0; style < 12; style++)
		for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
			int64_t v[MOST];
			uint8_t first;
			for (size_t i = 0; i < lengths[k]; i++)
				v[i] = value(style, i, &r);
			round_trip(v, lengths[k], &first);
			if (first & INTS_SMALL)
				continue;
			coders |= 1u << (first & 7);
			predictors |= 1u << (first >> INTS_PREDICTOR_SHIFT);
		}
	assert_int_equal(coders, 31); /* all five were chosen somewhere */
	assert_int_equal(predictors, 15);
}

static void test_good_choices(void **state)
{
	int64_t v[MOST];
	uint8_t first;
	struct rng r = {7};
	(void)state;
	for (size_t i = 0; i < MOST; i++)
		v[i] = 5;
	assert_int_equal(round_trip(v, MOST, &first), 1);
	for (size_t i = 0; i < MOST; i++)
		v[i] = value(2, i, &r);
	assert_in_range(round_trip(v, MOST, &first), 1, 12);
	for (size_t i = 0; i < MOST; i++)
		v[i] = value(9, i, &r); /* repeats after 13 */
	assert_in_range(round_trip(v, MOST, &first), 1, 40);
	for (size_t i = 0; i < MOST; i++)
		v[i] = value(7, i, &r); /* random: no more than a few bytes lost */
	assert_in_range(round_trip(v, MOST, &first), MOST * 8, MOST * 8 + 64);
}

static void test_nothing_is_nothing(void **state)
{
	struct arena tmp = {.max = 1000};
	struct buf b = {.max = 10};
	struct slice in = {0};
	(void)state;
	assert_int_equal(ints_encode(NULL, 0, &b, &tmp), 0);
	assert_int_equal(b.len, 0);
	assert_int_equal(ints_decode(&in, 0, NULL, &tmp), 0);
}

static int decode(const char *bytes, size_t len, size_t n)
{
	struct arena tmp = {.max = 1 << 20};
	struct slice in = slice_of(bytes, len);
	int64_t v[MOST];
	int rc = ints_decode(&in, n, v, &tmp);
	arena_free(&tmp);
	return rc;
}

static void test_what_is_refused(void **state)
{
	(void)state;
	assert_int_equal(decode("\x05\x00", 2, 3), NE_MALFORMED);     /* no such coder */
	assert_int_equal(decode("\x20\x00\x00", 3, 3), NE_MALFORMED); /* no such predictor */
	assert_int_equal(decode("\x08\x02", 2, 1), NE_MALFORMED);     /* before: nothing is left */
	assert_int_equal(decode("\x10\x02\x02\x00", 4, 2), NE_MALFORMED);
	assert_int_equal(decode("\x18\x00\x80\x00", 4, 3), NE_MALFORMED);     /* a lag of 0 */
	assert_int_equal(decode("\x18\x03\x80\x00", 4, 3), NE_MALFORMED);     /* … of all */
	assert_int_equal(decode("\x01\x00\x41", 3, 3), NE_MALFORMED);	      /* 65 bits each */
	assert_int_equal(decode("\x02\x00\x29\x01\x00", 5, 1), NE_MALFORMED); /* start 41 */
	assert_int_equal(decode("\x02\x00\x00\x00\x00", 5, 1), NE_MALFORMED); /* no phase */
	assert_int_equal(decode("\x04\x00\x00", 3, 3), NE_MALFORMED); /* sparse without any */
	assert_int_equal(decode("\x04\x00\x01\x83\x81", 5, 3), NE_MALFORMED); /* beyond the end */
	assert_int_equal(decode("\x04\x00\x01\x82\x81", 5, 3), 0);
	assert_int_equal(decode("\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, 1),
			 NE_MALFORMED); /* 65 bits */
	/* lag in lag in lag is one too many */
	assert_int_equal(decode("\x18\x05\x18\x03\x80\x00\x00\x00\x00", 9, 9), 0);
	assert_int_equal(decode("\x18\x05\x18\x03\x18\x01\x80\x00\x00\x00\x00\x00\x00", 13, 9),
			 NE_MALFORMED);
}

static void test_random_bytes_do_no_harm(void **state)
{
	struct rng r = {3};
	(void)state;
	for (size_t i = 0; i < 200000; i++) {
		char bytes[24];
		size_t len = 1 + rng_below(&r, sizeof bytes);
		for (size_t k = 0; k < len; k++)
			bytes[k] = (char)rng_next(&r);
		bytes[0] &= 0x1f;
		int rc = decode(bytes, len, 1 + rng_below(&r, 40));
		assert_true(rc == 0 || rc == NE_MALFORMED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_series_of_every_kind_and_length),
		cmocka_unit_test(test_good_choices),
		cmocka_unit_test(test_nothing_is_nothing),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_random_bytes_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
