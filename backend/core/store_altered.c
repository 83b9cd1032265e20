/*
 * What an operator's DDL did to the tables of the catalogue: capture triggers that are gone are
 * made again; a table that no longer takes its rows is set apart until it does.
 */
#include <stdio.h>
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 2 * 1024 * 1024, TRIGGERS_BYTES = 16 * 1024 * 1024 };

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

/* Triggers with names as ours, by table id: found in one pass over the whole schema. */
struct triggers {
	struct trigger {
		int64_t table, rowid; /* in sqlite_master */
	} * at;
	size_t n;
	size_t next; /* the first that is of no table looked at so far */
};

/* What of them is on one table. */
struct installed {
	size_t captures, bytes; /* those as they should be, and their text */
	size_t guards;
};

static int find_triggers(struct store *s, struct triggers *all, struct arena *a, struct err *e)
{
	sqlite3_stmt *st;
	bool row;
	int64_t n;

	TRY(db_int(s->db, "SELECT count(*) FROM sqlite_master WHERE name GLOB 'neap_m[0-9]*_*'", 0,
		   &n, e));
	all->at = arena_array(a, (size_t)n + 1, sizeof *all->at);
	if (!all->at)
		return err_set(e, NE_MEMORY, "no memory for the triggers of the store");
	TRY(db_prepare(s->db,
		       "SELECT CAST(substr(name, 7) AS INTEGER) AS id, rowid FROM sqlite_master"
		       " WHERE type = 'trigger' AND name GLOB 'neap_m[0-9]*_*' ORDER BY id",
		       &st, e));
	for (;;) {
		TRY(db_step(s->db, st, &row, e));
		if (!row || all->n == (size_t)n)
			break;
		all->at[all->n++] = (struct trigger){.table = sqlite3_column_int64(st, 0),
						     .rowid = sqlite3_column_int64(st, 1)};
	}
	sqlite3_reset(st);
	return 0;
}

static void count_trigger(const struct store_table *t, sqlite3_stmt *st, const char *want,
			  struct installed *out)
{
	const char *name = (const char *)sqlite3_column_text(st, 0);
	const char *on = (const char *)sqlite3_column_text(st, 1);
	const char *sql = (const char *)sqlite3_column_text(st, 2);
	char own[32];
	size_t len = (size_t)snprintf(own, sizeof own, "neap_m%lld_", (long long)t->id);

	if (!name || !on || !sql || sqlite3_stricmp(on, t->name) || strncmp(name, own, len) != 0)
		return;
	if (!strncmp(name + len, "from_", 5)) {
		out->guards++;
	} else if (strlen(name + len) == strlen("ins") && strstr(want, sql)) {
		out->captures++;
		out->bytes += strlen(sql);
	}
}

/* Tables are asked for in the order of their ids. `want`: the text of all captures. */
static int count_triggers(struct store *s, const struct store_table *t, struct triggers *all,
			  const char *want, struct installed *out, struct err *e)
{
	*out = (struct installed){0};
	for (; all->next < all->n && all->at[all->next].table <= t->id; all->next++) {
		sqlite3_stmt *st;
		bool row;
		if (all->at[all->next].table < t->id)
			continue;
		TRY(db_prepare(s->db,
			       "SELECT name, tbl_name, sql FROM sqlite_master WHERE rowid = ?1",
			       &st, e));
		TRY(bind_int(s, st, 1, (uint64_t)all->at[all->next].rowid, e));
		TRY(db_step(s->db, st, &row, e));
		if (row)
			count_trigger(t, st, want, out);
		sqlite3_reset(st);
	}
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

static int capture_again(struct store *s, const struct store_table *t, struct buf *sql,
			 struct err *e)
{
	buf_clear(sql);
	int rc = table_sql_uncapture(t, sql, e);
	if (!rc)
		rc = table_sql_capture(t, false, sql, e);
	return run(s, t, rc, sql, e);
}

static int guard_again(struct store *s, const struct store_table *t, struct buf *sql, struct err *e)
{
	buf_clear(sql);
	return run(s, t, table_sql_guard(t, true, sql), sql, e);
}

static int repair_table(struct store *s, const struct store_table *t, struct triggers *all,
			struct buf *sql, bool *made, struct err *e)
{
	struct installed is;

	buf_clear(sql);
	int rc = table_sql_capture(t, false, sql, e);
	size_t len = sql->len;
	if (!rc)
		rc = buf_terminate(sql);
	if (rc)
		return err_set(e, rc, "no memory for the triggers of table %s", t->name);
	TRY(count_triggers(s, t, all, (const char *)sql->at, &is, e));
	if (is.bytes + is.captures * strlen(";\n") != len) {
		*made = true;
		TRY(capture_again(s, t, sql, e));
		TRY(recount_due(s, t, e)); /* nobody counted meanwhile */
	}
	if (t->from == FROM_DEVICES && is.guards != 3) {
		*made = true;
		TRY(guard_again(s, t, sql, e));
	}
	return 0;
}

static int repair(struct store *s, struct triggers *all, size_t *repaired, struct buf *sql,
		  struct err *e)
{
	for (size_t i = 0; i < s->cat.n_table; i++) {
		bool made = false;
		if (!s->cat.table[i]->missing)
			TRY(repair_table(s, s->cat.table[i], all, sql, &made, e));
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
	struct arena a = {.max = TRIGGERS_BYTES};
	struct triggers all = {.n = 0};
	int64_t version;

	*repaired = *returned = 0;
	TRY(db_int(s->db, "PRAGMA schema_version", 0, &version, e));
	if (version == s->schema_version)
		return 0;
	TRY(catalogue_load(s, e)); /* also frees the texts of last time */
	TRY(catalogue_find_missing(s, e));
	int rc = find_triggers(s, &all, &a, e);
	if (!rc)
		rc = repair(s, &all, repaired, &sql, e);
	arena_free(&a);
	buf_free(&sql);
	TRY(rc);
	TRY(withhold(s, returned, e));
	return db_int(s->db, "PRAGMA schema_version", 0, &s->schema_version, e);
}
