#include "protocol/rows_kind.h"

#include <string.h>

#include "protocol/column_int.h"
#include "protocol/column_io.h"

static bool reg_eq(struct reg a, struct reg b)
{
	return a.stamp == b.stamp && a.site == b.site;
}

static enum kind_regs regs_of(const struct row *r)
{
	if (r->n_cell == 0)
		return REGS_EXIST;
	bool exist = r->exist != EXIST_NONE, one = true;
	for (size_t i = 0; i < r->n_cell; i++) {
		exist = exist && reg_eq(r->cell[i].reg, r->exist_reg);
		one = one && reg_eq(r->cell[i].reg, r->cell[0].reg);
	}
	return exist ? REGS_EXIST : one ? REGS_ONE : REGS_EACH;
}

static struct kind kind_of(const struct row *r)
{
	struct kind k = {
		.exist = (uint8_t)r->exist,
		.regs = (uint8_t)regs_of(r),
		.n_cell = r->n_cell,
	};
	for (size_t i = 0; i < r->n_cell; i++)
		k.column[r->cell[i].col / 8] |= (uint8_t)(1 << r->cell[i].col % 8);
	return k;
}

static bool kind_eq(const struct kind *a, const struct kind *b)
{
	return a->exist == b->exist && a->regs == b->regs && a->n_cell == b->n_cell &&
	       memcmp(a->column, b->column, sizeof a->column) == 0;
}

static size_t kind_hash(const struct kind *k)
{
	uint64_t h = (uint64_t)k->exist << 2 | k->regs;
	for (size_t i = 0; i < sizeof k->column; i++)
		h = (h ^ k->column[i]) * 0x100000001b3u;
	return (size_t)(h ^ h >> 29);
}

/* The index of `k`, added if it is new. `slot` is a hash table twice as large as the rows. */
static size_t find(struct kinds *all, const struct kind *k, uint32_t *slot, size_t mask)
{
	size_t at = kind_hash(k) & mask;
	while (slot[at] && !kind_eq(&all->kind[slot[at] - 1], k))
		at = (at + 1) & mask;
	if (slot[at] == 0) {
		all->kind[all->n++] = *k;
		slot[at] = (uint32_t)all->n;
	}
	return slot[at] - 1;
}

int kinds_make(const struct table_rows *t, struct kinds *out, struct arena *tmp)
{
	size_t size = 2;
	while (size < 2 * t->n_row)
		size *= 2;
	uint32_t *slot = arena_array(tmp, size, sizeof *slot);
	*out = (struct kinds){
		.kind = arena_array(tmp, t->n_row, sizeof *out->kind),
		.index = arena_array(tmp, t->n_row, sizeof *out->index),
	};
	if (!slot || !out->kind || !out->index)
		return NE_MEMORY;
	size_t last = 0;
	for (size_t i = 0; i < t->n_row; i++) {
		struct kind k = kind_of(&t->row[i]);
		/* Mostly the row before was of the same kind. */
		if (i == 0 || !kind_eq(&k, &out->kind[last]))
			last = find(out, &k, slot, size - 1);
		out->index[i] = (int64_t)last;
	}
	return 0;
}

static size_t only_column(const struct kind *k)
{
	size_t c = 0;
	while (!kind_has(k, c))
		c++;
	return c;
}

static int put_kind(const struct kind *k, uint16_t n_col, struct buf *out)
{
	enum kind_columns form = k->n_cell == 0	      ? COLUMNS_NONE
				 : k->n_cell == n_col ? COLUMNS_ALL
				 : k->n_cell == 1     ? COLUMNS_SINGLE
						      : COLUMNS_BITMAP;
	TRY(buf_put_u8(out, (uint8_t)(k->exist | k->regs << KIND_REGS_SHIFT |
				      (int)form << KIND_COLUMNS_SHIFT)));
	if (form == COLUMNS_SINGLE)
		return buf_put_u8(out, (uint8_t)only_column(k));
	if (form == COLUMNS_BITMAP)
		return buf_put(out, k->column, ((size_t)n_col + 7) / 8);
	return 0;
}

int kinds_put(const struct kinds *k, size_t n_row, uint16_t n_col, struct buf *out,
	      struct arena *tmp)
{
	TRY(put_varint(out, k->n));
	for (size_t i = 0; i < k->n; i++)
		TRY(put_kind(&k->kind[i], n_col, out));
	return k->n > 1 ? ints_encode(k->index, n_row, out, tmp) : 0;
}

static int get_bitmap(struct slice *in, uint16_t n_col, struct kind *k)
{
	const uint8_t *at;
	TRY(get_bytes(in, ((size_t)n_col + 7) / 8, &at));
	for (size_t c = 0; c < (n_col + 7u) / 8 * 8; c++) {
		if (!(at[c / 8] >> c % 8 & 1))
			continue;
		if (c >= n_col)
			return NE_MALFORMED;
		k->column[c / 8] |= (uint8_t)(1 << c % 8);
		k->n_cell++;
	}
	return 0;
}

static int get_columns(struct slice *in, uint8_t form, uint16_t n_col, struct kind *k)
{
	uint8_t only;
	switch (form) {
	case COLUMNS_NONE:
		return 0;
	case COLUMNS_ALL:
		for (size_t c = 0; c < n_col; c++)
			k->column[c / 8] |= (uint8_t)(1 << c % 8);
		k->n_cell = n_col;
		return 0;
	case COLUMNS_BITMAP:
		return get_bitmap(in, n_col, k);
	default:
		TRY(get_u8(in, &only));
		if (only >= n_col)
			return NE_MALFORMED;
		k->column[only / 8] = (uint8_t)(1 << only % 8);
		k->n_cell = 1;
		return 0;
	}
}

static int get_kind(struct slice *in, uint16_t n_col, struct kind *k)
{
	uint8_t first;
	TRY(get_u8(in, &first));
	k->exist = first & KIND_EXIST_MASK;
	k->regs = first >> KIND_REGS_SHIFT & KIND_REGS_MASK;
	if (first & KIND_UNUSED || k->exist > EXIST_DEAD || k->regs > REGS_EACH)
		return NE_MALFORMED;
	TRY(get_columns(in, first >> KIND_COLUMNS_SHIFT & KIND_COLUMNS_MASK, n_col, k));
	/* Without existence there is no register for the cells to share with it. */
	if (k->n_cell && k->exist == EXIST_NONE && k->regs == REGS_EXIST)
		return NE_MALFORMED;
	return 0;
}

int kinds_get(struct slice *in, size_t n_row, uint16_t n_col, struct kinds *out, struct arena *tmp)
{
	uint64_t n;
	TRY(get_varint(in, &n));
	if (n == 0 || n > n_row || n > in->len)
		return NE_MALFORMED;
	struct kinds k = {
		.n = (size_t)n,
		.kind = arena_array(tmp, (size_t)n, sizeof *k.kind),
		.index = arena_array(tmp, n_row, sizeof *k.index),
	};
	if (!k.kind || !k.index)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		TRY(get_kind(in, n_col, &k.kind[i]));
	if (n > 1)
		TRY(ints_decode(in, n_row, k.index, tmp));
	for (size_t i = 0; i < n_row; i++)
		if (k.index[i] < 0 || (uint64_t)k.index[i] >= n)
			return NE_MALFORMED;
	*out = k;
	return 0;
}
