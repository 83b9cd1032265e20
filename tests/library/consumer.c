/* Someone else's program: C as C++ in one file, so that both compilers see the same use. */
#include <neap.h>
#include <stdio.h>
#include <string.h>

static void changed(void *ctx, const char *table)
{
	++*(int *)ctx;
	printf("%s\n", table);
}

static int fail(const char *what)
{
	fprintf(stderr, "consumer: %s: %s\n", what, neap_error(NULL));
	return 1;
}

int main(int argc, char **argv)
{
	struct neap_track_options options = NEAP_TRACK_OPTIONS;
	struct neap_status status;
	struct neap_value value;
	neap *n;
	int calls = 0;

	options.append = 1;
	options.direction = NEAP_UP;
	value.type = NEAP_NULL;
	status.size = sizeof status;
	if (argc != 2 || options.size != sizeof options || options.priority != -1)
		return fail("options");
	if (strcmp(neap_version(), argv[1]) != 0)
		return fail("version");
	if (neap_open("/nowhere/app.db", &n) != NEAP_NOT_FOUND || n ||
	    !strstr(neap_error(NULL), "/nowhere/app.db"))
		return fail("open");
	if (neap_on_change(n, NULL, changed, &calls) != NEAP_USAGE ||
	    neap_status(n, &status) != NEAP_USAGE || neap_close(n) != NEAP_OK)
		return fail("a handle that is none");
	return value.type == NEAP_NULL && calls == 0 ? 0 : 1;
}
