/* Processes that the benchmark starts; all of them end with it. */
#ifndef NEAP_TESTS_BENCH_PROCESS_H
#define NEAP_TESTS_BENCH_PROCESS_H

#include <stdio.h>
#include <sys/types.h>

struct process {
	pid_t pid;
	FILE *in, *out; /* its standard input and output */
};

/* Starts argv[0] …; its messages go to bench_dir/log. */
void process_start(struct process *p, const char *const *argv);
/* SIGTERM, and waits for the end. */
void process_stop(struct process *p);
/* Waits for the end; what it said last is in `line`. Ends the program unless it exits with 0. */
void process_finish(struct process *p, char *line, size_t size);
/* Starts, then waits for exit code 0. */
void process_run(const char *const *argv);
/* Kills what still runs. */
void process_kill_all(void);

/* The most memory a process had since process_forget_peak, in MiB. */
double process_peak_mib(pid_t pid);
void process_forget_peak(pid_t pid);
/* Bytes that it caused to be written to disk; processor time in seconds. */
double process_disk_bytes(pid_t pid);
double process_cpu_s(pid_t pid);

#endif
