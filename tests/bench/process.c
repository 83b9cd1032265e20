#include "tests/bench/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { RUNNING_MAX = 32 };

static pid_t running[RUNNING_MAX];

static pid_t *slot_of(pid_t pid)
{
	for (size_t i = 0; i < RUNNING_MAX; i++) {
		if (running[i] == pid)
			return &running[i];
	}
	bench_die("more than %d processes", RUNNING_MAX);
}

static void become(const char *const *argv, int in, int out)
{
	char log[400];
	int fd;

	snprintf(log, sizeof log, "%s/log", bench_dir);
	fd = open(log, O_CREAT | O_WRONLY | O_APPEND, 0600);
	if (fd < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(fd, 2) < 0)
		_exit(126);
	close(in);
	close(out);
	close(fd);
	setpgid(0, 0);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

void process_start(struct process *p, const char *const *argv)
{
	int in[2], out[2];
	pid_t *slot = slot_of(0);

	if (pipe(in) || pipe(out) || fcntl(in[1], F_SETFD, FD_CLOEXEC) ||
	    fcntl(out[0], F_SETFD, FD_CLOEXEC))
		bench_die("no pipe for %s", argv[0]);
	p->pid = fork();
	if (p->pid < 0)
		bench_die("cannot start %s", argv[0]);
	if (p->pid == 0)
		become(argv, in[0], out[1]);
	*slot = p->pid;
	close(in[0]);
	close(out[1]);
	p->in = fdopen(in[1], "w");
	p->out = fdopen(out[0], "r");
	if (!p->in || !p->out)
		bench_die("no memory for a process");
}

static int reap(struct process *p)
{
	int status;

	if (waitpid(p->pid, &status, 0) != p->pid)
		bench_die("process %d is not ours", (int)p->pid);
	*slot_of(p->pid) = 0;
	fclose(p->in);
	fclose(p->out);
	p->pid = 0;
	return status;
}

void process_stop(struct process *p)
{
	if (!p->pid)
		return;
	kill(p->pid, SIGTERM);
	reap(p);
}

void process_finish(struct process *p, char *line, size_t size)
{
	char next[512];

	if (line && size)
		line[0] = '\0';
	while (fgets(next, sizeof next, p->out)) {
		if (line)
			snprintf(line, size, "%s", next);
	}
	if (reap(p))
		bench_die("a program that was started failed; what it said is in %s/log",
			  bench_dir);
}

void process_run(const char *const *argv)
{
	struct process p;
	int status;
	char next[512];

	process_start(&p, argv);
	while (fgets(next, sizeof next, p.out))
		;
	status = reap(&p);
	if (status)
		bench_die("%s %s failed (%d); what it said is in %s/log", argv[0],
			  argv[1] ? argv[1] : "", WEXITSTATUS(status), bench_dir);
}

void process_kill_all(void)
{
	for (size_t i = 0; i < RUNNING_MAX; i++) {
		if (running[i]) {
			kill(running[i], SIGKILL);
			waitpid(running[i], NULL, 0);
			running[i] = 0;
		}
	}
}

/* The number behind `name` in a file of /proc/PID. */
static double proc_number(pid_t pid, const char *file, const char *name)
{
	char path[64], line[256];
	double n = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f)) {
		if (!strncmp(line, name, strlen(name)))
			n = strtod(line + strlen(name), NULL);
	}
	if (f)
		fclose(f);
	if (n < 0)
		bench_die("%s says nothing about %s", path, name);
	return n;
}

double process_peak_mib(pid_t pid)
{
	return proc_number(pid, "status", "VmHWM:") / 1024;
}

void process_forget_peak(pid_t pid)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
	f = fopen(path, "w");
	if (f) {
		fputs("5", f);
		fclose(f);
	}
}

double process_disk_bytes(pid_t pid)
{
	return proc_number(pid, "io", "write_bytes:");
}

double process_cpu_s(pid_t pid)
{
	char path[64];
	unsigned long long ns, sum = 0;
	const struct dirent *task;
	DIR *all;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	all = opendir(path);
	while (all && (task = readdir(all))) {
		char file[340];
		FILE *f;

		snprintf(file, sizeof file, "%s/%s/schedstat", path, task->d_name);
		f = task->d_name[0] == '.' ? NULL : fopen(file, "r");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	if (!all)
		bench_die("cannot read %s", path);
	closedir(all);
	return (double)sum / 1e9;
}
