#include "protocol/base64url.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int base64url_encode(struct slice bytes, struct buf *out)
{
	uint32_t bits = 0;
	unsigned n = 0;

	TRY(buf_reserve(out, bytes.len / 3 * 4 + 4));
	for (size_t i = 0; i < bytes.len; i++) {
		bits = bits << 8 | bytes.at[i];
		for (n += 8; n >= 6; n -= 6)
			out->at[out->len++] = (uint8_t)letters[bits >> (n - 6) & 63];
	}
	if (n)
		out->at[out->len++] = (uint8_t)letters[bits << (6 - n) & 63];
	return 0;
}

static int value_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int base64url_decode(struct slice text, struct buf *out)
{
	size_t before = out->len;
	uint32_t bits = 0;
	unsigned n = 0;

	if (text.len % 4 == 1)
		return NE_MALFORMED;
	TRY(buf_reserve(out, text.len / 4 * 3 + 3));
	for (size_t i = 0; i < text.len; i++) {
		int v = value_of(text.at[i]);
		if (v < 0) {
			out->len = before;
			return NE_MALFORMED;
		}
		bits = bits << 6 | (uint32_t)v;
		n += 6;
		if (n >= 8) {
			n -= 8;
			out->at[out->len++] = (uint8_t)(bits >> n);
		}
	}
	if (bits & ((1u << n) - 1)) {
		out->len = before;
		return NE_MALFORMED;
	}
	return 0;
}
