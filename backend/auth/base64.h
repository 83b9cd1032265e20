/*
 * base64url of secrets, of lengths known in advance, into arrays: what the
 * coder used on the way is wiped.
 */
#ifndef NEAP_BACKEND_AUTH_BASE64_H
#define NEAP_BACKEND_AUTH_BASE64_H

#include "common/bytes.h"

#define BASE64_LEN(bytes) (((bytes)*4 + 2) / 3)

/* Writes BASE64_LEN(in.len) characters and a NUL. NE_MEMORY: `out` is "" then. */
NEAP_CHECK int base64_write(struct slice in, char *out);
/* Exactly `len` bytes from `in`; NE_MALFORMED for anything else, NE_MEMORY. */
NEAP_CHECK int base64_read(struct slice in, uint8_t *out, size_t len);

#endif
