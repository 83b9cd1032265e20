/* What goes over a device's connection, and how long it takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/json.h"
#include "tests/bench/proxy.h"
#include "tests/bench/stack.h"
#include "tests/bench/workload.h"

static struct device a, b;

/* A device whose connection is counted; its agent is not started. */
static void make_counted(struct device *d, const char *user, const char *name, const char *sql,
			 bool append)
{
	device_make(d, user, name, sql, append);
	device_through(d, proxy_start(stack_port()));
}

static void two_devices(const char *sql)
{
	stack_start();
	stack_user("bench");
	make_counted(&a, "bench", "a", sql, false);
	make_counted(&b, "bench", "b", sql, false);
}

static void end_devices(void)
{
	if (a.app)
		device_free(&a);
	if (b.app)
		device_free(&b);
	stack_stop();
}

/* --- bytes a row --- */

static void count_rows(const char *key, const char *user, bool append, size_t tx)
{
	struct proxy_count before;
	struct device d;
	struct w1 w;
	size_t sets = bench_options.rows / 20 / tx + 1;

	if (!bench_wanted(key))
		return;
	stack_user(user);
	make_counted(&d, user, "a", append ? w1_append_sql : w1_table_sql, append);
	device_start(&d);
	w1_begin(&w, 1);
	before = proxy_count();
	for (size_t i = 0; i < sets; i++) {
		device_w1(&d, &w, tx, tx, append);
		device_acked(&d);
	}
	bench_sample(key, (proxy_count().up - before.up) / (double)(sets * tx));
	device_free(&d);
}

static void bytes_repeat(unsigned r)
{
	(void)r;
	stack_start();
	count_rows("bytes_row_uuid_100", "uuid-100", false, 100);
	count_rows("bytes_row_uuid_1000", "uuid-1000", false, 1000);
	stack_stop();
	stack_start(); /* the same table, with another key */
	count_rows("bytes_row_append_100", "append-100", true, 100);
	count_rows("bytes_row_append_1000", "append-1000", true, 1000);
	stack_stop();
}

static void single_repeat(unsigned r)
{
	struct proxy_count before;
	struct w1 w;

	stack_start();
	stack_user("bench");
	make_counted(&a, "bench", "a", w1_table_sql, false);
	device_start(&a);
	w1_begin(&w, r + 1);
	device_w1(&a, &w, 1, 1, false); /* the first of a table may say more */
	device_acked(&a);
	before = proxy_count();
	device_w1(&a, &w, 1, 1, false);
	device_acked(&a);
	bench_sample("bytes_single", proxy_count().up_plain - before.up_plain);
	end_devices();
}

/* --- updates of state --- */

static void update(struct device *d, struct w2 *w, size_t n)
{
	struct w2_update u;

	bench_sql(d->app, "BEGIN IMMEDIATE");
	for (size_t i = 0; i < n; i++) {
		char sql[80];
		sqlite3_stmt *s;

		w2_next(w, &u);
		snprintf(sql, sizeof sql, "UPDATE state SET %s = ?1 WHERE id = ?2",
			 w2_column[u.column]);
		s = bench_prepare(d->app, sql);
		w2_bind(s, &u);
		bench_step(d->app, s);
		sqlite3_finalize(s);
	}
	bench_sql(d->app, "COMMIT");
}

static void check_same(void)
{
	bench_sql(a.app, "ATTACH '%s' AS other", b.path);
	if (bench_int(a.app, "SELECT count(*) FROM (SELECT * FROM state EXCEPT SELECT * FROM "
			     "other.state)"))
		bench_die("the two devices differ");
	bench_sql(a.app, "DETACH other");
}

static void updates_repeat(unsigned r)
{
	enum { ROUND = 1000 };
	size_t rounds = bench_options.rows / 10 / ROUND + 1;
	struct proxy_count before;
	struct w2 wa, wb;

	two_devices(w2_table_sql);
	w2_fill(a.app, r + 1);
	device_start(&a);
	device_start(&b);
	w2_begin(&wa, r + 1, 'A');
	w2_begin(&wb, r + 1, 'B');
	before = proxy_count();
	for (size_t i = 0; i < rounds; i++) {
		update(&a, &wa, ROUND);
		update(&b, &wb, ROUND);
		device_acked(&a);
		device_acked(&b);
	}
	bench_sample("bytes_update_w2",
		     (proxy_count().up - before.up) / (double)(2 * rounds * ROUND));
	for (int i = 0; i < 2; i++) {
		device_sync(&a);
		device_sync(&b);
	}
	check_same();
	end_devices();
}

/* --- how long --- */

static double ping(struct w1 *w)
{
	long long had = bench_int(b.app, "SELECT count(*) FROM readings");
	sqlite3_stmt *s = bench_prepare(b.app, "SELECT count(*) FROM readings");
	double began;
	long long has = had;

	device_w1(&a, w, 1, 1, false);
	began = bench_now();
	while (has == had) {
		usleep(50);
		if (sqlite3_step(s) == SQLITE_ROW)
			has = sqlite3_column_int64(s, 0);
		sqlite3_reset(s);
		if (bench_now() - began > 10)
			bench_die("a row did not arrive within 10 s");
	}
	sqlite3_finalize(s);
	return (bench_now() - began) * 1000;
}

static void ping_repeat(unsigned r)
{
	enum { PINGS = 100 };
	double ours[PINGS], json[PINGS];
	struct w1 w;

	stack_start();
	stack_user("bench");
	device_make(&a, "bench", "a", w1_table_sql, false);
	device_make(&b, "bench", "b", w1_table_sql, false);
	device_start(&a);
	device_start(&b);
	json_ping_begin();
	w1_begin(&w, r + 1);
	for (size_t i = 0; i < PINGS; i++) {
		ours[i] = ping(&w);
		usleep(5000);
		json[i] = json_ping();
		usleep(5000);
	}
	json_ping_end();
	end_devices();
	qsort(ours, PINGS, sizeof *ours, bench_by_size);
	qsort(json, PINGS, sizeof *json, bench_by_size);
	double a_ms = bench_median(ours, PINGS), json_ms = bench_median(json, PINGS);
	bench_sample("ping_p50_ms", a_ms);
	bench_sample("json_ping_p50_ms", json_ms);
	bench_sample("ping_p50_ratio", a_ms / json_ms);
}

/* Seconds from starting the engine, which connects, until nothing is missing. */
static double start_and_sync(struct device *d)
{
	double began = bench_now();

	if (neap_start(d->handle))
		bench_die("%s: %s", d->path, neap_error(d->handle));
	device_sync(d);
	return bench_now() - began;
}

static void stop(struct device *d)
{
	if (neap_stop(d->handle))
		bench_die("%s: %s", d->path, neap_error(d->handle));
}

/* Both have `rows`; B was away while A wrote ten. Milliseconds until B has them and knows it. */
static double catch_up(size_t rows, struct proxy_count *bytes)
{
	struct proxy_count before, after;
	struct w1 w;
	double took;

	two_devices(w1_table_sql);
	device_start(&a);
	w1_begin(&w, 1);
	device_w1(&a, &w, rows, 1000, false);
	device_sync(&a);
	device_sync(&b);
	device_w1(&a, &w, 10, 10, false);
	device_sync(&a);
	device_stop(&a);
	before = proxy_count();
	took = start_and_sync(&b) * 1000;
	after = proxy_count();
	stop(&b);
	if (bench_int(b.app, "SELECT count(*) FROM readings") != (long long)rows + 10)
		bench_die("rows are missing after a catch-up");
	end_devices();
	bytes->up = after.up + after.down - before.up - before.down;
	bytes->up_plain = after.up_plain + after.down_plain - before.up_plain - before.down_plain;
	return took;
}

static void catchup_repeat(unsigned r)
{
	struct proxy_count bytes, unused;
	double small, large;

	(void)r;
	if (bench_wanted("catchup_10_ms") || bench_wanted("catchup_10_bytes") ||
	    bench_wanted("catchup_10_tcp_bytes")) {
		bench_sample("catchup_10_ms", catch_up(bench_options.rows, &bytes));
		bench_sample("catchup_10_bytes", bytes.up_plain);
		bench_sample("catchup_10_tcp_bytes", bytes.up);
	}
	if (!bench_wanted("catchup_flat_ratio"))
		return;
	small = catch_up(bench_options.rows / 10, &unused);
	large = catch_up(bench_options.rows * 10, &unused);
	bench_sample("catchup_flat_ratio", large / small);
}

static void fresh_repeat(unsigned r)
{
	struct proxy_count before, after;
	struct w1 w;

	two_devices(w1_table_sql);
	w1_begin(&w, r + 1);
	device_w1(&a, &w, bench_options.rows, 1000, false);
	device_sync(&a);
	before = proxy_count();
	bench_sample("fresh_100k_s", start_and_sync(&b));
	after = proxy_count();
	stop(&b);
	bench_sample("fresh_100k_bytes", after.up + after.down - before.up - before.down);
	end_devices();
}

static const char *const bytes_keys[] = {"bytes_row_uuid_100", "bytes_row_uuid_1000",
					 "bytes_row_append_100", "bytes_row_append_1000", NULL};
static const char *const single_keys[] = {"bytes_single", NULL};
static const char *const updates_keys[] = {"bytes_update_w2", NULL};
static const char *const ping_keys[] = {"ping_p50_ratio", "ping_p50_ms", "json_ping_p50_ms", NULL};
static const char *const catchup_keys[] = {"catchup_10_ms", "catchup_10_bytes",
					   "catchup_10_tcp_bytes", "catchup_flat_ratio", NULL};
static const char *const fresh_keys[] = {"fresh_100k_s", "fresh_100k_bytes", NULL};
const struct bench_part bench_bytes = {"bytes a row", bytes_keys, NULL, bytes_repeat, NULL};
const struct bench_part bench_single = {"bytes of one row", single_keys, NULL, single_repeat, NULL};
const struct bench_part bench_updates = {"updates", updates_keys, NULL, updates_repeat, NULL};
const struct bench_part bench_ping = {"ping", ping_keys, NULL, ping_repeat, NULL};
const struct bench_part bench_catchup = {"catch-up", catchup_keys, NULL, catchup_repeat, NULL};
const struct bench_part bench_fresh = {"fresh device", fresh_keys, NULL, fresh_repeat, NULL};
