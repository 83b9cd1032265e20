/* neap track, neap untrack: which tables are synced. */
#include <stdio.h>
#include <stdlib.h>

#include "device/cmd/cmd.h"
#include "device/shell/ops.h"

enum { OPT_APPEND = 256, OPT_DIRECTION, OPT_KEEP, OPT_PRIORITY };

/* Takes `request`. */
static int ask(const struct command *c, const char *db, json_t *request)
{
	struct err e = {0};
	int rc = request ? ops_ask(db, request, NULL, &e)
			 : err_set(&e, NE_USAGE, "the table's name is not valid UTF-8");

	json_decref(request);
	return rc ? cmd_fail(c, rc, &e) : 0;
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
	default: {
		long n = strtol(optarg, &end, 10);
		if (end == optarg || *end || n < 0 || n > 9)
			return err_set(e, NE_USAGE, "'%s' is not a priority: 0 (first) to 9",
				       optarg);
		return json_object_set_new(request, "priority", json_integer(n));
	}
	}
}

static int run_track(int argc, char **argv)
{
	static const struct option options[] = {
		{"append", no_argument, NULL, OPT_APPEND},
		{"direction", required_argument, NULL, OPT_DIRECTION},
		{"keep", required_argument, NULL, OPT_KEEP},
		{"priority", required_argument, NULL, OPT_PRIORITY},
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
	if (!rc && json_object_get(request, "keep_ms") && !json_object_get(request, "append"))
		rc = err_set(&e, NE_USAGE, "--keep is for tables tracked with --append");
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
	.help = "neap track DB TABLE [--append] [--direction up|down|both] [--keep AGE] "
		"[--priority N]\n\n"
		"Syncs TABLE, which needs a declared primary key. Rows that are there are sent as "
		"they are.\n"
		"Whatever process writes to the table from now on, with any SQLite, is noticed by "
		"triggers.\n"
		"Tracking a table again changes its options.\n\n"
		"  --append         telemetry: rows are inserted and never changed; sent up only\n"
		"  --direction D    both (the default), up, or down\n"
		"  --keep AGE       append: how long rows are to stay once the server has them "
		"(90s, 15m,\n"
		"                   12h, 30d); noted with the table, this release deletes nothing\n"
		"  --priority N     0 first … 9 last; 5 is the default, 7 with --append\n",
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
