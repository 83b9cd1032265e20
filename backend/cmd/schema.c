#include <stdio.h>
#include <string.h>

#include "backend/cmd/cmd.h"
#include "backend/core/store.h"

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

static void print_table(const struct store_table *t)
{
	static const char *const direction[] = {
		[DIR_BOTH] = "both", [DIR_UP] = "up", [DIR_DOWN] = "down"};

	printf("%s: %s table, direction %s\n", t->name,
	       t->shape.kind == SHAPE_APPEND ? "append" : "merge", direction[t->shape.direction]);
	print_columns(t->shape.key, t->shape.n_key, "  (key)");
	print_columns(t->shape.col, t->shape.n_col, "");
}

/* Only a new store needs random bytes, and none is made here. */
static void no_random(void *ctx, void *out, size_t len)
{
	(void)ctx;
	memset(out, 0, len);
}

int cmd_schema(const struct command *self, int argc, char **argv, struct err *e)
{
	struct store_table *const *table;
	struct store *store;
	struct config c;
	struct args args;

	TRY(cmd_args(self, argc, argv, "", 1, 1, &args, e));
	if (strcmp(args.operand[0], "show"))
		return err_set(e, NE_USAGE, "\"%.40s\" is not show", args.operand[0]);
	TRY(config_read(args.config, &c, e));
	struct store_config open = {
		.path = c.store, .busy_ms = 5000, .existing = true, .random = no_random};
	int rc = store_open(&store, &open, e);
	if (rc == NE_NOT_FOUND)
		return err_set(e, rc, "there is no data store \"%s\" yet; neapd serve makes it",
			       c.store);
	TRY(rc);
	size_t n = store_tables(store, &table);
	for (size_t i = 0; i < n; i++)
		print_table(table[i]);
	if (!n)
		puts("no tables yet: a device declares them when it syncs");
	store_close(store);
	return 0;
}
