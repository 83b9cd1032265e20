/*
 * neap_sim: see docs/simulator.md, and usage() below.
 *
 * Exits 0 if all seeds hold, 1 after the first failures, which it names, with the shortest trace
 * it finds of each. --expect-failure turns that round: 0 as soon as one seed fails (tests of the
 * simulator itself).
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/runner.h"
#include "tests/sim/shrink.h"

enum { SHRINK_S = 60, SHRUNK_MAX = 3, PROGRESS_S = 60 };

struct arguments {
	struct plan plan;
	bool expect_failure, shrink;
};

static const struct {
	const char *name;
	size_t engine, ingest; /* offsets of flags + 1; 0 none */
} rules[] = {
#define AT(type, flag) (offsetof(struct type, flag) + 1)
	{"no_hold", AT(engine_break, no_hold), 0},
	{"hold_forgotten", AT(engine_break, hold_forgotten), 0},
	{"clear_by_stamp", AT(engine_break, clear_by_stamp), 0},
	{"upsert", AT(engine_break, upsert), 0},
	{"cells_beat_delete", AT(engine_break, cells_beat_delete), 0},
	{"no_filler", AT(engine_break, no_filler), 0},
	{"clear_early", AT(engine_break, clear_early), 0},
	{"trust_head", AT(engine_break, trust_head), 0},
	{"skip_own", AT(engine_break, skip_own), 0},
	{"restamp_cut", AT(engine_break, restamp_cut), 0},
	{"no_floor", AT(engine_break, no_floor), 0},
	{"no_restamp", AT(engine_break, no_restamp), 0},
	{"no_skip", AT(engine_break, no_skip), 0},
	{"no_sync", AT(engine_break, no_sync), 0},
	{"no_sweep", AT(engine_break, no_sweep), 0},
	{"no_ask", AT(engine_break, no_ask), 0},
	{"no_repull", AT(engine_break, no_repull), 0},
	{"publish_as_sent", 0, AT(ingest_break, publish_as_sent)},
	{"no_correct", 0, AT(ingest_break, no_correct)},
	{"no_join", 0, AT(ingest_break, no_join)},
	{"last_wins", 0, AT(ingest_break, last_wins)},
	{"void_all", 0, AT(ingest_break, void_all)},
	{"no_term", 0, AT(ingest_break, no_term)},
	{"no_successor", 0, AT(ingest_break, no_successor)},
	{"receipt_clears", AT(engine_break, receipt_clears), 0},
	{"site_lost", AT(engine_break, site_lost), 0},
	{"no_park", AT(engine_break, no_park), 0},
	{"sum_marked", AT(engine_break, sum_marked), 0},
	{"sum_above", 0, AT(ingest_break, sum_above)},
	{"no_leaving", 0, AT(ingest_break, no_leaving)},
	{"sql_by_clock", 0, AT(ingest_break, sql_by_clock)},
	{"no_unique", 0, AT(ingest_break, no_unique)},
	{"no_report", AT(engine_break, no_report), 0},
	{"no_cut_id", 0, AT(ingest_break, no_cut_id)},
	{"no_fence", 0, AT(ingest_break, no_fence)},
	{"no_behind", 0, AT(ingest_break, no_behind)},
	{"no_clash", 0, AT(ingest_break, no_clash)},
	{"ack_own_seq", 0, AT(ingest_break, ack_own_seq)},
	{"ack_unsynced", 0, AT(ingest_break, ack_unsynced)},
	{"no_own_pull", 0, AT(ingest_break, no_own_pull)},
	{"no_gc_check", 0, AT(ingest_break, no_gc_check)},
	{"no_gc_base", 0, AT(ingest_break, no_gc_base)},
	{"any_stamp", 0, AT(ingest_break, any_stamp)},
	{"no_compare", 0, AT(ingest_break, no_compare)},
	{"no_ranges", 0, AT(ingest_break, no_ranges)},
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
	fprintf(to, "usage: neap_sim [--seeds A..B | --hours H] [--seconds S] [--devices N[..M]]\n"
		    "                [--users N] [--activities N] [--climate "
		    "any|tiny|dense|moving|wide|\n"
		    "                copies|clocks|collect|schema|strict|operator]\n"
		    "                [--crash device|store [--power] [--crash-at K]] [-j JOBS] "
		    "[--break RULE]... [--expect-failure] [--no-shrink] "
		    "[--trace] [--verify]\n"
		    "--hours soaks, from a random seed on, and says each minute how far it is.\n"
		    "rules:");
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
		fprintf(to, " %s", rules[i].name);
	fprintf(to, "\n");
}

/* A or A..B. */
static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
	char *end;

	errno = 0;
	*first = *last = strtoull(text, &end, 10);
	if (strncmp(end, "..", 2) == 0)
		*last = strtoull(end + 2, &end, 10);
	return !errno && !*end && *first >= 1 && *last >= *first;
}

static bool parse_number(const char *text, unsigned most, unsigned *out)
{
	uint64_t a, b;

	if (!parse_range(text, &a, &b) || a != b || a > most)
		return false;
	*out = (unsigned)a;
	return true;
}

static bool parse_devices(const char *text, struct options *o)
{
	uint64_t a, b;

	if (!parse_range(text, &a, &b) || b > DEVICES_MAX - 2)
		return false;
	o->devices = (unsigned)a;
	o->devices_most = (unsigned)b;
	return true;
}

static bool parse_climate(const char *text, struct options *o)
{
	static const char *const name[] = {"any",    "tiny",   "dense",	  "moving",
					   "wide",   "copies", "clocks",  "collect",
					   "schema", "strict", "operator"};

	for (unsigned i = 0; i < sizeof name / sizeof name[0]; i++) {
		if (strcmp(text, name[i]) != 0)
			continue;
		o->climate = (enum kind_of_climate)i;
		return true;
	}
	return false;
}

/* Soaks: seconds from hours, which may have a fraction; the seeds begin anywhere. */
static bool parse_hours(const char *text, struct plan *p)
{
	char *end;
	double hours = strtod(text, &end);
	struct timespec now;

	if (*end || !(hours > 0) || hours > 10000)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	p->seconds = (uint64_t)(hours * 3600);
	p->progress_s = PROGRESS_S;
	if (!p->first) {
		p->first = ((uint64_t)now.tv_sec << 20 ^ (uint64_t)now.tv_nsec) % 1000000000000u;
		p->last = UINT64_MAX;
	}
	return true;
}

static bool parse_one(int c, const char *arg, struct arguments *a)
{
	struct plan *p = &a->plan;
	unsigned n = 0;

	switch (c) {
	case 's':
		return parse_range(arg, &p->first, &p->last);
	case 'H':
		return parse_hours(arg, p);
	case 'd':
		return parse_devices(arg, &p->opt);
	case 'u':
		return parse_number(arg, USERS_MAX, &p->opt.users);
	case 'a':
		return parse_number(arg, 4000, &p->opt.activities);
	case 'c':
		return parse_climate(arg, &p->opt);
	case 't':
		if (!parse_number(arg, 10000000, &n))
			return false;
		p->seconds = n;
		return true;
	case 'j':
		return parse_number(arg, JOBS_MAX, &p->jobs);
	case 'b':
		return set_rule(&p->opt, arg);
	case 'r':
		p->opt.crash = strcmp(arg, "device") == 0  ? CRASH_DEVICE
			       : strcmp(arg, "store") == 0 ? CRASH_STORE
							   : CRASH_NONE;
		return p->opt.crash != CRASH_NONE;
	case 'k':
		if (!parse_number(arg, 1000000, &n))
			return false;
		p->opt.crash_at = n;
		return true;
	case 'p':
		p->opt.power = true;
		return true;
	case 'v':
		p->opt.trace = true;
		return true;
	case 'x':
		a->expect_failure = true;
		p->failures = 1;
		return true;
	case 'n':
		a->shrink = false;
		return true;
	case 'V':
		a->plan.opt.verify = true;
		return true;
	default:
		return false;
	}
}

static bool parse(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 's'},
		{"hours", required_argument, NULL, 'H'},
		{"seconds", required_argument, NULL, 't'},
		{"devices", required_argument, NULL, 'd'},
		{"users", required_argument, NULL, 'u'},
		{"activities", required_argument, NULL, 'a'},
		{"climate", required_argument, NULL, 'c'},
		{"crash", required_argument, NULL, 'r'},
		{"crash-at", required_argument, NULL, 'k'},
		{"power", no_argument, NULL, 'p'},
		{"break", required_argument, NULL, 'b'},
		{"jobs", required_argument, NULL, 'j'},
		{"trace", no_argument, NULL, 'v'},
		{"verify", no_argument, NULL, 'V'},
		{"expect-failure", no_argument, NULL, 'x'},
		{"no-shrink", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*a = (struct arguments){.plan = {.opt = {.devices = 3, .devices_most = 3},
					 .jobs = 1,
					 .failures = FAILURES_MAX},
				.shrink = true};
	while ((c = getopt_long(argc, argv, "j:h", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		if (!parse_one(c, optarg, a))
			return false;
	}
	return optind == argc && a->plan.first && a->plan.opt.devices >= a->plan.opt.users;
}

int main(int argc, char **argv)
{
	static struct results r;
	struct arguments a;

	if (!parse(argc, argv, &a)) {
		usage(stderr);
		return 2;
	}
	run_plan(&a.plan, &r);
	for (unsigned i = 0; i < r.n_failed && i < SHRUNK_MAX; i++)
		if (a.shrink && !a.plan.opt.crash && !a.expect_failure && !a.plan.opt.trace)
			shrink(r.failed[i], &a.plan.opt, SHRINK_S);
	report(&a.plan, &r.totals);
	bool failed = r.n_failed > 0;
	printf("%s\n", failed ? "FAILED" : "ok");
	return failed != a.expect_failure;
}
