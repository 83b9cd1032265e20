#include "backend/shell/serve.h"

#include "backend/cmd/cmd.h"

int cmd_serve(const struct command *self, int argc, char **argv, struct err *e)
{
	struct config c;
	struct args args;

	TRY(cmd_args(self, argc, argv, "", 0, 0, &args, e));
	TRY(cmd_config(&args, &c, e));
	return serve_run(&c, e);
}
