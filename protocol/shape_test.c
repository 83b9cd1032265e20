#include "protocol/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/testing.h"
#include "protocol/vector_text.h"

static void test_vectors(void **state)
{
	json_t *v = load_vectors("shapes.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(v, "shapes"), i, one)
	{
		uint8_t bytes[1024];
		size_t len = hex_of(one, "hex", bytes, sizeof bytes);
		struct arena a = {.max = 1 << 20};
		struct buf text = {.max = 4096}, out = {.max = 4096};
		struct shape s, again;
		struct err e;
		assert_int_equal(shape_decode(slice_of(bytes, len), &a, &s, &e), 0);
		say_shape(&text, &s);
		assert_int_equal(buf_terminate(&text), 0);
		assert_string_equal((const char *)text.at, text_of(one, "says"));
		again = s;
		memset(&again.id, 0, sizeof again.id);
		assert_int_equal(shape_encode(&again, &out, &e), 0);
		assert_true(slice_eq(buf_slice(&out), slice_of(bytes, len)));
		assert_true(shape_id_eq(again.id, s.id));
		buf_free(&out);
		buf_free(&text);
		arena_free(&a);
	}
	assert_int_equal(i, 5);
	json_decref(v);
}

static void test_every_truncation_and_change_is_refused_or_valid(void **state)
{
	json_t *v = load_vectors("shapes.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(v, "shapes"), i, one)
	{
		uint8_t bytes[1024];
		size_t len = hex_of(one, "hex", bytes, sizeof bytes);
		struct shape s;
		struct arena a = {.max = 1 << 24};
		for (size_t n = 0; n < len; n++)
			assert_int_not_equal(shape_decode(slice_of(bytes, n), &a, &s, NULL), 0);
		for (size_t k = 0; k < len * 256; k++) {
			uint8_t was = bytes[k / 256];
			bytes[k / 256] = (uint8_t)k;
			if (!shape_decode(slice_of(bytes, len), &a, &s, NULL))
				assert_int_equal(shape_check(&s, NULL), 0);
			bytes[k / 256] = was;
			arena_free(&a);
		}
	}
	json_decref(v);
}

static struct shape_col key[] = {{{(const uint8_t *)"id", 2}, AFF_INTEGER, COLL_BINARY}};

static int check_name(const char *name, size_t len)
{
	struct shape s = {.name = slice_of(name, len), .n_key = 1, .key = key};
	return shape_check(&s, NULL);
}

static void test_names(void **state)
{
	static const char long_name[LIMIT_NAME + 2] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefx";
	(void)state;
	assert_int_equal(check_name("readings", 8), 0);
	assert_int_equal(check_name("\"; DROP TABLE x; --", 19),
			 0); /* quoted where it goes in SQL */
	assert_int_equal(check_name("select", 6), 0);
	assert_int_equal(check_name("\xc3\xa9", 2), 0);
	assert_int_equal(check_name(long_name, LIMIT_NAME), 0);
	assert_int_equal(check_name(long_name, LIMIT_NAME + 1), NE_LIMIT);
	assert_int_equal(check_name("", 0), NE_MALFORMED);
	assert_int_equal(check_name("a\0b", 3), NE_MALFORMED);
	assert_int_equal(check_name("a\nb", 3), NE_MALFORMED);
	assert_int_equal(check_name("a\xc2\x85", 3), NE_MALFORMED);
	assert_int_equal(check_name("a\x7f", 2), NE_MALFORMED);
	assert_int_equal(check_name("\xff", 1), NE_MALFORMED);
	assert_int_equal(check_name("SQLite_x", 8), NE_MALFORMED);
	assert_int_equal(check_name("Neap_x", 6), NE_MALFORMED);
	assert_int_equal(check_name("neap", 4), 0);
}

static void test_what_a_shape_may_not_be(void **state)
{
	struct shape_col two[] = {key[0], {{(const uint8_t *)"ID", 2}, AFF_TEXT, COLL_BINARY}};
	uint16_t cols[] = {0, 0}, far[] = {2};
	struct shape_unique twice = {2, cols}, outside = {1, far}, none = {0, cols};
	const struct shape good = {.name = slice_str("t"), .n_key = 1, .key = key};
	struct shape s = good;
	(void)state;
	assert_int_equal(shape_check(&s, NULL), 0);
	s.n_key = 0;
	assert_int_equal(shape_check(&s, NULL), NE_MALFORMED);
	s = good;
	s.n_col = 1;
	s.col = &two[1]; /* "id" and "ID" */
	assert_int_equal(shape_check(&s, NULL), NE_MALFORMED);
	s = good;
	s.key_is_number = true; /* of a merge table */
	assert_int_equal(shape_check(&s, NULL), NE_MALFORMED);
	s.kind = SHAPE_APPEND;
	s.direction = DIR_UP;
	assert_int_equal(shape_check(&s, NULL), 0);
	s.direction = DIR_BOTH;
	assert_int_equal(shape_check(&s, NULL), NE_MALFORMED);
	s = good;
	s.n_unique = 1;
	s.unique = &twice;
	assert_int_equal(shape_check(&s, NULL), NE_MALFORMED);
	s.unique = &outside;
	assert_int_equal(shape_check(&s, NULL), NE_MALFORMED);
	s.unique = &none;
	assert_int_equal(shape_check(&s, NULL), NE_LIMIT);
}

/* The eighth item is there only where it says something. */
static void test_uncompressed_is_said_in_one_way(void **state)
{
	struct shape s = {.name = slice_str("t"), .n_key = 1, .key = key}, back;
	struct buf plain = {.max = 1024}, b = {.max = 1024};
	struct arena a = {.max = 1 << 20};
	(void)state;
	assert_int_equal(shape_encode(&s, &plain, NULL), 0);
	s.uncompressed = true;
	assert_int_equal(shape_encode(&s, &b, NULL), 0);
	assert_int_equal(b.len, plain.len + 1);
	assert_int_equal(shape_decode(buf_slice(&b), &a, &back, NULL), 0);
	assert_true(back.uncompressed);
	b.at[b.len - 1] = 0;
	assert_int_equal(shape_decode(buf_slice(&b), &a, &back, NULL), NE_MALFORMED);
	b.at[b.len - 1] = 2;
	assert_int_equal(shape_decode(buf_slice(&b), &a, &back, NULL), NE_MALFORMED);
	buf_free(&plain);
	buf_free(&b);
	arena_free(&a);
}

static void test_limits(void **state)
{
	static struct shape_col col[LIMIT_COLUMNS];
	static char names[LIMIT_COLUMNS][8];
	struct shape s = {.name = slice_str("t"), .n_key = 1, .key = key, .col = col};
	struct buf out = {.max = 10};
	(void)state;
	for (size_t i = 0; i < LIMIT_COLUMNS; i++) {
		snprintf(names[i], sizeof names[i], "c%zu", i);
		col[i] = (struct shape_col){slice_str(names[i]), AFF_BLOB, COLL_BINARY};
	}
	s.n_col = LIMIT_COLUMNS - 1;
	assert_int_equal(shape_check(&s, NULL), 0);
	/* What does not fit leaves the buffer as it was. */
	assert_int_equal(shape_encode(&s, &out, NULL), NE_LIMIT);
	assert_int_equal(out.len, 0);
	buf_free(&out);
	s.n_col = LIMIT_COLUMNS;
	assert_int_equal(shape_check(&s, NULL), NE_LIMIT);
	s = (struct shape){.name = slice_str("t"), .n_key = LIMIT_KEY_COLUMNS + 1, .key = col};
	assert_int_equal(shape_check(&s, NULL), NE_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_truncation_and_change_is_refused_or_valid),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_what_a_shape_may_not_be),
		cmocka_unit_test(test_uncompressed_is_said_in_one_way),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
