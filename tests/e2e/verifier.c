/* A program that compares the tables of DB by libneap, as an app would: one line for each. */
#include <neap.h>
#include <stdio.h>
#include <string.h>

static void tell(void *ctx, const struct neap_verified *v)
{
	int *told = ctx;

	if (!strcmp(v->outcome, "waits"))
		return;
	++*told;
	printf("%s %s rows %lld differed %lld missing %lld extra %lld repaired %lld\n", v->table,
	       v->outcome, (long long)v->rows, (long long)v->differed, (long long)v->missing,
	       (long long)v->extra, (long long)v->repaired);
}

int main(int argc, char **argv)
{
	neap *n;
	int told = 0;

	if (argc < 2 || neap_open(argv[1], &n)) {
		fprintf(stderr, "%s\n",
			argc > 1 ? neap_error(NULL) : "usage: neap_verifier DB [TABLE]");
		return 2;
	}
	int rc = neap_verify(n, argv[2], 1, 30000, tell, &told);
	if (rc)
		fprintf(stderr, "%s\n", neap_error(n));
	printf("told %d\n", told);
	neap_close(n);
	return rc;
}
