/* neap run: the agent. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/cmd/cmd.h"
#include "device/shell/agent.h"
#include "device/shell/clock.h"

/* Set before the handler is installed, never changed after. */
static struct agent *running;

static void on_signal(int sig)
{
	(void)sig;
	agent_stop(running);
}

static void say(void *ctx, const char *db, const char *text)
{
	char stamp[32];
	time_t now = time(NULL);
	struct tm tm;

	(void)ctx;
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	fprintf(stderr, "%s neap %s: %s\n", stamp, db, text);
}

enum { AGAIN_MS = 5000, LOCKED_MS = 100 };

/* One database of the command line. */
struct entry {
	const char *db;
	bool open;
	char said[sizeof((struct err *)0)->text]; /* why it was not, told once */
};

static void on_ended(void *ctx, const char *db, const char *text)
{
	struct entry *x = ctx;

	x->open = false;
	say(NULL, db, text);
}

/* Opens one of `n` databases. What is in the way is told once. */
static int try_open(struct agent *a, struct entry *x, size_t n, struct err *e)
{
	struct node_owner owner = {
		.ctx = x, .shares_loop = n > 1, .say = say, .ended = n > 1 ? on_ended : NULL};
	int rc = agent_add(a, x->db, &owner, NULL, e);

	if (rc == NE_BUSY)
		err_set(e, rc, "the database is locked by another program; waiting");
	if (rc && strcmp(x->said, e->text) != 0 && (rc == NE_BUSY || n > 1))
		say(NULL, x->db, e->text);
	snprintf(x->said, sizeof x->said, "%s", rc ? e->text : "");
	x->open = !rc;
	return rc;
}

/* When to look at those again that are not open. A try may wait for a lock: not too often beside
 * others. */
static uint64_t look_again_ms(size_t open, size_t n, int why)
{
	if (why == NE_BUSY && !open)
		return mono_ms() + LOCKED_MS;
	return open < n || n > 1 ? mono_ms() + AGAIN_MS : UINT64_MAX;
}

/* One database that cannot be served stops none of the others, and is tried again. */
static int serve(struct agent *a, struct entry *x, size_t n, struct err *e)
{
	struct sigaction act = {.sa_handler = on_signal};
	int rc = NE_OK;

	running = a;
	sigemptyset(&act.sa_mask);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	for (;;) {
		size_t open = 0;

		for (size_t i = 0; i < n; i++) {
			int one = x[i].open ? NE_OK : try_open(a, &x[i], n, e);
			rc = one ? one : rc;
			open += x[i].open;
		}
		if (!open && rc != NE_BUSY)
			return rc;
		rc = agent_run(a, look_again_ms(open, n, rc), e);
		if (rc != NE_TIMEOUT)
			return rc;
		rc = NE_OK;
	}
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {CMD_HELP, {0}};
	struct agent *a;
	struct err e = {0};
	int code;

	if (cmd_option(&cmd_run, argc, argv, options, &code) == 0)
		return code;
	if (argc == optind)
		return cmd_usage(&cmd_run, "give at least one database");
	size_t n = (size_t)(argc - optind);
	struct entry *x = calloc(n, sizeof *x);
	int rc = x ? agent_new(&a, &e) : err_set(&e, NE_MEMORY, "out of memory");
	if (rc) {
		free(x);
		return cmd_fail(&cmd_run, rc, &e);
	}
	for (size_t i = 0; i < n; i++)
		x[i].db = argv[optind + (int)i];
	rc = serve(a, x, n, &e);
	agent_free(a);
	free(x);
	return rc ? cmd_fail(&cmd_run, rc, &e) : 0;
}

const struct command cmd_run = {
	.name = "run",
	.run = run,
	.line = "agent: keep databases in sync until SIGTERM",
	.help = "neap run DB…\n\n"
		"Keeps each database in sync, through any length of time offline, until SIGTERM or "
		"SIGINT. Each\n"
		"database takes one agent; the other commands go through its socket DB.neap-sock.\n"
		"Of several databases one that cannot be opened, or whose file is replaced, is "
		"told and tried\n"
		"again; the others go on.\n"
		"Connections, losses and their reasons are told on stderr; `neap status DB` tells "
		"where it\n"
		"stands.\n",
};
