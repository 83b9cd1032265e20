#include <assert.h>
#include <math.h>

#include "protocol/column.h"
#include "protocol/column_dictionary.h"
#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/column_real.h"
#include "protocol/column_string.h"

static int encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp,
		  unsigned depth);

/* The bytes of a non-negative integer, big-endian, none of them a leading zero. */
static int put_big_endian(struct buf *out, uint8_t mode, uint64_t u)
{
	unsigned n = (bit_length(u) + 7) / 8;
	TRY(buf_put_u8(out, (uint8_t)(mode + n)));
	while (n-- > 0)
		TRY(buf_put_u8(out, (uint8_t)(u >> 8 * n)));
	return 0;
}

static int put_int(struct buf *out, int64_t i)
{
	if (i >= 0 && i < 16)
		return buf_put_u8(out, (uint8_t)(COLUMN_INT_SMALL + i));
	if (i < 0)
		return put_big_endian(out, COLUMN_INT_NEGATIVE, (uint64_t)(-1 - i));
	return put_big_endian(out, COLUMN_INT, (uint64_t)i);
}

static int put_real(struct buf *out, double r)
{
	int64_t i;
	unsigned e = real_decimal(r, &i);
	if (e > COLUMN_DECIMAL_MAX) {
		TRY(buf_put_u8(out, COLUMN_REAL));
		return real_put_raw(out, r);
	}
	TRY(buf_put_u8(out, (uint8_t)(COLUMN_DECIMAL + e)));
	return put_zigzag(out, i);
}

static int put_constant(const struct val *v, struct buf *out)
{
	switch (v->type) {
	case VAL_NULL:
		return buf_put_u8(out, COLUMN_NULLS);
	case VAL_INT:
		return put_int(out, v->i);
	case VAL_REAL:
		return put_real(out, v->r);
	case VAL_TEXT:
		return string_put_text(out, v->s);
	case VAL_BLOB:
		TRY(buf_put_u8(out, COLUMN_BLOB));
		TRY(put_varint(out, v->s.len));
		return buf_put(out, v->s.at, v->s.len);
	}
	return NE_USAGE;
}

static int put_ints(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	int64_t *i = arena_array(tmp, n, sizeof *i);
	if (!i)
		return NE_MEMORY;
	for (size_t k = 0; k < n; k++)
		i[k] = v[k].i;
	TRY(buf_put_u8(out, COLUMN_INTS));
	return ints_encode(i, n, out, tmp);
}

static int put_one_type(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	switch (v->type) {
	case VAL_INT:
		return put_ints(v, n, out, tmp);
	case VAL_REAL:
		return reals_encode(v, n, out, tmp);
	case VAL_TEXT:
	case VAL_BLOB:
		return strings_encode(v, n, out, tmp);
	case VAL_NULL:
		break;
	}
	return NE_INTERNAL;
}

static int put_mixed(const struct val *v, size_t n, struct buf *out, struct arena *tmp,
		     unsigned depth)
{
	int64_t *type = arena_array(tmp, n, sizeof *type);
	struct val *some = arena_array(tmp, n, sizeof *some);
	if (!type || !some)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		type[i] = v[i].type;
	TRY(buf_put_u8(out, COLUMN_MIXED));
	TRY(ints_encode(type, n, out, tmp));
	for (int t = VAL_INT; t <= VAL_BLOB; t++) {
		size_t count = 0;
		for (size_t i = 0; i < n; i++)
			if (type[i] == t)
				some[count++] = v[i];
		if (count)
			TRY(encode(some, count, out, tmp, depth + 1));
	}
	return 0;
}

/* Its values are distinct: on the last level no second dictionary is tried for them. */
static int put_dictionary(const struct dictionary *d, size_t n, struct buf *out, struct arena *tmp)
{
	TRY(buf_put_u8(out, COLUMN_DICTIONARY));
	TRY(put_varint(out, d->n));
	TRY(encode(d->val, d->n, out, tmp, COLUMN_DEPTH - 1));
	return ints_encode(d->index, n, out, tmp);
}

/* Keeps what is shorter: the bytes from `start` to `middle` or those from there to the end. */
static void keep_shorter(struct buf *out, size_t start, size_t middle)
{
	size_t first = middle - start, second = out->len - middle;
	if (second < first)
		memmove(out->at + start, out->at + middle, second);
	out->len = start + (second < first ? second : first);
}

static int put_varied(const struct val *v, size_t n, struct buf *out, struct arena *tmp,
		      unsigned depth)
{
	struct dictionary d;
	size_t start = out->len;
	bool try_dictionary = depth + 1 < COLUMN_DEPTH && n >= DICTIONARY_FROM;
	if (try_dictionary) {
		TRY(dictionary_make(v, n, &d, tmp));
		if (d.n && dictionary_sure(&d, v, n))
			return put_dictionary(&d, n, out, tmp);
	}
	TRY(put_one_type(v, n, out, tmp));
	if (!try_dictionary || d.n == 0)
		return 0;
	size_t middle = out->len;
	TRY(put_dictionary(&d, n, out, tmp));
	keep_shorter(out, start, middle);
	return 0;
}

static int encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp, unsigned depth)
{
	bool same_value = true, same_type = true;
	assert(n > 0 && depth < COLUMN_DEPTH);
	for (size_t i = 0; i < n; i++) {
		if (v[i].type == VAL_REAL && isnan(v[i].r))
			return NE_MALFORMED;
		same_type = same_type && v[i].type == v[0].type;
		same_value = same_value && val_eq(&v[i], &v[0]);
	}
	if (same_value)
		return put_constant(&v[0], out);
	if (same_type)
		return put_varied(v, n, out, tmp, depth);
	return put_mixed(v, n, out, tmp, depth);
}

int column_encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	return encode(v, n, out, tmp, 0);
}
