#include "protocol/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/rows_random.h"
#include "protocol/rows_workload.h"

enum { HOME = 77 };

static const struct shape *find(void *ctx, struct shape_id id)
{
	const struct rows *rows = ctx;
	for (size_t i = 0; i < rows->n_table; i++)
		if (shape_id_eq(rows->table[i].shape->id, id))
			return rows->table[i].shape;
	return NULL;
}

static void assert_same_row(const struct shape *s, const struct row *a, const struct row *b)
{
	for (size_t k = 0; k < s->n_key; k++)
		assert_true(val_eq(&a->key[k], &b->key[k]));
	assert_int_equal(a->n_cell, b->n_cell);
	for (size_t c = 0; c < a->n_cell; c++) {
		assert_int_equal(a->cell[c].col, b->cell[c].col);
		assert_true(val_eq(&a->cell[c].val, &b->cell[c].val));
		if (s->kind == SHAPE_MERGE)
			assert_int_equal(reg_cmp(a->cell[c].reg, b->cell[c].reg), 0);
	}
	if (s->kind == SHAPE_APPEND) {
		assert_int_equal(a->gen, b->gen);
		assert_int_equal(a->n, b->n);
		return;
	}
	assert_int_equal(a->exist, b->exist);
	if (a->exist != EXIST_NONE)
		assert_int_equal(reg_cmp(a->exist_reg, b->exist_reg), 0);
}

/* Encodes, decodes, compares; returns the bytes taken. */
static size_t round_trip(const struct rows *rows, uint64_t home)
{
	struct buf b = {.max = LIMIT_SET};
	struct arena a = {.max = LIMIT_DECODED};
	struct rows out;
	struct err e = {0};
	if (rows_encode(rows, home, &b, &e))
		fail_msg("encode: %s", e.text);
	size_t len = b.len;
	struct shape_finder shapes = {find, (void *)(uintptr_t)rows};
	if (rows_decode(buf_slice(&b), home, shapes, &a, &out, NULL, &e))
		fail_msg("decode: %s", e.text);
	/* Nothing may point into the bytes. */
	if (b.len)
		memset(b.at, 0xaa, b.len);
	buf_free(&b);
	assert_int_equal(out.n_table, rows->n_table);
	for (size_t t = 0; t < rows->n_table; t++) {
		assert_ptr_equal(out.table[t].shape, rows->table[t].shape);
		assert_int_equal(out.table[t].n_row, rows->table[t].n_row);
		for (size_t i = 0; i < out.table[t].n_row; i++)
			assert_same_row(out.table[t].shape, &rows->table[t].row[i],
					&out.table[t].row[i]);
	}
	arena_free(&a);
	return len;
}

static void test_random_rows_come_back_as_they_were(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 600; seed++) {
		struct arena a = {.max = 64 << 20};
		struct rows rows = random_rows(seed, &a);
		round_trip(&rows, seed % 3 ? HOME : SITE_SERVER);
		arena_free(&a);
	}
}

static void test_no_rows_are_no_bytes(void **state)
{
	(void)state;
	struct rows rows = {0};
	assert_int_equal(round_trip(&rows, HOME), 0);
}

static struct rows w1_rows(struct arena *a, struct shape *s, size_t n, bool append)
{
	struct w1 w = w1_start(1);
	struct table_rows *t = arena_array(a, 1, sizeof *t);
	assert_non_null(t);
	*s = w1_shape(append);
	t->shape = s;
	t->n_row = n;
	t->row = arena_array(a, n, sizeof *t->row);
	assert_non_null(t->row);
	for (size_t i = 0; i < 1024; i++)
		w1_row(&w, a, !append);
	for (size_t i = 0; i < n; i++) {
		t->row[i] = w1_row(&w, a, !append);
		if (append)
			continue;
		struct reg reg = {stamp_from_ms((uint64_t)w.ts + 3), HOME};
		t->row[i].exist = EXIST_ALIVE;
		t->row[i].exist_reg = reg;
		for (size_t c = 0; c < W1_COLUMNS; c++)
			((struct cell *)(uintptr_t)t->row[i].cell)[c].reg = reg;
	}
	return (struct rows){.n_table = 1, .table = t};
}

/* Bounds well above today's figures: they are there so that a codec that stops choosing is seen. */
static void test_telemetry_is_small(void **state)
{
	static const struct {
		size_t n;
		bool append;
		size_t most;
	} cases[] = {
		{1, true, 56},	{100, true, 420},   {1000, true, 1800},	  {10000, true, 17000},
		{1, false, 80}, {100, false, 1650}, {1000, false, 13600},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct arena a = {.max = 64 << 20};
		struct shape s;
		struct rows rows = w1_rows(&a, &s, cases[i].n, cases[i].append);
		size_t len = round_trip(&rows, HOME);
		print_message("%5zu telemetry rows, %s: %zu bytes, %.2f a row\n", cases[i].n,
			      cases[i].append ? "append" : "merge with UUIDv7", len,
			      (double)len / (double)cases[i].n);
		assert_in_range(len, 1, cases[i].most);
		arena_free(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_rows_come_back_as_they_were),
		cmocka_unit_test(test_no_rows_are_no_bytes),
		cmocka_unit_test(test_telemetry_is_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
