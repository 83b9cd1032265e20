#include "device/core/capture.h"

#include <stdio.h>
#include <string.h>

/*
 * The clock to the millisecond: julianday() as a double is within 0.05 ms, so rounding is exact. An
 * absurd clock makes an absurd number, and then the floor decides.
 */
#define CLOCK                                                                                   \
	"max(CAST(julianday() * 86400000.0 - 210866759999999.5 AS INTEGER) + offset_ms << 16, " \
	"floor + 1)"
const char capture_clock_sql[] = "(SELECT " CLOCK " FROM neap_clock)";

/* In the order in which they are created and compared. */
static const char *const suffixes[] = {"ins", "upd", "key", "del", "bin", "bup", "xin", "xup"};

enum {
	N_SUFFIX = sizeof suffixes / sizeof *suffixes,
	INDEX_SUFFIX = N_SUFFIX - 2, /* from here on they are for indexes */
	SQL_MAX_BYTES = 1 << 20,
};

struct marks_spec capture_marks_spec(const struct shape *s, const char *name)
{
	return (struct marks_spec){
		.table = s->name,
		.prefix = name,
		.n_key = s->n_key,
		.n_col = s->n_col,
		.n_unique = s->n_unique,
		.key = s->key,
		.col = s->col,
		.unique = s->unique,
		.clock_sql = CLOCK,
		.gen_sql = "gen",
		.clock_from = "neap_clock",
	};
}

static const char *const affinity_names[] = {"BLOB", "TEXT", "NUMERIC", "INTEGER", "REAL"};
static const char *const collation_names[] = {"BINARY", "NOCASE", "RTRIM"};

static int put_number_table(const struct shape *s, const char *name, struct buf *out)
{
	TRY(buf_printf(out, "CREATE TABLE \"%s\"(n INTEGER PRIMARY KEY", name));
	for (unsigned i = 0; i < s->n_key; i++)
		TRY(buf_printf(out, ", k%u %s COLLATE %s NOT NULL", i,
			       affinity_names[s->key[i].affinity],
			       collation_names[s->key[i].collation]));
	TRY(buf_printf(out, ", UNIQUE("));
	for (unsigned i = 0; i < s->n_key; i++)
		TRY(buf_printf(out, "%sk%u", i ? ", " : "", i));
	return buf_printf(out, "));\n");
}

static int too_long(const struct shape *s, int rc, struct err *e)
{
	if (!rc)
		return NE_OK;
	return err_set(e, rc, "the capture SQL of table %.*s does not fit", (int)s->name.len,
		       (const char *)s->name.at);
}

int capture_table_sql(const struct shape *s, const char *name, struct buf *out, struct err *e)
{
	struct marks_spec m = capture_marks_spec(s, name);

	if (s->kind == SHAPE_MERGE)
		return marks_create_table_sql(&m, out, e);
	return too_long(s, put_number_table(s, name, out), e);
}

/* Appends `<of>."key" <op> …` over the key's columns, joined by `join`. */
static int put_each(const struct shape *s, const char *of, const char *after, const char *join,
		    struct buf *out)
{
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%s%s.", i ? join : "", of));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, "%s", after));
	}
	return NE_OK;
}

/* k0 = <of>."key" AND … */
static int put_match(const struct shape *s, const char *of, struct buf *out)
{
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sk%u = %s.", i ? " AND " : "", i, of));
		TRY(sql_put_name(out, s->key[i].name));
	}
	return NE_OK;
}

static int put_mark_key(const struct shape *s, struct buf *out)
{
	for (unsigned i = 0; i < s->n_key; i++)
		TRY(buf_printf(out, "%sk%u", i ? ", " : "", i));
	return NE_OK;
}

/* Gives the row of NEW a number above all before it, where `where` holds. */
static int put_number(const struct shape *s, int64_t id, const char *name, const char *where,
		      struct buf *out)
{
	TRY(buf_printf(out, " INSERT INTO \"%s\"(n, ", name));
	TRY(put_mark_key(s, out));
	TRY(buf_printf(out,
		       ") SELECT max(ifnull((SELECT max(n) FROM \"%s\"), 0), a.numbered) + 1, ",
		       name));
	TRY(put_each(s, "NEW", "", ", ", out));
	TRY(buf_printf(out, " FROM neap_append AS a WHERE a.id = %lld%s ON CONFLICT(",
		       (long long)id, where));
	TRY(put_mark_key(s, out));
	return buf_printf(out, ") DO UPDATE SET n = excluded.n;\n");
}

static int put_append_head(const struct shape *s, const char *name, const char *suffix,
			   const char *event, struct buf *out)
{
	TRY(buf_printf(out, "CREATE TRIGGER \"%s_%s\" %s ON ", name, suffix, event));
	TRY(sql_put_name(out, s->name));
	return buf_printf(out, " WHEN ");
}

static int put_append_insert(const struct shape *s, int64_t id, const char *name, struct buf *out)
{
	TRY(put_append_head(s, name, "ins", "AFTER INSERT", out));
	TRY(put_each(s, "NEW", s->key_is_number ? "" : " IS NOT NULL", " AND ", out));
	if (s->key_is_number)
		TRY(buf_printf(out, " <= (SELECT high FROM neap_append WHERE id = %lld)",
			       (long long)id));
	TRY(buf_printf(out, " BEGIN\n"));
	TRY(put_number(s, id, name, "", out));
	return buf_printf(out, "END;\n");
}

/* A pending row whose key changes stays pending, under its number if it has one. */
static int put_append_key(const struct shape *s, int64_t id, const char *name, struct buf *out)
{
	struct buf where = {.max = SQL_MAX_BYTES};
	int rc;

	TRY(put_append_head(s, name, "key", "AFTER UPDATE", out));
	TRY(buf_printf(out, "NOT ("));
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sNEW.", i ? " AND " : ""));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " IS OLD."));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " COLLATE BINARY"));
	}
	TRY(buf_printf(out, ") AND "));
	TRY(put_each(s, "NEW", " IS NOT NULL", " AND ", out));
	TRY(buf_printf(out, " BEGIN\n DELETE FROM \"%s\" WHERE ", name));
	TRY(put_match(s, "NEW", out));
	TRY(buf_printf(out, " AND (("));
	TRY(put_match(s, "OLD", out));
	TRY(buf_printf(out, ") IS NOT TRUE);\n UPDATE \"%s\" SET ", name));
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sk%u = NEW.", i ? ", " : "", i));
		TRY(sql_put_name(out, s->key[i].name));
	}
	TRY(buf_printf(out, " WHERE "));
	TRY(put_match(s, "OLD", out));
	TRY(buf_printf(out, ";\n"));
	rc = buf_printf(&where, s->key_is_number ? " AND OLD." : " AND (");
	if (!rc && s->key_is_number)
		rc = sql_put_name(&where, s->key[0].name);
	else if (!rc)
		rc = put_each(s, "OLD", " IS NULL", " OR ", &where);
	if (!rc && s->key_is_number) {
		rc = buf_printf(&where, " > a.high AND NEW.");
		rc = rc ? rc : sql_put_name(&where, s->key[0].name);
		rc = rc ? rc : buf_printf(&where, " <= a.high");
	} else if (!rc) {
		rc = buf_printf(&where, ")");
	}
	rc = rc ? rc : buf_terminate(&where);
	rc = rc ? rc : put_number(s, id, name, (const char *)where.at, out);
	buf_free(&where);
	return rc ? rc : buf_printf(out, "END;\n");
}

int capture_triggers_since_sql(const struct shape *s, const struct shape_col *fallback, int64_t id,
			       const char *name, struct buf *out, struct err *e)
{
	struct marks_spec m = capture_marks_spec(s, name);

	m.fallback = fallback;

	if (s->kind == SHAPE_MERGE) /* what only comes down is not captured */
		return s->direction == DIR_DOWN ? NE_OK : marks_create_triggers_sql(&m, out, e);
	TRY(too_long(s, put_append_insert(s, id, name, out), e));
	return too_long(s, put_append_key(s, id, name, out), e);
}

int capture_triggers_sql(const struct shape *s, int64_t id, const char *name, struct buf *out,
			 struct err *e)
{
	return capture_triggers_since_sql(s, NULL, id, name, out, e);
}

/* A trigger's text, or the table it is on; empty if there is none. */
static int read_trigger(struct db *db, const char *name, const char *suffix, bool table,
			struct arena *a, struct slice *out, struct err *e)
{
	char trigger[48];
	sqlite3_stmt *st;
	bool row;
	int rc = NE_OK;

	snprintf(trigger, sizeof trigger, "%s_%s", name, suffix);
	*out = (struct slice){0};
	TRY(db_prepare(db,
		       "SELECT sql, tbl_name FROM main.sqlite_schema WHERE type = 'trigger' AND "
		       "name = ?1",
		       &st, e));
	sqlite3_bind_text(st, 1, trigger, -1, SQLITE_STATIC);
	TRY(db_step(db, st, &row, e));
	if (row) {
		const unsigned char *text = sqlite3_column_text(st, table);
		size_t len = (size_t)sqlite3_column_bytes(st, table);

		*out = arena_copy(a, slice_of(text, len));
		rc = out->at ? NE_OK : err_set(e, NE_MEMORY, "no memory for a trigger's text");
	}
	sqlite3_reset(st);
	return rc;
}

/* Takes one name in double quotes off the front of `left`. */
static bool take_name(struct slice *left, struct arena *a, struct slice *out)
{
	uint8_t *to = arena_alloc(a, left->len + 1);
	size_t i = 1, n = 0;

	if (!to || left->len < 2 || left->at[0] != '"')
		return false;
	while (i < left->len &&
	       (left->at[i] != '"' || (i + 1 < left->len && left->at[i + 1] == '"'))) {
		i += left->at[i] == '"';
		to[n++] = left->at[i++];
	}
	if (i >= left->len)
		return false;
	*out = slice_of(to, n);
	*left = slice_of(left->at + i + 1, left->len - i - 1);
	return true;
}

static bool take_text(struct slice *left, const char *text)
{
	size_t n = strlen(text);

	if (left->len < n || memcmp(left->at, text, n))
		return false;
	*left = slice_of(left->at + n, left->len - n);
	return true;
}

int capture_installed_columns(struct db *db, const char *name, uint16_t n, struct arena *a,
			      struct shape_col *out, bool *known, struct err *e)
{
	struct slice left, prefix;

	*known = false;
	TRY(read_trigger(db, name, "upd", false, a, &left, e));
	if (!left.len || !take_text(&left, "CREATE TRIGGER ") || !take_name(&left, a, &prefix) ||
	    !take_text(&left, " AFTER UPDATE OF "))
		return NE_OK;
	for (uint16_t i = 0; i < n; i++) {
		if ((i && !take_text(&left, ", ")) || !take_name(&left, a, &out[i].name))
			return NE_OK;
	}
	*known = take_text(&left, " ON ");
	return NE_OK;
}

int capture_installed_table(struct db *db, const char *name, struct arena *a, struct slice *out,
			    struct err *e)
{
	return read_trigger(db, name, "ins", true, a, out, e);
}

static int put_installed(struct db *db, const char *trigger, struct slice table, struct buf *out,
			 struct err *e)
{
	sqlite3_stmt *st;
	bool row;
	int rc = NE_OK;

	TRY(db_prepare(
		db,
		"SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1 AND "
		"tbl_name = ?2 COLLATE NOCASE",
		&st, e));
	sqlite3_bind_text(st, 1, trigger, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, (const char *)table.at, (int)table.len, SQLITE_STATIC);
	TRY(db_step(db, st, &row, e));
	if (row)
		rc = buf_printf(out, "%s;\n", (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	return rc ? err_set(e, rc, "the text of trigger %s does not fit", trigger) : NE_OK;
}

int capture_installed_sql(struct db *db, const char *name, struct slice table, bool index,
			  struct buf *out, struct err *e)
{
	char trigger[48];

	for (int i = index ? INDEX_SUFFIX : 0; i < (index ? N_SUFFIX : INDEX_SUFFIX); i++) {
		snprintf(trigger, sizeof trigger, "%s_%s", name, suffixes[i]);
		TRY(put_installed(db, trigger, table, out, e));
	}
	return NE_OK;
}

int capture_drop_triggers(struct db *db, const char *name, struct err *e)
{
	for (int i = 0; i < N_SUFFIX; i++)
		TRY(db_execf(db, e, "DROP TRIGGER IF EXISTS main.\"%s_%s\"", name, suffixes[i]));
	return NE_OK;
}

int capture_exec(struct db *db, struct buf *sql, struct err *e)
{
	int rc = buf_terminate(sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_exec(db, (const char *)sql->at, e);
	buf_clear(sql);
	return rc;
}

int capture_install(struct db *db, const struct shape *s, int64_t id, const char *name,
		    struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int rc;

	TRY(capture_drop_triggers(db, name, e));
	rc = capture_triggers_sql(s, id, name, &sql, e);
	if (!rc)
		rc = capture_index_triggers_sql(db, s, name, &sql, e);
	if (!rc && sql.len)
		rc = capture_exec(db, &sql, e);
	buf_free(&sql);
	return rc;
}
