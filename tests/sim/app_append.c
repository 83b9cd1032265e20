/* Apps' telemetry: rows with a token each, and what is done to them afterwards. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/app_internal.h"

static void fresh_token(struct sim_device *d, const struct sim_table *t, struct token *out)
{
	memset(out, 0, sizeof *out);
	snprintf(out->text, sizeof out->text, "%s-%llu", d->name, (unsigned long long)++d->tokens);
	out->device = d->index;
	out->table = table_index(d->w, t);
}

static void bind_append_key(struct sim_device *d, const struct sim_table *t, sqlite3_stmt *s,
			    unsigned i)
{
	struct world *w = d->w;

	if (t->type[i] == 't')
		sqlite3_bind_text(s, (int)i + 1, d->name, -1, SQLITE_STATIC);
	else if (t->rowid_key && rng_chance(&w->chance, 850))
		sqlite3_bind_null(s, (int)i + 1); /* SQLite gives the next one */
	else if (t->rowid_key)
		sqlite3_bind_int64(s, (int)i + 1, (int64_t)rng_below(&w->chance, 60) - 5);
	else
		sqlite3_bind_int64(s, (int)i + 1, (int64_t)rng_below(&w->chance, 400));
}

void app_append_rows(struct sim_device *d, const struct sim_table *t, unsigned n)
{
	char sql[SQL_MAX] = "";
	sqlite3_stmt *s;

	app_add_insert(sql, t, "");
	if (sqlite3_prepare_v2(d->app, sql, -1, &s, NULL) != SQLITE_OK) {
		sim_fail(d->w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
		return;
	}
	for (unsigned k = 0; k < n && d->n_fresh < FRESH_MAX && !d->w->failed; k++) {
		struct token token;
		fresh_token(d, t, &token);
		for (unsigned i = 0; i < t->n_col; i++) {
			if (i < t->n_key)
				bind_append_key(d, t, s, i);
			else if (t->type[i] == 'T')
				sqlite3_bind_text(s, (int)i + 1, token.text, -1, SQLITE_TRANSIENT);
			else
				app_bind_value(d->w, s, (int)i + 1, t->type[i]);
		}
		app_run(d, s);
		if (sqlite3_changes(d->app) == 1 && sqlite3_errcode(d->app) == SQLITE_OK)
			d->fresh[d->n_fresh++] = token;
	}
	sqlite3_finalize(s);
}

void app_append_touch(struct sim_device *d, const struct sim_table *t)
{
	struct world *w = d->w;
	char sql[SQL_MAX];

	if (w->n_token == 0)
		return;
	struct token *token = &w->token[rng_below(&w->chance, (uint32_t)w->n_token)];
	for (size_t i = w->n_token; w->c.late_touch && i > 0 && i + 20 > w->n_token; i--)
		if (w->token[i - 1].device == d->index && w->table[w->token[i - 1].table] == t &&
		    rng_chance(&w->chance, 400)) {
			token = &w->token[i - 1];
			break;
		}
	if (token->device != d->index || w->table[token->table] != t)
		return;
	if (rng_chance(&w->chance, 400))
		snprintf(sql, sizeof sql, "DELETE FROM %s WHERE token='%s'", t->name, token->text);
	else
		snprintf(sql, sizeof sql, "UPDATE %s SET v='changed' WHERE token='%s'", t->name,
			 token->text);
	sim_trace(w, "%s   app %s", d->name, sql);
	token->touched = true;
	int rc = sqlite3_exec(d->app, sql, NULL, NULL, NULL) & 0xff;
	if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_IOERR)
		sim_fail(w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
}
