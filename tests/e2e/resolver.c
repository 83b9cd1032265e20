/*
 * A program that resolves conflicts, as an app would by libneap: syncs DB once, joining both values
 * of a text cell of table settings with a plus sign. One line for each conflict, then how many.
 */
#include <neap.h>
#include <stdio.h>
#include <string.h>

struct state {
	int told, asked;
	char joined[256];
};

static int resolve(void *ctx, const struct neap_conflict *c, struct neap_value *write)
{
	struct state *s = ctx;

	s->asked++;
	if (c->local.type != NEAP_TEXT || c->incoming.type != NEAP_TEXT)
		return NEAP_KEEP;
	snprintf(s->joined, sizeof s->joined, "%.*s+%.*s", (int)c->local.len,
		 (const char *)c->local.bytes, (int)c->incoming.len,
		 (const char *)c->incoming.bytes);
	write->bytes = s->joined;
	write->len = strlen(s->joined);
	return NEAP_WRITE;
}

static void tell(void *ctx, const struct neap_conflict *c)
{
	struct state *s = ctx;

	s->told++;
	printf("%s %s %s: %s\n", c->table, c->key, c->column ? c->column : "-", c->reason);
}

int main(int argc, char **argv)
{
	struct state s = {0};
	neap *n;

	if (argc != 2 || neap_open(argv[1], &n)) {
		fprintf(stderr, "%s\n", argc == 2 ? neap_error(NULL) : "usage: neap_resolver DB");
		return 2;
	}
	int rc = neap_on_conflict(n, tell, &s);
	if (!rc)
		rc = neap_set_resolver(n, "settings", resolve, &s);
	if (!rc)
		rc = neap_sync(n, 30000);
	if (rc)
		fprintf(stderr, "%s\n", neap_error(n));
	printf("told %d asked %d\n", s.told, s.asked);
	neap_close(n);
	return rc;
}
