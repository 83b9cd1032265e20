/* neap conflicts: what this device wrote and lost. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "device/cmd/cmd.h"
#include "device/shell/ops.h"

enum { OPT_JSON = 256, OPT_LIMIT, OPT_BEFORE, LIMIT_DEFAULT = 100, LIMIT_MAX = 10000 };

struct listing {
	const char *db;
	bool json;
	long long limit, before;
	json_t *rows; /* gathered */
	long long dropped;
};

static void print_time(long long ms)
{
	time_t at = (time_t)(ms / 1000);
	struct tm tm;
	char text[32];

	if (gmtime_r(&at, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%SZ", &tm))
		printf("%s", text);
}

static void print_row(const json_t *r)
{
	printf("%lld  ", cmd_number(r, "id"));
	print_time(cmd_number(r, "at_ms"));
	printf("  %s  %s\n    %s%s\n", cmd_text(r, "table"), cmd_text(r, "row"),
	       cmd_text(r, "reason"),
	       json_is_true(json_object_get(r, "noted")) ? "" : " (not on the server's list yet)");
}

/* The next page; *more tells that it was full. */
static int page(struct listing *l, bool *more, struct err *e)
{
	long long left = l->limit - (long long)json_array_size(l->rows);
	size_t asked = (size_t)(left < OPS_CONFLICTS ? left : OPS_CONFLICTS), n;
	json_t *answer = NULL;
	json_t *request = json_pack("{s:s, s:I, s:I}", "op", "conflicts", "limit",
				    (json_int_t)asked, "before", (json_int_t)l->before);
	int rc = request ? ops_ask(l->db, request, &answer, e)
			 : err_set(e, NE_MEMORY, "out of memory");
	json_t *rows = json_object_get(answer, "conflicts");

	json_decref(request);
	n = json_array_size(rows);
	*more = n == asked;
	if (!rc && n)
		l->before = cmd_number(json_array_get(rows, n - 1), "id");
	l->dropped = cmd_number(answer, "dropped");
	if (!rc && json_array_extend(l->rows, rows))
		rc = err_set(e, NE_MEMORY, "out of memory");
	json_decref(answer);
	return rc;
}

static void print_all(const struct listing *l, bool more)
{
	const json_t *r;
	size_t i;

	if (json_array_size(l->rows) == 0)
		printf("nothing on this device's list; the server's has writes that lost after it "
		       "had taken them, too: neapd conflicts\n");
	json_array_foreach(l->rows, i, r) print_row(r);
	if (more)
		printf("(older ones: --before %lld)\n", l->before);
	if (l->dropped)
		printf("(%lld more were dropped before the server knew them: the list was full)\n",
		       l->dropped);
}

static int print_json(const struct listing *l, bool more)
{
	json_t *before = more ? json_integer((json_int_t)l->before) : json_null();
	json_t *doc = json_pack("{s:O, s:o, s:I}", "conflicts", l->rows, "before", before,
				"dropped", (json_int_t)l->dropped);
	int rc = doc && !json_dumpf(doc, stdout, JSON_INDENT(2)) ? NE_OK : NE_MEMORY;

	printf("\n");
	json_decref(doc);
	return rc;
}

static int show(struct listing *l)
{
	struct err e = {0};
	bool more = true;
	int rc = NE_OK;

	l->rows = json_array();
	if (!l->rows)
		rc = err_set(&e, NE_MEMORY, "out of memory");
	while (!rc && more && (long long)json_array_size(l->rows) < l->limit)
		rc = page(l, &more, &e);
	if (!rc && l->json)
		rc = print_json(l, more);
	else if (!rc)
		print_all(l, more);
	json_decref(l->rows);
	return rc ? cmd_fail(&cmd_conflicts, rc, &e) : 0;
}

static bool number(const char *text, long long max, long long *out)
{
	char *end;
	long long v = strtoll(text, &end, 10);

	*out = v;
	return *text >= '0' && *text <= '9' && !*end && v >= 1 && v <= max;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, OPT_JSON},
						{"limit", required_argument, NULL, OPT_LIMIT},
						{"before", required_argument, NULL, OPT_BEFORE},
						CMD_HELP,
						{0}};
	struct listing l = {.limit = LIMIT_DEFAULT, .before = INT64_MAX};
	int o, code;

	while ((o = cmd_option(&cmd_conflicts, argc, argv, options, &code)) != -1) {
		if (o == 0)
			return code;
		if (o == OPT_JSON)
			l.json = true;
		else if (o == OPT_LIMIT && !number(optarg, LIMIT_MAX, &l.limit))
			return cmd_usage(&cmd_conflicts, "'%s' is not a number from 1 to %d",
					 optarg, LIMIT_MAX);
		else if (o == OPT_BEFORE && !number(optarg, INT64_MAX, &l.before))
			return cmd_usage(&cmd_conflicts, "'%s' is not the number of a conflict",
					 optarg);
	}
	if (argc - optind != 1)
		return cmd_usage(&cmd_conflicts, "give one database");
	l.db = argv[optind];
	return show(&l);
}

const struct command cmd_conflicts = {
	.name = "conflicts",
	.run = run,
	.line = "writes of this device that lost",
	.help = "neap conflicts DB [--json] [--limit N] [--before ID]\n\n"
		"Lists what was written here and lost to a later write of others before the server "
		"had taken it,\n"
		"and rows that were overwritten when the server's store was reset, the newest "
		"first. The server\n"
		"has them in its own list, too (`neapd conflicts`). Long rows are cut; whole "
		"values are in the\n"
		"database's table neap_conflict, by id. The newest 10,000 (16 MiB) are kept.\n\n"
		"  --json        one object: conflicts[] (id, table, row, column or null, reason, "
		"at_ms, noted:\n"
		"                the server has it), before (null: there are no older ones), "
		"dropped\n"
		"  --limit N     at most so many, up to 10000 [100]\n"
		"  --before ID   those older than this one\n",
};
