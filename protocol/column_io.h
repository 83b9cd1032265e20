/*
 * The bytes and bits columns are made of: a bounded cursor, LEB128 integers, zigzag, and bit
 * streams that fill each byte from its least significant bit.
 */
#ifndef NEAP_PROTOCOL_COLUMN_IO_H
#define NEAP_PROTOCOL_COLUMN_IO_H

#include <string.h>

#include "common/bytes.h"

enum { VARINT_MAX = 10 };

/* Small negative and small positive numbers become small ones: 0, −1, 1, −2 → 0, 1, 2, 3. */
static inline uint64_t zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t unzigzag(uint64_t u)
{
	return (int64_t)((u >> 1) ^ (u & 1 ? UINT64_MAX : 0));
}

/* Differences wrap: they are exact modulo 2^64, whatever the values. */
static inline int64_t wrap_sub(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

static inline int64_t wrap_add(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* Bits needed to write `v`; 0 for 0. */
static inline unsigned bit_length(uint64_t v)
{
	return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

NEAP_CHECK static inline int put_varint(struct buf *out, uint64_t v)
{
	uint8_t b[VARINT_MAX];
	size_t n = 0;
	for (; v >= 0x80; v >>= 7)
		b[n++] = (uint8_t)(v | 0x80);
	b[n++] = (uint8_t)v;
	return buf_put(out, b, n);
}

NEAP_CHECK static inline int put_zigzag(struct buf *out, int64_t v)
{
	return put_varint(out, zigzag(v));
}

NEAP_CHECK static inline int get_u8(struct slice *in, uint8_t *out)
{
	if (in->len == 0)
		return NE_MALFORMED;
	*out = in->at[0];
	in->at++;
	in->len--;
	return 0;
}

/* Borrows `n` bytes. */
NEAP_CHECK static inline int get_bytes(struct slice *in, size_t n, const uint8_t **out)
{
	if (n > in->len)
		return NE_MALFORMED;
	*out = in->at;
	in->at += n;
	in->len -= n;
	return 0;
}

NEAP_CHECK static inline int get_varint(struct slice *in, uint64_t *out)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t b;
		TRY(get_u8(in, &b));
		if (shift == 63 && b > 1)
			return NE_MALFORMED;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80) {
			*out = v;
			return 0;
		}
	}
	return NE_MALFORMED;
}

NEAP_CHECK static inline int get_zigzag(struct slice *in, int64_t *out)
{
	uint64_t u;
	TRY(get_varint(in, &u));
	*out = unzigzag(u);
	return 0;
}

/* Writes bits behind what is in `at`; the caller has made room for all of them. */
struct bit_writer {
	uint8_t *at;
	uint64_t acc;
	unsigned n;
};

/* At most 56 bits. */
static inline void bits_put(struct bit_writer *w, uint64_t v, unsigned n)
{
	w->acc |= v << w->n;
	w->n += n;
	while (w->n >= 8) {
		*w->at++ = (uint8_t)w->acc;
		w->acc >>= 8;
		w->n -= 8;
	}
}

/* At most 64 bits. */
static inline void bits_put_wide(struct bit_writer *w, uint64_t v, unsigned n)
{
	if (n > 32) {
		bits_put(w, v & UINT32_MAX, 32);
		v >>= 32;
		n -= 32;
	}
	bits_put(w, v, n);
}

static inline void bits_finish(struct bit_writer *w)
{
	if (w->n)
		*w->at++ = (uint8_t)w->acc;
	w->acc = 0;
	w->n = 0;
}

/* Reads bits; past the end it reads zeros and remembers that it did. */
struct bit_reader {
	struct slice in;
	uint64_t acc;
	unsigned n;
	bool short_;
};

/* Makes at least 57 bits available, or all that are left. */
static inline void bits_refill(struct bit_reader *r)
{
	while (r->n <= 56 && r->in.len) {
		r->acc |= (uint64_t)*r->in.at << r->n;
		r->in.at++;
		r->in.len--;
		r->n += 8;
	}
}

static inline void bits_skip(struct bit_reader *r, unsigned n)
{
	if (n > r->n) {
		r->short_ = true;
		n = r->n;
	}
	r->acc = n < 64 ? r->acc >> n : 0;
	r->n -= n;
}

/* At most 56 bits. */
static inline uint64_t bits_get(struct bit_reader *r, unsigned n)
{
	if (r->n < n)
		bits_refill(r);
	uint64_t v = r->acc & (((uint64_t)1 << n) - 1);
	bits_skip(r, n);
	return v;
}

/* At most 64 bits. */
static inline uint64_t bits_get_wide(struct bit_reader *r, unsigned n)
{
	if (n <= 32)
		return bits_get(r, n);
	uint64_t low = bits_get(r, 32);
	return low | bits_get(r, n - 32) << 32;
}

/* Gives back the whole bytes not used; false if the bits ended too early. */
static inline bool bits_end(struct bit_reader *r, struct slice *rest)
{
	size_t unread = r->n / 8;
	*rest = slice_of(r->in.at - unread, r->in.len + unread);
	return !r->short_;
}

#endif
