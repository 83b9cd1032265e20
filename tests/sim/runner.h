/* Many seeds in several processes, and what they have in common. */
#ifndef NEAP_SIM_RUNNER_H
#define NEAP_SIM_RUNNER_H

#include "tests/sim/sim.h"

enum { JOBS_MAX = 64, FAILURES_MAX = 10 };

struct plan {
	struct options opt;
	uint64_t first, last; /* seeds */
	unsigned jobs;
	uint64_t seconds;    /* ends by itself; 0 never */
	uint64_t progress_s; /* a line each so many seconds; 0 none */
	unsigned failures;   /* stops after so many */
};

struct results {
	struct totals totals;
	uint64_t n_failed;
	uint64_t failed[FAILURES_MAX]; /* the first ones */
};

/* Runs the seeds of `p`; failing ones are named on stdout as they are found. */
void run_plan(const struct plan *p, struct results *out);
/* The counts of what was done, on stdout. */
void report(const struct plan *p, const struct totals *t);

#endif
