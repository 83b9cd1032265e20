/* Texts and blobs: lengths and bytes, shared prefixes, or a number in front of each blob. */
#ifndef NEAP_PROTOCOL_COLUMN_STRING_H
#define NEAP_PROTOCOL_COLUMN_STRING_H

#include "protocol/value.h"

/* One text for all rows, its mode first. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int string_put_text(struct buf *out, struct slice text);
/* Appends a column of `n` texts, or of `n` blobs, its mode first. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int strings_encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp);

#endif
