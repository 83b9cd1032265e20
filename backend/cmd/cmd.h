/* What the commands of neapd share: one small file each, listed in main.c. */
#ifndef NEAP_BACKEND_CMD_CMD_H
#define NEAP_BACKEND_CMD_CMD_H

#include <getopt.h>

#include "backend/auth/auth.h"
#include "backend/core/store.h"

struct command {
	const char *name;
	/* argv[0] is the command's name. Returns enum ne with the sentence in `e`. */
	int (*run)(const struct command *self, int argc, char **argv, struct err *e);
	const char *synopsis; /* what follows the name */
	const char *about;    /* one line */
	const char *help;     /* options and details, may be "" */
};

int cmd_init(const struct command *self, int argc, char **argv, struct err *e);
int cmd_serve(const struct command *self, int argc, char **argv, struct err *e);
int cmd_user(const struct command *self, int argc, char **argv, struct err *e);
int cmd_device(const struct command *self, int argc, char **argv, struct err *e);
int cmd_status(const struct command *self, int argc, char **argv, struct err *e);
int cmd_backup(const struct command *self, int argc, char **argv, struct err *e);
int cmd_conflicts(const struct command *self, int argc, char **argv, struct err *e);
int cmd_schema(const struct command *self, int argc, char **argv, struct err *e);
int cmd_key(const struct command *self, int argc, char **argv, struct err *e);

/* What the options of a command were found to be. */
struct args {
	const char *config;	   /* --config; else NEAP_CONFIG, else /etc/neap/neapd.conf */
	const char *password_file; /* --password-file */
	bool json;		   /* --json */
	bool auth;		   /* --auth */
	bool recount;		   /* --recount */
	const char *since, *limit, *before, *valid, *after, *rows, *bytes;
	char *const *operand; /* what is left */
	int operands;
};

/*
 * Parses --config, and --password-file, --json, --auth, --since, --limit, --before, --valid and
 * --after where `extra` has p, j, a, s, l, b, v and f; --rows, --bytes and --recount where it has
 * q. NE_USAGE quotes what is wrong. There must be `min` to `max` operands.
 */
NEAP_CHECK int cmd_args(const struct command *self, int argc, char **argv, const char *extra,
			int min, int max, struct args *out, struct err *e);
/* `neapd user quota [NAME]`, of accounts in `a`. NE_USAGE, NE_NOT_FOUND. */
NEAP_CHECK int user_quota(struct auth *a, const struct config *c, const struct args *args,
			  struct err *e);
/* After getopt_long said '?' or ':'. */
int cmd_bad_option(const struct command *self, char **argv, struct err *e);

/* Reads the config; where there is none, the sentence says how to name or make one. */
NEAP_CHECK int cmd_config(const struct args *args, struct config *c, struct err *e);
/* That, and opens the accounts. */
NEAP_CHECK int cmd_open_auth(const struct args *args, struct config *c, struct auth **out,
			     struct err *e);

/* The data store, to look at. NE_NOT_FOUND before the first neapd serve. */
NEAP_CHECK int cmd_open_store(const struct config *c, struct store **out, struct err *e);

/*
 * From the file, or the terminal without echo (twice when `again`), or a pipe's first line. Free
 * with secret_free(). NE_USAGE.
 */
NEAP_CHECK int cmd_password(const struct args *args, bool again, struct buf *out, struct err *e);

/* "2026-01-31 12:00:00Z" */
const char *cmd_time(int64_t at_s, char out[static 32]);

#endif
