/*
 * The benchmark: Neap beside what a user would pick instead and beside the
 * physical limit, in one run on one machine. docs/performance.md says what
 * each key means.
 *
 *   neap_bench [--rows N] [--repeats N] [--devices N] [--only KEY[,KEY]] [--json]
 */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/process.h"
#include "tests/bench/stack.h"

struct bench_options bench_options = {.rows = 100000, .repeats = 5, .devices = 100};
char bench_dir[] = "/tmp/neap-bench.XXXXXX";

static const struct bench_part *const parts[] = {
	&bench_capture, &bench_ingest, &bench_single, &bench_bytes, &bench_updates, &bench_ping,
	&bench_catchup, &bench_fresh,  &bench_fleet,  &bench_users, &bench_radio,
};

double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Also where a part of the fleet ends the program. */
static void stop_all(void)
{
	process_kill_all();
	stack_stop();
}

void bench_die(const char *fmt, ...)
{
	static bool dying;
	va_list ap;

	fputs("neap_bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	if (!dying) {
		dying = true;
		stop_all();
		fprintf(stderr, "neap_bench: what was written is left in %s\n", bench_dir);
	}
	_exit(1);
}

static void on_signal(int sig)
{
	(void)sig;
	bench_die("stopped");
}

static void usage(void)
{
	fprintf(stderr, "usage: neap_bench [--rows N] [--repeats N] [--devices N] "
			"[--only KEY[,KEY]] [--json]\n");
	exit(2);
}

static size_t number(const char *text, size_t least, size_t most)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n < least || n > most) {
		fprintf(stderr, "neap_bench: \"%s\" is no number from %zu to %zu\n", text, least,
			most);
		exit(2);
	}
	return n;
}

static void check_only(const char *keys)
{
	char key[64];
	size_t len;

	for (; *keys; keys += len + (keys[len] == ',')) {
		len = strcspn(keys, ",");
		snprintf(key, sizeof key, "%.*s", (int)len, keys);
		if (!bench_known(key)) {
			fprintf(stderr,
				"neap_bench: no key \"%s\"; docs/performance.md lists them\n", key);
			exit(2);
		}
	}
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"rows", 1, NULL, 'r'}, {"repeats", 1, NULL, 'n'}, {"devices", 1, NULL, 'd'},
		{"only", 1, NULL, 'o'}, {"json", 0, NULL, 'j'},	   {NULL, 0, NULL, 0},
	};

	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (c) {
		case 'r':
			bench_options.rows = number(optarg, 1000, 10000000);
			break;
		case 'n':
			bench_options.repeats = (unsigned)number(optarg, 1, BENCH_REPEATS);
			break;
		case 'd':
			bench_options.devices = number(optarg, 1, 20000);
			break;
		case 'o':
			check_only(bench_options.only = optarg);
			break;
		case 'j':
			bench_options.json = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

static bool wanted(const struct bench_part *p)
{
	for (size_t i = 0; p->keys[i]; i++) {
		if (bench_wanted(p->keys[i]))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (!mkdtemp(bench_dir))
		bench_die("cannot make %s", bench_dir);
	if (atexit(stop_all))
		bench_die("no memory");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		if (!wanted(parts[i]))
			continue;
		if (parts[i]->begin)
			parts[i]->begin();
		for (unsigned r = 0; r < bench_options.repeats; r++) {
			bench_progress("%s, repeat %u of %u", parts[i]->name, r + 1,
				       bench_options.repeats);
			parts[i]->repeat(r);
		}
		if (parts[i]->end)
			parts[i]->end();
	}
	bench_progress("%s", "");
	bench_report();
	stop_all();
	process_run((const char *const[]){"/bin/rm", "-rf", bench_dir, NULL});
	return 0;
}
