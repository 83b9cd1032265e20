/* What an administrator is told. */
#include "backend/core/testing.h"

static int first_device(void *ctx, const struct store_device_status *d)
{
	struct store_device_status *out = ctx;

	if (out[0].site == 0)
		out[0] = *d;
	else
		out[1] = *d;
	return 0;
}

static void devices_and_their_sites(void **state)
{
	struct world *w = world_new();
	struct store_device_status d[2] = {{.site = 0}};
	struct builder *b;
	(void)state;

	declare_shape(w, "u", "a", logs());
	for (uint64_t i = 1; i <= 3; i++) {
		w->now_ms = NOW_MS + i;
		b = set_new(11, i * 2, i * 2 - 2);
		put_log(b, 1, (int64_t)i * 10, 0);
		put_log(b, 1, (int64_t)i * 10 + 1, 0);
		give_set(w, "u", "a", b);
	}
	b = set_new(22, 1, 0);
	put_log(b, 1, 1, 0);
	give_set(w, "u", "b", b);
	ok(w, store_each_device(w->store, first_device, d, &w->e));
	assert_string_equal(d[0].user.at, "u");
	assert_string_equal(d[0].device.at, "a");
	assert_int_equal(d[0].number, 6);
	assert_int_equal(d[0].sets, 3);
	assert_int_equal(d[0].rows, 6);
	assert_int_equal(d[0].seen_ms, NOW_MS + 3);
	assert_int_equal(d[0].head, 0);
	assert_string_equal(d[1].device.at, "b");
	assert_int_equal(d[1].rows, 1);
	world_free(w);
}

static int find_notes(void *ctx, const struct store_table_status *t)
{
	if (strcmp(t->table->name, "notes") == 0)
		*(struct store_table_status *)ctx = *t;
	return 0;
}

static void rows_parked_and_tombstones(void **state)
{
	struct world *w = world_new();
	struct store_table_status t = {.rows = -1};
	struct builder *b = set_new(11, 1, 0);
	(void)state;

	declare_shape(w, "u", "a", logs());
	declare_shape(w, "u", "a", notes());
	put_insert(b, 1, 100, 1, 1);
	put_insert(b, 2, 100, 1, 1);
	put_delete(b, 3, 100);
	give_set(w, "u", "a", b);
	sql(w, "INSERT INTO notes VALUES('nobody', 1, 1, 1)");
	ok(w, store_each_table(w->store, find_notes, &t, &w->e));
	assert_int_equal(t.rows, 3);
	assert_int_equal(t.parked, 1);
	assert_int_equal(t.tombstones, 1);
	world_free(w);
}

static void users_in_order(void **state)
{
	struct world *w = world_new();
	struct store_user u[2];
	size_t n;
	(void)state;

	for (const char *const *name = (const char *const[]){"c", "a", "b", NULL}; *name; name++)
		ok(w, store_user_ensure(w->store, *name, &u[0], &w->e));
	ok(w, store_users(w->store, 0, u, 2, &n, &w->e));
	assert_int_equal(n, 2);
	assert_string_equal(u[1].name.at, "a");
	ok(w, store_users(w->store, u[1].uid, u, 2, &n, &w->e));
	assert_int_equal(n, 1);
	assert_string_equal(u[0].name.at, "b");
	assert_int_equal(store_user_ensure(w->store, "a/#", u, &w->e), NE_MALFORMED);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_and_their_sites),
		cmocka_unit_test(rows_parked_and_tombstones),
		cmocka_unit_test(users_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
