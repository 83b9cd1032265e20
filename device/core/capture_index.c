/*
 * The UNIQUE indexes of a table that its shape cannot say, as SQL for the candidates of REPLACE
 * (protocol/marks.h), and those whose values no trigger can know before the row is written.
 */
#include <stdio.h>
#include <string.h>

#include "device/core/capture.h"
#include "device/core/index_sql.h"

enum { SQL_MAX_BYTES = 1 << 20, NAMES = 2 * LIMIT_COLUMNS };

/* A column of the table, generated ones too. */
struct column {
	struct slice name;
	enum shape_affinity affinity; /* of the default */
	struct slice fill;	      /* SQL that takes the place of NULL; empty: none */
	bool generated, is_rowid, used;
};

/* One look at a table's indexes. */
struct look {
	struct db *db;
	const struct shape *s;
	struct arena arena;
	char table[LIMIT_NAME + 1];
	struct slice create_table;
	bool has_rowid, key_is_rowid;
	size_t n_col;
	struct column col[NAMES];
	size_t n;
	struct marks_index index[LIMIT_UNIQUES * 4];
};

/* One index of it. */
struct unique {
	const char *name;
	bool partial;
	bool plain; /* the shape can say it but for NULLs that a default replaces */
	bool fills; /* … of which it has one */
	bool skip;  /* who has the same values has the same key */
	struct index_sql sql;
	size_t n;
	struct slice part[INDEX_PARTS], collation[INDEX_PARTS];
	bool expression[INDEX_PARTS];
};

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory for the indexes of a table");
}

static int unseen(const struct look *l, const struct unique *u, const char *why, struct err *e)
{
	return err_set(
		e, NE_USAGE,
		"UNIQUE index %.60s of table %.60s cannot be synced: %s; make its parts plain "
		"columns, or drop it",
		u->name, l->table, why);
}

static int copy_text(struct look *l, sqlite3_stmt *s, int at, struct slice *out, struct err *e)
{
	const unsigned char *text = sqlite3_column_text(s, at);

	*out = arena_copy(&l->arena, slice_of(text, (size_t)sqlite3_column_bytes(s, at)));
	return out->at ? NE_OK : no_memory(e);
}

static int bind(struct look *l, const char *sql, const char *name, sqlite3_stmt **out,
		struct err *e)
{
	TRY(db_prepare(l->db, sql, out, e));
	return sqlite3_bind_text(*out, 1, name, -1, SQLITE_TRANSIENT) ? db_error(l->db, e, name)
								      : NE_OK;
}

/* ---- columns ---- */

static bool is_word(struct slice text, const char *word)
{
	return text.len == strlen(word) &&
	       !sqlite3_strnicmp((const char *)text.at, word, (int)text.len);
}

/* DEFAULT takes a bare or double-quoted word for text; elsewhere that is a column. */
static bool is_text(struct slice text)
{
	static const char *const words[] = {"NULL",	    "TRUE",	    "FALSE",
					    "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"};
	uint8_t c = text.len ? text.at[0] : 0;
	bool yes = c == '"' || c == '_' || c >= 0x80 || (c >= 'a' && c <= 'z') ||
		   (c >= 'A' && c <= 'Z');

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		yes &= !is_word(text, words[i]);
	return yes && !(text.len > 1 && text.at[1] == '\'');
}

static int put_default(struct slice text, struct buf *out)
{
	bool in_quotes = text.len > 1 && text.at[0] == '"';

	if (!is_text(text)) {
		TRY(buf_printf(out, "("));
		TRY(buf_put(out, text.at, text.len));
		return buf_printf(out, ")");
	}
	TRY(buf_printf(out, "('"));
	for (size_t i = in_quotes; i < text.len - in_quotes; i++) {
		if (text.at[i] == '\'')
			TRY(buf_put_u8(out, '\''));
		TRY(buf_put_u8(out, text.at[i]));
		i += in_quotes && text.at[i] == '"';
	}
	return buf_printf(out, "')");
}

static enum shape_affinity affinity_of(const struct look *l, struct slice name)
{
	for (uint16_t i = 0; i < l->s->n_key + l->s->n_col; i++) {
		const struct shape_col *c =
			i < l->s->n_key ? &l->s->key[i] : &l->s->col[i - l->s->n_key];
		if (slice_eq(c->name, name))
			return c->affinity;
	}
	return AFF_BLOB;
}

static int take_column(struct look *l, sqlite3_stmt *s, struct err *e)
{
	struct column *c = &l->col[l->n_col++];
	struct buf fill = {.max = SQL_MAX_BYTES};
	struct slice text;
	int rc = NE_OK;

	*c = (struct column){.generated = sqlite3_column_int(s, 4) > 1,
			     .is_rowid = sqlite3_column_int(s, 3) && l->key_is_rowid};
	TRY(copy_text(l, s, 0, &c->name, e));
	c->affinity = affinity_of(l, c->name);
	if (!sqlite3_column_int(s, 1) || sqlite3_column_type(s, 2) == SQLITE_NULL || c->is_rowid)
		return NE_OK;
	TRY(copy_text(l, s, 2, &text, e));
	rc = put_default(text, &fill);
	if (!rc)
		c->fill = arena_copy(&l->arena, buf_slice(&fill));
	buf_free(&fill);
	return rc || !c->fill.at ? no_memory(e) : NE_OK;
}

static int read_columns(struct look *l, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(bind(l,
		 "SELECT name, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) "
		 "ORDER BY cid",
		 l->table, &s, e));
	while (!(rc = db_step(l->db, s, &row, e)) && row && !rc) {
		if (l->n_col == NAMES) /* such a table has no shape */
			break;
		rc = take_column(l, s, e);
		if (rc)
			break;
	}
	sqlite3_reset(s);
	return rc;
}

static int read_table(struct look *l, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc = NE_OK;

	TRY(bind(l,
		 "SELECT t.sql, NOT l.wr, NOT EXISTS(SELECT 1 FROM pragma_index_list(?1) WHERE "
		 "origin = 'pk') FROM main.sqlite_schema AS t, pragma_table_list(?1) AS l WHERE "
		 "t.type "
		 "= 'table' AND t.name = ?1 COLLATE NOCASE AND l.schema = 'main' AND l.name = "
		 "t.name",
		 l->table, &s, e));
	TRY(db_step(l->db, s, &row, e));
	if (row) {
		rc = copy_text(l, s, 0, &l->create_table, e);
		l->has_rowid = sqlite3_column_int(s, 1);
		l->key_is_rowid = l->has_rowid && sqlite3_column_int(s, 2);
	}
	sqlite3_reset(s);
	return rc;
}

/* ---- what cannot be known ---- */

/* The row's number: a BEFORE INSERT trigger has it only where the app gave it. */
static bool names_rowid(const struct look *l, struct slice sql)
{
	static const char *const names[] = {"rowid", "oid", "_rowid_"};
	bool yes = false;

	for (size_t i = 0; i < l->n_col; i++)
		yes |= l->col[i].is_rowid && index_sql_names(sql, l->col[i].name);
	for (size_t k = 0; l->has_rowid && k < sizeof names / sizeof *names; k++) {
		bool taken = false;

		for (size_t i = 0; i < l->n_col; i++)
			taken |= is_word(l->col[i].name, names[k]);
		yes |= !taken && index_sql_names(sql, slice_str(names[k]));
	}
	return yes;
}

static bool generated_names_rowid(const struct look *l)
{
	bool yes = false;

	for (size_t i = 0; i < l->n_col; i++)
		yes |= l->col[i].is_rowid &&
		       index_sql_generated_names(l->create_table, l->col[i].name);
	return yes ||
	       (l->has_rowid && index_sql_generated_names(l->create_table, slice_str("rowid")));
}

/* A generated column is computed before a default takes the place of a NULL. */
static bool generated_names_fill(const struct look *l)
{
	bool yes = false;

	for (size_t i = 0; i < l->n_col; i++)
		yes |= l->col[i].fill.len &&
		       index_sql_generated_names(l->create_table, l->col[i].name);
	return yes;
}

/* Whether the column stores its default as it is: no function converts as a column does. */
static int is_stored_as_is(struct look *l, const struct column *c, bool *yes, struct err *e)
{
	static const char *const types[] = {[AFF_TEXT] = "text", [AFF_REAL] = "real"};
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t same;
	int rc = buf_printf(&sql, "SELECT typeof(v) ");

	if (c->affinity == AFF_TEXT || c->affinity == AFF_REAL)
		rc = rc ? rc : buf_printf(&sql, "IN ('%s', 'blob')", types[c->affinity]);
	else if (c->affinity == AFF_BLOB)
		rc = rc ? rc : buf_printf(&sql, "<> ''");
	else
		rc = rc ? rc : buf_printf(&sql, "IN ('integer', 'blob')");
	rc = rc ? rc : buf_printf(&sql, " FROM (SELECT ");
	rc = rc ? rc : buf_put(&sql, c->fill.at, c->fill.len);
	rc = rc ? rc : buf_printf(&sql, " AS v)");
	rc = rc ? rc : buf_terminate(&sql);
	rc = rc ? no_memory(e) : db_int(l->db, (const char *)sql.at, 0, &same, e);
	*yes = !rc && same;
	buf_free(&sql);
	return rc;
}

static bool uses_generated(const struct look *l)
{
	for (size_t i = 0; i < l->n_col; i++)
		if (l->col[i].used && l->col[i].generated)
			return true;
	return false;
}

/* Marks the columns that SQL is over as used. */
static int use_columns(struct look *l, const struct unique *u, struct slice sql, struct err *e)
{
	for (size_t i = 0; i < l->n_col; i++) {
		struct column *c = &l->col[i];
		bool good = true;

		if (!index_sql_names(sql, c->name))
			continue;
		c->used = true;
		if (c->fill.len)
			TRY(is_stored_as_is(l, c, &good, e));
		if (!good)
			return unseen(l, u,
				      "it is computed from a NOT NULL column whose default is of "
				      "another type than the column",
				      e);
	}
	return NE_OK;
}

static int check(struct look *l, const struct unique *u, struct err *e)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->expression[i] && names_rowid(l, u->part[i]))
			return unseen(l, u, "it is computed from the row's number", e);
	if (!uses_generated(l))
		return NE_OK;
	if (l->has_rowid && generated_names_rowid(l))
		return unseen(l, u, "a generated column is computed from the row's number", e);
	if (generated_names_fill(l))
		return unseen(l, u,
			      "a generated column is computed from a NOT NULL column that has a "
			      "default",
			      e);
	return NE_OK;
}

/* ---- one index ---- */

static struct column *find_column(struct look *l, struct slice name)
{
	for (size_t i = 0; i < l->n_col; i++)
		if (slice_eq(l->col[i].name, name))
			return &l->col[i];
	return NULL;
}

static int quote(struct look *l, struct slice name, struct slice *out, struct err *e)
{
	struct buf b = {.max = SQL_MAX_BYTES};
	int rc = sql_put_name(&b, name);

	*out = rc ? (struct slice){0} : arena_copy(&l->arena, buf_slice(&b));
	buf_free(&b);
	return out->at ? NE_OK : no_memory(e);
}

/* Columns: cid, name, coll. */
static int take_part(struct look *l, sqlite3_stmt *s, struct unique *u, struct err *e)
{
	size_t i = u->n++;
	const char *coll = NULL;
	struct slice name;
	struct column *c;

	TRY(copy_text(l, s, 2, &u->collation[i], e));
	u->expression[i] = sqlite3_column_int(s, 0) < 0;
	if (u->expression[i]) {
		u->plain = false;
		u->part[i] = i < u->sql.n ? u->sql.part[i] : (struct slice){0};
		return u->part[i].len ? NE_OK : no_memory(e);
	}
	TRY(copy_text(l, s, 1, &name, e));
	c = find_column(l, name);
	if (!c)
		return err_set(e, NE_CORRUPT, "an index of table %s has no column", l->table);
	c->used = true;
	u->skip |= c->is_rowid;
	u->fills |= c->fill.len > 0;
	sqlite3_table_column_metadata(db_handle(l->db), "main", l->table,
				      (const char *)sqlite3_column_text(s, 1), NULL, &coll, NULL,
				      NULL, NULL);
	if (c->generated || !coll ||
	    sqlite3_stricmp(coll, (const char *)sqlite3_column_text(s, 2)) != 0)
		u->plain = false;
	return quote(l, name, &u->part[i], e);
}

static int read_parts(struct look *l, struct unique *u, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	u->plain = !u->partial;
	TRY(bind(l, "SELECT cid, name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
		 u->name, &s, e));
	while (!(rc = db_step(l->db, s, &row, e)) && row) {
		rc = u->n == INDEX_PARTS
			     ? err_set(e, NE_LIMIT, "index %.60s has too many parts", u->name)
			     : take_part(l, s, u, e);
		if (rc)
			break;
	}
	sqlite3_reset(s);
	return rc;
}

/* NEW."a" AS "a", or what the column is given if that is NULL. */
static int put_columns(const struct look *l, const struct unique *u, const char *of,
		       struct buf *out)
{
	bool first = true;

	for (size_t i = 0; i < l->n_col; i++) {
		const struct column *c = &l->col[i];

		if (!c->used)
			continue;
		TRY(buf_printf(out, c->fill.len ? ", ifnull(%s." : ", %s.", of));
		TRY(sql_put_name(out, c->name));
		if (c->fill.len) {
			TRY(buf_printf(out, ", "));
			TRY(buf_put(out, c->fill.at, c->fill.len));
			TRY(buf_printf(out, ")"));
		}
		TRY(buf_printf(out, " AS "));
		TRY(sql_put_name(out, c->name));
	}
	for (size_t i = 0; u->plain && i < l->n_col; i++) {
		if (!l->col[i].used || !l->col[i].fill.len)
			continue;
		TRY(buf_printf(out, "%s%s.", first ? ", " : " IS NULL OR ", of));
		TRY(sql_put_name(out, l->col[i].name));
		first = false;
	}
	return u->plain ? buf_printf(out, " IS NULL AS neap_null") : NE_OK;
}

static int put_values(const struct unique *u, struct buf *out)
{
	for (size_t i = 0; i < u->n; i++) {
		TRY(buf_printf(out, "%s(", i ? ", " : ""));
		TRY(buf_put(out, u->part[i].at, u->part[i].len));
		TRY(buf_printf(out, ") AS neap_%zu", i));
	}
	return NE_OK;
}

static int put_match(const struct unique *u, struct buf *out)
{
	for (size_t i = 0; i < u->n; i++) {
		TRY(buf_printf(out, "%s(", i ? " AND " : ""));
		TRY(buf_put(out, u->part[i].at, u->part[i].len));
		TRY(buf_printf(out, ") = neap_n.neap_%zu COLLATE ", i));
		TRY(sql_put_name(out, u->collation[i]));
	}
	if (!u->partial)
		return NE_OK;
	TRY(buf_printf(out, " AND ("));
	TRY(buf_put(out, u->sql.where.at, u->sql.where.len));
	return buf_printf(out, ")");
}

/* A new row whose number is not known yet may be any. */
static int put_when(const struct look *l, const struct unique *u, struct buf *out)
{
	if (u->plain)
		return buf_printf(out, "neap_null");
	if (!u->partial || names_rowid(l, u->sql.where))
		return NE_OK;
	TRY(buf_printf(out, "("));
	TRY(buf_put(out, u->sql.where.at, u->sql.where.len));
	return buf_printf(out, ")");
}

static int keep(struct look *l, int rc, struct buf *b, struct slice *out)
{
	*out = rc ? (struct slice){0} : arena_copy(&l->arena, buf_slice(b));
	buf_free(b);
	return rc ? rc : out->at ? NE_OK : NE_MEMORY;
}

static int put_probe(const struct look *l, const struct unique *u, const struct marks_index *x,
		     struct buf *out)
{
	struct slice table = slice_str(l->table);

	TRY(buf_printf(out, "SELECT 1 FROM (SELECT %.*s FROM (SELECT NULL AS neap_row",
		       (int)x->values.len, (const char *)x->values.at));
	TRY(put_columns(l, u, "neap_v", out));
	TRY(buf_printf(out, " FROM "));
	TRY(sql_put_name(out, table));
	TRY(buf_printf(out, " AS neap_v) AS "));
	TRY(sql_put_name(out, table));
	if (x->when.len)
		TRY(buf_printf(out, " WHERE %.*s", (int)x->when.len, (const char *)x->when.at));
	TRY(buf_printf(out, ") AS neap_n CROSS JOIN "));
	TRY(sql_put_name(out, table));
	TRY(buf_printf(out, " AS "));
	TRY(sql_put_name(out, table));
	return buf_printf(out, " WHERE %.*s", (int)x->match.len, (const char *)x->match.at);
}

/* SQL in a trigger that cannot be prepared would fail the app's own writes. */
static int probe(struct look *l, const struct unique *u, const struct marks_index *x, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int rc = put_probe(l, u, x, &sql);
	sqlite3_stmt *s = NULL;

	rc = rc ? rc : buf_terminate(&sql);
	if (rc)
		rc = no_memory(e);
	else if (sqlite3_prepare_v2(db_handle(l->db), (const char *)sql.at, -1, &s, NULL))
		rc = unseen(l, u, sqlite3_errmsg(db_handle(l->db)), e);
	sqlite3_finalize(s);
	buf_free(&sql);
	return rc;
}

static int make_index(struct look *l, const struct unique *u, struct err *e)
{
	struct buf columns = {.max = SQL_MAX_BYTES}, values = {.max = SQL_MAX_BYTES},
		   when = {.max = SQL_MAX_BYTES}, match = {.max = SQL_MAX_BYTES};
	struct marks_index *x = &l->index[l->n];
	int rc;

	if (l->n == sizeof l->index / sizeof *l->index)
		return err_set(e, NE_LIMIT, "table %s has too many UNIQUE indexes", l->table);
	rc = keep(l, put_columns(l, u, "NEW", &columns), &columns, &x->columns);
	rc = rc ? rc : keep(l, put_values(u, &values), &values, &x->values);
	rc = rc ? rc : keep(l, put_when(l, u, &when), &when, &x->when);
	rc = rc ? rc : keep(l, put_match(u, &match), &match, &x->match);
	if (rc)
		return no_memory(e);
	l->n++;
	return probe(l, u, x, e);
}

static int read_sql(struct look *l, struct unique *u, struct err *e)
{
	struct slice text = {0};
	sqlite3_stmt *s;
	bool row;
	int rc = NE_OK;

	TRY(bind(l, "SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?1",
		 u->name, &s, e));
	TRY(db_step(l->db, s, &row, e));
	if (row && sqlite3_column_type(s, 0) != SQLITE_NULL)
		rc = copy_text(l, s, 0, &text, e);
	sqlite3_reset(s);
	TRY(rc);
	return text.len ? index_sql_parse(text, &l->arena, &u->sql, e) : NE_OK;
}

static int take_index(struct look *l, const char *name, bool partial, struct err *e)
{
	struct unique u = {.name = name, .partial = partial};

	for (size_t i = 0; i < l->n_col; i++)
		l->col[i].used = false;
	TRY(read_sql(l, &u, e));
	TRY(read_parts(l, &u, e));
	if (u.skip || (u.plain && !u.fills))
		return NE_OK;
	for (size_t i = 0; i < u.n; i++)
		if (u.expression[i])
			TRY(use_columns(l, &u, u.part[i], e));
	if (u.partial)
		TRY(use_columns(l, &u, u.sql.where, e));
	TRY(check(l, &u, e));
	return make_index(l, &u, e);
}

static int read_indexes(struct look *l, struct err *e)
{
	struct slice name[LIMIT_UNIQUES * 4];
	bool partial[LIMIT_UNIQUES * 4], row;
	size_t n = 0;
	sqlite3_stmt *s;
	int rc;

	TRY(bind(l,
		 "SELECT name, partial FROM pragma_index_list(?1) WHERE \"unique\" AND origin <> "
		 "'pk' ORDER BY name",
		 l->table, &s, e));
	while (!(rc = db_step(l->db, s, &row, e)) && row) {
		const char *text = (const char *)sqlite3_column_text(s, 0);

		if (n == sizeof name / sizeof *name) {
			rc = err_set(e, NE_LIMIT, "table %s has too many UNIQUE indexes", l->table);
			break;
		}
		partial[n] = sqlite3_column_int(s, 1);
		name[n] = arena_copy(&l->arena, slice_of(text, strlen(text) + 1));
		if (!name[n++].at) {
			rc = no_memory(e);
			break;
		}
	}
	sqlite3_reset(s);
	for (size_t i = 0; !rc && i < n; i++)
		rc = take_index(l, (const char *)name[i].at, partial[i], e);
	return rc;
}

static int look_at(struct look *l, const char *marks, struct buf *out, struct err *e)
{
	struct marks_spec m = capture_marks_spec(l->s, marks);

	TRY(read_table(l, e));
	TRY(read_columns(l, e));
	TRY(read_indexes(l, e));
	return marks_create_index_triggers_sql(&m, l->index, l->n, out, e);
}

int capture_index_triggers_sql(struct db *db, const struct shape *s, const char *name,
			       struct buf *out, struct err *e)
{
	struct look *l;
	int rc;

	if (s->kind != SHAPE_MERGE || s->direction == DIR_DOWN)
		return NE_OK;
	l = sqlite3_malloc64(sizeof *l);
	if (!l)
		return no_memory(e);
	memset(l, 0, sizeof *l);
	l->db = db;
	l->s = s;
	l->arena.max = 4 << 20;
	snprintf(l->table, sizeof l->table, "%.*s", (int)s->name.len, (const char *)s->name.at);
	rc = look_at(l, name, out, e);
	arena_free(&l->arena);
	sqlite3_free(l);
	return rc;
}
