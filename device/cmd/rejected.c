/* neap rejected: rows that a person should look at. */
#include <stdio.h>

#include "device/cmd/cmd.h"
#include "device/shell/ops.h"

static void print_rows(const json_t *answer, const char *none)
{
	const json_t *rows = json_object_get(answer, "rows"), *r;
	size_t i;

	if (json_array_size(rows) == 0)
		printf("%s\n", none);
	json_array_foreach(rows, i, r)
		printf("%s  %-11s %s\n    %s\n", cmd_text(r, "table"), cmd_text(r, "what"),
		       cmd_text(r, "row"), cmd_text(r, "reason"));
	if (json_array_size(rows) == OPS_ROWS)
		printf("(the first %d; there may be more)\n", OPS_ROWS);
}

static int list(const struct command *c, const char *none, int argc, char **argv)
{
	static const struct option options[] = {CMD_HELP, {0}};
	json_t *request, *answer = NULL;
	struct err e = {0};
	int code;

	if (cmd_option(c, argc, argv, options, &code) == 0)
		return code;
	if (argc - optind != 1)
		return cmd_usage(c, "give one database");
	request = json_pack("{s:s}", "op", c->name);
	int rc = request ? ops_ask(argv[optind], request, &answer, &e)
			 : err_set(&e, NE_MEMORY, "out of memory");
	json_decref(request);
	if (rc)
		return cmd_fail(c, rc, &e);
	print_rows(answer, none);
	json_decref(answer);
	return 0;
}

static int run_rejected(int argc, char **argv)
{
	return list(&cmd_rejected, "no row is rejected or parked", argc, argv);
}

const struct command cmd_rejected = {
	.name = "rejected",
	.run = run_rejected,
	.line = "rows that did not fit, and why",
	.help = "neap rejected DB\n\n"
		"Lists the rows of this device that the server refused (rejected), and the rows of "
		"others that\n"
		"could not be written here, e.g. over a UNIQUE constraint (parked). A parked row "
		"is\n"
		"tried again by itself; a rejected one is sent again when the app writes it "
		"again.\n",
};
