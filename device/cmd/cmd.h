/* One file per command; main.c has the table. */
#ifndef NEAP_DEVICE_CMD_CMD_H
#define NEAP_DEVICE_CMD_CMD_H

#include <getopt.h>
#include <jansson.h>

#include "common/error.h"

struct command {
	const char *name;
	/* argv[0] is the command's name. Returns an exit code. */
	int (*run)(int argc, char **argv);
	const char *line; /* what it does, in a few words */
	const char *help; /* usage and the rest, as printed by --help */
};

extern const struct command cmd_init, cmd_track, cmd_untrack, cmd_sync, cmd_run, cmd_status,
	cmd_rejected, cmd_conflicts, cmd_verify;

/* "neap <command>: <sentence>" on stderr; returns the exit code of `code`. */
int cmd_fail(const struct command *c, int code, const struct err *e);
/* A wrong command line: the sentence and where help is; returns 2. */
int cmd_usage(const struct command *c, const char *fmt, ...) NEAP_PRINTF(2, 3);
/*
 * Parses options: short ones are not used, so `value` of each long option is unique. Returns it, −1
 * at the end, or 0 when the command is done with (help was printed, or a wrong option told):
 * *exit_code then.
 */
int cmd_option(const struct command *c, int argc, char **argv, const struct option *options,
	       int *exit_code);
/* The one option every command has. */
#define CMD_HELP                               \
	{                                      \
		"help", no_argument, NULL, 'h' \
	}

/* A number above 0, with k, M or G for 2^10, 2^20, 2^30. NE_USAGE. */
NEAP_CHECK int cmd_count(const char *text, int64_t *out, struct err *e);
/* "90s", "15m", "12h", "30d" in ms. NE_USAGE quoting the text. */
NEAP_CHECK int cmd_age(const char *text, int64_t *ms, struct err *e);

/* Members of a status object, 0 and "" where missing. */
long long cmd_number(const json_t *status, const char *name);
const char *cmd_text(const json_t *status, const char *name);

#endif
