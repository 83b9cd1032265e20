#include "protocol/value.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct val integer(int64_t i)
{
	return (struct val){.type = VAL_INT, .i = i};
}

static struct val real(double r)
{
	return (struct val){.type = VAL_REAL, .r = r};
}

static struct val bytes(enum val_type type, const char *at, size_t len)
{
	return (struct val){.type = type, .s = slice_of(at, len)};
}

/* Each is less than all after it. */
static size_t in_order(struct val *v)
{
	size_t n = 0;
	v[n++] = (struct val){.type = VAL_NULL};
	v[n++] = integer(INT64_MIN);
	v[n++] = integer(-1);
	v[n++] = integer(INT64_MAX);
	v[n++] = real(-INFINITY);
	v[n++] = real(-1.5);
	v[n++] = real(-0.0);
	v[n++] = real(0.0);
	v[n++] = real(5e-324);
	v[n++] = real(INFINITY);
	v[n++] = bytes(VAL_TEXT, "", 0);
	v[n++] = bytes(VAL_TEXT, "A", 1);
	v[n++] = bytes(VAL_TEXT, "a", 1);
	v[n++] = bytes(VAL_TEXT, "a\0", 2);
	v[n++] = bytes(VAL_TEXT, "\xc3\xa9", 2);
	v[n++] = bytes(VAL_BLOB, "", 0);
	v[n++] = bytes(VAL_BLOB, "\0", 1);
	return n;
}

static void test_order_and_equality(void **state)
{
	struct val v[32];
	size_t n = in_order(v);
	(void)state;
	for (size_t a = 0; a < n; a++)
		for (size_t b = 0; b < n; b++) {
			int c = val_cmp(&v[a], &v[b]);
			assert_int_equal((c > 0) - (c < 0), (a > b) - (a < b));
			assert_int_equal(val_eq(&v[a], &v[b]), a == b);
		}
}

static void test_sizes(void **state)
{
	struct val null = {.type = VAL_NULL}, i = integer(1), t = bytes(VAL_TEXT, "abc", 3);
	(void)state;
	assert_int_equal(val_size(&null), 8);
	assert_int_equal(val_size(&i), 8);
	assert_int_equal(val_size(&t), 3);
}

/* Through SQLite and back; an empty blob stays a blob, an empty text a text. */
static void test_bind_and_read(void **state)
{
	struct val v[32];
	size_t n = in_order(v);
	sqlite3 *db;
	sqlite3_stmt *s;
	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT ?1", -1, &s, NULL), SQLITE_OK);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(val_bind(s, 1, &v[i]), SQLITE_OK);
		assert_int_equal(sqlite3_step(s), SQLITE_ROW);
		struct val back = val_column(s, 0);
		assert_true(val_eq(&back, &v[i]));
		sqlite3_reset(s);
	}
	sqlite3_finalize(s);
	sqlite3_close(db);
}

static void test_copies_are_deep(void **state)
{
	char text[] = "text";
	struct arena a = {.max = 1000};
	struct val v = bytes(VAL_TEXT, text, 4), none = bytes(VAL_BLOB, NULL, 0), copy;
	struct val large = {.type = VAL_BLOB, .s = slice_of(text, 2000)};
	(void)state;
	assert_true(val_copy(&a, &v, &copy));
	text[0] = 'T';
	assert_memory_equal(copy.s.at, "text", 4);
	assert_true(val_copy(&a, &none, &copy));
	assert_int_equal(copy.s.len, 0);
	assert_false(val_copy(&a, &large, &copy));
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_equality),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bind_and_read),
		cmocka_unit_test(test_copies_are_deep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
