#include <math.h>

#include "protocol/column.h"
#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/column_text.h"

const double column_power[COLUMN_DECIMAL_MAX + 1] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
};

static int decode(struct column_in *in, size_t n, struct val *out, unsigned depth);

static int take_ints(struct column_in *in, size_t n, int64_t **out)
{
	int64_t *v = arena_array(in->tmp, n, sizeof *v);
	if (!v)
		return NE_MEMORY;
	TRY(ints_decode(&in->left, n, v, in->tmp));
	*out = v;
	return 0;
}

static int set_real(struct val *v, double r)
{
	if (isnan(r))
		return NE_MALFORMED;
	v->type = VAL_REAL;
	v->r = r;
	return 0;
}

static uint64_t big_endian(const uint8_t *at, size_t n)
{
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | at[i];
	return v;
}

static int set_real_bytes(struct val *v, const uint8_t at[static 8])
{
	uint64_t bits = big_endian(at, 8);
	double r;
	memcpy(&r, &bits, sizeof r);
	return set_real(v, r);
}

static int decode_ints(struct column_in *in, size_t n, struct val *out)
{
	int64_t *v;
	TRY(take_ints(in, n, &v));
	for (size_t i = 0; i < n; i++)
		out[i] = (struct val){.type = VAL_INT, .i = v[i]};
	return 0;
}

static int set_decimal(struct val *v, int64_t i, unsigned e)
{
	const int64_t exact = (int64_t)1 << COLUMN_EXACT_BITS;
	if (i <= -exact || i >= exact)
		return NE_MALFORMED;
	v->type = VAL_REAL;
	v->r = (double)i / column_power[e];
	return 0;
}

static int decode_decimals(struct column_in *in, size_t n, struct val *out)
{
	uint8_t e;
	int64_t *v;
	TRY(get_u8(&in->left, &e));
	if (e > COLUMN_DECIMAL_MAX)
		return NE_MALFORMED;
	TRY(take_ints(in, n, &v));
	for (size_t i = 0; i < n; i++)
		TRY(set_decimal(&out[i], v[i], e));
	return 0;
}

/* Decimals, then the rows (by rows skipped) whose eight bytes stand there instead. */
static int decode_decimals_but(struct column_in *in, size_t n, struct val *out)
{
	uint64_t x;
	int64_t *gap;
	const uint8_t *bytes;
	TRY(decode_decimals(in, n, out));
	TRY(get_varint(&in->left, &x));
	if (x == 0 || x > n)
		return NE_MALFORMED;
	TRY(take_ints(in, (size_t)x, &gap));
	TRY(get_bytes(&in->left, (size_t)x * 8, &bytes));
	size_t at = 0;
	for (size_t i = 0; i < x; i++) {
		if (gap[i] < 0 || at >= n || (uint64_t)gap[i] >= n - at)
			return NE_MALFORMED;
		at += (size_t)gap[i];
		TRY(set_real_bytes(&out[at++], bytes + i * 8));
	}
	return 0;
}

static int decode_reals(struct column_in *in, size_t n, struct val *out)
{
	const uint8_t *planes;
	if (n > in->left.len / 8)
		return NE_MALFORMED;
	TRY(get_bytes(&in->left, n * 8, &planes));
	for (size_t i = 0; i < n; i++) {
		uint8_t b[8];
		for (size_t k = 0; k < 8; k++)
			b[k] = planes[k * n + i];
		TRY(set_real_bytes(&out[i], b));
	}
	return 0;
}

/* Adds lengths up; each is bounded, and their sum by what may still be stored. */
static int sum_lengths(struct column_in *in, const int64_t *len, size_t n, size_t *sum)
{
	size_t total = 0;
	for (size_t i = 0; i < n; i++) {
		if (len[i] < 0)
			return NE_MALFORMED;
		if (len[i] > LIMIT_VALUE || (size_t)len[i] > in->pool_room - total)
			return NE_LIMIT;
		total += (size_t)len[i];
	}
	*sum = total;
	return 0;
}

/* `len` bytes in the arena, taken from the input as they are or in the static code. */
static int take_pool(struct column_in *in, size_t len, bool coded, const uint8_t **out)
{
	const uint8_t *raw;
	if (len > in->pool_room)
		return NE_LIMIT;
	if (coded ? !text_code_possible(len, in->left.len) : len > in->left.len)
		return NE_MALFORMED;
	in->pool_room -= len;
	uint8_t *at = arena_alloc(in->a, len);
	if (!at)
		return NE_MEMORY;
	*out = at;
	if (coded)
		return text_code_get(&in->left, at, len);
	TRY(get_bytes(&in->left, len, &raw));
	if (len)
		memcpy(at, raw, len);
	return 0;
}

static void set_bytes(struct val *v, enum val_type type, const uint8_t *at, size_t len)
{
	v->type = type;
	v->s = slice_of(at, len);
}

static int decode_strings(struct column_in *in, size_t n, struct val *out, enum val_type type,
			  bool coded)
{
	int64_t *len;
	size_t sum;
	const uint8_t *at;
	TRY(take_ints(in, n, &len));
	TRY(sum_lengths(in, len, n, &sum));
	TRY(take_pool(in, sum, coded, &at));
	for (size_t i = 0; i < n; i++) {
		set_bytes(&out[i], type, at, (size_t)len[i]);
		at += len[i];
	}
	return 0;
}

/* Checks that each value shares no more than the one before has, and sums what all will take. */
static int check_front(struct column_in *in, const int64_t *shared, const int64_t *own, size_t n,
		       size_t *expanded)
{
	size_t total = 0, before = 0;
	for (size_t i = 0; i < n; i++) {
		if (shared[i] < 0 || (uint64_t)shared[i] > before)
			return NE_MALFORMED;
		/* Both are at most LIMIT_VALUE here: their sum cannot overflow. */
		before = (size_t)shared[i] + (size_t)own[i];
		if (before > LIMIT_VALUE || before > in->pool_room - total)
			return NE_LIMIT;
		total += before;
	}
	*expanded = total;
	return 0;
}

static int decode_front(struct column_in *in, size_t n, struct val *out, enum val_type type,
			bool coded)
{
	int64_t *shared, *own;
	size_t sum, expanded;
	const uint8_t *tail;
	TRY(take_ints(in, n, &shared));
	TRY(take_ints(in, n, &own));
	TRY(sum_lengths(in, own, n, &sum));
	TRY(check_front(in, shared, own, n, &expanded));
	in->pool_room -= expanded - sum;
	TRY(take_pool(in, sum, coded, &tail));
	uint8_t *at = arena_alloc(in->a, expanded);
	if (!at)
		return NE_MEMORY;
	const uint8_t *before = at;
	for (size_t i = 0; i < n; i++) {
		size_t head = (size_t)shared[i], rest = (size_t)own[i];
		memcpy(at, before, head);
		memcpy(at + head, tail, rest);
		set_bytes(&out[i], type, at, head + rest);
		before = at;
		tail += rest;
		at += head + rest;
	}
	return 0;
}

static int decode_split(struct column_in *in, size_t n, struct val *out)
{
	uint64_t len;
	uint8_t front;
	int64_t *number = NULL;
	const uint8_t *tail;
	TRY(get_varint(&in->left, &len));
	TRY(get_u8(&in->left, &front));
	if (front > 8 || len < front)
		return NE_MALFORMED;
	if (len > LIMIT_VALUE || len > in->pool_room / n)
		return NE_LIMIT;
	if (front)
		TRY(take_ints(in, n, &number));
	size_t whole = (size_t)len, rest = whole - front;
	if (rest > in->left.len / n)
		return NE_MALFORMED;
	TRY(get_bytes(&in->left, rest * n, &tail));
	in->pool_room -= whole * n;
	uint8_t *at = arena_alloc(in->a, whole * n);
	if (!at)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++, at += whole, tail += rest) {
		uint64_t v = front ? (uint64_t)number[i] : 0;
		if (front < 8 && v >> 8 * front)
			return NE_MALFORMED;
		for (size_t k = front; k-- > 0; v >>= 8)
			at[k] = (uint8_t)v;
		if (rest)
			memcpy(at + front, tail, rest);
		set_bytes(&out[i], VAL_BLOB, at, whole);
	}
	return 0;
}

static int decode_mixed(struct column_in *in, size_t n, struct val *out, unsigned depth)
{
	int64_t *type;
	size_t count[VAL_BLOB + 1] = {0};
	TRY(take_ints(in, n, &type));
	for (size_t i = 0; i < n; i++) {
		if (type[i] < VAL_NULL || type[i] > VAL_BLOB)
			return NE_MALFORMED;
		count[type[i]]++;
		out[i].type = VAL_NULL;
	}
	for (int t = VAL_INT; t <= VAL_BLOB; t++) {
		if (count[t] == 0)
			continue;
		struct val *v = arena_array(in->tmp, count[t], sizeof *v);
		if (!v)
			return NE_MEMORY;
		TRY(decode(in, count[t], v, depth + 1));
		for (size_t i = 0, k = 0; i < n; i++) {
			if (type[i] != t)
				continue;
			if (v[k].type != (enum val_type)t)
				return NE_MALFORMED;
			out[i] = v[k++];
		}
	}
	return 0;
}

static int decode_dictionary(struct column_in *in, size_t n, struct val *out, unsigned depth)
{
	uint64_t count;
	int64_t *index;
	TRY(get_varint(&in->left, &count));
	if (count == 0 || count > n)
		return NE_MALFORMED;
	struct val *v = arena_array(in->tmp, (size_t)count, sizeof *v);
	if (!v)
		return NE_MEMORY;
	TRY(decode(in, (size_t)count, v, depth + 1));
	TRY(take_ints(in, n, &index));
	for (size_t i = 0; i < n; i++) {
		if (index[i] < 0 || (uint64_t)index[i] >= count)
			return NE_MALFORMED;
		out[i] = v[index[i]];
	}
	return 0;
}

static int constant_bytes(struct column_in *in, enum val_type type, uint64_t len, bool coded,
			  struct val *v)
{
	const uint8_t *at;
	if (len > LIMIT_VALUE)
		return NE_LIMIT;
	TRY(take_pool(in, (size_t)len, coded, &at));
	set_bytes(v, type, at, (size_t)len);
	return 0;
}

static int constant_text(struct column_in *in, uint8_t mode, struct val *v)
{
	uint64_t len = mode - COLUMN_TEXT;
	if (len == COLUMN_TEXT_LONG) {
		TRY(get_varint(&in->left, &len));
		if (len > LIMIT_VALUE)
			return NE_LIMIT;
		len += COLUMN_TEXT_LONG;
	}
	return constant_bytes(in, VAL_TEXT, len, false, v);
}

static int constant_int(struct column_in *in, size_t bytes, bool negative, struct val *v)
{
	const uint8_t *at;
	TRY(get_bytes(&in->left, bytes, &at));
	uint64_t u = big_endian(at, bytes);
	if (u > INT64_MAX)
		return NE_MALFORMED;
	*v = (struct val){.type = VAL_INT, .i = negative ? -1 - (int64_t)u : (int64_t)u};
	return 0;
}

static int constant(struct column_in *in, uint8_t mode, struct val *v)
{
	const uint8_t *at;
	uint64_t len;
	int64_t i;
	if (mode >= COLUMN_INT_SMALL) {
		*v = (struct val){.type = VAL_INT, .i = mode - COLUMN_INT_SMALL};
		return 0;
	}
	if (mode >= COLUMN_DECIMAL) {
		TRY(get_zigzag(&in->left, &i));
		return set_decimal(v, i, mode - COLUMN_DECIMAL);
	}
	if (mode == COLUMN_REAL) {
		TRY(get_bytes(&in->left, 8, &at));
		return set_real_bytes(v, at);
	}
	if (mode == COLUMN_BLOB) {
		TRY(get_varint(&in->left, &len));
		return constant_bytes(in, VAL_BLOB, len, false, v);
	}
	if (mode >= COLUMN_INT_NEGATIVE && mode <= COLUMN_INT_NEGATIVE + 8)
		return constant_int(in, mode - COLUMN_INT_NEGATIVE, true, v);
	if (mode > COLUMN_INT && mode <= COLUMN_INT + 8)
		return constant_int(in, mode - COLUMN_INT, false, v);
	if (mode > COLUMN_TEXT_CODED && mode < COLUMN_INT)
		return constant_bytes(in, VAL_TEXT, mode - COLUMN_TEXT_CODED, true, v);
	if (mode >= COLUMN_TEXT && mode < COLUMN_TEXT_CODED)
		return constant_text(in, mode, v);
	return NE_MALFORMED;
}

static int decode_constant(struct column_in *in, uint8_t mode, size_t n, struct val *out)
{
	struct val v = {.type = VAL_NULL};
	if (mode != COLUMN_NULLS)
		TRY(constant(in, mode, &v));
	for (size_t i = 0; i < n; i++)
		out[i] = v;
	return 0;
}

static int decode(struct column_in *in, size_t n, struct val *out, unsigned depth)
{
	uint8_t mode;
	if (depth >= COLUMN_DEPTH)
		return NE_MALFORMED;
	TRY(get_u8(&in->left, &mode));
	switch (mode) {
	case COLUMN_INTS:
		return decode_ints(in, n, out);
	case COLUMN_DECIMALS:
		return decode_decimals(in, n, out);
	case COLUMN_DECIMALS_BUT:
		return decode_decimals_but(in, n, out);
	case COLUMN_REALS:
		return decode_reals(in, n, out);
	case COLUMN_TEXTS:
	case COLUMN_TEXTS_CODED:
		return decode_strings(in, n, out, VAL_TEXT, mode == COLUMN_TEXTS_CODED);
	case COLUMN_TEXTS_FRONT:
	case COLUMN_TEXTS_FRONT_CODED:
		return decode_front(in, n, out, VAL_TEXT, mode == COLUMN_TEXTS_FRONT_CODED);
	case COLUMN_BLOBS:
		return decode_strings(in, n, out, VAL_BLOB, false);
	case COLUMN_BLOBS_FRONT:
		return decode_front(in, n, out, VAL_BLOB, false);
	case COLUMN_BLOBS_SPLIT:
		return decode_split(in, n, out);
	case COLUMN_MIXED:
		return decode_mixed(in, n, out, depth);
	case COLUMN_DICTIONARY:
		return decode_dictionary(in, n, out, depth);
	default:
		return decode_constant(in, mode, n, out);
	}
}

int column_decode(struct column_in *in, size_t n, struct val *out)
{
	TRY(decode(in, n, out, 0));
	for (size_t i = 0; i < n; i++) {
		if (out[i].type != VAL_TEXT && out[i].type != VAL_BLOB)
			continue;
		if (out[i].s.len > in->room)
			return NE_LIMIT;
		in->room -= out[i].s.len;
	}
	return 0;
}
