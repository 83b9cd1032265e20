#include "tests/sim/shrink.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ACTIVITIES_MAX = 4096, RUN_S = 60 };

/* What is known of the shortest failing run so far. */
struct shrinking {
	uint64_t seed;
	struct options opt;
	bool drop[ACTIVITIES_MAX];
	unsigned n; /* activities of the run */
	time_t end;
	unsigned runs;
	struct outcome *out; /* shared with the process that runs */
	struct outcome last; /* of the shortest failing run */
};

/* In a process of its own: a run may end in an assert. True if it fails. */
static bool fails(struct shrinking *s, const struct options *opt)
{
	static struct totals unused;
	int status;

	s->runs++;
	memset(s->out, 0, sizeof *s->out);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(RUN_S);
		if (!opt->trace && !freopen("/dev/null", "w", stderr))
			_exit(1);
		memvfs_register();
		world_run(s->seed, opt, &unused, s->out);
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (status != 0)
		snprintf(s->out->why, sizeof s->out->why, "the process died (status %x)",
			 (unsigned)status);
	bool failed = status != 0 || !s->out->ok;
	if (failed)
		s->last = *s->out;
	return failed;
}

static bool time_left(const struct shrinking *s)
{
	return time(NULL) < s->end;
}

/* The fewest activities from the beginning that fail, by bisection. */
static void cut_short(struct shrinking *s)
{
	unsigned good = 0, bad = s->n;

	while (bad - good > 1 && time_left(s)) {
		struct options o = s->opt;
		o.stop = good + (bad - good) / 2;
		if (fails(s, &o))
			bad = o.stop;
		else
			good = o.stop;
	}
	s->opt.stop = s->n = bad;
}

/* Leaves out runs of `size` activities where it still fails; true if any was. */
static bool drop_runs(struct shrinking *s, unsigned size)
{
	bool any = false;

	for (unsigned at = 0; at < s->n && time_left(s); at += size) {
		bool before[ACTIVITIES_MAX], some = false;
		memcpy(before, s->drop, sizeof before);
		for (unsigned i = at; i < at + size && i < s->n; i++) {
			some = some || !s->drop[i];
			s->drop[i] = true;
		}
		if (some && fails(s, &s->opt))
			any = true;
		else
			memcpy(s->drop, before, sizeof before);
	}
	return any;
}

static void calm_down(struct shrinking *s)
{
	for (unsigned i = 0; i < CALM_N && time_left(s); i++) {
		struct options o = s->opt;
		o.calm |= 1u << i;
		if (fails(s, &o))
			s->opt.calm = o.calm;
	}
}

static void fewer_devices(struct shrinking *s)
{
	struct options o = s->opt;

	for (o.devices = o.devices_most = 1; o.devices < s->opt.devices && time_left(s);
	     o.devices = o.devices_most = o.devices + 1)
		if (fails(s, &o)) {
			s->opt.devices = s->opt.devices_most = o.devices;
			return;
		}
}

static void shorten(struct shrinking *s)
{
	bool any = true;

	cut_short(s);
	calm_down(s);
	while (any && time_left(s)) {
		any = false;
		for (unsigned size = s->n > 1 ? s->n / 2 : 1; size > 0 && time_left(s); size /= 2)
			any = drop_runs(s, size) || any;
	}
	calm_down(s);
	if (s->opt.devices == s->opt.devices_most)
		fewer_devices(s);
}

static void print_shortest(struct shrinking *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n; i++)
		kept += !s->drop[i];
	printf("---- seed %llu: the shortest trace found in %u runs has %u activities ----\n",
	       (unsigned long long)s->seed, s->runs, kept);
	s->opt.trace = true;
	fails(s, &s->opt);
	printf("---- seed %llu: %s ----\n", (unsigned long long)s->seed, s->last.why);
}

void shrink(uint64_t seed, const struct options *opt, unsigned seconds)
{
	struct shrinking *s = calloc(1, sizeof *s);

	assert(s);
	s->seed = seed;
	s->opt = *opt;
	s->opt.drop = s->drop;
	s->opt.n_drop = ACTIVITIES_MAX;
	s->end = time(NULL) + (time_t)seconds;
	s->out = mmap(NULL, sizeof *s->out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert(s->out != MAP_FAILED);
	if (fails(s, &s->opt)) {
		/* One that died could not tell how many it had. */
		s->n = s->last.activities ? s->last.activities : ACTIVITIES_MAX;
		if (s->n > ACTIVITIES_MAX)
			s->n = ACTIVITIES_MAX;
		shorten(s);
		print_shortest(s);
	}
	munmap(s->out, sizeof *s->out);
	free(s);
}
