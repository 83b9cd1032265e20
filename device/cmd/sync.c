/* neap sync: until nothing is pending and the server says that nothing is missing. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/cmd/cmd.h"
#include "device/shell/agent.h"
#include "device/shell/clock.h"

enum { OPT_TIMEOUT = 256, PROGRESS_AFTER_MS = 2000, BAR = 30 };

struct bar {
	uint64_t began_ms;
	bool terminal, drawn;
	long long most; /* pending rows, the most seen */
};

static void draw(void *ctx, const json_t *status)
{
	struct bar *b = ctx;
	long long pending = cmd_number(status, "pending_rows");
	char cells[BAR + 1];

	if (pending > b->most)
		b->most = pending;
	if (!b->terminal || mono_ms() - b->began_ms < PROGRESS_AFTER_MS)
		return;
	int full = b->most ? (int)((b->most - pending) * BAR / b->most) : BAR;
	for (int i = 0; i < BAR; i++)
		cells[i] = i < full ? '#' : '.';
	cells[BAR] = '\0';
	fprintf(stderr, "\r[%s] %lld of %lld rows to send, at change %lld of %lld, %s\033[K", cells,
		pending, b->most, cmd_number(status, "cursor"), cmd_number(status, "head"),
		cmd_text(status, "state"));
	fflush(stderr);
	b->drawn = true;
}

static int sync_one(const char *db, uint64_t timeout_ms)
{
	struct bar bar = {.began_ms = mono_ms(), .terminal = isatty(STDERR_FILENO)};
	struct err e = {0};
	json_t *status = NULL;
	const struct agent_progress progress = {.fn = draw, .ctx = &bar, .status = &status};
	int rc = agent_sync(db, timeout_ms, NULL, &progress, &e);

	if (bar.drawn)
		fprintf(stderr, "\r\033[K");
	if (rc) {
		int code = cmd_fail(&cmd_sync, rc, &e);
		if (status)
			fprintf(stderr, "neap sync: %lld rows (%lld bytes) are pending in %s\n",
				cmd_number(status, "pending_rows"),
				cmd_number(status, "pending_bytes"), db);
		json_decref(status);
		return code;
	}
	printf("%s is in sync at change %lld\n", db, cmd_number(status, "cursor"));
	json_decref(status);
	return 0;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, OPT_TIMEOUT}, CMD_HELP, {0}};
	uint64_t timeout_ms = 0;
	int o, code;

	while ((o = cmd_option(&cmd_sync, argc, argv, options, &code)) != -1) {
		char *end;
		if (o == 0)
			return code;
		double s = strtod(optarg, &end);
		if (end == optarg || *end || !(s > 0) || s > 1e9)
			return cmd_usage(&cmd_sync, "'%s' is not a number of seconds", optarg);
		timeout_ms = (uint64_t)(s * 1000) + (s * 1000 < 1);
	}
	if (argc - optind != 1)
		return cmd_usage(&cmd_sync, "give one database");
	return sync_one(argv[optind], timeout_ms);
}

const struct command cmd_sync = {
	.name = "sync",
	.run = run,
	.line = "sync once and wait for it",
	.help = "neap sync DB [--timeout S]\n\n"
		"Sends what is pending and fetches what is missing. Exits 0 only when the server "
		"has\n"
		"durably committed all of it and has confirmed that nothing newer is missing here. "
		"With an agent\n"
		"running it waits for that one. Progress shows on a terminal when it takes longer "
		"than 2 s.\n\n"
		"  --timeout S   keep trying for S seconds; without it, give up after a few "
		"failed\n"
		"                connections or a minute without progress\n\n"
		"Exits 3 when the server is unreachable or time is up, 6 when all is in sync but "
		"for\n"
		"rejected or parked rows; stderr says what is pending.\n",
};
