#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { SQL_MAX = 600 };

/* What an operator with a stock SQLite shell does to the server's tables. */
static void operator_sql(struct world *w, const struct sim_table *t, char *sql)
{
	uint32_t kind = rng_below(&w->chance, 100);
	bool has_cells = t->n_col > t->n_key;
	char columns[200] = "", params[100] = "", key[200] = "user_id=?1";

	for (unsigned i = 0; i < t->n_col; i++) {
		size_t c = strlen(columns), p = strlen(params), k = strlen(key);
		snprintf(columns + c, sizeof columns - c, ",%s", t->col[i]);
		snprintf(params + p, sizeof params - p, ",?%u", i + 2);
		if (i < t->n_key)
			snprintf(key + k, sizeof key - k, " AND %s=?%u", t->col[i], i + 2);
	}
	unsigned c = has_cells ? t->n_key + rng_below(&w->chance, t->n_col - t->n_key) : 0;
	if (kind < 30 || (!has_cells && kind < 70))
		snprintf(sql, SQL_MAX, "INSERT%s INTO %s(user_id%s) VALUES(?1%s)",
			 kind % 3 == 0 ? " OR REPLACE" : "", t->name, columns, params);
	else if (kind < 60)
		snprintf(sql, SQL_MAX, "UPDATE %s SET %s=?%u WHERE %s", t->name, t->col[c], c + 2,
			 key);
	else if (kind < 70)
		snprintf(sql, SQL_MAX, "UPDATE %s SET %s=?%u WHERE user_id=?1", t->name, t->col[c],
			 c + 2);
	else if (kind < 78)
		snprintf(sql, SQL_MAX, "UPDATE OR REPLACE %s SET user_id=?20 WHERE %s", t->name,
			 key);
	else if (kind < 84)
		snprintf(sql, SQL_MAX, "UPDATE OR REPLACE %s SET %s=?21 WHERE %s", t->name,
			 t->col[0], key);
	else if (kind < 97)
		snprintf(sql, SQL_MAX, "DELETE FROM %s WHERE %s", t->name, key);
	else
		snprintf(sql, SQL_MAX, "DELETE FROM %s WHERE user_id=?1", t->name);
}

/* Mostly one of the users; now and then nobody, or what no user can be called. */
static void bind_user(struct world *w, sqlite3_stmt *s, int at)
{
	uint32_t kind = rng_below(&w->chance, 100);

	if (kind < 90)
		sqlite3_bind_text(s, at, w->user[rng_below(&w->chance, w->n_user)].name, -1,
				  SQLITE_STATIC);
	else if (kind < 94)
		sqlite3_bind_null(s, at);
	else
		sqlite3_bind_text(s, at, kind < 97 ? "a/#" : "nobody", -1, SQLITE_STATIC);
}

static void bind_all(struct world *w, const struct sim_table *t, sqlite3_stmt *s)
{
	int n = sqlite3_bind_parameter_count(s);

	bind_user(w, s, 1);
	for (unsigned i = 0; i < t->n_col && (int)i + 2 <= n; i++) {
		if (i < t->n_key)
			app_bind_key(w, s, (int)i + 2, t->type[i]);
		else
			app_bind_value(w, s, (int)i + 2, t->type[i]);
	}
	if (n == 20)
		bind_user(w, s, 20);
	if (n >= 21)
		app_bind_key(w, s, 21, t->type[0]);
}

static void write_one(struct world *w, sqlite3 *db)
{
	const struct sim_table *t = w->table[rng_below(&w->chance, w->n_table)];
	char sql[SQL_MAX];
	sqlite3_stmt *s;

	if (t->append || (t->unique && !w->c.breaks_unique))
		return;
	operator_sql(w, t, sql);
	/* The table may not be declared yet. */
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	bind_all(w, t, s);
	int rc = sqlite3_step(s) & 0xff;
	if (w->opt->trace) {
		char *text = sqlite3_expanded_sql(s);
		sim_trace(w, "operator %.200s%s", text,
			  rc == SQLITE_DONE ? "" : sqlite3_errmsg(db));
		sqlite3_free(text);
	}
	if (rc != SQLITE_DONE && rc != SQLITE_CONSTRAINT && rc != SQLITE_BUSY &&
	    rc != SQLITE_MISMATCH)
		sim_fail(w, "the operator's \"%s\": %s", sql, sqlite3_errmsg(db));
	sqlite3_finalize(s);
}

static sqlite3 *open_store(struct world *w)
{
	sqlite3 *db;

	memvfs_fail_at("", 0, NULL);
	sim_clock(w, NULL);
	if (sqlite3_open_v2(STORE_PATH, &db, SQLITE_OPEN_READWRITE, MEMVFS_NAME) != SQLITE_OK) {
		sim_fail(w, "the operator cannot open the store: %s", sqlite3_errmsg(db));
		sqlite3_close(db);
		return NULL;
	}
	sqlite3_busy_timeout(db, 100);
	return db;
}

void operator_repair(struct world *w)
{
	sqlite3 *db = w->c.breaks_unique ? open_store(w) : NULL;

	for (unsigned i = 0; i < w->n_table && db; i++) {
		const struct sim_table *t = w->table[i];
		char sql[SQL_MAX];
		if (!t->unique)
			continue;
		snprintf(sql, sizeof sql,
			 "DELETE FROM %s WHERE rowid IN (SELECT b.rowid FROM %s a JOIN %s b ON "
			 "a.user_id = b.user_id AND a.rowid < b.rowid AND %s)",
			 t->name, t->name, t->name, t->same);
		/* The table may not be declared yet. */
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
			sim_trace(w, "operator deletes %d rows of %s that break its constraint",
				  sqlite3_changes(db), t->name);
	}
	sqlite3_close(db);
}

void operator_purge(struct world *w)
{
	enum { AT_MOST = 12 };
	sqlite3 *db = open_store(w);

	for (unsigned n = 0; db && n < AT_MOST && w->n_token; n++) {
		struct token *t = &w->token[rng_below(&w->chance, (uint32_t)w->n_token)];
		char sql[200];
		snprintf(sql, sizeof sql, "DELETE FROM %s WHERE token='%s'",
			 w->table[t->table]->name, t->text);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK || !sqlite3_changes(db))
			continue;
		sim_trace(w, "operator %s", sql);
		sim_fault(w, FAULT_PURGED);
		t->purged = PURGED;
	}
	sqlite3_close(db);
}

void operator_write(struct world *w)
{
	sqlite3 *db = open_store(w);

	if (!db)
		return;
	sim_fault(w, FAULT_OPERATOR);
	w->operator_wrote = true;
	bool tx = rng_chance(&w->chance, 300);
	if (tx)
		sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	for (unsigned n = 1 + rng_below(&w->chance, 3); n > 0 && !w->failed; n--)
		write_one(w, db);
	if (tx)
		sqlite3_exec(db, rng_chance(&w->chance, 900) ? "COMMIT" : "ROLLBACK", NULL, NULL,
			     NULL);
	sqlite3_close(db);
	queue_add(w, ITEM_SQL, rng_range(&w->chance, 1, 2000), -1);
}
