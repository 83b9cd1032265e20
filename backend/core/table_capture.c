/* Capture of server-side SQL: the marks of protocol/marks.h on a merge table of the store. */
#include <stdio.h>

#include "backend/core/store_sqlite.h"
#include "protocol/marks.h"

enum { NAME_BYTES = LIMIT_NAME + 64 };

struct capture {
	char prefix[32];
	struct buf names;
	struct shape_col key[LIMIT_KEY_COLUMNS + 1], col[LIMIT_COLUMNS];
	struct marks_spec spec;
};

static int stored_col(struct buf *names, const struct shape_col *c, struct shape_col *out)
{
	size_t at = names->len;

	*out = *c;
	TRY(column_name(c->name, names));
	out->name = slice_of(names->at + at, names->len - at);
	return 0;
}

static int capture_spec(const struct store_table *t, struct capture *c)
{
	const struct shape *s = &t->shape;

	/* Reserved at once: names borrow from the buffer, which must not move. */
	c->names = (struct buf){.max = (size_t)LIMIT_COLUMNS * NAME_BYTES};
	TRY(buf_reserve(&c->names, c->names.max));
	snprintf(c->prefix, sizeof c->prefix, "neap_m%lld", (long long)t->id);
	c->key[0] = (struct shape_col){slice_str("user_id"), AFF_TEXT, COLL_BINARY};
	for (uint16_t i = 0; i < s->n_key; i++)
		TRY(stored_col(&c->names, &s->key[i], &c->key[i + 1]));
	for (uint16_t i = 0; i < s->n_col; i++)
		TRY(stored_col(&c->names, &s->col[i], &c->col[i]));
	c->spec = (struct marks_spec){
		.table = slice_str(t->name),
		.prefix = c->prefix,
		.n_key = (uint16_t)(s->n_key + 1),
		.n_col = s->n_col,
		.key = c->key,
		.col = c->col,
		.clock_sql = "0",
		.gen_sql = "0",
		.guard_sql = "(SELECT busy FROM neap_flag) = 0",
	};
	return 0;
}

/* Without a whole key a row has no mark, and no device can be told of it: it is counted. */
static int put_keyless(const struct store_table *t, const struct capture *c, bool update,
		       struct buf *out)
{
	TRY(buf_printf(out, "CREATE TRIGGER \"%s_%s\" AFTER %s ON ", c->prefix,
		       update ? "nuu" : "nui", update ? "UPDATE" : "INSERT"));
	TRY(sql_put_name(out, c->spec.table));
	TRY(buf_printf(out, " WHEN (%s) AND (", c->spec.guard_sql));
	for (uint16_t i = 0; i < c->spec.n_key; i++) {
		TRY(buf_printf(out, "%sNEW.", i ? " OR " : ""));
		TRY(sql_put_name(out, c->key[i].name));
		TRY(buf_printf(out, " IS NULL"));
	}
	return buf_printf(out,
			  ") BEGIN INSERT INTO neap_unsent(tab, n) VALUES(%lld, 1)"
			  " ON CONFLICT(tab) DO UPDATE SET n = n + 1; END;\n",
			  (long long)t->id);
}

static int put_all_keyless(const struct store_table *t, const struct capture *c, struct buf *out,
			   struct err *e)
{
	int rc = put_keyless(t, c, false, out);

	if (!rc)
		rc = put_keyless(t, c, true, out);
	return rc ? err_set(e, rc, "no memory for the triggers of table %s", t->name) : 0;
}

int table_sql_capture(const struct store_table *t, bool table, struct buf *out, struct err *e)
{
	struct capture c;
	int rc = capture_spec(t, &c);

	if (!rc && table)
		rc = marks_create_table_sql(&c.spec, out, e);
	if (!rc)
		rc = marks_create_triggers_sql(&c.spec, out, e);
	if (!rc)
		rc = put_all_keyless(t, &c, out, e);
	buf_free(&c.names);
	return rc;
}

int table_sql_uncapture(const struct store_table *t, struct buf *out, struct err *e)
{
	struct capture c;
	int rc = capture_spec(t, &c);

	if (!rc)
		rc = marks_drop_triggers_sql(&c.spec, out, e);
	if (!rc)
		rc = buf_printf(out,
				"DROP TRIGGER IF EXISTS \"%s_nui\";\n"
				"DROP TRIGGER IF EXISTS \"%s_nuu\";\n",
				c.prefix, c.prefix);
	buf_free(&c.names);
	return rc;
}
