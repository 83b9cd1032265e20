/* Keys and rows as text for a person: one JSON object, blobs as "x'…'". */
#ifndef NEAP_PROTOCOL_ROW_TEXT_H
#define NEAP_PROTOCOL_ROW_TEXT_H

#include "protocol/shape.h"
#include "protocol/value.h"

/*
 * Appends one member and what comes before it: "{" for the first one, else ", ". The caller ends
 * with "}". Always valid UTF-8 without control characters: those are escaped, and what is no UTF-8
 * is replaced by U+FFFD. NE_LIMIT, NE_MEMORY.
 */
NEAP_CHECK int text_member(struct slice name, const struct val *v, bool first, struct buf *out);

/* {"id": 5}: the key's columns. */
NEAP_CHECK int text_key(const struct shape *s, const struct val *key, struct buf *out);

/* No control characters (U+0000…1F, U+007F…9F) in valid UTF-8: safe to show on a terminal. */
bool text_shows(struct slice s);

#endif
