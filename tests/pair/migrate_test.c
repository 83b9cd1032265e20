/* What an app's migrations do to a tracked table, with both ends (J5). */
#include "tests/pair/pair.h"

static const char table[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)";
static const char rows[] = "SELECT * FROM t ORDER BY 1";
static const char server[] = "SELECT id, a, b FROM t WHERE user_id = 'u' ORDER BY id";

/* The usual one: create, copy, drop, rename; `change` runs on the new table, without capture. */
static void migrate(struct pair *p, int i, const char *columns, const char *copy,
		    const char *change)
{
	char sql[2048];

	assert_true(snprintf(sql, sizeof sql,
			     "BEGIN; CREATE TABLE neu(%s); INSERT INTO neu %s; DROP TABLE t; "
			     "ALTER TABLE neu RENAME TO t; %s; COMMIT",
			     columns, copy, change) < (int)sizeof sql);
	pair_app(p, i, sql);
}

static const char same[] = "id INTEGER PRIMARY KEY, a, b";
static const char all[] = "SELECT * FROM t";

/* Two devices in sync on rows 1 … 4; device a runs its engine or does not. */
static struct pair *two(int *a, int *b)
{
	struct pair *p = pair_new();

	*a = pair_device(p, table);
	*b = pair_device(p, table);
	pair_track(p, *a, "t", false);
	pair_track(p, *b, "t", false);
	pair_app(p, *a,
		 "INSERT INTO t VALUES(1, 'x', 'x'), (2, 'x', 'x'), (3, 'x', 'x'), (4, 'x', "
		 "'x')");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, *b, rows), "1|x|x,2|x|x,3|x|x,4|x|x");
	return p;
}

static void expect_equal(struct pair *p, const char *want)
{
	assert_string_equal(pair_server(p, server), want);
	for (int i = 0; i < PAIR_DEVICES; i++) {
		if (!p->dev[i].used)
			continue;
		assert_string_equal(pair_show(p, i, rows), want);
		struct engine_status s = pair_status(p, i);
		assert_int_equal(s.problem, NE_OK);
		assert_int_equal(s.pending_rows, 0);
		assert_string_equal(pair_show(p, i, "SELECT count(*) FROM neap_catchup"), "0");
	}
}

static const char unseen[] = "UPDATE t SET a = 'unseen' WHERE id = 2; DELETE FROM t WHERE id = 3; "
			     "INSERT INTO t VALUES(5, 'unseen', NULL)";
static const char after_unseen[] = "1|x|x,2|unseen|x,4|x|x,5|unseen|NULL";

/*
 * Values of a column that nobody had written go up, also of rows that others changed meanwhile; its
 * default does not.
 */
static void test_rebuilt_with_a_column_filled(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a, "ALTER TABLE t ADD COLUMN c DEFAULT 0");
	pair_app(p, b, "ALTER TABLE t ADD COLUMN c DEFAULT 0");
	pair_sync_all(p);
	pair_link(p, a, false);
	pair_app(p, b, "UPDATE t SET a = 'theirs' WHERE id = 1");
	pair_sync(p, b);
	migrate(p, a, "id INTEGER PRIMARY KEY, a, b, c DEFAULT 0", "SELECT id, a, b, id - 3 FROM t",
		"SELECT 1");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|theirs|x|-2,2|x|x|-1,3|x|x|0,4|x|x|1");
	assert_string_equal(pair_show(p, b, rows), pair_show(p, a, rows));
	assert_string_equal(pair_server(p, "SELECT id, a, c FROM t ORDER BY id"),
			    "1|theirs|-2,2|x|-1,3|x|NULL,4|x|1");
	pair_free(p);
}

static void test_rebuilt_while_the_agent_runs(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	migrate(p, a, same, all, unseen);
	pair_step(p, a, (struct event){.type = EV_LOCAL});
	struct engine_status s = pair_status(p, a);
	assert_int_equal(s.problem, NE_CAPTURE);
	assert_true(s.comparing);
	assert_non_null(strstr(s.reason, "table t was lost"));
	pair_sync_all(p);
	expect_equal(p, after_unseen);
	pair_app(p, a, "UPDATE t SET b = 'seen' WHERE id = 1");
	pair_sync_all(p);
	expect_equal(p, "1|x|seen,2|unseen|x,4|x|x,5|unseen|NULL");
	pair_free(p);
}

static void test_rebuilt_while_no_agent_runs(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_close_engine(p, a);
	migrate(p, a, same, all, unseen);
	pair_app(p, a, "UPDATE t SET b = 'later' WHERE id = 4");
	pair_open_engine(p, a);
	assert_int_equal(pair_status(p, a).problem, NE_CAPTURE);
	pair_sync_all(p);
	expect_equal(p, "1|x|x,2|unseen|x,4|x|later,5|unseen|NULL");
	pair_free(p);
}

/* What the server got since, and this device never saw, is not overwritten by old values. */
static void test_newer_rows_of_others_stay(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_close_engine(p, a);
	pair_app(p, b,
		 "UPDATE t SET a = 'theirs' WHERE id IN (1, 2); DELETE FROM t WHERE id = 4; "
		 "INSERT INTO t VALUES(6, 'theirs', 6)");
	pair_sync(p, b);
	migrate(p, a, same, all, unseen);
	pair_open_engine(p, a);
	pair_sync_all(p);
	expect_equal(p, "1|theirs|x,2|theirs|x,5|unseen|NULL,6|theirs|6");
	assert_string_equal(pair_show(p, a,
				      "SELECT count(*) FROM neap_conflict WHERE text LIKE "
				      "'%unseen%'"),
			    "1");
	pair_free(p);
}

/* Writes before the migration, in no set yet, in one on its way, or in one whose ack is. */
static void rebuilt_with_marks(size_t messages, bool ran)
{
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a,
		 "UPDATE t SET a = 'marked' WHERE id IN (1, 2, 3); INSERT INTO t VALUES(7, "
		 "'marked', 7)");
	if (messages) {
		pair_step(p, a, (struct event){.type = EV_LOCAL});
		pair_run(p, messages - 1);
	}
	if (!ran)
		pair_close_engine(p, a);
	migrate(p, a, same, all,
		"UPDATE t SET a = 'unseen' WHERE id = 2; DELETE FROM t WHERE id IN (3, 7); UPDATE "
		"t SET b = 'unseen' WHERE id = 1");
	if (!ran)
		pair_open_engine(p, a);
	pair_sync_all(p);
	expect_equal(p, "1|marked|unseen,2|unseen|x,4|x|x");
	pair_free(p);
}

static void test_rebuilt_between_cut_and_ack(void **state)
{
	(void)state;
	for (size_t messages = 0; messages < 6; messages++) {
		rebuilt_with_marks(messages, true);
		rebuilt_with_marks(messages, false);
	}
}

/* The engine ends and starts anew after each number of messages; also half-way through a pull. */
static void test_restart_during_the_comparison(void **state)
{
	(void)state;
	for (size_t messages = 0; messages < 24; messages++) {
		int a, b;
		struct pair *p = two(&a, &b);

		pair_app(p, a,
			 "WITH n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < "
			 "2500) INSERT INTO t SELECT i, hex(randomblob(16)), i FROM n");
		pair_sync_all(p);
		pair_app(p, b, "UPDATE t SET a = 'theirs' WHERE id = 2000");
		pair_close_engine(p, a);
		pair_sync(p, b);
		migrate(p, a, same, all,
			"UPDATE t SET b = 'unseen' WHERE id % 100 = 7; DELETE FROM t WHERE id % "
			"100 = 8");
		pair_open_engine(p, a);
		pair_link(p, a, true);
		pair_run(p, messages);
		pair_close_engine(p, a);
		pair_open_engine(p, a);
		pair_sync_all(p);
		assert_string_equal(pair_show(p, a, "SELECT count(*), sum(b = 'unseen') FROM t"),
				    "2381|24");
		assert_string_equal(pair_show(p, b, "SELECT count(*), sum(b = 'unseen') FROM t"),
				    "2381|24");
		assert_string_equal(pair_server(p, "SELECT count(*), sum(b = 'unseen') FROM t"),
				    "2381|24");
		assert_string_equal(pair_show(p, a, "SELECT a FROM t WHERE id = 2000"), "theirs");
		pair_free(p);
	}
}

/* More columns than one mask has bits, with names that need quoting, dropped and renamed. */
static void test_wide_table_with_odd_names(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	struct buf sql = {.max = 65536};
	int a;

	assert_int_equal(buf_printf(&sql, "CREATE TABLE \"t \"\"x\"\", ON\"(\"k, \"\" ON \" TEXT "
					  "PRIMARY KEY"),
			 0);
	for (int i = 0; i < 70; i++)
		assert_int_equal(buf_printf(&sql, ", \"c%d\"\", new.\"", i), 0);
	assert_int_equal(buf_printf(&sql, ", new, old, neap, col, \"select\")"), 0);
	assert_int_equal(buf_terminate(&sql), 0);
	a = pair_device(p, (const char *)sql.at);
	buf_free(&sql);
	pair_track(p, a, "t \"x\", ON", false);
	pair_app(p, a,
		 "INSERT INTO \"t \"\"x\"\", ON\"(\"k, \"\" ON \", new, old) VALUES('a', 1, 2)");
	pair_sync(p, a);
	pair_app(p, a,
		 "UPDATE \"t \"\"x\"\", ON\" SET \"c69\"\", new.\" = 69, \"c3\"\", new.\" = 3, new "
		 "= "
		 "4; ALTER TABLE \"t \"\"x\"\", ON\" DROP COLUMN \"c2\"\", new.\"; ALTER TABLE "
		 "\"t \"\"x\"\", ON\" RENAME COLUMN \"c40\"\", new.\" TO \", ON \"\"\"; UPDATE "
		 "\"t \"\"x\"\", ON\" SET \", ON \"\"\" = 40, old = 5, \"c33\"\", new.\" = 33");
	pair_app(p, a, "ALTER TABLE \"t \"\"x\"\", ON\" DROP COLUMN old");
	pair_sync(p, a);
	assert_string_equal(
		pair_server(p, "SELECT \"c69\"\", new.\", \"c3\"\", new.\", new, \", ON \"\"\", "
			       "\"c33\"\", new.\", \"c34\"\", new.\" FROM \"t \"\"x\"\", ON\""),
		"69|3|4|40|33|NULL");
	pair_app(p, a,
		 "ALTER TABLE \"t \"\"x\"\", ON\" DROP COLUMN \", ON \"\"\"; UPDATE \"t "
		 "\"\"x\"\", ON\" SET \"select\" = 's', \"c41\"\", new.\" = 41");
	pair_sync(p, a);
	assert_string_equal(
		pair_server(p, "SELECT \"select\", \"c41\"\", new.\" FROM \"t \"\"x\"\", ON\""),
		"s|41");
	pair_free(p);
}

/* With data writes in one transaction, and rolled back. */
static void test_changes_inside_transactions(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a,
		 "BEGIN; UPDATE t SET a = 'p' WHERE id = 1; ALTER TABLE t RENAME COLUMN b TO "
		 "c; UPDATE t SET c = 'q' WHERE id = 2; ALTER TABLE t DROP COLUMN a; ALTER "
		 "TABLE t ADD COLUMN d; UPDATE t SET d = 'r' WHERE id = 3; ROLLBACK");
	pair_sync_all(p);
	expect_equal(p, "1|x|x,2|x|x,3|x|x,4|x|x");
	pair_app(p, a,
		 "BEGIN; UPDATE t SET a = 'p' WHERE id = 1; ALTER TABLE t RENAME COLUMN b TO "
		 "c; UPDATE t SET c = 'q' WHERE id = 2; ALTER TABLE t DROP COLUMN a; ALTER "
		 "TABLE t ADD COLUMN d; UPDATE t SET d = 'r' WHERE id = 3; COMMIT");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|x|NULL,2|q|NULL,3|x|r,4|x|NULL");
	assert_string_equal(pair_server(p, "SELECT id, c, d FROM t ORDER BY id"),
			    "1|x|NULL,2|q|NULL,3|x|r,4|x|NULL");
	pair_free(p);
}

static void test_old_and_new_device_side_by_side(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a,
		 "ALTER TABLE t ADD COLUMN c DEFAULT 'd'; UPDATE t SET c = 'new' WHERE id = "
		 "1");
	pair_sync_all(p);
	pair_app(p, b, "UPDATE t SET a = 'old' WHERE id = 1; INSERT INTO t VALUES(8, 'old', 8)");
	pair_sync_all(p);
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|old|x|new,2|x|x|d,3|x|x|d,4|x|x|d,8|old|8|d");
	/* What the old one lacked comes with the column. */
	pair_app(p, b, "ALTER TABLE t ADD COLUMN c DEFAULT 'd'");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, b, rows), pair_show(p, a, rows));
	assert_string_equal(pair_server(p, "SELECT c FROM t WHERE id = 1"), "new");
	pair_free(p);
}

static void test_renamed_column(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a,
		 "UPDATE t SET b = 'pending' WHERE id = 2; ALTER TABLE t RENAME COLUMN b TO "
		 "\"say \"\"c\"\"\"; UPDATE t SET \"say \"\"c\"\"\" = 'new' WHERE id = 1");
	pair_sync_all(p);
	pair_app(p, b, "ALTER TABLE t RENAME COLUMN b TO \"say \"\"c\"\"\"");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|x|new,2|x|pending,3|x|x,4|x|x");
	assert_string_equal(pair_show(p, b, rows), "1|x|new,2|x|pending,3|x|x,4|x|x");
	assert_string_equal(pair_server(p, "SELECT \"say \"\"c\"\"\" FROM t ORDER BY id"),
			    "new,pending,x,x");
	pair_free(p);
}

/* What comes in is applied to the table as it is, also if nobody said that it changed. */
static void test_changes_come_before_the_agent_looks(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, b, "ALTER TABLE t RENAME COLUMN a TO c");
	pair_app(p, a, "UPDATE t SET a = 'new', b = 'new' WHERE id = 1");
	pair_step(p, a, (struct event){.type = EV_LOCAL});
	pair_run(p, PAIR_STEPS); /* no error: it would hold up all that is due */
	pair_sync_all(p);
	assert_string_equal(pair_show(p, b, "SELECT id, b FROM t WHERE id < 3"), "1|new,2|x");
	pair_free(p);
}

static void test_key_spelled_anew_unseen(void **state)
{
	(void)state;
	static const char schema[] = "CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY, a, b)";
	struct pair *p = pair_new();
	int a = pair_device(p, schema), b = pair_device(p, schema);

	pair_track(p, a, "t", false);
	pair_track(p, b, "t", false);
	pair_app(p, a, "INSERT INTO t VALUES('key', 1, 1), ('other', 1, 1)");
	pair_sync_all(p);
	migrate(p, a, "id TEXT COLLATE NOCASE PRIMARY KEY, a, b", all,
		"UPDATE t SET id = 'KEY' WHERE id = 'key'");
	pair_sync_all(p);
	expect_equal(p, "KEY|1|1,other|1|1");
	pair_free(p);
}

static void test_dropped_column(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a,
		 "UPDATE t SET a = 'gone' WHERE id = 1; UPDATE t SET b = 'kept' WHERE id = "
		 "2; ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 'after' WHERE id = 3");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|x,2|kept,3|after,4|x");
	assert_string_equal(pair_show(p, b, rows), "1|x|x,2|x|kept,3|x|after,4|x|x");
	pair_app(p, b, "ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 'too' WHERE id = 1");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|too,2|kept,3|after,4|x");
	pair_free(p);
}

static void test_renamed_table(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_app(p, a, "UPDATE t SET a = 'pending' WHERE id = 1; ALTER TABLE t RENAME TO u");
	pair_app(p, b, "ALTER TABLE t RENAME TO u");
	pair_sync_all(p);
	assert_string_equal(pair_server(p, "SELECT id, a, b FROM u ORDER BY id"),
			    "1|pending|x,2|x|x,3|x|x,4|x|x");
	assert_string_equal(pair_show(p, b, "SELECT * FROM u"), "1|pending|x,2|x|x,3|x|x,4|x|x");
	pair_free(p);
}

static void test_another_key(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	migrate(p, a, "id TEXT PRIMARY KEY, a, b", "SELECT 'k' || id, a, b FROM t", "");
	pair_sync_all(p);
	migrate(p, b, "id TEXT PRIMARY KEY, a, b", "SELECT 'k' || id, a, b FROM t", "");
	pair_app(p, b, "UPDATE t SET a = 'new' WHERE id = 'k2'");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "k1|x|x,k2|new|x,k3|x|x,k4|x|x");
	pair_app(p, b, "UPDATE t SET a = 'new' WHERE id = 'k3'");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "k1|x|x,k2|new|x,k3|new|x,k4|x|x");
	assert_string_equal(pair_server(p, "SELECT count(*) FROM t"), "4");
	pair_free(p);
}

/* Gone for a while: what came meanwhile was not applied, and comes once it is back. */
static void test_dropped_and_created_again(void **state)
{
	(void)state;
	int a, b;
	struct pair *p = two(&a, &b);

	pair_sync(p, a);
	pair_app(p, a, "ALTER TABLE t RENAME TO kept; DROP TRIGGER neap_m1_ins");
	pair_step(p, a, (struct event){.type = EV_LOCAL});
	assert_int_equal(pair_status(p, a).problem, NE_CAPTURE);
	pair_app(p, b, "UPDATE t SET a = 'meanwhile' WHERE id = 1");
	pair_sync(p, b);
	pair_pass(p, 5000);
	pair_app(p, a,
		 "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t SELECT * FROM "
		 "kept; DROP TABLE kept; UPDATE t SET b = 'here' WHERE id = 2");
	pair_sync_all(p);
	expect_equal(p, "1|meanwhile|x,2|x|here,3|x|x,4|x|x");
	pair_free(p);
}

/* What only goes up takes nothing of others, and is compared as well. */
static void test_rebuilt_table_that_only_goes_up(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	struct track_options up = {.direction = DIR_UP, .priority = 5};
	const char registers[] = "SELECT k0, stamp, site FROM neap_r1 WHERE k0 < 3";
	char before[200];
	int a = pair_device(p, table), b = pair_device(p, table);

	PAIR_OK(p, track_table(engine_devdb(p->dev[a].en), "t", &up, &p->e));
	pair_track(p, b, "t", false);
	pair_app(p, a,
		 "INSERT INTO t VALUES(1, 'x', 'x'), (2, 'x', 'x'), (3, 'x', 'x'), (4, 'x', "
		 "'x')");
	pair_sync_all(p);
	pair_app(p, b, "INSERT INTO t VALUES(9, 'theirs', 9); UPDATE t SET b = 'b' WHERE id = 4");
	pair_sync_all(p);
	snprintf(before, sizeof before, "%s", pair_server(p, registers));
	pair_close_engine(p, a);
	migrate(p, a, same, all, unseen);
	pair_app(p, a, "UPDATE t SET b = 'seen' WHERE id = 1");
	pair_open_engine(p, a);
	assert_int_equal(pair_status(p, a).problem, NE_CAPTURE);
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), "1|x|seen,2|unseen|x,4|x|x,5|unseen|NULL");
	assert_string_equal(pair_server(p, server),
			    "1|x|seen,2|unseen|x,4|x|x,5|unseen|NULL,9|theirs|9");
	assert_string_equal(pair_show(p, b, rows),
			    "1|x|seen,2|unseen|x,4|x|x,5|unseen|NULL,9|theirs|9");
	/* What was as the server has it did not go up again. */
	assert_string_equal(pair_server(p, registers), before);
	assert_int_equal(pair_status(p, a).problem, NE_OK);
	pair_free(p);
}

static void append_rebuilt(size_t messages, bool ran)
{
	struct pair *p = pair_new();
	int a = pair_device(p, "CREATE TABLE log(id TEXT PRIMARY KEY, v)");

	pair_track(p, a, "log", true);
	pair_app(p, a,
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO "
		 "log SELECT printf('k%05d', i), i FROM n");
	pair_sync(p, a);
	pair_app(p, a, "INSERT INTO log VALUES('pending', 1), ('taken back', 2)");
	if (messages) {
		pair_step(p, a, (struct event){.type = EV_LOCAL});
		pair_run(p, messages - 1);
	}
	if (!ran)
		pair_close_engine(p, a);
	pair_app(
		p, a,
		"BEGIN; CREATE TABLE neu(id TEXT PRIMARY KEY, v, w); INSERT INTO neu SELECT *, 0 "
		"FROM "
		"log ORDER BY id DESC; DROP TABLE log; ALTER TABLE neu RENAME TO log; INSERT INTO "
		"log VALUES('unseen', 3, 3); DELETE FROM log WHERE id IN ('k00007', 'taken back'); "
		"UPDATE log SET v = 'local' WHERE id = 'k00008'; COMMIT");
	if (!ran)
		pair_open_engine(p, a);
	else
		pair_step(p, a, (struct event){.type = EV_LOCAL});
	assert_true(pair_status(p, a).comparing);
	pair_app(p, a, "INSERT INTO log VALUES('seen', 4, 4)");
	pair_sync(p, a);
	assert_int_equal(p->refusals, 0);
	assert_int_equal(pair_status(p, a).problem, NE_OK);
	/* Each once: what the server had was recognised, though its numbers were forgotten. */
	assert_string_equal(pair_server(p, "SELECT count(*) - count(DISTINCT id), count(*) > 3002, "
					   "sum(id IN ('pending', 'unseen', 'seen')) FROM log"),
			    "0|1|3");
	assert_string_equal(pair_server(p, "SELECT v FROM log WHERE id IN ('k00007', 'k00008') "
					   "ORDER BY id"),
			    "7,8");
	assert_string_equal(pair_show(p, a,
				      "SELECT (SELECT count(*) FROM neap_m1), (SELECT "
				      "count(*) FROM neap_ask), (SELECT count(*) FROM "
				      "neap_hash), (SELECT count(*) FROM neap_catchup)"),
			    "0|0|0|0");
	pair_free(p);
}

/* With a key that is no number the server is asked which of its rows it has. */
static void test_rebuilt_append_table(void **state)
{
	(void)state;
	for (size_t messages = 0; messages < 6; messages++) {
		append_rebuilt(messages, true);
		append_rebuilt(messages, false);
	}
}

/* VACUUM changes rowids of tables without an INTEGER PRIMARY KEY: nothing of ours depends on it. */
static void test_vacuum(void **state)
{
	(void)state;
	struct pair *p = pair_new();
	int a = pair_device(p,
			    "CREATE TABLE t(id TEXT PRIMARY KEY, a, b); CREATE TABLE log(id TEXT "
			    "PRIMARY KEY, v)");

	pair_track(p, a, "t", false);
	pair_track(p, a, "log", true);
	pair_app(p, a,
		 "INSERT INTO t VALUES('a', 1, 1), ('b', 2, 2), ('c', 3, 3); INSERT INTO log "
		 "VALUES('x', 1), ('y', 2), ('z', 3); DELETE FROM t WHERE id = 'a'; DELETE "
		 "FROM log WHERE id = 'x'");
	pair_app(p, a, "VACUUM");
	pair_sync(p, a);
	pair_app(p, a,
		 "UPDATE t SET a = 9 WHERE id = 'c'; VACUUM; UPDATE t SET b = 9 WHERE id = "
		 "'c'; INSERT INTO log VALUES('w', 4)");
	pair_sync(p, a);
	assert_string_equal(pair_server(p, server), "b|2|2,c|9|9");
	assert_string_equal(pair_server(p, "SELECT id, v FROM log ORDER BY id"), "w|4,y|2,z|3");
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rebuilt_with_a_column_filled),
		cmocka_unit_test(test_rebuilt_while_the_agent_runs),
		cmocka_unit_test(test_rebuilt_while_no_agent_runs),
		cmocka_unit_test(test_newer_rows_of_others_stay),
		cmocka_unit_test(test_rebuilt_between_cut_and_ack),
		cmocka_unit_test(test_restart_during_the_comparison),
		cmocka_unit_test(test_wide_table_with_odd_names),
		cmocka_unit_test(test_changes_inside_transactions),
		cmocka_unit_test(test_old_and_new_device_side_by_side),
		cmocka_unit_test(test_renamed_column),
		cmocka_unit_test(test_changes_come_before_the_agent_looks),
		cmocka_unit_test(test_key_spelled_anew_unseen),
		cmocka_unit_test(test_dropped_column),
		cmocka_unit_test(test_renamed_table),
		cmocka_unit_test(test_another_key),
		cmocka_unit_test(test_dropped_and_created_again),
		cmocka_unit_test(test_rebuilt_table_that_only_goes_up),
		cmocka_unit_test(test_rebuilt_append_table),
		cmocka_unit_test(test_vacuum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
