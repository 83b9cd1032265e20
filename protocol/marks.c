#include "protocol/marks.h"

#include "common/db.h"

/*
 * Why the SQL is as it is (tests in marks_test.c, cost in tests/bench/capture_cost.c):
 *
 * - ON CONFLICT … DO UPDATE survives the conflict clause of the app's own statement, which
 *   overrides an OR clause in a trigger's body.
 * - A stamp needs no look at the row's other marks: whoever reads marks raises the clock above
 *   what it read, so only marks that nobody has read yet may stand out of order.
 * - Changes are found with IS NOT … COLLATE BINARY and typeof(): 1 and 1.0, 'a' and 'A' differ.
 * - One trigger with one mask of the changed columns costs least over narrow and wide tables.
 * - ALTER TABLE … DROP COLUMN fails where a trigger names the column and no other meaning can be
 *   found for the name. SQLite looks for it from the inside out, and takes NEW and OLD for the
 *   trigger's row only where no table of that name has such a column. So the comparison stands in
 *   a subquery of its own, and the SELECT around it has tables called new and old that have the
 *   columns, too: as constants that are equal, in LEFT JOINs that SQLite leaves out as nothing of
 *   them is used. Once a column is dropped it compares as unchanged.
 * - The list of UPDATE OF says which columns there are: ALTER TABLE … RENAME COLUMN changes it, and
 *   the names of the constants stay, so a rename can be told from a drop.
 */

static const char *const suffixes[] = {"ins", "upd", "key", "del", "bin", "bup", "xin", "xup"};

static const char *type_of(enum shape_affinity a)
{
	switch (a) {
	case AFF_BLOB:
		return "BLOB";
	case AFF_TEXT:
		return "TEXT";
	case AFF_NUMERIC:
		return "NUMERIC";
	case AFF_INTEGER:
		return "INTEGER";
	case AFF_REAL:
		return "REAL";
	}
	return "BLOB";
}

static const char *collation_of(enum shape_collation c)
{
	switch (c) {
	case COLL_BINARY:
		return "BINARY";
	case COLL_NOCASE:
		return "NOCASE";
	case COLL_RTRIM:
		return "RTRIM";
	}
	return "BINARY";
}

/* <of>."name", e.g. NEW."temperature". */
static int put_ref(struct buf *out, const char *of, struct slice name)
{
	TRY(buf_printf(out, "%s.", of));
	return sql_put_name(out, name);
}

/* k0, k1, … : the key columns of the mark table. */
static int put_mark_key(const struct marks_spec *m, struct buf *out)
{
	for (unsigned i = 0; i < m->n_key; i++)
		TRY(buf_printf(out, "%sk%u", i ? ", " : "", i));
	return NE_OK;
}

/* The key's columns of row `of`, with commas between. */
static int put_key(const struct marks_spec *m, const char *of, struct buf *out)
{
	for (unsigned i = 0; i < m->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? ", " : ""));
		TRY(put_ref(out, of, m->key[i].name));
	}
	return NE_OK;
}

static int put_key_not_null(const struct marks_spec *m, const char *of, struct buf *out)
{
	for (unsigned i = 0; i < m->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " AND " : ""));
		TRY(put_ref(out, of, m->key[i].name));
		TRY(buf_printf(out, " IS NOT NULL"));
	}
	return NE_OK;
}

/* True where OLD and NEW differ in anything a reader could see. */
static int put_differs(struct slice name, struct buf *out)
{
	TRY(buf_printf(out, "("));
	TRY(put_ref(out, "OLD", name));
	TRY(buf_printf(out, " IS NOT "));
	TRY(put_ref(out, "NEW", name));
	TRY(buf_printf(out, " COLLATE BINARY OR typeof("));
	TRY(put_ref(out, "OLD", name));
	TRY(buf_printf(out, ") <> typeof("));
	TRY(put_ref(out, "NEW", name));
	return buf_printf(out, "))");
}

static int put_key_differs(const struct marks_spec *m, struct buf *out)
{
	TRY(buf_printf(out, "("));
	for (unsigned i = 0; i < m->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " OR " : ""));
		TRY(put_differs(m->key[i].name, out));
	}
	return buf_printf(out, ")");
}

static int put_insert_into(const struct marks_spec *m, struct buf *out)
{
	TRY(buf_printf(out, " INSERT INTO \"%s\"(", m->prefix));
	TRY(put_mark_key(m, out));
	return buf_printf(out, ", col, stamp, gen) ");
}

/* The stamp and generation of a write, each as a scalar. */
static int put_clock(const struct marks_spec *m, struct buf *out)
{
	if (m->clock_from)
		return buf_printf(out, "(SELECT %s FROM %s), (SELECT %s FROM %s)", m->clock_sql,
				  m->clock_from, m->gen_sql, m->clock_from);
	return buf_printf(out, "%s, %s", m->clock_sql, m->gen_sql);
}

static int put_on_conflict(const struct marks_spec *m, struct buf *out)
{
	TRY(buf_printf(out, " ON CONFLICT("));
	TRY(put_mark_key(m, out));
	return buf_printf(out, ", col) DO UPDATE SET stamp = max(excluded.stamp, stamp + 1), "
			       "gen = excluded.gen, site = NULL;\n");
}

/* A mark on the existence of `of`; `where_key` if its key may hold NULL here. */
static int put_mark_one(const struct marks_spec *m, const char *of, bool where_key, struct buf *out)
{
	TRY(put_insert_into(m, out));
	TRY(buf_printf(out, "SELECT "));
	TRY(put_key(m, of, out));
	/* Joining the clock's row costs less than two scalar subqueries of it. */
	TRY(buf_printf(out, ", %d, %s, %s", MARK_EXIST, m->clock_sql, m->gen_sql));
	if (m->clock_from)
		TRY(buf_printf(out, " FROM %s", m->clock_from));
	TRY(buf_printf(out, " WHERE "));
	TRY(where_key ? put_key_not_null(m, of, out) : buf_printf(out, "true"));
	return put_on_conflict(m, out);
}

/* Marks the row of OLD as gone and drops what else was marked of it. */
static int put_mark_gone(const struct marks_spec *m, bool where_key, struct buf *out)
{
	TRY(put_mark_one(m, "OLD", where_key, out));
	TRY(buf_printf(out, " DELETE FROM \"%s\" WHERE ", m->prefix));
	for (unsigned i = 0; i < m->n_key; i++) {
		TRY(buf_printf(out, "k%u = ", i));
		TRY(put_ref(out, "OLD", m->key[i].name));
		TRY(buf_printf(out, " AND "));
	}
	return buf_printf(out, "col <> %d;\n", MARK_EXIST);
}

static int put_head(const struct marks_spec *m, const char *suffix, const char *event,
		    struct buf *out)
{
	TRY(buf_printf(out, "CREATE TRIGGER \"%s_%s\" %s ON ", m->prefix, suffix, event));
	return sql_put_name(out, m->table);
}

static int put_guard(const struct marks_spec *m, struct buf *out)
{
	return m->guard_sql ? buf_printf(out, "(%s) AND ", m->guard_sql) : NE_OK;
}

/* WHEN <guard and key of `of` is complete> BEGIN */
static int put_when_key(const struct marks_spec *m, const char *of, struct buf *out)
{
	TRY(buf_printf(out, " WHEN "));
	TRY(put_guard(m, out));
	TRY(put_key_not_null(m, of, out));
	return buf_printf(out, " BEGIN\n");
}

static int put_insert_trigger(const struct marks_spec *m, struct buf *out)
{
	TRY(put_head(m, "ins", "AFTER INSERT", out));
	TRY(put_when_key(m, "NEW", out));
	TRY(put_mark_one(m, "NEW", false, out));
	return buf_printf(out, "END;\n");
}

static int put_delete_trigger(const struct marks_spec *m, struct buf *out)
{
	TRY(put_head(m, "del", "AFTER DELETE", out));
	TRY(put_when_key(m, "OLD", out));
	TRY(put_mark_gone(m, false, out));
	return buf_printf(out, "END;\n");
}

/* A table called `alias` with columns of the same names, for a column that is dropped. */
static int put_fallback(const struct marks_spec *m, const char *alias, unsigned from, unsigned to,
			struct buf *out)
{
	TRY(buf_printf(out, " LEFT JOIN (SELECT id AS neap_id"));
	for (unsigned i = from; i < to; i++) {
		TRY(buf_printf(out, ", 0 AS "));
		TRY(sql_put_name(out, m->fallback ? m->fallback[i].name : m->col[i].name));
	}
	return buf_printf(out, " FROM %s) AS %s ON %s.neap_id = 1", m->clock_from, alias, alias);
}

/* Marks those of the columns from … to − 1 that the update changed. */
static int put_mark_changed(const struct marks_spec *m, unsigned from, unsigned to, struct buf *out)
{
	TRY(put_insert_into(m, out));
	TRY(buf_printf(out, "SELECT "));
	TRY(put_key(m, "NEW", out));
	TRY(buf_printf(out, ", z.col, "));
	TRY(put_clock(m, out));
	TRY(buf_printf(out, " FROM ("));
	for (unsigned i = from; i < to; i++)
		TRY(buf_printf(out, i > from ? " UNION ALL SELECT %u" : "SELECT %u AS col", i));
	TRY(buf_printf(out, ") AS z"));
	if (m->clock_from) {
		TRY(put_fallback(m, "new", from, to, out));
		TRY(put_fallback(m, "old", from, to, out));
	}
	TRY(buf_printf(out, " WHERE ((SELECT "));
	for (unsigned i = from; i < to; i++) {
		TRY(buf_printf(out, "%s(", i > from ? " | " : ""));
		TRY(put_differs(m->col[i].name, out));
		TRY(buf_printf(out, " << %u)", i - from));
	}
	TRY(buf_printf(out, ") >> (z.col - %u)) & 1", from));
	return put_on_conflict(m, out);
}

/* Columns in one mask: an integer has 64 bits. */
enum { MASK_COLUMNS = 32 };

static int put_update_trigger(const struct marks_spec *m, struct buf *out)
{
	if (m->n_col == 0)
		return NE_OK;
	TRY(buf_printf(out, "CREATE TRIGGER \"%s_upd\" AFTER UPDATE OF ", m->prefix));
	for (unsigned i = 0; i < m->n_col; i++) {
		TRY(buf_printf(out, "%s", i ? ", " : ""));
		TRY(sql_put_name(out, m->col[i].name));
	}
	TRY(buf_printf(out, " ON "));
	TRY(sql_put_name(out, m->table));
	TRY(buf_printf(out, " WHEN "));
	TRY(put_guard(m, out));
	TRY(put_key_not_null(m, "NEW", out));
	TRY(buf_printf(out, " AND NOT "));
	TRY(put_key_differs(m, out));
	TRY(buf_printf(out, " BEGIN\n"));
	for (unsigned from = 0; from < m->n_col; from += MASK_COLUMNS) {
		unsigned left = m->n_col - from;

		TRY(put_mark_changed(m, from, from + (left < MASK_COLUMNS ? left : MASK_COLUMNS),
				     out));
	}
	return buf_printf(out, "END;\n");
}

/* A change of the key is a delete of the old row and an insert of the new one. */
static int put_key_trigger(const struct marks_spec *m, struct buf *out)
{
	TRY(put_head(m, "key", "AFTER UPDATE", out));
	TRY(buf_printf(out, " WHEN "));
	TRY(put_guard(m, out));
	TRY(put_key_differs(m, out));
	TRY(buf_printf(out, " BEGIN\n"));
	TRY(put_mark_gone(m, true, out));
	TRY(put_mark_one(m, "NEW", true, out));
	return buf_printf(out, "END;\n");
}

static struct slice column_name(const struct marks_spec *m, uint16_t i)
{
	return i < m->n_key ? m->key[i].name : m->col[i - m->n_key].name;
}

/*
 * The rows that have the values of one UNIQUE constraint which NEW is about to take, as candidates.
 * `self` is the row that the statement itself writes, which is none; NULL: it is not known.
 */
static int put_candidates(const struct marks_spec *m, const struct shape_unique *u,
			  const char *self, struct buf *out)
{
	TRY(put_insert_into(m, out));
	TRY(buf_printf(out, "SELECT "));
	TRY(put_key(m, "x", out));
	TRY(buf_printf(out, ", %d, ", MARK_CANDIDATE));
	TRY(put_clock(m, out));
	TRY(buf_printf(out, " FROM "));
	TRY(sql_put_name(out, m->table));
	TRY(buf_printf(out, " AS x WHERE "));
	for (unsigned i = 0; i < u->n; i++) {
		TRY(put_ref(out, "x", column_name(m, u->col[i])));
		TRY(buf_printf(out, " = "));
		TRY(put_ref(out, "NEW", column_name(m, u->col[i])));
		TRY(buf_printf(out, " AND "));
	}
	if (self) {
		TRY(buf_printf(out, "NOT ("));
		for (unsigned i = 0; i < m->n_key; i++) {
			TRY(buf_printf(out, "%s", i ? " AND " : ""));
			TRY(put_ref(out, "x", m->key[i].name));
			TRY(buf_printf(out, " IS "));
			TRY(put_ref(out, self, m->key[i].name));
		}
		TRY(buf_printf(out, ") AND "));
	}
	TRY(put_key_not_null(m, "x", out));
	return put_on_conflict(m, out);
}

static int put_candidate_trigger(const struct marks_spec *m, const char *suffix, const char *event,
				 const char *self, struct buf *out)
{
	TRY(put_head(m, suffix, event, out));
	if (m->guard_sql)
		TRY(buf_printf(out, " WHEN (%s)", m->guard_sql));
	TRY(buf_printf(out, " BEGIN\n"));
	for (unsigned i = 0; i < m->n_unique; i++)
		TRY(put_candidates(m, &m->unique[i], self, out));
	return buf_printf(out, "END;\n");
}

/* An INTEGER PRIMARY KEY left to SQLite reads as -1 in a BEFORE INSERT trigger. */
static bool key_is_known(const struct marks_spec *m)
{
	return m->n_key > 1 || m->key[0].affinity != AFF_INTEGER;
}

static int put_triggers(const struct marks_spec *m, struct buf *out)
{
	TRY(put_insert_trigger(m, out));
	TRY(put_update_trigger(m, out));
	TRY(put_key_trigger(m, out));
	TRY(put_delete_trigger(m, out));
	if (m->n_unique == 0)
		return NE_OK;
	TRY(put_candidate_trigger(m, "bin", "BEFORE INSERT", key_is_known(m) ? "NEW" : NULL, out));
	return put_candidate_trigger(m, "bup", "BEFORE UPDATE", "OLD", out);
}

/* The key of the row that the statement itself writes, if it is known. */
static int put_self(const struct marks_spec *m, const char *self, struct buf *out)
{
	for (unsigned i = 0; self && i < m->n_key; i++) {
		TRY(buf_printf(out, ", "));
		TRY(put_ref(out, self, m->key[i].name));
		TRY(buf_printf(out, " AS neap_k%u", i));
	}
	return NE_OK;
}

static int put_not_self(const struct marks_spec *m, const char *of, struct buf *out)
{
	TRY(buf_printf(out, "NOT ("));
	for (unsigned i = 0; i < m->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " AND " : ""));
		TRY(put_ref(out, of, m->key[i].name));
		TRY(buf_printf(out, " IS neap_n.neap_k%u", i));
	}
	return buf_printf(out, ") AND ");
}

static int put_slice(struct buf *out, struct slice s)
{
	return buf_put(out, s.at, s.len);
}

/*
 * The new row is a subquery under the table's own name, so that the parts of the index mean it
 * there and the row in the way outside. It names NEW inside one that has no FROM, where no column
 * of a table called new can be meant. CROSS JOIN: the new row first, then the index.
 */
static int put_index_new_row(const struct marks_spec *m, const struct marks_index *x,
			     const char *self, struct buf *out)
{
	TRY(buf_printf(out, " FROM (SELECT "));
	TRY(put_slice(out, x->values));
	for (unsigned i = 0; self && i < m->n_key; i++)
		TRY(buf_printf(out, ", neap_k%u", i));
	TRY(buf_printf(out, " FROM (SELECT NULL AS neap_row"));
	TRY(put_slice(out, x->columns));
	TRY(put_self(m, self, out));
	TRY(buf_printf(out, ") AS "));
	TRY(sql_put_name(out, m->table));
	if (x->when.len) {
		TRY(buf_printf(out, " WHERE "));
		TRY(put_slice(out, x->when));
	}
	TRY(buf_printf(out, ") AS neap_n CROSS JOIN "));
	TRY(sql_put_name(out, m->table));
	TRY(buf_printf(out, " AS "));
	return sql_put_name(out, m->table);
}

static int put_index_candidates(const struct marks_spec *m, const struct marks_index *x,
				const char *self, struct buf *out)
{
	struct buf name = {.max = 4 * LIMIT_NAME};
	int rc = sql_put_name(&name, m->table);
	const char *of;

	rc = rc ? rc : buf_terminate(&name);
	of = (const char *)name.at;
	rc = rc ? rc : put_insert_into(m, out);
	rc = rc ? rc : buf_printf(out, "SELECT ");
	rc = rc ? rc : put_key(m, of, out);
	rc = rc ? rc : buf_printf(out, ", %d, ", MARK_CANDIDATE);
	rc = rc ? rc : put_clock(m, out);
	rc = rc ? rc : put_index_new_row(m, x, self, out);
	rc = rc ? rc : buf_printf(out, " WHERE ");
	rc = rc ? rc : put_slice(out, x->match);
	rc = rc ? rc : buf_printf(out, " AND ");
	rc = rc || !self ? rc : put_not_self(m, of, out);
	rc = rc ? rc : put_key_not_null(m, of, out);
	rc = rc ? rc : put_on_conflict(m, out);
	buf_free(&name);
	return rc;
}

static int put_index_trigger(const struct marks_spec *m, const char *suffix, const char *event,
			     const char *self, const struct marks_index *index, size_t n,
			     struct buf *out)
{
	TRY(put_head(m, suffix, event, out));
	if (m->guard_sql)
		TRY(buf_printf(out, " WHEN (%s)", m->guard_sql));
	TRY(buf_printf(out, " BEGIN\n"));
	for (size_t i = 0; i < n; i++)
		TRY(put_index_candidates(m, &index[i], self, out));
	return buf_printf(out, "END;\n");
}

static int put_index_triggers(const struct marks_spec *m, const struct marks_index *index, size_t n,
			      struct buf *out)
{
	if (n == 0)
		return NE_OK;
	TRY(put_index_trigger(m, "xin", "BEFORE INSERT", key_is_known(m) ? "NEW" : NULL, index, n,
			      out));
	return put_index_trigger(m, "xup", "BEFORE UPDATE", "OLD", index, n, out);
}

static int put_table(const struct marks_spec *m, struct buf *out)
{
	TRY(buf_printf(out, "CREATE TABLE \"%s\"(", m->prefix));
	for (unsigned i = 0; i < m->n_key; i++)
		TRY(buf_printf(out, "k%u %s COLLATE %s NOT NULL, ", i, type_of(m->key[i].affinity),
			       collation_of(m->key[i].collation)));
	TRY(buf_printf(out, "col INTEGER NOT NULL, stamp INTEGER NOT NULL, gen INTEGER NOT NULL, "
			    "site INTEGER, PRIMARY KEY("));
	TRY(put_mark_key(m, out));
	return buf_printf(out, ", col)) WITHOUT ROWID;\n");
}

static int put_drops(const struct marks_spec *m, struct buf *out)
{
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
		TRY(buf_printf(out, "DROP TRIGGER IF EXISTS \"%s_%s\";\n", m->prefix, suffixes[i]));
	return NE_OK;
}

static int finish(const struct marks_spec *m, int rc, struct buf *out, size_t len, struct err *e)
{
	if (!rc)
		return NE_OK;
	out->len = len;
	return err_set(e, rc,
		       "the capture SQL of table %.*s does not fit in %zu bytes or in memory",
		       (int)m->table.len, (const char *)m->table.at, out->max);
}

int marks_create_table_sql(const struct marks_spec *m, struct buf *out, struct err *e)
{
	size_t len = out->len;

	return finish(m, put_table(m, out), out, len, e);
}

int marks_create_triggers_sql(const struct marks_spec *m, struct buf *out, struct err *e)
{
	size_t len = out->len;

	return finish(m, put_triggers(m, out), out, len, e);
}

int marks_create_index_triggers_sql(const struct marks_spec *m, const struct marks_index *index,
				    size_t n, struct buf *out, struct err *e)
{
	size_t len = out->len;

	return finish(m, put_index_triggers(m, index, n, out), out, len, e);
}

int marks_drop_triggers_sql(const struct marks_spec *m, struct buf *out, struct err *e)
{
	size_t len = out->len;

	return finish(m, put_drops(m, out), out, len, e);
}
