#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { SQL_MAX = 600, BIG_ROWS = 120, KEYS = 6 };

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

static char *random_text(struct world *w, char *out, size_t max)
{
	static const char *const some[] = {
		"", "a", "A", "b", "0", "1.0", "é", "\xf0\x9f\x8c\x8a", "a b", "'"};

	if (rng_chance(&w->chance, 600))
		snprintf(out, max, "%s", some[rng_below(&w->chance, sizeof some / sizeof some[0])]);
	else
		snprintf(out, max, "t%u", rng_below(&w->chance, 100000));
	return out;
}

static void bind_text(struct world *w, sqlite3_stmt *s, int at)
{
	char text[40];

	random_text(w, text, sizeof text);
	if (rng_chance(&w->chance, 30)) {
		sqlite3_bind_text(s, at, "nul\0in", 6, SQLITE_TRANSIENT);
	} else if (rng_chance(&w->chance, 20)) {
		size_t n = rng_range(&w->chance, 500, 9000);
		char *big = malloc(n + 1);
		assert(big);
		memset(big, 'x', n);
		memcpy(big, text, strlen(text) < n ? strlen(text) : n);
		big[n] = 0;
		sqlite3_bind_text(s, at, big, (int)n, free);
	} else {
		sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT);
	}
}

static void bind_blob(struct world *w, sqlite3_stmt *s, int at)
{
	uint8_t bytes[200];
	size_t n = rng_below(&w->chance, rng_chance(&w->chance, 100) ? sizeof bytes : 5);

	rng_bytes(&w->chance, bytes, sizeof bytes);
	if (rng_chance(&w->chance, 300))
		memset(bytes, 0, sizeof bytes);
	sqlite3_bind_blob(s, at, bytes, (int)n, SQLITE_TRANSIENT);
}

static void bind_int(struct world *w, sqlite3_stmt *s, int at)
{
	static const int64_t some[] = {0, 1, -1, INT64_MAX, INT64_MIN, (1ll << 53) + 1, 255, 65536};

	sqlite3_bind_int64(s, at,
			   rng_chance(&w->chance, 300)
				   ? some[rng_below(&w->chance, sizeof some / sizeof some[0])]
				   : (int64_t)rng_below(&w->chance, 100000));
}

static void bind_real(struct world *w, sqlite3_stmt *s, int at)
{
	static const double some[] = {
		0.0, -0.0, 0.1, 1e300, 5e-324, 3.0, 1.5, -2.25, 9007199254740993.0};

	if (rng_chance(&w->chance, 40))
		sqlite3_bind_double(s, at, rng_chance(&w->chance, 500) ? INFINITY : -INFINITY);
	else if (rng_chance(&w->chance, 400))
		sqlite3_bind_double(s, at,
				    some[rng_below(&w->chance, sizeof some / sizeof some[0])]);
	else
		sqlite3_bind_double(s, at, (double)rng_below(&w->chance, 100000) / 100);
}

void app_bind_value(struct world *w, sqlite3_stmt *s, int at, char type)
{
	if (type == 'N') {
		bind_text(w, s,
			  at); /* the server's table has no NOT NULL: an operator must not either */
		return;
	}
	if (type == '*' || rng_chance(&w->chance, 60))
		type = "ntirb"[rng_below(&w->chance, 5)];
	switch (type) {
	case 'n':
		sqlite3_bind_null(s, at);
		break;
	case 't':
		bind_text(w, s, at);
		break;
	case 'b':
		bind_blob(w, s, at);
		break;
	case 'r':
		bind_real(w, s, at);
		break;
	default:
		bind_int(w, s, at);
	}
}

/* What an earlier spot ended with is not written again: a difference there stays to be seen. */
static void bind_moving_key(struct world *w, sqlite3_stmt *s, int at, char type)
{
	uint64_t n = w->spot / w->c.moving + rng_below(&w->chance, 2);
	char text[24];

	snprintf(text, sizeof text, "k%llu", (unsigned long long)n);
	if (type == 't')
		sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT);
	else if (type == 'b')
		sqlite3_bind_blob(s, at, text, (int)strlen(text), SQLITE_TRANSIENT);
	else
		sqlite3_bind_int64(s, at, (int64_t)n);
}

void app_bind_key(struct world *w, sqlite3_stmt *s, int at, char type)
{
	static const char *const text[KEYS] = {"k0", "k1", "a", "A", "", "\xc3\xa9"};
	static const char *const blob[KEYS] = {"", "a", "b", "ab", "aa", "ba"};
	uint32_t n = rng_below(&w->chance, w->c.keys);

	if (w->c.moving) {
		bind_moving_key(w, s, at, type);
		return;
	}
	switch (type) {
	case 't':
		sqlite3_bind_text(s, at, text[n], -1, SQLITE_STATIC);
		break;
	case 'b':
		sqlite3_bind_blob(s, at, blob[n], (int)strlen(blob[n]), SQLITE_STATIC);
		break;
	default:
		sqlite3_bind_int64(s, at,
				   n == 5 && rng_chance(&w->chance, 100) ? INT64_MAX : (int64_t)n);
	}
}

/* ---- statements ---- */

static void add(char *sql, const char *fmt, ...) NEAP_PRINTF(2, 3);
static void add(char *sql, const char *fmt, ...)
{
	size_t len = strlen(sql);
	va_list args;

	va_start(args, fmt);
	vsnprintf(sql + len, SQL_MAX - len, fmt, args);
	va_end(args);
}

static void add_key_equals(char *sql, const struct sim_table *t)
{
	for (unsigned i = 0; i < t->n_key; i++)
		add(sql, "%s%s=?%u", i ? " AND " : " WHERE ", t->col[i], i + 1);
}

static void add_insert(char *sql, const struct sim_table *t, const char *how)
{
	add(sql, "INSERT%s INTO %s(", how, t->name);
	for (unsigned i = 0; i < t->n_col; i++)
		add(sql, "%s%s", i ? "," : "", t->col[i]);
	add(sql, ") VALUES(");
	for (unsigned i = 0; i < t->n_col; i++)
		add(sql, "%s?%u", i ? "," : "", i + 1);
	add(sql, ")");
}

static unsigned any_column(struct world *w, const struct sim_table *t)
{
	return t->n_key + rng_below(&w->chance, t->n_col - t->n_key);
}

/* A statement on a merge table; parameters ?1… are the columns', ?20… new key values. */
static void merge_sql(struct world *w, const struct sim_table *t, char *sql)
{
	static const char *const how[] = {"", "", " OR IGNORE", " OR REPLACE", " OR REPLACE"};
	uint32_t kind = rng_below(&w->chance, 100);
	bool has_cells = t->n_col > t->n_key;

	sql[0] = 0;
	/* Rows are there from the start then: mostly single cells of them are changed. */
	if (w->c.moving && kind < 60 && has_cells)
		kind = 45;
	if (kind < 35 || (!has_cells && kind < 60)) {
		add_insert(sql, t, how[rng_below(&w->chance, 5)]);
	} else if (kind < 45 && has_cells) {
		unsigned c = any_column(w, t);
		add_insert(sql, t, "");
		add(sql, " ON CONFLICT DO UPDATE SET %s=excluded.%s", t->col[c], t->col[c]);
	} else if (kind < 70 && has_cells) {
		unsigned c = any_column(w, t);
		add(sql, "UPDATE %s SET %s=?%u", t->name, t->col[c], c + 1);
		if (w->c.moving || rng_chance(&w->chance, 900))
			add_key_equals(sql, t);
	} else if (kind < 78 && has_cells) {
		add(sql, "UPDATE %s SET ", t->name);
		for (unsigned i = t->n_key; i < t->n_col; i++)
			add(sql, "%s%s=?%u", i > t->n_key ? "," : "", t->col[i], i + 1);
		add_key_equals(sql, t);
	} else if (kind < 86) {
		unsigned c = rng_below(&w->chance, t->n_key);
		add(sql, "UPDATE%s %s SET %s=?20", rng_chance(&w->chance, 500) ? " OR REPLACE" : "",
		    t->name, t->col[c]);
		add_key_equals(sql, t);
	} else {
		add(sql, "DELETE FROM %s", t->name);
		if (w->c.moving || rng_chance(&w->chance, 930))
			add_key_equals(sql, t);
	}
}

static void bind_all(struct world *w, const struct sim_table *t, sqlite3_stmt *s)
{
	int n = sqlite3_bind_parameter_count(s);

	for (unsigned i = 0; i < t->n_col && (int)i < n; i++) {
		if (i < t->n_key)
			app_bind_key(w, s, (int)i + 1, t->type[i]);
		else
			app_bind_value(w, s, (int)i + 1, t->type[i]);
	}
	if (n < 20)
		return;
	/* The new value of the key column that is changed: its type stands in the text. */
	for (unsigned i = 0; i < t->n_key; i++) {
		char want[40];
		snprintf(want, sizeof want, "SET %s=", t->col[i]);
		if (strstr(sqlite3_sql(s), want))
			app_bind_key(w, s, 20, t->type[i]);
	}
}

static void run(struct sim_device *d, sqlite3_stmt *s)
{
	int rc;

	while ((rc = sqlite3_step(s)) == SQLITE_ROW)
		;
	if (d->w->opt->trace) {
		char *text = sqlite3_expanded_sql(s);
		sim_trace(d->w, "%s   app %.200s%s", d->name, text,
			  rc == SQLITE_DONE ? "" : sqlite3_errmsg(d->app));
		sqlite3_free(text);
	}
	rc = sqlite3_reset(s) & 0xff;
	/* An app may break its own constraints, and find the file busy; nothing else goes wrong. */
	if (rc != SQLITE_OK && rc != SQLITE_CONSTRAINT && rc != SQLITE_BUSY &&
	    rc != SQLITE_MISMATCH)
		sim_fail(d->w, "%s: the app's \"%s\": %s", d->name, sqlite3_sql(s),
			 sqlite3_errmsg(d->app));
}

static unsigned table_index(const struct world *w, const struct sim_table *t)
{
	unsigned i = 0;

	while (w->table[i] != t)
		i++;
	return i;
}

static bool has_added(const struct sim_device *d, const struct sim_table *t)
{
	return d->upgraded >> table_index(d->w, t) & 1;
}

static void added_sql(const struct sim_table *t, char *sql)
{
	snprintf(sql, SQL_MAX, "UPDATE %s SET %s=hex(randomblob(2))", t->name, t->added);
	add_key_equals(sql, t);
}

static void merge_write(struct sim_device *d, const struct sim_table *t)
{
	char sql[SQL_MAX];
	sqlite3_stmt *s;

	merge_sql(d->w, t, sql);
	if (has_added(d, t) && rng_chance(&d->w->chance, 250))
		added_sql(t, sql);
	if (sqlite3_prepare_v2(d->app, sql, -1, &s, NULL) != SQLITE_OK) {
		sim_fail(d->w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
		return;
	}
	bind_all(d->w, t, s);
	run(d, s);
	sqlite3_finalize(s);
}

/* ---- append tables ---- */

static void fresh_token(struct sim_device *d, const struct sim_table *t, struct token *out)
{
	memset(out, 0, sizeof *out);
	snprintf(out->text, sizeof out->text, "%s-%llu", d->name, (unsigned long long)++d->tokens);
	out->device = d->index;
	for (unsigned i = 0; i < d->w->n_table; i++)
		if (d->w->table[i] == t)
			out->table = i;
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

static void append_rows(struct sim_device *d, const struct sim_table *t, unsigned n)
{
	char sql[SQL_MAX] = "";
	sqlite3_stmt *s;

	add_insert(sql, t, "");
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
		run(d, s);
		if (sqlite3_changes(d->app) == 1 && sqlite3_errcode(d->app) == SQLITE_OK)
			d->fresh[d->n_fresh++] = token;
	}
	sqlite3_finalize(s);
}

/* The app changes its telemetry afterwards: allowed, and it stays local once acknowledged. */
static void append_touch(struct sim_device *d, const struct sim_table *t)
{
	struct world *w = d->w;
	char sql[SQL_MAX];

	if (w->n_token == 0)
		return;
	struct token *token = &w->token[rng_below(&w->chance, (uint32_t)w->n_token)];
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

/* ---- new versions ---- */

void app_upgrade(struct sim_device *d)
{
	struct world *w = d->w;
	unsigned i = rng_below(&w->chance, w->n_table);
	const struct sim_table *t = w->table[i];
	char sql[SQL_MAX];

	if (!t->added || d->app_tx || has_added(d, t))
		return;
	snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN %s TEXT", t->name, t->added);
	sim_clock(w, d);
	int rc = sqlite3_exec(app_connection(d), sql, NULL, NULL, NULL) & 0xff;
	sim_trace(w, "%s   app %s: %d", d->name, sql, rc);
	if (rc == SQLITE_OK) {
		sim_fault(w, FAULT_UPGRADED);
		d->upgraded |= 1u << i;
	}
	if (!device_struck(d))
		device_step(d, &(struct event){.type = EV_LOCAL});
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

	for (unsigned i = 0; i < w->n_table; i++) {
		const struct sim_table *t = w->table[i];
		if (!has_added(d, t))
			continue;
		snprintf(sql, sizeof sql, "SELECT %s FROM %s", t->added, t->name);
		if (!prepares(d, sql, &row))
			d->upgraded &= ~(1u << i);
	}
	for (size_t i = 0; i < w->n_token; i++) {
		struct token *t = &w->token[i];
		if (t->device != d->index || t->touched || t->vanished || d->restored)
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
		if (t->append || t->n_col == t->n_key)
			continue;
		const char *k = t->col[t->n_key - 1], *c = t->col[t->n_col - 1];
		snprintf(sql, sizeof sql, "UPDATE %s SET %s='%s' WHERE %s=(SELECT min(%s) FROM %s)",
			 t->name, c, last, k, k, t->name);
		sim_trace(w, "%s   app %s", d->name, sql);
		if (sqlite3_exec(app_connection(d), sql, NULL, NULL, NULL) != SQLITE_OK)
			sim_fail(w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
	}
	if (!w->failed)
		device_step(d, &(struct event){.type = EV_LOCAL});
}

static void write_one(struct sim_device *d)
{
	struct world *w = d->w;
	const struct sim_table *t = w->table[rng_below(&w->chance, w->n_table)];

	if (!t->append) {
		merge_write(d, t);
	} else if (rng_chance(&w->chance, 150)) {
		append_touch(d, t);
	} else {
		bool big = rng_chance(&w->chance, 15);
		append_rows(d, t, 1 + rng_below(&w->chance, big ? BIG_ROWS : 4));
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
		add_insert(sql, t, " OR IGNORE");
		if (t->append || sqlite3_prepare_v2(d->app, sql, -1, &s, NULL) != SQLITE_OK)
			continue;
		for (uint64_t n = 0; n < spots; n++) {
			w->spot = n * w->c.moving;
			bind_all(w, t, s);
			run(d, s);
		}
		sqlite3_finalize(s);
	}
	w->spot = 0;
	app_end(d);
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
