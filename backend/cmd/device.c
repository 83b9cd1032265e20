#include <stdio.h>
#include <string.h>

#include "backend/cmd/cmd.h"

static int print_device(void *ctx, const struct auth_device *d, struct err *e)
{
	char first[32], last[32];

	(void)ctx;
	(void)e;
	printf("%-32s first %s  last %s%s\n", d->name, cmd_time(d->first_s, first),
	       cmd_time(d->last_s, last), d->revoked ? "  revoked" : "");
	return 0;
}

int cmd_device(const struct command *self, int argc, char **argv, struct err *e)
{
	struct config c;
	struct args args;
	struct auth *a;
	int rc;

	TRY(cmd_args(self, argc, argv, "", 1, 3, &args, e));
	const char *what = args.operand[0];
	bool list = !strcmp(what, "list"), revoke = !strcmp(what, "revoke");
	if (!list && !revoke && strcmp(what, "allow"))
		return err_set(e, NE_USAGE, "\"%.40s\" is none of list, revoke, allow", what);
	if (args.operands != (list ? 2 : 3))
		return err_set(e, NE_USAGE, "usage: neapd device %s USER%s", what,
			       list ? "" : " DEVICE");
	TRY(cmd_open_auth(&args, &c, &a, e));
	if (list)
		rc = auth_each_device(a, args.operand[1], print_device, NULL, e);
	else if (revoke)
		rc = auth_device_revoke(a, args.operand[1], args.operand[2], e);
	else
		rc = auth_device_allow(a, args.operand[1], args.operand[2], e);
	auth_close(a);
	return rc;
}
