/* Keys of one table as a peer sent them, to be looked up: values one after the other, any order. */
#ifndef NEAP_PROTOCOL_KEY_SET_H
#define NEAP_PROTOCOL_KEY_SET_H

#include "protocol/shape.h"
#include "protocol/value.h"

struct key_set {
	const struct shape *s;
	size_t n;
	struct slice *at; /* canonical, rising */
};

/*
 * Reads whole keys of `s` up to the end of `bytes`; memory from `a`. NE_MALFORMED: cut short, or a
 * NULL in a key; NE_LIMIT: more than `max` of them; NE_MEMORY.
 */
NEAP_CHECK int key_set_read(const struct shape *s, struct slice bytes, size_t max, struct arena *a,
			    struct key_set *out);
/* Whether `key` is in it, in any spelling. `scratch` holds it meanwhile: NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int key_set_has(const struct key_set *k, const struct val *key, struct buf *scratch,
			   bool *yes);

/* One key from the front, none of its values NULL, borrowing. NE_MALFORMED. */
NEAP_CHECK int key_take(struct slice *in, const struct shape *s, struct val *out);
/* One key that is all of `bytes`. */
NEAP_CHECK int key_take_whole(struct slice bytes, const struct shape *s, struct val *out);

#endif
