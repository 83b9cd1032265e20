#include "backend/core/registers.h"

#include <string.h>

#include "protocol/value_bytes.h"

enum tag {
	TAG_NONE,  /* the cell has no register, though the row is alive */
	TAG_REG,   /* stamp and site follow */
	TAG_VALUE, /* … and the value */
};

enum { STATE_ALIVE = 1 };

int64_t registers_state(const struct store_row *row)
{
	return ((int64_t)row->st.n_col << 1) | (row->st.alive ? STATE_ALIVE : 0);
}

static int put_u64(struct buf *out, uint64_t v)
{
	uint8_t b[8];

	for (int i = 7; i >= 0; i--, v >>= 8)
		b[i] = (uint8_t)v;
	return buf_put(out, b, sizeof b);
}

static int take(struct slice *in, void *to, size_t n)
{
	if (n > in->len)
		return NE_MALFORMED;
	memcpy(to, in->at, n);
	in->at += n;
	in->len -= n;
	return 0;
}

static int take_u64(struct slice *in, uint64_t *v)
{
	uint8_t b[8];

	TRY(take(in, b, sizeof b));
	*v = 0;
	for (int i = 0; i < 8; i++)
		*v = *v << 8 | b[i];
	return 0;
}

static int put_cell(const struct store_row *row, uint16_t col, struct buf *out)
{
	const struct standing *st = &row->st;
	enum tag tag = !st->has[col] ? TAG_NONE : st->alive ? TAG_REG : TAG_VALUE;
	uint8_t head[2] = {(uint8_t)col, (uint8_t)tag};

	TRY(buf_put(out, head, sizeof head));
	if (tag == TAG_NONE)
		return 0;
	TRY(put_u64(out, st->cell[col].stamp));
	TRY(put_u64(out, st->cell[col].site));
	return tag == TAG_VALUE ? value_put(out, &row->kept[col]) : 0;
}

int registers_encode(const struct store_row *row, struct buf *out)
{
	const struct standing *st = &row->st;

	_Static_assert(LIMIT_COLUMNS <= 256, "a column index is one byte");
	for (uint16_t i = 0; i < st->n_col; i++) {
		bool usual = st->alive ? st->has[i] && reg_cmp(st->cell[i], st->exist) == 0
				       : !st->has[i];
		if (!usual)
			TRY(put_cell(row, i, out));
	}
	return 0;
}

static int take_cell(struct slice *in, struct arena *a, struct store_row *row)
{
	struct standing *st = &row->st;
	uint8_t head[2];

	TRY(take(in, head, sizeof head));
	uint8_t col = head[0];
	if (col >= st->n_col || head[1] > TAG_VALUE)
		return NE_MALFORMED;
	st->has[col] = head[1] != TAG_NONE;
	if (head[1] == TAG_NONE)
		return 0;
	TRY(take_u64(in, &st->cell[col].stamp));
	TRY(take_u64(in, &st->cell[col].site));
	if (head[1] != TAG_VALUE)
		return 0;
	struct val v;
	TRY(value_take(in, &v));
	return val_copy(a, &v, &row->kept[col]) ? 0 : NE_MEMORY;
}

int registers_decode(int64_t state, struct reg exist, struct slice blob, struct arena *a,
		     struct store_row *row)
{
	struct standing *st = &row->st;

	st->known = true;
	st->alive = state & STATE_ALIVE;
	st->exist = exist;
	for (uint16_t i = 0; i < st->n_col; i++) {
		st->has[i] = st->alive && i < state >> 1;
		st->cell[i] = st->has[i] ? exist : (struct reg){0, 0};
		row->kept[i] = (struct val){.type = VAL_NULL};
	}
	while (blob.len) {
		int rc = take_cell(&blob, a, row);
		if (rc)
			return rc == NE_MEMORY ? rc : NE_CORRUPT;
	}
	return 0;
}
