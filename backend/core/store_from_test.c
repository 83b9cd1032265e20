/* The operator's policy of who writes a table. */
#include "backend/core/testing.h"

static void set_from(struct world *w, enum store_from from)
{
	/* Another process, as neapd's command is. */
	struct store_config c = {.path = w->path, .existing = true};
	struct store *s;

	ok(w, store_open(&s, &c, &w->e));
	ok(w, store_set_from(s, "NOTES", from, &w->e));
	store_close(s);
}

static struct world *begin(void)
{
	struct world *w = world_new();
	struct builder *b = set_new(1, 1, 0);

	declare_shape(w, "u", "a", notes());
	put_insert(b, 1, 100, 10, 20);
	give_set(w, "u", "a", b);
	return w;
}

static const char *all(struct world *w)
{
	return query(w, "SELECT id, x, y FROM notes ORDER BY id");
}

static void a_table_of_the_server(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	(void)state;

	set_from(w, FROM_SERVER);
	put_update(b, 1, 200, 0, 11);
	put_insert(b, 2, 200, 1, 1);
	put_update(b, 3, 200, 0, 5);
	put_log(b, 1, 1, 1);
	declare_shape(w, "u", "a", logs());
	give_set(w, "u", "a", b);
	/* By key and reason; another table's rows of the set are taken. */
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	find_out(w, FRAME_REJECT, 0, &f);
	assert_string_equal((const char *)arena_copy(&w->arena, f.reject.text).at,
			    "only the server writes this table");
	assert_int_equal(rows_of(w, f.reject.rows).table[0].n_row, 3);
	assert_string_equal(all(w), "1,10,20");
	assert_string_equal(query(w, "SELECT count(*) FROM log"), "1");
	/* What stands goes back to the sender: the row, and tombstones of those there are not. */
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].n_row, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(rows.table[0].row[i].exist,
				 rows.table[0].row[i].key[0].i == 1 ? EXIST_ALIVE : EXIST_DEAD);
	/* A delete comes back whole. */
	b = set_new(1, 3, 2);
	put_delete(b, 1, 300);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_CHANGE, 0, &f);
	rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].row[0].exist, EXIST_ALIVE);
	assert_int_equal(rows.table[0].row[0].exist_reg.site, SITE_REFUSED);
	assert_int_equal(rows.table[0].row[0].n_cell, 2);
	assert_int_equal(rows.table[0].row[0].cell[0].reg.stamp, 300);
	/* The operator writes; then the devices may again. */
	sql(w, "UPDATE notes SET x = 12");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	set_from(w, FROM_BOTH);
	b = set_new(1, 4, 3);
	put_update(b, 1, (uint64_t)1 << 62, 0, 13);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f); /* far ahead, but not the table's */
	assert_int_equal(f.refuse.code, REFUSE_FAR_AHEAD);
	world_free(w);
}

static void a_table_of_the_devices(void **state)
{
	static const char *const writes[] = {"INSERT INTO notes VALUES('u', 9, 1, 1)",
					     "UPDATE notes SET x = 1", "DELETE FROM notes"};
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	sqlite3 *db;
	(void)state;

	set_from(w, FROM_DEVICES);
	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(sqlite3_exec(db, writes[i], NULL, NULL, NULL), SQLITE_CONSTRAINT);
		assert_non_null(strstr(sqlite3_errmsg(db), "only devices write this table"));
	}
	sqlite3_close(db);
	/* Devices go on, also while an operator's trigger makes ours run on ingest's writes. */
	sql(w, "CREATE TRIGGER theirs AFTER UPDATE ON notes BEGIN SELECT 1; END");
	put_update(b, 1, 200, 0, 11);
	put_insert(b, 2, 200, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	assert_string_equal(all(w), "1,11,20 2,1,1");
	set_from(w, FROM_BOTH);
	sql(w, writes[1]);
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	world_free(w);
}

static void wrong_requests(void **state)
{
	struct world *w = begin();
	(void)state;

	declare_shape(w, "u", "a", logs());
	assert_int_equal(store_set_from(w->store, "nothing", FROM_BOTH, &w->e), NE_NOT_FOUND);
	assert_int_equal(store_set_from(w->store, "log", FROM_SERVER, &w->e), NE_USAGE);
	ok(w, store_set_from(w->store, "log", FROM_DEVICES, &w->e));
	world_free(w);
}

static int see(void *ctx, const struct store_table_status *t)
{
	if (!strcmp(t->table->name, "notes"))
		*(struct store_table_status *)ctx = *t;
	return 0;
}

static void what_never_reaches_devices_is_counted(void **state)
{
	struct world *w = begin();
	struct store_table_status t = {.rows = 0};
	(void)state;

	sql(w, "INSERT INTO notes VALUES('u', NULL, 1, 1), ('nobody', 5, 1, 1),"
	       " ('u', 6, zeroblob(3670017), 1), ('u', 7, zeroblob(3670016), 1)");
	tick(w);
	ok(w, store_each_table(w->store, see, &t, &w->e));
	assert_int_equal(t.rows, 5);
	assert_int_equal(t.parked, 1);
	assert_int_equal(t.no_key, 1);
	assert_int_equal(t.too_large, 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_of_the_server),
		cmocka_unit_test(a_table_of_the_devices),
		cmocka_unit_test(wrong_requests),
		cmocka_unit_test(what_never_reaches_devices_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
