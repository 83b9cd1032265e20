#include "protocol/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_valid(void **state)
{
	const char *good[] = {"a", "9", "A.b_c-d", "alice", "neapd2", "Server", "0..", "x_"};
	const char *bad[] = {"",	 ".",	"..",  "-a",	"_a",	  "a/b",
			     "a b",	 "a#",	"a+b", "neapd", "server", "$neapd",
			     "\xc3\xa9", "a\n", "a:",  ".a",	"changes"};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(id_valid(slice_str(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(id_valid(slice_str(bad[i])));
	assert_false(id_valid(slice_of("a\0b", 3)));
}

static void test_length(void **state)
{
	char s[66];
	struct id id;
	struct err e;
	(void)state;
	memset(s, 'x', sizeof s);
	assert_true(id_valid(slice_of(s, 64)));
	assert_false(id_valid(slice_of(s, 65)));
	assert_int_equal(id_set(&id, slice_of(s, 64), "user", &e), 0);
	assert_int_equal(strlen(id.at), 64);
}

static void test_set(void **state)
{
	struct id id;
	struct err e;
	(void)state;
	memset(&id, 'z', sizeof id);
	assert_int_equal(id_set(&id, slice_str("a/b"), "device id", &e), NE_MALFORMED);
	assert_non_null(strstr(e.text, "device id"));
	assert_int_equal(id.at[0], 'z');
	assert_int_equal(id_set(&id, slice_str("ab"), "device id", &e), 0);
	assert_true(slice_eq(id_slice(&id), slice_str("ab")));
	for (size_t i = 2; i < sizeof id.at; i++) /* ids may be compared as memory */
		assert_int_equal(id.at[i], 0);
}

static void test_shard(void **state)
{
	(void)state;
	/* SHA-256("alice") = 2bd806c9… */
	assert_int_equal(id_shard(slice_str("alice")), 0x2b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_shard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
