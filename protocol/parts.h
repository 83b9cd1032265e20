/*
 * Frames larger than one message (rule M4): cut into pieces, and put together
 * again within bounds. Compression happens in frame_encode, per slice.
 */
#ifndef NEAP_PROTOCOL_PARTS_H
#define NEAP_PROTOCOL_PARTS_H

#include "protocol/frame.h"

/* How many pieces of at most `piece` bytes `frame` takes; at least 1. */
size_t parts_count(size_t frame_len, size_t piece);
/* The index-th part of an encoded frame, as a frame to encode; its bytes borrow from `frame`. */
void parts_get(struct slice frame, size_t piece, uint64_t cut, size_t index,
	       const uint8_t digest[static 32], struct frame *out);
void parts_digest(struct slice frame, uint8_t out[static 32]);

/* One frame being put together. */
struct parts;

NEAP_CHECK int parts_new(struct parts **out, const struct f_part *first, struct err *e);
void parts_free(struct parts *p);
uint64_t parts_cut(const struct parts *p);
size_t parts_bytes(const struct parts *p); /* memory held */
/*
 * Adds a part; one that is there already is ignored. *whole is set once all are there and the
 * digest is right; parts_frame is then valid. NE_PROTOCOL if it contradicts the first,
 * NE_MALFORMED.
 */
NEAP_CHECK int parts_add(struct parts *p, const struct f_part *part, bool *whole, struct err *e);
struct slice parts_frame(const struct parts *p);
/* Indexes still missing, at most `max`; returns how many were written. */
size_t parts_missing(const struct parts *p, uint64_t *out, size_t max);

#endif
