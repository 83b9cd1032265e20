/* Columns whose size tells nothing of their values: tables that are not to be compressed. */
#include <math.h>

#include "protocol/column.h"
#include "protocol/column_int.h"
#include "protocol/column_real.h"

enum {
	VALUE_BITS = 64,
	LENGTH_BITS = 32, /* LIMIT_VALUE fits */
	TYPE_BITS = 8,
};

static int put_ints(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	int64_t *i = arena_array(tmp, n, sizeof *i);
	if (!i)
		return NE_MEMORY;
	for (size_t k = 0; k < n; k++)
		i[k] = v[k].i;
	TRY(buf_put_u8(out, COLUMN_INTS));
	return ints_encode_fixed(i, n, VALUE_BITS, out);
}

static int put_strings(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	int64_t *length = arena_array(tmp, n, sizeof *length);
	if (!length)
		return NE_MEMORY;
	for (size_t k = 0; k < n; k++) {
		if (v[k].s.len > LIMIT_VALUE)
			return NE_LIMIT;
		length[k] = (int64_t)v[k].s.len;
	}
	TRY(buf_put_u8(out, v->type == VAL_TEXT ? COLUMN_TEXTS : COLUMN_BLOBS));
	TRY(ints_encode_fixed(length, n, LENGTH_BITS, out));
	for (size_t k = 0; k < n; k++)
		TRY(buf_put(out, v[k].s.at, v[k].s.len));
	return 0;
}

static int put_one_type(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	switch (v->type) {
	case VAL_NULL:
		return buf_put_u8(out, COLUMN_NULLS);
	case VAL_INT:
		return put_ints(v, n, out, tmp);
	case VAL_REAL:
		return reals_put_planes(v, n, out);
	case VAL_TEXT:
	case VAL_BLOB:
		return put_strings(v, n, out, tmp);
	}
	return NE_USAGE;
}

static int put_mixed(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	int64_t *type = arena_array(tmp, n, sizeof *type);
	struct val *some = arena_array(tmp, n, sizeof *some);
	if (!type || !some)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		type[i] = v[i].type;
	TRY(buf_put_u8(out, COLUMN_MIXED));
	TRY(ints_encode_fixed(type, n, TYPE_BITS, out));
	for (int t = VAL_INT; t <= VAL_BLOB; t++) {
		size_t count = 0;
		for (size_t i = 0; i < n; i++)
			if (type[i] == t)
				some[count++] = v[i];
		if (count)
			TRY(put_one_type(some, count, out, tmp));
	}
	return 0;
}

int column_encode_apart(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	bool same_type = true;
	for (size_t i = 0; i < n; i++) {
		if (v[i].type == VAL_REAL && isnan(v[i].r))
			return NE_MALFORMED;
		same_type = same_type && v[i].type == v[0].type;
	}
	return same_type ? put_one_type(v, n, out, tmp) : put_mixed(v, n, out, tmp);
}
