/* The `neap` command: a table of commands, each in its own file. */
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/duration.h"
#include "device/cmd/cmd.h"

static const struct command *const commands[] = {
	&cmd_init,   &cmd_track,  &cmd_untrack,	 &cmd_sync,	 &cmd_run,
	&cmd_status, &cmd_verify, &cmd_rejected, &cmd_conflicts,
};

enum { N_COMMAND = sizeof commands / sizeof commands[0] };

int cmd_fail(const struct command *c, int code, const struct err *e)
{
	fprintf(stderr, "neap %s: %s\n", c->name, e->text[0] ? e->text : ne_name(code));
	return ne_exit_code(code);
}

int cmd_usage(const struct command *c, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "neap %s: ", c->name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "; see `neap %s --help`\n", c->name);
	return ne_exit_code(NE_USAGE);
}

int cmd_option(const struct command *c, int argc, char **argv, const struct option *options,
	       int *exit_code)
{
	opterr = 0;
	int value = getopt_long(argc, argv, ":", options, NULL);

	switch (value) {
	case 'h':
		printf("usage: %s", c->help);
		*exit_code = 0;
		return 0;
	case ':':
		*exit_code = cmd_usage(c, "'%s' needs a value", argv[optind - 1]);
		return 0;
	case '?':
		*exit_code = cmd_usage(c, "'%s' is not an option", argv[optind - 1]);
		return 0;
	default:
		return value;
	}
}

int cmd_age(const char *text, int64_t *ms, struct err *e)
{
	int64_t s;

	if (!duration_read(text, INT64_MAX / 4000, &s))
		return err_set(e, NE_USAGE,
			       "'%s' is not an age: give a number and s, m, h or d, e.g. 30d",
			       text);
	*ms = 1000 * s;
	return NE_OK;
}

int cmd_count(const char *text, int64_t *out, struct err *e)
{
	char *end;
	long long n = strtoll(text, &end, 10);
	int shift = *end == 'k' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

	if (end == text || end[shift != 0] || n <= 0 || n > INT64_MAX / 4 >> shift)
		return err_set(e, NE_USAGE,
			       "'%s' is not a number above 0; k, M or G may follow, e.g. 64M",
			       text);
	*out = n << shift;
	return NE_OK;
}

long long cmd_number(const json_t *status, const char *name)
{
	return json_integer_value(json_object_get(status, name));
}

const char *cmd_text(const json_t *status, const char *name)
{
	const char *text = json_string_value(json_object_get(status, name));

	return text ? text : "";
}

static int help(FILE *to)
{
	fprintf(to, "Keeps tables of a SQLite database in step with a Neap server.\n\n"
		    "usage: neap COMMAND …\n\n");
	for (size_t i = 0; i < N_COMMAND; i++)
		fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->line);
	fprintf(to,
		"\nA first time:\n"
		"  neap init app.db --server https://sync.example.org --user shop1 --device till3\n"
		"  neap track app.db readings --append\n"
		"  neap run app.db\n\n"
		"`neap COMMAND --help` says more. Exit codes: 0 done, 1 internal, 2 usage, 3 "
		"unreachable or\n"
		"timed out, 4 login required, 5 certificate, 6 rejected, parked or differing rows, "
		"7 locked\n"
		"by another engine, 8 no such database, table or key, 9 disk, 10 capture "
		"broken.\n");
	return to == stdout ? 0 : ne_exit_code(NE_USAGE);
}

int main(int argc, char **argv)
{
	static char help_option[] = "--help";

	/* Keys and tokens are in this process: no core file, no reading by another of the user. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error like a full disk */
	if (argc < 2)
		return help(stderr);
	if (!strcmp(argv[1], "help") && argc > 2) { /* neap help sync */
		argv[1] = argv[2];
		argv[2] = help_option;
		argc = 3;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(stdout);
	if (!strcmp(argv[1], "--version")) {
		printf("neap %s\n", NEAP_VERSION);
		return 0;
	}
	for (size_t i = 0; i < N_COMMAND; i++)
		if (!strcmp(argv[1], commands[i]->name))
			return commands[i]->run(argc - 1, argv + 1);
	fprintf(stderr, "neap: '%s' is not a command; `neap --help` lists them\n", argv[1]);
	return ne_exit_code(NE_USAGE);
}
