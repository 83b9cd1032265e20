#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/column.h"
#include "protocol/rows_random.h"

enum { MOST = 300, ROOM = 1 << 20 };

/* Encodes, decodes, compares; returns the bytes taken. */
static size_t round_trip(const struct val *v, size_t n)
{
	struct arena a = {.max = 16 << 20}, tmp = {.max = 16 << 20};
	struct buf b = {.max = ROOM};
	struct val back[MOST];
	assert_int_equal(column_encode_apart(v, n, &b, &tmp), 0);
	struct column_in in = {
		.left = buf_slice(&b), .a = &a, .tmp = &tmp, .room = ROOM, .pool_room = ROOM};
	assert_int_equal(column_decode(&in, n, back), 0);
	assert_int_equal(in.left.len, 0);
	for (size_t i = 0; i < n; i++)
		assert_true(val_eq(&back[i], &v[i]));
	size_t len = b.len;
	buf_free(&b);
	arena_free(&a);
	arena_free(&tmp);
	return len;
}

static void test_every_style_comes_back(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		for (unsigned style = 0; style < RANDOM_STYLES; style++) {
			struct rng r = {seed * 100 + style};
			struct arena a = {.max = 16 << 20};
			struct val v[MOST];
			size_t n = seed == 1 ? 1 : 1 + rng_below(&r, MOST);
			for (size_t i = 0; i < n; i++)
				v[i] = random_val(&r, &a, style, (int64_t)i);
			round_trip(v, n);
			arena_free(&a);
		}
}

/* Other values of the same types and lengths. */
static struct val other(struct rng *r, struct arena *a, const struct val *v, bool repeat)
{
	struct val o = {.type = v->type};
	switch (v->type) {
	case VAL_NULL:
		break;
	case VAL_INT:
		o.i = repeat ? 7 : (int64_t)rng_next(r);
		break;
	case VAL_REAL:
		o.r = repeat ? 0.5 : random_real(r);
		break;
	case VAL_TEXT:
	case VAL_BLOB:
		o = random_bytes(r, a, v->type, v->s.len);
		if (repeat)
			memset((uint8_t *)(uintptr_t)o.s.at, 'e', o.s.len);
		break;
	}
	return o;
}

static void test_the_size_depends_on_types_and_lengths_alone(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		for (unsigned style = 0; style < RANDOM_STYLES; style++) {
			struct rng r = {seed * 100 + style};
			struct arena a = {.max = 16 << 20};
			struct val v[MOST], noise[MOST], same[MOST];
			size_t n = 1 + rng_below(&r, MOST);
			for (size_t i = 0; i < n; i++) {
				v[i] = random_val(&r, &a, style, (int64_t)i);
				noise[i] = other(&r, &a, &v[i], false);
				same[i] = other(&r, &a, &v[i], true);
			}
			size_t len = round_trip(v, n);
			assert_int_equal(round_trip(noise, n), len);
			assert_int_equal(round_trip(same, n), len);
			arena_free(&a);
		}
}

static void test_nan_and_lengths_beyond_the_limit_are_refused(void **state)
{
	const struct val nan = {.type = VAL_REAL, .r = NAN};
	const struct val huge = {.type = VAL_BLOB, .s = {(const uint8_t *)"", LIMIT_VALUE + 1}};
	struct arena tmp = {.max = 1 << 20};
	struct buf b = {.max = ROOM};
	(void)state;
	assert_int_equal(column_encode_apart(&nan, 1, &b, &tmp), NE_MALFORMED);
	assert_int_equal(column_encode_apart(&huge, 1, &b, &tmp), NE_LIMIT);
	buf_free(&b);
	arena_free(&tmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_style_comes_back),
		cmocka_unit_test(test_the_size_depends_on_types_and_lengths_alone),
		cmocka_unit_test(test_nan_and_lengths_beyond_the_limit_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
