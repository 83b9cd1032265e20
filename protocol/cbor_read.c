#include "protocol/cbor_read.h"

#include <assert.h>
#include <cbor.h>

enum kind {
	KIND_OTHER,
	KIND_UINT,
	KIND_BYTES,
	KIND_TEXT,
	KIND_ARRAY,
};

struct item {
	enum kind kind;
	uint64_t n; /* the integer, or the count of an array */
	struct slice s;
};

static void on_uint8(void *ctx, uint8_t v)
{
	*(struct item *)ctx = (struct item){.kind = KIND_UINT, .n = v};
}

static void on_uint16(void *ctx, uint16_t v)
{
	*(struct item *)ctx = (struct item){.kind = KIND_UINT, .n = v};
}

static void on_uint32(void *ctx, uint32_t v)
{
	*(struct item *)ctx = (struct item){.kind = KIND_UINT, .n = v};
}

static void on_uint64(void *ctx, uint64_t v)
{
	*(struct item *)ctx = (struct item){.kind = KIND_UINT, .n = v};
}

static void on_bytes(void *ctx, cbor_data at, size_t len)
{
	*(struct item *)ctx = (struct item){.kind = KIND_BYTES, .s = slice_of(at, len)};
}

static void on_text(void *ctx, cbor_data at, size_t len)
{
	*(struct item *)ctx = (struct item){.kind = KIND_TEXT, .s = slice_of(at, len)};
}

static void on_array(void *ctx, size_t n)
{
	*(struct item *)ctx = (struct item){.kind = KIND_ARRAY, .n = n};
}

/* Whatever the format has no use for, above all indefinite lengths, is KIND_OTHER: refused. */
static const struct cbor_callbacks callbacks = {
	.uint8 = on_uint8,
	.uint16 = on_uint16,
	.uint32 = on_uint32,
	.uint64 = on_uint64,
	.negint64 = cbor_null_negint64_callback,
	.negint32 = cbor_null_negint32_callback,
	.negint16 = cbor_null_negint16_callback,
	.negint8 = cbor_null_negint8_callback,
	.byte_string_start = cbor_null_byte_string_start_callback,
	.byte_string = on_bytes,
	.string = on_text,
	.string_start = cbor_null_string_start_callback,
	.indef_array_start = cbor_null_indef_array_start_callback,
	.array_start = on_array,
	.indef_map_start = cbor_null_indef_map_start_callback,
	.map_start = cbor_null_map_start_callback,
	.tag = cbor_null_tag_callback,
	.float2 = cbor_null_float2_callback,
	.float4 = cbor_null_float4_callback,
	.float8 = cbor_null_float8_callback,
	.undefined = cbor_null_undefined_callback,
	.null = cbor_null_null_callback,
	.boolean = cbor_null_boolean_callback,
	.indef_break = cbor_null_indef_break_callback,
};

/* Bytes of the shortest head that can say `n`. */
static size_t head_len(uint64_t n)
{
	if (n < 24)
		return 1;
	if (n <= UINT8_MAX)
		return 2;
	if (n <= UINT16_MAX)
		return 3;
	return n <= UINT32_MAX ? 5 : 9;
}

static int next(struct cbor_in *in, enum kind kind, struct item *out)
{
	struct item item = {.kind = KIND_OTHER};
	if (in->left.len == 0)
		return NE_MALFORMED;
	struct cbor_decoder_result r =
		cbor_stream_decode(in->left.at, in->left.len, &callbacks, &item);
	if (r.status != CBOR_DECODER_FINISHED || item.kind != kind)
		return NE_MALFORMED;
	size_t body = item.s.len;
	uint64_t n = kind == KIND_BYTES || kind == KIND_TEXT ? body : item.n;
	assert(r.read <= in->left.len && body <= r.read);
	if (r.read - body != head_len(n))
		return NE_MALFORMED;
	in->left = slice_of(in->left.at + r.read, in->left.len - r.read);
	*out = item;
	return 0;
}

int cbor_get_uint(struct cbor_in *in, uint64_t *out)
{
	struct item item;
	TRY(next(in, KIND_UINT, &item));
	*out = item.n;
	return 0;
}

int cbor_get_bytes(struct cbor_in *in, struct slice *out)
{
	struct item item;
	TRY(next(in, KIND_BYTES, &item));
	*out = item.s;
	return 0;
}

int cbor_get_text(struct cbor_in *in, struct slice *out)
{
	struct cbor_in t = *in;
	struct item item;
	TRY(next(&t, KIND_TEXT, &item));
	if (!utf8_valid(item.s))
		return NE_MALFORMED;
	*in = t;
	*out = item.s;
	return 0;
}

int cbor_get_array(struct cbor_in *in, size_t *n)
{
	struct cbor_in t = *in;
	struct item item;
	if (t.depth >= CBOR_DEPTH)
		return NE_MALFORMED;
	TRY(next(&t, KIND_ARRAY, &item));
	if (item.n > t.left.len)
		return NE_MALFORMED;
	t.depth++;
	*in = t;
	*n = (size_t)item.n;
	return 0;
}

void cbor_leave(struct cbor_in *in)
{
	assert(in->depth > 0);
	in->depth--;
}

int cbor_end(const struct cbor_in *in)
{
	return in->left.len ? NE_MALFORMED : 0;
}

/* The length of the sequence that `first` begins and the range of its second byte; 0: none. */
static size_t utf8_sequence(uint8_t first, uint8_t *low, uint8_t *high)
{
	*low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	*high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	if (first < 0x80)
		return 1;
	if (first < 0xc2)
		return 0;
	if (first < 0xe0)
		return 2;
	if (first < 0xf0)
		return 3;
	return first < 0xf5 ? 4 : 0;
}

bool utf8_valid(struct slice s)
{
	size_t i = 0;
	while (i < s.len) {
		uint8_t low, high;
		size_t len = utf8_sequence(s.at[i], &low, &high);
		if (len == 0 || len > s.len - i)
			return false;
		for (size_t k = 1; k < len; k++) {
			uint8_t c = s.at[i + k];
			if (k == 1 ? c < low || c > high : (c & 0xc0) != 0x80)
				return false;
		}
		i += len;
	}
	return true;
}
