/*
 * neap_sim --seeds A..B [--devices N] [-j JOBS] [--seconds S] [--break RULE]... [--trace]
 *
 * Runs each seed and exits 0 if all hold, 1 after the first failures, which it names.
 * --expect-failure turns that round: 0 as soon as one seed fails (tests of the simulator itself).
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

enum { JOBS_MAX = 64, FAILURES_MAX = 10 };

/* What the processes share. */
struct board {
	uint64_t next; /* seed to take next */
	uint64_t failures;
	bool stop;
	struct {
		uint64_t seed; /* under way; 0 none */
		struct totals totals;
	} job[JOBS_MAX];
};

struct arguments {
	struct options opt;
	uint64_t first, last;
	unsigned jobs;
	uint64_t seconds;
	bool expect_failure;
};

static const struct {
	const char *name;
	size_t engine, ingest; /* offsets of flags + 1; 0 none */
} rules[] = {
#define AT(type, flag) (offsetof(struct type, flag) + 1)
	{"no_hold", AT(engine_break, no_hold), 0},
	{"clear_by_stamp", AT(engine_break, clear_by_stamp), 0},
	{"no_join", AT(engine_break, no_join), AT(ingest_break, no_join)},
	{"clear_early", AT(engine_break, clear_early), 0},
	{"trust_head", AT(engine_break, trust_head), 0},
	{"skip_own", AT(engine_break, skip_own), 0},
	{"publish_as_sent", 0, AT(ingest_break, publish_as_sent)},
	{"no_correct", 0, AT(ingest_break, no_correct)},
	{"no_term", 0, AT(ingest_break, no_term)},
	{"no_successor", 0, AT(ingest_break, no_successor)},
	{"ack_own_seq", 0, AT(ingest_break, ack_own_seq)},
};

static void set_flag(void *flags, size_t at)
{
	bool on = true;

	if (at)
		memcpy((char *)flags + at - 1, &on, sizeof on);
}

static bool set_rule(struct options *opt, const char *name)
{
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		if (strcmp(rules[i].name, name) != 0)
			continue;
		set_flag(&opt->engine_broken, rules[i].engine);
		set_flag(&opt->ingest_broken, rules[i].ingest);
		return true;
	}
	return false;
}

static void usage(FILE *to)
{
	fprintf(to, "usage: neap_sim --seeds A..B [--devices N] [-j JOBS] [--seconds S]\n"
		    "                [--break RULE]... [--expect-failure] [--trace]\n"
		    "rules:");
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
		fprintf(to, " %s", rules[i].name);
	fprintf(to, "\n");
}

static bool parse_seeds(const char *text, struct arguments *a)
{
	char *end;

	errno = 0;
	a->first = a->last = strtoull(text, &end, 10);
	if (strncmp(end, "..", 2) == 0)
		a->last = strtoull(end + 2, &end, 10);
	return !errno && !*end && a->first >= 1 && a->last >= a->first;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 's'},
		{"devices", required_argument, NULL, 'd'},
		{"seconds", required_argument, NULL, 't'},
		{"break", required_argument, NULL, 'b'},
		{"jobs", required_argument, NULL, 'j'},
		{"trace", no_argument, NULL, 'v'},
		{"expect-failure", no_argument, NULL, 'x'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*a = (struct arguments){.opt = {.devices = 3}, .jobs = 1};
	while ((c = getopt_long(argc, argv, "j:h", options, NULL)) != -1) {
		if (c == 's' && !parse_seeds(optarg, a))
			return false;
		if (c == 'd')
			a->opt.devices = (unsigned)atoi(optarg);
		if (c == 't')
			a->seconds = strtoull(optarg, NULL, 10);
		if (c == 'j')
			a->jobs = (unsigned)atoi(optarg);
		if (c == 'v')
			a->opt.trace = true;
		if (c == 'x')
			a->expect_failure = true;
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		if (c == '?' || (c == 'b' && !set_rule(&a->opt, optarg)))
			return false;
	}
	return optind == argc && a->first && a->opt.devices >= 1 &&
	       a->opt.devices <= DEVICES_MAX - 2 && a->jobs >= 1 && a->jobs <= JOBS_MAX;
}

/* ---- running ---- */

static bool run_seed(const struct arguments *a, struct board *b, unsigned job, uint64_t seed)
{
	static char why[4096];

	b->job[job].seed = seed;
	bool ok = world_run(seed, &a->opt, &b->job[job].totals, why, sizeof why);
	b->job[job].seed = 0;
	if (!ok) {
		printf("seed %llu: %s\n", (unsigned long long)seed, why);
		fflush(stdout);
	}
	return ok;
}

static void note_failure(const struct arguments *a, struct board *b)
{
	uint64_t n = __atomic_add_fetch(&b->failures, 1, __ATOMIC_SEQ_CST);

	if (a->expect_failure || n >= FAILURES_MAX)
		b->stop = true;
}

static void work(const struct arguments *a, struct board *b, unsigned job, time_t end)
{
	memvfs_register();
	while (!b->stop && (!end || time(NULL) < end)) {
		uint64_t seed = __atomic_fetch_add(&b->next, 1, __ATOMIC_SEQ_CST);
		if (seed > a->last)
			break;
		if (!run_seed(a, b, job, seed))
			note_failure(a, b);
	}
}

static pid_t start(const struct arguments *a, struct board *b, unsigned job, time_t end)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		work(a, b, job, end);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

/* A process that died took its seed with it: that is a failure, and another one goes on. */
static void work_in_processes(const struct arguments *a, struct board *b, time_t end)
{
	pid_t pid[JOBS_MAX];
	unsigned left = a->jobs;

	for (unsigned i = 0; i < a->jobs; i++)
		pid[i] = start(a, b, i, end);
	while (left) {
		int status;
		pid_t done = wait(&status);
		if (done < 0)
			return;
		for (unsigned i = 0; i < a->jobs; i++) {
			if (pid[i] != done)
				continue;
			if (status == 0) {
				left--;
				continue;
			}
			printf("seed %llu: the process died (status %x)\n",
			       (unsigned long long)b->job[i].seed, (unsigned)status);
			note_failure(a, b);
			pid[i] = start(a, b, i, end);
		}
	}
}

static void report(const struct arguments *a, const struct board *b)
{
	struct totals t = {0};

	for (unsigned i = 0; i < a->jobs; i++) {
		const struct totals *one = &b->job[i].totals;
		for (unsigned f = 0; f < FAULT_N; f++)
			t.fault[f] += one->fault[f];
		t.seeds += one->seeds;
		t.app_rows += one->app_rows;
		t.messages += one->messages;
		t.steps += one->steps;
		t.batches += one->batches;
	}
	printf("%llu seeds of %u devices: %llu writes, %llu messages, %llu engine steps, %llu "
	       "ingest steps\n",
	       (unsigned long long)t.seeds, a->opt.devices, (unsigned long long)t.app_rows,
	       (unsigned long long)t.messages, (unsigned long long)t.steps,
	       (unsigned long long)t.batches);
	for (unsigned f = 0; f < FAULT_N; f++)
		printf("  %8llu %s\n", (unsigned long long)t.fault[f], fault_name[f]);
}

int main(int argc, char **argv)
{
	struct arguments a;

	if (!parse(argc, argv, &a)) {
		usage(stderr);
		return 2;
	}
	struct board *b =
		mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED) {
		perror("neap_sim: mmap");
		return 1;
	}
	b->next = a.first;
	time_t end = a.seconds ? time(NULL) + (time_t)a.seconds : 0;
	if (a.opt.trace)
		work(&a, b, 0, end); /* in this process, for a debugger */
	else
		work_in_processes(&a, b, end);
	report(&a, b);
	bool failed = b->failures > 0;
	printf("%s\n", failed ? "FAILED" : "ok");
	return failed != a.expect_failure;
}
