#include "protocol/parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEN = 1003, PIECE = 100, COUNT = 11 };

static uint8_t frame_bytes[LEN];
static uint8_t digest[32];

static struct f_part part(size_t index)
{
	struct frame f;
	parts_get(slice_of(frame_bytes, LEN), PIECE, 7, index, digest, &f);
	return f.part;
}

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN; i++)
		frame_bytes[i] = (uint8_t)(i * 7 + i / 256);
	parts_digest(slice_of(frame_bytes, LEN), digest);
	return 0;
}

static void test_counts(void **state)
{
	(void)state;
	assert_int_equal(parts_count(0, 10), 1);
	assert_int_equal(parts_count(1, 10), 1);
	assert_int_equal(parts_count(10, 10), 1);
	assert_int_equal(parts_count(11, 10), 2);
	assert_int_equal(parts_count(LEN, PIECE), COUNT);
	assert_int_equal(part(COUNT - 1).bytes.len, 3);
}

/* In any order, the last one first, some twice, each through its frame. */
static void test_any_order(void **state)
{
	(void)state;
	for (size_t step = 1; step < COUNT; step++) {
		struct f_part last = part(COUNT - 1);
		struct parts *p;
		struct err e;
		bool whole = false;
		assert_int_equal(parts_new(&p, &last, &e), 0);
		assert_int_equal(parts_cut(p), 7);
		for (size_t i = 0; i < COUNT; i++) {
			struct frame f = {.type = FRAME_PART, .part = part(i * step % COUNT)}, g;
			struct buf b = {.max = 4096};
			struct arena a = {.max = 1 << 20};
			assert_false(whole);
			assert_int_equal(frame_encode(&f, &b, &e), 0);
			assert_int_equal(frame_decode(buf_slice(&b), &a, &g, &e), 0);
			assert_int_equal(parts_add(p, &g.part, &whole, &e), 0);
			if (!whole)
				assert_int_equal(parts_add(p, &g.part, &whole, &e), 0);
			arena_free(&a);
			buf_free(&b);
		}
		assert_true(whole);
		assert_true(slice_eq(parts_frame(p), slice_of(frame_bytes, LEN)));
		parts_free(p);
	}
}

static void test_missing(void **state)
{
	struct f_part first = part(4);
	uint64_t missing[COUNT];
	struct parts *p;
	bool whole;
	(void)state;
	assert_int_equal(parts_new(&p, &first, NULL), 0);
	assert_int_equal(parts_missing(p, missing, COUNT), COUNT);
	assert_int_equal(parts_add(p, &first, &whole, NULL), 0);
	assert_int_equal(parts_missing(p, missing, COUNT), COUNT - 1);
	assert_int_equal(missing[3], 3);
	assert_int_equal(missing[4], 5);
	assert_int_equal(parts_missing(p, missing, 2), 2);
	assert_true(parts_bytes(p) >= LEN);
	parts_free(p);
}

static void test_contradictions(void **state)
{
	struct f_part first = part(0), other;
	struct parts *p;
	bool whole;
	(void)state;
	assert_int_equal(parts_new(&p, &first, NULL), 0);
	other = part(1);
	other.cut++;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	other = part(1);
	other.count++;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	other = part(1);
	other.size--;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	other = part(1);
	other.digest[31] ^= 1;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	other = part(1);
	other.bytes.len--;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	other = part(COUNT - 1);
	other.bytes.len--;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	other = part(1);
	other.index = COUNT;
	assert_int_equal(parts_add(p, &other, &whole, NULL), NE_PROTOCOL);
	assert_false(whole);
	parts_free(p);
}

static void test_what_does_not_add_up(void **state)
{
	struct parts *p;
	struct f_part f = part(0);
	(void)state;
	f.count = LIMIT_PARTS + 1;
	assert_int_equal(parts_new(&p, &f, NULL), NE_LIMIT);
	f = part(0);
	f.size = (uint64_t)LIMIT_FRAME + 1;
	assert_int_equal(parts_new(&p, &f, NULL), NE_LIMIT);
	f = part(0);
	f.count = 2;
	assert_int_equal(parts_new(&p, &f, NULL), NE_MALFORMED);
	f = part(COUNT - 1);
	f.size++;
	assert_int_equal(parts_new(&p, &f, NULL), NE_MALFORMED);
	f = part(0);
	f.count = 0;
	assert_int_equal(parts_new(&p, &f, NULL), NE_MALFORMED);
	f = part(0);
	f.bytes.len = 0;
	assert_int_equal(parts_new(&p, &f, NULL), NE_MALFORMED);
}

static void test_a_changed_byte_shows(void **state)
{
	struct f_part f = part(0);
	struct parts *p;
	uint8_t changed[PIECE];
	bool whole = false;
	int rc = 0;
	(void)state;
	assert_int_equal(parts_new(&p, &f, NULL), 0);
	memcpy(changed, f.bytes.at, PIECE);
	changed[5] ^= 1;
	for (size_t i = 0; i < COUNT && !rc; i++) {
		f = part(i);
		if (i == 0)
			f.bytes.at = changed;
		rc = parts_add(p, &f, &whole, NULL);
	}
	assert_int_equal(rc, NE_MALFORMED);
	assert_false(whole);
	parts_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_what_does_not_add_up),
		cmocka_unit_test(test_a_changed_byte_shows),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
