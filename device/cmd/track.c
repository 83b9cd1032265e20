/* neap track, neap untrack: which tables are synced. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cmd/cmd.h"
#include "device/shell/ops.h"

enum {
	OPT_APPEND = 256,
	OPT_DIRECTION,
	OPT_KEEP,
	OPT_KEEP_ROWS,
	OPT_KEEP_BYTES,
	OPT_PENDING_ROWS,
	OPT_PENDING_BYTES,
	OPT_WHEN_FULL,
	OPT_PRIORITY,
	OPT_COMPRESS,
};

/* Takes `request`. */
static int ask(const struct command *c, const char *db, json_t *request)
{
	struct err e = {0};
	int rc = request ? ops_ask(db, request, NULL, &e)
			 : err_set(&e, NE_USAGE, "the table's name is not valid UTF-8");

	json_decref(request);
	return rc ? cmd_fail(c, rc, &e) : 0;
}

static int add_count(json_t *request, const char *name, struct err *e)
{
	int64_t n;

	TRY(cmd_count(optarg, &n, e));
	return json_object_set_new(request, name, json_integer(n));
}

static int add_when_full(json_t *request, struct err *e)
{
	bool drop = !strcmp(optarg, "drop-oldest");

	if (!drop && strcmp(optarg, "keep") != 0)
		return err_set(e, NE_USAGE, "'%s' is not keep or drop-oldest", optarg);
	return json_object_set_new(request, "drop_oldest", json_boolean(drop));
}

static int add_option(json_t *request, int option, struct err *e)
{
	int64_t keep_ms;
	char *end;

	switch (option) {
	case OPT_APPEND:
		return json_object_set_new(request, "append", json_true());
	case OPT_DIRECTION:
		return json_object_set_new(request, "direction", json_string(optarg))
			       ? err_set(e, NE_USAGE, "the direction is not valid UTF-8")
			       : NE_OK;
	case OPT_KEEP:
		TRY(cmd_age(optarg, &keep_ms, e));
		return json_object_set_new(request, "keep_ms", json_integer(keep_ms));
	case OPT_KEEP_ROWS:
		return add_count(request, "keep_rows", e);
	case OPT_KEEP_BYTES:
		return add_count(request, "keep_bytes", e);
	case OPT_PENDING_ROWS:
		return add_count(request, "pending_rows", e);
	case OPT_PENDING_BYTES:
		return add_count(request, "pending_bytes", e);
	case OPT_WHEN_FULL:
		return add_when_full(request, e);
	case OPT_COMPRESS:
		return json_object_set_new(request, "compress", json_string(optarg))
			       ? err_set(e, NE_USAGE, "what to compress is not valid UTF-8")
			       : NE_OK;
	default: {
		long n = strtol(optarg, &end, 10);
		if (end == optarg || *end || n < 0 || n > 9)
			return err_set(e, NE_USAGE, "'%s' is not a priority: 0 (first) to 9",
				       optarg);
		return json_object_set_new(request, "priority", json_integer(n));
	}
	}
}

static bool deletes(const json_t *request)
{
	return json_object_get(request, "keep_ms") || json_object_get(request, "keep_rows") ||
	       json_object_get(request, "keep_bytes") ||
	       json_is_true(json_object_get(request, "drop_oldest"));
}

static int run_track(int argc, char **argv)
{
	static const struct option options[] = {
		{"append", no_argument, NULL, OPT_APPEND},
		{"direction", required_argument, NULL, OPT_DIRECTION},
		{"keep", required_argument, NULL, OPT_KEEP},
		{"keep-rows", required_argument, NULL, OPT_KEEP_ROWS},
		{"keep-bytes", required_argument, NULL, OPT_KEEP_BYTES},
		{"pending-rows", required_argument, NULL, OPT_PENDING_ROWS},
		{"pending-bytes", required_argument, NULL, OPT_PENDING_BYTES},
		{"when-full", required_argument, NULL, OPT_WHEN_FULL},
		{"priority", required_argument, NULL, OPT_PRIORITY},
		{"compress", required_argument, NULL, OPT_COMPRESS},
		CMD_HELP,
		{0},
	};
	json_t *request = json_pack("{s:s}", "op", "track");
	struct err e = {0};
	int o, code = 0, rc = NE_OK;

	while (!rc && (o = cmd_option(&cmd_track, argc, argv, options, &code)) != -1) {
		if (o == 0) {
			json_decref(request);
			return code;
		}
		rc = add_option(request, o, &e);
	}
	if (!rc && !json_object_get(request, "append") && deletes(request))
		rc = err_set(&e, NE_USAGE,
			     "--keep… and --when-full drop-oldest are for tables tracked with "
			     "--append");
	if (rc || argc - optind != 2) {
		json_decref(request);
		return rc ? cmd_usage(&cmd_track, "%s", e.text)
			  : cmd_usage(&cmd_track, "give a database and a table");
	}
	const char *db = argv[optind], *table = argv[optind + 1];
	if (json_object_set_new(request, "table", json_string(table))) {
		json_decref(request);
		request = NULL;
	}
	code = ask(&cmd_track, db, request);
	if (!code)
		printf("%s: table %s is synced from now on\n", db, table);
	return code;
}

static int run_untrack(int argc, char **argv)
{
	static const struct option options[] = {CMD_HELP, {0}};
	int code;

	if (cmd_option(&cmd_untrack, argc, argv, options, &code) == 0)
		return code;
	if (argc - optind != 2)
		return cmd_usage(&cmd_untrack, "give a database and a table");
	const char *db = argv[optind], *table = argv[optind + 1];
	code = ask(&cmd_untrack, db, json_pack("{s:s, s:s}", "op", "untrack", "table", table));
	if (!code)
		printf("%s: table %s is not synced any more; its rows stay\n", db, table);
	return code;
}

const struct command cmd_track = {
	.name = "track",
	.run = run_track,
	.line = "sync a table from now on",
	.help = "neap track DB TABLE [--append] [--direction up|down|both] [--priority N]\n"
		"           [--keep AGE] [--keep-rows N] [--keep-bytes SIZE]\n"
		"           [--pending-rows N] [--pending-bytes SIZE] [--when-full "
		"keep|drop-oldest]\n"
		"           [--compress on|off]\n\n"
		"Syncs TABLE, which needs a declared primary key. Rows that are there are sent as "
		"they are; a\n"
		"row with NULL in a column of the key is not synced, and not counted as pending.\n"
		"Whatever process writes to the table from now on, with any SQLite, is noticed by "
		"triggers.\n"
		"Tracking a table again sets all its other options anew: one that is left out is "
		"at its\n"
		"default then. What is tracked with --append stays so until it is untracked.\n\n"
		"  --append         telemetry: rows are inserted and never changed; sent up only\n"
		"  --direction D    both (the default), up, or down\n"
		"  --priority N     0 first … 9 last; 5 is the default, 7 with --append\n"
		"  --keep AGE, --keep-rows N, --keep-bytes SIZE\n"
		"                   append: rows that the server has are deleted here, the oldest "
		"first, once\n"
		"                   it has had them for AGE (90s, 15m, 12h, 30d), or while more "
		"than N of\n"
		"                   them, or more than SIZE (4000, 64k, 10M, 2G), are left\n"
		"  --pending-rows N, --pending-bytes SIZE\n"
		"                   with more than this pending `neap status` says so\n"
		"  --when-full W    at that bound keep all (the default), or, append, delete the "
		"oldest rows\n"
		"                   that were never sent: drop-oldest. They are counted in the "
		"status.\n"
		"  --compress off   for secrets beside text that others choose: the size of what "
		"is sent then\n"
		"                   depends on the lengths of values alone. Say so on every device "
		"of the user.\n",
};

const struct command cmd_untrack = {
	.name = "untrack",
	.run = run_untrack,
	.line = "stop syncing a table; its rows stay",
	.help = "neap untrack DB TABLE\n\n"
		"Removes the triggers and forgets what is pending in TABLE. Its rows stay, here "
		"and on the\n"
		"server.\n",
};
