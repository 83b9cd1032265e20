#include "protocol/context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_bytes(void **state)
{
	struct context c = {0};
	const uint8_t want[] = {0x85, 0x62, 'a', 'b', 0x19, 0x01, 0x00, 0xf6, 0x42, 1, 2, 0xa0};
	(void)state;
	context_array(&c, 5);
	context_text(&c, "ab");
	context_uint(&c, 256);
	context_null(&c);
	context_bytes(&c, slice_of("\1\2", 2));
	context_map(&c, 0);
	assert_false(c.full);
	assert_true(slice_eq(context_slice(&c), slice_of(want, sizeof want)));
}

static void test_full_stays_full(void **state)
{
	struct context c = {0};
	char s[CONTEXT_MAX];
	(void)state;
	memset(s, 'x', sizeof s);
	context_text_slice(&c, slice_of(s, CONTEXT_MAX - 3)); /* exactly: a head of three bytes */
	assert_false(c.full);
	assert_int_equal(c.len, CONTEXT_MAX);
	context_uint(&c, 1);
	assert_true(c.full);

	struct context d = {0};
	context_text_slice(&d, slice_of(s, CONTEXT_MAX - 2));
	assert_true(d.full);
	size_t len = d.len;
	context_uint(&d, 1);
	assert_int_equal(d.len, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_full_stays_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
