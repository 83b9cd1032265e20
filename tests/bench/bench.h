/*
 * What all parts of the benchmark share: what was asked for, the samples
 * taken, and ends of work that failed. A failure ends the program with a
 * sentence; what it started is stopped on the way out.
 */
#ifndef NEAP_TESTS_BENCH_BENCH_H
#define NEAP_TESTS_BENCH_BENCH_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

struct bench_options {
	size_t rows;	  /* of W1; other sizes follow from it */
	unsigned repeats; /* of each measurement, and at most BENCH_REPEATS */
	size_t devices;	  /* of the fleet */
	const char *only; /* keys with commas between; NULL all */
	bool json;
};

enum { BENCH_REPEATS = 99 };

extern struct bench_options bench_options;
extern char bench_dir[]; /* temporary, removed at the end */

/*
 * One measurement: `repeat` takes a sample of each of its keys (the fair way is to run what is
 * compared by turns), for r = 0, 1, … ; begin and end may be NULL.
 */
struct bench_part {
	const char *name;
	const char *const *keys; /* NULL at the end */
	void (*begin)(void);
	void (*repeat)(unsigned r);
	void (*end)(void);
};

extern const struct bench_part bench_capture, bench_ingest, bench_single, bench_bytes,
	bench_updates, bench_ping, bench_catchup, bench_fresh, bench_fleet, bench_users,
	bench_radio;

/* `key` is one of report.c's. */
void bench_sample(const char *key, double value);
/* Whether the user asked for `key`. */
bool bench_wanted(const char *key);
bool bench_known(const char *key);
/* The table, or one JSON object. */
void bench_report(void);
/* One line on a terminal that is written over by the next. */
void bench_progress(const char *fmt, ...) NEAP_PRINTF(1, 2);

void bench_die(const char *fmt, ...) NEAP_PRINTF(1, 2) __attribute__((noreturn));
double bench_now(void);				 /* seconds, monotonic */
int bench_by_size(const void *a, const void *b); /* of doubles, for qsort */
/* Of n > 0 samples; of an even number, the mean of the two in the middle. */
double bench_median(const double *sorted, size_t n);

/* SQLite as an app of ours uses it: WAL, synchronous=NORMAL, or FULL where it is a server's. */
sqlite3 *bench_open(const char *path, bool full);
void bench_sql(sqlite3 *db, const char *fmt, ...) NEAP_PRINTF(2, 3);
sqlite3_stmt *bench_prepare(sqlite3 *db, const char *sql);
void bench_step(sqlite3 *db, sqlite3_stmt *s); /* and resets */
long long bench_int(sqlite3 *db, const char *sql);
void bench_remove_db(const char *path);

#endif
