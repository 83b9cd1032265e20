#include "protocol/base64url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_known(void **state)
{
	/* RFC 4648 section 10, and the two letters that differ from base64. */
	static const char *const pair[][2] = {{"", ""},
					      {"f", "Zg"},
					      {"fo", "Zm8"},
					      {"foo", "Zm9v"},
					      {"foob", "Zm9vYg"},
					      {"fooba", "Zm9vYmE"},
					      {"foobar", "Zm9vYmFy"},
					      {"\xfb\xff", "-_8"}};
	struct buf b = {.max = 100};
	(void)state;
	for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) {
		buf_clear(&b);
		assert_int_equal(base64url_encode(slice_str(pair[i][0]), &b), 0);
		assert_true(slice_eq(buf_slice(&b), slice_str(pair[i][1])));
		buf_clear(&b);
		assert_int_equal(base64url_decode(slice_str(pair[i][1]), &b), 0);
		assert_true(slice_eq(buf_slice(&b), slice_str(pair[i][0])));
	}
	buf_free(&b);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"Z",	  "Zg==", "Zg=", "Zh",	  "Zm9",  "Zm8\n",
					  " Zm8", "+_8",  "-/8", "Zm9vY", "Z\x80"};
	struct buf b = {.max = 100};
	(void)state;
	assert_int_equal(buf_put_u8(&b, 'x'), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(base64url_decode(slice_str(bad[i]), &b), NE_MALFORMED);
		assert_int_equal(b.len, 1);
	}
	assert_int_equal(base64url_decode(slice_of("Zm\0v", 4), &b), NE_MALFORMED);
	buf_free(&b);
}

static void test_every_length(void **state)
{
	uint8_t bytes[64];
	struct buf text = {.max = 200}, back = {.max = 200};
	(void)state;
	for (size_t n = 0; n <= sizeof bytes; n++) {
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(i * 37 + n);
		buf_clear(&text);
		buf_clear(&back);
		assert_int_equal(base64url_encode(slice_of(bytes, n), &text), 0);
		assert_int_equal(text.len, (n * 8 + 5) / 6);
		assert_int_equal(base64url_decode(buf_slice(&text), &back), 0);
		assert_true(slice_eq(buf_slice(&back), slice_of(bytes, n)));
	}
	buf_free(&text);
	buf_free(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_every_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
