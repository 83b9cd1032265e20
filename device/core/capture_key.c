#include <string.h>

#include "device/core/capture.h"

static int put_u64(struct buf *out, uint64_t v)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(v >> (56 - 8 * i));
	return buf_put(out, b, sizeof b);
}

static uint64_t get_u64(const uint8_t *b)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | b[i];
	return v;
}

static int put_value(struct buf *out, const struct val *v)
{
	uint64_t bits;

	TRY(buf_put_u8(out, (uint8_t)v->type));
	switch (v->type) {
	case VAL_NULL:
		return NE_OK;
	case VAL_INT:
		return put_u64(out, (uint64_t)v->i);
	case VAL_REAL:
		memcpy(&bits, &v->r, sizeof bits);
		return put_u64(out, bits);
	case VAL_TEXT:
	case VAL_BLOB:
		TRY(put_u64(out, v->s.len));
		return buf_put(out, v->s.at, v->s.len);
	}
	return NE_CORRUPT;
}

int key_pack(struct buf *out, const struct val *key, size_t n)
{
	size_t len = out->len;

	for (size_t i = 0; i < n; i++) {
		int rc = put_value(out, &key[i]);
		if (rc) {
			out->len = len;
			return rc;
		}
	}
	return NE_OK;
}

static int get_value(struct slice *left, struct val *out)
{
	uint64_t word;

	if (left->len < 1)
		return NE_CORRUPT;
	*out = (struct val){.type = (enum val_type)left->at[0]};
	*left = slice_of(left->at + 1, left->len - 1);
	if (out->type == VAL_NULL)
		return NE_OK;
	if (left->len < 8 || out->type > VAL_BLOB)
		return NE_CORRUPT;
	word = get_u64(left->at);
	*left = slice_of(left->at + 8, left->len - 8);
	if (out->type == VAL_INT) {
		out->i = (int64_t)word;
	} else if (out->type == VAL_REAL) {
		memcpy(&out->r, &word, sizeof out->r);
	} else {
		if (word > left->len)
			return NE_CORRUPT;
		out->s = slice_of(left->at, (size_t)word);
		*left = slice_of(left->at + word, left->len - (size_t)word);
	}
	return NE_OK;
}

int key_unpack(struct slice bytes, struct val *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		TRY(get_value(&bytes, &out[i]));
	return bytes.len ? NE_CORRUPT : NE_OK;
}

static size_t trimmed(struct slice s)
{
	size_t len = s.len;

	while (len && s.at[len - 1] == ' ')
		len--;
	return len;
}

static bool text_same(enum shape_collation c, struct slice a, struct slice b)
{
	if (c == COLL_RTRIM) {
		a.len = trimmed(a);
		b.len = trimmed(b);
	}
	if (a.len != b.len)
		return false;
	if (c == COLL_NOCASE)
		return a.len == 0 ||
		       sqlite3_strnicmp((const char *)a.at, (const char *)b.at, (int)a.len) == 0;
	return a.len == 0 || memcmp(a.at, b.at, a.len) == 0;
}

static bool is_number(const struct val *v)
{
	return v->type == VAL_INT || v->type == VAL_REAL;
}

static bool int_is_real(int64_t i, double r)
{
	return r >= -9223372036854775808.0 && r < 9223372036854775808.0 && (int64_t)r == i &&
	       !(r < (double)(int64_t)r) && !(r > (double)(int64_t)r);
}

static bool value_same(enum shape_collation c, const struct val *a, const struct val *b)
{
	if (is_number(a) && is_number(b)) {
		if (a->type == VAL_INT)
			return b->type == VAL_INT ? a->i == b->i : int_is_real(a->i, b->r);
		if (b->type == VAL_INT)
			return int_is_real(b->i, a->r);
		return !(a->r < b->r) && !(a->r > b->r);
	}
	if (a->type != b->type)
		return false;
	if (a->type == VAL_NULL)
		return true;
	return text_same(a->type == VAL_TEXT ? c : COLL_BINARY, a->s, b->s);
}

bool key_same(const struct shape *s, const struct val *a, const struct val *b)
{
	for (uint16_t i = 0; i < s->n_key; i++) {
		if (!value_same(s->key[i].collation, &a[i], &b[i]))
			return false;
	}
	return true;
}
