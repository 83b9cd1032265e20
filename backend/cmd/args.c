#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cmd/cmd.h"

int cmd_bad_option(const struct command *self, char **argv, struct err *e)
{
	return err_set(e, NE_USAGE,
		       "\"%.80s\" is no option here or lacks its value; see neapd %s --help",
		       argv[optind - 1], self->name);
}

static int check_operands(const struct command *self, int n, char *const *operand, int min, int max,
			  struct err *e)
{
	if (n < min)
		return err_set(e, NE_USAGE, "something is missing; usage: neapd %s %s", self->name,
			       self->synopsis);
	if (n > max)
		return err_set(e, NE_USAGE, "\"%.80s\" is too much; usage: neapd %s %s",
			       operand[max], self->name, self->synopsis);
	return 0;
}

int cmd_args(const struct command *self, int argc, char **argv, const char *extra, int min, int max,
	     struct args *out, struct err *e)
{
	static const struct option all[] = {
		{"config", required_argument, NULL, 'c'},
		{"password-file", required_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'},
		{"auth", no_argument, NULL, 'a'},
		{"since", required_argument, NULL, 's'},
		{"limit", required_argument, NULL, 'l'},
		{"before", required_argument, NULL, 'b'},
		{"valid", required_argument, NULL, 'v'},
		{"after", required_argument, NULL, 'f'},
		{"rows", required_argument, NULL, 'R'},
		{"bytes", required_argument, NULL, 'B'},
		{"recount", no_argument, NULL, 'C'},
		{NULL, 0, NULL, 0},
	};
	int o;

	memset(out, 0, sizeof *out);
	optind = 1;
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", all, NULL)) != -1) {
		if (o == 'c')
			out->config = optarg;
		else if (o == 'p' && strchr(extra, 'p'))
			out->password_file = optarg;
		else if (o == 'j' && strchr(extra, 'j'))
			out->json = true;
		else if (o == 'a' && strchr(extra, 'a'))
			out->auth = true;
		else if (o == 's' && strchr(extra, 's'))
			out->since = optarg;
		else if (o == 'l' && strchr(extra, 'l'))
			out->limit = optarg;
		else if (o == 'b' && strchr(extra, 'b'))
			out->before = optarg;
		else if (o == 'v' && strchr(extra, 'v'))
			out->valid = optarg;
		else if (o == 'f' && strchr(extra, 'f'))
			out->after = optarg;
		else if (o == 'R' && strchr(extra, 'q'))
			out->rows = optarg;
		else if (o == 'B' && strchr(extra, 'q'))
			out->bytes = optarg;
		else if (o == 'C' && strchr(extra, 'q'))
			out->recount = true;
		else
			return cmd_bad_option(self, argv, e);
	}
	if (!out->config)
		out->config = getenv("NEAP_CONFIG");
	if (!out->config)
		out->config = "/etc/neap/neapd.conf";
	out->operand = argv + optind;
	out->operands = argc - optind;
	return check_operands(self, out->operands, out->operand, min, max, e);
}

int cmd_config(const struct args *args, struct config *c, struct err *e)
{
	int rc = config_read(args->config, c, e);

	if (rc == NE_NOT_FOUND)
		return err_set(e, rc,
			       "no config \"%.200s\"; give one with --config, or make a set-up "
			       "with neapd init",
			       args->config);
	return rc;
}

int cmd_open_auth(const struct args *args, struct config *c, struct auth **out, struct err *e)
{
	TRY(cmd_config(args, c, e));
	return auth_open(out, c, e);
}

/* Only a new store needs random bytes, and none is made here. */
static void no_random(void *ctx, void *out, size_t len)
{
	(void)ctx;
	memset(out, 0, len);
}

int cmd_open_store(const struct config *c, struct store **out, struct err *e)
{
	struct store_config open = {
		.path = c->store, .busy_ms = 5000, .existing = true, .random = no_random};
	int rc = store_open(out, &open, e);

	if (rc == NE_NOT_FOUND)
		return err_set(e, rc, "there is no data store \"%.200s\" yet; neapd serve makes it",
			       c->store);
	return rc;
}

const char *cmd_time(int64_t at_s, char out[static 32])
{
	time_t t = (time_t)at_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M:%SZ", &tm))
		snprintf(out, 32, "?");
	return out;
}
