#include "protocol/rows_kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_COL = 20 };

static const struct reg a = {10, 1}, b = {11, 1};

/* A row with the cells 0 … n−1 by step, all of register `reg` but the last, which has `last`. */
static struct row row(enum row_exist exist, uint16_t n, uint16_t step, struct reg reg,
		      struct reg last, struct cell *cell)
{
	for (uint16_t i = 0; i < n; i++)
		cell[i] = (struct cell){.col = (uint16_t)(i * step), .reg = i + 1 < n ? reg : last};
	return (struct row){.exist = exist, .exist_reg = a, .n_cell = n, .cell = cell};
}

static void test_kinds_come_back(void **state)
{
	struct cell cell[9][N_COL];
	struct row rows[9] = {
		row(EXIST_ALIVE, N_COL, 1, a, a, cell[0]), /* an insert */
		row(EXIST_ALIVE, N_COL, 1, a, a, cell[1]),
		row(EXIST_ALIVE, N_COL, 1, b, b, cell[2]), /* its cells are of one later write */
		row(EXIST_ALIVE, N_COL, 1, a, b, cell[3]), /* of several */
		row(EXIST_NONE, 1, 1, a, a, cell[4]),
		row(EXIST_NONE, 4, 3, b, b, cell[5]),
		row(EXIST_NONE, 4, 3, a, b, cell[6]),
		row(EXIST_DEAD, 0, 1, a, a, cell[7]),
		row(EXIST_NONE, 0, 1, a, a, cell[8]),
	};
	static const int64_t kind_of[9] = {0, 0, 1, 2, 3, 4, 5, 6, 7};
	static const size_t registers[9] = {1, 1, 2, 21, 1, 1, 4, 1, 0};
	struct table_rows t = {.n_row = 9, .row = rows};
	struct arena tmp = {.max = 1 << 20};
	struct buf out = {.max = 1000};
	struct kinds k, back;
	(void)state;
	assert_int_equal(kinds_make(&t, &k, &tmp), 0);
	assert_int_equal(k.n, 8);
	assert_int_equal(kinds_put(&k, 9, N_COL, &out, &tmp), 0);
	struct slice in = buf_slice(&out);
	assert_int_equal(kinds_get(&in, 9, N_COL, &back, &tmp), 0);
	assert_int_equal(in.len, 0);
	for (size_t i = 0; i < 9; i++) {
		const struct kind *x = &back.kind[back.index[i]];
		assert_int_equal(back.index[i], kind_of[i]);
		assert_int_equal(x->exist, rows[i].exist);
		assert_int_equal(x->n_cell, rows[i].n_cell);
		assert_int_equal(kind_registers(x), registers[i]);
		for (size_t c = 0; c < rows[i].n_cell; c++)
			assert_true(kind_has(x, rows[i].cell[c].col));
	}
	for (size_t cut = 0; cut < out.len; cut++) {
		in = slice_of(out.at, cut);
		assert_int_not_equal(kinds_get(&in, 9, N_COL, &back, &tmp), 0);
	}
	buf_free(&out);
	arena_free(&tmp);
}

static int get(const char *bytes, size_t len, size_t n_row)
{
	struct arena tmp = {.max = 1 << 20};
	struct slice in = slice_of(bytes, len);
	struct kinds k;
	int rc = kinds_get(&in, n_row, N_COL, &k, &tmp);
	arena_free(&tmp);
	return rc;
}

static void test_what_is_refused(void **state)
{
	(void)state;
	assert_int_equal(get("\x01\x01", 2, 1), 0);
	assert_int_equal(get("\x00\x01", 2, 1), NE_MALFORMED);	   /* none */
	assert_int_equal(get("\x02\x01\x01", 3, 1), NE_MALFORMED); /* more than rows */
	assert_int_equal(get("\x01\x03", 2, 1), NE_MALFORMED);	   /* existence 3 */
	assert_int_equal(get("\x01\x0d", 2, 1), NE_MALFORMED);	   /* registers 3 */
	assert_int_equal(get("\x01\x41", 2, 1), NE_MALFORMED);	   /* a bit nobody uses */
	assert_int_equal(get("\x01\x31\x14", 3, 1), NE_MALFORMED); /* column 20 */
	assert_int_equal(get("\x01\x31\x13", 3, 1), 0);
	assert_int_equal(get("\x01\x21\x00\x00\x10", 5, 1), NE_MALFORMED); /* the same by bit */
	assert_int_equal(get("\x01\x21\x00\x00\x08", 5, 1), 0);
	assert_int_equal(get("\x01\x10", 2, 1), NE_MALFORMED);	       /* cells like no existence */
	assert_int_equal(get("\x02\x01\x02\x82", 4, 2), NE_MALFORMED); /* kind 2 of 2 */
	assert_int_equal(get("\x02\x01\x02\x81", 4, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds_come_back),
		cmocka_unit_test(test_what_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
