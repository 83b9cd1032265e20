#include "device/shell/members.h"

#include <inttypes.h>
#include <string.h>

int member_text(const json_t *doc, const char *name, char *out, size_t size, struct err *e)
{
	const json_t *v = json_object_get(doc, name);

	if (!json_is_string(v))
		return err_set(e, NE_MALFORMED, "'%s' is missing or not text", name);
	if (json_string_length(v) >= size)
		return err_set(e, NE_MALFORMED, "'%s' is longer than %zu bytes", name, size - 1);
	memcpy(out, json_string_value(v), json_string_length(v) + 1);
	return NE_OK;
}

int member_int(const json_t *doc, const char *name, int64_t lo, int64_t hi, int64_t *out,
	       struct err *e)
{
	const json_t *v = json_object_get(doc, name);

	if (!json_is_integer(v))
		return err_set(e, NE_MALFORMED, "'%s' is missing or not an integer", name);
	if (json_integer_value(v) < lo || json_integer_value(v) > hi)
		return err_set(e, NE_MALFORMED, "'%s' is not in %" PRId64 " to %" PRId64, name, lo,
			       hi);
	*out = json_integer_value(v);
	return NE_OK;
}
