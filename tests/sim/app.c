/* Apps: their connections and transactions. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/app_internal.h"

enum { BIG_ROWS = 120 };

sqlite3 *app_connection(struct sim_device *d)
{
	if (d->app)
		return d->app;
	if (sqlite3_open_v2(d->path, &d->app, SQLITE_OPEN_READWRITE, MEMVFS_NAME) != SQLITE_OK)
		sim_fail(d->w, "%s: the app cannot open its database: %s", d->name,
			 sqlite3_errmsg(d->app));
	sqlite3_busy_timeout(d->app, 100);
	if (rng_chance(&d->w->chance, 300))
		sqlite3_exec(d->app, "PRAGMA recursive_triggers=ON", NULL, NULL, NULL);
	/* Its commits may then vanish with the power. */
	if (rng_chance(&d->w->chance, 300))
		sqlite3_exec(d->app, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
	return d->app;
}

void app_close(struct sim_device *d)
{
	sqlite3_close(d->app);
	d->app = NULL;
	d->app_tx = false;
	d->n_fresh = 0;
}

/* ---- transactions ---- */

static void keep_token(struct world *w, const struct token *t)
{
	if (w->n_token == w->cap_token) {
		w->cap_token = w->cap_token ? 2 * w->cap_token : 256;
		w->token = realloc(w->token, w->cap_token * sizeof *w->token);
		assert(w->token);
	}
	w->token[w->n_token++] = *t;
}

void app_keep_found(struct sim_device *d, const struct token *fresh, size_t n)
{
	sqlite3 *app = app_connection(d);

	for (size_t i = 0; i < n; i++) {
		char sql[200];
		sqlite3_stmt *s;
		snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE token='%s'",
			 d->w->table[fresh[i].table]->name, fresh[i].text);
		if (sqlite3_prepare_v2(app, sql, -1, &s, NULL) == SQLITE_OK &&
		    sqlite3_step(s) == SQLITE_ROW)
			keep_token(d->w, &fresh[i]);
		sqlite3_finalize(s);
	}
}

void app_end(struct sim_device *d)
{
	if (!d->app)
		return;
	bool commit = rng_chance(&d->w->chance, 930);

	sim_clock(d->w, d);
	if (!sqlite3_get_autocommit(d->app)) {
		if (sqlite3_exec(d->app, commit ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) !=
		    SQLITE_OK)
			commit = false; /* busy: given up */
		sim_trace(d->w, "%s   app %s", d->name, commit ? "commits" : "rolls back");
		if (!commit && !sqlite3_get_autocommit(d->app))
			sqlite3_exec(d->app, "ROLLBACK", NULL, NULL, NULL);
	} else {
		commit = false; /* a statement's failure rolled it back */
	}
	d->app_tx = false;
	if (device_struck(d))
		return;
	for (size_t i = 0; commit && i < d->n_fresh; i++)
		keep_token(d->w, &d->fresh[i]);
	d->n_fresh = 0;
	struct item *it = queue_add(d->w, ITEM_LOCAL, rng_below(&d->w->chance, 400), (int)d->index);
	it->link_run = 0;
}

static bool prepares(struct sim_device *d, const char *sql, bool *row)
{
	sqlite3_stmt *s;
	bool ok = sqlite3_prepare_v2(app_connection(d), sql, -1, &s, NULL) == SQLITE_OK;

	*row = ok && sqlite3_step(s) == SQLITE_ROW;
	sqlite3_finalize(s);
	return ok;
}

void app_note_vanished(struct sim_device *d)
{
	struct world *w = d->w;
	char sql[200];
	bool row;

	app_look_at_schema(d);
	for (size_t i = 0; i < w->n_token; i++) {
		struct token *t = &w->token[i];
		if (t->device != d->index || t->touched || t->vanished || t->lost)
			continue;
		snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE token='%s'",
			 w->table[t->table]->name, t->text);
		if (prepares(d, sql, &row) && !row) {
			sim_fault(w, FAULT_VANISHED);
			t->vanished = true;
		}
	}
}

void app_write_last(struct sim_device *d, const char *last)
{
	struct world *w = d->w;

	sim_clock(w, d);
	for (unsigned i = 0; i < w->n_table; i++) {
		const struct sim_table *t = w->table[i];
		char sql[SQL_MAX];
		if (t->append || t->n_col == t->n_key || w->down >> i & 1)
			continue;
		const char *k = t->col[t->n_key - 1], *c = t->col[t->n_col - 1];
		snprintf(sql, sizeof sql, "UPDATE %s SET %s='%s' WHERE %s=(SELECT min(%s) FROM %s)",
			 t->name, c, last, k, k, t->name);
		sim_trace(w, "%s   app %s", d->name, sql);
		bool ok = sqlite3_exec(app_connection(d), sql, NULL, NULL, NULL) == SQLITE_OK;
		if (ok && (w->up >> i & 1)) {
			snprintf(sql, sizeof sql,
				 "UPDATE " TWIN "%s SET %s='%s' WHERE %s=(SELECT min(%s) FROM " TWIN
				 "%s)",
				 t->name, c, last, k, k, t->name);
			ok = sqlite3_exec(d->app, sql, NULL, NULL, NULL) == SQLITE_OK;
		}
		if (!ok)
			sim_fail(w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
	}
	if (!w->failed)
		device_step(d, &(struct event){.type = EV_LOCAL});
}

static void write_one(struct sim_device *d)
{
	struct world *w = d->w;
	const struct sim_table *t = w->table[rng_below(&w->chance, w->n_table)];

	if (w->down >> table_index(w, t) & 1) {
		;
	} else if (!t->append) {
		app_merge_write(d, t);
	} else if (rng_chance(&w->chance, 150)) {
		app_append_touch(d, t);
	} else {
		bool big = rng_chance(&w->chance, 15);
		app_append_rows(d, t, 1 + rng_below(&w->chance, big ? BIG_ROWS : 4));
	}
	w->totals->app_rows++;
	w->spot++;
}

void app_prefill(struct sim_device *d)
{
	struct world *w = d->w;
	uint64_t spots = 2 * w->c.activities / w->c.moving + 2;

	app_connection(d);
	sim_clock(w, d);
	sqlite3_exec(d->app, "BEGIN", NULL, NULL, NULL);
	for (unsigned i = 0; i < w->n_table; i++) {
		const struct sim_table *t = w->table[i];
		char sql[SQL_MAX] = "";
		sqlite3_stmt *s;
		app_add_insert(sql, t, " OR IGNORE");
		if (t->append || sqlite3_prepare_v2(d->app, sql, -1, &s, NULL) != SQLITE_OK)
			continue;
		for (uint64_t n = 0; n < spots; n++) {
			w->spot = n * w->c.moving;
			app_bind_all(w, t, s);
			app_run(d, s);
		}
		sqlite3_finalize(s);
	}
	w->spot = 0;
	app_end(d);
}

void app_touch(struct sim_device *d)
{
	struct world *w = d->w;

	app_connection(d);
	sim_clock(w, d);
	for (unsigned i = 0; i < w->n_table && !w->failed; i++)
		if (w->table[i]->append)
			app_append_touch(d, w->table[i]);
	if (!device_struck(d))
		device_step(d, &(struct event){.type = EV_LOCAL});
}

void app_write(struct sim_device *d)
{
	struct world *w = d->w;
	sqlite3 *app = app_connection(d);
	bool big = rng_chance(&w->chance, 20);
	unsigned n = 1 + rng_below(&w->chance, big ? 60 : 4);

	if (d->app_tx || w->failed)
		return;
	sim_clock(w, d);
	if (sqlite3_exec(app, rng_chance(&w->chance, 500) ? "BEGIN" : "BEGIN IMMEDIATE", NULL, NULL,
			 NULL) != SQLITE_OK)
		return;
	for (unsigned i = 0; i < n && !w->failed; i++)
		write_one(d);
	if (device_struck(d))
		return;
	if (!w->healed && rng_chance(&w->chance, 40)) {
		/* It keeps its transaction open: the engine finds the file locked. */
		sim_fault(w, FAULT_APP_LOCK);
		d->app_tx = true;
		queue_add(w, ITEM_APP_COMMIT, rng_range(&w->chance, 10, 3000), (int)d->index);
		return;
	}
	app_end(d);
}
