#include <jansson.h>
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

static const char *from_name(enum store_from from)
{
	static const char *const name[] = {
		[FROM_BOTH] = "both", [FROM_DEVICES] = "devices", [FROM_SERVER] = "server"};

	return name[from];
}

static const char *direction_name(enum shape_direction d)
{
	static const char *const name[] = {
		[DIR_BOTH] = "both", [DIR_UP] = "up", [DIR_DOWN] = "down"};

	return name[d];
}

struct listing {
	json_t *tables; /* NULL: as text */
	size_t n;
};

static void print_parked(const char *what, int64_t n)
{
	if (n)
		printf("  %lld rows parked: %s\n", (long long)n, what);
}

static void print_table(const struct store_table_status *status)
{
	const struct store_table *t = status->table;

	printf("%s: %s table, direction %s, from %s, %lld rows\n", t->name,
	       t->shape.kind == SHAPE_APPEND ? "append" : "merge",
	       direction_name(t->shape.direction), from_name(t->from), (long long)status->rows);
	if (t->missing)
		printf("  %s: put it back; until then devices keep their changes of this table\n",
		       t->missing);
	print_parked("user_id is no account; correct it, or add the account", status->parked);
	print_parked("a column of the key is NULL; give it a value", status->no_key);
	print_parked("a value above 3.5 MiB does not reach devices; shorten it", status->too_large);
	print_columns(t->shape.key, t->shape.n_key, "  (key)");
	print_columns(t->shape.col, t->shape.n_col, "");
}

static int add_columns(json_t *to, const struct shape_col *col, size_t n, bool key)
{
	for (size_t i = 0; i < n; i++) {
		json_t *c =
			json_pack("{s:s%, s:s, s:b}", "name", (const char *)col[i].name.at,
				  col[i].name.len, "type", type_name(col[i].affinity), "key", key);
		if (!c || json_array_append_new(to, c))
			return NE_MEMORY;
	}
	return 0;
}

static int add_table(json_t *tables, const struct store_table_status *s)
{
	const struct store_table *t = s->table;
	json_t *columns = json_array();
	json_t *doc =
		json_pack("{s:s, s:s, s:s, s:s, s:s?, s:I, s:I, s:I, s:I, s:o}", "name", t->name,
			  "kind", t->shape.kind == SHAPE_APPEND ? "append" : "merge", "direction",
			  direction_name(t->shape.direction), "from", from_name(t->from), "missing",
			  t->missing, "rows", (json_int_t)s->rows, "parked_user",
			  (json_int_t)s->parked, "parked_key", (json_int_t)s->no_key, "parked_size",
			  (json_int_t)s->too_large, "columns", columns);

	if (!doc || json_array_append_new(tables, doc))
		return NE_MEMORY;
	TRY(add_columns(columns, t->shape.key, t->shape.n_key, true));
	return add_columns(columns, t->shape.col, t->shape.n_col, false);
}

static int on_table(void *ctx, const struct store_table_status *status)
{
	struct listing *l = ctx;

	l->n++;
	if (l->tables)
		return add_table(l->tables, status);
	print_table(status);
	return 0;
}

static int show(struct store *store, bool json, struct err *e)
{
	struct listing l = {.tables = json ? json_array() : NULL};
	bool locked;

	TRY(store_schema_locked(store, &locked, e));
	int rc = store_each_table(store, on_table, &l, e);
	if (rc == NE_MEMORY)
		err_set(e, rc, "no memory to list the tables");
	if (!rc && json) {
		json_t *doc = json_pack("{s:b, s:O}", "locked", locked, "tables", l.tables);
		if (!doc || json_dumpf(doc, stdout, JSON_INDENT(2)))
			rc = err_set(e, NE_MEMORY, "no memory to list the tables");
		putchar('\n');
		json_decref(doc);
	} else if (!rc) {
		if (!l.n)
			puts("no tables yet: a device declares them when it syncs");
		if (locked)
			puts("locked: devices add no tables or columns");
	}
	json_decref(l.tables);
	return rc;
}

static int set_from(struct store *store, const struct args *a, struct err *e)
{
	for (int from = FROM_BOTH; from <= FROM_SERVER; from++)
		if (!strcmp(a->operand[2], from_name((enum store_from)from)))
			return store_set_from(store, a->operand[1], (enum store_from)from, e);
	return err_set(e, NE_USAGE, "\"%.40s\" is not devices, server or both", a->operand[2]);
}

static int set_lock(struct store *store, bool locked, struct err *e)
{
	TRY(store_begin(store, e));
	int rc = store_schema_lock(store, locked, e);
	if (rc) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, e);
}

static int run(struct store *store, const struct args *a, struct err *e)
{
	const char *what = a->operand[0];

	if (!strcmp(what, "from"))
		return set_from(store, a, e);
	if (!strcmp(what, "show"))
		return show(store, a->json, e);
	return set_lock(store, !strcmp(what, "lock"), e);
}

/* The number of operands of each. */
static int operands_of(const char *what)
{
	if (!strcmp(what, "from"))
		return 3;
	return !strcmp(what, "show") || !strcmp(what, "lock") || !strcmp(what, "unlock") ? 1 : 0;
}

int cmd_schema(const struct command *self, int argc, char **argv, struct err *e)
{
	struct store *store;
	struct config c;
	struct args args;

	TRY(cmd_args(self, argc, argv, "j", 1, 3, &args, e));
	int want = operands_of(args.operand[0]);
	if (want == 0)
		return err_set(e, NE_USAGE, "\"%.40s\" is not show, from, lock or unlock",
			       args.operand[0]);
	if (args.operands != want)
		return err_set(e, NE_USAGE, "usage: neapd %s %s", self->name, self->synopsis);
	TRY(cmd_config(&args, &c, e));
	TRY(cmd_open_store(&c, &store, e));
	int rc = run(store, &args, e);
	store_close(store);
	return rc;
}
