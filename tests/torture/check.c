/* What must hold after a sync: one content everywhere, and nothing left of capture. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tests/torture/torture.h"

enum { CONTENT_MAX = 64 << 20, SQL_MAX = 1 << 16 };

static void put_bytes(struct buf *out, const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] >= ' ' && at[i] < 127 && at[i] != '\\')
			put(out, "%c", at[i]);
		else
			put(out, "\\%02x", at[i]);
}

static void put_row(struct buf *out, sqlite3_stmt *s)
{
	for (int i = 0; i < sqlite3_column_count(s); i++) {
		switch (sqlite3_column_type(s, i)) {
		case SQLITE_NULL:
			put(out, "NULL ");
			break;
		case SQLITE_INTEGER:
			put(out, "%lld ", (long long)sqlite3_column_int64(s, i));
			break;
		case SQLITE_FLOAT:
			/* 0.0 over -0.0 is no change to SQL. */
			put(out, "%a ", sqlite3_column_double(s, i) + 0.0);
			break;
		case SQLITE_TEXT:
			put(out, "'");
			put_bytes(out, sqlite3_column_text(s, i),
				  (size_t)sqlite3_column_bytes(s, i));
			put(out, "' ");
			break;
		default:
			put(out, "x'");
			const uint8_t *at = sqlite3_column_blob(s, i);
			put_bytes(out, at, (size_t)sqlite3_column_bytes(s, i));
			put(out, "' ");
		}
	}
	put(out, "\n");
}

void put_rows(struct world *w, sqlite3 *db, const char *sql, struct buf *out)
{
	sqlite3_stmt *s = NULL;
	int rc;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) {
		torture_fail(w, "%.300s: %s", sql, sqlite3_errmsg(db));
		return;
	}
	while ((rc = sqlite3_step(s)) == SQLITE_ROW)
		put_row(out, s);
	if (rc != SQLITE_DONE)
		torture_fail(w, "%.300s: %s", sql, sqlite3_errmsg(db));
	sqlite3_finalize(s);
}

void fail_difference(struct world *w, const char *what, const char *who, struct buf *a,
		     const char *other, struct buf *b)
{
	const char *x = text_of(a), *y = text_of(b);
	size_t i = 0, line = 0;
	int nx, ny;

	for (; i < a->len && i < b->len && x[i] == y[i]; i++)
		if (x[i] == '\n')
			line = i + 1;
	nx = (int)strcspn(x + line, "\n");
	ny = (int)strcspn(y + line, "\n");
	torture_fail(w, "table %s differs, first here:\n  %s: %.*s\n  %s: %.*s", what, who,
		     nx > 600 ? 600 : nx, x + line, other, ny > 600 ? 600 : ny, y + line);
}

/* Names that the server keeps for itself have app_ before them there (docs/protocol.md). */
static void put_server_name(struct buf *b, const char *name)
{
	static const char *const kept[] = {"user_id", "device_id", "rowid", "oid", "_rowid_"};
	char text[40];
	const char *prefix = "";

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (strcasecmp(kept[i], name) == 0)
			prefix = "app_";
	snprintf(text, sizeof text, "%s%s", prefix, name);
	put_name(b, text);
}

static bool has_column(sqlite3 *db, const char *table, const char *column)
{
	return sqlite3_table_column_metadata(db, "main", table, column, NULL, NULL, NULL, NULL,
					     NULL) == SQLITE_OK;
}

/*
 * What two databases have of the columns of now. Rows with NULL in the key are not synced;
 * generated columns are each device's own. A device whose app has not migrated yet has the columns
 * of then.
 */
static void put_select(struct buf *sql, const struct table *t, sqlite3 *other, bool both_ends,
		       bool server)
{
	void (*name)(struct buf *, const char *) = server ? put_server_name : put_name;
	bool first = true;

	buf_clear(sql);
	put(sql, "SELECT ");
	for (unsigned i = 0; i < t->n_col; i++) {
		if (t->col[i].generated || (both_ends && t->col[i].late))
			continue;
		if (!both_ends && !has_column(other, t->name, t->col[i].name))
			continue;
		put(sql, "%s", first ? "" : ", ");
		name(sql, t->col[i].name);
		first = false;
	}
	put(sql, " FROM ");
	put_name(sql, t->name);
	for (unsigned i = 0; i < t->n_key; i++) {
		put(sql, i ? " AND " : " WHERE ");
		name(sql, t->col[i].name);
		put(sql, " IS NOT NULL");
	}
	put(sql, server ? " AND user_id = 'u' ORDER BY " : " ORDER BY ");
	for (unsigned i = 0; i < t->n_key; i++) {
		put(sql, i ? ", " : "");
		name(sql, t->col[i].name);
		put(sql, " COLLATE BINARY");
	}
}

static sqlite3 *open_read(struct world *w, const char *path)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(path, &db) != SQLITE_OK)
		torture_fail(w, "%s: %s", path, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 1000);
	return db;
}

static void check_merge_table(struct world *w, const struct table *t, sqlite3 *const *db)
{
	struct buf sql = {.max = SQL_MAX}, a = {.max = CONTENT_MAX}, b = {.max = CONTENT_MAX};

	for (unsigned i = 0; i <= DEVICES && !w->failed; i++) {
		bool server = i == DEVICES;

		if (i == w->writer || !db[i] || (!server && w->device[i].schema_at < t->renamed_at))
			continue;
		put_select(&sql, t, db[i], server, false);
		buf_clear(&a);
		put_rows(w, db[w->writer], text_of(&sql), &a);
		put_select(&sql, t, db[i], server, server);
		buf_clear(&b);
		put_rows(w, db[i], text_of(&sql), &b);
		if (!w->failed && !slice_eq(buf_slice(&a), buf_slice(&b)))
			fail_difference(w, t->name, "the writer", &a,
					server ? "the server" : w->device[i].name, &b);
	}
	buf_free(&sql);
	buf_free(&a);
	buf_free(&b);
}

static int64_t one_int(struct world *w, sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;
	int64_t n = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		torture_fail(w, "%s: %s", sql, sqlite3_errmsg(db));
	else if (sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return n;
}

/* The tokens of a device's rows into a table of the store's connection. */
static void copy_tokens(struct world *w, sqlite3 *from, sqlite3 *to)
{
	sqlite3_stmt *get = NULL, *set = NULL;

	if (sqlite3_exec(to, "CREATE TEMP TABLE IF NOT EXISTS here(token); DELETE FROM temp.here",
			 NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(from, "SELECT token FROM log WHERE id IS NOT NULL", -1, &get,
			       NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(to, "INSERT INTO temp.here VALUES(?1)", -1, &set, NULL) != SQLITE_OK)
		torture_fail(w, "copying tokens: %s, %s", sqlite3_errmsg(from), sqlite3_errmsg(to));
	while (!w->failed && sqlite3_step(get) == SQLITE_ROW) {
		sqlite3_bind_int64(set, 1, sqlite3_column_int64(get, 0));
		if (sqlite3_step(set) != SQLITE_DONE)
			torture_fail(w, "copying tokens: %s", sqlite3_errmsg(to));
		sqlite3_reset(set);
	}
	sqlite3_finalize(get);
	sqlite3_finalize(set);
}

/* What the device has, the server has once and with the same values; nothing came twice. */
static void check_append_table(struct world *w, const struct table *t, unsigned device,
			       sqlite3 *const *db)
{
	const char *of = w->append_touched ? "token" : "token, v";
	struct buf sql = {.max = SQL_MAX}, a = {.max = CONTENT_MAX}, b = {.max = CONTENT_MAX};

	copy_tokens(w, db[device], db[DEVICES]);
	put(&sql, "SELECT %s FROM log WHERE id IS NOT NULL ORDER BY token", of);
	put_rows(w, db[device], text_of(&sql), &a);
	buf_clear(&sql);
	put(&sql,
	    "SELECT DISTINCT %s FROM log WHERE token IN (SELECT token FROM temp.here) ORDER BY "
	    "token",
	    of);
	put_rows(w, db[DEVICES], text_of(&sql), &b);
	if (!w->failed && !slice_eq(buf_slice(&a), buf_slice(&b)))
		fail_difference(w, t->name, w->device[device].name, &a, "the server", &b);
	/* A key is a row's identity: under another one it is another row. */
	if (!w->failed && !w->append_rekeyed &&
	    one_int(w, db[DEVICES],
		    "SELECT count(*) FROM (SELECT 1 FROM log GROUP BY token HAVING "
		    "count(*) > 1)"))
		torture_fail(w, "%s: rows came to the server twice", t->name);
	buf_free(&sql);
	buf_free(&a);
	buf_free(&b);
}

/* Marks, sets and lists are empty; the number table of telemetry keeps what identity needs. */
static void check_leftovers(struct world *w, unsigned device, sqlite3 *db)
{
	sqlite3_stmt *s = NULL;
	char sql[300];

	if (sqlite3_prepare_v2(db,
			       "SELECT name FROM sqlite_schema WHERE type = 'table' AND (name GLOB "
			       "'neap_m[0-9]*' OR name IN ('neap_inflight', 'neap_parked', "
			       "'neap_rejected', 'neap_seen', 'neap_conflict', "
			       "'neap_catchup'))",
			       -1, &s, NULL) != SQLITE_OK) {
		torture_fail(w, "%s", sqlite3_errmsg(db));
		return;
	}
	while (!w->failed && sqlite3_step(s) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(s, 0);
		int64_t n;

		/*
		 * A table that was rebuilt may have been written unseen: what it lacks of newer
		 * rows of others is kept, as it may have been the app's wish.
		 */
		if (w->device[device].followed && strcmp(name, "neap_conflict") == 0)
			continue;
		snprintf(sql, sizeof sql,
			 "SELECT count(*) FROM pragma_table_info('%s') WHERE "
			 "name = 'col'",
			 name);
		bool numbers = strncmp(name, "neap_m", 6) == 0 && one_int(w, db, sql) == 0;
		snprintf(sql, sizeof sql, "SELECT count(*) FROM \"%s\"%s", name,
			 numbers ? " WHERE n > 0" : "");
		n = one_int(w, db, sql);
		if (n && !w->failed)
			torture_fail(w, "%s: %lld rows are left in %s after a sync",
				     w->device[device].name, (long long)n, name);
	}
	sqlite3_finalize(s);
}

static void check_status(struct world *w, struct device *d)
{
	struct engine_status s;
	struct err e = {0};

	if (engine_status(d->en, &s, &e))
		torture_fail(w, "%s: status: %s", d->name, e.text);
	else if (s.pending_rows || s.parked_rows || s.rejected_rows || s.problem || s.bad_frames)
		torture_fail(w,
			     "%s after a sync: %lld pending, %lld parked, %lld rejected, "
			     "%llu bad frames: %s",
			     d->name, (long long)s.pending_rows, (long long)s.parked_rows,
			     (long long)s.rejected_rows, (unsigned long long)s.bad_frames,
			     s.reason);
}

void check_synced(struct world *w)
{
	sqlite3 *db[DEVICES + 1] = {0};

	/* A constraint that only an old device has keeps rows parked there, as it must. */
	for (unsigned i = 0; i < DEVICES; i++)
		if (w->device[i].joined && w->device[i].schema_at >= w->relaxed_at)
			db[i] = open_read(w, w->device[i].path);
	db[DEVICES] = open_read(w, w->store_path);
	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		if (w->table[i].untracked)
			continue;
		if (!w->table[i].append)
			check_merge_table(w, &w->table[i], db);
		for (unsigned k = 0; w->table[i].append && k < DEVICES && !w->failed; k++)
			if (db[k])
				check_append_table(w, &w->table[i], k, db);
	}
	for (unsigned i = 0; i < DEVICES && !w->failed; i++) {
		if (!db[i])
			continue;
		check_leftovers(w, i, db[i]);
		check_status(w, &w->device[i]);
	}
	for (unsigned i = 0; i <= DEVICES; i++)
		sqlite3_close(db[i]);
}
