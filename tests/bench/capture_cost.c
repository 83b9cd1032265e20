/*
 * What capture costs the app: processor time of its statements with a table tracked,
 * divided by the time with the same table untracked. Repeats are interleaved,
 * so that a slow moment of the machine hits both; printed are the least,
 * median and greatest ratio of neighbouring repeats.
 *
 * usage: capture_cost [rows] [repeats]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "device/core/track.h"

enum { MAX_REPEATS = 99 };

struct workload {
	const char *name;
	const char *create, *sql;
	bool append;
	bool update; /* the rows are there already */
	int per_transaction;
	int divide; /* of the rows asked for: single-row transactions are slow */
};

static const char sensor[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, at INTEGER, temperature REAL, "
			     "pressure REAL, name TEXT)";
static const char keyed[] = "CREATE TABLE t(id TEXT PRIMARY KEY, at INTEGER, temperature REAL, "
			    "pressure REAL, name TEXT)";
static const char insert[] = "INSERT INTO t VALUES(?1, ?1 * 1000, ?1 * 0.25, 1013.25, 'sensor-17')";
static const char insert_text[] =
	"INSERT INTO t VALUES(printf('k%012d', ?1), ?1 * 1000, ?1 * 0.25, 1013.25, 'sensor-17')";
static const char update[] = "UPDATE t SET temperature = ?1 * 0.5 WHERE id = ?1";

static const struct workload workloads[] = {
	{"merge, insert, 1000 a transaction", sensor, insert, false, false, 1000, 1},
	{"merge, insert, 1 a transaction", sensor, insert, false, false, 1, 10},
	{"merge, text key, insert, 1000", keyed, insert_text, false, false, 1000, 1},
	{"merge, update of one cell, 1000", sensor, update, false, true, 1000, 1},
	{"merge, update of one cell, 1", sensor, update, false, true, 1, 10},
	{"append, insert, 1000", sensor, insert, true, false, 1000, 1},
	{"append, insert, 1", sensor, insert, true, false, 1, 10},
	{"append, text key, insert, 1000", keyed, insert_text, true, false, 1000, 1},
};

static char dir[] = "/tmp/neap_capture_cost_XXXXXX";

static void die(const char *what, const char *why)
{
	fprintf(stderr, "capture_cost: %s: %s\n", what, why);
	exit(1);
}

static void run(sqlite3 *app, const char *sql)
{
	if (sqlite3_exec(app, sql, NULL, NULL, NULL) != SQLITE_OK)
		die(sql, sqlite3_errmsg(app));
}

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void track(const char *path, const struct workload *w)
{
	struct track_options o = {.append = w->append, .priority = 5};
	struct devdb *d;
	struct err e;

	if (devdb_open(&d, path, NULL, &e) || track_table(d, "t", &o, &e))
		die(path, e.text);
	devdb_close(d);
}

static void write_rows(sqlite3 *app, const struct workload *w, const char *sql, int rows)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(app, sql, -1, &s, NULL) != SQLITE_OK)
		die(sql, sqlite3_errmsg(app));
	for (int i = 0; i < rows; i++) {
		if (w->per_transaction > 1 && i % w->per_transaction == 0)
			run(app, "BEGIN");
		sqlite3_bind_int(s, 1, i + 1);
		if (sqlite3_step(s) != SQLITE_DONE)
			die(sql, sqlite3_errmsg(app));
		sqlite3_reset(s);
		if (w->per_transaction > 1 && (i + 1) % w->per_transaction == 0)
			run(app, "COMMIT");
	}
	if (!sqlite3_get_autocommit(app))
		run(app, "COMMIT");
	sqlite3_finalize(s);
}

/* Seconds a row of one repeat in a fresh database. */
static double once(const struct workload *w, bool tracked, int rows)
{
	char path[80], command[300];
	struct err e;
	sqlite3 *app;
	double start, took;

	snprintf(path, sizeof path, "%s/app.db", dir);
	if (devdb_init(path, NULL, "u", "d", 1, &e))
		die(path, e.text);
	if (sqlite3_open(path, &app) != SQLITE_OK)
		die(path, sqlite3_errmsg(app));
	run(app, "PRAGMA synchronous = NORMAL");
	run(app, w->create);
	if (w->update) {
		struct workload fill = {.per_transaction = 100000};

		write_rows(app, &fill, insert, rows);
	}
	if (tracked) {
		track(path, w);
		run(app, "DELETE FROM neap_m1");
	}
	run(app, "PRAGMA wal_checkpoint(TRUNCATE)");
	start = cpu_s();
	write_rows(app, w, w->sql, rows);
	took = (cpu_s() - start) / rows;
	sqlite3_close(app);
	snprintf(command, sizeof command, "rm -f %s %s-wal %s-shm", path, path, path);
	if (system(command))
		die(path, "cannot remove it");
	return took;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const struct workload *w, int rows, int repeats)
{
	double plain[MAX_REPEATS], tracked[MAX_REPEATS], ratio[MAX_REPEATS];

	rows /= w->divide;
	for (int i = 0; i < repeats; i++) {
		plain[i] = once(w, false, rows);
		tracked[i] = once(w, true, rows);
		ratio[i] = tracked[i] / plain[i];
	}
	qsort(plain, (size_t)repeats, sizeof *plain, by_size);
	qsort(tracked, (size_t)repeats, sizeof *tracked, by_size);
	qsort(ratio, (size_t)repeats, sizeof *ratio, by_size);
	printf("%-36s %6.2f us %6.2f us   %.2f %.2f %.2f\n", w->name, plain[repeats / 2] * 1e6,
	       tracked[repeats / 2] * 1e6, ratio[0], ratio[repeats / 2], ratio[repeats - 1]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int rows = argc > 1 ? atoi(argv[1]) : 50000;
	int repeats = argc > 2 ? atoi(argv[2]) : 7;

	if (rows < 1000 || repeats < 1 || repeats > MAX_REPEATS)
		die("usage", "capture_cost [rows >= 1000] [repeats 1 to 99]");
	if (!mkdtemp(dir))
		die(dir, "cannot make a folder");
	printf("%-36s %9s %9s   ratio: least, median, greatest of %d\n", "", "untracked", "tracked",
	       repeats);
	for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
		measure(&workloads[i], rows, repeats);
	return rmdir(dir) ? 1 : 0;
}
