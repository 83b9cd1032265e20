/*
 * Writing deterministic CBOR (RFC 8949 section 4.2.1): shortest integers, definite lengths.
 * Each appends one item or head to a buffer: NE_LIMIT past its bound, NE_MEMORY.
 */
#ifndef NEAP_PROTOCOL_CBOR_WRITE_H
#define NEAP_PROTOCOL_CBOR_WRITE_H

#include "common/bytes.h"

NEAP_CHECK int cbor_put_uint(struct buf *out, uint64_t v);
NEAP_CHECK int cbor_put_bytes(struct buf *out, struct slice s);
/* The caller vouches for its being UTF-8. */
NEAP_CHECK int cbor_put_text(struct buf *out, struct slice s);
/* The head of an array; `n` items follow. */
NEAP_CHECK int cbor_put_array(struct buf *out, size_t n);

#endif
