#include "backend/auth/strict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct header {
	const char *name, *value;
};

static int verdict(bool post, const struct header *h, size_t n)
{
	struct strict s = {0};
	const char *detail = NULL;

	for (size_t i = 0; i < n; i++)
		strict_header(&s, h[i].name, h[i].value);
	int status = strict_verdict(&s, post, 4096, &detail);
	assert_true(!status || detail);
	return status;
}

#define VERDICT(post, ...)                                  \
	verdict(post, (const struct header[]){__VA_ARGS__}, \
		sizeof((const struct header[]){__VA_ARGS__}) / sizeof(struct header))
#define TYPE                                       \
	{                                          \
		"Content-Type", "application/json" \
	}

static void ordinary_requests_pass(void **state)
{
	(void)state;
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "4096"}, {"Host", "x"}), 0);
	assert_int_equal(VERDICT(true, {"content-type", "application/JSON; charset=utf-8"},
				 {"content-length", "0"}),
			 0);
	assert_int_equal(VERDICT(false, {"Host", "x"}, {"Accept", "*/*"}), 0);
}

static void lengths_must_be_one_plain_number(void **state)
{
	(void)state;
	assert_int_equal(VERDICT(true, TYPE), 411);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "1"}, {"content-length", "1"}),
			 411);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", ""}), 400);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "+1"}), 400);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "1, 1"}), 400);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "0x10"}), 400);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", NULL}), 400);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "4097"}), 413);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "18446744073709551617"}), 413);
	assert_int_equal(VERDICT(false, {"Content-Length", "0"}), 400);
}

static void odd_names_are_refused(void **state)
{
	static const char *const name[] = {"Content-Length ",
					   "X Content-Length",
					   "Content-Length\t",
					   "Content-Lengths",
					   "",
					   "X:Y",
					   "X\x80"};

	(void)state;
	for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
		assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "2"}, {name[i], "2"}), 400);
}

static void transfer_encoding_is_refused(void **state)
{
	(void)state;
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "2"}, {"Transfer-Encoding", "x"}),
			 411);
	assert_int_equal(VERDICT(false, {"transfer-encoding", "chunked"}), 411);
	assert_int_equal(VERDICT(true, TYPE, {"Content-Length", "2"}, {"Transfer-Encodings", "x"}),
			 411);
}

static void only_json_is_taken(void **state)
{
	(void)state;
	assert_int_equal(VERDICT(true, {"Content-Length", "2"}), 415);
	assert_int_equal(VERDICT(true, {"Content-Length", "2"}, {"Content-Type", "text/plain"}),
			 415);
	assert_int_equal(
		VERDICT(true, {"Content-Length", "2"}, {"Content-Type", "application/jsonp"}), 415);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_requests_pass),
		cmocka_unit_test(lengths_must_be_one_plain_number),
		cmocka_unit_test(odd_names_are_refused),
		cmocka_unit_test(transfer_encoding_is_refused),
		cmocka_unit_test(only_json_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
