#include "protocol/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/testing.h"
#include "protocol/value_bytes.h"

static void test_runs_come_back(void **state)
{
	static const int64_t run[][2] = {{INT64_MIN + 1, INT64_MIN + 1},
					 {-5, 3},
					 {4, 4}, /* adjacent ones stay two */
					 {300, INT64_MAX - 1},
					 {INT64_MAX, INT64_MAX}};
	enum { N = sizeof run / sizeof *run };
	struct buf b = {.max = 100};
	int64_t at = INT64_MIN, lo, hi;
	struct slice in;
	bool any;

	(void)state;
	for (size_t i = 0; i < N; i++)
		assert_int_equal(run_put(&b, &at, run[i][0], run[i][1]), 0);
	assert_int_equal(at, INT64_MAX);
	in = buf_slice(&b);
	at = INT64_MIN;
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(run_take(&in, &at, INT64_MAX, &lo, &hi, &any), 0);
		assert_true(any);
		assert_int_equal(lo, run[i][0]);
		assert_int_equal(hi, run[i][1]);
		assert_int_equal(at, hi);
	}
	assert_int_equal(run_take(&in, &at, INT64_MAX, &lo, &hi, &any), 0);
	assert_false(any);
	buf_free(&b);
}

static int take(const char *hex, int64_t after, int64_t upto)
{
	json_t *o = json_pack("{s:s}", "hex", hex);
	uint8_t bytes[64];
	struct slice in = slice_of(bytes, hex_of(o, "hex", bytes, sizeof bytes));
	int64_t lo, hi;
	bool any = true;
	int rc = 0;

	while (!rc && any)
		rc = run_take(&in, &after, upto, &lo, &hi, &any);
	json_decref(o);
	return rc;
}

static void test_what_runs_may_not_be(void **state)
{
	(void)state;
	assert_int_equal(take("0000", 0, 1), 0);
	assert_int_equal(take("00000000", 0, 2), 0);
	assert_int_equal(take("0008", 0, 9), 0);
	assert_int_equal(take("00", 0, 9), NE_MALFORMED);	/* cut short */
	assert_int_equal(take("0080", 0, 9), NE_MALFORMED);	/* … within a number */
	assert_int_equal(take("0009", 0, 9), NE_MALFORMED);	/* beyond the end */
	assert_int_equal(take("0900", 0, 9), NE_MALFORMED);	/* begins there */
	assert_int_equal(take("00080000", 0, 9), NE_MALFORMED); /* one more behind it */
	assert_int_equal(take("00ffffffffffffffffff01", 0, 9), NE_MALFORMED);
	assert_int_equal(take("ffffffffffffffffff0100", 5, 9), NE_MALFORMED);
	assert_int_equal(take("0100ffffffffffffffff7f", INT64_MIN, INT64_MAX), NE_MALFORMED);
	assert_int_equal(take("00feffffffffffffffff01", INT64_MIN, INT64_MAX), 0);
	assert_int_equal(take("00ffffffffffffffffff01", INT64_MIN, INT64_MAX), NE_MALFORMED);
}

static void test_room(void **state)
{
	struct buf b = {.max = 3};
	int64_t at = 0;

	(void)state;
	assert_int_equal(run_put(&b, &at, 1, 1), 0);
	assert_int_equal(run_put(&b, &at, 3, 3), NE_LIMIT);
	assert_int_equal(b.len, 2);
	assert_int_equal(at, 1);
	buf_free(&b);
}

static void check(const json_t *one)
{
	json_t *shapes = load_vectors("shapes.json"), *s;
	uint8_t encoded[1024], key_bytes[256], want[KEY_HASH_BYTES];
	struct buf scratch = {.max = 1024};
	struct val key[LIMIT_KEY_COLUMNS];
	struct arena a = {.max = 1 << 20};
	struct shape shape = {.n_key = 0};
	struct slice in;
	uint64_t hash;
	size_t i;

	json_array_foreach(json_object_get(shapes, "shapes"), i, s)
	{
		if (strcmp(text_of(s, "name"), text_of(one, "shape")) != 0)
			continue;
		size_t len = hex_of(s, "hex", encoded, sizeof encoded);
		assert_int_equal(shape_decode(slice_of(encoded, len), &a, &shape, NULL), 0);
	}
	assert_true(shape.n_key > 0);
	in = slice_of(key_bytes, hex_of(one, "key", key_bytes, sizeof key_bytes));
	assert_int_equal(values_take(&in, key, shape.n_key), 0);
	assert_int_equal(in.len, 0);
	assert_int_equal(
		key_hash(strtoull(text_of(one, "salt"), NULL, 10), &shape, key, &scratch, &hash),
		0);
	assert_int_equal(hex_of(one, "hash", want, sizeof want), KEY_HASH_BYTES);
	assert_int_equal(hash, key_hash_read(want));
	buf_clear(&scratch);
	assert_int_equal(key_hash_put(&scratch, hash), 0);
	assert_memory_equal(scratch.at, want, KEY_HASH_BYTES);
	buf_free(&scratch);
	arena_free(&a);
	json_decref(shapes);
}

/* Made by a program of another language. */
static void test_hashes(void **state)
{
	json_t *v = load_vectors("key_hashes.json"), *one;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(v, "hashes"), i, one) check(one);
	assert_int_equal(i, 3);
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_come_back),
		cmocka_unit_test(test_what_runs_may_not_be),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
