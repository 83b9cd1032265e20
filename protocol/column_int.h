/*
 * Columns of 64-bit integers: a predictor (none, the value before, a straight line, the value
 * some rows before) and a coder for what the prediction missed. docs/protocol.md has the layout.
 */
#ifndef NEAP_PROTOCOL_COLUMN_INT_H
#define NEAP_PROTOCOL_COLUMN_INT_H

#include "common/bytes.h"

enum {
	/* The first byte: 0x80 | v is a constant v < 128; else coder | predictor << 3. */
	INTS_SMALL = 0x80,
	INTS_PREDICTOR_SHIFT = 3,

	/* Lag heads and sparse lists are integer columns again, so deep. */
	INTS_DEPTH = 3,
	INTS_LAG_MAX = 255,
};

enum ints_predictor {
	PREDICT_NONE,
	PREDICT_BEFORE,
	PREDICT_LINE,
	PREDICT_LAG,
};

enum ints_coder {
	CODE_CONSTANT,
	CODE_PACKED,
	CODE_RICE,
	CODE_VARINT,
	CODE_SPARSE,
};

/* Appends `n` values; nothing for n = 0. Working memory from `tmp`. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int ints_encode(const int64_t *v, size_t n, struct buf *out, struct arena *tmp);
/* Appends `n` ≥ 1 values of 0 … 2^width − 1 in `width` bits each, whatever they are. NE_MEMORY. */
NEAP_CHECK int ints_encode_fixed(const int64_t *v, size_t n, unsigned width, struct buf *out);

/*
 * Reads `n` values from the head of `in`. The caller has bounded `n`; time and working memory grow
 * with it alone. NE_MALFORMED, NE_MEMORY; `out` is undefined on error.
 */
NEAP_CHECK int ints_decode(struct slice *in, size_t n, int64_t *out, struct arena *tmp);

#endif
