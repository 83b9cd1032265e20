/*
 * A water meter that does its own syncing: libneap in the app's poll() loop, one thread.
 *
 * usage: meter DB COUNT
 *
 * Writes COUNT readings, one each `interval_ms` (a row of table settings, which the server may
 * change at any time), waits until the server has committed all of them, and ends. The exit code
 * is one of enum neap_code.
 */
#include <neap.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { INTERVAL_MIN_MS = 10, INTERVAL_MAX_MS = 3600 * 1000, LAST_SYNC_MS = 60 * 1000 };

struct meter {
	neap *n;
	sqlite3 *db;
	int fd; /* of the library; readable when it has something to do */
	int64_t interval_ms, next_ms;
	long left; /* readings to be written */
};

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int fail_sql(const struct meter *m, const char *what)
{
	fprintf(stderr, "meter: %s: %s\n", what, sqlite3_errmsg(m->db));
	return NEAP_INTERNAL;
}

static int fail_neap(const struct meter *m, int code)
{
	fprintf(stderr, "meter: %s\n", neap_error(m->n));
	return code;
}

/* --- the app's own tables, by plain SQL on a connection of its own --- */

static int open_tables(struct meter *m, const char *path)
{
	if (sqlite3_open_v2(path, &m->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return fail_sql(m, path);
	/* The library writes this file as well, and never for long. */
	sqlite3_busy_timeout(m->db, 10000);
	if (sqlite3_exec(
		    m->db,
		    "CREATE TABLE IF NOT EXISTS readings("
		    "  id INTEGER PRIMARY KEY, at_ms INTEGER, litres REAL);"
		    "CREATE TABLE IF NOT EXISTS settings(name TEXT PRIMARY KEY, value INTEGER)",
		    NULL, NULL, NULL) != SQLITE_OK)
		return fail_sql(m, "the tables cannot be made");
	return NEAP_OK;
}

static void read_interval(struct meter *m)
{
	sqlite3_stmt *s;

	m->interval_ms = 1000;
	if (sqlite3_prepare_v2(m->db, "SELECT value FROM settings WHERE name = 'interval_ms'", -1,
			       &s, NULL) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW)
		m->interval_ms = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	if (m->interval_ms < INTERVAL_MIN_MS)
		m->interval_ms = INTERVAL_MIN_MS;
	if (m->interval_ms > INTERVAL_MAX_MS)
		m->interval_ms = INTERVAL_MAX_MS;
}

static int write_reading(struct meter *m)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(m->db, "INSERT INTO readings(at_ms, litres) VALUES(?, ?)", -1, &s,
			       NULL) != SQLITE_OK)
		return fail_sql(m, "readings");
	sqlite3_bind_int64(s, 1, clock_ms(CLOCK_REALTIME));
	sqlite3_bind_double(s, 2, 118.0 + (double)(m->left % 10) / 10);
	sqlite3_step(s);
	return sqlite3_finalize(s) == SQLITE_OK ? NEAP_OK : fail_sql(m, "a reading");
}

/* --- what the library calls, from within neap_dispatch() and neap_sync() --- */

/* The change is committed and no lock is held: the app may look at its tables here. */
static void on_settings(void *ctx, const char *table)
{
	struct meter *m = ctx;

	read_interval(m);
	m->next_ms = 0; /* the new interval counts from now on */
	printf("changed: %s, a reading each %lld ms\n", table, (long long)m->interval_ms);
}

static void on_conflict(void *ctx, const struct neap_conflict *c)
{
	(void)ctx;
	printf("conflict: %s %s %s: %s\n", c->table, c->key, c->column ? c->column : "(row)",
	       c->reason);
}

/*
 * Of two settings made apart the smaller one holds: every device comes to the same answer, whoever
 * is asked first. Called inside a transaction: no printing, no SQL, no waiting.
 */
static int smaller_holds(void *ctx, const struct neap_conflict *c, struct neap_value *write)
{
	(void)ctx;
	if (c->local.type != NEAP_INTEGER || c->incoming.type != NEAP_INTEGER ||
	    c->local.integer >= c->incoming.integer)
		return NEAP_KEEP;
	*write = c->local;
	return NEAP_WRITE;
}

/* --- the library --- */

static int open_library(struct meter *m, const char *path)
{
	struct neap_track_options telemetry = NEAP_TRACK_OPTIONS;
	int rc = neap_open(path, &m->n);

	telemetry.append = 1;
	telemetry.direction = NEAP_UP;
	telemetry.keep_rows = 10000; /* of what the server has; older ones are deleted here */
	if (!rc)
		rc = neap_track(m->n, "readings", &telemetry);
	if (!rc)
		rc = neap_track(m->n, "settings", NULL);
	/* Functions are set before the loop begins. */
	if (!rc)
		rc = neap_on_change(m->n, "settings", on_settings, m);
	if (!rc)
		rc = neap_on_conflict(m->n, on_conflict, m);
	if (!rc)
		rc = neap_set_resolver(m->n, "settings", smaller_holds, m);
	if (!rc)
		rc = neap_poll_begin(m->n, &m->fd);
	return rc ? fail_neap(m, rc) : NEAP_OK;
}

/* One poll() for the library and for the app's own work. */
static int loop(struct meter *m)
{
	while (m->left > 0) {
		struct pollfd p = {.fd = m->fd, .events = POLLIN};
		int wait_ms, rc = neap_dispatch(m->n, &wait_ms);

		if (rc)
			return fail_neap(m, rc);
		int64_t now_ms = clock_ms(CLOCK_MONOTONIC);
		if (now_ms >= m->next_ms) {
			if ((rc = write_reading(m)) != NEAP_OK)
				return rc;
			m->left--;
			m->next_ms = now_ms + m->interval_ms;
		}
		if (wait_ms > m->next_ms - now_ms)
			wait_ms = (int)(m->next_ms - now_ms);
		poll(&p, 1, wait_ms); /* a signal ends it early, which does no harm */
	}
	return NEAP_OK;
}

/* NEAP_OK only if the server has all of it. Without that the rows wait for the next start. */
static int finish(struct meter *m)
{
	struct neap_status s = {.size = sizeof s};
	int rc = neap_sync(m->n, LAST_SYNC_MS);

	if (rc)
		fail_neap(m, rc);
	if (neap_status(m->n, &s) == NEAP_OK)
		printf("%s, %lld rows pending\n", s.state, (long long)s.pending_rows);
	return rc;
}

int main(int argc, char **argv)
{
	struct meter m = {0};
	char *end = NULL;

	if (argc == 3)
		m.left = strtol(argv[2], &end, 10);
	if (!end || end == argv[2] || *end || m.left < 0) {
		fprintf(stderr, "usage: meter DB COUNT\n");
		return NEAP_USAGE;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	int rc = open_tables(&m, argv[1]);
	if (!rc)
		rc = open_library(&m, argv[1]);
	if (!rc) {
		read_interval(&m);
		rc = loop(&m);
	}
	if (!rc)
		rc = finish(&m);
	neap_close(m.n);
	sqlite3_close(m.db);
	return rc;
}
