/*
 * One line an event on stderr: time, level, event, then key=value pairs. Ids
 * and numbers go in as they are; free text only through log_quote. Never a
 * key, a token, a password or a row's values.
 */
#ifndef NEAP_BACKEND_SHELL_LOG_H
#define NEAP_BACKEND_SHELL_LOG_H

#include <stddef.h>

#include "common/error.h"

enum log_level {
	LOG_INFO,
	LOG_WARN,
	LOG_ERROR,
};

/* `fmt` gives the pairs, "" none. Whole lines: safe from several threads. */
void log_line(enum log_level level, const char *event, const char *fmt, ...) NEAP_PRINTF(3, 4);
/* error="<name>" text="<sentence>". */
void log_err(enum log_level level, const char *event, const struct err *e);
/* Writes `text` in double quotes, with what would break the line escaped; cut to `size`. */
const char *log_quote(const char *text, char *out, size_t size);

#endif
