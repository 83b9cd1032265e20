/*
 * Every SQL text about a data table. The user is the first condition of each
 * (R5): `user_id`, a text, in the table itself; `uid` in its shadow neap_r<id>,
 * where registers and tombstones live.
 */
#include <assert.h>
#include <strings.h>

#include "backend/core/store_sqlite.h"
#include "protocol/marks.h"

enum { NAME_MAX_BYTES = LIMIT_NAME + 64 };

/* Names the store keeps for itself. */
static bool reserved(const char *name, size_t len)
{
	static const char *const kept[] = {"user_id", "device_id", "rowid", "oid", "_rowid_"};

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (slice_str(kept[i]).len == len && strncasecmp(kept[i], name, len) == 0)
			return true;
	return false;
}

int column_name(struct slice name, struct buf *out)
{
	const char *at = (const char *)name.at;
	size_t len = name.len;

	/* app_user_id may be an app's own name as well: one more app_ keeps them apart. */
	while (len > 4 && strncasecmp(at, "app_", 4) == 0) {
		at += 4;
		len -= 4;
	}
	if (reserved(at, len))
		TRY(buf_put(out, "app_", 4));
	return buf_put(out, name.at, name.len);
}

static int put_col(struct buf *out, const char *before, const struct shape_col *c)
{
	struct buf name = {.max = NAME_MAX_BYTES};
	int rc = buf_put(out, before, slice_str(before).len);

	if (!rc)
		rc = column_name(c->name, &name);
	if (!rc)
		rc = sql_put_name(out, buf_slice(&name));
	buf_free(&name);
	return rc;
}

static int put_table(struct buf *out, const char *before, const struct store_table *t)
{
	TRY(buf_printf(out, "%s", before));
	return sql_put_name(out, slice_str(t->name));
}

/* "<prefix>"name", …" for each column of a list. */
static int put_list(struct buf *out, const char *first, const char *next,
		    const struct shape_col *col, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		TRY(put_col(out, i ? next : first, &col[i]));
	return 0;
}

/* Key columns equal to parameters from ?`param` on. */
static int put_key_is(struct buf *out, const struct store_table *t, int param)
{
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(put_col(out, " AND ", &t->shape.key[i]));
		TRY(buf_printf(out, " = ?%d", param + i));
	}
	return 0;
}

/*
 * The shadow's own names of the key columns: an app's key column may well be called uid.
 * "<first>k0<next>k1…"
 */
static int put_shadow_list(struct buf *out, const char *first, const char *next, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		TRY(buf_printf(out, "%sk%d", i ? next : first, i));
	return 0;
}

static int put_shadow_key_is(struct buf *out, const struct store_table *t, int param)
{
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, " AND k%d = ?%d", i, param + i));
	return 0;
}

static int put_params(struct buf *out, int from, int n)
{
	for (int i = 0; i < n; i++)
		TRY(buf_printf(out, ", ?%d", from + i));
	return 0;
}

static const char *affinity_type(enum shape_affinity a)
{
	static const char *const type[] = {
		[AFF_BLOB] = "BLOB",	   [AFF_TEXT] = "TEXT", [AFF_NUMERIC] = "NUMERIC",
		[AFF_INTEGER] = "INTEGER", [AFF_REAL] = "REAL",
	};

	return type[a];
}

static int put_type(struct buf *out, const struct shape_col *c)
{
	static const char *const collate[] = {
		[COLL_BINARY] = "",
		[COLL_NOCASE] = " COLLATE NOCASE",
		[COLL_RTRIM] = " COLLATE RTRIM",
	};

	return buf_printf(out, " %s%s", affinity_type(c->affinity), collate[c->collation]);
}

static int put_key_def(struct buf *out, const struct shape_col *c)
{
	TRY(put_col(out, ", ", c));
	return put_type(out, c);
}

/* Devices may collate a column differently: what compares it names the collation itself. */
static int put_column_def(struct buf *out, const char *before, const struct shape_col *c)
{
	TRY(put_col(out, before, c));
	return buf_printf(out, " %s", affinity_type(c->affinity));
}

static int put_size(struct buf *out, const char *of, const struct shape_col *c)
{
	TRY(buf_printf(out, "CASE WHEN typeof(%s", of));
	TRY(put_col(out, "", c));
	TRY(buf_printf(out, ") IN ('text', 'blob') THEN max(8, length(CAST(%s", of));
	TRY(put_col(out, "", c));
	return buf_printf(out, " AS BLOB))) ELSE 8 END");
}

int table_sql_size(const struct store_table *t, const char *of, struct buf *out)
{
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " + " : ""));
		TRY(put_size(out, of, &t->shape.key[i]));
	}
	for (uint16_t i = 0; i < t->shape.n_col; i++) {
		TRY(buf_printf(out, " + "));
		TRY(put_size(out, of, &t->shape.col[i]));
	}
	return 0;
}

/* ---- CREATE ---- */

static int create_append(const struct store_table *t, struct buf *out)
{
	/* Without NOT NULL, which SQLite 3.40's integrity_check wrongly finds broken in such
	 * tables. */
	TRY(put_table(out, "CREATE TABLE ", t));
	TRY(buf_printf(out, "(user_id TEXT, device_id TEXT"));
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		TRY(put_key_def(out, &t->shape.key[i]));
	for (uint16_t i = 0; i < t->shape.n_col; i++)
		TRY(put_column_def(out, ", ", &t->shape.col[i]));
	return buf_printf(out, ", neap_site INTEGER, neap_gen INTEGER, neap_n INTEGER, PRIMARY "
			       "KEY(neap_site, neap_gen, neap_n))"
			       " WITHOUT ROWID;\n");
}

static int create_table(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	/* user_id may be NULL: rows an operator wrote without a user are parked, not refused. */
	TRY(put_table(out, "CREATE TABLE ", t));
	TRY(buf_printf(out, "(user_id TEXT"));
	for (uint16_t i = 0; i < s->n_key; i++)
		TRY(put_key_def(out, &s->key[i]));
	for (uint16_t i = 0; i < s->n_col; i++)
		TRY(put_column_def(out, ", ", &s->col[i]));
	TRY(buf_printf(out, ", UNIQUE(user_id"));
	TRY(put_list(out, ", ", ", ", s->key, s->n_key));
	return buf_printf(out, "));\n");
}

static int create_shadow(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;
	long long id = (long long)t->id;

	TRY(buf_printf(out, "CREATE TABLE neap_r%lld(uid INTEGER NOT NULL", id));
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, ", k%d", i));
		TRY(put_type(out, &s->key[i]));
		TRY(buf_printf(out, " NOT NULL"));
	}
	TRY(buf_printf(out,
		       ", seq INTEGER NOT NULL, state INTEGER NOT NULL, stamp INTEGER NOT NULL,"
		       " site INTEGER NOT NULL, regs BLOB, PRIMARY KEY(uid"));
	TRY(put_shadow_list(out, ", ", ", ", s->n_key));
	TRY(buf_printf(out, ")) WITHOUT ROWID;\nCREATE INDEX neap_r%lld_seq ON neap_r%lld(uid, seq",
		       id, id));
	TRY(put_shadow_list(out, ", ", ", ", s->n_key));
	return buf_printf(out,
			  ");\nCREATE INDEX neap_r%lld_dead ON neap_r%lld(uid, stamp)"
			  " WHERE state & 1 = 0;\n",
			  id, id);
}

static int create_merge(const struct store_table *t, struct buf *out)
{
	TRY(create_table(t, out));
	return create_shadow(t, out);
}

int table_sql_create(const struct store_table *t, struct buf *out)
{
	return t->shape.kind == SHAPE_APPEND ? create_append(t, out) : create_merge(t, out);
}

int table_sql_add_column(const struct store_table *t, uint16_t col, struct buf *out)
{
	TRY(put_table(out, "ALTER TABLE ", t));
	TRY(put_column_def(out, " ADD COLUMN ", &t->shape.col[col]));
	return buf_printf(out, ";\n");
}

/* ---- UNIQUE constraints ---- */

static const struct shape_col *unique_col(const struct store_table *t, uint16_t col)
{
	return col < t->shape.n_key ? &t->shape.key[col] : &t->shape.col[col - t->shape.n_key];
}

static const char *collation_name(uint8_t c)
{
	static const char *const name[] = {
		[COLL_BINARY] = "BINARY", [COLL_NOCASE] = "NOCASE", [COLL_RTRIM] = "RTRIM"};

	return name[c];
}

/* The name says what is indexed, so that two starts of neapd make the same one. */
static int put_unique_name(const struct store_table *t, const struct store_unique *u,
			   struct buf *out)
{
	TRY(buf_printf(out, "neap_u%lld", (long long)t->id));
	for (uint16_t i = 0; i < u->n; i++)
		TRY(buf_printf(out, "_%u%.1s", u->col[i], collation_name(u->collation[i])));
	return 0;
}

int table_sql_unique(const struct store_table *t, const struct store_unique *u, struct buf *out)
{
	TRY(buf_printf(out, "CREATE INDEX IF NOT EXISTS "));
	TRY(put_unique_name(t, u, out));
	TRY(put_table(out, " ON ", t));
	TRY(buf_printf(out, "(user_id"));
	for (uint16_t i = 0; i < u->n; i++) {
		TRY(put_col(out, ", ", unique_col(t, u->col[i])));
		TRY(buf_printf(out, " COLLATE %s", collation_name(u->collation[i])));
	}
	return buf_printf(out, ");\n");
}

/* NULLs are equal to nothing, as in SQLite's own UNIQUE. */
int table_sql_clash(const struct store_table *t, const struct store_unique *u, struct buf *out)
{
	TRY(put_table(out, "SELECT 1 FROM ", t));
	TRY(put_table(out, " AS me CROSS JOIN ", t));
	TRY(buf_printf(out, " AS o ON o.user_id = ?1"));
	for (uint16_t i = 0; i < u->n; i++) {
		TRY(put_col(out, " AND o.", unique_col(t, u->col[i])));
		TRY(put_col(out, " = me.", unique_col(t, u->col[i])));
		TRY(buf_printf(out, " COLLATE %s", collation_name(u->collation[i])));
	}
	TRY(buf_printf(out, " WHERE me.user_id = ?1"));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(put_col(out, " AND me.", &t->shape.key[i]));
		TRY(buf_printf(out, " = ?%d", 2 + i));
	}
	return buf_printf(out, " AND o.rowid <> me.rowid LIMIT 1");
}

/* ---- who may write ---- */

int table_sql_guard(const struct store_table *t, bool on, struct buf *out)
{
	static const char *const what[] = {"INSERT", "UPDATE", "DELETE"};

	for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
		/* Named like capture's own, which do not make ingest's triggers run. */
		TRY(buf_printf(out, "DROP TRIGGER IF EXISTS neap_m%lld_from_%s;\n",
			       (long long)t->id, what[i]));
		if (!on)
			continue;
		TRY(buf_printf(out, "CREATE TRIGGER neap_m%lld_from_%s BEFORE %s", (long long)t->id,
			       what[i], what[i]));
		TRY(put_table(out, " ON ", t));
		TRY(buf_printf(out, " WHEN (SELECT busy FROM neap_flag) = 0 BEGIN SELECT"
				    " RAISE(ABORT, 'only devices write this table: neapd schema"
				    " from TABLE both lets SQL in'); END;\n"));
	}
	return 0;
}

/* ---- registers ---- */

#define REG_COLUMNS "seq, state, stamp, site, regs"

static int reg_get(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "SELECT " REG_COLUMNS " FROM neap_r%lld WHERE uid = ?1",
		       (long long)t->id));
	return put_shadow_key_is(out, t, 2);
}

static int reg_add(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO neap_r%lld(uid", (long long)t->id));
	TRY(put_shadow_list(out, ", ", ", ", t->shape.n_key));
	TRY(buf_printf(out, ", " REG_COLUMNS ") VALUES(?1"));
	TRY(put_params(out, 2, t->shape.n_key + 5));
	return buf_printf(out, ")");
}

static int reg_set(const struct store_table *t, struct buf *out)
{
	int p = t->shape.n_key + 2;

	TRY(buf_printf(out, "UPDATE neap_r%lld SET seq = ?%d, state = neap_was(state, regs, ?%d",
		       (long long)t->id, p, p + 1));
	TRY(put_shadow_list(out, ", ", ", ", t->shape.n_key));
	TRY(buf_printf(out, "), stamp = ?%d, site = ?%d, regs = ?%d WHERE uid = ?1", p + 2, p + 3,
		       p + 4));
	return put_shadow_key_is(out, t, 2);
}

/* The seq of each, and its bytes. */
static int gc(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out,
		       "DELETE FROM neap_r%lld WHERE uid = ?1 AND state & 1 = 0"
		       " AND stamp < ?2 AND site <> %lld RETURNING seq, ifnull(length(regs), 0)",
		       (long long)t->id, (long long)SITE_REFUSED));
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, " + neap_size(k%d)", i));
	return 0;
}

/* ---- the table itself ---- */

static int row_get(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "SELECT 1"));
	TRY(put_list(out, ", ", ", ", t->shape.col, t->shape.n_col));
	TRY(put_table(out, " FROM ", t));
	TRY(buf_printf(out, " WHERE user_id = ?1"));
	return put_key_is(out, t, 2);
}

static int row_put(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(put_table(out, "INSERT INTO ", t));
	TRY(buf_printf(out, "(user_id"));
	TRY(put_list(out, ", ", ", ", s->key, s->n_key));
	TRY(put_list(out, ", ", ", ", s->col, s->n_col));
	TRY(buf_printf(out, ") VALUES(?1"));
	TRY(put_params(out, 2, s->n_key + s->n_col));
	TRY(buf_printf(out, ") ON CONFLICT(user_id"));
	TRY(put_list(out, ", ", ", ", s->key, s->n_key));
	if (s->n_col == 0)
		return buf_printf(out, ") DO NOTHING");
	TRY(buf_printf(out, ") DO UPDATE SET"));
	for (uint16_t i = 0; i < s->n_col; i++) {
		TRY(put_col(out, i ? ", " : " ", &s->col[i]));
		TRY(put_col(out, " = excluded.", &s->col[i]));
	}
	return 0;
}

/* Several columns: which ones, and their values, are parameters. */
static int row_change(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;
	int p = s->n_key + 2;

	TRY(put_table(out, "UPDATE ", t));
	TRY(buf_printf(out, " SET"));
	for (uint16_t i = 0; i < s->n_col; i++) {
		TRY(put_col(out, i ? ", " : " ", &s->col[i]));
		TRY(buf_printf(out, " = iif(?%d, neap_change(", p + 2 * i));
		TRY(put_col(out, "", &s->col[i]));
		TRY(buf_printf(out, ", ?%d)", p + 2 * i + 1));
		TRY(put_col(out, ", ", &s->col[i]));
		TRY(buf_printf(out, ")"));
	}
	TRY(buf_printf(out, " WHERE user_id = ?1"));
	return put_key_is(out, t, 2);
}

int table_sql_col(const struct store_table *t, uint16_t col, struct buf *out)
{
	assert(col < t->shape.n_col);
	TRY(put_table(out, "UPDATE ", t));
	TRY(put_col(out, " SET ", &t->shape.col[col]));
	TRY(put_col(out, " = neap_change(", &t->shape.col[col]));
	TRY(buf_printf(out, ", ?%d) WHERE user_id = ?1", t->shape.n_key + 2));
	return put_key_is(out, t, 2);
}

static int row_delete(const struct store_table *t, struct buf *out)
{
	TRY(put_table(out, "DELETE FROM ", t));
	TRY(buf_printf(out, " WHERE user_id = ?1"));
	TRY(put_key_is(out, t, 2));
	TRY(buf_printf(out, " RETURNING neap_gone("));
	TRY(table_sql_size(t, "", out));
	return buf_printf(out, ")");
}

/* ---- append ---- */

static int append(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(put_table(out, "INSERT INTO ", t));
	TRY(buf_printf(out, "(user_id, device_id, neap_site, neap_gen, neap_n"));
	TRY(put_list(out, ", ", ", ", s->key, s->n_key));
	TRY(put_list(out, ", ", ", ", s->col, s->n_col));
	TRY(buf_printf(out, ") VALUES(?1"));
	TRY(put_params(out, 2, s->n_key + s->n_col + 4));
	return buf_printf(out, ")");
}

static int append_get(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "SELECT 1"));
	TRY(put_list(out, ", ", ", ", t->shape.key, t->shape.n_key));
	TRY(put_list(out, ", ", ", ", t->shape.col, t->shape.n_col));
	TRY(put_table(out, " FROM ", t));
	return buf_printf(out, " WHERE user_id = ?1 AND neap_site = ?2 AND neap_gen = ?3"
			       " AND neap_n = ?4");
}

/* Of rows with numbers ?4 < n ≤ ?5, in their order: the number, and the key. */
static int append_numbers(const struct store_table *t, bool keys, struct buf *out)
{
	TRY(buf_printf(out, "SELECT neap_n"));
	if (keys)
		TRY(put_list(out, ", ", ", ", t->shape.key, t->shape.n_key));
	TRY(put_table(out, " FROM ", t));
	return buf_printf(out, " WHERE user_id = ?1 AND neap_site = ?2 AND neap_gen = ?3"
			       " AND neap_n > ?4 AND neap_n <= ?5 ORDER BY neap_n");
}

/* ---- pages ---- */

/* seq, state, stamp, site, regs, key…, column… */
static int put_whole_row(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out, "SELECT r.seq, r.state, r.stamp, r.site,"
			    " r.regs"));
	TRY(put_shadow_list(out, ", r.", ", r.", s->n_key));
	return put_list(out, ", t.", ", t.", s->col, s->n_col);
}

static int put_shadow_join(const struct store_table *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out, " FROM neap_r%lld r", (long long)t->id));
	TRY(put_table(out, " LEFT JOIN ", t));
	TRY(buf_printf(out, " t ON t.user_id = ?2"));
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(put_col(out, " AND t.", &s->key[i]));
		TRY(buf_printf(out, " = r.k%d", i));
	}
	return 0;
}

static int page(const struct store_table *t, bool after, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(put_whole_row(t, out));
	TRY(put_shadow_join(t, out));
	if (after) {
		TRY(buf_printf(out, " WHERE r.uid = ?1 AND (r.seq"));
		TRY(put_shadow_list(out, ", r.", ", r.", s->n_key));
		TRY(buf_printf(out, ") > (?3"));
		TRY(put_params(out, 4, s->n_key));
		TRY(buf_printf(out, ")"));
	} else {
		TRY(buf_printf(out, " WHERE r.uid = ?1 AND r.seq >= ?3"));
	}
	TRY(buf_printf(out, " ORDER BY r.seq"));
	return put_shadow_list(out, ", r.", ", r.", s->n_key);
}

/* ---- verification ---- */

/* "(<list>) <op> (?<param>, …)" */
static int put_compare(struct buf *out, const char *op, int param, uint16_t n)
{
	TRY(buf_printf(out, ") %s (?%d", op, param));
	TRY(put_params(out, param + 1, n - 1));
	return buf_printf(out, ")");
}

/*
 * In key order, from behind ?3 … on if `after`. Columns as of a page, then whether the row is in
 * the table, and whether its key is up to ?(3 + keys) …, NULL where those are.
 */
static int verify(const struct store_table *t, bool after, struct buf *out)
{
	uint16_t n = t->shape.n_key;

	TRY(put_whole_row(t, out));
	TRY(buf_printf(out, ", t.user_id IS NOT NULL, "));
	TRY(put_shadow_list(out, "(r.", ", r.", n));
	TRY(put_compare(out, "<=", 3 + n, n));
	TRY(put_shadow_join(t, out));
	TRY(buf_printf(out, " WHERE r.uid = ?1"));
	if (after) {
		TRY(put_shadow_list(out, " AND (r.", ", r.", n));
		TRY(put_compare(out, ">", 3, n));
	}
	return put_shadow_list(out, " ORDER BY r.", ", r.", n);
}

/*
 * The rows of the table itself in key order: key…, whether it is a row that no register stands
 * for, and whether its key is up to ?(3 + keys) ….
 */
static int strays(const struct store_table *t, bool after, struct buf *out)
{
	const struct shape_col *key = t->shape.key;
	uint16_t n = t->shape.n_key;

	TRY(put_list(out, "SELECT t.", ", t.", key, n));
	TRY(buf_printf(out, ", ifnull(r.state & 1, 0) = 0, "));
	TRY(put_list(out, "(t.", ", t.", key, n));
	TRY(put_compare(out, "<=", 3 + n, n));
	TRY(put_table(out, " FROM ", t));
	TRY(buf_printf(out, " t LEFT JOIN neap_r%lld r ON r.uid = ?1", (long long)t->id));
	for (uint16_t i = 0; i < n; i++) {
		TRY(buf_printf(out, " AND r.k%d", i));
		TRY(put_col(out, " = t.", &key[i]));
	}
	TRY(buf_printf(out, " WHERE t.user_id = ?2"));
	/* A row with a NULL in its key is nobody's. */
	for (uint16_t i = 0; i < n; i++) {
		TRY(put_col(out, " AND t.", &key[i]));
		TRY(buf_printf(out, " IS NOT NULL"));
	}
	if (after) {
		TRY(put_list(out, " AND (t.", ", t.", key, n));
		TRY(put_compare(out, ">", 3, n));
	}
	return put_list(out, " ORDER BY t.", ", t.", key, n);
}

/* As if someone's SQL had written the row: its user ?1, its key ?2 …. */
static int touch(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO neap_m%lld VALUES(?1", (long long)t->id));
	TRY(put_params(out, 2, t->shape.n_key));
	return buf_printf(out, ", %d, 0, 0, NULL) ON CONFLICT DO NOTHING", MARK_EXIST);
}

/* ---- capture ---- */

/*
 * By user and key, one row per mark: uid, name, head, gc_seq, last_term, col, key…
 * The mark table's key columns are k0, the user, and k1 ….
 */
static int touched(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "SELECT u.uid, u.name, u.head, u.gc_seq, u.last_term, m.col"));
	for (int i = 1; i <= t->shape.n_key; i++)
		TRY(buf_printf(out, ", m.k%d", i));
	TRY(buf_printf(out,
		       " FROM neap_m%lld m CROSS JOIN neap_user u ON u.name = m.k0 ORDER BY m.k0",
		       (long long)t->id));
	for (int i = 1; i <= t->shape.n_key; i++)
		TRY(buf_printf(out, ", m.k%d", i));
	return 0;
}

static int touched_forget(const struct store_table *t, struct buf *out)
{
	return buf_printf(out,
			  "DELETE FROM neap_m%lld WHERE EXISTS (SELECT 1 FROM neap_user WHERE "
			  "name = k0)",
			  (long long)t->id);
}

static int touched_any(const struct store_table *t, struct buf *out)
{
	return buf_printf(out, "SELECT 1 FROM neap_m%lld LIMIT 1", (long long)t->id);
}

int table_sql(const struct store_table *t, enum table_query q, struct buf *out)
{
	switch (q) {
	case TQ_REG_GET:
		return reg_get(t, out);
	case TQ_REG_ADD:
		return reg_add(t, out);
	case TQ_REG_SET:
		return reg_set(t, out);
	case TQ_ROW_GET:
		return row_get(t, out);
	case TQ_ROW_PUT:
		return row_put(t, out);
	case TQ_ROW_CHANGE:
		return row_change(t, out);
	case TQ_ROW_DELETE:
		return row_delete(t, out);
	case TQ_APPEND:
		return append(t, out);
	case TQ_APPEND_GET:
		return append_get(t, out);
	case TQ_APPEND_NUMBERS:
		return append_numbers(t, false, out);
	case TQ_APPEND_KEYS:
		return append_numbers(t, true, out);
	case TQ_PAGE:
		return page(t, false, out);
	case TQ_PAGE_AFTER:
		return page(t, true, out);
	case TQ_VERIFY:
		return verify(t, false, out);
	case TQ_VERIFY_AFTER:
		return verify(t, true, out);
	case TQ_STRAYS:
		return strays(t, false, out);
	case TQ_STRAYS_AFTER:
		return strays(t, true, out);
	case TQ_TOUCH:
		return touch(t, out);
	case TQ_TOUCHED:
		return touched(t, out);
	case TQ_TOUCHED_ANY:
		return touched_any(t, out);
	case TQ_TOUCHED_FORGET:
		return touched_forget(t, out);
	case TQ_GC:
		return gc(t, out);
	case TQ_SPELL:
	case TQ_SPELL_REGS:
	case TQ_KEY_STORED:
		return table_sql_spell(t, q, out);
	case TQ_N:
		break;
	}
	return NE_INTERNAL;
}
