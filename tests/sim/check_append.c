/* Telemetry: every row that an app appended is on the server once, as written (J3, P8). */
#include <stdio.h>
#include <string.h>

#include "tests/sim/check_internal.h"

enum { TEXT_MAX = 8 << 20, SQL_MAX = 500 };

/* The rows of a token, and how many. */
static int rows_of(sqlite3 *db, const char *sql, const char *token, struct buf *out)
{
	sqlite3_stmt *s;
	int n = 0;

	buf_clear(out);
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return 0;
	sqlite3_bind_text(s, 1, token, -1, SQLITE_STATIC);
	while (sqlite3_step(s) == SQLITE_ROW) {
		n++;
		check_put_row(out, s);
	}
	sqlite3_finalize(s);
	return n;
}

/* Whether device `by` ever had a file that came from one of device `of`. */
static bool has_copy(const struct world *w, unsigned of, unsigned by)
{
	bool has[DEVICES_MAX] = {false};

	has[of] = true;
	for (size_t i = 0; i < w->n_copy; i++)
		has[w->copy[i].by] |= has[w->copy[i].of];
	return has[by];
}

/* It stands under the device that wrote it, or under one that had its file (M5). */
static void check_owner(struct world *w, sqlite3 *store, const struct token *token)
{
	char sql[SQL_MAX];
	sqlite3_stmt *s;

	snprintf(sql, sizeof sql, "SELECT device_id FROM %s WHERE token='%s'",
		 w->table[token->table]->name, token->text);
	if (!w->n_copy || sqlite3_prepare_v2(store, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	while (!w->failed && sqlite3_step(s) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(s, 0);
		const struct sim_device *d = device_named(w, name);
		if (!d || !has_copy(w, token->device, d->index))
			sim_fail(w, "row %s stands under device %s, which never had its file",
				 token->text, name);
	}
	sqlite3_finalize(s);
}

/*
 * Of a table whose key is no integer a restored store says only which keys it has: a row under the
 * key of an earlier one, which the app deleted, is taken for that (docs/simulator.md).
 */
static bool key_was_reused(struct world *w, sqlite3 *store, const struct token *token)
{
	const struct sim_table *t = w->table[token->table];
	struct sim_device *d = &w->device[token->device];
	sqlite3_stmt *here, *there;
	char sql[SQL_MAX];
	bool yes = false;

	if (!w->backend.restored || t->rowid_key || t->n_key != 2)
		return false;
	snprintf(sql, sizeof sql, "SELECT %s, %s FROM %s WHERE token='%s'", t->col[0], t->col[1],
		 t->name, token->text);
	if (sqlite3_prepare_v2(app_connection(d), sql, -1, &here, NULL) != SQLITE_OK)
		return false;
	snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE device_id='%s' AND %s=?1 AND %s=?2",
		 t->name, d->name, t->col[0], t->col[1]);
	if (sqlite3_step(here) == SQLITE_ROW &&
	    sqlite3_prepare_v2(store, sql, -1, &there, NULL) == SQLITE_OK) {
		sqlite3_bind_value(there, 1, sqlite3_column_value(here, 0));
		sqlite3_bind_value(there, 2, sqlite3_column_value(here, 1));
		yes = sqlite3_step(there) == SQLITE_ROW;
		sqlite3_finalize(there);
	}
	sqlite3_finalize(here);
	return yes;
}

/* How often the row is on the server, and on its device. */
static void check_counts(struct world *w, sqlite3 *store, const struct token *token, int there,
			 int here)
{
	const char *table = w->table[token->table]->name;
	const struct sim_device *d = &w->device[token->device];
	bool renewed = d->restored && d->renewed;
	/* A device's file and the store, each as it was at some time: who had what, nobody knows.
	 */
	bool both = d->restored && w->backend.restored;

	if (token->vanished) {
		/* A copy of the file that was made before may have had it. */
		if (there > 0 && !token->lost && !token->copied)
			sim_fail(w, "%s: row %s was lost with the power after it had gone up",
				 table, token->text);
		return;
	}
	/*
	 * What a restored store lost, and is still on the device, comes back (P8). If a site of a
	 * restored device is another device's by now, its rows captured under it get new
	 * identities, also those that had gone up; so does a row that was changed since.
	 */
	if (there > 1 && !token->copied && !renewed && !both && !(d->restored && token->touched))
		sim_fail(w, "%s: row %s is %d times on the server", table, token->text, there);
	if (there > 0 && token->purged == PURGED && !token->copied && !renewed &&
	    !(d->restored && token->touched))
		sim_fail(w, "%s: row %s came back after it was purged", table, token->text);
	if (there == 0 && here > 0 && token->purged == PURGED_NOT && !both &&
	    !key_was_reused(w, store, token))
		sim_fail(w, "%s: row %s is on its device, not on the server", table, token->text);
	if (here == 0 && !token->touched && !token->lost)
		sim_fail(w, "%s: row %s is gone from its device", table, token->text);
}

/* Returns how often it is on the server. */
static int check_token(struct world *w, sqlite3 *store, const struct token *token)
{
	const struct sim_table *t = w->table[token->table];
	struct sim_device *d = &w->device[token->device];
	struct buf a = {.max = TEXT_MAX}, b = {.max = TEXT_MAX};
	char sql[SQL_MAX] = "SELECT ";

	for (unsigned i = 0; i < t->n_col; i++) {
		size_t n = strlen(sql);
		snprintf(sql + n, SQL_MAX - n, "%s%s", i ? "," : "", t->col[i]);
	}
	snprintf(sql + strlen(sql), SQL_MAX - strlen(sql), " FROM %s WHERE token=?1", t->name);
	int there = rows_of(store, sql, token->text, &a);
	int here = rows_of(app_connection(d), sql, token->text, &b);
	check_counts(w, store, token, there, here);
	check_owner(w, store, token);
	if (!w->failed && !token->touched && there == 1 && here == 1 &&
	    !slice_eq(buf_slice(&a), buf_slice(&b)))
		check_fail_difference(w, t->name, &a, d->name, &b);
	buf_free(&a);
	buf_free(&b);
	return there;
}

void check_append_table(struct world *w, sqlite3 *store, unsigned table)
{
	char sql[SQL_MAX];
	sqlite3_stmt *s;
	sqlite3_int64 known = 0;

	for (size_t i = 0; i < w->n_token && !w->failed; i++)
		if (w->token[i].table == table)
			known += check_token(w, store, &w->token[i]);
	snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", w->table[table]->name);
	if (w->failed || sqlite3_prepare_v2(store, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_int64(s, 0) != known)
		sim_fail(w, "%s: %lld rows on the server, of which apps wrote %lld",
			 w->table[table]->name, (long long)sqlite3_column_int64(s, 0),
			 (long long)known);
	sqlite3_finalize(s);
}
