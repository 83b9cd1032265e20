#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"
#include "tests/sim/sim.h"

enum { TEXT_MAX = 8 << 20, SQL_MAX = 500 };

/* One row as text that is equal only for equal types and bits. */
static void put_row(struct buf *out, sqlite3_stmt *s)
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
		put_row(out, s);
	sqlite3_finalize(s);
	return true;
}

static void select_sql(char *sql, const struct sim_table *t, bool server, bool added)
{
	snprintf(sql, SQL_MAX, "SELECT ");
	for (unsigned i = 0; i < t->n_col; i++) {
		size_t n = strlen(sql);
		snprintf(sql + n, SQL_MAX - n, "%s%s", i ? "," : "", t->col[i]);
	}
	if (added)
		snprintf(sql + strlen(sql), SQL_MAX - strlen(sql), ",%s", t->added);
	size_t n = strlen(sql);
	snprintf(sql + n, SQL_MAX - n, " FROM %s%s ORDER BY ", t->name,
		 server ? " WHERE user_id=?1" : "");
	for (unsigned i = 0; i < t->n_key; i++) {
		n = strlen(sql);
		snprintf(sql + n, SQL_MAX - n, "%s%s COLLATE BINARY", i ? "," : "", t->col[i]);
	}
}

/* The first lines in which two texts of sorted rows differ. */
static void fail_difference(struct world *w, const char *what, const struct buf *a, const char *who,
			    const struct buf *b)
{
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

static void check_merge_table(struct world *w, sqlite3 *store, const struct sim_table *t)
{
	struct buf a = {.max = TEXT_MAX}, b = {.max = TEXT_MAX};
	char ours[SQL_MAX], theirs[SQL_MAX];
	unsigned index = table_index(w, t);

	for (unsigned i = 0; i < w->n_device && !w->failed; i++) {
		struct sim_device *d = &w->device[i];
		bool added = d->upgraded >> index & 1;
		select_sql(ours, t, true, added);
		select_sql(theirs, t, false, added);
		buf_clear(&a);
		buf_clear(&b);
		put_rows(store, ours, d->user->name, &a);
		if (!put_rows(app_connection(d), theirs, NULL, &b))
			sim_fail(w, "%s: %s", d->name, sqlite3_errmsg(d->app));
		bool same = slice_eq(buf_slice(&a), buf_slice(&b));
		if (buf_terminate(&a) || buf_terminate(&b))
			abort();
		if (!same && !w->failed)
			fail_difference(w, t->name, &a, d->name, &b);
	}
	buf_free(&a);
	buf_free(&b);
}

static void one_text(sqlite3 *db, const char *sql, const char *token, struct buf *out, int *n)
{
	sqlite3_stmt *s;

	*n = 0;
	buf_clear(out);
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_text(s, 1, token, -1, SQLITE_STATIC);
	while (sqlite3_step(s) == SQLITE_ROW) {
		++*n;
		put_row(out, s);
	}
	sqlite3_finalize(s);
}

/* Every committed append row is on the server exactly once, as it was written. */
static void check_token(struct world *w, sqlite3 *store, const struct token *token)
{
	const struct sim_table *t = w->table[token->table];
	struct sim_device *d = &w->device[token->device];
	struct buf a = {.max = TEXT_MAX}, b = {.max = TEXT_MAX};
	char sql[SQL_MAX] = "SELECT ";
	int there, here;

	for (unsigned i = 0; i < t->n_col; i++) {
		size_t n = strlen(sql);
		snprintf(sql + n, SQL_MAX - n, "%s,", t->col[i]);
	}
	snprintf(sql + strlen(sql) - 1, SQL_MAX - strlen(sql) + 1, " FROM %s WHERE token=?1",
		 t->name);
	one_text(store, sql, token->text, &a, &there);
	one_text(app_connection(d), sql, token->text, &b, &here);
	/*
	 * After a restored store a row may go up again, as the device no longer knows under what
	 * number; what was pending in the copy of a device's file goes up again under its new site.
	 */
	if (token->vanished && there > 0 && !w->backend.restored && !d->restored)
		sim_fail(w, "%s: row %s was lost with the power after it had gone up", t->name,
			 token->text);
	else if (token->vanished)
		;
	else if (there > 1 && !w->backend.restored && !d->restored)
		sim_fail(w, "%s: row %s is %d times on the server", t->name, token->text, there);
	else if (!token->touched && there == 0 && !w->backend.restored && !d->restored)
		sim_fail(w, "%s: row %s of %s is not on the server (%d on the device)", t->name,
			 token->text, d->name, here);
	else if (!token->touched && !w->backend.restored && !d->restored &&
		 !slice_eq(buf_slice(&a), buf_slice(&b))) {
		if (buf_terminate(&a) || buf_terminate(&b))
			abort();
		fail_difference(w, t->name, &a, d->name, &b);
	}
	buf_free(&a);
	buf_free(&b);
}

static bool any_restored(const struct world *w)
{
	bool any = w->backend.restored;

	for (unsigned i = 0; i < w->n_device; i++)
		any = any || w->device[i].restored;
	return any;
}

static void check_append_table(struct world *w, sqlite3 *store, unsigned table)
{
	char sql[SQL_MAX];
	sqlite3_stmt *s;
	size_t known = 0;

	for (size_t i = 0; i < w->n_token && !w->failed; i++) {
		if (w->token[i].table != table)
			continue;
		known++;
		check_token(w, store, &w->token[i]);
	}
	snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", w->table[table]->name);
	if (w->failed || sqlite3_prepare_v2(store, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	if (sqlite3_step(s) == SQLITE_ROW && (size_t)sqlite3_column_int64(s, 0) > known &&
	    !any_restored(w))
		sim_fail(w, "%s: %lld rows on the server, %zu were written", w->table[table]->name,
			 (long long)sqlite3_column_int64(s, 0), known);
	sqlite3_finalize(s);
}

static void check_device(struct sim_device *d)
{
	struct engine_status s;
	struct err e;

	sim_clock(d->w, d);
	if (engine_status(d->en, &s, &e)) {
		sim_fail(d->w, "%s: status: %s", d->name, e.text);
		return;
	}
	if (s.pending_rows || s.parked_rows || s.rejected_rows || s.full_pull)
		sim_fail(d->w,
			 "%s: %lld rows pending, %lld parked, %lld rejected%s after all was "
			 "synced: %s",
			 d->name, (long long)s.pending_rows, (long long)s.parked_rows,
			 (long long)s.rejected_rows, s.full_pull ? ", a full pull is open" : "",
			 s.reason);
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

void check_device_moves(struct sim_device *d)
{
	const struct engine *en = d->en;

	if (d->w->failed || !en || en->stale)
		return;
	bool same = !en->at.full && en->at.store == d->seen.store && en->at.term == d->seen.term &&
		    en->d->site == d->seen.site;
	if (same && en->at.cursor < d->seen.cursor)
		sim_fail(d->w, "%s: its cursor went back from %llu to %llu", d->name,
			 (unsigned long long)d->seen.cursor, (unsigned long long)en->at.cursor);
	/* A restored store has lost some: they are given out again (P8). */
	if (same && en->acked_number < d->seen.acked && !d->w->backend.restored)
		sim_fail(d->w, "%s: its acknowledged number went back from %llu to %llu", d->name,
			 (unsigned long long)d->seen.acked, (unsigned long long)en->acked_number);
	d->seen.store = en->at.full ? 0 : en->at.store;
	d->seen.term = en->at.term;
	d->seen.site = en->d->site;
	d->seen.cursor = en->at.cursor;
	d->seen.acked = en->acked_number;
}

/* What a device knows to be committed is on the disk of a backend that died (P6). */
void check_acked(struct world *w)
{
	for (unsigned i = 0; i < w->n_device && !w->failed && !w->backend.restored; i++) {
		const struct engine *en = w->device[i].en;
		struct store_site site = {.id = 0};
		struct store_user u;
		bool found;
		struct err e;
		if (!en || w->device[i].restored || en->acked_number == 0)
			continue;
		if (store_user_get(w->backend.store, w->device[i].user->name, &u, &found, &e) ||
		    store_site_get(w->backend.store, &u, en->d->site, &site, &found, &e))
			sim_fail(w, "%s", e.text);
		else if (site.number < en->acked_number)
			sim_fail(w, "set %llu of %s was acknowledged, and is gone",
				 (unsigned long long)en->acked_number, w->device[i].name);
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
		if (t->append || t->n_col == t->n_key)
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

	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		if (w->table[i]->append)
			check_append_table(w, store, i);
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
