#include "protocol/column_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void round_trip(struct slice text)
{
	struct buf b = {.max = 4096};
	uint8_t back[1024];
	assert_int_equal(text_code_put(&b, text), 0);
	assert_int_equal(b.len, (text_code_bits(text) + 7) / 8);
	assert_true(text_code_possible(text.len, b.len));
	assert_int_equal(buf_put(&b, "rest", 4), 0);
	struct slice in = buf_slice(&b);
	assert_int_equal(text_code_get(&in, back, text.len), 0);
	assert_true(slice_eq(slice_of(back, text.len), text));
	assert_true(slice_eq(in, slice_str("rest")));
	if (b.len > 4) {
		in = slice_of(b.at, b.len - 5);
		assert_int_equal(text_code_get(&in, back, text.len), NE_MALFORMED);
	}
	buf_free(&b);
}

static void test_round_trips(void **state)
{
	uint8_t all[256];
	(void)state;
	for (size_t i = 0; i < 256; i++) {
		all[i] = (uint8_t)i;
		round_trip(slice_of(&all[i], 1));
	}
	round_trip(slice_of(all, 256));
	round_trip(slice_str(""));
	round_trip(slice_str("pump-station-017"));
	round_trip(slice_str("Gr\xc3\xb6\xc3\x9f"
			     "e"));
}

/* As the document's table has it: these are part of the format. */
static void test_words(void **state)
{
	struct buf b = {.max = 100};
	(void)state;
	assert_int_equal(text_code_bits(slice_str("et")), 8);
	assert_int_equal(text_code_bits(slice_str("pump-station-017")), 85);
	assert_int_equal(text_code_bits(slice_str("\xff")), 12);
	assert_int_equal(text_code_put(&b, slice_str("temperature")), 0);
	assert_int_equal(b.len, 7);
	assert_memory_equal(b.at, "\x08\x4d\x0b\x86\x63\x67\x00", 7);
	buf_free(&b);
}

static void test_the_code_is_complete(void **state)
{
	double sum = 0;
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		uint8_t c = (uint8_t)i;
		sum += 1.0 / (double)((uint64_t)1 << text_code_bits(slice_of(&c, 1)));
	}
	assert_true(sum > 0.9999999 && sum < 1.0000001);
}

static void test_no_room(void **state)
{
	struct buf b = {.max = 3};
	(void)state;
	assert_int_equal(text_code_put(&b, slice_str("temperature")), NE_LIMIT);
	assert_int_equal(b.len, 0);
	assert_false(text_code_possible(10, 4));
	assert_true(text_code_possible(8, 4));
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_the_code_is_complete),
		cmocka_unit_test(test_no_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
