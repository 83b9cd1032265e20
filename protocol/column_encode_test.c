#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/column.h"
#include "protocol/rows_random.h"

enum { MOST = 500, ROOM = 1 << 20 };

/* Encodes, decodes, compares; returns the bytes taken; *mode is the first of them. */
static size_t round_trip(const struct val *v, size_t n, uint8_t *mode)
{
	struct arena a = {.max = 16 << 20}, tmp = {.max = 16 << 20};
	struct buf b = {.max = ROOM};
	struct val *back = calloc(n, sizeof *back);
	assert_non_null(back);
	assert_int_equal(column_encode(v, n, &b, &tmp), 0);
	struct column_in in = {
		.left = buf_slice(&b),
		.a = &a,
		.tmp = &tmp,
		.room = ROOM,
		.pool_room = ROOM,
	};
	assert_int_equal(column_decode(&in, n, back), 0);
	assert_int_equal(in.left.len, 0);
	for (size_t i = 0; i < n; i++)
		assert_true(val_eq(&back[i], &v[i]));
	size_t len = b.len;
	*mode = b.at[0];
	free(back);
	buf_free(&b);
	arena_free(&a);
	arena_free(&tmp);
	return len;
}

static void test_every_style(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		for (unsigned style = 0; style < RANDOM_STYLES; style++) {
			struct rng r = {seed * 100 + style};
			struct arena a = {.max = 16 << 20};
			struct val v[MOST];
			uint8_t mode;
			size_t n = 1 + rng_below(&r, MOST);
			for (size_t i = 0; i < n; i++)
				v[i] = random_val(&r, &a, style, (int64_t)i);
			round_trip(v, n, &mode);
			arena_free(&a);
		}
}

static size_t column(unsigned style, uint8_t *mode)
{
	struct rng r = {1};
	struct arena a = {.max = 16 << 20};
	struct val v[MOST];
	for (size_t i = 0; i < MOST; i++)
		v[i] = random_val(&r, &a, style, (int64_t)i);
	size_t len = round_trip(v, MOST, mode);
	arena_free(&a);
	return len;
}

static void test_modes_chosen(void **state)
{
	uint8_t mode;
	(void)state;
	assert_in_range(column(0, &mode), 1, 16);
	assert_int_equal(mode, COLUMN_INTS);
	column(4, &mode);
	assert_int_equal(mode, COLUMN_DECIMALS);
	column(5, &mode);
	assert_int_equal(mode, COLUMN_DECIMALS_BUT);
	assert_in_range(column(7, &mode), 1, 80); /* six words in turn */
	assert_int_equal(mode, COLUMN_DICTIONARY);
	assert_in_range(column(8, &mode), 1, MOST * 2); /* asset-000000 … */
	assert_int_equal(mode, COLUMN_TEXTS_FRONT_CODED);
	column(11, &mode);
	assert_int_equal(mode, COLUMN_BLOBS);
	assert_int_equal(column(12, &mode), 1);
	assert_int_equal(mode, COLUMN_NULLS);
	column(17, &mode);
	assert_int_equal(mode, COLUMN_MIXED);
}

static void test_time_ordered_ids_are_split(void **state)
{
	struct rng r = {1};
	struct arena a = {.max = 1 << 20};
	struct val v[100];
	uint8_t mode;
	(void)state;
	for (size_t i = 0; i < 100; i++) {
		v[i] = random_bytes(&r, &a, VAL_BLOB, 16);
		uint8_t *at = (uint8_t *)(uintptr_t)v[i].s.at;
		uint64_t ms = 1790000000000 + i * 30;
		for (size_t k = 0; k < 6; k++)
			at[k] = (uint8_t)(ms >> (40 - 8 * k));
	}
	assert_in_range(round_trip(v, 100, &mode), 1000, 1020);
	assert_int_equal(mode, COLUMN_BLOBS_SPLIT);
	arena_free(&a);
}

static void test_reals_with_no_short_decimal_go_raw(void **state)
{
	struct val v[50];
	uint8_t mode;
	(void)state;
	for (size_t i = 0; i < 50; i++)
		v[i] = (struct val){.type = VAL_REAL, .r = sqrt((double)i + 2) * 1e100};
	round_trip(v, 50, &mode);
	assert_int_equal(mode, COLUMN_REALS);
}

static void test_nan_is_refused(void **state)
{
	struct arena tmp = {.max = 1 << 20};
	struct buf b = {.max = 1000};
	struct val v[2] = {{.type = VAL_REAL, .r = 1}, {.type = VAL_REAL, .r = NAN}};
	(void)state;
	assert_int_equal(column_encode(v, 2, &b, &tmp), NE_MALFORMED);
	assert_int_equal(column_encode(v + 1, 1, &b, &tmp), NE_MALFORMED);
	buf_free(&b);
	arena_free(&tmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_style),
		cmocka_unit_test(test_modes_chosen),
		cmocka_unit_test(test_time_ordered_ids_are_split),
		cmocka_unit_test(test_reals_with_no_short_decimal_go_raw),
		cmocka_unit_test(test_nan_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
