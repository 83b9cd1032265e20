/* Members of a JSON object, with their type and bounds checked. */
#ifndef NEAP_DEVICE_SHELL_MEMBERS_H
#define NEAP_DEVICE_SHELL_MEMBERS_H

#include <jansson.h>

#include "common/bytes.h"

/* Copies a text of fewer than `size` bytes, with its NUL. NE_MALFORMED. */
NEAP_CHECK int member_text(const json_t *doc, const char *name, char *out, size_t size,
			   struct err *e);
/* An integer (not a real) in lo … hi. NE_MALFORMED. */
NEAP_CHECK int member_int(const json_t *doc, const char *name, int64_t lo, int64_t hi, int64_t *out,
			  struct err *e);

#endif
