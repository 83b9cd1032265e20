/* What goes to the log cannot forge a line of it, nor fill it. */
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void a_hostile_name_stays_in_its_quotes(void **unused)
{
	char out[256], small[16];

	(void)unused;
	assert_string_equal(log_quote("anna", out, sizeof out), "\"anna\"");
	assert_string_equal(log_quote("a\" level=info event=login user=\"root", out, sizeof out),
			    "\"a\\\" level=info event=login user=\\\"root\"");
	assert_string_equal(log_quote("a\n2026-01-01 x\r\x1b[2J\x7f\\", out, sizeof out),
			    "\"a\\x0a2026-01-01 x\\x0d\\x1b[2J\\x7f\\\\\"");
	/* NEL, and the line separator of Unicode */
	assert_string_equal(log_quote("\xc2\x85\xe2\x80\xa8", out, sizeof out),
			    "\"\\xc2\\x85\\xe2\\x80\\xa8\"");
	for (size_t size = 0; size < sizeof small; size++) {
		const char *q = log_quote("\n\n\"\"\\\\\n\n\n\n\n", small, size);
		size_t len = strlen(q);
		assert_true(len >= 2 && (len < size || size < 8));
		assert_true(q[0] == '"' && q[len - 1] == '"');
	}
}

/* What log_audit writes to stderr. */
static size_t lines_of(char *text, size_t size, int count, const char *source)
{
	int fds[2], saved = dup(STDERR_FILENO);
	size_t lines = 0;

	assert_int_equal(pipe(fds), 0);
	fflush(stderr);
	dup2(fds[1], STDERR_FILENO);
	for (int i = 0; i < count; i++)
		log_audit(LOG_WARN, "tried", source, "n=%d", i);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	ssize_t n = read(fds[0], text, size - 1);
	close(fds[0]);
	text[n > 0 ? n : 0] = '\0';
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	return lines;
}

static void a_flood_is_bounded_and_others_are_seen(void **unused)
{
	char text[8192];

	(void)unused;
	assert_int_equal(lines_of(text, sizeof text, 500, "10.0.0.1"), LOG_SOURCE_LINES);
	assert_non_null(strstr(text, "level=warn event=tried n=9\n"));
	assert_int_equal(lines_of(text, sizeof text, 1, "10.0.0.2"), 1);
}

static void what_was_held_back_is_counted(void **unused)
{
	struct log_limit *l = calloc(1, sizeof *l);
	uint32_t held = 0;
	int out = 0;

	(void)unused;
	assert_non_null(l);
	for (int i = 0; i < 100; i++)
		out += log_limit_take(l, "refused", "a", 1000, &held);
	assert_int_equal(out, LOG_SOURCE_LINES);
	assert_true(log_limit_take(l, "refused", "b", 1000, &held));
	assert_int_equal(held, 0);
	assert_true(log_limit_take(l, "login", "a", 1000, &held));
	assert_false(log_limit_take(l, "refused", "a", 1000 + LOG_WINDOW_MS - 1, &held));
	assert_true(log_limit_take(l, "refused", "a", 1000 + LOG_WINDOW_MS, &held));
	assert_int_equal(held, 100 - LOG_SOURCE_LINES + 1);
	assert_true(log_limit_take(l, "refused", "a", 1001 + LOG_WINDOW_MS, &held));
	assert_int_equal(held, 0);
	free(l);
}

/* Sources are cheap for a stranger; kinds of events are ours. */
static void many_sources_share_a_bound(void **unused)
{
	struct log_limit *l = calloc(1, sizeof *l);
	uint64_t out = 0, told = 0;
	uint32_t held = 0;
	char source[16];

	(void)unused;
	assert_non_null(l);
	for (int i = 0; i < 100000; i++) {
		snprintf(source, sizeof source, "%d", i);
		held = 0;
		out += log_limit_take(l, "refused", source, 1, &held);
		told += held;
	}
	assert_int_equal(out, LOG_EVENT_LINES);
	assert_true(log_limit_take(l, "login", "1", 1, &held));
	/* Of sources that gave way to others, too. */
	assert_true(log_limit_take(l, "refused", "new", 1 + LOG_WINDOW_MS, &held));
	told += held;
	for (size_t i = 0; i < LOG_SLOTS; i++)
		told += l->source[i].held;
	assert_int_equal(out + told, 100000);
	free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hostile_name_stays_in_its_quotes),
		cmocka_unit_test(a_flood_is_bounded_and_others_are_seen),
		cmocka_unit_test(what_was_held_back_is_counted),
		cmocka_unit_test(many_sources_share_a_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
