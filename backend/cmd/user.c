#include <stdio.h>
#include <string.h>

#include "backend/cmd/cmd.h"
#include "common/file.h"

static int print_user(void *ctx, const struct auth_user *u, struct err *e)
{
	char since[32];

	(void)e;
	++*(size_t *)ctx;
	printf("%-32s %8lld devices  since %s%s\n", u->name, (long long)u->devices,
	       cmd_time(u->created_s, since), u->disabled ? "  disabled" : "");
	return 0;
}

static int list_users(struct auth *a, struct err *e)
{
	size_t n = 0;
	int rc = auth_each_user(a, print_user, &n, e);

	if (!rc && !n)
		puts("no accounts yet: neapd user add NAME makes one");
	return rc;
}

static int with_password(struct auth *a, const struct args *args, bool add, struct err *e)
{
	struct buf password = {0};
	const char *user = args->operand[1];

	int rc = cmd_password(args, true, &password, e);
	if (!rc && add)
		rc = auth_user_add(a, user, buf_slice(&password), e);
	else if (!rc)
		rc = auth_user_passwd(a, user, buf_slice(&password), e);
	secret_free(&password);
	return rc;
}

int cmd_user(const struct command *self, int argc, char **argv, struct err *e)
{
	struct config c;
	struct args args;
	struct auth *a;
	int rc;

	TRY(cmd_args(self, argc, argv, "pjq", 1, 2, &args, e));
	const char *what = args.operand[0];
	bool list = !strcmp(what, "list"), add = !strcmp(what, "add");
	bool passwd = !strcmp(what, "passwd"), gone = !strcmp(what, "remove");
	bool quota = !strcmp(what, "quota");
	if (!list && !add && !passwd && !gone && !quota)
		return err_set(e, NE_USAGE, "\"%.40s\" is none of add, passwd, list, quota, remove",
			       what);
	if (!quota && (args.json || args.rows || args.bytes || args.recount))
		return err_set(e, NE_USAGE,
			       "--json, --rows, --bytes and --recount belong to neapd user quota");
	if (!quota && args.operands != (list ? 1 : 2))
		return err_set(e, NE_USAGE, "usage: neapd user %s%s", what, list ? "" : " NAME");
	TRY(cmd_open_auth(&args, &c, &a, e));
	if (list)
		rc = list_users(a, e);
	else if (quota)
		rc = user_quota(a, &c, &args, e);
	else if (gone)
		rc = auth_user_remove(a, args.operand[1], e);
	else
		rc = with_password(a, &args, add, e);
	auth_close(a);
	if (!rc && !list && !quota)
		printf("account %s %s\n", args.operand[1],
		       add	? "added; its devices can log in: neap init"
		       : passwd ? "has a new password; each of its devices has to log in again"
				: "removed, with its devices; its data stays in the store");
	return rc;
}
