/*
 * Reading CBOR from a peer, item by item, over libcbor's streaming decoder: definite lengths
 * only, shortest integers only, every count compared with the bytes left, depth at most
 * CBOR_DEPTH. libcbor's own cbor_load allocates what a length claims and is not used.
 */
#ifndef NEAP_PROTOCOL_CBOR_READ_H
#define NEAP_PROTOCOL_CBOR_READ_H

#include "common/bytes.h"

enum { CBOR_DEPTH = 4 };

/* What is left to read. Zero-initialised but for `left`. */
struct cbor_in {
	struct slice left;
	unsigned depth;
};

/* Each reads one item; NE_MALFORMED if another stands there, and then `in` is as before. */
NEAP_CHECK int cbor_get_uint(struct cbor_in *in, uint64_t *out);
/* Borrow from the input. */
NEAP_CHECK int cbor_get_bytes(struct cbor_in *in, struct slice *out);
NEAP_CHECK int cbor_get_text(struct cbor_in *in, struct slice *out); /* valid UTF-8 */
/* Enters an array of *n items, each at least one byte long: *n ≤ bytes left. */
NEAP_CHECK int cbor_get_array(struct cbor_in *in, size_t *n);
/* Leaves the array entered last; the caller has counted its items. */
void cbor_leave(struct cbor_in *in);
/* NE_MALFORMED unless all was read. */
NEAP_CHECK int cbor_end(const struct cbor_in *in);

/* Well-formed UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, up to U+10FFFF. */
bool utf8_valid(struct slice s);

#endif
