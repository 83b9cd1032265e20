/* Names from the network: stored exactly, or refused; nothing else in the store changes (T23). */
#include "backend/core/testing.h"

enum { LONG = 10240 };

static char long_name[LONG + 1];
static const struct name {
	const char *text;
	size_t len;	    /* 0: all of it */
	const char *stored; /* as a column; NULL: refused */
} names[] = {
	{"\"; DROP TABLE notes; --", 0, "\"; DROP TABLE notes; --"},
	{"'quoted' [and] `ticked`", 0, "'quoted' [and] `ticked`"},
	{"a\"\"b", 0, "a\"\"b"},
	{"users", 0, "users"},
	{"USER_ID", 0, "app_USER_ID"},
	{"Device_id", 0, "app_Device_id"},
	{"rowid", 0, "app_rowid"},
	{"oid", 0, "app_oid"},
	{"_rowid_", 0, "app__rowid_"},
	{"app_rowid", 0, "app_app_rowid"},
	{"\xc3\xa9", 0, "\xc3\xa9"},   /* é in one */
	{"e\xcc\x81", 0, "e\xcc\x81"}, /* é in two: another name */
	{"select", 0, "select"},
	{"TABLE", 0, "TABLE"},
	{"a b", 0, "a b"},
	{"%s?1:x@y$z", 0, "%s?1:x@y$z"},
	{"a\0b", 3, NULL},
	{"tab\t", 0, NULL},
	{"\xff", 0, NULL},
	{"\xc0\x80", 0, NULL},
	{"", 0, NULL},
	{long_name, 0, NULL},
};
static const char *const reserved[] = {"sqlite_x", "SQLITE_sequence", "neap_x", "Neap_user"};
enum { N_NAMES = sizeof names / sizeof names[0] };

static struct slice bytes_of(const struct name *n)
{
	return n->len ? slice_of(n->text, n->len) : slice_str(n->text);
}

/* A declaration as bytes: our own encoder refuses what a hostile device would not. */
static struct slice declaration(struct world *w, struct slice table, struct slice column)
{
	struct shape s = *notes();
	struct shape_col col[1] = {{column, AFF_TEXT, COLL_BINARY}};
	struct buf good = {.max = 65536}, out = {.max = 65536};
	struct slice place = slice_str("PLACE_HOLDER"), row = slice_str("COLUMN");
	/* Written with names that are allowed, then those are put in their place. */
	s.name = place;
	s.n_col = 1;
	s.col = col;
	col[0].name = row;
	ok(w, shape_encode(&s, &good, &w->e));
	for (size_t i = 0; i < good.len;) {
		struct slice now = slice_of(good.at + i, good.len - i), *put = NULL;
		if (now.len > place.len && memcmp(now.at + 1, place.at, place.len) == 0)
			put = &table;
		else if (now.len > row.len && memcmp(now.at + 1, row.at, row.len) == 0)
			put = &column;
		if (!put) {
			assert_int_equal(buf_put_u8(&out, good.at[i++]), 0);
			continue;
		}
		/* The text's head: a length of 0 to 23, of one byte, or of two. */
		if (put->len < 24)
			assert_int_equal(buf_put_u8(&out, (uint8_t)(0x60 + put->len)), 0);
		else if (put->len < 256)
			assert_int_equal(buf_put_u8(&out, 0x78), 0);
		else
			assert_int_equal(buf_put_u8(&out, 0x79), 0);
		if (put->len >= 256)
			assert_int_equal(buf_put_u8(&out, (uint8_t)(put->len >> 8)), 0);
		if (put->len >= 24)
			assert_int_equal(buf_put_u8(&out, (uint8_t)put->len), 0);
		assert_int_equal(buf_put(&out, put->at, put->len), 0);
		i += 1 + (put == &table ? place.len : row.len);
	}
	struct slice copy = arena_copy(&w->arena, buf_slice(&out));
	buf_free(&good);
	buf_free(&out);
	return copy;
}

static void declare_bytes(struct world *w, struct slice bytes)
{
	struct frame f = {.type = FRAME_DECLARE, .declare = {1, &bytes}};

	give(w, "u", "a", &f);
	w->now_ms += 1000; /* one a second may be declared */
}

static int64_t tables(struct world *w)
{
	return strtoll(query(w, "SELECT count(*) FROM neap_table"), NULL, 10);
}

static void text_in(struct world *w, const char *sql, int64_t table, const char *want, size_t len)
{
	sqlite3 *db;
	sqlite3_stmt *st;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	sqlite3_bind_int64(st, 1, table);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	assert_int_equal(sqlite3_column_bytes(st, 0), len);
	assert_memory_equal(sqlite3_column_text(st, 0), want, len);
	sqlite3_finalize(st);
	sqlite3_close(db);
}

static struct world *begin(void)
{
	struct world *w = world_new();
	struct builder *b = set_new(1, 1, 0);

	memset(long_name, 'x', LONG);
	declare_shape(w, "u", "a", notes());
	put_insert(b, 1, 100, 11, 12);
	give_set(w, "u", "a", b);
	return w;
}

static void all_is_well(struct world *w)
{
	assert_string_equal(query(w, "SELECT user_id, id, x, y FROM notes"), "u,1,11,12");
	assert_string_equal(query(w, "PRAGMA integrity_check"), "ok");
	world_stop(w);
	world_start(w); /* what was stored is read back */
	tick(w);
	world_free(w);
}

static void t23_names_of_columns(void **state)
{
	struct world *w = begin();
	(void)state;

	for (size_t i = 0; i < N_NAMES; i++) {
		char table[16];
		int64_t before = tables(w);
		snprintf(table, sizeof table, "col%zu", i);
		declare_bytes(w, declaration(w, slice_str(table), bytes_of(&names[i])));
		if (!names[i].stored) {
			if (tables(w) != before)
				fail_msg("the column name %zu was let in", i);
			continue;
		}
		if (tables(w) != before + 1)
			fail_msg("the column name %zu was refused", i);
		text_in(w,
			"SELECT name FROM pragma_table_info((SELECT name FROM neap_table WHERE id "
			"= ?1))"
			" ORDER BY cid DESC LIMIT 1",
			before + 1, names[i].stored, strlen(names[i].stored));
	}
	all_is_well(w);
}

static void t23_names_of_tables(void **state)
{
	struct world *w = begin();
	(void)state;

	for (size_t i = 0; i < N_NAMES; i++) {
		int64_t before = tables(w);
		declare_bytes(w, declaration(w, bytes_of(&names[i]), slice_str("v")));
		if (!names[i].stored) {
			if (tables(w) != before)
				fail_msg("the table name %zu was let in", i);
			continue;
		}
		if (tables(w) != before + 1)
			fail_msg("the table name %zu was refused", i);
		text_in(w, "SELECT name FROM neap_table WHERE id = ?1", before + 1, names[i].text,
			strlen(names[i].text));
		/* It is a table, and can be written. */
		text_in(w,
			"SELECT count(*) FROM sqlite_schema s JOIN neap_table t USING(name)"
			" WHERE t.id = ?1 AND s.type = 'table'",
			before + 1, "1", 1);
	}
	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
		int64_t before = tables(w);
		declare_bytes(w, declaration(w, slice_str(reserved[i]), slice_str("v")));
		assert_int_equal(tables(w), before);
	}
	all_is_well(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t23_names_of_columns),
		cmocka_unit_test(t23_names_of_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
