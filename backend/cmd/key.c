#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cmd/cmd.h"
#include "common/duration.h"

enum { AFTER_S = 60, AFTER_MAX_S = 30 * 86400 };

static const char *name_of(const struct auth_key_info *k, char out[static 32])
{
	snprintf(out, 32, "master-%lld", (long long)k->from_s);
	return k->master ? out : k->kid;
}

static int print_key(void *ctx, const struct auth_key_info *k, struct err *e)
{
	char name[32], from[32], until[32], retire[32];

	(void)ctx;
	(void)e;
	printf("%-6s %-43s from %s%s%s%s%s%s\n", k->master ? "master" : "token", name_of(k, name),
	       cmd_time(k->from_s, from), k->until_s ? " until " : "",
	       k->until_s ? cmd_time(k->until_s, until) : "",
	       k->until_s ? ", not needed after " : "",
	       k->until_s ? cmd_time(k->retire_s, retire) : "", k->used ? ", in use" : "");
	return 0;
}

static json_t *time_or_null(int64_t at_s)
{
	return at_s ? json_integer((json_int_t)at_s * 1000) : json_null();
}

static int add_key(void *ctx, const struct auth_key_info *k, struct err *e)
{
	char name[32];
	json_t *item =
		json_pack("{s:s, s:s, s:o, s:o, s:o, s:b}", "kind", k->master ? "master" : "token",
			  "name", name_of(k, name), "from_ms", time_or_null(k->from_s), "until_ms",
			  time_or_null(k->until_s), "retire_ms", time_or_null(k->retire_s),
			  "in_use", k->used);

	return json_array_append_new(ctx, item) ? err_set(e, NE_MEMORY, "out of memory") : 0;
}

static int list_json(struct auth *a, struct err *e)
{
	json_t *doc = json_pack("{s:[]}", "keys");
	int rc = doc ? auth_each_key(a, add_key, json_object_get(doc, "keys"), e) : NE_MEMORY;
	char *text = rc ? NULL : json_dumps(doc, JSON_COMPACT);

	json_decref(doc);
	if (!rc && !text)
		rc = err_set(e, NE_MEMORY, "out of memory");
	if (text)
		puts(text);
	free(text);
	return rc;
}

static int rotate(struct auth *a, const struct config *c, const struct args *args, struct err *e)
{
	bool master = !strcmp(args->operand[1], "master");
	int64_t after_s = AFTER_S, from_s;
	char from[32];

	if (!master && strcmp(args->operand[1], "token") != 0)
		return err_set(e, NE_USAGE, "\"%.40s\" is neither master nor token",
			       args->operand[1]);
	if (args->after && master)
		return err_set(e, NE_USAGE, "--after is for token keys");
	if (args->after && !duration_read(args->after, AFTER_MAX_S, &after_s))
		return err_set(e, NE_USAGE,
			       "\"%.40s\" is no time of 1s to 30d: give one as in 90s, 10m or 2h",
			       args->after);
	TRY(master ? auth_rotate_master(a, &from_s, e) : auth_rotate_token(a, after_s, &from_s, e));
	printf("a new %s key is used from %s on\n", master ? "master" : "token",
	       cmd_time(from_s, from));
	if (master)
		puts("back it up now: what devices send can be opened with it only");
	else
		printf("a broker on another host needs it before: copy %s there\n", c->token_keys);
	return 0;
}

static int count_retired(void *ctx, const struct auth_key_info *k, struct err *e)
{
	char name[32];

	(void)e;
	++*(size_t *)ctx;
	printf("removed %s key %s\n", k->master ? "master" : "token", name_of(k, name));
	return 0;
}

static int retire(struct auth *a, struct err *e)
{
	size_t n = 0;
	int rc = auth_retire_keys(a, count_retired, &n, e);

	if (!rc && !n)
		puts("every key may still be needed; neapd key list says how long");
	return rc;
}

int cmd_key(const struct command *self, int argc, char **argv, struct err *e)
{
	struct config c;
	struct args args;
	struct auth *a;
	int rc;

	TRY(cmd_args(self, argc, argv, "jf", 1, 2, &args, e));
	const char *what = args.operand[0];
	bool show = !strcmp(what, "list"), turn = !strcmp(what, "rotate");
	if (!show && !turn && strcmp(what, "retire") != 0)
		return err_set(e, NE_USAGE, "\"%.40s\" is none of list, rotate, retire", what);
	if (args.operands != (turn ? 2 : 1))
		return err_set(e, NE_USAGE, "usage: neapd key %s%s", what,
			       turn ? " master|token" : "");
	if ((args.json && !show) || (args.after && !turn))
		return err_set(e, NE_USAGE,
			       "--json is for neapd key list, --after for neapd key rotate token");
	TRY(cmd_open_auth(&args, &c, &a, e));
	if (show)
		rc = args.json ? list_json(a, e) : auth_each_key(a, print_key, NULL, e);
	else
		rc = turn ? rotate(a, &c, &args, e) : retire(a, e);
	auth_close(a);
	return rc;
}
