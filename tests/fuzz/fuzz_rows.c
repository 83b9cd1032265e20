/*
 * Shapes and rows: whatever arrives is refused, or encodes and decodes again to the same. The
 * first byte says which of the two the rest is.
 */
#include <assert.h>

#include "protocol/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

enum { N_SHAPE = 4, HOME = 77, N_COL = 24 };

static struct shape_col col[N_COL];
static struct shape shapes[N_SHAPE] = {
	{.kind = SHAPE_APPEND, .n_key = 1, .n_col = 6, .key = col, .col = col},
	{.kind = SHAPE_MERGE, .n_key = 1, .n_col = 3, .key = col, .col = col},
	{.kind = SHAPE_MERGE, .n_key = 2, .n_col = N_COL, .key = col, .col = col},
	{.kind = SHAPE_APPEND, .n_key = 1, .n_col = 1, .key = col, .col = col},
};

/* Any id names a shape; the shape takes the id, so that what is encoded again names it too. */
static const struct shape *find(void *ctx, struct shape_id id)
{
	(void)ctx;
	struct shape *s = &shapes[id.at[0] % N_SHAPE];
	s->id = id;
	return s;
}

/* What both decodings must agree on; returns the number of rows. */
static size_t compare(const struct rows *x, const struct rows *y)
{
	size_t n = 0;
	assert(x->n_table == y->n_table);
	for (size_t t = 0; t < x->n_table; t++) {
		assert(x->table[t].n_row == y->table[t].n_row);
		for (size_t i = 0; i < x->table[t].n_row; i++, n++) {
			const struct row *a = &x->table[t].row[i], *b = &y->table[t].row[i];
			assert(a->n_cell == b->n_cell && a->exist == b->exist && a->n == b->n);
			for (size_t k = 0; k < x->table[t].shape->n_key; k++)
				assert(val_eq(&a->key[k], &b->key[k]));
			for (size_t c = 0; c < a->n_cell; c++) {
				assert(a->cell[c].col == b->cell[c].col);
				assert(val_eq(&a->cell[c].val, &b->cell[c].val));
				assert(reg_cmp(a->cell[c].reg, b->cell[c].reg) == 0);
			}
		}
	}
	return n;
}

static void fuzz_rows(struct slice in)
{
	struct arena a = {.max = LIMIT_DECODED}, b = {.max = LIMIT_DECODED};
	struct buf out = {.max = LIMIT_SET};
	struct shape_finder finder = {find, NULL};
	struct rows x, y;

	/* Two tables of one shape stand for different ids here: those are not encoded again. */
	if (!rows_decode(in, HOME, finder, &a, &x, NULL, NULL) &&
	    !rows_encode(&x, HOME, &out, NULL)) {
		int rc = rows_decode(buf_slice(&out), HOME, finder, &b, &y, NULL, NULL);
		assert(rc == 0);
		(void)rc;
		compare(&x, &y);
	}
	buf_free(&out);
	arena_free(&a);
	arena_free(&b);
}

static void fuzz_shape(struct slice in)
{
	struct arena a = {.max = LIMIT_DECODED};
	struct buf out = {.max = LIMIT_SET};
	struct shape s;

	if (!shape_decode(in, &a, &s, NULL)) {
		int rc = shape_encode(&s, &out, NULL);
		assert(rc == 0 && slice_eq(buf_slice(&out), in));
		(void)rc;
	}
	buf_free(&out);
	arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	if (len == 0)
		return 0;
	struct slice in = slice_of(at + 1, len - 1);
	if (at[0] & 1)
		fuzz_shape(in);
	else
		fuzz_rows(in);
	return 0;
}
