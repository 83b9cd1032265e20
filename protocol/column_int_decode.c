#include <assert.h>

#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/column_rice.h"

static int decode(struct slice *in, size_t n, int64_t *out, struct arena *tmp, unsigned depth);

static int decode_constant(struct slice *in, size_t n, int64_t *out)
{
	int64_t v;
	TRY(get_zigzag(in, &v));
	for (size_t i = 0; i < n; i++)
		out[i] = v;
	return 0;
}

static int decode_packed(struct slice *in, size_t n, int64_t *out)
{
	int64_t base;
	uint8_t width;
	TRY(get_zigzag(in, &base));
	TRY(get_u8(in, &width));
	if (width > 64 || n * width / 8 > in->len)
		return NE_MALFORMED;
	struct bit_reader r = {.in = *in};
	if (width <= 56) {
		for (size_t i = 0; i < n; i++)
			out[i] = wrap_add(base, (int64_t)bits_get(&r, width));
	} else {
		for (size_t i = 0; i < n; i++)
			out[i] = wrap_add(base, (int64_t)bits_get_wide(&r, width));
	}
	return bits_end(&r, in) ? 0 : NE_MALFORMED;
}

static int decode_rice(struct slice *in, size_t n, int64_t *out)
{
	int64_t base;
	uint8_t start, phases;
	TRY(get_zigzag(in, &base));
	TRY(get_u8(in, &start));
	TRY(get_u8(in, &phases));
	/* A value takes a bit or more. */
	if (start > RICE_START_MAX || phases == 0 || n / 8 > in->len)
		return NE_MALFORMED;
	struct rice_phase phase[RICE_PHASES];
	for (size_t i = 0; i < phases; i++)
		phase[i] = rice_start(start);
	struct bit_reader r = {.in = *in};
	for (size_t i = 0, p = 0; i < n; i++) {
		unsigned k = rice_parameter(&phase[p]);
		uint64_t u = rice_get(&r, k);
		rice_learn(&phase[p], u, k);
		out[i] = wrap_add(base, unzigzag(u));
		p = p + 1 < phases ? p + 1 : 0;
	}
	return bits_end(&r, in) ? 0 : NE_MALFORMED;
}

static int decode_varints(struct slice *in, size_t n, int64_t *out)
{
	if (n > in->len)
		return NE_MALFORMED;
	for (size_t i = 0; i < n; i++)
		TRY(get_zigzag(in, &out[i]));
	return 0;
}

/* Mostly one value; where another stands is told by the rows skipped before it. */
static int decode_sparse(struct slice *in, size_t n, int64_t *out, struct arena *tmp,
			 unsigned depth)
{
	uint64_t x;
	TRY(decode_constant(in, n, out));
	TRY(get_varint(in, &x));
	if (x == 0 || x > n)
		return NE_MALFORMED;
	int64_t *gap = arena_array(tmp, (size_t)x, sizeof *gap);
	int64_t *value = arena_array(tmp, (size_t)x, sizeof *value);
	if (!gap || !value)
		return NE_MEMORY;
	TRY(decode(in, (size_t)x, gap, tmp, depth + 1));
	TRY(decode(in, (size_t)x, value, tmp, depth + 1));
	size_t at = 0;
	for (size_t i = 0; i < x; i++) {
		if (gap[i] < 0 || at >= n || (uint64_t)gap[i] >= n - at)
			return NE_MALFORMED;
		at += (size_t)gap[i];
		out[at++] = value[i];
	}
	return 0;
}

static int decode_rest(struct slice *in, uint8_t coder, size_t n, int64_t *out, struct arena *tmp,
		       unsigned depth)
{
	switch (coder) {
	case CODE_CONSTANT:
		return decode_constant(in, n, out);
	case CODE_PACKED:
		return decode_packed(in, n, out);
	case CODE_RICE:
		return decode_rice(in, n, out);
	case CODE_VARINT:
		return decode_varints(in, n, out);
	case CODE_SPARSE:
		return decode_sparse(in, n, out, tmp, depth);
	default:
		return NE_MALFORMED;
	}
}

/* Reads what stands in front of the rest: `*head` values that the prediction starts from. */
static int decode_head(struct slice *in, uint8_t predictor, size_t n, int64_t *out,
		       struct arena *tmp, unsigned depth, size_t *head)
{
	uint8_t lag;
	switch (predictor) {
	case PREDICT_NONE:
		*head = 0;
		return 0;
	case PREDICT_BEFORE:
		*head = 1;
		return n > 1 ? get_zigzag(in, &out[0]) : NE_MALFORMED;
	case PREDICT_LINE:
		*head = 2;
		if (n <= 2)
			return NE_MALFORMED;
		TRY(get_zigzag(in, &out[0]));
		TRY(get_zigzag(in, &out[1]));
		out[1] = wrap_add(out[0], out[1]);
		return 0;
	case PREDICT_LAG:
		TRY(get_u8(in, &lag));
		*head = lag;
		if (lag == 0 || lag >= n)
			return NE_MALFORMED;
		return decode(in, lag, out, tmp, depth + 1);
	default:
		return NE_MALFORMED;
	}
}

static void add_prediction(uint8_t predictor, size_t head, size_t n, int64_t *v)
{
	if (predictor == PREDICT_NONE)
		return;
	if (predictor == PREDICT_LINE) {
		int64_t step = wrap_sub(v[1], v[0]);
		for (size_t i = head; i < n; i++) {
			step = wrap_add(step, v[i]);
			v[i] = wrap_add(v[i - 1], step);
		}
		return;
	}
	for (size_t i = head; i < n; i++)
		v[i] = wrap_add(v[i - head], v[i]);
}

static int decode(struct slice *in, size_t n, int64_t *out, struct arena *tmp, unsigned depth)
{
	uint8_t first;
	size_t head;
	if (n == 0)
		return 0;
	if (depth >= INTS_DEPTH)
		return NE_MALFORMED;
	TRY(get_u8(in, &first));
	if (first & INTS_SMALL) {
		for (size_t i = 0; i < n; i++)
			out[i] = first & ~INTS_SMALL;
		return 0;
	}
	uint8_t predictor = first >> INTS_PREDICTOR_SHIFT;
	uint8_t coder = first & ((1 << INTS_PREDICTOR_SHIFT) - 1);
	TRY(decode_head(in, predictor, n, out, tmp, depth, &head));
	assert(head < n);
	TRY(decode_rest(in, coder, n - head, out + head, tmp, depth));
	add_prediction(predictor, head, n, out);
	return 0;
}

int ints_decode(struct slice *in, size_t n, int64_t *out, struct arena *tmp)
{
	return decode(in, n, out, tmp, 0);
}
