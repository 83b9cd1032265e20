/* neap rejected: rows that a person should look at, and what can be done about them. */
#include <stdio.h>
#include <stdlib.h>

#include "device/cmd/cmd.h"
#include "device/shell/ops.h"

enum { OPT_JSON = 256, OPT_RETRY, OPT_FORGET, OPT_ID };

struct asked {
	const char *op; /* "retry", "forget", or NULL: list */
	bool json;
	long long id; /* 0: all */
};

static void print_rows(const json_t *answer)
{
	const json_t *rows = json_object_get(answer, "rows"), *r;
	size_t i;

	if (json_array_size(rows) == 0)
		printf("no row is rejected or parked\n");
	json_array_foreach(rows, i, r)
	{
		if (cmd_number(r, "id"))
			printf("%-5lld ", cmd_number(r, "id"));
		else
			printf("%-5s ", "-");
		printf("%-9s %s  %s\n      %s\n", cmd_text(r, "what"), cmd_text(r, "table"),
		       cmd_text(r, "row"), cmd_text(r, "reason"));
	}
	if (json_array_size(rows) == OPS_ROWS)
		printf("(the first %d; there may be more)\n", OPS_ROWS);
}

/* What was done; rows that did not fit make it a failure. */
static int print_done(const struct asked *a, const json_t *answer)
{
	struct err e;
	long long failed = cmd_number(answer, "failed");

	if (!a->json)
		printf("%lld rows %s\n", cmd_number(answer, "done"),
		       *a->op == 'r' ? "are written again and will be sent" : "forgotten");
	if (!failed)
		return 0;
	return cmd_fail(&cmd_rejected,
			err_set(&e, NE_ROWS, "%lld rows stay rejected: %s", failed,
				cmd_text(answer, "reason")),
			&e);
}

static int print_answer(const struct asked *a, const json_t *answer)
{
	if (a->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		printf("\n");
	}
	if (a->op)
		return print_done(a, answer);
	if (!a->json)
		print_rows(answer);
	return 0;
}

static int ask(const struct asked *a, const char *db)
{
	json_t *request = json_pack("{s:s}", "op", "rejected"), *answer = NULL;
	struct err e = {0};
	int rc = NE_OK, code;

	if (!request || (a->op && json_object_set_new(request, a->op, json_true())) ||
	    (a->id && json_object_set_new(request, "id", json_integer((json_int_t)a->id))))
		rc = err_set(&e, NE_MEMORY, "out of memory");
	if (!rc)
		rc = ops_ask(db, request, &answer, &e);
	json_decref(request);
	code = rc ? cmd_fail(&cmd_rejected, rc, &e) : print_answer(a, answer);
	json_decref(answer);
	return code;
}

static bool read_id(const char *text, long long *out)
{
	char *end;

	*out = strtoll(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && *out > 0;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, OPT_JSON},
						{"retry", no_argument, NULL, OPT_RETRY},
						{"forget", no_argument, NULL, OPT_FORGET},
						{"id", required_argument, NULL, OPT_ID},
						CMD_HELP,
						{0}};
	struct asked a = {.op = NULL};
	int o, code;

	while ((o = cmd_option(&cmd_rejected, argc, argv, options, &code)) != -1) {
		if (o == 0)
			return code;
		if ((o == OPT_RETRY || o == OPT_FORGET) && a.op)
			return cmd_usage(&cmd_rejected, "give --retry or --forget, once");
		if (o == OPT_JSON)
			a.json = true;
		else if (o == OPT_ID && !read_id(optarg, &a.id))
			return cmd_usage(&cmd_rejected, "'%s' is not the number of a rejected row",
					 optarg);
		else if (o == OPT_RETRY || o == OPT_FORGET)
			a.op = o == OPT_RETRY ? "retry" : "forget";
	}
	if (a.id && !a.op)
		return cmd_usage(&cmd_rejected, "--id goes with --retry or --forget");
	if (argc - optind != 1)
		return cmd_usage(&cmd_rejected, "give one database");
	return ask(&a, argv[optind]);
}

const struct command cmd_rejected = {
	.name = "rejected",
	.run = run,
	.line = "rows that did not fit, and why",
	.help = "neap rejected DB [--json]\n"
		"       neap rejected DB --retry | --forget [--id N] [--json]\n\n"
		"Lists the writes of this device that were refused (rejected), with their values, "
		"number\n"
		"and reason, and the rows of others that could not be written here, e.g. over a\n"
		"UNIQUE constraint (parked). A parked row is tried again by itself. A rejected one "
		"is\n"
		"gone from the app's table, which shows what the server has, and is not sent again "
		"by itself.\n"
		"An append table keeps it, and every table a row that is too large to be sent: "
		"shorten that\n"
		"one and write it again.\n\n"
		"  --retry    write rejected rows again, as new writes of now; what does not fit "
		"the\n"
		"             app's table stays rejected (exit code 6)\n"
		"  --forget   drop them from the list for good\n"
		"  --id N     only row N of the list\n"
		"  --json     as JSON: rows (id, table, what, row, reason, at_ms; id 0: parked) "
		"and "
		"count;\n"
		"             of --retry and --forget: done, failed, reason\n\n"
		"A write of the app that changes the same columns of the row replaces the rejected "
		"one.\n",
};
