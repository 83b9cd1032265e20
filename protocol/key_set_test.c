#include "protocol/key_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/value_bytes.h"

static struct shape_col columns[2] = {{.collation = COLL_NOCASE}, {.collation = COLL_BINARY}};
static const struct shape shape = {.n_key = 2, .key = columns};

static void put(struct buf *b, const char *text, int64_t i)
{
	const struct val key[2] = {{.type = VAL_TEXT, .s = slice_str(text)},
				   {.type = VAL_INT, .i = i}};

	assert_int_equal(values_put(b, key, 2), 0);
}

static bool has(const struct key_set *k, const char *text, double r)
{
	struct buf scratch = {.max = 100};
	const struct val key[2] = {{.type = VAL_TEXT, .s = slice_str(text)},
				   {.type = VAL_REAL, .r = r}};
	bool yes;

	assert_int_equal(key_set_has(k, key, &scratch, &yes), 0);
	buf_free(&scratch);
	return yes;
}

static void test_finds_keys_in_any_spelling(void **state)
{
	struct buf b = {.max = 1000};
	struct arena a = {.max = 4096};
	struct key_set k;

	(void)state;
	put(&b, "zug", 7);
	put(&b, "A", 3);
	put(&b, "m", -1);
	assert_int_equal(key_set_read(&shape, buf_slice(&b), 3, &a, &k), 0);
	assert_int_equal(k.n, 3);
	assert_true(has(&k, "a", 3.0));
	assert_true(has(&k, "ZUG", 7.0));
	assert_true(has(&k, "m", -1.0));
	assert_false(has(&k, "a", 7.0));
	assert_false(has(&k, "n", -1.0));
	assert_int_equal(key_set_read(&shape, slice_of(NULL, 0), 3, &a, &k), 0);
	assert_false(has(&k, "a", 3.0));
	buf_free(&b);
	arena_free(&a);
}

static void test_refuses_what_is_no_list_of_keys(void **state)
{
	struct buf b = {.max = 1000};
	struct arena a = {.max = 1 << 20};
	struct key_set k;
	struct val key[2], null[2] = {{.type = VAL_INT, .i = 1}, {.type = VAL_NULL}};

	(void)state;
	put(&b, "a", 1);
	size_t one = b.len;
	put(&b, "b", 2);
	assert_int_equal(key_set_read(&shape, buf_slice(&b), 1, &a, &k), NE_LIMIT);
	for (size_t len = 1; len < b.len; len++)
		assert_int_equal(key_set_read(&shape, slice_of(b.at, len), 2, &a, &k),
				 len == one ? 0 : NE_MALFORMED);
	assert_int_equal(key_take_whole(slice_of(b.at, one), &shape, key), 0);
	assert_int_equal(key_take_whole(buf_slice(&b), &shape, key), NE_MALFORMED);
	buf_clear(&b);
	assert_int_equal(values_put(&b, null, 2), 0);
	assert_int_equal(key_set_read(&shape, buf_slice(&b), 9, &a, &k), NE_MALFORMED);
	assert_int_equal(key_take_whole(buf_slice(&b), &shape, key), NE_MALFORMED);
	buf_free(&b);
	arena_free(&a);
}

static void test_memory_has_a_bound(void **state)
{
	struct buf b = {.max = 1000};
	struct arena a = {.max = 16};
	struct key_set k;

	(void)state;
	put(&b, "a", 1);
	put(&b, "b", 1);
	assert_int_equal(key_set_read(&shape, buf_slice(&b), 9, &a, &k), NE_MEMORY);
	buf_free(&b);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_keys_in_any_spelling),
		cmocka_unit_test(test_refuses_what_is_no_list_of_keys),
		cmocka_unit_test(test_memory_has_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
