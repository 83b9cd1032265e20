#include "common/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static const char *const level_name[] = {
	[LOG_INFO] = "info",
	[LOG_WARN] = "warn",
	[LOG_ERROR] = "error",
};

/* `tail` is put behind the pairs. */
static void write_line(enum log_level level, const char *event, const char *tail, const char *fmt,
		       va_list args)
{
	char line[2048];
	struct timespec now;
	struct tm tm;
	size_t most = sizeof line - strlen(tail) - 1; /* for the end of the line */

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(line, most, "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, most - n, ".%03ldZ level=%s event=%s",
			      now.tv_nsec / 1000000, level_name[level], event);
	if (fmt[0]) {
		line[n++] = ' ';
		if (vsnprintf(line + n, most - n, fmt, args) > 0)
			n += strlen(line + n);
	}
	n += (size_t)snprintf(line + n, sizeof line - n, "%s\n", tail);
	/* A log that cannot be written is nothing the daemon could report anywhere. */
	ssize_t rc = write(STDERR_FILENO, line, n);
	(void)rc;
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(level, event, "", fmt, args);
	va_end(args);
}

void log_err(enum log_level level, const char *event, const struct err *e)
{
	char text[4 * sizeof e->text];
	log_line(level, event, "error=\"%s\" text=%s", ne_name(e->code),
		 log_quote(e->text, text, sizeof text));
}

const char *log_quote(const char *text, char *out, size_t size)
{
	size_t n = 0;

	if (size < 8)
		return "\"\"";
	out[n++] = '"';
	for (; *text && n + 6 < size; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c >= 0x7f) {
			n += (size_t)snprintf(out + n, size - n, "\\x%02x", (unsigned)c);
			continue;
		}
		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = (char)c;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

/* FNV-1a, closed by a mix; never 0. */
static uint64_t hash(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	h = (h ^ (h >> 32)) * UINT64_C(0x9E3779B97F4A7C15);
	return h ? h : 1;
}

static struct log_slot *event_slot(struct log_limit *l, uint64_t key)
{
	for (size_t i = 0; i < LOG_EVENTS - 1; i++) {
		if (!l->event[i].key)
			l->event[i].key = key;
		if (l->event[i].key == key)
			return &l->event[i];
	}
	return &l->event[LOG_EVENTS - 1];
}

static void begin_window(struct log_slot *s, uint64_t now_ms)
{
	if (s->lines && now_ms - s->since_ms < LOG_WINDOW_MS)
		return;
	s->since_ms = now_ms;
	s->lines = 0;
}

bool log_limit_take(struct log_limit *l, const char *event, const char *source, uint64_t now_ms,
		    uint32_t *held)
{
	uint64_t key = hash(l->seed, event);
	struct log_slot *all = event_slot(l, key);

	key = hash(key, source);
	struct log_slot *one = &l->source[key % LOG_SLOTS];
	if (one->key != key) {
		l->event[one->of].held += one->held;
		*one = (struct log_slot){.key = key, .of = (uint32_t)(all - l->event)};
	}
	begin_window(all, now_ms);
	begin_window(one, now_ms);
	if (one->lines >= LOG_SOURCE_LINES || all->lines >= LOG_EVENT_LINES) {
		one->held++;
		return false;
	}
	one->lines++;
	all->lines++;
	*held = one->held + all->held;
	one->held = all->held = 0;
	return true;
}

static struct log_limit limit;
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

void log_audit(enum log_level level, const char *event, const char *source, const char *fmt, ...)
{
	struct timespec now;
	uint32_t held = 0;
	char tail[32] = "";
	va_list args;

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&limit_lock);
	/* Without randomness the slots could be guessed: lines get held back, nothing worse. */
	while (!limit.seed && getrandom(&limit.seed, sizeof limit.seed, 0) < 0)
		limit.seed = 1;
	bool go = log_limit_take(&limit, event, source,
				 (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
				 &held);
	pthread_mutex_unlock(&limit_lock);
	if (!go)
		return;
	if (held)
		snprintf(tail, sizeof tail, " held_back=%u", held);
	va_start(args, fmt);
	write_line(level, event, tail, fmt, args);
	va_end(args);
}
