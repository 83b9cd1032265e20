/* Reals: as scaled decimal integers where that is exact (after ALP, Afroozeh & Boncz 2023). */
#ifndef NEAP_PROTOCOL_COLUMN_REAL_H
#define NEAP_PROTOCOL_COLUMN_REAL_H

#include "protocol/value.h"

/*
 * The least e with r = *i / 10^e, bit for bit, and |*i| ≤ 2^52; above COLUMN_DECIMAL_MAX if there
 * is none, and then *i is 0.
 */
unsigned real_decimal(double r, int64_t *i);
/* Its eight bytes, big-endian. */
NEAP_CHECK int real_put_raw(struct buf *out, double r);
/* Appends a column of `n` reals, its mode first, as eight planes of bytes. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int reals_put_planes(const struct val *v, size_t n, struct buf *out);
/* Appends a column of `n` reals, its mode first. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int reals_encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp);

#endif
