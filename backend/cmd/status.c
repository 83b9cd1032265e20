#include "backend/shell/status.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/cmd/cmd.h"

enum { ANSWER_MAX = 1024 * 1024 };

/* "links.connected  true", one line a value. */
static void print_plain(const char *path, const json_t *v)
{
	const char *name;
	json_t *member;

	if (!json_is_object(v)) {
		char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		printf("%-28s %s\n", path, text ? text : "?");
		free(text);
		return;
	}
	json_object_foreach((json_t *)(uintptr_t)v, name, member)
	{
		char below[256];
		snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", name);
		print_plain(below, member);
	}
}

int cmd_status(const struct command *self, int argc, char **argv, struct err *e)
{
	struct buf answer = {.max = ANSWER_MAX};
	struct config c;
	struct args args;

	TRY(cmd_args(self, argc, argv, "j", 0, 0, &args, e));
	TRY(cmd_config(&args, &c, e));
	int rc = serve_status(&c, &answer, e);
	json_t *root = rc ? NULL : json_loadb((const char *)answer.at, answer.len, 0, NULL);
	if (!rc && !root)
		rc = err_set(e, NE_MALFORMED, "the running neapd answered with what is no JSON");
	if (root && args.json)
		printf("%.*s\n", (int)answer.len, (const char *)answer.at);
	else if (root)
		print_plain("", root);
	json_decref(root);
	buf_free(&answer);
	return rc;
}
