/* Someone else's program: C as C++ in one file, so that both compilers see the same use. */
#include <neap.h>
#include <stddef.h>
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

/*
 * What programs compiled with this header rely on, where a pointer has 8 bytes: struct neap_value
 * never grows, the others only at their end.
 */
static int layout_is_kept(void)
{
	if (sizeof(void *) != 8)
		return 1;
	return sizeof(struct neap_value) == 40 && offsetof(struct neap_conflict, local) == 32 &&
	       offsetof(struct neap_conflict, incoming) == 72 &&
	       offsetof(struct neap_conflict, reason) == 112 &&
	       offsetof(struct neap_status, state) == 80 &&
	       offsetof(struct neap_status, next_step) == 512 &&
	       offsetof(struct neap_track_options, keep_ms) == 24 &&
	       offsetof(struct neap_track_options, uncompressed) == 68;
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
	if (!layout_is_kept())
		return fail("layout");
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
