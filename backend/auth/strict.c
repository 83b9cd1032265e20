#include "backend/auth/strict.h"

#include <string.h>
#include <strings.h>

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* RFC 9110 field names have no blanks; the library glues folded lines onto a name with them. */
static bool is_name(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!is_token_char(*c))
			return false;
	return *name;
}

static bool parse_length(const char *text, uint64_t *out)
{
	uint64_t n = 0;

	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9')
			return false;
		/* Far above any bound of ours already: keep the size, not the digits. */
		if (n < UINT64_MAX / 100)
			n = n * 10 + (uint64_t)(*c - '0');
	}
	*out = n;
	return *text;
}

static bool is_json(const char *value)
{
	static const char type[] = "application/json";
	size_t len = sizeof type - 1;

	return !strncasecmp(value, type, len) &&
	       (value[len] == 0 || value[len] == ';' || value[len] == ' ');
}

void strict_header(struct strict *s, const char *name, const char *value)
{
	if (!is_name(name)) {
		s->bad_name = true;
	} else if (!strcasecmp(name, "Content-Length")) {
		s->lengths++;
		if (!value || !parse_length(value, &s->length))
			s->bad_length = true;
	} else if (!strncasecmp(name, "Transfer-Encoding", 17)) {
		s->transfer = true;
	} else if (!strncasecmp(name, "Content-Length", 14)) {
		s->bad_name = true;
	} else if (!strcasecmp(name, "Content-Type")) {
		s->json = value && is_json(value);
	}
}

int strict_verdict(const struct strict *s, bool post, uint64_t max, const char **detail)
{
	if (s->bad_name) {
		*detail = "a header's name is not allowed";
		return 400;
	}
	if (s->transfer) {
		*detail = "Transfer-Encoding is not taken; send a Content-Length";
		return 411;
	}
	if (!post) {
		*detail = "this request has no body";
		return s->lengths ? 400 : 0;
	}
	if (s->lengths != 1) {
		*detail = "exactly one Content-Length is needed";
		return 411;
	}
	if (s->bad_length) {
		*detail = "Content-Length is no number";
		return 400;
	}
	if (s->length > max) {
		*detail = "the body is larger than 4096 bytes";
		return 413;
	}
	if (!s->json) {
		*detail = "Content-Type must be application/json";
		return 415;
	}
	return 0;
}
