/*
 * J6 with both ends: what a writer did that no trigger saw is found and mended, on a device as on
 * the server, and nothing else is. Such a writer switches triggers off on its connection.
 */
#include "tests/pair/pair.h"

enum { DEVICE = 0, OTHER = 1 };

static const char valves_sql[] =
	"CREATE TABLE valves(id INTEGER PRIMARY KEY, state TEXT, opened REAL, note BLOB)";

static void unseen(sqlite3 *db, const char *sql)
{
	assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL), SQLITE_OK);
	pair_exec(db, sql);
	assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 1, NULL), SQLITE_OK);
}

static void begin(struct pair *p, int i, bool repair)
{
	static uint64_t id;
	struct event ev = {.type = EV_VERIFY};

	ev.verify.id = ++id;
	ev.verify.repair = repair;
	pair_step(p, i, ev);
}

static const struct verify_report *report(struct pair *p, int i)
{
	return engine_verify_report(p->dev[i].en);
}

/* Until the verification of device `i` is done. */
static void finish(struct pair *p, int i)
{
	for (int round = 0; round < 2000 && !report(p, i)->done; round++) {
		pair_run(p, PAIR_STEPS);
		if (!report(p, i)->done)
			pair_wait(p);
	}
	assert_true(report(p, i)->done);
}

static struct verify_counts verify_as(struct pair *p, int i, bool repair)
{
	begin(p, i, repair);
	finish(p, i);
	assert_int_equal(report(p, i)->n, 1);
	assert_int_equal(report(p, i)->table[0].outcome, VERIFY_DONE);
	return report(p, i)->table[0].n;
}

static struct verify_counts verify(struct pair *p, int i)
{
	return verify_as(p, i, true);
}

static void expect(const struct verify_counts *n, uint64_t rows, uint64_t differed,
		   uint64_t missing, uint64_t extra)
{
	assert_int_equal(n->rows, rows);
	assert_int_equal(n->differed, differed);
	assert_int_equal(n->missing, missing);
	assert_int_equal(n->extra, extra);
}

/* Two devices with `rows` valves, in sync. */
static struct pair *valves(int rows)
{
	struct pair *p = pair_new();
	char sql[300];

	assert_int_equal(pair_device(p, valves_sql), DEVICE);
	assert_int_equal(pair_device(p, valves_sql), OTHER);
	pair_track(p, DEVICE, "valves", false);
	pair_track(p, OTHER, "valves", false);
	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < %d)"
		 " INSERT INTO valves SELECT 3 * x, 'auto', x / 4.0, randomblob(10) FROM c",
		 rows);
	pair_app(p, DEVICE, sql);
	pair_sync_all(p);
	return p;
}

static sqlite3_stmt *query(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL))
		fail_msg("%s", sqlite3_errmsg(db));
	return s;
}

static void same_rows(sqlite3 *x, sqlite3 *y, const char *sql)
{
	sqlite3_stmt *a = query(x, sql), *b = query(y, sql);
	int rc;

	while ((rc = sqlite3_step(a)) == SQLITE_ROW) {
		assert_int_equal(sqlite3_step(b), SQLITE_ROW);
		for (int i = 0; i < sqlite3_column_count(a); i++) {
			struct val u = val_column(a, i), v = val_column(b, i);
			assert_true(val_eq(&u, &v));
		}
	}
	assert_int_equal(rc, SQLITE_DONE);
	assert_int_equal(sqlite3_step(b), SQLITE_DONE);
	sqlite3_finalize(a);
	sqlite3_finalize(b);
}

static void same_everywhere(struct pair *p)
{
	static const char rows[] = "SELECT id, state, opened, note FROM valves ORDER BY id";

	same_rows(p->dev[DEVICE].app, p->sql, rows);
	same_rows(p->dev[OTHER].app, p->sql, rows);
}

static void nothing_differs(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	for (int i = DEVICE; i <= OTHER; i++) {
		struct verify_counts n = verify(p, i);

		expect(&n, 2500, 0, 0, 0);
		assert_int_equal(n.left_out + n.repaired, 0);
	}
	assert_string_equal(
		pair_show(p, DEVICE, "SELECT rows, differed, repaired FROM neap_verify"),
		"2500|0|0");
	pair_free(p);
}

/* The server's value comes back, ours is among the conflicts; nothing becomes pending. */
static void a_value_changed_unseen_here(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	unseen(p->dev[DEVICE].app, "UPDATE valves SET state = 'broken' WHERE id = 4500");
	pair_sync_all(p);
	assert_string_equal(pair_show(p, DEVICE, "SELECT state FROM valves WHERE id = 4500"),
			    "broken");
	struct verify_counts n = verify_as(p, DEVICE, false);
	expect(&n, 2500, 1, 0, 0);
	/* Three ranges; in one of them 16, and one of those row by row. */
	assert_in_range(p->questions, 4, 20);
	assert_int_equal(n.repaired, 0);
	assert_string_equal(pair_show(p, DEVICE, "SELECT state FROM valves WHERE id = 4500"),
			    "broken");
	n = verify(p, DEVICE);
	expect(&n, 2500, 1, 0, 0);
	assert_int_equal(n.repaired, 1);
	same_everywhere(p);
	assert_int_equal(pair_status(p, DEVICE).pending_rows, 0);
	assert_string_equal(
		pair_show(p, DEVICE,
			  "SELECT reason, text LIKE '%\"state\": \"broken\"%' FROM neap_conflict"),
		"repaired by verify|1");
	n = verify(p, DEVICE);
	expect(&n, 2500, 0, 0, 0);
	pair_free(p);
}

static void rows_lost_unseen_here(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	unseen(p->dev[DEVICE].app, "DELETE FROM valves WHERE id IN (3, 2400, 7500)");
	struct verify_counts n = verify(p, DEVICE);
	expect(&n, 2500, 0, 3, 0);
	assert_int_equal(n.repaired, 3);
	same_everywhere(p);
	pair_free(p);
}

/* Also where a whole range is gone, or all. */
static void all_rows_lost_unseen_here(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	unseen(p->dev[DEVICE].app, "DELETE FROM valves");
	struct verify_counts n = verify(p, DEVICE);
	expect(&n, 2500, 0, 2500, 0);
	same_everywhere(p);
	pair_free(p);
}

/* Many differences close together do not cost a question for each few rows. */
static void many_rows_changed_unseen_here(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	unseen(p->dev[DEVICE].app, "UPDATE valves SET state = 'broken' WHERE id % 10 = 0");
	struct verify_counts n = verify(p, DEVICE);
	expect(&n, 2500, 250, 0, 0);
	assert_int_equal(n.repaired, 250);
	assert_in_range(p->questions, 3, 40);
	same_everywhere(p);
	pair_free(p);
}

/* A row that the server never heard of is sent; one that it saw deleted goes. */
static void rows_here_that_the_server_does_not_have(void **state)
{
	struct pair *p = valves(200);
	(void)state;

	pair_app(p, DEVICE, "DELETE FROM valves WHERE id = 30");
	pair_sync_all(p);
	unseen(p->dev[DEVICE].app,
	       "INSERT INTO valves VALUES(30, 'ghost', 1, NULL), (1, 'new', 2, NULL),"
	       " (1000, 'last', 3, NULL)");
	struct verify_counts n = verify_as(p, DEVICE, false);
	expect(&n, 202, 0, 0, 3);
	n = verify(p, DEVICE);
	expect(&n, 202, 0, 0, 3);
	assert_int_equal(n.repaired, 3);
	pair_sync_all(p);
	assert_string_equal(
		pair_server(p, "SELECT id, state FROM valves WHERE id IN (1, 30, 1000)"),
		"1|new,1000|last");
	assert_string_equal(pair_show(p, DEVICE, "SELECT reason, row_key FROM neap_conflict"),
			    "repaired by verify|{\"id\": 30}");
	same_everywhere(p);
	n = verify(p, DEVICE);
	expect(&n, 201, 0, 0, 0);
	pair_free(p);
}

/* Rows that SQL wrote, deleted or added on the server with capture off. */
static void changes_unseen_at_the_server(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	unseen(p->sql, "UPDATE valves SET state = 'manual' WHERE id = 4500;"
		       "DELETE FROM valves WHERE id = 4503;"
		       "INSERT INTO valves(user_id, id, state) VALUES('u', 4502, 'added')");
	pair_sync_all(p);
	assert_string_equal(
		pair_show(p, DEVICE, "SELECT count(*) FROM valves WHERE state = 'auto'"), "2500");
	struct verify_counts n = verify(p, DEVICE);
	assert_int_equal(n.differed, 1);
	pair_sync_all(p);
	n = verify(p, DEVICE);
	expect(&n, 2500, 0, 0, 0);
	/* A value that changed without a trace is told to whoever asks. */
	n = verify(p, OTHER);
	expect(&n, 2500, 1, 0, 0);
	same_everywhere(p);
	assert_string_equal(
		pair_show(p, OTHER, "SELECT id, state FROM valves WHERE id BETWEEN 4500 AND 4503"),
		"4500|manual,4502|added");
	pair_free(p);
}

/* Both devices and an operator write while it runs; also what is pending is no difference. */
static void writes_under_way_are_no_difference(void **state)
{
	struct pair *p = valves(1500);
	char sql[400];
	unsigned turn = 0, counted = 0;
	(void)state;

	for (int run = 0; run < 6; run++) {
		begin(p, DEVICE, true);
		for (int i = 0; i < 400000 && !report(p, DEVICE)->done; i++) {
			if (i % 3 == 0 && turn < 3000) {
				unsigned id = 3 * (++turn * 7919 % 1600);
				snprintf(sql, sizeof sql,
					 "INSERT INTO valves(id, state) VALUES(%u, 'w%u') ON "
					 "CONFLICT"
					 " DO UPDATE SET state = excluded.state;"
					 " DELETE FROM valves WHERE id = %u",
					 id, turn, 3 * (turn * 104729 % 1600));
				pair_app(p, turn % 2 ? DEVICE : OTHER, sql);
				pair_step(p, DEVICE, (struct event){.type = EV_LOCAL});
				pair_step(p, OTHER, (struct event){.type = EV_LOCAL});
			}
			if (i % 97 == 0) {
				snprintf(sql, sizeof sql,
					 "UPDATE valves SET note = x'%02x' WHERE id = %u", i % 256,
					 3 * (turn % 1600));
				pair_exec(p->sql, sql);
				pair_serve(p, (struct in_event){.type = IN_SQL});
			}
			if (!pair_deliver(p) || i % 50 == 0)
				pair_wait(p);
		}
		const struct verify_report *r = report(p, DEVICE);
		assert_true(r->done);
		assert_int_equal(r->table[0].outcome, VERIFY_DONE);
		assert_int_equal(
			r->table[0].n.differed + r->table[0].n.missing + r->table[0].n.extra, 0);
		counted += r->table[0].n.left_out > 0;
	}
	assert_true(turn > 100);
	assert_true(counted > 0);
	pair_sync_all(p);
	pair_sync_all(p);
	same_everywhere(p);
	pair_free(p);
}

/* A row that no trigger saw change is found beside rows that are pending. */
static void pending_rows_hide_nothing_else(void **state)
{
	struct pair *p = valves(1200);
	struct engine_config c = {.path = p->dev[DEVICE].path,
				  .random = pair_random,
				  .random_ctx = &p->random,
				  .inflight_sets = 1,
				  .set_rows = 10};
	(void)state;

	/* Many more than fit in what a question leaves out, and they go up slowly. */
	pair_close_engine(p, DEVICE);
	PAIR_OK(p, engine_open(&p->dev[DEVICE].en, &c, &p->e));
	unseen(p->dev[DEVICE].app, "UPDATE valves SET opened = -1 WHERE id = 1800");
	pair_app(p, DEVICE, "UPDATE valves SET state = 'mine' WHERE id <> 1800 AND id % 2 = 0");
	pair_link(p, DEVICE, true);
	struct verify_counts n = verify(p, DEVICE);
	assert_int_equal(n.differed, 1);
	assert_int_equal(n.missing + n.extra, 0);
	assert_true(n.left_out > 0);
	pair_sync_all(p);
	assert_string_equal(pair_show(p, DEVICE, "SELECT opened FROM valves WHERE id = 1800"),
			    "150.0");
	same_everywhere(p);
	pair_free(p);
}

/* Keys of several columns, without case, of any type; reals that are whole numbers. */
static void keys_and_values_of_all_kinds(void **state)
{
	static const char ddl[] = "CREATE TABLE odd(a TEXT COLLATE NOCASE, b, c TEXT COLLATE RTRIM,"
				  " v REAL, w, PRIMARY KEY(c COLLATE RTRIM, a COLLATE NOCASE, b))";
	struct pair *p = pair_new();
	(void)state;

	for (int i = 0; i < 2; i++) {
		pair_device(p, ddl);
		pair_track(p, i, "odd", false);
	}
	pair_app(
		p, DEVICE,
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1500)"
		" INSERT INTO odd SELECT char(65 + x % 20, 97 + x % 3), CASE x % 4 WHEN 0 THEN x"
		" WHEN 1 THEN x / 4.0 WHEN 2 THEN 't' || x ELSE CAST('b' || x AS BLOB) END,"
		" substr('k   ', 1, 1 + x % 4) || x % 5, x, CASE x % 3 WHEN 0 THEN NULL WHEN 1 THEN"
		" x * 1.0 ELSE 'text ' || x END FROM c");
	pair_sync_all(p);
	for (int i = 0; i < 2; i++) {
		struct verify_counts n = verify(p, i);
		expect(&n, 1500, 0, 0, 0);
	}
	unseen(p->dev[OTHER].app,
	       "DELETE FROM odd WHERE rowid = 7; UPDATE odd SET w = 'other' WHERE"
	       " rowid IN (100, 1400);"
	       "INSERT INTO odd VALUES('ZZ', x'00', 'k', 0.5, 1)");
	struct verify_counts n = verify(p, OTHER);
	expect(&n, 1501, 2, 1, 1);
	pair_sync_all(p);
	same_rows(p->dev[OTHER].app, p->sql,
		  "SELECT * FROM (SELECT a, b, c, v, w FROM odd) ORDER BY c, a COLLATE BINARY,"
		  " typeof(b), b");
	n = verify(p, OTHER);
	expect(&n, 1501, 0, 0, 0);
	pair_free(p);
}

/* Rows of the size of whole messages, and larger. */
static void large_rows(void **state)
{
	struct pair *p = valves(20);
	(void)state;

	pair_app(p, DEVICE,
		 "UPDATE valves SET note = randomblob(400000) WHERE id % 2 = 0;"
		 "UPDATE valves SET note = zeroblob(3000000) WHERE id = 27");
	pair_sync_all(p);
	struct verify_counts n = verify(p, OTHER);
	expect(&n, 20, 0, 0, 0);
	unseen(p->dev[OTHER].app,
	       "UPDATE valves SET note = substr(note, 2) WHERE id IN (12, 27, 60);"
	       " UPDATE valves SET note = zeroblob(5000000) WHERE id = 30");
	n = verify(p, OTHER);
	expect(&n, 20, 4, 0, 0);
	same_everywhere(p);
	pair_free(p);
}

/* A value that only an operator could write stays at the server, and is no difference. */
static void what_cannot_travel_is_left_alone(void **state)
{
	struct pair *p = valves(100);
	(void)state;

	pair_exec(p->sql, "UPDATE valves SET note = zeroblob(4000000) WHERE id = 30");
	pair_sync_all(p);
	struct verify_counts n = verify(p, DEVICE);
	expect(&n, 99, 0, 0, 0);
	assert_int_equal(n.left_out, 1);
	pair_free(p);
}

/* A row that was refused is listed there; one that does not fit here is parked: no differences. */
static void rejected_and_parked_rows_are_left_alone(void **state)
{
	static const char unique[] = "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT UNIQUE)";
	static const char plain[] = "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT)";
	struct pair *p = pair_new();
	(void)state;

	pair_device(p, unique);
	pair_device(p, plain);
	pair_track(p, DEVICE, "tag", false);
	pair_track(p, OTHER, "tag", false);
	pair_app(p, OTHER, "INSERT INTO tag VALUES(1, 'a'), (2, 'b')");
	pair_sync_all(p);
	/* An operator may break the devices' constraints: they park the row. */
	pair_exec(p->sql, "UPDATE tag SET name = 'a' WHERE id = 2");
	pair_serve(p, (struct in_event){.type = IN_SQL});
	(void)pair_try_sync(p, DEVICE, 200);
	assert_int_equal(pair_status(p, DEVICE).parked_rows, 1);
	struct verify_counts n = verify(p, DEVICE);
	assert_int_equal(n.differed + n.missing + n.extra, 0);
	assert_int_equal(n.left_out, 1);
	assert_int_equal(pair_status(p, DEVICE).parked_rows, 1);
	pair_free(p);
}

/* Rows of before a column came hold its DEFAULT on devices and nothing at the server. */
static void defaults_need_no_closer_look(void **state)
{
	struct pair *p = pair_new();
	struct ingest_stats before, after;
	(void)state;

	for (int i = 0; i < 2; i++) {
		pair_device(p, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
		pair_track(p, i, "t", false);
	}
	pair_app(p, 0,
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) INSERT INTO "
		 "t SELECT i, i FROM n");
	pair_sync_all(p);
	pair_app(p, DEVICE, "ALTER TABLE t ADD COLUMN unit TEXT NOT NULL DEFAULT 'm/s'");
	pair_sync(p, DEVICE);
	/* Written values stand for themselves, also the DEFAULT's own. */
	pair_app(p, DEVICE,
		 "UPDATE t SET unit = 'km' WHERE id < 10; INSERT INTO t(id) VALUES(2000)");
	pair_sync_all(p);
	ingest_stats(p->in, &before);
	begin(p, DEVICE, true);
	finish(p, DEVICE);
	expect(&report(p, DEVICE)->table[0].n, 1501, 0, 0, 0);
	ingest_stats(p->in, &after);
	assert_int_equal(after.verifies - before.verifies, 2);
	/* A value that differs is found all the same. */
	unseen(p->dev[DEVICE].app, "UPDATE t SET unit = 'x' WHERE id = 2000");
	begin(p, DEVICE, true);
	finish(p, DEVICE);
	assert_int_equal(report(p, DEVICE)->table[0].n.differed, 1);
	assert_string_equal(pair_show(p, DEVICE, "SELECT unit FROM t WHERE id = 2000"), "m/s");
	pair_free(p);
}

/* The server lost rows of an append table that were acknowledged; others were purged there. */
static void append_tables_are_asked_about(void **state)
{
	struct pair *p = pair_new();
	(void)state;

	pair_device(p, "CREATE TABLE log(id INTEGER PRIMARY KEY, v)");
	pair_track(p, DEVICE, "log", true);
	pair_app(p, DEVICE,
		 "WITH n(i) AS (SELECT -9 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO "
		 "log SELECT i, 'x' FROM n");
	pair_sync(p, DEVICE);
	pair_app(p, DEVICE, "INSERT INTO log VALUES(-20, 'low'), (-19, 'low')");
	pair_sync(p, DEVICE);
	pair_exec(p->sql, "DELETE FROM log WHERE id < -15 OR id BETWEEN 5 AND 7");
	pair_app(p, DEVICE, "UPDATE log SET v = 'changed later' WHERE id = 2");
	begin(p, DEVICE, true);
	finish(p, DEVICE);
	assert_int_equal(report(p, DEVICE)->table[0].outcome, VERIFY_DONE);
	expect(&report(p, DEVICE)->table[0].n, 62, 0, 0, 0);
	/* Nobody but a damaged store forgets that it had them. */
	pair_exec(p->sql, "DELETE FROM log WHERE id > 40; UPDATE neap_range SET hi = 40, n = 50 "
			  "WHERE hi = 50");
	begin(p, DEVICE, false);
	finish(p, DEVICE);
	expect(&report(p, DEVICE)->table[0].n, 62, 0, 0, 10);
	assert_int_equal(report(p, DEVICE)->table[0].n.repaired, 0);
	assert_int_equal(pair_status(p, DEVICE).pending_rows, 0);
	/* While other rows are on their way. */
	pair_app(p, DEVICE, "INSERT INTO log VALUES(60, 'new')");
	begin(p, DEVICE, true);
	finish(p, DEVICE);
	assert_int_equal(report(p, DEVICE)->table[0].n.extra, 10);
	assert_int_equal(report(p, DEVICE)->table[0].n.repaired, 10);
	pair_sync(p, DEVICE);
	assert_string_equal(pair_server(p, "SELECT count(*), min(id), max(id) FROM log WHERE id > "
					   "40"),
			    "11|41|60");
	assert_string_equal(pair_server(p, "SELECT count(*) FROM log"), "58");
	pair_free(p);
}

static void which_tables_are_compared(void **state)
{
	static const char ddl[] = "CREATE TABLE log(id TEXT PRIMARY KEY, v);"
				  "CREATE TABLE up(id INTEGER PRIMARY KEY, v);"
				  "CREATE TABLE down(id INTEGER PRIMARY KEY, v)";
	struct pair *p = pair_new();
	struct track_options up = {.direction = DIR_UP, .priority = 5},
			     down = {.direction = DIR_DOWN, .priority = 5};
	const char *const names[] = {"DOWN"};
	struct event ev = {.type = EV_VERIFY};
	(void)state;

	pair_device(p, ddl);
	pair_track(p, DEVICE, "log", true);
	PAIR_OK(p, track_table(engine_devdb(p->dev[DEVICE].en), "up", &up, &p->e));
	PAIR_OK(p, track_table(engine_devdb(p->dev[DEVICE].en), "down", &down, &p->e));
	pair_sync(p, DEVICE);
	pair_exec(p->sql, "INSERT INTO down(user_id, id, v) VALUES('u', 1, 'server')");
	pair_app(p, DEVICE, "INSERT INTO log VALUES(1, 1); INSERT INTO up VALUES(1, 1)");
	pair_sync(p, DEVICE);
	/* In a table that only receives, a row of our own goes. */
	unseen(p->dev[DEVICE].app, "INSERT INTO down VALUES(2, 'local')");
	begin(p, DEVICE, true);
	finish(p, DEVICE);
	const struct verify_report *r = report(p, DEVICE);
	assert_int_equal(r->n, 3);
	assert_int_equal(r->table[0].outcome, VERIFY_APPEND);
	assert_int_equal(r->table[1].outcome, VERIFY_UP);
	assert_int_equal(r->table[2].outcome, VERIFY_DONE);
	expect(&r->table[2].n, 2, 0, 0, 1);
	assert_string_equal(pair_show(p, DEVICE, "SELECT * FROM down"), "1|server");
	assert_string_equal(pair_show(p, DEVICE, "SELECT reason FROM neap_conflict"),
			    "repaired by verify");
	ev.verify.id = 77;
	ev.verify.n = 1;
	ev.verify.table = names;
	pair_step(p, DEVICE, ev);
	finish(p, DEVICE);
	assert_int_equal(report(p, DEVICE)->n, 1);
	assert_string_equal(report(p, DEVICE)->table[0].name, "down");
	assert_int_equal(report(p, DEVICE)->id, 77);
	pair_free(p);
}

/* Of a table that is not to be compressed, keys and rows are not either. */
static void sizes_tell_nothing(void **state)
{
	static const char ddl[] = "CREATE TABLE t(id TEXT PRIMARY KEY, v)";
	struct pair *p = pair_new();
	(void)state;

	for (int i = 0; i < 2; i++) {
		struct track_options o = {.priority = 5, .uncompressed = i == 0};

		pair_device(p, ddl);
		PAIR_OK(p, track_table(engine_devdb(p->dev[i].en), "t", &o, &p->e));
		pair_app(p, i,
			 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
			 " INSERT OR IGNORE INTO t SELECT hex(zeroblob(200)) || i, "
			 "hex(zeroblob(200))"
			 " FROM n");
	}
	pair_sync_all(p);
	unseen(p->dev[DEVICE].app, "UPDATE t SET v = 1 WHERE rowid > 1400");
	struct verify_counts n = verify(p, DEVICE);
	expect(&n, 1500, 100, 0, 0);
	assert_true(p->frame_bytes[FRAME_VERIFY] > 0 && p->frame_bytes[FRAME_DIGEST] > 10000);
	assert_int_equal(p->compressed[FRAME_VERIFY] + p->compressed[FRAME_DIGEST], 0);
	pair_free(p);
}

/* Lost messages, lost connections, a server that starts anew, a lost store: it goes on. */
static void it_goes_on_after_trouble(void **state)
{
	struct pair *p = valves(2500);
	(void)state;

	unseen(p->dev[DEVICE].app, "UPDATE valves SET state = 'broken' WHERE id = 7500");
	begin(p, DEVICE, true);
	pair_run(p, 2);
	pair_link(p, DEVICE, false);
	pair_run(p, PAIR_STEPS);
	pair_pass(p, 5000);
	assert_false(report(p, DEVICE)->done);
	pair_link(p, DEVICE, true);
	pair_run(p, 1);
	ingest_close(p->in);
	store_close(p->store);
	pair_store_open(p);
	pair_serve(p, (struct in_event){.type = IN_TICK});
	finish(p, DEVICE);
	assert_int_equal(report(p, DEVICE)->table[0].n.differed, 1);
	same_everywhere(p);
	pair_free(p);
}

/* The question on its way to the server; false if there is none. */
static bool asked(struct pair *p, struct f_verify *out)
{
	struct arena a = {.max = 1 << 20};
	struct frame f;
	bool any = false;

	for (size_t i = p->head; i < p->tail; i++) {
		struct buf *b = &p->queue[i % PAIR_QUEUE].frame;

		assert_int_equal(frame_decode(buf_slice(b), &a, &f, &p->e), 0);
		if (f.type == FRAME_VERIFY)
			*out = f.verify;
		any |= f.type == FRAME_VERIFY;
	}
	arena_free(&a);
	return any;
}

static void answer(struct pair *p, int i, struct f_digest d)
{
	struct frame f = {.type = FRAME_DIGEST, .digest = d};
	struct buf b = {.max = LIMIT_FRAME};

	f.digest.store = store_id(p->store);
	f.digest.term = store_term(p->store);
	assert_int_equal(frame_encode(&f, &b, &p->e), 0);
	pair_step(p, i, (struct event){.type = EV_DOWN, .frame = buf_slice(&b)});
	buf_free(&b);
}

/* Answers that are none: the question is asked again, and nothing is repaired by them. */
static void answers_are_checked(void **state)
{
	static const uint8_t bad_key[] = {1, 0}, null_key[] = {0},
			     far_key[] = {1, 0, 0, 0, 0, 0, 0, 0x1d, 0}; /* behind what was asked */
	struct pair *p = valves(2500);
	uint64_t head = pair_status(p, DEVICE).cursor;
	struct f_verify q;
	const struct f_digest bad[] = {
		{.head = head, .upto = slice_of(bad_key, 2)},
		{.head = head, .upto = slice_of(null_key, 1)},
		{.head = head, .upto = slice_of(far_key, 9)},
		{.head = head, .above = slice_of(bad_key, 2)},
		{.head = head, .status = DIGEST_BUSY},
	};
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct f_digest d = bad[i];

		begin(p, DEVICE, true);
		assert_true(asked(p, &q));
		d.nonce = q.nonce ^ 1;
		answer(p, DEVICE, d); /* another question's */
		d.nonce ^= 1;
		answer(p, DEVICE, d);
		finish(p, DEVICE);
		expect(&report(p, DEVICE)->table[0].n, 2500, 0, 0, 0);
	}
	assert_string_equal(pair_show(p, DEVICE, "SELECT count(*) FROM valves"), "2500");
	assert_int_equal(pair_status(p, DEVICE).pending_rows, 0);
	assert_int_equal(pair_status(p, DEVICE).bad_frames, 4);
	pair_free(p);
}

/* As of a head that rows here are newer than, an answer says nothing about them. */
static void an_old_answer_does_not_count(void **state)
{
	struct pair *p = valves(20);
	struct f_verify q = {0};
	(void)state;

	unseen(p->dev[DEVICE].app, "UPDATE valves SET state = 'broken' WHERE id = 30");
	begin(p, DEVICE, true);
	while (!(asked(p, &q) && q.whole))
		assert_true(pair_deliver(p));
	answer(p, DEVICE,
	       (struct f_digest){.nonce = q.nonce, .head = pair_status(p, DEVICE).cursor - 1});
	assert_int_equal(pair_status(p, DEVICE).pending_rows, 0);
	finish(p, DEVICE);
	expect(&report(p, DEVICE)->table[0].n, 20, 1, 0, 0);
	pair_free(p);
}

/* A table that is yet to be pulled does not hold what the server has: that is no difference. */
static void a_table_to_be_pulled_is_waited_for(void **state)
{
	struct pair *p = valves(20);
	(void)state;

	pair_close_engine(p, DEVICE);
	unseen(p->dev[DEVICE].app, "DELETE FROM valves WHERE id > 30;"
				   "INSERT INTO neap_catchup(table_id, mode, known, begun) "
				   "VALUES(1, 1, 0, 0)");
	pair_open_engine(p, DEVICE);
	pair_link(p, DEVICE, true);
	begin(p, DEVICE, true);
	finish(p, DEVICE);
	expect(&report(p, DEVICE)->table[0].n, 20, 0, 0, 0);
	assert_string_equal(pair_show(p, DEVICE, "SELECT count(*) FROM valves"), "20");
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_differs),
		cmocka_unit_test(a_value_changed_unseen_here),
		cmocka_unit_test(rows_lost_unseen_here),
		cmocka_unit_test(all_rows_lost_unseen_here),
		cmocka_unit_test(many_rows_changed_unseen_here),
		cmocka_unit_test(rows_here_that_the_server_does_not_have),
		cmocka_unit_test(changes_unseen_at_the_server),
		cmocka_unit_test(writes_under_way_are_no_difference),
		cmocka_unit_test(pending_rows_hide_nothing_else),
		cmocka_unit_test(keys_and_values_of_all_kinds),
		cmocka_unit_test(large_rows),
		cmocka_unit_test(what_cannot_travel_is_left_alone),
		cmocka_unit_test(rejected_and_parked_rows_are_left_alone),
		cmocka_unit_test(which_tables_are_compared),
		cmocka_unit_test(append_tables_are_asked_about),
		cmocka_unit_test(defaults_need_no_closer_look),
		cmocka_unit_test(sizes_tell_nothing),
		cmocka_unit_test(it_goes_on_after_trouble),
		cmocka_unit_test(answers_are_checked),
		cmocka_unit_test(an_old_answer_does_not_count),
		cmocka_unit_test(a_table_to_be_pulled_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
