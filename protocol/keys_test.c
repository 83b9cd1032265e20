#include "protocol/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/testing.h"

static void test_vectors(void **state)
{
	json_t *v = load_vectors("keys.json"), *one;
	struct key master;
	size_t i;
	(void)state;
	assert_int_equal(hex_of(v, "master", master.at, KEY_LEN), KEY_LEN);
	json_array_foreach(json_object_get(v, "keys"), i, one)
	{
		struct key want, got;
		struct err e;
		bool message = strcmp(text_of(one, "purpose"), "message") == 0;
		hex_of(one, "key", want.at, KEY_LEN);
		assert_int_equal(key_derive(&master, (uint32_t)uint_of(one, "master_id"),
					    message ? KEY_MESSAGE : KEY_GROUP,
					    slice_str(text_of(one, "user")),
					    slice_str(text_of(one, "device")),
					    (uint32_t)uint_of(one, "epoch"), &got, &e),
				 0);
		assert_memory_equal(got.at, want.at, KEY_LEN);
	}
	assert_true(i >= 4);
	json_decref(v);
}

static void test_subkey_vectors(void **state)
{
	json_t *v = load_vectors("seal.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(v, "seals"), i, one)
	{
		struct key key, want, got;
		uint8_t sid[SID_LEN];
		struct err e;
		int kind = SEAL_UP;
		hex_of(one, "key", key.at, KEY_LEN);
		hex_of(one, "subkey", want.at, KEY_LEN);
		hex_of(one, "sid", sid, SID_LEN);
		while (strcmp(seal_kind_name((enum seal_kind)kind), text_of(one, "kind")) != 0)
			kind++;
		assert_int_equal(key_subkey(&key, (enum seal_kind)kind,
					    slice_str(text_of(one, "user")),
					    slice_str(text_of(one, "peer")), sid, &got, &e),
				 0);
		assert_memory_equal(got.at, want.at, KEY_LEN);
	}
	assert_int_equal(i, 5);
	json_decref(v);
}

/* Moving a letter from one id to the next must give another key. */
static void test_infos_do_not_run_together(void **state)
{
	struct key master = {{1}}, a, b;
	struct err e;
	(void)state;
	assert_int_equal(
		key_derive(&master, 1, KEY_MESSAGE, slice_str("ab"), slice_str("c"), 5, &a, &e), 0);
	assert_int_equal(
		key_derive(&master, 1, KEY_MESSAGE, slice_str("a"), slice_str("bc"), 5, &b, &e), 0);
	assert_memory_not_equal(a.at, b.at, KEY_LEN);
}

static void test_too_long_is_refused(void **state)
{
	struct key master = {{1}}, out = {{9}};
	uint8_t text[600] = {'x'};
	struct err e;
	(void)state;
	assert_int_equal(key_derive(&master, 1, KEY_GROUP, slice_of(text, sizeof text),
				    slice_str(""), 5, &out, &e),
			 NE_INTERNAL);
	assert_int_equal(out.at[0], 9);
	key_wipe(&out);
	assert_int_equal(out.at[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_subkey_vectors),
		cmocka_unit_test(test_infos_do_not_run_together),
		cmocka_unit_test(test_too_long_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
