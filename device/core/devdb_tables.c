#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/capture.h"
#include "device/core/track.h"

enum { SQL_MAX_BYTES = 2 << 20, SHAPE_MAX_BYTES = 1 << 20 };

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool name_eq(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		if (lower(a.at[i]) != lower(b.at[i]))
			return false;
	}
	return true;
}

struct tracked *devdb_table_by_name(struct devdb *d, struct slice name)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (name_eq(d->table[i].shape.name, name))
			return &d->table[i];
	}
	return NULL;
}

struct tracked *devdb_table_by_shape(struct devdb *d, struct shape_id id)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (shape_id_eq(d->table[i].shape.id, id))
			return &d->table[i];
	}
	return NULL;
}

static void broken(struct tracked *t, const char *reason)
{
	t->capture_ok = false;
	snprintf(t->reason, sizeof t->reason, "%s", reason);
}

/* True if the triggers installed on the table are those of `s`. */
static int installed_as(struct devdb *d, const struct tracked *t, const struct shape *s, bool *same,
			struct err *e)
{
	struct buf want = {.max = SQL_MAX_BYTES}, have = {.max = SQL_MAX_BYTES};
	int rc = capture_triggers_sql(s, t->id, t->marks, &want, e);

	if (!rc)
		rc = capture_installed_sql(d->db, t->marks, s->name, &have, e);
	if (!rc)
		*same = slice_eq(buf_slice(&want), buf_slice(&have));
	buf_free(&want);
	buf_free(&have);
	return rc;
}

/* Outside the key a collation only says how a UNIQUE constraint compares. */
static bool cols_eq(const struct shape_col *a, const struct shape_col *b, size_t n, bool key)
{
	for (size_t i = 0; i < n; i++) {
		if (!slice_eq(a[i].name, b[i].name) || a[i].affinity != b[i].affinity ||
		    (key && a[i].collation != b[i].collation))
			return false;
	}
	return true;
}

/* The key is the same and the columns of `old` are the first ones of `now`. */
static bool extends(const struct shape *now, const struct shape *old)
{
	return now->n_key == old->n_key && cols_eq(now->key, old->key, now->n_key, true) &&
	       now->n_col >= old->n_col && cols_eq(now->col, old->col, old->n_col, false);
}

/* The same key and number of columns: what the marks say still holds, also of a renamed column. */
static bool same_places(const struct shape *now, const struct shape *old)
{
	return now->n_key == old->n_key && now->n_col == old->n_col;
}

static int write_shape(struct devdb *d, int64_t id, const struct shape *now, struct slice bytes,
		       struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(db_prepare(d->db, "UPDATE neap_table SET shape = ?2, name = ?3 WHERE id = ?1", &s, e));
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_blob(s, 2, bytes.at, (int)bytes.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 3, (const char *)now->name.at, (int)now->name.len, SQLITE_STATIC);
	rc = db_run(d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc;
}

/* Takes `now` as the table's shape, here and in neap_table, if it is another one. */
static int store_shape(struct devdb *d, struct tracked *t, struct shape *now, struct err *e)
{
	struct buf bytes = {.max = SHAPE_MAX_BYTES};
	int rc = shape_encode(now, &bytes, e);

	if (!rc && !slice_eq(buf_slice(&bytes), t->encoded_shape)) {
		rc = write_shape(d, t->id, now, buf_slice(&bytes), e);
		if (!rc) {
			t->shape = *now;
			t->encoded_shape = arena_copy(&d->schema, buf_slice(&bytes));
			if (!t->encoded_shape.at)
				rc = err_set(e, NE_MEMORY, "no memory for the shapes of tables");
		}
	}
	buf_free(&bytes);
	return rc;
}

/* The DEFAULT of a column as SQL; NULL where there is none. */
static int default_of(struct devdb *d, struct slice table, struct slice col, struct buf *out,
		      struct err *e)
{
	const char *text = NULL;
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(db_prepare(
		d->db,
		"SELECT dflt_value FROM pragma_table_xinfo(?1) WHERE name = ?2 COLLATE NOCASE", &s,
		e));
	sqlite3_bind_text(s, 1, (const char *)table.at, (int)table.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, (const char *)col.at, (int)col.len, SQLITE_STATIC);
	rc = db_step(d->db, s, &row, e);
	if (!rc && row)
		text = (const char *)sqlite3_column_text(s, 0);
	if (!rc)
		rc = buf_printf(out, "%s", text ? text : "NULL");
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

static int put_mark_added(const struct tracked *t, const struct shape *now, uint16_t col,
			  struct slice dflt, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO \"%s\" SELECT ", t->marks));
	for (uint16_t i = 0; i < now->n_key; i++) {
		TRY(sql_put_name(out, now->key[i].name));
		TRY(buf_printf(out, ", "));
	}
	TRY(buf_printf(out, "%u, %s, (SELECT gen FROM neap_clock), NULL FROM main.", (unsigned)col,
		       capture_clock_sql));
	TRY(sql_put_name(out, now->name));
	TRY(buf_printf(out, " WHERE "));
	for (uint16_t i = 0; i < now->n_key; i++) {
		TRY(sql_put_name(out, now->key[i].name));
		TRY(buf_printf(out, " IS NOT NULL AND "));
	}
	TRY(sql_put_name(out, now->col[col].name));
	return buf_printf(out, " IS NOT (%.*s) COLLATE BINARY", (int)dflt.len,
			  (const char *)dflt.at);
}

/*
 * Marks what was written to a column between its ADD COLUMN and now, when no trigger knew it:
 * every value that is not the default.
 */
static int mark_added(struct devdb *d, const struct tracked *t, const struct shape *now,
		      uint16_t col, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES}, dflt = {.max = 65536};
	int rc = default_of(d, now->name, now->col[col].name, &dflt, e);

	if (!rc)
		rc = put_mark_added(t, now, col, buf_slice(&dflt), &sql);
	if (!rc)
		rc = capture_exec(d->db, &sql, e);
	buf_free(&sql);
	buf_free(&dflt);
	return rc;
}

static int take_added(struct devdb *d, struct tracked *t, struct shape *now, struct err *e)
{
	uint16_t first = t->shape.n_col;

	TRY(capture_install(d->db, now, t->id, t->marks, e));
	for (uint16_t i = first; i < now->n_col && now->kind == SHAPE_MERGE; i++)
		TRY(mark_added(d, t, now, i, e));
	return store_shape(d, t, now, e);
}

/* Compares the table and its triggers with what was stored when it was tracked. */
static int check(struct devdb *d, struct tracked *t, struct err *e)
{
	struct track_options o = {.append = t->shape.kind == SHAPE_APPEND,
				  .direction = t->shape.direction};
	struct shape now;
	struct err why;
	char name[LIMIT_NAME + 1];
	bool as_now, as_then;
	int rc;

	snprintf(name, sizeof name, "%.*s", (int)t->shape.name.len, (const char *)t->shape.name.at);
	rc = track_read_shape(d->db, name, &o, &d->schema, &now, &why);
	if (rc == NE_NOT_FOUND || rc == NE_LIMIT || rc == NE_USAGE || rc == NE_MALFORMED) {
		broken(t, "the table is gone, or is not what Neap can sync any more");
		return NE_OK;
	}
	if (rc)
		return err_set(e, rc, "%s", why.text);
	TRY(installed_as(d, t, &now, &as_now, e));
	if (as_now && same_places(&now, &t->shape)) {
		t->capture_ok = true;
		return store_shape(d, t, &now, e);
	}
	TRY(installed_as(d, t, &t->shape, &as_then, e));
	if (as_then && extends(&now, &t->shape)) {
		TRY(take_added(d, t, &now, e));
		t->capture_ok = true;
		return NE_OK;
	}
	broken(t, "its triggers are missing or changed");
	return NE_OK;
}

static int load_one(struct devdb *d, sqlite3_stmt *s, struct err *e)
{
	struct tracked *t = &d->table[d->n_table];
	struct slice bytes =
		slice_of(sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1));

	*t = (struct tracked){.id = sqlite3_column_int64(s, 0),
			      .priority = sqlite3_column_int(s, 2),
			      .policy = {.keep_ms = sqlite3_column_int64(s, 3),
					 .keep_rows = sqlite3_column_int64(s, 4),
					 .keep_bytes = sqlite3_column_int64(s, 5),
					 .pending_rows = sqlite3_column_int64(s, 6),
					 .pending_bytes = sqlite3_column_int64(s, 7),
					 .drop_oldest = sqlite3_column_int(s, 8)}};
	snprintf(t->marks, sizeof t->marks, "neap_m%" PRId64, t->id);
	t->encoded_shape = arena_copy(&d->schema, bytes);
	if (!t->encoded_shape.at)
		return err_set(e, NE_MEMORY, "no memory for the shapes of tables");
	if (shape_decode(t->encoded_shape, &d->schema, &t->shape, e))
		return err_wrap(e, "neap_table, entry %" PRId64, t->id);
	d->n_table++;
	return NE_OK;
}

static int load_all(struct devdb *d, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(db_prepare(
		d->db,
		"SELECT t.id, shape, priority, keep_ms, keep_rows, keep_bytes, pending_rows, "
		"pending_bytes, drop_oldest FROM neap_table AS t LEFT JOIN neap_policy AS p "
		"ON p.id = t.id ORDER BY t.id",
		&s, e));
	while (!(rc = db_step(d->db, s, &row, e)) && row) {
		if (d->n_table == LIMIT_TABLES) {
			rc = err_set(e, NE_LIMIT, "more than %d tables are tracked", LIMIT_TABLES);
			break;
		}
		rc = load_one(d, s, e);
		if (rc)
			break;
	}
	sqlite3_reset(s);
	return rc;
}

static int reload(struct devdb *d, struct err *e)
{
	TRY(load_all(d, e));
	for (size_t i = 0; i < d->n_table; i++)
		TRY(check(d, &d->table[i], e));
	return db_int(d->db, "PRAGMA main.schema_version", 0, &d->schema_version, e);
}

int devdb_reload(struct devdb *d, struct err *e)
{
	bool own = sqlite3_get_autocommit(db_handle(d->db));
	int rc;

	if (!d->table)
		d->table = calloc(LIMIT_TABLES, sizeof *d->table);
	if (!d->table)
		return err_set(e, NE_MEMORY, "no memory for the tracked tables");
	if (own)
		TRY(devdb_begin(d, e));
	d->n_table = 0;
	arena_free(&d->schema);
	db_forget(d->db);
	rc = reload(d, e);
	if (!rc && own)
		rc = devdb_commit(d, e);
	if (rc) {
		d->n_table = 0;
		if (own)
			devdb_rollback(d);
	}
	return rc;
}
