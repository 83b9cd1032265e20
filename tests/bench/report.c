/* The keys, their goals, the samples taken, and how they are printed. */
#include <assert.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tests/bench/bench.h"

/* `goal`: 0 none; above it 1 is better, below −1. */
static struct key {
	const char *name, *unit;
	int better;
	double goal;
	size_t n;
	double sample[BENCH_REPEATS];
} keys[] = {
	{.name = "ingest_tx1000_ratio", .unit = "x", .better = 1, .goal = 2.0},
	{.name = "ingest_tx1_ratio", .unit = "x", .better = 1, .goal = 3.0},
	{.name = "ingest_vs_sqlite", .unit = "x", .better = 1, .goal = 0.5},
	{.name = "ingest_tx1000_rows_s", .unit = "rows/s"},
	{.name = "ingest_tx1_rows_s", .unit = "rows/s"},
	{.name = "ingest_append_tx1000_rows_s", .unit = "rows/s"},
	{.name = "json_tx1000_rows_s", .unit = "rows/s"},
	{.name = "json_tx1_rows_s", .unit = "rows/s"},
	{.name = "sqlite_tx1000_rows_s", .unit = "rows/s"},
	{.name = "bytes_row_uuid_100", .unit = "B", .better = -1, .goal = 19},
	{.name = "bytes_row_uuid_1000", .unit = "B", .better = -1, .goal = 16},
	{.name = "bytes_row_append_100", .unit = "B", .better = -1, .goal = 7},
	{.name = "bytes_row_append_1000", .unit = "B", .better = -1, .goal = 3.5},
	{.name = "bytes_single", .unit = "B", .better = -1, .goal = 165},
	{.name = "bytes_update_w2", .unit = "B", .better = -1, .goal = 8},
	{.name = "capture_merge_tx1000", .unit = "x", .better = -1, .goal = 1.6},
	{.name = "capture_merge_tx1", .unit = "x", .better = -1, .goal = 1.6},
	{.name = "capture_append_tx1000", .unit = "x", .better = -1, .goal = 1.1},
	{.name = "capture_append_tx1", .unit = "x", .better = -1, .goal = 1.1},
	{.name = "growth_after_ack", .unit = "x", .better = -1, .goal = 1.05},
	{.name = "disk_bytes_row", .unit = "B"},
	{.name = "disk_plain_bytes_row", .unit = "B"},
	{.name = "ping_p50_ratio", .unit = "x", .better = -1, .goal = 2.0},
	{.name = "ping_p50_ms", .unit = "ms"},
	{.name = "json_ping_p50_ms", .unit = "ms"},
	{.name = "catchup_10_ms", .unit = "ms", .better = -1, .goal = 10},
	{.name = "catchup_10_bytes", .unit = "B", .better = -1, .goal = 1500},
	{.name = "catchup_10_tcp_bytes", .unit = "B"},
	{.name = "catchup_flat_ratio", .unit = "x", .better = -1, .goal = 1.3},
	{.name = "fresh_100k_s", .unit = "s", .better = -1, .goal = 2},
	{.name = "fresh_100k_bytes", .unit = "B", .better = -1, .goal = 2.2e6},
	{.name = "rss_agent_mib", .unit = "MiB", .better = -1, .goal = 12},
	{.name = "rss_backend_mib", .unit = "MiB", .better = -1, .goal = 48},
	{.name = "idle_reconnect_backend_us", .unit = "us", .better = -1, .goal = 20},
	{.name = "storm_10k_s", .unit = "x", .better = -1, .goal = 1.5},
	{.name = "storm_seconds", .unit = "s"},
	{.name = "bare_connects_seconds", .unit = "s"},
	{.name = "users_10k_rows_s_ratio", .unit = "x", .better = 1, .goal = 0.5},
	{.name = "radio_idle_bytes_hour", .unit = "B"},
	{.name = "radio_idle_messages_hour", .unit = ""},
	{.name = "radio_busy_bytes_hour", .unit = "B"},
	{.name = "radio_busy_messages_hour", .unit = ""},
	{.name = "radio_5m_idle_bytes_hour", .unit = "B"},
	{.name = "radio_5m_idle_messages_hour", .unit = ""},
	{.name = "radio_5m_busy_bytes_hour", .unit = "B"},
	{.name = "radio_5m_busy_messages_hour", .unit = ""},
};

enum { N_KEYS = sizeof keys / sizeof *keys };

static struct key *find(const char *name, size_t len)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strlen(keys[i].name) == len && !memcmp(keys[i].name, name, len))
			return &keys[i];
	}
	return NULL;
}

bool bench_known(const char *key)
{
	return find(key, strlen(key));
}

bool bench_wanted(const char *key)
{
	const char *at = bench_options.only;
	size_t len;

	if (!at)
		return true;
	for (; *at; at += len + (at[len] == ',')) {
		len = strcspn(at, ",");
		if (len == strlen(key) && !memcmp(at, key, len))
			return true;
	}
	return false;
}

void bench_sample(const char *key, double value)
{
	struct key *k = find(key, strlen(key));

	assert(k && k->n < BENCH_REPEATS);
	k->sample[k->n++] = value;
}

int bench_by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(const double *sorted, size_t n)
{
	return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static void machine(char *out, size_t size)
{
	char line[256], model[128] = "unknown processor";
	struct utsname u;
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f && fgets(line, sizeof line, f)) {
		if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
			snprintf(model, sizeof model, "%.120s", strchr(line, ':') + 2);
			model[strcspn(model, "\n")] = '\0';
			break;
		}
	}
	if (f)
		fclose(f);
	if (uname(&u))
		bench_die("uname failed");
	snprintf(out, size, "%s, %ld processors, %s %s, SQLite %s", model,
		 sysconf(_SC_NPROCESSORS_ONLN), u.sysname, u.release, sqlite3_libversion());
}

static void put_number(json_t *o, const char *name, const char *suffix, double value)
{
	char key[64];

	snprintf(key, sizeof key, "%s%s", name, suffix);
	if (json_object_set_new(o, key, json_real(value)))
		bench_die("no memory for the report");
}

static void print_json(const char *where)
{
	json_t *o = json_object();

	if (!o || json_object_set_new(o, "machine", json_string(where)))
		bench_die("no memory for the report");
	put_number(o, "rows", "", (double)bench_options.rows);
	put_number(o, "devices", "", (double)bench_options.devices);
	put_number(o, "repeats", "", bench_options.repeats);
	for (size_t i = 0; i < N_KEYS; i++) {
		if (!keys[i].n)
			continue;
		put_number(o, keys[i].name, "", bench_median(keys[i].sample, keys[i].n));
		put_number(o, keys[i].name, "_min", keys[i].sample[0]);
		put_number(o, keys[i].name, "_max", keys[i].sample[keys[i].n - 1]);
	}
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(o);
}

static void print_table(const char *where)
{
	printf("%s\n%zu rows, %zu devices, %u repeats by turns\n\n", where, bench_options.rows,
	       bench_options.devices, bench_options.repeats);
	printf("%-28s %12s %12s %12s %-7s %s\n", "", "least", "median", "greatest", "", "goal");
	for (size_t i = 0; i < N_KEYS; i++) {
		const struct key *k = &keys[i];

		if (!k->n)
			continue;
		double median = bench_median(k->sample, k->n);
		printf("%-28s %12.6g %12.6g %12.6g %-7s", k->name, k->sample[0], median,
		       k->sample[k->n - 1], k->unit);
		if (k->better)
			printf(" %s %g%s", k->better > 0 ? ">=" : "<=", k->goal,
			       (median - k->goal) * k->better >= 0 ? "" : "  missed");
		putchar('\n');
	}
}

void bench_report(void)
{
	char where[512];

	machine(where, sizeof where);
	for (size_t i = 0; i < N_KEYS; i++)
		qsort(keys[i].sample, keys[i].n, sizeof *keys[i].sample, bench_by_size);
	if (bench_options.json)
		print_json(where);
	else
		print_table(where);
}

void bench_progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
}
