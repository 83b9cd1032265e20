/*
 * What apps do to their schema (J5). The writer's app does it while it writes; the apps of the
 * other devices follow some time later, so that old and new ones are side by side.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/torture/torture.h"

#define PICK(w, list) list[rng_below(&(w)->chance, sizeof(list) / sizeof *(list))]

/* The server keeps the columns of all times, and takes no more than a table may have. */
enum { FEW_COLUMNS = COLUMNS - MIGRATIONS };

static bool chance(struct world *w, unsigned per_mille)
{
	return rng_chance(&w->chance, per_mille);
}

/* ---- migrations: statements, each on a line ---- */

/* Runs them on the writer; kept for the others if all of them worked. */
static bool migrate(struct world *w, enum statement s, const char *lines)
{
	struct buf *keep;
	const char *at = lines;
	bool worked = true;

	if (w->n_migration == MIGRATIONS)
		return false;
	twin_run(w, 0, s, "BEGIN");
	while (*at && worked && !w->failed) {
		size_t n = strcspn(at, "\n");
		struct buf one = {.max = 1 << 20};

		put(&one, "%.*s", (int)n, at);
		worked = twin_run(w, 0, s, text_of(&one));
		buf_free(&one);
		at += n + (at[n] == '\n');
	}
	if (twin_run(w, 0, s, worked ? "COMMIT" : "ROLLBACK") != worked) {
		/* A deferred foreign key may forbid it. */
		if (worked)
			twin_run(w, 0, s, "ROLLBACK");
		worked = false;
	}
	if (!worked || w->failed)
		return false;
	keep = &w->migration[w->n_migration++];
	*keep = (struct buf){.max = 1 << 20};
	put(keep, "BEGIN; %s; COMMIT", lines);
	for (uint8_t *c = keep->at; c < keep->at + keep->len; c++)
		*c = *c == '\n' ? ';' : *c;
	w->device[w->writer].schema_at = w->n_migration;
	return true;
}

static bool renames_a_table(const struct world *w, unsigned migration)
{
	bool yes = false;

	for (unsigned i = 0; i < w->n_table; i++)
		yes |= w->table[i].renamed_at == migration;
	return yes;
}

bool schema_catch_up(struct world *w, struct device *d)
{
	sqlite3 *db = NULL;
	bool good = sqlite3_open(d->path, &db) == SQLITE_OK;

	while (good && d->schema_at < w->n_migration) {
		/* Renamed and rebuilt unseen, in either order, it would be another table. */
		bool renames = renames_a_table(w, d->schema_at + 1);

		if (renames && !d->en)
			break;
		if (renames)
			fabric_look(w, d);
		put(&w->log, "/* the app of device %u migrates */\n", d->index);
		good = sqlite3_exec(db, text_of(&w->migration[d->schema_at]), NULL, NULL, NULL) ==
		       SQLITE_OK;
		if (!good)
			put(&w->log, "/* … not yet: %s */\n", sqlite3_errmsg(db));
		d->schema_at += good;
		d->followed |= good;
		if (renames && good)
			fabric_look(w, d);
	}
	sqlite3_close(db);
	return d->schema_at == w->n_migration;
}

/* The app of a device that is behind is brought up to date. */
static bool device_migrates(struct world *w)
{
	struct device *d = &w->device[rng_below(&w->chance, DEVICES)];

	if (d->index == w->writer || d->schema_at == w->n_migration)
		return false;
	w->totals->run[S_device_migrates]++;
	w->totals->worked[S_device_migrates] += schema_catch_up(w, d);
	return true;
}

/* ---- which table, which column ---- */

/* Tables that no statement of this test names by heart. */
static bool is_free(const struct table *t)
{
	return !t->append && !t->twin && !t->untracked && strcmp(t->name, "ranked") != 0;
}

static bool is_child(const struct table *t)
{
	return strcmp(t->name, "parent") == 0 || strcmp(t->name, "child") == 0;
}

static struct table *some_table(struct world *w)
{
	struct table *t = &w->table[rng_below(&w->chance, w->n_table)];

	return is_free(t) ? t : NULL;
}

static struct column *some_column(struct world *w, struct table *t)
{
	struct column *c;

	if (t->n_col == t->n_key)
		return NULL;
	c = &t->col[t->n_key + rng_below(&w->chance, t->n_col - t->n_key)];
	return c->generated ? NULL : c;
}

static void new_name(struct world *w, char *out, size_t size)
{
	snprintf(out, size, "%s%u", chance(w, 200) ? "n q\"" : "n", ++w->n_name);
}

static void put_alter(struct buf *b, const struct table *t)
{
	put(b, "ALTER TABLE ");
	put_name(b, t->name);
}

/* ---- columns ---- */

static void put_new_column(struct world *w, const struct table *t, struct column *c, struct buf *b)
{
	static const char *const types[] = {"INTEGER", "TEXT", "REAL", "BLOB"};

	c->type = PICK(w, types);
	put_name(b, c->name);
	put(b, " %s", c->type);
	if (chance(w, 120) && !t->strict && t->n_col > t->n_key) {
		c->generated = true;
		put(b, " AS (");
		put_name(b, t->col[t->n_key].name);
		put(b, ")");
		return;
	}
	c->not_null = chance(w, 150);
	c->has_default = c->not_null || chance(w, 200);
	c->late = c->has_default;
	if (c->not_null)
		put(b, " NOT NULL");
	if (c->has_default)
		put(b, " DEFAULT %s",
		    strcmp(c->type, "TEXT") == 0   ? "'dflt'"
		    : strcmp(c->type, "BLOB") == 0 ? "x'07'"
		    : strcmp(c->type, "REAL") == 0 ? "7.0"
						   : "7");
}

static bool add_column(struct world *w)
{
	struct table *t = &w->table[rng_below(&w->chance, w->n_table)];
	struct column c = {.key = false};
	struct buf b = {.max = 1 << 16};
	bool done;

	if (!(is_free(t) || t->append) || t->n_col > FEW_COLUMNS)
		return false;
	new_name(w, c.name, sizeof c.name);
	put_alter(&b, t);
	put(&b, " ADD COLUMN ");
	put_new_column(w, t, &c, &b);
	done = migrate(w, S_add_column, text_of(&b));
	if (done)
		t->col[t->n_col++] = c;
	buf_free(&b);
	return true;
}

static bool rename_column(struct world *w)
{
	struct table *t = some_table(w);
	struct column *c = t ? some_column(w, t) : NULL;
	struct buf b = {.max = 1 << 16};
	char name[24];

	/* Where it is UNIQUE, the default that a device with the old name gives all is in the way.
	 */
	if (!c || c->has_default || t->n_col > FEW_COLUMNS)
		return false;
	new_name(w, name, sizeof name);
	put_alter(&b, t);
	put(&b, " RENAME COLUMN ");
	put_name(&b, c->name);
	put(&b, " TO ");
	put_name(&b, name);
	if (migrate(w, S_rename_column, text_of(&b)))
		memcpy(c->name, name, sizeof c->name);
	buf_free(&b);
	return true;
}

/* SQLite refuses it once for a column that the agent has not seen as it is now. */
static bool drop_column(struct world *w)
{
	struct table *t = some_table(w);
	struct column *c = t ? some_column(w, t) : NULL;
	struct buf b = {.max = 1 << 16};

	if (!c || !w->device[w->writer].en)
		return false;
	fabric_look(w, &w->device[w->writer]);
	put_alter(&b, t);
	put(&b, " DROP COLUMN ");
	put_name(&b, c->name);
	if (migrate(w, S_drop_column, text_of(&b))) {
		struct column *end = &t->col[--t->n_col];

		memmove(c, c + 1, (size_t)(end - c) * sizeof *c);
	}
	buf_free(&b);
	return true;
}

/* ---- tables ---- */

static bool rename_table(struct world *w)
{
	struct table *t = some_table(w);
	struct buf b = {.max = 1 << 16};
	char name[24];

	if (!t || t->renamed_at || is_child(t) || !w->device[w->writer].en)
		return false;
	fabric_look(w, &w->device[w->writer]);
	new_name(w, name, sizeof name);
	put_alter(&b, t);
	put(&b, " RENAME TO ");
	put_name(&b, name);
	if (migrate(w, S_rename_table, text_of(&b))) {
		memcpy(t->old_name, t->name, sizeof t->old_name);
		memcpy(t->name, name, sizeof t->name);
		t->renamed_at = w->n_migration;
	}
	buf_free(&b);
	return true;
}

/* What the schema has of a table besides itself: indexes and triggers go with it. */
static void put_attached(struct world *w, const struct table *t, struct buf *b)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(
		    w->plain[0],
		    "SELECT sql FROM main.sqlite_schema WHERE tbl_name = ?1 COLLATE "
		    "NOCASE AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY "
		    "rowid",
		    -1, &s, NULL) != SQLITE_OK)
		abort();
	sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
	while (sqlite3_step(s) == SQLITE_ROW)
		put(b, "\n%s", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
}

/* The columns in parentheses, as the table was declared. */
static bool put_body(struct world *w, const struct table *t, struct buf *b)
{
	sqlite3_stmt *s = NULL;
	bool found = false;

	if (sqlite3_prepare_v2(w->plain[0],
			       "SELECT substr(sql, instr(sql, '(')) FROM main.sqlite_schema WHERE "
			       "name = ?1 COLLATE NOCASE AND type = 'table'",
			       -1, &s, NULL) != SQLITE_OK)
		abort();
	sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
	if (sqlite3_step(s) == SQLITE_ROW) {
		put(b, "%s", (const char *)sqlite3_column_text(s, 0));
		found = true;
	}
	sqlite3_finalize(s);
	return found;
}

static void put_stored_columns(const struct table *t, struct buf *b)
{
	bool first = true;

	for (unsigned i = 0; i < t->n_col; i++) {
		if (t->col[i].generated)
			continue;
		put(b, first ? "" : ", ");
		put_name(b, t->col[i].name);
		first = false;
	}
}

/* Create, copy, drop, rename: SQLite's own advice for all that ALTER TABLE cannot do. */
static bool rebuild_table(struct world *w)
{
	struct table *t = some_table(w);
	struct buf b = {.max = 1 << 20};

	if (!t || is_child(t) || (t->renamed_at && !w->device[w->writer].en))
		return false;
	fabric_look(w, &w->device[w->writer]);
	put(&b, "CREATE TABLE rebuilt");
	if (put_body(w, t, &b)) {
		put(&b, "\nINSERT INTO rebuilt(");
		put_stored_columns(t, &b);
		put(&b, ") SELECT ");
		put_stored_columns(t, &b);
		put(&b, " FROM ");
		put_name(&b, t->name);
		put(&b, "\nDROP TABLE ");
		put_name(&b, t->name);
		put(&b, "\nALTER TABLE rebuilt RENAME TO ");
		put_name(&b, t->name);
		put_attached(w, t, &b);
		migrate(w, S_rebuild_table, text_of(&b));
	}
	buf_free(&b);
	return true;
}

/* ---- indexes ---- */

static bool create_index(struct world *w)
{
	struct table *t = some_table(w);
	struct column *c = t ? some_column(w, t) : NULL;
	struct buf b = {.max = 1 << 16};
	/* In UTF-16 SQLite reads a blob as text in two ways, and spoils such an index. */
	unsigned kind = rng_below(&w->chance, w->utf16 ? 1 : 4);

	/* One that hides what REPLACE removes would break capture: a test of its own. */
	if (!c || c->not_null || is_child(t))
		return false;
	put(&b, "CREATE %sINDEX \"m%u\" ON ", chance(w, 700) ? "UNIQUE " : "", ++w->n_name);
	put_name(&b, t->name);
	put(&b, kind == 1 ? "(lower(" : "(");
	put_name(&b, c->name);
	put(&b, kind == 1 ? "))" : kind == 2 ? " COLLATE NOCASE)" : ")");
	if (kind == 3) {
		put(&b, " WHERE ");
		put_name(&b, c->name);
		put(&b, " > 5");
	}
	if (migrate(w, S_create_index, text_of(&b)))
		w->has_unique = true;
	buf_free(&b);
	return true;
}

static bool drop_index(struct world *w)
{
	struct buf b = {.max = 1 << 16};

	if (!w->n_name)
		return false;
	put(&b, "DROP INDEX \"m%u\"", 1 + rng_below(&w->chance, w->n_name));
	if (migrate(w, S_drop_index, text_of(&b)))
		w->relaxed_at = w->n_migration;
	buf_free(&b);
	return true;
}

/* A trigger that comes after ours were made, and ends a statement with the row in place. */
static bool create_trigger(struct world *w)
{
	static const char *const raises[] = {"IGNORE", "FAIL, 'later'", "ABORT, 'later'"};
	static const char *const events[] = {"INSERT", "UPDATE"};
	struct table *t = some_table(w);
	struct column *c = t ? some_column(w, t) : NULL;
	struct buf b = {.max = 1 << 16};

	if (!c)
		return false;
	put(&b, "CREATE TRIGGER \"m%u\" AFTER %s ON ", ++w->n_name, PICK(w, events));
	put_name(&b, t->name);
	put(&b, " WHEN NEW.");
	put_name(&b, c->name);
	put(&b, " IN (1, 2, 't1', 't2', 1.25) BEGIN SELECT RAISE(%s); END", PICK(w, raises));
	migrate(w, S_create_trigger, text_of(&b));
	buf_free(&b);
	return true;
}

bool schema_statement(struct world *w, enum statement s)
{
	if (twin_in_transaction(w))
		return false;
	switch (s) {
	case S_add_column:
		return add_column(w);
	case S_rename_column:
		return rename_column(w);
	case S_drop_column:
		return drop_column(w);
	case S_rename_table:
		return rename_table(w);
	case S_rebuild_table:
		return rebuild_table(w);
	case S_create_index:
		return create_index(w);
	case S_create_trigger:
		return create_trigger(w);
	case S_drop_index:
		return drop_index(w);
	case S_device_migrates:
		return device_migrates(w);
	default:
		return false;
	}
}
