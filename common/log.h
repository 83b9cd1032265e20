/*
 * One line an event on stderr: time, level, event, then key=value pairs. Ids
 * and numbers go in as they are; what a stranger chose, and free text, only
 * through log_quote. Never a key, a token, a password or a row's values.
 */
#ifndef NEAP_COMMON_LOG_H
#define NEAP_COMMON_LOG_H

#include <stddef.h>
#include <stdint.h>

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
/*
 * Writes `text` in double quotes, cut to `size`. Only printable ASCII stands as it is: `"` and `\`
 * get a backslash, every other byte is \xHH, so nothing in `text` can end the value or the line.
 */
const char *log_quote(const char *text, char *out, size_t size);

/*
 * A line of the audit trail, which strangers can cause: at most LOG_SOURCE_LINES of an event from
 * one source, and LOG_EVENT_LINES of an event, in LOG_WINDOW_MS. The next line of that event and
 * source that goes out tells how many did not: held_back=N.
 */
void log_audit(enum log_level level, const char *event, const char *source, const char *fmt, ...)
	NEAP_PRINTF(4, 5);

enum {
	LOG_WINDOW_MS = 10000,
	LOG_SOURCE_LINES = 10,
	LOG_EVENT_LINES = 200,
	LOG_SLOTS = 2048, /* of sources; an older one gives way, its count goes to the event's */
	LOG_EVENTS = 64,  /* kinds; further ones share the last */
};

struct log_limit {
	uint64_t seed; /* so that nobody can choose names that share a slot */
	struct log_slot {
		uint64_t key; /* 0: empty */
		uint64_t since_ms;
		uint32_t lines, held;
		uint32_t of; /* a source: which event */
	} source[LOG_SLOTS], event[LOG_EVENTS];
};
/* Whether a line may go out now; *held: how many of its kind were held back before it. */
bool log_limit_take(struct log_limit *l, const char *event, const char *source, uint64_t now_ms,
		    uint32_t *held);

#endif
