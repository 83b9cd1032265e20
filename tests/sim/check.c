#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"
#include "tests/sim/check_internal.h"

enum { TEXT_MAX = 8 << 20, SQL_MAX = 500 };

void check_put_row(struct buf *out, sqlite3_stmt *s)
{
	for (int i = 0; i < sqlite3_column_count(s); i++) {
		int type = sqlite3_column_type(s, i), rc = 0;
		double r = sqlite3_column_double(s, i);
		switch (type) {
		case SQLITE_NULL:
			rc = buf_printf(out, "null ");
			break;
		case SQLITE_INTEGER:
			rc = buf_printf(out, "%lld ", (long long)sqlite3_column_int64(s, i));
			break;
		case SQLITE_FLOAT:
			/* 0.0 and -0.0 are equal to SQL: an update from one to the other is none.
			 */
			rc = buf_printf(out, "%a ", r == 0 ? 0.0 : r);
			break;
		default: {
			const uint8_t *at = sqlite3_column_blob(s, i);
			int n = sqlite3_column_bytes(s, i);
			rc = buf_printf(out, type == SQLITE_TEXT ? "'" : "x'");
			for (int k = 0; k < n && !rc; k++)
				rc = at[k] >= ' ' && at[k] < 127 ? buf_put_u8(out, at[k])
								 : buf_printf(out, "\\%02x", at[k]);
			if (!rc)
				rc = buf_printf(out, "' ");
		}
		}
		if (rc)
			abort();
	}
	if (buf_put_u8(out, '\n'))
		abort();
}

/* Appends every row of a query; false if it cannot be prepared. */
static bool put_rows(sqlite3 *db, const char *sql, const char *user, struct buf *out)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return false;
	if (sqlite3_bind_parameter_count(s) > 0)
		sqlite3_bind_text(s, 1, user, -1, SQLITE_STATIC);
	while (sqlite3_step(s) == SQLITE_ROW)
		check_put_row(out, s);
	sqlite3_finalize(s);
	return true;
}

static void select_sql(char *sql, const struct sim_table *t, bool server, const char *added)
{
	snprintf(sql, SQL_MAX, "SELECT ");
	for (unsigned i = 0; i < t->n_col; i++) {
		size_t n = strlen(sql);
		snprintf(sql + n, SQL_MAX - n, "%s%s", i ? "," : "", t->col[i]);
	}
	if (added)
		snprintf(sql + strlen(sql), SQL_MAX - strlen(sql), ",%s", added);
	size_t n = strlen(sql);
	snprintf(sql + n, SQL_MAX - n, " FROM %s%s ORDER BY ", t->name,
		 server ? " WHERE user_id=?1" : "");
	for (unsigned i = 0; i < t->n_key; i++) {
		n = strlen(sql);
		snprintf(sql + n, SQL_MAX - n, "%s%s COLLATE BINARY", i ? "," : "", t->col[i]);
	}
}

void check_fail_difference(struct world *w, const char *what, struct buf *a, const char *who,
			   struct buf *b)
{
	if (buf_terminate(a) || buf_terminate(b))
		abort();

	const char *x = (const char *)a->at, *y = (const char *)b->at;
	size_t i = 0, line = 0;

	while (i < a->len && i < b->len && x[i] == y[i]) {
		if (x[i] == '\n')
			line = i + 1;
		i++;
	}
	int nx = (int)strcspn(x + line, "\n"), ny = (int)strcspn(y + line, "\n");
	sim_fail(w, "%s differs:\n  server: %.*s\n  %s: %.*s", what, nx > 400 ? 400 : nx, x + line,
		 who, ny > 400 ? 400 : ny, y + line);
}

static sqlite3 *open_store(struct world *w)
{
	sqlite3 *db;

	if (sqlite3_open_v2(STORE_PATH, &db, SQLITE_OPEN_READWRITE, MEMVFS_NAME) != SQLITE_OK)
		sim_fail(w, "the store: %s", sqlite3_errmsg(db));
	return db;
}

/* What an app writes into a table that only goes up, nobody else changes on its device. */
static void check_up_table(struct world *w, const struct sim_table *t)
{
	struct sim_table twin = *t;
	char name[40], ours[SQL_MAX], theirs[SQL_MAX];

	snprintf(name, sizeof name, TWIN "%s", t->name);
	twin.name = name;
	select_sql(ours, t, false, NULL);
	select_sql(theirs, &twin, false, NULL);
	for (unsigned i = 0; i < w->n_device && !w->failed; i++) {
		struct buf a = {.max = TEXT_MAX}, b = {.max = TEXT_MAX};
		sqlite3 *app = app_connection(&w->device[i]);
		if (!put_rows(app, ours, NULL, &a) || !put_rows(app, theirs, NULL, &b))
			sim_fail(w, "%s: %s", w->device[i].name, sqlite3_errmsg(app));
		else if (!slice_eq(buf_slice(&a), buf_slice(&b)))
			check_fail_difference(w, name, &b, w->device[i].name, &a);
		buf_free(&a);
		buf_free(&b);
	}
}

static void check_merge_table(struct world *w, sqlite3 *store, const struct sim_table *t)
{
	struct buf a = {.max = TEXT_MAX}, b = {.max = TEXT_MAX};
	char ours[SQL_MAX], theirs[SQL_MAX];
	unsigned index = table_index(w, t);

	for (unsigned i = 0; i < w->n_device && !w->failed; i++) {
		struct sim_device *d = &w->device[i];
		const char *added = app_added(d, index);
		char or_default[80];
		/* Where nobody wrote it the server has no value; a verification tells a NULL from
		 * that. */
		if (added && w->c.defaults) {
			snprintf(or_default, sizeof or_default, "ifnull(%s, 'd')", added);
			added = or_default;
		}
		select_sql(ours, t, true, added);
		select_sql(theirs, t, false, added);
		buf_clear(&a);
		buf_clear(&b);
		put_rows(store, ours, d->user->name, &a);
		if (!put_rows(app_connection(d), theirs, NULL, &b))
			sim_fail(w, "%s: %s", d->name, sqlite3_errmsg(d->app));
		bool same = slice_eq(buf_slice(&a), buf_slice(&b));
		if (!same && !w->failed)
			check_fail_difference(w, t->name, &a, d->name, &b);
	}
	buf_free(&a);
	buf_free(&b);
}

/*
 * Nobody writes under a time that the server would not have let in (M1). Each write of the server
 * itself may take a few minutes more.
 */
static void check_clock(struct sim_device *d)
{
	enum { AHEAD_MS = 3600000 };
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(app_connection(d), "SELECT heard >> 16 FROM neap_clock", -1, &s,
			       NULL) != SQLITE_OK ||
	    sqlite3_step(s) != SQLITE_ROW)
		sim_fail(d->w, "%s: %s", d->name, sqlite3_errmsg(d->app));
	else if ((uint64_t)sqlite3_column_int64(s, 0) > d->w->now_ms + AHEAD_MS)
		sim_fail(d->w, "%s heard of writes %lld s ahead of the server", d->name,
			 (long long)sqlite3_column_int64(s, 0) / 1000 -
				 (long long)d->w->now_ms / 1000);
	sqlite3_finalize(s);
}

static void check_device(struct sim_device *d)
{
	struct engine_status s;
	bool refused = false;
	struct err e;

	sim_clock(d->w, d);
	if (engine_status(d->en, &s, &e)) {
		sim_fail(d->w, "%s: status: %s", d->name, e.text);
		return;
	}
	for (unsigned i = 0; i < d->w->n_table; i++)
		refused |= d->w->table[i]->unique;
	if (s.pending_rows || s.parked_rows || (s.rejected_rows && !refused) || s.full_pull)
		sim_fail(d->w,
			 "%s: %lld rows pending, %lld parked, %lld rejected%s after all was "
			 "synced: %s",
			 d->name, (long long)s.pending_rows, (long long)s.parked_rows,
			 (long long)s.rejected_rows, s.full_pull ? ", a full pull is open" : "",
			 s.reason);
	check_clock(d);
	if (s.bad_frames)
		sim_fail(d->w, "%s dropped %llu frames", d->name, (unsigned long long)s.bad_frames);
}

/* All devices of a user stand where the server does. */
static void check_heads(struct world *w)
{
	for (unsigned i = 0; i < w->n_device && !w->failed; i++) {
		struct sim_device *d = &w->device[i];
		struct engine_status s;
		struct store_user u;
		bool found = false;
		struct err e = {0};
		if (engine_status(d->en, &s, &e) ||
		    store_user_get(w->backend.store, d->user->name, &u, &found, &e) || !found)
			sim_fail(w, "%s: %s", d->name, e.text);
		else if (s.cursor != u.head)
			sim_fail(w, "%s is at %llu, the server at %llu", d->name,
				 (unsigned long long)s.cursor, (unsigned long long)u.head);
	}
}

/* Whether the query has a row for the user. */
static bool any_row(sqlite3 *db, const char *sql, const char *user)
{
	sqlite3_stmt *s;
	bool yes = false;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return false;
	if (sqlite3_bind_parameter_count(s) > 0)
		sqlite3_bind_text(s, 1, user, -1, SQLITE_STATIC);
	yes = sqlite3_step(s) == SQLITE_ROW;
	sqlite3_finalize(s);
	return yes;
}

void check_last(struct world *w, const struct sim_device *d, const char *last)
{
	sqlite3 *store = open_store(w);

	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		const struct sim_table *t = w->table[i];
		char any[SQL_MAX], mine[SQL_MAX];
		/* Of a table that only goes up another device may have deleted the row. */
		if (t->append || t->n_col == t->n_key || (w->down | w->up) >> i & 1)
			continue;
		snprintf(any, sizeof any, "SELECT 1 FROM %s", t->name);
		snprintf(mine, sizeof mine, "SELECT 1 FROM %s WHERE %s='%s' AND user_id=?1",
			 t->name, t->col[t->n_col - 1], last);
		if (any_row(d->app, any, NULL) && !any_row(store, mine, d->user->name))
			sim_fail(w, "%s: what %s wrote when all was in sync is not on the server",
				 t->name, d->name);
	}
	sqlite3_close(store);
}

void check_all(struct world *w)
{
	sqlite3 *store = w->failed ? NULL : open_store(w);

	/* First: of two that differ it says which is wrong. */
	winners_check(w);
	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		if (w->table[i]->append)
			check_append_table(w, store, i);
		else if (w->up >> i & 1)
			check_up_table(w, w->table[i]);
		else
			check_merge_table(w, store, w->table[i]);
	}
	for (unsigned i = 0; i < w->n_device && !w->failed; i++)
		check_device(&w->device[i]);
	for (unsigned i = 0; i < w->n_device && !w->failed; i++)
		check_conflicts(w, store, &w->device[i]);
	check_heads(w);
	sqlite3_close(store);
}

void check_verified(struct sim_device *d)
{
	const struct verify_report *r = engine_verify_report(d->en);

	d->verified = true;
	for (size_t i = 0; i < r->n; i++) {
		const struct verify_counts *n = &r->table[i].n;

		sim_trace(d->w, "%s   verified %s: %d, %llu rows, %llu left out", d->name,
			  r->table[i].name, r->table[i].outcome, (unsigned long long)n->rows,
			  (unsigned long long)n->left_out);
		if (n->differed + n->missing + n->extra)
			sim_fail(d->w,
				 "%s: a verification of %s finds %llu rows that differ, %llu "
				 "missing, %llu only here",
				 d->name, r->table[i].name, (unsigned long long)n->differed,
				 (unsigned long long)n->missing, (unsigned long long)n->extra);
	}
}
