/* End to end: from the first local commit until the device knows that the server has the last row.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/json.h"
#include "tests/bench/stack.h"
#include "tests/bench/workload.h"

static double file_bytes(const char *path)
{
	struct stat s;

	if (stat(path, &s))
		bench_die("%s is gone", path);
	return (double)s.st_size;
}

/* The file once all is acknowledged, against one that was never tracked. */
static void growth(struct device *d, size_t rows)
{
	char path[300];
	struct device plain = {0};
	struct w1 w;
	double with, without, disk = process_disk_bytes(getpid());

	snprintf(path, sizeof path, "%s/plain.db", bench_dir);
	plain.app = bench_open(path, false);
	bench_sql(plain.app, "%s", w1_table_sql);
	w1_begin(&w, 1);
	device_w1(&plain, &w, rows, 1000, false);
	bench_sql(plain.app, "PRAGMA wal_checkpoint(TRUNCATE)");
	bench_sample("disk_plain_bytes_row", (process_disk_bytes(getpid()) - disk) / (double)rows);
	bench_sql(plain.app, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
	bench_sql(d->app, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
	with = file_bytes(d->path);
	without = file_bytes(path);
	sqlite3_close(plain.app);
	bench_remove_db(path);
	bench_sample("growth_after_ack", with / without);
}

/* The same rows into the server's table as it is there, without what Neap keeps beside it. */
static double plain_sqlite(size_t rows)
{
	char path[300];
	sqlite3 *db;
	sqlite3_stmt *s;
	struct w1 w;
	struct w1_row row;
	double began;

	snprintf(path, sizeof path, "%s/server.db", bench_dir);
	db = bench_open(path, true);
	bench_sql(db, "ATTACH '%s' AS store", stack_store());
	s = bench_prepare(db,
			  "SELECT sql FROM store.sqlite_schema WHERE tbl_name = 'readings' "
			  "AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY rootpage");
	while (sqlite3_step(s) == SQLITE_ROW)
		bench_sql(db, "%s", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	bench_sql(db, "DETACH store");
	s = bench_prepare(db, "INSERT INTO main.readings(id, device, ts, sensor, value, unit, "
			      "quality, user_id) VALUES(?1,?2,?3,?4,?5,?6,?7,'bench')");
	w1_begin(&w, 1);
	began = bench_now();
	for (size_t i = 0; i < rows; i++) {
		if (i % 1000 == 0)
			bench_sql(db, "BEGIN");
		w1_next(&w, &row);
		w1_bind(s, &row, i + 1, 0);
		bench_step(db, s);
		if (i % 1000 == 999 || i == rows - 1)
			bench_sql(db, "COMMIT");
	}
	began = bench_now() - began;
	sqlite3_finalize(s);
	sqlite3_close(db);
	bench_remove_db(path);
	return (double)rows / began;
}

/* Rows a second through a stack of its own, which is left running. */
static double through_neap(struct device *d, size_t rows, size_t tx, bool append)
{
	struct w1 w;
	double began;

	stack_start();
	stack_user("bench");
	device_make(d, "bench", "a", append ? w1_append_sql : w1_table_sql, append);
	device_start(d);
	process_forget_peak(stack_backend());
	process_forget_peak(d->agent.pid);
	w1_begin(&w, 1);
	began = bench_now();
	device_w1(d, &w, rows, tx, append);
	device_sync(d);
	return (double)rows / (bench_now() - began);
}

static void end(struct device *d)
{
	device_free(d);
	stack_stop();
}

static void thousands(size_t rows)
{
	struct device d;
	double disk = process_disk_bytes(getpid()), ours, json, sqlite;

	ours = through_neap(&d, rows, 1000, false);
	bench_sample("rss_agent_mib", process_peak_mib(d.agent.pid));
	bench_sample("rss_backend_mib", process_peak_mib(stack_backend()));
	disk = process_disk_bytes(getpid()) - disk + process_disk_bytes(d.agent.pid);
	bench_sample("disk_bytes_row", disk / (double)rows);
	device_stop(&d);
	growth(&d, rows);
	sqlite = plain_sqlite(rows);
	end(&d);
	json = json_ingest(rows, 1000, 10, 0);
	bench_sample("ingest_tx1000_rows_s", ours);
	bench_sample("json_tx1000_rows_s", json);
	bench_sample("sqlite_tx1000_rows_s", sqlite);
	bench_sample("ingest_tx1000_ratio", ours / json);
	bench_sample("ingest_vs_sqlite", ours / sqlite);
}

static void single(size_t rows)
{
	struct device d;
	double ours = through_neap(&d, rows, 1, false), json;

	end(&d);
	json = json_ingest(rows, 1, 1000, 20);
	bench_sample("ingest_tx1_rows_s", ours);
	bench_sample("json_tx1_rows_s", json);
	bench_sample("ingest_tx1_ratio", ours / json);
}

static bool wanted_thousands(void)
{
	static const char *const of[] = {"ingest_tx1000_ratio",	 "ingest_vs_sqlite",
					 "rss_agent_mib",	 "rss_backend_mib",
					 "growth_after_ack",	 "disk_bytes_row",
					 "disk_plain_bytes_row", "ingest_tx1000_rows_s",
					 "json_tx1000_rows_s",	 "sqlite_tx1000_rows_s"};

	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		if (bench_wanted(of[i]))
			return true;
	}
	return false;
}

static void repeat(unsigned r)
{
	struct device d;

	(void)r;
	if (wanted_thousands())
		thousands(bench_options.rows);
	if (bench_wanted("ingest_append_tx1000_rows_s")) {
		bench_sample("ingest_append_tx1000_rows_s",
			     through_neap(&d, bench_options.rows, 1000, true));
		end(&d);
	}
	if (bench_wanted("ingest_tx1_ratio") || bench_wanted("ingest_tx1_rows_s") ||
	    bench_wanted("json_tx1_rows_s"))
		single(bench_options.rows / 5);
}

static const char *const keys[] = {
	"ingest_tx1000_ratio",	"ingest_tx1_ratio",	"ingest_vs_sqlite",
	"ingest_tx1000_rows_s", "ingest_tx1_rows_s",	"ingest_append_tx1000_rows_s",
	"json_tx1000_rows_s",	"json_tx1_rows_s",	"sqlite_tx1000_rows_s",
	"rss_agent_mib",	"rss_backend_mib",	"growth_after_ack",
	"disk_bytes_row",	"disk_plain_bytes_row", NULL};
const struct bench_part bench_ingest = {"ingest", keys, NULL, repeat, NULL};
