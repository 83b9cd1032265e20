#include <stdio.h>
#include <string.h>

#include "backend/cmd/cmd.h"

static const char *type_name(enum shape_affinity affinity)
{
	static const char *const name[] = {[AFF_BLOB] = "BLOB",
					   [AFF_TEXT] = "TEXT",
					   [AFF_NUMERIC] = "NUMERIC",
					   [AFF_INTEGER] = "INTEGER",
					   [AFF_REAL] = "REAL"};
	return name[affinity];
}

static void print_columns(const struct shape_col *col, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++)
		printf("  %.*s %s%s\n", (int)col[i].name.len, (const char *)col[i].name.at,
		       type_name(col[i].affinity), what);
}

static int print_table(void *ctx, const struct store_table_status *status)
{
	static const char *const direction[] = {
		[DIR_BOTH] = "both", [DIR_UP] = "up", [DIR_DOWN] = "down"};
	const struct store_table *t = status->table;

	printf("%s: %s table, direction %s, %lld rows", t->name,
	       t->shape.kind == SHAPE_APPEND ? "append" : "merge", direction[t->shape.direction],
	       (long long)status->rows);
	if (status->parked)
		printf(", %lld parked: user_id is no account", (long long)status->parked);
	putchar('\n');
	print_columns(t->shape.key, t->shape.n_key, "  (key)");
	print_columns(t->shape.col, t->shape.n_col, "");
	++*(size_t *)ctx;
	return 0;
}

int cmd_schema(const struct command *self, int argc, char **argv, struct err *e)
{
	struct store *store;
	struct config c;
	struct args args;
	size_t n = 0;

	TRY(cmd_args(self, argc, argv, "", 1, 1, &args, e));
	if (strcmp(args.operand[0], "show"))
		return err_set(e, NE_USAGE, "\"%.40s\" is not show", args.operand[0]);
	TRY(cmd_config(&args, &c, e));
	TRY(cmd_open_store(&c, &store, e));
	int rc = store_each_table(store, print_table, &n, e);
	if (!rc && !n)
		puts("no tables yet: a device declares them when it syncs");
	store_close(store);
	return rc;
}
