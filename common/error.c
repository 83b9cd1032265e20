#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	if (!e)
		return code;
	va_list args;
	va_start(args, fmt);
	e->code = code;
	vsnprintf(e->text, sizeof e->text, fmt, args);
	va_end(args);
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[sizeof e->text];
	char context[160];
	va_list args;

	if (!e)
		return NE_INTERNAL;
	memcpy(old, e->text, sizeof old);
	va_start(args, fmt);
	vsnprintf(context, sizeof context, fmt, args);
	va_end(args);
	int n = snprintf(e->text, sizeof e->text, "%s: ", context);
	snprintf(e->text + n, sizeof e->text - (size_t)n, "%s", old);
	return e->code;
}

enum ne_category ne_category(int code)
{
	return code > 0 && code < 600 ? (enum ne_category)(code / 100) : NE_CAT_NONE;
}

static const struct {
	int code;
	int exit_code;
	const char *name;
} known[] = {
	{NE_OK, 0, "ok"},
	{NE_BUSY, 3, "busy"},
	{NE_UNREACHABLE, 3, "unreachable"},
	{NE_TIMEOUT, 3, "timed out"},
	{NE_MALFORMED, 1, "malformed"},
	{NE_AUTH, 4, "not authorised"},
	{NE_CERT, 5, "certificate"},
	{NE_LIMIT, 1, "limit"},
	{NE_UNKNOWN_SHAPE, 1, "unknown shape"},
	{NE_PROTOCOL, 1, "protocol"},
	{NE_CORRUPT, 1, "corrupt"},
	{NE_CAPTURE, 10, "capture broken"},
	{NE_USAGE, 2, "usage"},
	{NE_NOT_FOUND, 8, "not found"},
	{NE_EXISTS, 2, "exists"},
	{NE_LOCKED, 7, "locked"},
	{NE_LOGIN, 4, "login required"},
	{NE_ROWS, 6, "rejected rows"},
	{NE_MEMORY, 1, "out of memory"},
	{NE_DISK, 9, "disk"},
	{NE_INTERNAL, 1, "internal"},
};

const char *ne_name(int code)
{
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i].code == code)
			return known[i].name;
	return "unknown error";
}

int ne_exit_code(int code)
{
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i].code == code)
			return known[i].exit_code;
	return 1;
}
