/* What capture costs the app, and what is left of it in the file. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "device/core/track.h"
#include "tests/bench/bench.h"
#include "tests/bench/workload.h"

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make(const char *path, bool append, bool tracked)
{
	struct track_options o = {.append = append, .priority = 5};
	struct devdb *d;
	struct err e;
	sqlite3 *app = bench_open(path, false);

	bench_sql(app, "%s", append ? w1_append_sql : w1_table_sql);
	sqlite3_close(app);
	if (!tracked)
		return;
	if (devdb_init(path, NULL, "u", "d", 1, &e) || devdb_open(&d, path, NULL, &e))
		bench_die("%s: %s", path, e.text);
	if (track_table(d, "readings", &o, &e))
		bench_die("%s: %s", path, e.text);
	devdb_close(d);
}

/* Processor time of the app's statements alone: rows are made before. */
static double insert_all(sqlite3 *app, bool append, size_t rows, size_t tx)
{
	sqlite3_stmt *s = bench_prepare(app, "INSERT INTO readings VALUES(?1,?2,?3,?4,?5,?6,?7)");
	struct w1_row *row = calloc(rows, sizeof *row);
	struct w1 w;
	double began, took;

	if (!row)
		bench_die("no memory for %zu rows", rows);
	w1_begin(&w, 1);
	for (size_t i = 0; i < rows; i++)
		w1_next(&w, &row[i]);
	began = cpu_s();
	for (size_t i = 0; i < rows; i++) {
		if (tx > 1 && i % tx == 0)
			bench_sql(app, "BEGIN IMMEDIATE");
		w1_bind(s, &row[i], i + 1, append);
		bench_step(app, s);
		if (tx > 1 && (i % tx == tx - 1 || i == rows - 1))
			bench_sql(app, "COMMIT");
	}
	took = cpu_s() - began;
	sqlite3_finalize(s);
	free(row);
	return took;
}

static double once(bool append, bool tracked, size_t rows, size_t tx)
{
	char path[300];
	sqlite3 *app;
	double took;

	snprintf(path, sizeof path, "%s/capture.db", bench_dir);
	make(path, append, tracked);
	app = bench_open(path, false);
	took = insert_all(app, append, rows, tx);
	sqlite3_close(app);
	bench_remove_db(path);
	return took;
}

static void compare(const char *key, bool append, size_t rows, size_t tx)
{
	double plain;

	if (!bench_wanted(key))
		return;
	plain = once(append, false, rows, tx);
	bench_sample(key, once(append, true, rows, tx) / plain);
}

static void repeat(unsigned r)
{
	size_t rows = bench_options.rows;

	(void)r;
	compare("capture_merge_tx1000", false, rows, 1000);
	compare("capture_append_tx1000", true, rows, 1000);
	compare("capture_merge_tx1", false, rows / 10, 1);
	compare("capture_append_tx1", true, rows / 10, 1);
}

static const char *const keys[] = {"capture_merge_tx1000", "capture_merge_tx1",
				   "capture_append_tx1000", "capture_append_tx1", NULL};
const struct bench_part bench_capture = {"capture", keys, NULL, repeat, NULL};
