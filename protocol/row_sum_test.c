#include "protocol/row_sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/testing.h"
#include "protocol/value_bytes.h"

static size_t shape_named(const char *name, uint8_t *bytes, size_t max)
{
	json_t *v = load_vectors("shapes.json"), *one;
	size_t i, len = 0;

	json_array_foreach(json_object_get(v, "shapes"), i, one)
	{
		if (!strcmp(text_of(one, "name"), name))
			len = hex_of(one, "hex", bytes, max);
	}
	json_decref(v);
	assert_true(len > 0);
	return len;
}

/* A row of a vector: key, then columns. */
static void add(struct row_sum *sum, const struct shape *s, const json_t *row)
{
	json_t *o = json_pack("{s:O}", "hex", row);
	struct buf scratch = {.max = 4096};
	struct val v[LIMIT_COLUMNS];
	uint8_t bytes[512];
	struct slice in = slice_of(bytes, hex_of(o, "hex", bytes, sizeof bytes));

	assert_int_equal(values_take(&in, v, (size_t)s->n_key + s->n_col), 0);
	assert_int_equal(in.len, 0);
	assert_int_equal(row_sum_add(sum, s, v, v + s->n_key, &scratch), 0);
	buf_free(&scratch);
	json_decref(o);
}

static void check(const json_t *one, bool backwards)
{
	uint8_t encoded[1024], want[ROW_SUM_BYTES], got[ROW_SUM_BYTES];
	size_t len = shape_named(text_of(one, "shape"), encoded, sizeof encoded);
	const json_t *rows = json_object_get(one, "rows");
	size_t n = json_array_size(rows);
	struct arena a = {.max = 1 << 20};
	struct row_sum sum = {0}, again = {.n = n};
	struct shape s;

	assert_int_equal(shape_decode(slice_of(encoded, len), &a, &s, NULL), 0);
	for (size_t i = 0; i < n; i++)
		add(&sum, &s, json_array_get(rows, backwards ? n - 1 - i : i));
	assert_int_equal(hex_of(one, "sum", want, sizeof want), ROW_SUM_BYTES);
	row_sum_put(&sum, got);
	assert_memory_equal(got, want, sizeof got);
	row_sum_take(want, &again);
	assert_true(row_sum_eq(&sum, &again));
	again.n++;
	assert_false(row_sum_eq(&sum, &again));
	arena_free(&a);
}

/* Made by a program of another language; one of the sums goes past 2^128. */
static void test_vectors(void **state)
{
	json_t *v = load_vectors("row_sums.json"), *one;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(v, "sums"), i, one)
	{
		check(one, false);
		check(one, true);
	}
	assert_int_equal(i, 4);
	json_decref(v);
}

static void test_every_value_counts(void **state)
{
	struct shape_col key = {.name = slice_str("k")},
			 col[2] = {{.name = slice_str("a")}, {.name = slice_str("b")}};
	const struct shape s = {.n_key = 1, .n_col = 2, .key = &key, .col = col};
	struct buf scratch = {.max = 100};
	struct val v[3] = {
		{.type = VAL_INT, .i = 1}, {.type = VAL_NULL}, {.type = VAL_INT, .i = 2}};
	struct row_sum sum = {0};

	(void)state;
	assert_int_equal(row_sum_add(&sum, &s, v, v + 1, &scratch), 0);
	for (int i = 0; i < 3; i++) {
		struct row_sum other = {0};
		struct val was = v[i];
		v[i] = (struct val){.type = VAL_TEXT, .s = slice_str("x")};
		assert_int_equal(row_sum_add(&other, &s, v, v + 1, &scratch), 0);
		assert_false(row_sum_eq(&sum, &other));
		v[i] = was;
	}
	/* Which column a value stands in counts, too. */
	struct row_sum other = {0};
	struct val swapped[3] = {v[0], v[2], v[1]};
	assert_int_equal(row_sum_add(&other, &s, swapped, swapped + 1, &scratch), 0);
	assert_false(row_sum_eq(&sum, &other));
	buf_free(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_value_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
