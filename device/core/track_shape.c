#include <stdio.h>
#include <string.h>

#include "device/core/capture.h"
#include "device/core/track.h"

/* What reading one table's shape needs on its way. */
struct reader {
	struct db *db;
	const char *table; /* as it is declared */
	struct arena *arena;
	bool strict;
	bool without_rowid;
	int cid_to_col[LIMIT_COLUMNS *
		       2]; /* the catalogue's column number → key, then others; −1 none */
	int n_cid;
	char key_index[256]; /* the primary key's index; empty for a rowid */
	struct shape *shape;
};

static int no_memory(struct err *e, const char *table)
{
	return err_set(e, NE_MEMORY, "no memory for the shape of table %s", table);
}

static int bind_name(struct reader *r, const char *sql, const char *name, sqlite3_stmt **out,
		     struct err *e)
{
	TRY(db_prepare(r->db, sql, out, e));
	if (sqlite3_bind_text(*out, 1, name, -1, SQLITE_TRANSIENT) != SQLITE_OK)
		return db_error(r->db, e, name);
	return NE_OK;
}

/* ASCII-case-insensitive strstr. */
static bool has(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (; *text; text++) {
		if (sqlite3_strnicmp(text, word, (int)n) == 0)
			return true;
	}
	return false;
}

/* https://sqlite.org/datatype3.html section 3.1, and ANY of STRICT tables, which converts nothing.
 */
static enum shape_affinity affinity_of(const char *type, bool strict)
{
	if (strict && sqlite3_stricmp(type, "ANY") == 0)
		return AFF_BLOB;
	if (has(type, "INT"))
		return AFF_INTEGER;
	if (has(type, "CHAR") || has(type, "CLOB") || has(type, "TEXT"))
		return AFF_TEXT;
	if (has(type, "BLOB") || !*type)
		return AFF_BLOB;
	if (has(type, "REAL") || has(type, "FLOA") || has(type, "DOUB"))
		return AFF_REAL;
	return AFF_NUMERIC;
}

static bool collation_of(const char *name, enum shape_collation *out)
{
	static const char *const names[] = {"BINARY", "NOCASE", "RTRIM"};

	for (int i = 0; i < 3; i++) {
		if (sqlite3_stricmp(name, names[i]) == 0) {
			*out = (enum shape_collation)i;
			return true;
		}
	}
	return false;
}

static int find_table(struct reader *r, const char *table, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc = NE_OK;

	if (sqlite3_strnicmp(table, "neap_", 5) == 0 || sqlite3_strnicmp(table, "sqlite_", 7) == 0)
		return err_set(e, NE_USAGE,
			       "table %.80s: names that begin with neap_ or sqlite_ are kept for "
			       "Neap and SQLite; rename the table to sync it",
			       table);
	TRY(bind_name(
		r,
		"SELECT name, type, wr, strict FROM pragma_table_list(?1) WHERE schema = 'main' "
		"AND name = ?1 COLLATE NOCASE",
		table, &s, e));
	TRY(db_step(r->db, s, &row, e));
	if (!row)
		rc = err_set(e, NE_NOT_FOUND,
			     "there is no table %.80s in this database: create it first, or check "
			     "its name",
			     table);
	else if (strcmp((const char *)sqlite3_column_text(s, 1), "table") != 0)
		rc = err_set(
			e, NE_NOT_FOUND, "%.80s is a %s%s: only ordinary tables can be tracked",
			table, (const char *)sqlite3_column_text(s, 1),
			strcmp((const char *)sqlite3_column_text(s, 1), "view") ? " table" : "");
	if (!rc) {
		struct slice name =
			arena_copy(r->arena, slice_of(sqlite3_column_text(s, 0),
						      (size_t)sqlite3_column_bytes(s, 0) + 1));

		r->without_rowid = sqlite3_column_int(s, 2);
		r->strict = sqlite3_column_int(s, 3);
		if (!name.at)
			rc = no_memory(e, table);
		else
			r->table = (const char *)name.at;
	}
	sqlite3_reset(s);
	return rc;
}

static int put_col(struct reader *r, sqlite3_stmt *s, struct shape_col *c, struct err *e)
{
	const char *type = (const char *)sqlite3_column_text(s, 2);

	c->name = arena_copy(
		r->arena, slice_of(sqlite3_column_text(s, 1), (size_t)sqlite3_column_bytes(s, 1)));
	c->affinity = affinity_of(type ? type : "", r->strict);
	c->collation = COLL_BINARY;
	return c->name.at ? NE_OK : no_memory(e, r->table);
}

static int take_column(struct reader *r, sqlite3_stmt *s, struct err *e)
{
	struct shape *sh = r->shape;
	int cid = sqlite3_column_int(s, 0), pk = sqlite3_column_int(s, 3);

	if (cid >= LIMIT_COLUMNS * 2)
		return err_set(e, NE_LIMIT, "table %s has more than %d columns", r->table,
			       LIMIT_COLUMNS);
	r->n_cid = cid + 1;
	r->cid_to_col[cid] = -1;
	if (sqlite3_column_int(s, 4) > 1) /* generated: every device computes it */
		return NE_OK;
	if (pk > LIMIT_KEY_COLUMNS)
		return err_set(e, NE_LIMIT, "table %s has more than %d columns in its key",
			       r->table, LIMIT_KEY_COLUMNS);
	if (sh->n_col == LIMIT_COLUMNS)
		return err_set(e, NE_LIMIT, "table %s has more than %d columns", r->table,
			       LIMIT_COLUMNS);
	if (pk) {
		r->cid_to_col[cid] = pk - 1;
		sh->n_key = sh->n_key > pk ? sh->n_key : (uint16_t)pk;
		return put_col(r, s, &sh->key[pk - 1], e);
	}
	r->cid_to_col[cid] = LIMIT_KEY_COLUMNS + sh->n_col;
	return put_col(r, s, &sh->col[sh->n_col++], e);
}

static int read_columns(struct reader *r, struct err *e)
{
	struct shape *sh = r->shape;
	sqlite3_stmt *s;
	bool row;
	int rc;

	sh->key = arena_array(r->arena, LIMIT_KEY_COLUMNS, sizeof *sh->key);
	sh->col = arena_array(r->arena, LIMIT_COLUMNS, sizeof *sh->col);
	if (!sh->key || !sh->col)
		return no_memory(e, r->table);
	TRY(bind_name(r,
		      "SELECT cid, name, type, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
		      r->table, &s, e));
	while (!(rc = db_step(r->db, s, &row, e)) && row) {
		rc = take_column(r, s, e);
		if (rc)
			break;
	}
	sqlite3_reset(s);
	TRY(rc);
	if (sh->n_key == 0)
		return err_set(
			e, NE_NOT_FOUND,
			"table %.60s has no declared primary key, so its rows cannot be told "
			"apart on other devices: create a table with a PRIMARY KEY, copy the "
			"rows into it, drop the old table and rename the new one",
			r->table);
	if (sh->n_key + sh->n_col > LIMIT_COLUMNS)
		return err_set(e, NE_LIMIT, "table %s has more than %d columns", r->table,
			       LIMIT_COLUMNS);
	for (int i = 0; i < r->n_cid;
	     i++) { /* key first, then the others, as struct shape counts */
		if (r->cid_to_col[i] >= LIMIT_KEY_COLUMNS)
			r->cid_to_col[i] += sh->n_key - LIMIT_KEY_COLUMNS;
	}
	return NE_OK;
}

/* The collations of the key's index, in key order. */
static int read_key_collations(struct reader *r, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(bind_name(r, "SELECT seqno, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
		      r->key_index, &s, e));
	while (!(rc = db_step(r->db, s, &row, e)) && row) {
		int seq = sqlite3_column_int(s, 0);
		const char *coll = (const char *)sqlite3_column_text(s, 1);

		if (seq < r->shape->n_key && !collation_of(coll, &r->shape->key[seq].collation)) {
			rc = err_set(
				e, NE_USAGE,
				"the key of table %.60s uses collation %.60s, which other "
				"devices do not have: only BINARY, NOCASE and RTRIM can be synced",
				r->table, coll);
			break;
		}
	}
	sqlite3_reset(s);
	return rc;
}

/* Whether an index of the table compares column `name` as the column itself says. */
static bool plain_collation(struct reader *r, const char *name, const char *index_coll)
{
	const char *coll = NULL;

	return name && index_coll &&
	       sqlite3_table_column_metadata(db_handle(r->db), "main", r->table, name, NULL, &coll,
					     NULL, NULL, NULL) == SQLITE_OK &&
	       coll && sqlite3_stricmp(coll, index_coll) == 0;
}

/* The server compares the column of a constraint as we do; a collation only we have is not told. */
static void note_collation(struct shape *s, int col, const char *name)
{
	enum shape_collation coll;

	if (col >= s->n_key && collation_of(name, &coll))
		s->col[col - s->n_key].collation = coll;
}

/* Appends the UNIQUE index `name` if all its parts are plain columns we know. */
static int take_unique(struct reader *r, const char *name, struct err *e)
{
	struct shape_unique u = {.col = arena_array(r->arena, LIMIT_COLUMNS, sizeof *u.col)};
	bool row, plain = true;
	sqlite3_stmt *s;
	int rc;

	if (!u.col)
		return no_memory(e, r->table);
	TRY(bind_name(r,
		      "SELECT cid, name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
		      name, &s, e));
	while (!(rc = db_step(r->db, s, &row, e)) && row) {
		int cid = sqlite3_column_int(s, 0);
		int col = cid >= 0 && cid < r->n_cid ? r->cid_to_col[cid] : -1;

		if (col < 0 || u.n == LIMIT_COLUMNS ||
		    !plain_collation(r, (const char *)sqlite3_column_text(s, 1),
				     (const char *)sqlite3_column_text(s, 2)))
			plain = false;
		else
			u.col[u.n++] = (uint16_t)col;
		if (plain)
			note_collation(r->shape, col, (const char *)sqlite3_column_text(s, 2));
	}
	sqlite3_reset(s);
	if (rc || !plain || u.n == 0)
		return rc;
	if (r->shape->n_unique == LIMIT_UNIQUES)
		return err_set(e, NE_LIMIT, "table %s has more than %d UNIQUE constraints",
			       r->table, LIMIT_UNIQUES);
	r->shape->unique[r->shape->n_unique++] = u;
	return NE_OK;
}

struct index_names {
	size_t n;
	const char *at[LIMIT_UNIQUES * 4];
};

/* The UNIQUE indexes that are whole, and the primary key's. */
static int list_indexes(struct reader *r, struct index_names *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(bind_name(
		r,
		"SELECT name, origin FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial "
		"ORDER BY name",
		r->table, &s, e));
	while (!(rc = db_step(r->db, s, &row, e)) && row) {
		const char *name = (const char *)sqlite3_column_text(s, 0);
		struct slice copy;

		if (strcmp((const char *)sqlite3_column_text(s, 1), "pk") == 0) {
			snprintf(r->key_index, sizeof r->key_index, "%s", name);
			continue;
		}
		copy = arena_copy(r->arena, slice_of(name, strlen(name) + 1));
		if (!copy.at || out->n == sizeof out->at / sizeof *out->at) {
			rc = err_set(e, NE_LIMIT, "table %s has too many UNIQUE indexes", r->table);
			break;
		}
		out->at[out->n++] = (const char *)copy.at;
	}
	sqlite3_reset(s);
	return rc;
}

static int read_indexes(struct reader *r, struct err *e)
{
	struct index_names names = {0};

	r->shape->unique = arena_array(r->arena, LIMIT_UNIQUES, sizeof *r->shape->unique);
	if (!r->shape->unique)
		return no_memory(e, r->table);
	TRY(list_indexes(r, &names, e));
	if (*r->key_index)
		TRY(read_key_collations(r, e));
	for (size_t i = 0; i < names.n; i++)
		TRY(take_unique(r, names.at[i], e));
	return NE_OK;
}

/* NE_USAGE if there is one that capture cannot see through. */
static int check_indexes(struct db *db, const struct shape *s, struct err *e)
{
	struct buf sql = {.max = 1 << 20};
	int rc = capture_index_triggers_sql(db, s, "neap_m0", &sql, e);

	buf_free(&sql);
	return rc;
}

int track_read_shape(struct db *db, const char *table, const struct track_options *o,
		     struct arena *a, struct shape *out, struct err *e)
{
	struct shape s = {.kind = o->append ? SHAPE_APPEND : SHAPE_MERGE,
			  .direction = o->append ? DIR_UP : o->direction,
			  .uncompressed = o->uncompressed};
	struct reader r = {.db = db, .arena = a, .shape = &s};

	TRY(find_table(&r, table, e));
	TRY(read_columns(&r, e));
	TRY(read_indexes(&r, e));
	s.name = slice_str(r.table);
	s.key_is_number = o->append && s.n_key == 1 && !r.without_rowid && !*r.key_index;
	TRY(shape_check(&s, e));
	TRY(check_indexes(db, &s, e));
	*out = s;
	return NE_OK;
}
