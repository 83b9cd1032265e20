/* base64url without padding (RFC 4648 section 5), strict: one text for each sequence of bytes. */
#ifndef NEAP_PROTOCOL_BASE64URL_H
#define NEAP_PROTOCOL_BASE64URL_H

#include "common/bytes.h"

/* Appends the text. NE_LIMIT (out->max), NE_MEMORY. */
NEAP_CHECK int base64url_encode(struct slice bytes, struct buf *out);
/*
 * Appends the bytes. NE_MALFORMED for padding, blanks, other letters, an impossible length or bits
 * left over that are not zero; NE_LIMIT, NE_MEMORY. `out` is as before on error.
 */
NEAP_CHECK int base64url_decode(struct slice text, struct buf *out);

#endif
