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

/* Counts what SQL does to neap_usage, by `sign` for row `of`. */
static int put_count(const struct store_table *t, const char *of, const char *sign, struct buf *out)
{
	TRY(buf_printf(out,
		       " INSERT INTO neap_usage(user, tab, rows, bytes)"
		       " SELECT %suser_id, %lld, %s1, %s(",
		       of, (long long)t->id, sign, sign));
	TRY(table_sql_size(t, of, out));
	return buf_printf(out,
			  ") WHERE typeof(%suser_id) = 'text' ON CONFLICT(user, tab) DO UPDATE"
			  " SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes;",
			  of);
}

static int put_counter(const struct store_table *t, const char *suffix, const char *event, bool old,
		       bool new, struct buf *out)
{
	TRY(buf_printf(out, "CREATE TRIGGER \"neap_m%lld_%s\" AFTER %s ON ", (long long)t->id,
		       suffix, event));
	TRY(sql_put_name(out, slice_str(t->name)));
	TRY(buf_printf(out, " BEGIN"));
	if (old)
		TRY(put_count(t, "OLD.", "-", out));
	if (new)
		TRY(put_count(t, "NEW.", "+", out));
	return buf_printf(out, " END;\n");
}

/* REPLACE removes a row unseen, but an upsert or IGNORE begins alike: that is counted anew later.
 */
static int put_replaced(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "CREATE TRIGGER \"neap_m%lld_qre\" BEFORE INSERT ON ",
		       (long long)t->id));
	TRY(sql_put_name(out, slice_str(t->name)));
	TRY(buf_printf(out, " WHEN EXISTS(SELECT 1 FROM "));
	TRY(sql_put_name(out, slice_str(t->name)));
	TRY(buf_printf(out, " WHERE user_id = NEW.user_id"));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		struct buf name = {.max = NAME_BYTES};
		int rc = column_name(t->shape.key[i].name, &name);
		rc = rc ? rc : buf_printf(out, " AND ");
		rc = rc ? rc : sql_put_name(out, buf_slice(&name));
		rc = rc ? rc : buf_printf(out, " = NEW.");
		rc = rc ? rc : sql_put_name(out, buf_slice(&name));
		buf_free(&name);
		TRY(rc);
	}
	return buf_printf(out,
			  ") BEGIN UPDATE neap_usage SET replaced = 1"
			  " WHERE user = NEW.user_id AND tab = %lld; END;\n",
			  (long long)t->id);
}

static int put_counters(const struct store_table *t, struct buf *out)
{
	TRY(put_counter(t, "qin", "INSERT", false, true, out));
	TRY(put_counter(t, "qup", "UPDATE", true, true, out));
	TRY(put_counter(t, "qdl", "DELETE", true, false, out));
	return t->shape.kind == SHAPE_MERGE ? put_replaced(t, out) : 0;
}

static int drop_counters(const struct store_table *t, struct buf *out)
{
	static const char *const suffix[] = {"qin", "qup", "qdl", "qre"};

	for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++)
		TRY(buf_printf(out, "DROP TRIGGER IF EXISTS \"neap_m%lld_%s\";\n", (long long)t->id,
			       suffix[i]));
	return 0;
}

static int no_memory(const struct store_table *t, int rc, struct err *e)
{
	return rc ? err_set(e, rc, "no memory for the triggers of table %s", t->name) : 0;
}

static int capture(const struct store_table *t, bool table, struct buf *out, struct err *e)
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

int table_sql_capture(const struct store_table *t, bool table, struct buf *out, struct err *e)
{
	if (t->shape.kind == SHAPE_MERGE)
		TRY(capture(t, table, out, e));
	return no_memory(t, put_counters(t, out), e);
}

static int uncapture(const struct store_table *t, struct buf *out, struct err *e)
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

int table_sql_uncapture(const struct store_table *t, struct buf *out, struct err *e)
{
	if (t->shape.kind == SHAPE_MERGE)
		TRY(uncapture(t, out, e));
	return no_memory(t, drop_counters(t, out), e);
}
