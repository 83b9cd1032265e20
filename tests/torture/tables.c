/* Random tables. What comes out is valid SQL; that rows often break its constraints is meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/torture/torture.h"

/* Names that could be taken for one of ours in a trigger, or need quoting. */
static const char *const odd_columns[] = {
	"x",	   "z",	    "col", "stamp", "gen", "k0",    "new",   "old",  "uid",	 "rowid",
	"user_id", "group", "a b", "q\"q",  "é",   "floor", "value", "site", "offset_ms"};
static const char *const odd_tables[] = {"order", "T 1", "new", "old", "x", "user_id", "z"};
static const char *const types[] = {"INTEGER", "TEXT", "REAL",	      "BLOB",	 "NUMERIC",
				    "",	       "INT",  "VARCHAR(10)", "BOOLEAN", "DOUBLE"};
static const char *const strict_types[] = {"INTEGER", "TEXT", "REAL", "BLOB", "ANY", "INT"};
static const char *const clauses[] = {"REPLACE", "REPLACE", "IGNORE", "FAIL", "ROLLBACK", "ABORT"};

#define PICK(w, list) list[rng_below(&(w)->chance, sizeof(list) / sizeof *(list))]

static bool chance(struct world *w, unsigned per_mille)
{
	return rng_chance(&w->chance, per_mille);
}

static struct table *add_table(struct world *w, const char *name)
{
	struct table *t = &w->table[w->n_table++];

	if (w->n_table > TABLES)
		abort();
	*t = (struct table){0};
	snprintf(t->name, sizeof t->name, "%s", name);
	return t;
}

static struct column *add_column(struct table *t, const char *name, const char *type, bool key)
{
	struct column *c = &t->col[t->n_col++];

	if (t->n_col > COLUMNS)
		abort();
	*c = (struct column){.type = type, .key = key};
	snprintf(c->name, sizeof c->name, "%s", name);
	t->n_key += key;
	return c;
}

static void put_column(struct buf *b, const struct table *t, unsigned i)
{
	put(b, "%s", i ? ", " : "");
	put_name(b, t->col[i].name);
	if (*t->col[i].type)
		put(b, " %s", t->col[i].type);
}

/* ---- keys ---- */

struct key_kind {
	enum feature feature;
	const char *type, *decl;
	bool rowid;
};

static const struct key_kind key_kinds[] = {
	{F_key_rowid, "INTEGER", "INTEGER PRIMARY KEY", true},
	{F_key_rowid, "INTEGER", "INTEGER PRIMARY KEY", true},
	{F_key_autoincrement, "INTEGER", "INTEGER PRIMARY KEY AUTOINCREMENT", true},
	{F_key_desc, "INTEGER", "INTEGER PRIMARY KEY DESC", false},
	{F_key_int, "INT", "INT PRIMARY KEY", false},
	{F_key_text, "TEXT", "TEXT PRIMARY KEY", false},
	{F_key_nocase, "TEXT", "TEXT COLLATE NOCASE PRIMARY KEY", false},
	{F_key_rtrim, "TEXT", "TEXT COLLATE RTRIM PRIMARY KEY", false},
	{F_key_blob, "BLOB", "BLOB PRIMARY KEY", false},
	{F_key_any, "", "PRIMARY KEY", false},
	{F_key_real, "REAL", "REAL PRIMARY KEY", false},
	{F_key_numeric, "NUMERIC", "NUMERIC PRIMARY KEY", false},
};

static const char *key_clause(struct world *w)
{
	static char text[32];

	if (!chance(w, 80))
		return "";
	note_feature(w, F_key_conflict_clause);
	snprintf(text, sizeof text, " ON CONFLICT %s", PICK(w, clauses));
	return text;
}

/* The columns of the key, and what of it stands at the table's end. */
static void put_single_key(struct world *w, struct table *t, struct buf *b)
{
	const struct key_kind *k = &PICK(w, key_kinds);
	const char *decl = k->decl;
	struct column *c;

	if (t->strict && !*k->type)
		k = &key_kinds[5];
	if (t->strict && strcmp(k->type, "NUMERIC") == 0)
		k = &key_kinds[4];
	decl = k->decl;
	if (t->without_rowid && k->feature == F_key_autoincrement)
		decl = "INTEGER PRIMARY KEY";
	note_feature(w, decl == k->decl ? k->feature : F_key_rowid);
	c = add_column(t, chance(w, 150) ? "key" : "id", k->type, true);
	c->not_null = t->without_rowid || t->strict;
	put_name(b, c->name);
	if (k->feature == F_key_autoincrement && decl == k->decl)
		put(b, " INTEGER PRIMARY KEY%s AUTOINCREMENT", key_clause(w));
	else
		put(b, " %s%s", decl, key_clause(w));
}

static void put_pair_key(struct world *w, struct table *t, struct buf *b, struct buf *end)
{
	bool triple = chance(w, 300);
	bool odd = !t->strict && chance(w, 300);

	note_feature(w, triple ? F_key_triple : F_key_pair);
	add_column(t, "k1", "TEXT", true);
	add_column(t, "k2", t->strict ? "INTEGER" : PICK(w, types), true);
	put_column(b, t, 0);
	if (chance(w, 400))
		put(b, " COLLATE NOCASE");
	put_column(b, t, 1);
	if (triple) {
		add_column(t, "k3", "INT", true);
		put_column(b, t, 2);
	}
	put(end, ", PRIMARY KEY(%s%s", odd ? "k1 COLLATE RTRIM, k2" : "k2, k1",
	    triple ? ", k3 DESC" : "");
	if (odd)
		note_feature(w, F_key_index_collation);
	put(end, ")%s", key_clause(w));
}

/* ---- other columns ---- */

static void put_unique_clause(struct world *w, struct buf *b)
{
	if (chance(w, 250)) {
		note_feature(w, F_unique_clause);
		put(b, " ON CONFLICT %s", PICK(w, clauses));
	}
}

/* What takes the place of a NULL; of the column's own type, or of one that it converts. */
static const char *default_of(struct world *w, const struct column *c)
{
	if (chance(w, 500))
		return "7";
	return strstr(c->type, "TEXT") || strstr(c->type, "CHAR")   ? "\"t7\""
	       : strstr(c->type, "REAL") || strstr(c->type, "DOUB") ? "7.0"
								    : "(3 + 4)";
}

static void put_column_options(struct world *w, struct table *t, struct column *c, struct buf *b)
{
	/* Where two things are wrong with a row of a STRICT table, a trigger changes which is told.
	 */
	if (t->strict) {
		if (chance(w, 130)) {
			note_feature(w, F_unique);
			put(b, " UNIQUE");
			put_unique_clause(w, b);
		}
		return;
	}
	bool not_null = chance(w, 120);

	if (not_null) {
		note_feature(w, F_not_null);
		c->not_null = c->has_default = true;
		put(b, " NOT NULL");
		if (chance(w, 300)) {
			note_feature(w, F_not_null_replace);
			put(b, " ON CONFLICT REPLACE");
		}
		put(b, " DEFAULT %s", default_of(w, c));
	} else if (chance(w, 150)) {
		note_feature(w, F_default_value);
		c->has_default = true;
		put(b, " DEFAULT %s", chance(w, 500) ? "'dflt'" : "(1 + 1.5)");
	}
	if (chance(w, 120)) {
		note_feature(w, F_check);
		put(b, " CHECK(");
		put_name(b, c->name);
		put(b, " IS NOT 3)");
	}
	if (chance(w, 100)) {
		note_feature(w, F_unique_nocase);
		put(b, " COLLATE NOCASE UNIQUE");
	} else if (chance(w, 130)) {
		note_feature(w, F_unique);
		put(b, " UNIQUE");
		put_unique_clause(w, b);
	}
}

static void put_generated(struct world *w, struct table *t, struct buf *b, unsigned n)
{
	bool stored = chance(w, 500);
	struct column *of = &t->col[t->n_col - 1], *c;
	char name[24];

	snprintf(name, sizeof name, "g%u", n);
	c = add_column(t, name, t->strict ? "ANY" : "", false);
	c->generated = true;
	put_column(b, t, t->n_col - 1);
	put(b, " AS (");
	put_name(b, of->name);
	put(b, "%s) %s", chance(w, 500) ? " || '-'" : "", stored ? "STORED" : "VIRTUAL");
	note_feature(w, stored ? F_generated_stored : F_generated_virtual);
	if (chance(w, 200)) {
		note_feature(w, F_unique_generated);
		put(b, " UNIQUE");
	}
}

static void put_columns(struct world *w, struct table *t, struct buf *b)
{
	bool wide = chance(w, 60);
	unsigned n = wide ? COLUMNS - t->n_key : 1 + rng_below(&w->chance, 6);
	bool odd = chance(w, 200);

	if (wide)
		note_feature(w, F_wide);
	if (odd && !wide)
		note_feature(w, F_odd_names);
	for (unsigned i = 0; i < n && t->n_col < COLUMNS; i++) {
		char name[24];
		struct column *c;

		snprintf(name, sizeof name, "c%u", i);
		/* Different ones: each row of the list at most once. */
		if (odd && !wide) {
			unsigned step = sizeof odd_columns / sizeof *odd_columns / 6;
			snprintf(name, sizeof name, "%s",
				 odd_columns[i * step + rng_below(&w->chance, step)]);
		}
		c = add_column(t, name, t->strict ? PICK(w, strict_types) : PICK(w, types), false);
		put_column(b, t, t->n_col - 1);
		if (!wide)
			put_column_options(w, t, c, b);
		if (!wide && chance(w, 100))
			put_generated(w, t, b, i);
	}
}

static void put_pair_unique(struct world *w, struct table *t, struct buf *b)
{
	unsigned i = t->n_key, j = t->n_col - 1;

	if (i >= j || t->col[i].generated || t->col[j].generated || !chance(w, 200))
		return;
	note_feature(w, F_unique_pair);
	put(b, ", UNIQUE(");
	put_name(b, t->col[i].name);
	put(b, ", ");
	put_name(b, t->col[j].name);
	put(b, ")");
	put_unique_clause(w, b);
}

/* Indexes are the app's business; a unique one of an odd kind lets REPLACE displace rows. */
static void put_indexes(struct world *w, struct table *t, struct buf *b, unsigned n)
{
	static const enum feature kinds[] = {F_index_plain, F_index_partial_unique,
					     F_index_expression_unique, F_index_collation_unique};
	enum feature f = PICK(w, kinds);

	if (!chance(w, 350) || t->n_col == t->n_key)
		return;
	note_feature(w, f);
	put(b, "CREATE %sINDEX i%u ON ", f == F_index_plain ? "" : "UNIQUE ", n);
	put_name(b, t->name);
	put(b, "(");
	if (f == F_index_expression_unique)
		put(b, "substr(");
	put_name(b, t->col[t->n_key].name);
	put(b, "%s)",
	    f == F_index_expression_unique  ? ", 1, 2)"
	    : f == F_index_collation_unique ? " COLLATE NOCASE DESC"
					    : "");
	if (f == F_index_partial_unique) {
		put(b, " WHERE ");
		put_name(b, t->col[t->n_col - 1].name);
		put(b, " IS NOT NULL");
	}
	put(b, ";\n");
}

static void make_table(struct world *w, const char *name)
{
	struct table *t = add_table(w, name);
	struct buf *b = &w->schema, end = {.max = 1 << 16};

	t->strict = chance(w, 120);
	t->without_rowid = chance(w, 250);
	put(b, "CREATE TABLE ");
	put_name(b, t->name);
	put(b, "(");
	if (chance(w, 250))
		put_pair_key(w, t, b, &end);
	else
		put_single_key(w, t, b);
	put_columns(w, t, b);
	put(b, "%s", text_of(&end));
	put_pair_unique(w, t, b);
	put(b, ")");
	if (t->without_rowid)
		put(b, " WITHOUT ROWID");
	if (t->strict)
		put(b, "%s STRICT", t->without_rowid ? "," : "");
	put(b, ";\n");
	if (t->strict)
		note_feature(w, F_strict);
	if (t->without_rowid)
		note_feature(w, F_without_rowid);
	put_indexes(w, t, b, w->n_table);
	buf_free(&end);
}

/* ---- parents and children ---- */

static void make_family(struct world *w)
{
	static const char *const actions[] = {"CASCADE", "SET NULL", "RESTRICT", "NO ACTION",
					      "SET DEFAULT"};
	struct table *p = add_table(w, "parent"), *c = add_table(w, "child");
	bool deferred = chance(w, 400), self = chance(w, 500);
	struct buf *b = &w->schema;

	note_feature(w, F_foreign_key);
	add_column(p, "id", "INTEGER", true);
	add_column(p, "up", "INTEGER", false);
	add_column(p, "v", "", false);
	put(b, "CREATE TABLE parent(id INTEGER PRIMARY KEY, up INTEGER");
	if (self) {
		note_feature(w, F_foreign_key_self);
		put(b, " REFERENCES parent ON DELETE CASCADE ON UPDATE %s", PICK(w, actions));
	}
	put(b, ", v);\n");
	add_column(c, "id", "TEXT", true);
	add_column(c, "parent", "INTEGER", false)->has_default = true;
	add_column(c, "v", "", false);
	put(b,
	    "CREATE TABLE child(id TEXT PRIMARY KEY, parent INTEGER DEFAULT 1 REFERENCES "
	    "parent(id) ON DELETE %s ON UPDATE %s",
	    actions[rng_below(&w->chance, 2)], PICK(w, actions));
	if (deferred) {
		note_feature(w, F_foreign_key_deferred);
		put(b, " DEFERRABLE INITIALLY DEFERRED");
	}
	put(b, ", v)%s;\n", chance(w, 400) ? " WITHOUT ROWID" : "");
}

/* Two tables of one form, so that INSERT … SELECT could copy pages; and one that is not tracked. */
static void make_twins(struct world *w)
{
	const char *form = chance(w, 500) ? "(id INTEGER PRIMARY KEY, a, b TEXT)"
					  : "(id TEXT PRIMARY KEY, a, b TEXT)";
	static const char *const names[] = {"twin1", "twin2", "twin3"};

	for (unsigned i = 0; i < 3; i++) {
		struct table *t = add_table(w, names[i]);

		t->twin = true;
		t->untracked = i == 2;
		add_column(t, "id", strstr(form, "INTEGER") ? "INTEGER" : "TEXT", true);
		add_column(t, "a", "", false);
		add_column(t, "b", "TEXT", false);
		put(&w->schema, "CREATE TABLE %s%s;\n", names[i], form);
	}
}

/* Values that change hands. */
static void make_ranked(struct world *w)
{
	struct table *t = add_table(w, "ranked");

	add_column(t, "id", "INTEGER", true);
	add_column(t, "rank", "INTEGER", false);
	add_column(t, "note", "", false);
	put(&w->schema,
	    "CREATE TABLE ranked(id INTEGER PRIMARY KEY, rank INTEGER UNIQUE, note);\n");
}

static void make_append(struct world *w)
{
	bool by_key = chance(w, 500);
	struct table *t = add_table(w, "log");

	note_feature(w, by_key ? F_append_by_key : F_append_by_number);
	t->append = true;
	add_column(t, "id", by_key ? "INTEGER" : "TEXT", true);
	add_column(t, "token", "INTEGER", false);
	add_column(t, "v", "", false);
	put(&w->schema, "CREATE TABLE log(id %s PRIMARY KEY%s, token INTEGER, v)%s;\n",
	    by_key ? "INTEGER" : "TEXT", by_key ? "" : " COLLATE NOCASE",
	    !by_key && chance(w, 300) ? " WITHOUT ROWID" : "");
}

/* ---- the app's triggers ---- */

static struct column *last_plain(struct table *t)
{
	for (unsigned i = t->n_col; i > t->n_key; i--)
		if (!t->col[i - 1].generated)
			return &t->col[i - 1];
	return NULL;
}

static void put_trigger(struct world *w, unsigned n, struct table *t)
{
	static const enum feature kinds[] = {F_trigger_audit,	    F_trigger_own_row,
					     F_trigger_other_table, F_trigger_raise,
					     F_trigger_ignore,	    F_trigger_before};
	static const char *const raises[] = {"ABORT", "FAIL", "ROLLBACK"};
	static const char *const events[] = {"INSERT", "UPDATE", "DELETE"};
	enum feature f = PICK(w, kinds);
	const char *event = PICK(w, events), *row = event[0] == 'D' ? "OLD" : "NEW";
	const struct column *key = &t->col[0], *c = last_plain(t);
	struct buf *b = &w->schema;

	if (!c)
		return;
	if (f == F_trigger_own_row && event[0] == 'D')
		f = F_trigger_audit;
	note_feature(w, f);
	put(b, "CREATE TRIGGER app%u %s %s ON ", n,
	    f == F_trigger_audit || f == F_trigger_own_row || f == F_trigger_other_table ? "AFTER"
											 : "BEFORE",
	    event);
	put_name(b, t->name);
	switch (f) {
	case F_trigger_own_row:
		put(b, " WHEN length(NEW.");
		put_name(b, c->name);
		put(b, ") < 3 BEGIN UPDATE ");
		put_name(b, t->name);
		put(b, " SET ");
		put_name(b, c->name);
		put(b, " = ");
		put_name(b, c->name);
		put(b, " || 'xyz' WHERE ");
		put_name(b, key->name);
		put(b, " = NEW.");
		put_name(b, key->name);
		put(b, "; END;\n");
		return;
	case F_trigger_raise:
	case F_trigger_ignore:
		put(b, " WHEN %s.", row);
		put_name(b, c->name);
		put(b, " = 2 BEGIN SELECT RAISE(");
		if (f == F_trigger_ignore)
			put(b, "IGNORE); END;\n");
		else
			put(b, "%s, 'the app says no'); END;\n", PICK(w, raises));
		return;
	case F_trigger_other_table:
		put(b, " BEGIN UPDATE OR IGNORE twin1 SET a = %s.", row);
		put_name(b, key->name);
		put(b, " WHERE id = (SELECT min(id) FROM twin1); DELETE FROM twin2 WHERE id = %s.",
		    row);
		put_name(b, key->name);
		put(b, "; END;\n");
		return;
	default:
		put(b, " BEGIN INSERT OR REPLACE INTO twin2(id, a, b) VALUES(");
		put(b, "abs(length(%s.", row);
		put_name(b, key->name);
		put(b, ")) %% 5, %s.", row);
		put_name(b, c->name);
		put(b, ", '%s'); END;\n", event);
	}
}

static void make_view(struct world *w)
{
	note_feature(w, F_view);
	w->has_view = true;
	put(&w->schema,
	    "CREATE VIEW both AS SELECT t.id AS id, t.a AS a, u.a AS ua FROM twin1 AS t LEFT JOIN "
	    "twin2 AS u USING(id);\n"
	    "CREATE TRIGGER both_ins INSTEAD OF INSERT ON both BEGIN INSERT OR IGNORE INTO "
	    "twin1(id, a) VALUES(NEW.id, NEW.a); INSERT OR REPLACE INTO twin2(id, a) "
	    "VALUES(NEW.id, NEW.ua); END;\n"
	    "CREATE TRIGGER both_upd INSTEAD OF UPDATE ON both BEGIN UPDATE twin1 SET id = "
	    "NEW.id, a = NEW.a WHERE id = OLD.id; UPDATE OR REPLACE twin2 SET id = NEW.id, a = "
	    "NEW.ua WHERE id = OLD.id; END;\n"
	    "CREATE TRIGGER both_del INSTEAD OF DELETE ON both BEGIN DELETE FROM twin1 WHERE id "
	    "= OLD.id; DELETE FROM twin2 WHERE id = OLD.id; END;\n");
}

void tables_make(struct world *w)
{
	unsigned n = 2 + rng_below(&w->chance, 2);

	for (unsigned i = 0; i < n; i++) {
		char name[24];

		snprintf(name, sizeof name, "t%u", i);
		if (i == 0 && chance(w, 200))
			snprintf(name, sizeof name, "%s", PICK(w, odd_tables));
		make_table(w, name);
	}
	make_twins(w);
	if (chance(w, 600))
		make_family(w);
	make_ranked(w);
	make_append(w);
	if (chance(w, 500))
		make_view(w);
	for (unsigned i = 0; i < n; i++)
		if (chance(w, 350))
			put_trigger(w, i, &w->table[i]);
}
