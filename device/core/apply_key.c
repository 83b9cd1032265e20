/* Keys as bytes, and rows as text. */
#include <string.h>

#include "device/core/apply_internal.h"
#include "protocol/row_text.h"

static int put_u64(struct buf *out, uint64_t v)
{
	uint8_t at[8];

	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(v >> (56 - 8 * i));
	return buf_put(out, at, sizeof(at));
}

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static int put_text(struct buf *out, struct slice s, enum shape_collation coll)
{
	while (coll == COLL_RTRIM && s.len && s.at[s.len - 1] == ' ')
		s.len--;
	TRY(buf_put_u8(out, 't'));
	TRY(put_u64(out, s.len));
	if (coll != COLL_NOCASE)
		return buf_put(out, s.at, s.len);
	for (size_t i = 0; i < s.len; i++)
		TRY(buf_put_u8(out, fold(s.at[i])));
	return NE_OK;
}

/* 1 and 1.0 are one key. */
static int put_real(struct buf *out, double r)
{
	uint64_t bits;

	if (r >= -9223372036854775808.0 && r < 9223372036854775808.0 && (double)(int64_t)r == r) {
		TRY(buf_put_u8(out, 'i'));
		return put_u64(out, (uint64_t)(int64_t)r);
	}
	memcpy(&bits, &r, sizeof(bits));
	TRY(buf_put_u8(out, 'r'));
	return put_u64(out, bits);
}

static int put_val(struct buf *out, const struct val *v, enum shape_collation coll)
{
	switch (v->type) {
	case VAL_INT:
		TRY(buf_put_u8(out, 'i'));
		return put_u64(out, (uint64_t)v->i);
	case VAL_REAL:
		return put_real(out, v->r);
	case VAL_TEXT:
		return put_text(out, v->s, coll);
	case VAL_BLOB:
		TRY(buf_put_u8(out, 'b'));
		TRY(put_u64(out, v->s.len));
		return buf_put(out, v->s.at, v->s.len);
	default:
		return buf_put_u8(out, 'n');
	}
}

int key_put(const struct shape *s, const struct val *key, struct buf *out)
{
	for (int i = 0; i < s->n_key; i++)
		TRY(put_val(out, &key[i], s->key[i].collation));
	return NE_OK;
}

int key_put_stored(struct target *tg, const struct val *key, struct buf *out, bool *found,
		   struct err *e)
{
	struct val stored[LIMIT_KEY_COLUMNS];
	int rc = NE_OK;

	buf_clear(out);
	TRY(sql_bind_key(tg->d, tg->sql.find, 1, tg->t, key, e));
	TRY(db_step(tg->d->db, tg->sql.find, found, e));
	if (*found) {
		for (int i = 0; i < tg->t->shape.n_key; i++)
			stored[i] = val_column(tg->sql.find, i);
		rc = key_put(&tg->t->shape, stored, out);
	}
	sqlite3_reset(tg->sql.find);
	return rc;
}

int row_text(const struct shape *s, const struct image *im, bool all, struct buf *out)
{
	for (int i = 0; i < s->n_key; i++)
		TRY(text_member(s->key[i].name, &im->key[i], i == 0, out));
	for (int i = 0; all && i < s->n_col; i++) {
		if (im->has[i])
			TRY(text_member(s->col[i].name, &im->val[i], false, out));
	}
	return buf_printf(out, "}");
}
