/*
 * What an operator's DDL did to the tables of the catalogue: capture triggers that are gone are
 * made again; a table that no longer takes its rows is set apart until it does.
 */
#include <stdio.h>
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 2 * 1024 * 1024 };

/*
 * SQLite itself says what is missing: the statement that writes a row names the table, every
 * column and the key's UNIQUE.
 */
static int find_missing(struct store *s, struct store_table *t, struct arena *a, struct buf *sql,
			struct err *e)
{
	sqlite3 *db = db_handle(s->db);
	sqlite3_stmt *st = NULL;

	t->missing = NULL;
	buf_clear(sql);
	int rc = table_sql(t, t->shape.kind == SHAPE_APPEND ? TQ_APPEND : TQ_ROW_PUT, sql);
	if (!rc)
		rc = buf_terminate(sql);
	if (rc)
		return err_set(e, rc, "no memory to look at table %s", t->name);
	rc = sqlite3_prepare_v2(db, (const char *)sql->at, -1, &st, NULL);
	sqlite3_finalize(st);
	if (rc != SQLITE_ERROR)
		return rc ? db_error(s->db, e, "looking at a table") : 0;
	const char *why = sqlite3_errmsg(db);
	struct slice text = arena_copy(a, slice_of(why, strlen(why) + 1));
	if (!text.at)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	t->missing = (const char *)text.at;
	return 0;
}

int catalogue_find_missing(struct store *s, struct err *e)
{
	struct catalogue *c = &s->cat;
	struct buf sql = {.max = SQL_BYTES};
	int rc = 0;

	for (size_t i = 0; !rc && i < c->n_table; i++)
		rc = find_missing(s, c->table[i], &c->arena, &sql, e);
	buf_free(&sql);
	return rc;
}

/* How many of the triggers on `t` named `like` are as `want` has them; NULL: all. */
static int count_triggers(struct store *s, const struct store_table *t, const char *like,
			  const char *want, size_t *n, size_t *bytes, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	*n = *bytes = 0;
	TRY(db_prepare(s->db,
		       "SELECT sql FROM sqlite_master WHERE type = 'trigger'"
		       " AND tbl_name = ?1 COLLATE NOCASE AND name GLOB ?2",
		       &st, e));
	TRY(bind_text(s, st, 1, t->name, e));
	TRY(bind_text(s, st, 2, like, e));
	for (;;) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		const char *text = (const char *)sqlite3_column_text(st, 0);
		if (want && (!text || !strstr(want, text)))
			continue;
		(*n)++;
		*bytes += (size_t)sqlite3_column_bytes(st, 0);
	}
	sqlite3_reset(st);
	return 0;
}

static int run(struct store *s, const struct store_table *t, int rc, struct buf *sql, struct err *e)
{
	if (!rc)
		rc = buf_terminate(sql);
	if (rc)
		return err_set(e, rc, "no memory for the triggers of table %s", t->name);
	return db_exec(s->db, (const char *)sql->at, e);
}

static int capture(struct store *s, const struct store_table *t, struct buf *sql, bool *made,
		   struct err *e)
{
	char like[48];
	size_t n, bytes;

	buf_clear(sql);
	int rc = table_sql_capture(t, false, sql, e);
	size_t len = sql->len;
	if (!rc)
		rc = buf_terminate(sql);
	if (rc)
		return err_set(e, rc, "no memory for the triggers of table %s", t->name);
	snprintf(like, sizeof like, "neap_m%lld_[a-z][a-z][a-z]", (long long)t->id);
	TRY(count_triggers(s, t, like, (const char *)sql->at, &n, &bytes, e));
	if (bytes + n * strlen(";\n") == len)
		return 0;
	*made = true;
	buf_clear(sql);
	rc = table_sql_uncapture(t, sql, e);
	if (!rc)
		rc = table_sql_capture(t, false, sql, e);
	return run(s, t, rc, sql, e);
}

static int guard(struct store *s, const struct store_table *t, struct buf *sql, bool *made,
		 struct err *e)
{
	char like[48];
	size_t n, bytes;

	snprintf(like, sizeof like, "neap_m%lld_from_*", (long long)t->id);
	TRY(count_triggers(s, t, like, NULL, &n, &bytes, e));
	if (n == 3)
		return 0;
	*made = true;
	buf_clear(sql);
	return run(s, t, table_sql_guard(t, true, sql), sql, e);
}

static int repair(struct store *s, size_t *repaired, struct buf *sql, struct err *e)
{
	for (size_t i = 0; i < s->cat.n_table; i++) {
		const struct store_table *t = s->cat.table[i];
		bool made = false;
		if (t->missing)
			continue;
		if (t->shape.kind == SHAPE_MERGE)
			TRY(capture(s, t, sql, &made, e));
		if (t->from == FROM_DEVICES)
			TRY(guard(s, t, sql, &made, e));
		*repaired += made;
	}
	return 0;
}

static int next_user(struct store *s, const struct store_table *t, int64_t after, struct id *name,
		     bool *found, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT u.name FROM neap_user u JOIN neap_user_table x ON x.uid = u.uid"
		       " WHERE x.tab = ?1 AND u.uid > ?2 ORDER BY u.uid LIMIT 1",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)t->id, e));
	TRY(bind_int(s, st, 2, (uint64_t)after, e));
	TRY(db_step(s->db, st, found, e));
	if (*found)
		*name = column_id(st, 0);
	sqlite3_reset(st);
	return 0;
}

/* Pages went past the table's rows while they could not be read: they come again. */
static int send_again(struct store *s, const struct store_table *t, struct err *e)
{
	struct store_user u = {.uid = 0};
	struct id name;
	bool found;

	for (;;) {
		TRY(next_user(s, t, u.uid, &name, &found, e));
		if (!found)
			return 0;
		TRY(store_user_get(s, name.at, &u, &found, e));
		TRY(store_user_advance(s, &u, e));
		TRY(db_execf(s->db, e, "UPDATE neap_r%lld SET seq = %lld WHERE uid = %lld",
			     (long long)t->id, (long long)u.head, (long long)u.uid));
	}
}

/* Which tables' rows are withheld is durable: what was lost before a start may be back after it. */
static int withhold(struct store *s, size_t *returned, struct err *e)
{
	for (size_t i = 0; i < s->cat.n_table; i++) {
		const struct store_table *t = s->cat.table[i];
		char key[40];
		int64_t withheld;
		snprintf(key, sizeof key, "withheld:%lld", (long long)t->id);
		TRY(meta_get(s, key, 0, &withheld, e));
		if ((withheld != 0) == (t->missing != NULL))
			continue;
		TRY(meta_set(s, key, t->missing != NULL, e));
		if (t->missing)
			continue;
		(*returned)++;
		if (t->shape.kind == SHAPE_MERGE)
			TRY(send_again(s, t, e));
	}
	return 0;
}

int store_altered(struct store *s, size_t *repaired, size_t *returned, struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};
	int64_t version;

	*repaired = *returned = 0;
	TRY(db_int(s->db, "PRAGMA schema_version", 0, &version, e));
	if (version == s->schema_version)
		return 0;
	TRY(catalogue_load(s, e)); /* also frees the texts of last time */
	TRY(catalogue_find_missing(s, e));
	int rc = repair(s, repaired, &sql, e);
	buf_free(&sql);
	TRY(rc);
	TRY(withhold(s, returned, e));
	return db_int(s->db, "PRAGMA schema_version", 0, &s->schema_version, e);
}
