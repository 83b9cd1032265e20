/*
 * zstd within bounds: a plaintext is cut into slices of at most LIMIT_SLICE bytes, each
 * compressed by itself as one zstd frame that states its content size; the frames follow each
 * other. Contexts are kept per thread and freed with it.
 */
#ifndef NEAP_PROTOCOL_ZST_H
#define NEAP_PROTOCOL_ZST_H

#include "common/bytes.h"

/* Appends the zstd frames of `in`. NE_LIMIT (out->max), NE_MEMORY; `out` is as before on error. */
NEAP_CHECK int zst_compress(struct slice in, struct buf *out);

/*
 * What zst_decompress would give, from the headers alone: NE_MALFORMED if `in` is anything but
 * whole zstd frames with a content size of 1 … LIMIT_SLICE and no dictionary; NE_LIMIT above `max`.
 */
NEAP_CHECK int zst_size(struct slice in, size_t max, size_t *size);

/* Fills `out`, of exactly the size zst_size gave. NE_MALFORMED, NE_MEMORY. */
NEAP_CHECK int zst_decompress(struct slice in, uint8_t *out, size_t size);

#endif
