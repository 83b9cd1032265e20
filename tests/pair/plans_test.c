/*
 * What a device's statements cost grows with what there is to do, never with the rows the app
 * holds: the plan of every statement that an engine runs is read.
 */
#include "tests/pair/pair.h"

enum { TEXTS_MAX = 2000 };

static const char schema[] =
	"CREATE TABLE u_int(id INTEGER PRIMARY KEY, a, b TEXT DEFAULT 'x');"
	"CREATE TABLE u_key(k TEXT COLLATE NOCASE, n INTEGER, v UNIQUE, w, PRIMARY KEY(k, n));"
	"CREATE TABLE u_wor(k BLOB PRIMARY KEY, v, w) WITHOUT ROWID;"
	"CREATE TABLE u_log(id INTEGER PRIMARY KEY, v);"
	"CREATE TABLE u_evt(k TEXT PRIMARY KEY, v)";

/* The texts of all statements that the connections opened while `listening` have run. */
static struct {
	bool listening;
	size_t n;
	char *text[TEXTS_MAX];
} seen;

static int note(unsigned what, void *ctx, void *stmt, void *text)
{
	const char *sql = sqlite3_sql(stmt);

	(void)what;
	(void)ctx;
	if (!sql || !strncmp(text, "--", 2)) /* a trigger's */
		return 0;
	for (size_t i = 0; i < seen.n; i++)
		if (!strcmp(seen.text[i], sql))
			return 0;
	assert_true(seen.n < TEXTS_MAX);
	seen.text[seen.n] = strdup(sql);
	assert_non_null(seen.text[seen.n++]);
	return 0;
}

static int on_open(sqlite3 *db, char **message, const struct sqlite3_api_routines *api)
{
	(void)message;
	(void)api;
	if (seen.listening)
		sqlite3_trace_v2(db, SQLITE_TRACE_STMT, note, NULL);
	return SQLITE_OK;
}

static void open_listening(struct pair *p, int i)
{
	sqlite3_auto_extension((void (*)(void))on_open);
	seen.listening = true;
	pair_open_engine(p, i);
	seen.listening = false;
}

static void forget(void)
{
	sqlite3_reset_auto_extension();
	while (seen.n)
		free(seen.text[--seen.n]);
}

static void policy(struct pair *p, int i, const char *table, struct policy rules)
{
	struct track_options o = {.append = true, .priority = 7, .policy = rules};

	PAIR_OK(p, track_table(engine_devdb(p->dev[i].en), table, &o, &p->e));
}

static int device(struct pair *p)
{
	int i = pair_device(p, schema);

	pair_track(p, i, "u_int", false);
	pair_track(p, i, "u_key", false);
	pair_track(p, i, "u_wor", false);
	policy(p, i, "u_log", (struct policy){.keep_rows = 100, .keep_ms = 3600000});
	policy(p, i, "u_evt",
	       (struct policy){.keep_bytes = 10000, .pending_rows = 500, .drop_oldest = true});
	return i;
}

static void fill(struct pair *p, int i)
{
	pair_app(p, i,
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
		 " INSERT INTO u_int SELECT i, i, i FROM n;"
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
		 " INSERT INTO u_key SELECT 'k' || i, i, i, i FROM n;"
		 "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
		 " INSERT INTO u_wor SELECT 'k' || i, i, i FROM n");
}

/* Writes of every kind. */
static void write_all(struct pair *p, int i, int round)
{
	char sql[2000];

	snprintf(sql, sizeof sql,
		 "INSERT INTO u_int VALUES(%d, 1, 1);"
		 "UPDATE u_int SET a = a + 1 WHERE id IN (5, 6);"
		 "DELETE FROM u_int WHERE id = %d;"
		 "INSERT OR REPLACE INTO u_key VALUES('K%d', %d, -%d, 1);"
		 "INSERT OR REPLACE INTO u_key VALUES('new%d', 1, %d, 1);" /* displaces one */
		 "UPDATE u_key SET n = n + 1000 WHERE k = 'k%d';"
		 "UPDATE u_wor SET v = 'w%d' WHERE k = 'k9';"
		 "INSERT INTO u_log(v) VALUES(1), (2); INSERT INTO u_log(id, v) VALUES(-%d, 1);"
		 "INSERT INTO u_evt VALUES('e%d', zeroblob(300)), ('f%d', 2); DELETE FROM u_evt "
		 "WHERE k = 'f%d'",
		 10000 + round, 10 + round, 20 + round, 20 + round, 20 + round, round, 50 + round,
		 100 + round, round, round + 1, round, round, round);
	pair_app(p, i, sql);
	pair_step(p, i, (struct event){.type = EV_LOCAL});
}

/* Whether the name that a plan gives is that of one of our own tables, in the statement `sql`. */
static bool is_ours(const char *sql, const char *name, size_t len)
{
	static const char *const ours[] = {"neap_",   "main.neap_", "main.sqlite_schema",
					   "pragma_", "(subquery",  "CONSTANT ROW"};
	char as[80];
	bool any = false;

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (!strncmp(name, ours[i], strlen(ours[i])))
			return true;
	/* Another name for a table, or for a subquery. */
	snprintf(as, sizeof as, " AS %.*s", (int)len, name);
	for (const char *at = sql; (at = strstr(at, as)) != NULL; at++) {
		const char *table = at;

		while (table > sql && table[-1] != ' ')
			table--;
		if (at[-1] != ')' && strncmp(table, "neap_", 5) != 0 &&
		    strncmp(table, "main.\"neap_", 11) != 0 &&
		    strncmp(table, "main.sqlite_schema", 18) != 0)
			return false;
		any = true;
	}
	return any;
}

/* Whether a statement is one of those that are to walk a whole table. */
static bool may_walk(const char *sql, const char *const *walks)
{
	for (; walks && *walks; walks++)
		if (!strncmp(sql, *walks, strlen(*walks)))
			return true;
	return false;
}

static void check_plan(sqlite3 *db, const char *text, const char *const *walks)
{
	char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", text);
	bool of_app = strstr(text, "\"u_");
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL))
		fail_msg("%s: %s", sqlite3_errmsg(db), sql);
	while (sqlite3_step(s) == SQLITE_ROW) {
		const char *plan = (const char *)sqlite3_column_text(s, 3);
		bool scan = !strncmp(plan, "SCAN ", 5);

		if (scan && !is_ours(text, plan + 5, strcspn(plan + 5, " ")) &&
		    !may_walk(text, walks))
			fail_msg("a table of the app is scanned: %s: %s", plan, text);
		if (of_app && strstr(plan, "TEMP B-TREE FOR ORDER BY"))
			fail_msg("rows of the app are sorted: %s: %s", plan, text);
	}
	sqlite3_finalize(s);
	sqlite3_free(sql);
}

/* All that device `i` ran; `walks` (NULL at the end; may be NULL) begin what walks a table. */
static void check(struct pair *p, int i, const char *const *walks)
{
	sqlite3 *db = db_handle(engine_devdb(p->dev[i].en)->db);

	for (size_t k = 0; k < seen.n; k++)
		if (strncmp(seen.text[k], "CREATE ", 7) != 0)
			check_plan(db, seen.text[k], walks);
}

/* The test itself has met what it is about. */
static void expect_seen(const char *const *parts)
{
	for (; *parts; parts++) {
		bool any = false;

		for (size_t k = 0; k < seen.n && !any; k++)
			any = strstr(seen.text[k], *parts) != NULL;
		if (!any)
			fail_msg("no statement with '%s' was run", *parts);
	}
}

/* Cut, sent, acknowledged, received, deleted by policies, counted for the status. */
static void everyday(void **state)
{
	static const char *const met[] = {
		"count(*) FROM (SELECT DISTINCT",	  /* pending */
		"DELETE FROM main.\"neap_m1\" WHERE gen", /* settled */
		"UPDATE OR ABORT \"u_int\"",		  /* received */
		"INTO \"u_key\"",
		"DELETE FROM \"u_wor\"",
		"DELETE FROM main.\"u_log\"",	/* policies */
		"DELETE FROM main.\"neap_m4\"", /* numbers of rows that are gone */
		NULL,
	};
	struct pair *p = pair_new();
	int a = device(p), b = device(p);

	(void)state;
	fill(p, a);
	pair_sync_all(p);
	pair_close_engine(p, a);
	open_listening(p, a);
	for (int round = 0; round < 10; round++) {
		pair_link(p, a, round % 3 != 2);
		if (round % 3 == 2)
			pair_link(p, b, false);
		write_all(p, a, 2 * round);
		write_all(p, b, 2 * round + round % 2);
		pair_exec(p->sql, "UPDATE u_int SET a = 1 WHERE id = 7; DELETE FROM u_wor WHERE "
				  "rowid = (SELECT max(rowid) FROM u_wor)");
		(void)pair_status(p, a);
		pair_sync_all(p);
		pair_pass(p, 60000);
	}
	pair_pass(p, 3600000);
	check(p, a, NULL);
	expect_seen(met);
	forget();
	pair_free(p);
}

static void verify(struct pair *p, int i)
{
	static uint64_t id;
	struct event ev = {.type = EV_VERIFY};

	ev.verify.id = ++id;
	ev.verify.repair = true;
	pair_step(p, i, ev);
	for (int round = 0; round < 2000 && !engine_verify_report(p->dev[i].en)->done; round++) {
		pair_run(p, PAIR_STEPS);
		if (!engine_verify_report(p->dev[i].en)->done)
			pair_wait(p);
	}
	assert_true(engine_verify_report(p->dev[i].en)->done);
}

/* Verification, a store that was lost or restored, a changed schema: these walk tables. */
static void seldom(void **state)
{
	static const char *const walks[] = {
		/* verification: how many rows there are, then range by range */
		"SELECT count(*) FROM (SELECT 1 FROM main.\"u_",
		"SELECT \"id\" FROM main.\"u_int\" ORDER BY",
		"SELECT \"id\", \"a\", \"b\" FROM main.\"u_int\" ORDER BY",
		"SELECT \"k\", \"n\" FROM main.\"u_key\" ORDER BY",
		"SELECT \"k\", \"n\", \"v\", \"w\" FROM main.\"u_key\" ORDER BY",
		"SELECT \"k\" FROM main.\"u_wor\" ORDER BY",
		"SELECT \"k\", \"v\", \"w\" FROM main.\"u_wor\" ORDER BY",
		/* the end of a full pull: what the server does not have goes */
		"SELECT \"id\" FROM \"u_int\"",
		"SELECT \"k\", \"n\" FROM \"u_key\"",
		"SELECT \"k\" FROM \"u_wor\"",
		/* a new column, and a table whose capture was lost: what is there is taken */
		"INSERT INTO main.\"neap_m1\" SELECT",
		NULL,
	};
	static const char *const met[] = {"INSERT INTO main.\"neap_m3\" SELECT", "neap_lost", NULL};
	struct pair *p = pair_new();
	int a = device(p), b = device(p);

	(void)state;
	fill(p, a);
	write_all(p, a, 1);
	pair_sync_all(p);
	pair_close_engine(p, b);
	open_listening(p, b);
	pair_back_up(p);
	write_all(p, b, 3);
	pair_sync_all(p);
	verify(p, b);
	pair_restore(p);
	write_all(p, b, 5);
	pair_sync_all(p);
	pair_wipe(p);
	pair_sync_all(p);
	pair_app(p, b, "ALTER TABLE u_int ADD COLUMN c; DROP TRIGGER neap_m3_del");
	pair_sync_all(p);
	check(p, b, walks);
	expect_seen(met);
	forget();
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everyday),
		cmocka_unit_test(seldom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
