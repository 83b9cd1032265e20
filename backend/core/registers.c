#include "backend/core/registers.h"

#include <string.h>

#include "protocol/value_bytes.h"

enum tag {
	TAG_NONE,  /* the cell has no register, though the row is alive */
	TAG_REG,   /* stamp, site and seq follow */
	TAG_VALUE, /* … and the value */
};

/* Instead of a column: the seq of existence, where that is not the row's. */
enum { EXIST_SEQ = 0xff };

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
	TRY(put_u64(out, row->cell_seq[col]));
	return tag == TAG_VALUE ? value_put(out, &row->kept[col]) : 0;
}

int registers_encode(const struct store_row *row, struct buf *out)
{
	const struct standing *st = &row->st;

	_Static_assert((int)LIMIT_COLUMNS <= (int)EXIST_SEQ, "a column index is one byte");
	if (row->exist_seq != row->seq) {
		TRY(buf_put_u8(out, EXIST_SEQ));
		TRY(put_u64(out, row->exist_seq));
	}
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
	uint8_t col = head[0], tag = head[1];
	if (col >= st->n_col || tag > TAG_VALUE)
		return NE_MALFORMED;
	st->has[col] = tag != TAG_NONE;
	if (tag == TAG_NONE)
		return 0;
	TRY(take_u64(in, &st->cell[col].stamp));
	TRY(take_u64(in, &st->cell[col].site));
	TRY(take_u64(in, &row->cell_seq[col]));
	if (tag != TAG_VALUE)
		return 0;
	struct val v;
	TRY(value_take(in, &v));
	return val_copy(a, &v, &row->kept[col]) ? 0 : NE_MEMORY;
}

static int take_exist_seq(struct slice *in, struct store_row *row)
{
	uint8_t head;

	TRY(take(in, &head, 1));
	return take_u64(in, &row->exist_seq);
}

int registers_decode(int64_t state, struct reg exist, struct slice blob, struct arena *a,
		     struct store_row *row)
{
	struct standing *st = &row->st;

	st->known = true;
	st->alive = state & STATE_ALIVE;
	st->exist = exist;
	row->exist_seq = row->seq;
	if (blob.len && blob.at[0] == EXIST_SEQ && take_exist_seq(&blob, row))
		return NE_CORRUPT;
	for (uint16_t i = 0; i < st->n_col; i++) {
		st->has[i] = st->alive && i < state >> 1;
		st->cell[i] = st->has[i] ? exist : (struct reg){0, 0};
		row->cell_seq[i] = st->has[i] ? row->exist_seq : 0;
		row->kept[i] = (struct val){.type = VAL_NULL};
	}
	while (blob.len) {
		int rc = take_cell(&blob, a, row);
		if (rc)
			return rc == NE_MEMORY ? rc : NE_CORRUPT;
	}
	return 0;
}
