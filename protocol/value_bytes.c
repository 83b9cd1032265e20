#include "protocol/value_bytes.h"

#include <math.h>
#include <string.h>

enum { WORD = 8 };

/* The type, and the word behind it. */
static int put_head(struct buf *out, enum val_type type, uint64_t word)
{
	uint8_t b[1 + WORD] = {(uint8_t)type};

	for (int i = WORD; i > 0; i--, word >>= 8)
		b[i] = (uint8_t)word;
	return buf_put(out, b, sizeof b);
}

static int put_bytes(struct buf *out, enum val_type type, struct slice s)
{
	size_t len = out->len;

	TRY(put_head(out, type, s.len));
	int rc = buf_put(out, s.at, s.len);
	if (rc)
		out->len = len;
	return rc;
}

int value_put(struct buf *out, const struct val *v)
{
	uint64_t bits;

	switch (v->type) {
	case VAL_NULL:
		return buf_put_u8(out, VAL_NULL);
	case VAL_INT:
		return put_head(out, VAL_INT, (uint64_t)v->i);
	case VAL_REAL:
		memcpy(&bits, &v->r, sizeof bits);
		return put_head(out, VAL_REAL, bits);
	case VAL_TEXT:
	case VAL_BLOB:
		return put_bytes(out, v->type, v->s);
	}
	return NE_INTERNAL;
}

static int take_bytes(struct slice *in, uint64_t len, struct slice *out)
{
	if (len > in->len)
		return NE_MALFORMED;
	*out = slice_of(in->at, (size_t)len);
	*in = slice_of(in->at + out->len, in->len - out->len);
	return NE_OK;
}

static int take_content(struct slice *in, struct val *v)
{
	struct slice word;
	uint64_t bits = 0;

	TRY(take_bytes(in, WORD, &word));
	for (int i = 0; i < WORD; i++)
		bits = bits << 8 | word.at[i];
	if (v->type == VAL_TEXT || v->type == VAL_BLOB)
		return take_bytes(in, bits, &v->s);
	if (v->type == VAL_INT) {
		v->i = (int64_t)bits;
		return NE_OK;
	}
	memcpy(&v->r, &bits, sizeof v->r);
	return isnan(v->r) ? NE_MALFORMED : NE_OK;
}

int value_take(struct slice *in, struct val *out)
{
	struct slice t = *in, type;
	struct val v = {.type = VAL_NULL};

	TRY(take_bytes(&t, 1, &type));
	if (type.at[0] > VAL_BLOB)
		return NE_MALFORMED;
	v.type = (enum val_type)type.at[0];
	if (v.type != VAL_NULL)
		TRY(take_content(&t, &v));
	*in = t;
	*out = v;
	return NE_OK;
}

static bool is_integer(double r)
{
	return r >= -9223372036854775808.0 && r < 9223372036854775808.0 && !(trunc(r) < r) &&
	       !(trunc(r) > r);
}

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static int put_folded(struct buf *out, struct slice s)
{
	size_t at = out->len + 1 + WORD;

	TRY(put_bytes(out, VAL_TEXT, s));
	for (size_t i = at; i < out->len; i++)
		out->at[i] = fold(out->at[i]);
	return NE_OK;
}

static int put_text(struct buf *out, struct slice s, enum shape_collation c)
{
	while (c == COLL_RTRIM && s.len && s.at[s.len - 1] == ' ')
		s.len--;
	return c == COLL_NOCASE ? put_folded(out, s) : put_bytes(out, VAL_TEXT, s);
}

struct val val_canonical(const struct val *v)
{
	return v->type == VAL_REAL && is_integer(v->r)
		       ? (struct val){.type = VAL_INT, .i = (int64_t)v->r}
		       : *v;
}

int value_put_canonical(struct buf *out, const struct val *v, enum shape_collation c)
{
	const struct val plain = val_canonical(v);

	return plain.type == VAL_TEXT ? put_text(out, plain.s, c) : value_put(out, &plain);
}

int values_put(struct buf *out, const struct val *v, size_t n)
{
	size_t len = out->len;

	for (size_t i = 0; i < n; i++) {
		int rc = value_put(out, &v[i]);
		if (rc) {
			out->len = len;
			return rc;
		}
	}
	return NE_OK;
}

int values_take(struct slice *in, struct val *out, size_t n)
{
	struct slice t = *in;

	for (size_t i = 0; i < n; i++)
		TRY(value_take(&t, &out[i]));
	*in = t;
	return NE_OK;
}

int key_put_canonical(struct buf *out, const struct shape *s, const struct val *key)
{
	size_t len = out->len;

	for (uint16_t i = 0; i < s->n_key; i++) {
		int rc = value_put_canonical(out, &key[i], s->key[i].collation);
		if (rc) {
			out->len = len;
			return rc;
		}
	}
	return NE_OK;
}
