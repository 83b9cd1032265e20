#include "broker-config/neap_auth_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { MANY = 5000 };

static bool odd(void *ctx, struct entry *e)
{
	size_t *seen = ctx;
	++*seen;
	return e->iat % 2 == 1;
}

static void keeps_many_and_sweeps_some(void **unused)
{
	struct table *t;
	struct entry *e;
	char key[32];
	size_t seen = 0;

	(void)unused;
	assert_int_equal(table_new(&t, MANY), NE_OK);
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof key, "user/d%d", i);
		assert_int_equal(table_put(t, key, &e), NE_OK);
		e->iat = i;
	}
	assert_int_equal(table_put(t, "one more", &e), NE_LIMIT);
	assert_int_equal(table_put(t, "user/d7", &e), NE_OK);
	assert_int_equal(e->iat, 7);
	table_sweep(t, odd, &seen);
	assert_int_equal(seen, MANY);
	assert_int_equal(table_count(t), MANY / 2);
	assert_null(table_find(t, "user/d7"));
	assert_non_null(table_find(t, "user/d8"));
	table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_many_and_sweeps_some)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
