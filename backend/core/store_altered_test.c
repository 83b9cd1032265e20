/* An operator's DDL on synced tables: noticed, mended where that is possible, and no one else's
 * trouble. */
#include "backend/core/store_sqlite.h"
#include "backend/core/testing.h"

static struct world *begin(void)
{
	struct world *w = world_new();
	struct builder *b = set_new(1, 1, 0);

	declare_shape(w, "u", "a", notes());
	declare_shape(w, "u", "a", logs());
	put_insert(b, 1, 100, 10, 20);
	put_insert(b, 2, 100, 11, 21);
	give_set(w, "u", "a", b);
	return w;
}

static uint64_t repaired(struct world *w)
{
	struct ingest_stats stats;

	ingest_stats(w->in, &stats);
	return stats.captures_repaired;
}

static void updates_go_out(struct world *w)
{
	sql(w, "UPDATE notes SET x = coalesce(x, 0) + 1 WHERE id = 1");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
}

static void dropped_triggers_are_made_again(void **state)
{
	static const char *const what[] = {"ins", "upd", "key", "del"};
	struct world *w = begin();
	char text[80];
	(void)state;

	tick(w);
	assert_int_equal(repaired(w), 0);
	for (size_t i = 0; i < 4; i++) {
		snprintf(text, sizeof text, "DROP TRIGGER neap_m1_%s", what[i]);
		sql(w, text);
		tick(w);
		assert_int_equal(repaired(w), i + 1);
		assert_int_equal(w->out.n, 0);
	}
	updates_go_out(w);
	sql(w, "DELETE FROM notes WHERE id = 2");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	assert_int_equal(repaired(w), 4);
	world_free(w);
}

static void at_start_as_well(void **state)
{
	struct world *w = begin();
	(void)state;

	world_stop(w);
	sql(w, "DROP TRIGGER neap_m1_upd");
	world_start(w);
	tick(w);
	assert_int_equal(repaired(w), 1);
	updates_go_out(w);
	/* A table made anew under the old name, as SQLite's own advice for ALTER TABLE has it. */
	sql(w, "BEGIN; CREATE TABLE n2(user_id TEXT, id INTEGER, x, y, UNIQUE(user_id, id));"
	       "INSERT INTO n2 SELECT * FROM notes; DROP TABLE notes;"
	       "ALTER TABLE n2 RENAME TO notes; COMMIT");
	tick(w);
	assert_int_equal(repaired(w), 2);
	updates_go_out(w);
	world_free(w);
}

static void the_policys_triggers_too(void **state)
{
	struct world *w = begin();
	sqlite3 *db;
	(void)state;

	ok(w, store_set_from(w->store, "notes", FROM_DEVICES, &w->e));
	tick(w);
	assert_int_equal(repaired(w), 0);
	sql(w, "DROP TRIGGER neap_m1_from_UPDATE");
	tick(w);
	assert_int_equal(repaired(w), 1);
	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE notes SET x = 1", NULL, NULL, NULL),
			 SQLITE_CONSTRAINT);
	sqlite3_close(db);
	world_free(w);
}

static int see(void *ctx, const struct store_table_status *t)
{
	if (!strcmp(t->table->name, "notes"))
		*(bool *)ctx = t->table->missing != NULL;
	return 0;
}

static bool missing(struct world *w)
{
	bool m = false;

	ok(w, store_each_table(w->store, see, &m, &w->e));
	return m;
}

static void pull(struct world *w, struct frame *page)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull.nonce = 1;
	f.pull.at.store = store_id(w->store);
	f.pull.at.term = store_term(w->store);
	f.pull.at.full = true;
	f.pull.credit = 32768;
	give(w, "u", "b", &f);
	find_out(w, FRAME_PAGE, 0, page);
}

/* `take` takes something of notes away, `back` puts it back; its rows remain. */
static void taken_and_put_back(const char *take, const char *back, const char *said)
{
	struct world *w = begin();
	struct builder *b;
	struct frame f;

	sql(w, take);
	tick(w);
	assert_true(missing(w));
	b = set_new(1, 2, 1);
	put_update(b, 1, 200, 1, 5);
	put_log(b, 1, 1, 1);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_SCHEMA);
	assert_int_equal(f.refuse.n_shape, 1);
	assert_memory_equal(f.refuse.shape, &notes()->id, sizeof(struct shape_id));
	assert_non_null(strstr((const char *)arena_copy(&w->arena, f.refuse.text).at, said));
	declare_shape(w, "v", "c", notes());
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_SCHEMA);
	/* A new table is declared, which loads the catalogue anew. */
	struct shape *other = notes();
	other->name = slice_str("other");
	declare_shape(w, "u", "a", other);
	assert_int_equal(count_out(w, FRAME_REFUSE), 0);
	assert_true(missing(w));
	/* Other tables go on, pages as well, and after a start. */
	world_stop(w);
	world_start(w);
	b = set_new(1, 2, 1);
	put_log(b, 1, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	pull(w, &f);
	assert_int_equal(rows_of(w, f.page.rows).n_table, 0);
	uint64_t cursor = f.page.upto;

	sql(w, back);
	tick(w);
	assert_false(missing(w));
	find_out(w, FRAME_HEAD, 0, &f);
	assert_true(f.head.head > cursor);
	pull(w, &f);
	struct rows rows = rows_of(w, f.page.rows);
	assert_int_equal(rows.n_table, 1);
	assert_int_equal(rows.table[0].n_row, 2);
	assert_true(f.page.upto > cursor);
	b = set_new(1, 3, 2);
	put_update(b, 1, 200, 1, 5);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT y FROM notes WHERE id = 1"), "5");
	updates_go_out(w);
	world_free(w);
}

static void a_column_renamed(void **state)
{
	(void)state;
	taken_and_put_back("ALTER TABLE notes RENAME COLUMN x TO z",
			   "ALTER TABLE notes RENAME COLUMN z TO x", "no column named x");
}

static void a_column_dropped(void **state)
{
	(void)state;
	taken_and_put_back("DROP TRIGGER neap_m1_ins; DROP TRIGGER neap_m1_upd;"
			   "DROP TRIGGER neap_m1_key; DROP TRIGGER neap_m1_del;"
			   "DROP TRIGGER neap_m1_qin; DROP TRIGGER neap_m1_qup;"
			   "DROP TRIGGER neap_m1_qdl;"
			   "ALTER TABLE notes DROP COLUMN x",
			   "ALTER TABLE notes ADD COLUMN x BLOB", "no column named x");
}

/* The counters of an append table name its columns as well: docs/operations.md says what goes. */
static void a_column_of_an_append_table_dropped(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	sqlite3 *db;
	(void)state;

	put_log(b, 1, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "ALTER TABLE log DROP COLUMN v", NULL, NULL, NULL),
			 SQLITE_ERROR);
	sqlite3_close(db);
	sql(w,
	    "BEGIN; DROP TRIGGER neap_m2_qin; DROP TRIGGER neap_m2_qup; DROP TRIGGER neap_m2_qdl;"
	    "ALTER TABLE log DROP COLUMN v; COMMIT");
	tick(w);
	b = set_new(1, 3, 2);
	put_log(b, 1, 2, 1);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_SCHEMA);
	sql(w, "ALTER TABLE log ADD COLUMN v BLOB");
	tick(w);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT n, v FROM log ORDER BY n"), "1,NULL 2,1");
	assert_int_equal(repaired(w), 1);
	tick(w);
	assert_string_equal(query(w, "SELECT rows, bytes FROM neap_usage WHERE tab = 2"), "2,32");
	world_free(w);
}

static void a_table_renamed(void **state)
{
	(void)state;
	taken_and_put_back("ALTER TABLE notes RENAME TO old", "ALTER TABLE old RENAME TO notes",
			   "no such table");
}

static void a_table_dropped(void **state)
{
	(void)state;
	taken_and_put_back("CREATE TABLE copy AS SELECT * FROM notes; DROP TABLE notes",
			   "BEGIN; CREATE TABLE notes(user_id TEXT, id INTEGER, x BLOB, y BLOB,"
			   " UNIQUE(user_id, id)); INSERT INTO notes SELECT * FROM copy; COMMIT",
			   "no such table");
}

static void a_key_without_its_constraint(void **state)
{
	(void)state;
	taken_and_put_back("BEGIN; CREATE TABLE n AS SELECT * FROM notes; DROP TABLE notes;"
			   "ALTER TABLE n RENAME TO notes; COMMIT",
			   "CREATE UNIQUE INDEX again ON notes(user_id, id)", "ON CONFLICT");
}

/* What an operator wrote while a column was away goes out when it is back. */
static void writes_meanwhile_wait(void **state)
{
	struct world *w = begin();
	(void)state;

	sql(w, "ALTER TABLE notes RENAME COLUMN x TO z; UPDATE notes SET y = 'op' WHERE id = 2");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 0);
	sql(w, "ALTER TABLE notes RENAME COLUMN z TO x");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	world_free(w);
}

/* Rows of the schema that the store's statements went through, one by one, since the last call. */
static int64_t schema_scanned(struct world *w)
{
	sqlite3_stmt *st = NULL;
	int64_t n = 0;

	while ((st = sqlite3_next_stmt(db_handle(w->store->db), st)))
		if (strstr(sqlite3_sql(st), "sqlite_master"))
			n += sqlite3_stmt_status(st, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1);
	return n;
}

static void the_schema_is_read_once_however_many_tables(void **state)
{
	struct world *w = begin();
	struct shape *s = notes();
	char name[16];
	(void)state;

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "t%d", i);
		s->name = slice_str(name);
		declare_shape(w, "u", "a", s);
		w->now_ms += 1000; /* one a second may be declared */
	}
	assert_int_equal(strtoll(query(w, "SELECT count(*) FROM neap_table"), NULL, 10), 62);
	tick(w);
	sql(w, "DROP TRIGGER neap_m40_upd; CREATE TABLE ops(x)");
	schema_scanned(w);
	tick(w);
	assert_int_equal(repaired(w), 1);
	assert_in_range(schema_scanned(w), 1,
			4 * strtoll(query(w, "SELECT count(*) FROM sqlite_master"), NULL, 10));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dropped_triggers_are_made_again),
		cmocka_unit_test(at_start_as_well),
		cmocka_unit_test(the_policys_triggers_too),
		cmocka_unit_test(a_column_renamed),
		cmocka_unit_test(a_column_dropped),
		cmocka_unit_test(a_column_of_an_append_table_dropped),
		cmocka_unit_test(a_table_renamed),
		cmocka_unit_test(a_table_dropped),
		cmocka_unit_test(a_key_without_its_constraint),
		cmocka_unit_test(writes_meanwhile_wait),
		cmocka_unit_test(the_schema_is_read_once_however_many_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
