#include "backend/shell/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_name[] = {
	[LOG_INFO] = "info",
	[LOG_WARN] = "warn",
	[LOG_ERROR] = "error",
};

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[1024];
	struct timespec now;
	struct tm tm;
	va_list args;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ level=%s event=%s",
			      now.tv_nsec / 1000000, level_name[level], event);
	if (fmt[0]) {
		line[n++] = ' ';
		va_start(args, fmt);
		int more = vsnprintf(line + n, sizeof line - n - 1, fmt, args);
		va_end(args);
		if (more > 0)
			n += strlen(line + n);
	}
	line[n++] = '\n';
	/* A log that cannot be written is nothing the daemon could report anywhere. */
	ssize_t rc = write(STDERR_FILENO, line, n);
	(void)rc;
}

void log_err(enum log_level level, const char *event, const struct err *e)
{
	char text[sizeof e->text + 64];
	log_line(level, event, "error=\"%s\" text=%s", ne_name(e->code),
		 log_quote(e->text, text, sizeof text));
}

const char *log_quote(const char *text, char *out, size_t size)
{
	size_t n = 0;

	if (size < 4)
		return "\"\"";
	out[n++] = '"';
	for (; *text && n + 4 < size; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}
