/*
 * A device dies at every single write while the app changes its schema, Neap notices and adopts it,
 * and the change is synced (J5): it starts again, the app runs its migration if that is not in the
 * file, and the device, another one and the server become equal, with nothing lost.
 */
#include "tests/pair/pair.h"
#include "tests/sim/memvfs.h"

struct migration {
	const char *name;
	const char *sql;      /* in one transaction, as an app does it */
	const char *done;     /* a query that says 1 if it is in the file */
	const char *other;    /* what device b does meanwhile */
	const char *columns;  /* of the comparison */
	const char *expected; /* of them, by id */
	bool append;	      /* looks at log, at the server only */
};

#define REBUILD(columns, change)                                                            \
	"CREATE TABLE neu(" columns "); INSERT INTO neu SELECT *, 0 FROM t; DROP TABLE t; " \
	"ALTER TABLE neu RENAME TO t; " change

static const struct migration migrations[] = {
	{"add column", "ALTER TABLE t ADD COLUMN c; UPDATE t SET c = 'new' WHERE id = 2",
	 "SELECT count(*) FROM pragma_table_info('t') WHERE name = 'c'",
	 "UPDATE t SET a = 'b' WHERE id = 1; DELETE FROM t WHERE id = 4", "id, a, c",
	 "1|b|NULL,2|x|new,3|p|NULL,5|own|NULL", false},
	{"rename column", "ALTER TABLE t RENAME COLUMN b TO c; UPDATE t SET c = 'new' WHERE id = 2",
	 "SELECT count(*) FROM pragma_table_info('t') WHERE name = 'c'",
	 "UPDATE t SET a = 'b' WHERE id = 1; DELETE FROM t WHERE id = 4", "id, a, c",
	 "1|b|x,2|x|new,3|p|x,5|own|5", false},
	{"drop column", "ALTER TABLE t DROP COLUMN b; UPDATE t SET a = 'new' WHERE id = 2",
	 "SELECT count(*) = 0 FROM pragma_table_info('t') WHERE name = 'b'",
	 "UPDATE t SET a = 'b' WHERE id = 1; DELETE FROM t WHERE id = 4", "id, a",
	 "1|b,2|new,3|p,5|own", false},
	{"rebuild",
	 REBUILD("id INTEGER PRIMARY KEY, a, b, u DEFAULT 0",
		 "UPDATE t SET b = 'unseen' WHERE id = 2; DELETE FROM t WHERE id = 3; INSERT INTO "
		 "t "
		 "VALUES(6, 'unseen', 6, 0)"),
	 "SELECT count(*) FROM pragma_table_info('t') WHERE name = 'u'",
	 "UPDATE t SET a = 'b' WHERE id = 1; DELETE FROM t WHERE id = 4", "id, a, b",
	 "1|b|x,2|x|unseen,5|own|5,6|unseen|6", false},
};

struct run {
	struct pair *p;
	int a, b;
	const struct migration *m;
};

static void app(struct run *r, const char *sql, bool may_fail)
{
	int rc = sqlite3_exec(r->p->dev[r->a].app, sql, NULL, NULL, NULL);

	if (rc && !may_fail)
		fail_msg("%s: %s: %s", r->m->name, sql, sqlite3_errmsg(r->p->dev[r->a].app));
}

static bool migrated(struct run *r)
{
	return pair_show(r->p, r->a, r->m->done)[0] == '1';
}

static void migrate(struct run *r, bool may_fail)
{
	char sql[1024];

	assert_true(snprintf(sql, sizeof sql, "BEGIN; %s; COMMIT", r->m->sql) < (int)sizeof sql);
	app(r, sql, may_fail);
	/* What failed is not left open. */
	sqlite3_exec(r->p->dev[r->a].app, "ROLLBACK", NULL, NULL, NULL);
}

static void connect_app(struct run *r)
{
	struct pair_device *d = &r->p->dev[r->a];

	assert_int_equal(sqlite3_open_v2(d->path, &d->app, SQLITE_OPEN_READWRITE, d->vfs),
			 SQLITE_OK);
	sqlite3_busy_timeout(d->app, 2000);
	pair_exec(d->app, "PRAGMA synchronous = FULL");
}

/* Two devices in sync; a has writes that are pending when the schema changes. */
static void begin(struct run *r, const struct migration *m, bool wal)
{
	static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)";

	memvfs_clear();
	memvfs_set_now((uint64_t)time(NULL) * 1000);
	*r = (struct run){.p = pair_new(), .m = m};
	r->a = pair_device_on(r->p, MEMVFS_NAME, schema);
	r->b = pair_device(r->p, schema);
	pair_track(r->p, r->a, "t", false);
	pair_track(r->p, r->b, "t", false);
	if (!wal) {
		pair_close_engine(r->p, r->a);
		pair_app(r->p, r->a, "PRAGMA journal_mode = DELETE");
		pair_open_engine(r->p, r->a);
	}
	app(r,
	    "PRAGMA synchronous = FULL; INSERT INTO t VALUES(1, 'x', 'x'), (2, 'x', 'x'), (3, "
	    "'x', 'x'), (4, 'x', 'x')",
	    false);
	pair_sync_all(r->p);
	pair_app(r->p, r->b, m->other);
	pair_step(r->p, r->b, (struct event){.type = EV_LOCAL});
	app(r, "UPDATE t SET a = 'p' WHERE id = 3; INSERT INTO t VALUES(5, 'own', 5)", false);
}

/* The app's migration, and what follows, until all is in sync or the device is dead. */
static void go(struct run *r, bool ran)
{
	struct pair_device *d = &r->p->dev[r->a];

	d->may_fail = true;
	d->failed = false;
	if (!ran)
		pair_close_engine(r->p, r->a);
	migrate(r, true);
	if (!ran) {
		struct engine_config c = {.path = d->path,
					  .vfs = d->vfs,
					  .random = pair_random,
					  .random_ctx = &r->p->random};

		d->failed = engine_open(&d->en, &c, &r->p->e) != NE_OK;
	}
	if (!d->failed)
		pair_link(r->p, r->a, true);
	for (int i = 0; !d->failed && i < 60; i++) {
		pair_step(r->p, r->a, (struct event){.type = EV_LOCAL});
		for (int k = 0; !d->failed && k < 20; k++)
			pair_deliver(r->p);
		if (!d->failed && r->p->head == r->p->tail)
			pair_wait(r->p);
	}
	d->may_fail = false;
}

/* The device is dead: it starts with what its disk held then. */
static void start_again(struct run *r, struct memimage *image)
{
	struct pair_device *d = &r->p->dev[r->a];

	if (d->en)
		pair_close_engine(r->p, r->a);
	sqlite3_close(d->app);
	memvfs_fail_at("", 0, NULL);
	memvfs_restore(d->path, image);
	memimage_free(image);
	connect_app(r);
	if (!migrated(r))
		migrate(r, false);
	pair_open_engine(r->p, r->a);
}

static void expect(struct run *r, uint64_t k)
{
	char sql[200];

	pair_sync_all(r->p);
	if (!migrated(r))
		fail_msg("%s, write %d: not migrated", r->m->name, (int)k);
	snprintf(sql, sizeof sql, "SELECT %s FROM t ORDER BY id", r->m->columns);
	if (strcmp(pair_show(r->p, r->a, sql), r->m->expected) ||
	    strcmp(pair_server(r->p, sql), r->m->expected))
		fail_msg("%s, write %d: device %s, server %s", r->m->name, (int)k,
			 pair_show(r->p, r->a, sql), pair_server(r->p, sql));
	/* The other one runs the same migration later. */
	if (!strstr(r->m->sql, "neu")) {
		char text[1024];

		snprintf(text, sizeof text, "BEGIN; %.*s; COMMIT",
			 (int)(strchr(r->m->sql, ';') - r->m->sql), r->m->sql);
		pair_app(r->p, r->b, text);
		pair_sync_all(r->p);
	} else {
		snprintf(sql, sizeof sql, "SELECT id, a, b FROM t ORDER BY id");
	}
	assert_string_equal(pair_show(r->p, r->b, sql), r->m->expected);
	assert_int_equal(pair_status(r->p, r->a).problem, NE_OK);
	assert_string_equal(
		pair_show(r->p, r->a,
			  "SELECT (SELECT count(*) FROM neap_catchup), (SELECT "
			  "count(*) FROM neap_seen), (SELECT * FROM pragma_quick_check)"),
		"0|0|ok");
}

static void end(struct run *r)
{
	pair_close_engine(r->p, r->a);
	pair_free(r->p);
}

/* Cuts at write `k`; false if there are fewer. */
static bool cut_at(const struct migration *m, uint64_t k, bool ran, bool wal, bool power)
{
	struct rng tear = {k};
	struct memimage *image;
	struct run r;

	begin(&r, m, wal);
	memvfs_fail_at(r.p->dev[r.a].path, k, power ? &tear : NULL);
	go(&r, ran);
	image = memvfs_failed();
	memvfs_fail_at("", 0, NULL);
	if (image)
		start_again(&r, image);
	expect(&r, k);
	end(&r);
	return image != NULL;
}

static void cut_everywhere(bool ran, bool wal, bool power)
{
	for (size_t i = 0; i < sizeof migrations / sizeof *migrations; i++) {
		uint64_t k = 1;

		while (cut_at(&migrations[i], k, ran, wal, power))
			k++;
		assert_in_range(k, 20, 1000);
	}
}

static void test_killed_while_the_agent_runs(void **state)
{
	(void)state;
	cut_everywhere(true, true, false);
}

static void test_power_lost_while_no_agent_runs(void **state)
{
	(void)state;
	cut_everywhere(false, false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_while_the_agent_runs),
		cmocka_unit_test(test_power_lost_while_no_agent_runs),
	};

	memvfs_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
