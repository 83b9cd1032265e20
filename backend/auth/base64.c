#include "backend/auth/base64.h"

#include <string.h>

#include "common/file.h"
#include "protocol/base64url.h"

int base64_write(struct slice in, char *out)
{
	struct buf text = {.max = BASE64_LEN(in.len) + 4}; /* the coder reserves whole groups */

	/* Room for all at once: growing would leave a copy behind. */
	int rc = buf_reserve(&text, text.max);
	if (!rc)
		rc = base64url_encode(in, &text);
	if (!rc)
		memcpy(out, text.at, text.len);
	out[rc ? 0 : text.len] = 0;
	secret_free(&text);
	return rc;
}

int base64_read(struct slice in, uint8_t *out, size_t len)
{
	struct buf bytes = {.max = len + 3};

	if (in.len != BASE64_LEN(len))
		return NE_MALFORMED;
	int rc = buf_reserve(&bytes, bytes.max);
	if (!rc)
		rc = base64url_decode(in, &bytes);
	if (!rc)
		memcpy(out, bytes.at, len);
	secret_free(&bytes);
	return rc;
}
