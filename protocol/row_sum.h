/*
 * A sum over rows that does not depend on their order (J6): for each row the first 16 bytes of
 * SHA-256 over its key and columns in canonical form (value_bytes.h), as a big-endian number, added
 * modulo 2^128. Equal sums of equally many rows mean equal rows: this finds damage, not forgery,
 * for whoever can write rows needs no collision (AdHash: Bellare and Micciancio 1997; multiset
 * hashes: Clarke et al. 2003).
 */
#ifndef NEAP_PROTOCOL_ROW_SUM_H
#define NEAP_PROTOCOL_ROW_SUM_H

#include "protocol/shape.h"
#include "protocol/value.h"

enum { ROW_SUM_BYTES = 16 };

struct row_sum {
	uint64_t hi, lo;
	uint64_t n; /* rows */
};

/* `key` and `col` as in `s`. `scratch` holds the row's bytes meanwhile: NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int row_sum_add(struct row_sum *sum, const struct shape *s, const struct val *key,
			   const struct val *col, struct buf *scratch);
bool row_sum_eq(const struct row_sum *a, const struct row_sum *b);

/* The sum without the number of rows, big-endian. */
void row_sum_put(const struct row_sum *sum, uint8_t out[static ROW_SUM_BYTES]);
void row_sum_take(const uint8_t in[static ROW_SUM_BYTES], struct row_sum *sum);

#endif
