/* Plain SQL of apps on merge tables: values, keys, statements. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/app_internal.h"

enum { KEYS = 6 };

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
	char few[8];

	if (type == 'N') {
		bind_text(w, s,
			  at); /* the server's table has no NOT NULL: an operator must not either */
		return;
	}
	if (type == 'u') {
		/* Few values: they meet, also in a swap. */
		snprintf(few, sizeof few, "u%u", rng_below(&w->chance, 5));
		sqlite3_bind_text(s, at, few, -1, SQLITE_TRANSIENT);
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

void app_add_insert(char *sql, const struct sim_table *t, const char *how)
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
		app_add_insert(sql, t, how[rng_below(&w->chance, 5)]);
	} else if (kind < 45 && has_cells) {
		unsigned c = any_column(w, t);
		app_add_insert(sql, t, "");
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

void app_bind_all(struct world *w, const struct sim_table *t, sqlite3_stmt *s)
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

bool app_run(struct sim_device *d, sqlite3_stmt *s)
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
	return rc != SQLITE_BUSY;
}

bool app_create_twin(struct sim_device *d, const struct sim_table *t)
{
	char sql[SQL_MAX];

	snprintf(sql, sizeof sql, "%s", t->create);
	app_twin_sql(t, sql);
	return sqlite3_exec(d->app, sql, NULL, NULL, NULL) == SQLITE_OK;
}

void app_twin_sql(const struct sim_table *t, char *sql)
{
	char rest[SQL_MAX], name[80];
	char *at;

	snprintf(name, sizeof name, " %s", t->name);
	at = strstr(sql, name);
	assert(at);
	snprintf(rest, sizeof rest, "%s", at + 1);
	snprintf(at, SQL_MAX - (size_t)(at - sql), " " TWIN "%s", rest);
}

static void added_sql(const struct sim_table *t, const char *added, char *sql)
{
	snprintf(sql, SQL_MAX, "UPDATE %s SET %s=hex(randomblob(2))", t->name, added);
	add_key_equals(sql, t);
}

void app_merge_write(struct sim_device *d, const struct sim_table *t)
{
	char sql[SQL_MAX];
	sqlite3_stmt *s;

	unsigned index = table_index(d->w, t);
	const char *added = app_added(d, index);

	merge_sql(d->w, t, sql);
	if (added && rng_chance(&d->w->chance, 250))
		added_sql(t, added, sql);
	if (sqlite3_prepare_v2(d->app, sql, -1, &s, NULL) != SQLITE_OK) {
		sim_fail(d->w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
		return;
	}
	struct rng before = d->w->chance;
	app_bind_all(d->w, t, s);
	bool ran = app_run(d, s);
	sqlite3_finalize(s);
	if (!ran || !(d->w->up >> index & 1))
		return;
	app_twin_sql(t, sql);
	if (sqlite3_prepare_v2(d->app, sql, -1, &s, NULL) != SQLITE_OK) {
		sim_fail(d->w, "%s: \"%s\": %s", d->name, sql, sqlite3_errmsg(d->app));
		return;
	}
	/* The same values once more. */
	d->w->chance = before;
	app_bind_all(d->w, t, s);
	app_run(d, s);
	sqlite3_finalize(s);
}
