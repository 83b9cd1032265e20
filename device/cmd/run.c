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

enum { OPT_EVERY = 256, AGAIN_MS = 5000, LOCKED_MS = 100 };

static int64_t every_ms; /* --every; 0 without it */

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
	struct node_owner owner = {.ctx = x,
				   .shares_loop = n > 1,
				   .every_ms = (uint64_t)every_ms,
				   .say = say,
				   .ended = n > 1 ? on_ended : NULL};
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

static int take_every(const char *text, struct err *e)
{
	TRY(cmd_age(text, &every_ms, e));
	return every_ms <= NODE_EVERY_MAX_MS
		       ? NE_OK
		       : err_set(e, NE_USAGE, "--every '%s' is more than 7 days", text);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{"every", required_argument, NULL, OPT_EVERY}, CMD_HELP, {0}};
	struct agent *a;
	struct err e = {0};
	int o, code;

	while ((o = cmd_option(&cmd_run, argc, argv, options, &code)) != -1) {
		if (o == 0)
			return code;
		if (take_every(optarg, &e))
			return cmd_usage(&cmd_run, "%s", e.text);
	}
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
	.help = "neap run [--every DURATION] DB…\n\n"
		"Keeps each database in sync, through any length of time offline, until SIGTERM or "
		"SIGINT. Each\n"
		"database takes one agent; the other commands go through its socket DB.neap-sock.\n"
		"Of several databases one that cannot be opened, or whose file is replaced, is "
		"told and tried\n"
		"again; the others go on.\n"
		"Connections, losses and their reasons are told on stderr; `neap status DB` tells "
		"where it\n"
		"stands.\n\n"
		"  --every DURATION   for a radio, or a connection that is paid for: connect only "
		"every "
		"so often\n"
		"                     (30s, 5m, 1h; at most 7d), send what has gathered, fetch "
		"what is "
		"missing,\n"
		"                     and disconnect. A wake-up comes up to a tenth early, so that "
		"a "
		"fleet\n"
		"                     spreads. `neap sync DB` connects at once; `neap status DB` "
		"says "
		"when the\n"
		"                     next one is\n",
};
