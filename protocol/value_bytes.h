/*
 * A value as bytes, self-delimiting: its type, then nothing (NULL), 8 bytes (big-endian: an
 * integer, a real's bits), or a length of 8 bytes and so many bytes (text, blob). Keys on the wire,
 * in our own tables and in tokens of pages, and what is hashed of a row, are such values one after
 * the other.
 */
#ifndef NEAP_PROTOCOL_VALUE_BYTES_H
#define NEAP_PROTOCOL_VALUE_BYTES_H

#include "protocol/shape.h"
#include "protocol/value.h"

/* NE_LIMIT (out->max), NE_MEMORY: `out` is as before then. */
NEAP_CHECK int value_put(struct buf *out, const struct val *v);
/* Takes one from the front, borrowing from it. NE_MALFORMED, also NaN: `in` is as before then. */
NEAP_CHECK int value_take(struct slice *in, struct val *out);

/*
 * One spelling for values that SQLite holds to be equal: reals without a fraction as integers (−0.0
 * as 0) where they fit, texts folded as their collation does. For comparing, not for keeping.
 */
struct val val_canonical(const struct val *v); /* the same for numbers alone; borrows */
NEAP_CHECK int value_put_canonical(struct buf *out, const struct val *v, enum shape_collation c);

/* `n` of them; on an error nothing was put or taken. */
NEAP_CHECK int values_put(struct buf *out, const struct val *v, size_t n);
NEAP_CHECK int values_take(struct slice *in, struct val *out, size_t n);
/* A key of `s`, canonical: the same bytes for all spellings that the table holds to be one key. */
NEAP_CHECK int key_put_canonical(struct buf *out, const struct shape *s, const struct val *key);

#endif
