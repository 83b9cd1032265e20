/*
 * The short deterministic CBOR arrays that bind a key or a message to what it
 * is for: HKDF infos and additional authenticated data. Bounded by design: two
 * ids and a few words.
 */
#ifndef NEAP_PROTOCOL_CONTEXT_H
#define NEAP_PROTOCOL_CONTEXT_H

#include "common/bytes.h"

enum { CONTEXT_MAX = 512 };

/* Zero-initialise. `full` once something did not fit; nothing is written from then on. */
struct context {
	uint8_t at[CONTEXT_MAX];
	size_t len;
	bool full;
};

void context_array(struct context *c, size_t n);
void context_map(struct context *c, size_t n);
void context_uint(struct context *c, uint64_t v);
void context_null(struct context *c);
void context_text(struct context *c, const char *s);
void context_text_slice(struct context *c, struct slice s);
void context_bytes(struct context *c, struct slice s);

static inline struct slice context_slice(const struct context *c)
{
	return slice_of(c->at, c->len);
}

#endif
