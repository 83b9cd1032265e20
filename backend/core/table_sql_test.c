/* R5: a test reads every statement about data tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/core/store_sqlite.h"

static struct shape_col key[2], col[3];

static struct store_table table(enum shape_kind kind)
{
	struct store_table t = {.id = 7, .name = "we\"ird"};

	key[0] = (struct shape_col){slice_str("uid"), AFF_INTEGER, COLL_BINARY};
	key[1] = (struct shape_col){slice_str("k;--"), AFF_TEXT, COLL_NOCASE};
	col[0] = (struct shape_col){slice_str("user_id"), AFF_TEXT, COLL_BINARY};
	col[1] = (struct shape_col){slice_str("app_Rowid"), AFF_BLOB, COLL_BINARY};
	col[2] = (struct shape_col){slice_str("a\"b"), AFF_REAL, COLL_BINARY};
	t.shape = (struct shape){.kind = kind,
				 .name = slice_str("we\"ird"),
				 .n_key = 2,
				 .n_col = 3,
				 .key = key,
				 .col = col};
	return t;
}

static const char *text(struct buf *b)
{
	assert_int_equal(buf_terminate(b), 0);
	return (const char *)b->at;
}

static bool of_append(enum table_query q)
{
	return q == TQ_APPEND || q == TQ_APPEND_GET || q == TQ_APPEND_NUMBERS ||
	       q == TQ_APPEND_KEYS;
}

/* Every statement that reads or writes rows names the user as ?1 in its first condition or value.
 */
static void the_user_comes_first(void **state)
{
	static const enum table_query q[] = {
		TQ_REG_GET,	 TQ_REG_ADD,	TQ_REG_SET,	   TQ_ROW_GET,	   TQ_ROW_PUT,
		TQ_ROW_CHANGE,	 TQ_ROW_DELETE, TQ_APPEND,	   TQ_APPEND_GET,  TQ_PAGE,
		TQ_PAGE_AFTER,	 TQ_GC,		TQ_APPEND_NUMBERS, TQ_APPEND_KEYS, TQ_VERIFY,
		TQ_VERIFY_AFTER, TQ_STRAYS,	TQ_STRAYS_AFTER,   TQ_TOUCH,
	};
	struct store_table m = table(SHAPE_MERGE), a = table(SHAPE_APPEND);
	(void)state;

	for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
		struct buf b = {.max = 65536};
		bool append = of_append(q[i]);
		assert_int_equal(table_sql(append ? &a : &m, q[i], &b), 0);
		const char *sql = text(&b);
		const char *where = strstr(sql, " WHERE ");
		const char *values = strstr(sql, " VALUES(?1,");
		bool first = values || (where && (!strncmp(where + 7, "uid = ?1", 8) ||
						  !strncmp(where + 7, "r.uid = ?1", 10) ||
						  !strncmp(where + 7, "t.user_id = ?2", 14) ||
						  !strncmp(where + 7, "user_id = ?1", 12)));
		if (!first)
			fail_msg("%s", sql);
		buf_free(&b);
	}
	for (uint16_t i = 0; i < 3; i++) {
		struct buf b = {.max = 65536};
		assert_int_equal(table_sql_col(&m, i, &b), 0);
		assert_non_null(strstr(text(&b), " WHERE user_id = ?1 AND "));
		buf_free(&b);
	}
	/* Joined, a page names the user in the table as well, and strays in the shadow. */
	struct buf b = {.max = 65536};
	assert_int_equal(table_sql(&m, TQ_PAGE, &b), 0);
	assert_non_null(strstr(text(&b), "t.user_id = ?2"));
	buf_clear(&b);
	assert_int_equal(table_sql(&m, TQ_STRAYS, &b), 0);
	assert_non_null(strstr(text(&b), "r.uid = ?1"));
	buf_free(&b);
}

static void expect_name(const char *name, const char *stored)
{
	struct buf b = {.max = 256};

	assert_int_equal(column_name(slice_str(name), &b), 0);
	assert_string_equal(text(&b), stored);
	buf_free(&b);
}

static void names_the_store_keeps(void **state)
{
	(void)state;
	expect_name("temperature", "temperature");
	expect_name("user_id", "app_user_id");
	expect_name("USER_ID", "app_USER_ID");
	expect_name("app_user_id", "app_app_user_id");
	expect_name("_rowid_", "app__rowid_");
	expect_name("rowid", "app_rowid");
	expect_name("oid", "app_oid");
	expect_name("device_id", "app_device_id");
	expect_name("app_name", "app_name");
	expect_name("rowids", "rowids");
}

/*
 * What a statement costs grows with what it finds, not with the rows that are held: only marks are
 * read whole, as each is work to be done.
 */
static void no_scan(struct db *db, const char *sql)
{
	struct buf b = {.max = 65536};
	sqlite3_stmt *st;
	struct err e;
	bool row;

	assert_int_equal(buf_printf(&b, "EXPLAIN QUERY PLAN %s", sql), 0);
	assert_int_equal(db_prepare(db, text(&b), &st, &e), 0);
	for (;;) {
		assert_int_equal(db_step(db, st, &row, &e), 0);
		if (!row)
			break;
		const char *plan = (const char *)sqlite3_column_text(st, 3);
		bool marks = !strcmp(plan, "SCAN m") || !strncmp(plan, "SCAN neap_m", 11);
		if (!strncmp(plan, "SCAN ", 5) && !marks && strcmp(plan, "SCAN CONSTANT ROW"))
			fail_msg("%s: %s", plan, sql);
	}
	buf_free(&b);
}

/* SQLite prepares all of them on the tables that our own CREATE makes. */
static void sqlite_takes_them(void **state)
{
	struct db *db;
	struct err e;
	(void)state;

	for (int kind = SHAPE_MERGE; kind <= SHAPE_APPEND; kind++) {
		struct store_table t = table((enum shape_kind)kind);
		struct buf ddl = {.max = 1 << 20};
		struct store s = {.term = 0};
		assert_int_equal(db_open(&db, ":memory:", DB_CREATE, NULL, 0, &e), 0);
		assert_int_equal(db_exec(db,
					 "CREATE TABLE neap_flag(busy); CREATE TABLE "
					 "neap_unsent(tab PRIMARY KEY, n);"
					 "CREATE TABLE neap_user(uid,"
					 " name UNIQUE, head, gc_seq, last_term)",
					 &e),
				 0);
		s.db = db;
		assert_int_equal(usage_functions(&s, &e), 0);
		assert_int_equal(db_exec(db, store_usage_sql, &e), 0);
		assert_int_equal(table_sql_create(&t, &ddl), 0);
		assert_int_equal(table_sql_capture(&t, true, &ddl, &e), 0);
		if (db_exec(db, text(&ddl), &e))
			fail_msg("%s", e.text);
		for (int q = 0; q < TQ_N; q++) {
			bool append = of_append((enum table_query)q);
			struct buf b = {.max = 65536};
			sqlite3_stmt *st;
			if (append != (kind == SHAPE_APPEND))
				continue;
			assert_int_equal(table_sql(&t, (enum table_query)q, &b), 0);
			if (db_prepare(db, text(&b), &st, &e))
				fail_msg("%s", e.text);
			no_scan(db, text(&b));
			buf_free(&b);
		}
		buf_free(&ddl);
		db_close(db);
	}
}

/* Pages and verification walk an index; nothing is sorted. */
static void pages_are_not_sorted(void **state)
{
	struct store_table t = table(SHAPE_MERGE);
	struct buf sql = {.max = 1 << 20};
	struct db *db;
	sqlite3_stmt *st;
	struct err e;
	bool row;
	(void)state;

	assert_int_equal(db_open(&db, ":memory:", DB_CREATE, NULL, 0, &e), 0);
	assert_int_equal(table_sql_create(&t, &sql), 0);
	assert_int_equal(db_exec(db, text(&sql), &e), 0);
	for (int q = TQ_PAGE; q <= TQ_STRAYS_AFTER; q++) {
		buf_clear(&sql);
		assert_int_equal(buf_printf(&sql, "EXPLAIN QUERY PLAN "), 0);
		assert_int_equal(table_sql(&t, (enum table_query)q, &sql), 0);
		assert_int_equal(db_prepare(db, text(&sql), &st, &e), 0);
		for (;;) {
			assert_int_equal(db_step(db, st, &row, &e), 0);
			if (!row)
				break;
			const char *plan = (const char *)sqlite3_column_text(st, 3);
			assert_null(strstr(plan, "TEMP B-TREE"));
			assert_null(strstr(plan, "SCAN"));
		}
	}
	buf_free(&sql);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_user_comes_first),
		cmocka_unit_test(names_the_store_keeps),
		cmocka_unit_test(sqlite_takes_them),
		cmocka_unit_test(pages_are_not_sorted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
