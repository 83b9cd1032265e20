#include "tests/sim/runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the processes share. */
struct board {
	uint64_t next; /* seed to take next */
	uint64_t n_failed, failed[FAILURES_MAX];
	bool stop;
	struct {
		uint64_t seed; /* under way; 0 none */
		struct totals totals;
	} job[JOBS_MAX];
};

static void note_failure(const struct plan *p, struct board *b, uint64_t seed)
{
	uint64_t n = __atomic_fetch_add(&b->n_failed, 1, __ATOMIC_SEQ_CST);

	if (n < FAILURES_MAX)
		b->failed[n] = seed;
	if (n + 1 >= p->failures)
		b->stop = true;
}

/* One seed with the disk failing at its first write, its second, … until none is left. */
static void crash_at_every(const struct plan *p, uint64_t seed, struct totals *t,
			   struct outcome *out)
{
	struct options o = p->opt;
	char why[1000];

	world_run(seed, &o, t, out);
	uint64_t writes = out->writes, k = 0;
	while (out->ok && k < writes) {
		o.crash_at = ++k;
		world_run(seed, &o, t, out);
	}
	if (out->ok)
		return;
	snprintf(why, sizeof why, "%.900s", out->why);
	snprintf(out->why, sizeof out->why, "--crash-at %llu of %llu: %s", (unsigned long long)k,
		 (unsigned long long)writes, why);
}

static void work(const struct plan *p, struct board *b, unsigned job, time_t end)
{
	static struct outcome out;

	memvfs_register();
	while (!b->stop && (!end || time(NULL) < end)) {
		uint64_t seed = __atomic_fetch_add(&b->next, 1, __ATOMIC_SEQ_CST);
		if (seed > p->last)
			break;
		b->job[job].seed = seed;
		if (p->opt.crash && !p->opt.crash_at)
			crash_at_every(p, seed, &b->job[job].totals, &out);
		else
			world_run(seed, &p->opt, &b->job[job].totals, &out);
		b->job[job].seed = 0;
		if (out.ok)
			continue;
		printf("seed %llu: %s\n", (unsigned long long)seed, out.why);
		fflush(stdout);
		note_failure(p, b, seed);
	}
}

static pid_t start(const struct plan *p, struct board *b, unsigned job, time_t end)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		work(p, b, job, end);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

static void sum(const struct plan *p, const struct board *b, struct totals *t)
{
	memset(t, 0, sizeof *t);
	for (unsigned i = 0; i < p->jobs; i++) {
		const struct totals *one = &b->job[i].totals;
		for (unsigned f = 0; f < FAULT_N; f++)
			t->fault[f] += one->fault[f];
		t->seeds += one->seeds;
		t->app_rows += one->app_rows;
		t->messages += one->messages;
		t->steps += one->steps;
		t->batches += one->batches;
		t->conflicts += one->conflicts;
	}
}

static void say_progress(const struct plan *p, const struct board *b, time_t begun)
{
	struct totals t;
	uint64_t faults = 0;

	sum(p, b, &t);
	for (unsigned f = 0; f < FAULT_N; f++)
		faults += t.fault[f];
	printf("%6llu s: %llu seeds up to %llu, %llu writes, %llu messages, %llu faults, %llu "
	       "failed\n",
	       (unsigned long long)(time(NULL) - begun), (unsigned long long)t.seeds,
	       (unsigned long long)b->next - 1, (unsigned long long)t.app_rows,
	       (unsigned long long)t.messages, (unsigned long long)faults,
	       (unsigned long long)b->n_failed);
	fflush(stdout);
}

/* Waits for a child to end; 0 if a progress line is due first. */
static pid_t wait_child(const struct plan *p, int *status)
{
	sigset_t child;
	struct timespec limit = {.tv_sec = (time_t)p->progress_s};

	if (!p->progress_s)
		return wait(status);
	pid_t done = waitpid(-1, status, WNOHANG);
	if (done)
		return done;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigtimedwait(&child, NULL, &limit);
	return waitpid(-1, status, WNOHANG);
}

/* A process that died took its seed with it: that is a failure, and another one goes on. */
static void work_in_processes(const struct plan *p, struct board *b, time_t begun, time_t end)
{
	pid_t pid[JOBS_MAX];
	unsigned left = p->jobs;

	for (unsigned i = 0; i < p->jobs; i++)
		pid[i] = start(p, b, i, end);
	while (left) {
		int status;
		pid_t done = wait_child(p, &status);
		if (done < 0)
			return;
		if (done == 0)
			say_progress(p, b, begun);
		for (unsigned i = 0; done && i < p->jobs; i++) {
			if (pid[i] != done)
				continue;
			if (status == 0) {
				left--;
				continue;
			}
			printf("seed %llu: the process died (status %x)\n",
			       (unsigned long long)b->job[i].seed, (unsigned)status);
			note_failure(p, b, b->job[i].seed);
			pid[i] = start(p, b, i, end);
		}
	}
}

void run_plan(const struct plan *p, struct results *out)
{
	sigset_t child;
	time_t begun = time(NULL), end = p->seconds ? begun + (time_t)p->seconds : 0;
	struct board *b =
		mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (b == MAP_FAILED) {
		perror("neap_sim: mmap");
		exit(1);
	}
	b->next = p->first;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if (p->opt.trace)
		work(p, b, 0, end); /* in this process, for a debugger */
	else
		work_in_processes(p, b, begun, end);
	sum(p, b, &out->totals);
	out->n_failed = b->n_failed;
	memcpy(out->failed, b->failed, sizeof out->failed);
	munmap(b, sizeof *b);
}

void report(const struct plan *p, const struct totals *t)
{
	char devices[32];

	snprintf(devices, sizeof devices, p->opt.devices == p->opt.devices_most ? "%u" : "%u to %u",
		 p->opt.devices, p->opt.devices_most);
	printf("%llu seeds of %s devices: %llu writes, %llu messages, %llu engine steps, %llu "
	       "ingest steps\n",
	       (unsigned long long)t->seeds, devices, (unsigned long long)t->app_rows,
	       (unsigned long long)t->messages, (unsigned long long)t->steps,
	       (unsigned long long)t->batches);
	for (unsigned f = 0; f < FAULT_N; f++)
		printf("  %8llu %s\n", (unsigned long long)t->fault[f], fault_name[f]);
	printf("  %8llu lost writes on devices' lists\n", (unsigned long long)t->conflicts);
}
