/* neap status: may I overwrite this row now? */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "device/cmd/cmd.h"
#include "device/shell/clock.h"
#include "device/shell/ops.h"

enum { OPT_JSON = 256 };

/* "3 s", "12 min", "5 h", "9 days" */
static void print_age(long long ms)
{
	long long s = ms / 1000;

	if (s < 120)
		printf("%lld s", s);
	else if (s < 7200)
		printf("%lld min", s / 60);
	else if (s < 172800)
		printf("%lld h", s / 3600);
	else
		printf("%lld days", s / 86400);
}

static void print_pending(const json_t *s)
{
	long long rows = cmd_number(s, "pending_rows");

	printf("pending    %lld row%s", rows, rows == 1 ? "" : "s");
	if (rows) {
		printf(", %s%lld bytes",
		       json_is_true(json_object_get(s, "pending_bytes_estimated")) ? "about " : "",
		       cmd_number(s, "pending_bytes"));
		if (cmd_number(s, "oldest_pending_ms")) {
			printf(", the oldest from ");
			print_age(cmd_number(s, "oldest_pending_ms"));
			printf(" ago");
		}
	}
	printf("\ncommitted  up to change set %lld of %lld\n", cmd_number(s, "acked_number"),
	       cmd_number(s, "last_number"));
}

static void print_position(const json_t *s)
{
	long long at = cmd_number(s, "verified_ms");

	printf("position   change %lld of %lld known", cmd_number(s, "cursor"),
	       cmd_number(s, "head"));
	if (at) {
		long long now = (long long)wall_ms();
		printf("; the server confirmed that nothing was missing ");
		print_age(at < now ? now - at : 0);
		printf(" ago");
	}
	printf("\n");
	if (cmd_number(s, "rejected_rows") + cmd_number(s, "parked_rows"))
		printf("refused    %lld rejected, %lld parked rows\n",
		       cmd_number(s, "rejected_rows"), cmd_number(s, "parked_rows"));
}

static void print_tables(const json_t *s)
{
	const json_t *tables = json_object_get(s, "tables"), *t;
	size_t i;

	if (json_array_size(tables) == 0)
		printf("tables     none: `neap track DB TABLE` adds one\n");
	json_array_foreach(tables, i, t) printf(
		"%-10s %-24s %-6s %-4s %lld pending%s%s\n", i ? "" : "tables", cmd_text(t, "name"),
		cmd_text(t, "kind"), cmd_text(t, "direction"), cmd_number(t, "pending_rows"),
		!strcmp(cmd_text(t, "compress"), "off") ? ", not compressed" : "",
		cmd_text(t, "capture")[0] == 'o' ? "" : ", CAPTURE BROKEN");
}

/* "verified   valves: 2500 rows, 3 min ago", and what was found then. */
static void print_verified(const json_t *s)
{
	const json_t *tables = json_object_get(s, "tables"), *t;
	bool any = false;
	size_t i;

	json_array_foreach(tables, i, t)
	{
		const json_t *v = json_object_get(t, "verified");
		long long at = cmd_number(v, "at_ms"), now = (long long)wall_ms();

		if (!v)
			continue;
		printf("%-10s %s: %lld rows compared with the server's ", any ? "" : "verified",
		       cmd_text(t, "name"), cmd_number(v, "rows"));
		print_age(at < now ? now - at : 0);
		printf(" ago");
		if (cmd_number(v, "differed"))
			printf(", %lld differed, %lld repaired", cmd_number(v, "differed"),
			       cmd_number(v, "repaired"));
		printf("\n");
		any = true;
	}
}

/* What else there is to know, below the worst. */
static void print_others(const json_t *s)
{
	const json_t *list = json_object_get(s, "troubles");

	for (size_t i = 1; i < json_array_size(list); i++) {
		const json_t *t = json_array_get(list, i);

		printf("also       %s: %s; %s\n", cmd_text(t, "state"), cmd_text(t, "reason"),
		       cmd_text(t, "next_step"));
	}
}

static void print_status(const json_t *s)
{
	printf("database   %s, user %s, device %s\n", cmd_text(s, "database"), cmd_text(s, "user"),
	       cmd_text(s, "device"));
	printf("state      %s\n", cmd_text(s, "state"));
	if (*cmd_text(s, "reason"))
		printf("reason     %s\n", cmd_text(s, "reason"));
	if (*cmd_text(s, "next_step"))
		printf("next       %s\n", cmd_text(s, "next_step"));
	print_others(s);
	print_pending(s);
	print_position(s);
	print_tables(s);
	print_verified(s);
}

static int show(const char *db, bool json)
{
	json_t *request = json_pack("{s:s}", "op", "status"), *answer = NULL;
	struct err e = {0};
	int rc = request ? ops_ask(db, request, &answer, &e)
			 : err_set(&e, NE_MEMORY, "out of memory");

	json_decref(request);
	if (rc)
		return cmd_fail(&cmd_status, rc, &e);
	const json_t *status = json_object_get(answer, "status");
	if (json) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		print_status(status);
	}
	json_decref(answer);
	return 0;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, OPT_JSON}, CMD_HELP, {0}};
	bool json = false;
	int o, code;

	while ((o = cmd_option(&cmd_status, argc, argv, options, &code)) != -1) {
		if (o == 0)
			return code;
		json = true;
	}
	if (argc - optind != 1)
		return cmd_usage(&cmd_status, "give one database");
	return show(argv[optind], json);
}

const struct command cmd_status = {
	.name = "status",
	.run = run,
	.line = "what is pending, committed, in the way",
	.help = "neap status DB [--json]\n\n"
		"Shows what is pending, what the server has durably committed, how old the oldest "
		"pending\n"
		"change is and what, if anything, is in the way. Does not ask the server.\n\n"
		"The state is stopped (no agent runs), connecting, asleep (see `neap run "
		"--every`),\n"
		"catching-up (fetching what others wrote), sending or in-sync, or the name of what "
		"is in the way: disk, "
		"capture-broken,\n"
		"comparing, database-locked, database-failed, schema-refused, direction-refused, "
		"quota,\n"
		"collision, set-refused, refused, server-silent, rows-rejected, rows-parked, "
		"session-taken,\n"
		"login-required, certificate, offline.\n"
		"Not in the way, but told: slow-down, pending-over-bound, rows-dropped, "
		"clock-far-off, "
		"conflicts, notice.\n\n"
		"  --json   one object: database, user, device, state, reason, next_step, "
		"pending_rows,\n"
		"           pending_bytes, oldest_pending_ms (its age), acked_number and "
		"last_number (change\n"
		"           sets), cursor and head (changes), verified_ms (when the server last "
		"confirmed that\n"
		"           nothing is missing, ms since 1970), inflight_sets, parked_rows, "
		"rejected_rows,\n"
		"           bad_messages (did not open), other_key_messages, problem, troubles[] "
		"(state, reason,\n"
		"           next_step, exit_code of a sync), connection, wake_in_ms, tables[] "
		"(name, kind, "
		"direction, "
		"pending_rows, capture, "
		"priority,\n"
		"           compress, verified: at_ms, rows, differed, repaired)\n",
};
