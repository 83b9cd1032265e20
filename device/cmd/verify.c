/* neap verify: what is here against what the server has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/cmd/cmd.h"
#include "device/shell/agent.h"
#include "device/shell/clock.h"

enum { OPT_JSON = 256, OPT_NO_REPAIR, OPT_TIMEOUT, PROGRESS_AFTER_MS = 2000, BAR = 30 };

struct bar {
	uint64_t began_ms;
	bool terminal, drawn;
};

struct options {
	bool json, repair;
	uint64_t timeout_ms;
};

/* The table under way: the first that is not done. */
static const json_t *under_way(const json_t *tables, size_t *at)
{
	for (*at = 0; *at < json_array_size(tables); ++*at) {
		const json_t *t = json_array_get(tables, *at);

		if (!strcmp(cmd_text(t, "outcome"), "waits"))
			return t;
	}
	return NULL;
}

static void draw(void *ctx, const json_t *status)
{
	struct bar *b = ctx;
	const json_t *tables = json_object_get(json_object_get(status, "verify"), "tables");
	size_t at;
	const json_t *t = under_way(tables, &at);
	char cells[BAR + 1];

	if (!b->terminal || !t || mono_ms() - b->began_ms < PROGRESS_AFTER_MS)
		return;
	long long rows = cmd_number(t, "rows") + cmd_number(t, "left_out");
	long long total = cmd_number(t, "total");
	int full = total ? (int)((rows < total ? rows : total) * BAR / total) : 0;
	for (int i = 0; i < BAR; i++)
		cells[i] = i < full ? '#' : '.';
	cells[BAR] = '\0';
	fprintf(stderr, "\r[%s] table %zu of %zu, %s: %lld of %lld rows, %s\033[K", cells, at + 1,
		json_array_size(tables), cmd_text(t, "name"), rows, total,
		cmd_text(status, "connection"));
	fflush(stderr);
	b->drawn = true;
}

static const char *why_not(const char *outcome)
{
	static const struct {
		const char *outcome, *text;
	} known[] = {
		{"waits", "it did not come to its end"},
		{"append",
		 "an append table without an INTEGER PRIMARY KEY keeps no numbers of rows that "
		 "went up, by which the server could be asked (but with --keep)"},
		{"up", "it only goes up: the server has other devices' rows, and gives none back"},
		{"capture", "its capture is broken or being made good"},
		{"unknown", "the server does not have it"},
		{"failed", "a row of it is too large to be compared"},
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(known[i].outcome, outcome))
			return known[i].text;
	return outcome;
}

static void print_found(long long n, const char *what, bool *any)
{
	if (n)
		printf("%s %lld %s", *any ? "," : "", n, what);
	*any |= n != 0;
}

static void print_table(const json_t *t, bool repair)
{
	bool any = false;

	if (strcmp(cmd_text(t, "outcome"), "compared") != 0) {
		printf("%-24s not compared: %s\n", cmd_text(t, "name"),
		       why_not(cmd_text(t, "outcome")));
		return;
	}
	printf("%-24s %lld rows compared:", cmd_text(t, "name"), cmd_number(t, "rows"));
	print_found(cmd_number(t, "differed"), "differed", &any);
	print_found(cmd_number(t, "missing"), "were missing here", &any);
	print_found(cmd_number(t, "extra"), "were only here", &any);
	if (any && repair)
		printf("; %lld repaired", cmd_number(t, "repaired"));
	if (!any)
		printf(" equal");
	if (cmd_number(t, "left_out"))
		printf("; %lld left out: pending, rejected, parked or changing",
		       cmd_number(t, "left_out"));
	printf("\n");
}

static void print(const json_t *report, const struct options *o)
{
	const json_t *tables = json_object_get(report, "tables"), *t;
	size_t i;

	if (o->json) {
		json_dumpf(report, stdout, JSON_INDENT(2));
		printf("\n");
		return;
	}
	if (json_array_size(tables) == 0 && json_is_true(json_object_get(report, "done")))
		printf("no table is tracked: `neap track DB TABLE` adds one\n");
	json_array_foreach(tables, i, t) print_table(t, o->repair);
}

static int verify(const char *db, char **tables, int n, const struct options *o)
{
	struct bar bar = {.began_ms = mono_ms(), .terminal = isatty(STDERR_FILENO)};
	json_t *list = json_array(), *status = NULL;
	struct agent_progress progress = {.fn = draw, .ctx = &bar, .status = &status};
	struct err e = {0};

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_string(tables[i]));
	if (json_array_size(list) != (size_t)n) {
		json_decref(list);
		return cmd_usage(&cmd_verify, "a table's name is not valid UTF-8");
	}
	json_t *request = json_pack("{s:s, s:b, s:b, s:o}", "op", "verify", "repair", o->repair,
				    "patient", o->timeout_ms > 0, "tables", list);
	int rc = request ? agent_verify(db, request, o->timeout_ms, NULL, &progress, &e)
			 : err_set(&e, NE_MEMORY, "out of memory");
	json_decref(request);
	if (bar.drawn)
		fprintf(stderr, "\r\033[K");
	const json_t *report = json_object_get(status, "verify");
	if (report)
		print(report, o);
	json_decref(status);
	return rc ? cmd_fail(&cmd_verify, rc, &e) : 0;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, OPT_JSON},
						{"no-repair", no_argument, NULL, OPT_NO_REPAIR},
						{"timeout", required_argument, NULL, OPT_TIMEOUT},
						CMD_HELP,
						{0}};
	struct options o = {.repair = true};
	int option, code;

	while ((option = cmd_option(&cmd_verify, argc, argv, options, &code)) != -1) {
		char *end;
		if (option == 0)
			return code;
		if (option == OPT_JSON) {
			o.json = true;
			continue;
		}
		if (option == OPT_NO_REPAIR) {
			o.repair = false;
			continue;
		}
		double s = strtod(optarg, &end);
		if (end == optarg || *end || !(s > 0) || s > 1e9)
			return cmd_usage(&cmd_verify, "'%s' is not a number of seconds", optarg);
		o.timeout_ms = (uint64_t)(s * 1000) + (s * 1000 < 1);
	}
	if (argc - optind < 1)
		return cmd_usage(&cmd_verify, "give a database");
	return verify(argv[optind], argv + optind + 1, argc - optind - 1, &o);
}

const struct command cmd_verify = {
	.name = "verify",
	.run = run,
	.line = "compare tables with the server's, and repair",
	.help = "neap verify DB [TABLE…] [--json] [--no-repair] [--timeout S]\n\n"
		"Compares the rows here with the server's, by sums over ranges of keys, and "
		"repairs "
		"what\n"
		"differs: a damaged file, a writer that switched our triggers off, on this device "
		"or on the server.\n"
		"The server's row overwrites the one here, which is kept (`neap conflicts`, "
		"\"repaired "
		"by verify\");\n"
		"a row that the server never heard of is sent; one that it saw deleted goes. Rows "
		"that are pending,\n"
		"rejected or parked, or change meanwhile, are left out; writing may go on.\n"
		"Of append tables the server is asked by number which of the acknowledged rows it "
		"has or had: those\n"
		"that an operator deleted count as had where numbers came without holes; what it "
		"lacks is sent\n"
		"again. What they say is not compared, as rows may be changed here once they went "
		"up. Not compared\n"
		"are tables that only go up (the server has other devices' rows and gives none "
		"back), and append\n"
		"tables without an INTEGER PRIMARY KEY, whose rows' numbers are kept only with "
		"--keep.\n\n"
		"  --no-repair   only tell\n"
		"  --json        done, repair, tables[]: name, outcome (compared, or why not: "
		"append, "
		"up, capture,\n"
		"                unknown, failed), total, rows, left_out, differed, missing (not "
		"here), extra (only\n"
		"                here), repaired\n"
		"  --timeout S   keep trying for S seconds; without it, give up after a few failed "
		"connections\n"
		"                or a minute without progress\n\n"
		"Exits 0 when all rows are equal, or now are; 6 when differences remain or a table "
		"could not be\n"
		"compared (10 if for its capture; those that never can be count when named); 3 "
		"when "
		"the server is\n"
		"unreachable or time is up; 8 for an unknown table. `neap status` shows when it "
		"was "
		"last done.\n",
};
