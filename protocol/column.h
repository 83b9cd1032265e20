/*
 * One column of SQL values, any of them: the first byte says how the rest is to be read, so an
 * encoder may choose better without a change of format. docs/protocol.md has the layout.
 */
#ifndef NEAP_PROTOCOL_COLUMN_H
#define NEAP_PROTOCOL_COLUMN_H

#include "protocol/limits.h"
#include "protocol/value.h"

/* The first byte of a column. */
enum column_mode {
	COLUMN_NULLS = 0x00,
	COLUMN_INTS = 0x01,
	COLUMN_DECIMALS = 0x02,	    /* reals as i / 10^e */
	COLUMN_DECIMALS_BUT = 0x03, /* … with exceptions */
	COLUMN_REALS = 0x04,	    /* eight planes of bytes */
	COLUMN_TEXTS = 0x05,	    /* lengths, bytes */
	COLUMN_TEXTS_CODED = 0x06,  /* lengths, characters in the static code */
	COLUMN_TEXTS_FRONT = 0x07,  /* lengths shared with the value before, lengths, bytes */
	COLUMN_TEXTS_FRONT_CODED = 0x08,
	COLUMN_BLOBS = 0x09,
	COLUMN_BLOBS_FRONT = 0x0a,
	COLUMN_BLOBS_SPLIT = 0x0b, /* one length; a big-endian number in front, other bytes */
	COLUMN_MIXED = 0x0c,	   /* types, then a column of each */
	COLUMN_DICTIONARY = 0x0d,  /* distinct values, then indexes */

	/* One value for all rows. */
	COLUMN_TEXT = 0x40,	    /* + its length, up to 62; 63: a varint has the rest */
	COLUMN_TEXT_CODED = 0x80,   /* + its length in characters, 1 … 63, static code */
	COLUMN_INT = 0xc0,	    /* + bytes, 1 … 8, big-endian, ≥ 0 */
	COLUMN_INT_NEGATIVE = 0xd0, /* + bytes, 0 … 8, of −1 − value */
	COLUMN_BLOB = 0xd9,
	COLUMN_REAL = 0xda,
	COLUMN_DECIMAL = 0xe0,	 /* + e, 0 … 15; zigzag varint */
	COLUMN_INT_SMALL = 0xf0, /* + value, 0 … 15 */

	COLUMN_TEXT_LONG = 63,
};

enum {
	COLUMN_DECIMAL_MAX = 15, /* greatest e */
	COLUMN_DEPTH = 3,	 /* mixed and dictionary columns hold columns again, so deep */
	COLUMN_EXACT_BITS = 53,	 /* decimals keep |i| below 2^53 */
};

/* Appends `n` ≥ 1 values. NE_MALFORMED for NaN, NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int column_encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp);

/*
 * The same, each value by itself and at full length: how many bytes that takes depends on the
 * types of the values and the lengths of texts and blobs, never on what they hold.
 */
NEAP_CHECK int column_encode_apart(const struct val *v, size_t n, struct buf *out,
				   struct arena *tmp);

/* Where a decoder stands: the bytes left, and what expanded values may still take. */
struct column_in {
	struct slice left;
	struct arena *a;   /* texts and blobs */
	struct arena *tmp; /* working memory */
	size_t room;	   /* bytes of texts and blobs, as the rows name them */
	size_t pool_room;  /* bytes of texts and blobs, as they are stored */
};

/*
 * Reads `n` ≥ 1 values; the caller has bounded `n`. NE_MALFORMED, NE_LIMIT, NE_MEMORY; `out` is
 * undefined on error.
 */
NEAP_CHECK int column_decode(struct column_in *in, size_t n, struct val *out);

/* 10^e for e up to COLUMN_DECIMAL_MAX: exact as a double. */
extern const double column_power[COLUMN_DECIMAL_MAX + 1];

#endif
