#include "protocol/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/cbor_write.h"
#include "protocol/testing.h"
#include "protocol/vector_text.h"

enum { VECTOR_MAX = 4096, TEXT_MAX = 65536 };

static int decode(struct slice plain, struct arena *a, struct frame *f)
{
	struct err e;
	return frame_decode(plain, a, f, &e);
}

static void assert_says(const json_t *vector, const struct frame *f)
{
	struct buf text = {.max = TEXT_MAX};
	say_frame(&text, f);
	assert_int_equal(buf_terminate(&text), 0);
	assert_string_equal((const char *)text.at, text_of(vector, "says"));
	buf_free(&text);
}

/* Each vector says what its description says, and encodes to the same bytes again. */
static void test_vectors(void **state)
{
	json_t *v = load_vectors("frames.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(v, "frames"), i, one)
	{
		uint8_t bytes[VECTOR_MAX];
		size_t len = hex_of(one, "hex", bytes, sizeof bytes);
		struct arena a = {.max = LIMIT_DECODED};
		struct buf out = {.max = LIMIT_FRAME};
		struct frame f;
		struct err e;
		print_message("frame: %s\n", text_of(one, "name"));
		assert_int_equal(frame_decode(slice_of(bytes, len), &a, &f, &e), 0);
		memset(bytes, 0xaa, len / 2); /* nothing points there */
		assert_says(one, &f);
		assert_int_equal(frame_encode(&f, &out, &e), 0);
		assert_int_equal(json_is_true(json_object_get(one, "compressed")), out.at[0] == 1);
		hex_of(one, "hex", bytes, sizeof bytes);
		if (out.at[0] != 1)
			assert_true(slice_eq(buf_slice(&out), slice_of(bytes, len)));
		buf_free(&out);
		arena_free(&a);
	}
	assert_in_range(i, 25, 100);
	json_decref(v);
}

static void try_changes(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t was = bytes[i];
		for (unsigned change = 1; change < 256; change++) {
			struct arena a = {.max = LIMIT_DECODED};
			struct buf out = {.max = LIMIT_FRAME};
			struct frame f;
			bytes[i] = (uint8_t)(was ^ change);
			/* What is accepted is a frame like any other. */
			if (!decode(slice_of(bytes, len), &a, &f))
				assert_int_equal(frame_encode(&f, &out, NULL), 0);
			buf_free(&out);
			arena_free(&a);
		}
		bytes[i] = was;
	}
}

static void test_every_truncation_and_change_is_refused_or_valid(void **state)
{
	json_t *v = load_vectors("frames.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(v, "frames"), i, one)
	{
		static uint8_t buffer[VECTOR_MAX];
		size_t len = hex_of(one, "hex", buffer, sizeof buffer);
		for (size_t n = 0; n < len; n++) {
			/* On the heap and no longer than it is: a sanitizer sees a byte too far. */
			uint8_t *bytes = malloc(n + 1);
			struct arena a = {.max = LIMIT_DECODED};
			struct frame f;
			assert_non_null(bytes);
			memcpy(bytes, buffer, n);
			assert_int_not_equal(decode(slice_of(bytes, n), &a, &f), 0);
			arena_free(&a);
			free(bytes);
		}
		try_changes(buffer, len);
	}
	json_decref(v);
}

static int decode_hex(const char *hex)
{
	json_t *o = json_pack("{s:s}", "hex", hex);
	uint8_t bytes[256];
	size_t len = hex_of(o, "hex", bytes, sizeof bytes);
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f;
	int rc = decode(slice_of(bytes, len), &a, &f);
	arena_free(&a);
	json_decref(o);
	return rc;
}

static void a_pull_of_one_table_is_behind_the_cursor(void **state)
{
	(void)state;
	assert_int_equal(
		decode_hex("8904186401861b11223344556677881b0123456789abcdef1829000000401a00"
			   "0100001829076174"),
		0);
	assert_int_equal(
		decode_hex("8904186401861b11223344556677881b0123456789abcdef1829000000401a00"
			   "010000182918296174"),
		NE_MALFORMED); /* nothing is asked for */
	assert_int_equal(
		decode_hex("8904186401861b11223344556677881b0123456789abcdef1829000000401a00"
			   "010000182a076174"),
		NE_MALFORMED); /* upto above the cursor */
	assert_int_equal(
		decode_hex("8904186401861b11223344556677881b0123456789abcdef1829000100401a00"
			   "0100001829076174"),
		NE_MALFORMED); /* in a full pull */
	assert_int_equal(
		decode_hex("8904186401861b11223344556677881b0123456789abcdef1829000000401a00"
			   "01000018290760"),
		NE_MALFORMED); /* no name */
}

static void test_what_a_frame_may_not_be(void **state)
{
	(void)state;
	assert_int_equal(decode_hex("82130a"), 0); /* busy, as it should be */
	assert_int_equal(decode_hex(""), NE_MALFORMED);
	assert_int_equal(decode_hex("82130a00"), NE_MALFORMED);	  /* a byte behind it */
	assert_int_equal(decode_hex("83130a00"), NE_MALFORMED);	  /* a field too many */
	assert_int_equal(decode_hex("8113"), NE_MALFORMED);	  /* one too few */
	assert_int_equal(decode_hex("8213180a"), NE_MALFORMED);	  /* not the shortest 10 */
	assert_int_equal(decode_hex("8218130a"), NE_MALFORMED);	  /* not the shortest 19 */
	assert_int_equal(decode_hex("9802130a"), NE_MALFORMED);	  /* not the shortest array */
	assert_int_equal(decode_hex("9f130aff"), NE_MALFORMED);	  /* indefinite */
	assert_int_equal(decode_hex("821329"), NE_MALFORMED);	  /* negative */
	assert_int_equal(decode_hex("8213f97e00"), NE_MALFORMED); /* a float */
	assert_int_equal(decode_hex("82131b8000000000000000"), NE_MALFORMED); /* 2^63 */
	assert_int_equal(decode_hex("82131b7fffffffffffffff"), 0);
	assert_int_equal(decode_hex("82090a"), NE_MALFORMED); /* no such type */
	assert_int_equal(decode_hex("8222"
				    "0a"),
			 NE_MALFORMED);
	assert_int_equal(decode_hex("82131a40000000"), 0);
	assert_int_equal(decode_hex("82059a40000000"), NE_MALFORMED); /* an array of 2^30 */
	assert_int_equal(decode_hex("82055f4100ff"), NE_MALFORMED);
	assert_int_equal(decode_hex("8205a0"), NE_MALFORMED);	/* a map */
	assert_int_equal(decode_hex("c182130a"), NE_MALFORMED); /* a tag */
	assert_int_equal(decode_hex("01"), NE_MALFORMED);	/* compressed, but nothing */
	assert_int_equal(decode_hex("00"), NE_MALFORMED);
}

static void test_what_a_verify_and_a_digest_may_not_be(void **state)
{
	(void)state;
	assert_int_equal(decode_hex("880601860102030000004800000000000000000040f640"),
			 NE_MALFORMED);
	assert_int_equal(decode_hex("88060186010203000000480000000000000000"
				    "00"
				    "404040"),
			 0);
	assert_int_equal(decode_hex("88060186010203000000480000000000000000"
				    "02"
				    "404040"),
			 NE_MALFORMED); /* whole is a flag */
	assert_int_equal(decode_hex("8806018601020300000040"
				    "00"
				    "404040"),
			 NE_MALFORMED); /* no id */
	assert_int_equal(decode_hex("8806018601020300000050"
				    "00000000000000000000000000000000"
				    "00"
				    "404040"),
			 NE_MALFORMED); /* two */
	assert_int_equal(decode_hex("8b181a0101010100"
				    "40"
				    "00"
				    "50"
				    "00000000000000000000000000000000"
				    "4040"),
			 0);
	assert_int_equal(decode_hex("8b181a0101010103"
				    "40"
				    "00"
				    "50"
				    "00000000000000000000000000000000"
				    "4040"),
			 NE_MALFORMED); /* no such status */
	assert_int_equal(decode_hex("8b181a0101010100"
				    "40"
				    "00"
				    "4f"
				    "000000000000000000000000000000"
				    "4040"),
			 NE_MALFORMED); /* a sum of 15 bytes */
	assert_int_equal(decode_hex("8b181a0100010100"
				    "40"
				    "00"
				    "50"
				    "00000000000000000000000000000000"
				    "4040"),
			 NE_MALFORMED); /* no store */
}

static void test_nesting_has_an_end(void **state)
{
	static uint8_t deep[1000000];
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f;
	(void)state;
	memset(deep, 0x81, sizeof deep);
	deep[0] = 0x82;
	deep[1] = FRAME_DECLARE;
	assert_int_equal(decode(slice_of(deep, sizeof deep), &a, &f), NE_MALFORMED);
	arena_free(&a);
}

static struct frame set_of(struct slice rows)
{
	return (struct frame){.type = FRAME_SET,
			      .set = {.site = 1, .number = 1, .cut = 1, .rows = rows}};
}

static void test_a_large_frame_is_compressed_in_slices(void **state)
{
	const size_t len = 3 * LIMIT_SLICE + 17;
	uint8_t *rows = malloc(len);
	struct buf out = {.max = LIMIT_FRAME};
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f, back;
	struct err e;
	(void)state;
	assert_non_null(rows);
	for (size_t i = 0; i < len; i++)
		rows[i] = (uint8_t)(i / 100);
	f = set_of(slice_of(rows, len));
	assert_int_equal(frame_encode(&f, &out, &e), 0);
	assert_int_equal(out.at[0], 1);
	assert_in_range(out.len, 1, len / 20);
	assert_int_equal(frame_decode(buf_slice(&out), &a, &back, &e), 0);
	assert_true(slice_eq(back.set.rows, f.set.rows));
	arena_free(&a);
	/* An arena too small is a limit, not a crash. */
	a.max = len / 2;
	assert_int_equal(decode(buf_slice(&out), &a, &back), NE_MEMORY);
	arena_free(&a);
	buf_free(&out);
	free(rows);
}

static void test_a_frame_may_be_left_plain(void **state)
{
	uint8_t rows[4096] = {0};
	struct buf out = {.max = LIMIT_FRAME};
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f = set_of(slice_of(rows, sizeof rows)), back;
	struct err e;
	(void)state;
	f.uncompressed = true;
	assert_int_equal(frame_encode(&f, &out, &e), 0);
	assert_in_range(out.len, sizeof rows, sizeof rows + 32);
	assert_int_equal(frame_decode(buf_slice(&out), &a, &back, &e), 0);
	assert_true(slice_eq(back.set.rows, f.set.rows));
	assert_false(back.uncompressed);
	arena_free(&a);
	buf_free(&out);
}

static void test_limits_when_encoding(void **state)
{
	struct buf out = {.max = 40};
	struct err e;
	uint8_t rows[64] = {0};
	struct frame f = set_of(slice_of(rows, sizeof rows));
	(void)state;
	assert_int_equal(buf_put(&out, "before", 6), 0);
	assert_int_equal(frame_encode(&f, &out, &e), NE_LIMIT);
	assert_int_equal(out.len, 6);
	f = set_of(slice_of(rows, 1));
	f.set.cut = (uint64_t)INT64_MAX + 1;
	assert_int_equal(frame_encode(&f, &out, &e), NE_USAGE);
	assert_int_equal(out.len, 6);
	buf_free(&out);
}

static void test_too_many_of_something(void **state)
{
	struct buf b = {.max = 1 << 20};
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f;
	(void)state;
	/* 2049 missing parts */
	assert_int_equal(cbor_put_array(&b, 3), 0);
	assert_int_equal(cbor_put_uint(&b, FRAME_RECEIPT), 0);
	assert_int_equal(cbor_put_uint(&b, 1), 0);
	assert_int_equal(cbor_put_array(&b, LIMIT_PARTS + 1), 0);
	for (size_t i = 0; i <= LIMIT_PARTS; i++)
		assert_int_equal(cbor_put_uint(&b, i), 0);
	assert_int_equal(decode(buf_slice(&b), &a, &f), NE_LIMIT);
	/* 129 tables */
	buf_clear(&b);
	assert_int_equal(cbor_put_array(&b, 2), 0);
	assert_int_equal(cbor_put_uint(&b, FRAME_DECLARE), 0);
	assert_int_equal(cbor_put_array(&b, LIMIT_TABLES + 1), 0);
	for (size_t i = 0; i <= LIMIT_TABLES; i++)
		assert_int_equal(cbor_put_bytes(&b, slice_str("")), 0);
	assert_int_equal(decode(buf_slice(&b), &a, &f), NE_LIMIT);
	buf_free(&b);
	arena_free(&a);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(frame_name(FRAME_SET), "set");
	assert_string_equal(frame_name((enum frame_type)9), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pull_of_one_table_is_behind_the_cursor),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_truncation_and_change_is_refused_or_valid),
		cmocka_unit_test(test_what_a_frame_may_not_be),
		cmocka_unit_test(test_what_a_verify_and_a_digest_may_not_be),
		cmocka_unit_test(test_nesting_has_an_end),
		cmocka_unit_test(test_a_large_frame_is_compressed_in_slices),
		cmocka_unit_test(test_a_frame_may_be_left_plain),
		cmocka_unit_test(test_limits_when_encoding),
		cmocka_unit_test(test_too_many_of_something),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
