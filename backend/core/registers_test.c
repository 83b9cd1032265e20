#include "backend/core/registers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3 };

struct fixture {
	struct store_row row;
	struct reg cell[N];
	bool has[N];
	struct val kept[N];
	uint64_t cell_seq[N];
};

static struct store_row *row(struct fixture *f, bool alive)
{
	memset(f, 0, sizeof *f);
	f->row.st.n_col = N;
	f->row.st.cell = f->cell;
	f->row.st.has = f->has;
	f->row.kept = f->kept;
	f->row.cell_seq = f->cell_seq;
	f->row.seq = f->row.exist_seq = 9;
	for (int i = 0; i < N; i++)
		f->cell_seq[i] = 9;
	f->row.st.alive = alive;
	f->row.st.exist = (struct reg){100, 7};
	return &f->row;
}

static void round_trip(struct fixture *in, size_t bytes)
{
	struct fixture f;
	struct buf b = {.max = 4096};
	struct arena a = {.max = 4096};
	struct store_row *out = row(&f, false);

	assert_int_equal(registers_encode(&in->row, &b), 0);
	assert_int_equal(b.len, bytes);
	assert_int_equal(registers_decode(registers_state(&in->row), in->row.st.exist,
					  buf_slice(&b), &a, out),
			 0);
	assert_true(out->st.known);
	assert_int_equal(out->st.alive, in->row.st.alive);
	assert_int_equal(out->exist_seq, in->row.exist_seq);
	for (int i = 0; i < N; i++) {
		assert_int_equal(f.has[i], in->has[i]);
		if (!in->has[i])
			continue;
		assert_int_equal(reg_cmp(f.cell[i], in->cell[i]), 0);
		assert_int_equal(f.cell_seq[i], in->cell_seq[i]);
		if (!in->row.st.alive)
			assert_true(val_eq(&f.kept[i], &in->kept[i]));
	}
	/* Cut short it is an error, never a read past the end. */
	for (size_t n = 1; n < b.len; n++) {
		struct slice part = slice_of(b.at, n);
		int rc = registers_decode(registers_state(&in->row), in->row.st.exist, part, &a,
					  out);
		assert_true(rc == 0 || rc == NE_CORRUPT);
	}
	arena_free(&a);
	buf_free(&b);
}

static void an_insert_has_no_blob(void **state)
{
	struct fixture f;
	struct store_row *r = row(&f, true);
	(void)state;

	for (int i = 0; i < N; i++) {
		f.has[i] = true;
		f.cell[i] = r->st.exist;
	}
	round_trip(&f, 0);
}

static void later_cells_and_missing_ones(void **state)
{
	struct fixture f;
	struct store_row *r = row(&f, true);
	(void)state;

	f.has[0] = f.has[2] = true;
	f.cell[0] = r->st.exist;
	f.cell[2] = (struct reg){INT64_MAX, INT64_MAX};
	round_trip(&f, 2 + 2 + 24);
}

static void a_dead_row_keeps_values(void **state)
{
	struct fixture f;
	(void)state;

	row(&f, false);
	round_trip(&f, 0);
	f.has[1] = true;
	f.cell[1] = (struct reg){200, 3};
	f.kept[1] = (struct val){.type = VAL_TEXT, .s = slice_of("a\0b", 3)};
	round_trip(&f, 2 + 24 + 1 + 8 + 3);
	f.kept[1] = (struct val){.type = VAL_REAL, .r = -0.0};
	round_trip(&f, 2 + 24 + 1 + 8);
}

/* A row that others know since seq 5, and one of its cells since seq 7. */
static void seqs_of_registers(void **state)
{
	struct fixture f;
	struct store_row *r = row(&f, true);
	(void)state;

	r->exist_seq = 5;
	for (int i = 0; i < N; i++) {
		f.has[i] = true;
		f.cell[i] = r->st.exist;
		f.cell_seq[i] = 5;
	}
	round_trip(&f, 1 + 8);
	f.cell[1] = (struct reg){200, 3};
	f.cell_seq[1] = 7;
	round_trip(&f, 1 + 8 + 2 + 24);
}

/* A column that came later has no register in rows written before. */
static void columns_that_came_later(void **state)
{
	struct fixture f;
	struct arena a = {.max = 4096};
	struct store_row *r = row(&f, true);
	(void)state;

	assert_int_equal(
		registers_decode((2 << 1) | 1, (struct reg){5, 6}, slice_of(NULL, 0), &a, r), 0);
	assert_true(f.has[0] && f.has[1] && !f.has[2]);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_insert_has_no_blob),
		cmocka_unit_test(later_cells_and_missing_ones),
		cmocka_unit_test(a_dead_row_keeps_values),
		cmocka_unit_test(seqs_of_registers),
		cmocka_unit_test(columns_that_came_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
