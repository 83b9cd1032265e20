/* neap run: the agent. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "device/cmd/cmd.h"
#include "device/shell/agent.h"

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

/* An app's long transaction delays the start, no more. */
static int add(struct agent *a, const char *db, const struct node_owner *owner, struct err *e)
{
	bool told = false;
	int rc;

	while ((rc = agent_add(a, db, owner, NULL, e)) == NE_BUSY) {
		if (!told)
			say(NULL, db, "the database is locked by another program; waiting");
		told = true;
	}
	return rc;
}

static int serve(struct agent *a, int n, char **dbs, struct err *e)
{
	const struct node_owner owner = {.say = say};
	struct sigaction act = {.sa_handler = on_signal};

	for (int i = 0; i < n; i++)
		TRY(add(a, dbs[i], &owner, e));
	running = a;
	sigemptyset(&act.sa_mask);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	return agent_run(a, UINT64_MAX, e);
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
	int rc = agent_new(&a, &e);
	if (rc)
		return cmd_fail(&cmd_run, rc, &e);
	rc = serve(a, argc - optind, argv + optind, &e);
	agent_free(a);
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
		"Connections, losses and their reasons are told on stderr; `neap status DB` tells "
		"where it\n"
		"stands.\n",
};
