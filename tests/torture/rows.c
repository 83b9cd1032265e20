/* Statements that write rows. */
#include <stdio.h>
#include <string.h>

#include "tests/torture/torture.h"

enum { BIG_MIN = 20000, BIG_MAX = 200000 };

static bool chance(struct world *w, unsigned per_mille)
{
	return rng_chance(&w->chance, per_mille);
}

/* Any table that is not for telemetry. */
static struct table *some_table(struct world *w)
{
	struct table *t;

	do
		t = &w->table[rng_below(&w->chance, w->n_table)];
	while (t->append || t->untracked);
	return t;
}

static struct table *named(struct world *w, const char *name)
{
	for (unsigned i = 0; i < w->n_table; i++)
		if (strcmp(w->table[i].name, name) == 0)
			return &w->table[i];
	return NULL;
}

/* A column that may be written; outside the key where there is one. */
static struct column *some_column(struct world *w, struct table *t)
{
	for (unsigned i = 0; i < 8 && t->n_col > t->n_key; i++) {
		unsigned at = t->n_key + rng_below(&w->chance, t->n_col - t->n_key);

		if (!t->col[at].generated)
			return &t->col[at];
	}
	return t->n_col > t->n_key ? &t->col[t->n_key] : NULL;
}

static struct column *some_key(struct world *w, struct table *t)
{
	return &t->col[rng_below(&w->chance, t->n_key)];
}

static void put_any(struct world *w, struct buf *b, const struct column *c)
{
	if (c->key)
		put_key_value(w, b, c);
	else
		put_value(w, b, c);
}

static void put_columns(const struct table *t, struct buf *b)
{
	bool first = true;

	for (unsigned i = 0; i < t->n_col; i++) {
		if (t->col[i].generated)
			continue;
		put(b, first ? "(" : ", ");
		put_name(b, t->col[i].name);
		first = false;
	}
	put(b, ")");
}

static void put_tuple(struct world *w, const struct table *t, struct buf *b)
{
	bool first = true;

	for (unsigned i = 0; i < t->n_col; i++) {
		if (t->col[i].generated)
			continue;
		put(b, first ? "(" : ", ");
		/* An INTEGER PRIMARY KEY is often left to SQLite. */
		if (i == 0 && t->n_key == 1 && strcmp(t->col[0].type, "INTEGER") == 0 &&
		    !t->strict && chance(w, 200))
			put(b, "NULL");
		else
			put_any(w, b, &t->col[i]);
		first = false;
	}
	put(b, ")");
}

static void put_key_is(struct world *w, const struct table *t, struct buf *b)
{
	for (unsigned i = 0; i < t->n_key; i++) {
		put(b, i ? " AND " : " WHERE ");
		put_name(b, t->col[i].name);
		put(b, chance(w, 150) ? " IS " : " = ");
		put_key_value(w, b, &t->col[i]);
	}
}

/* A condition that some rows meet. */
static void put_some(struct world *w, struct table *t, struct buf *b)
{
	const struct column *c = chance(w, 500) ? some_key(w, t) : some_column(w, t);

	c = c ? c : &t->col[0];
	put(b, " WHERE ");
	put_name(b, c->name);
	switch (rng_below(&w->chance, 5)) {
	case 0:
		put(b, " > ");
		put_any(w, b, c);
		break;
	case 1:
		put(b, " IN (");
		put_any(w, b, c);
		put(b, ", ");
		put_any(w, b, c);
		put(b, ")");
		break;
	case 2:
		put(b, " IN (SELECT id FROM twin1 UNION ALL SELECT a FROM twin2)");
		break;
	case 3:
		put(b, " IS NOT ");
		put_any(w, b, c);
		break;
	default:
		put(b, " < (SELECT max(");
		put_name(b, c->name);
		put(b, ") FROM ");
		put_name(b, t->name);
		put(b, ")");
	}
}

static void put_insert(struct world *w, struct table *t, const char *verb, unsigned rows,
		       struct buf *b)
{
	put(b, "%s INTO ", verb);
	put_name(b, t->name);
	put_columns(t, b);
	put(b, " VALUES");
	for (unsigned i = 0; i < rows; i++) {
		put(b, i ? ", " : " ");
		put_tuple(w, t, b);
	}
}

/* UPDATE … SET a column or two, without a condition. */
static bool put_update(struct world *w, struct table *t, const char *how, struct buf *b)
{
	const struct column *c = some_column(w, t), *d = some_column(w, t);

	if (!c)
		return false;
	put(b, "UPDATE%s ", how);
	put_name(b, t->name);
	put(b, " SET ");
	put_name(b, c->name);
	put(b, " = ");
	if (chance(w, 150) && d)
		put_name(b, d->name);
	else
		put_value(w, b, c);
	if (d != c && !d->generated && chance(w, 300)) {
		put(b, ", ");
		put_name(b, d->name);
		put(b, " = ");
		put_value(w, b, d);
	}
	return true;
}

static void put_update_key(struct world *w, struct table *t, const char *how, struct buf *b)
{
	const struct column *c = some_key(w, t);

	put(b, "UPDATE%s ", how);
	put_name(b, t->name);
	put(b, " SET ");
	put_name(b, c->name);
	put(b, " = ");
	put_key_value(w, b, c);
	if (chance(w, 300) && some_column(w, t)) {
		c = some_column(w, t);
		if (!c->generated) {
			put(b, ", ");
			put_name(b, c->name);
			put(b, " = ");
			put_value(w, b, c);
		}
	}
}

static void put_delete(struct table *t, struct buf *b)
{
	put(b, "DELETE FROM ");
	put_name(b, t->name);
}

static void put_conflict_target(const struct table *t, struct buf *b)
{
	put(b, " ON CONFLICT(");
	for (unsigned i = 0; i < t->n_key; i++) {
		put(b, i ? ", " : "");
		put_name(b, t->col[i].name);
	}
	put(b, ")");
}

static void put_set_excluded(struct world *w, struct table *t, struct buf *b)
{
	const struct column *c = some_column(w, t);

	c = c ? c : &t->col[0];
	put(b, " DO UPDATE SET ");
	put_name(b, c->name);
	put(b, " = excluded.");
	put_name(b, c->name);
}

/* INSERT … SELECT between tables of different forms: what fits is moved over. */
static void put_insert_select(struct world *w, struct table *t, const char *verb, struct buf *b)
{
	const struct column *c = some_column(w, t);

	put(b, "%s INTO ", verb);
	put_name(b, t->name);
	put(b, "(");
	for (unsigned i = 0; i < t->n_key; i++) {
		put(b, i ? ", " : "");
		put_name(b, t->col[i].name);
	}
	if (c && !c->generated) {
		put(b, ", ");
		put_name(b, c->name);
	}
	put(b, ") SELECT ");
	for (unsigned i = 0; i < t->n_key; i++)
		put(b, "%s", i == 0 ? "id" : ", 1");
	if (c && !c->generated)
		put(b, ", %s", chance(w, 500) ? "a" : "b");
	put(b, " FROM twin%u WHERE true", 1 + rng_below(&w->chance, 3));
}

/* ---- upserts ---- */

static bool upsert(struct world *w, struct table *t, enum statement s, struct buf *b)
{
	put_insert(w, t, "INSERT", 1 + rng_below(&w->chance, 2), b);
	switch (s) {
	case S_upsert_nothing:
		put(b, " ON CONFLICT DO NOTHING");
		return true;
	case S_upsert_update:
		if (chance(w, 400))
			put(b, " ON CONFLICT");
		else
			put_conflict_target(t, b);
		put_set_excluded(w, t, b);
		return true;
	case S_upsert_where:
		put_conflict_target(t, b);
		put_set_excluded(w, t, b);
		put(b, " WHERE excluded.");
		put_name(b, t->col[0].name);
		put(b, " > 'a' OR true");
		return true;
	default:
		put_conflict_target(t, b);
		put_set_excluded(w, t, b);
		put(b, " ON CONFLICT DO %s", chance(w, 500) ? "NOTHING" : "UPDATE SET ");
		if (((const char *)b->at)[b->len - 1] == ' ') {
			put_name(b, t->col[t->n_key - 1].name);
			put(b, " = excluded.");
			put_name(b, t->col[t->n_key - 1].name);
		}
		return true;
	}
}

/* ---- updates of many rows ---- */

static bool update_keys(struct world *w, struct table *t, struct buf *b)
{
	static const char *const hows[] = {"", " OR REPLACE", " OR IGNORE", " OR FAIL"};
	const struct column *c = some_key(w, t);

	put(b, "UPDATE%s ", hows[rng_below(&w->chance, 4)]);
	put_name(b, t->name);
	put(b, " SET ");
	put_name(b, c->name);
	put(b, " = ");
	if (strstr(c->type, "TEXT"))
		put(b, chance(w, 500) ? "upper(" : "trim(");
	put_name(b, c->name);
	put(b, "%s", strstr(c->type, "TEXT") ? ")" : " + 1");
	if (chance(w, 400))
		put_some(w, t, b);
	return true;
}

static bool update_from(struct world *w, struct table *t, struct buf *b)
{
	if (!put_update(w, t, chance(w, 300) ? " OR REPLACE" : "", b))
		return false;
	put(b, " FROM (SELECT id AS fid, max(a) AS fa FROM twin%u GROUP BY id) AS f WHERE f.fid = ",
	    1 + rng_below(&w->chance, 3));
	put_name(b, t->name);
	put(b, ".");
	put_name(b, t->col[0].name);
	return true;
}

/* (a, b) = (b, a), or two rows that change places. */
static bool update_swap(struct world *w, struct table *t, struct buf *b)
{
	const struct column *c = some_column(w, t), *d = some_column(w, t);

	if (!c || c->generated || d->generated || c == d)
		return false;
	put(b, "UPDATE ");
	put_name(b, t->name);
	put(b, " SET (");
	put_name(b, c->name);
	put(b, ", ");
	put_name(b, d->name);
	put(b, ") = (");
	put_name(b, d->name);
	put(b, ", ");
	put_name(b, c->name);
	put(b, ")");
	if (chance(w, 500))
		put_some(w, t, b);
	return true;
}

/* ORDER BY the key, so that both databases take the same rows. */
static void put_limit(struct world *w, const struct table *t, struct buf *b)
{
	put(b, " ORDER BY ");
	for (unsigned i = 0; i < t->n_key; i++) {
		put(b, i ? ", " : "");
		put_name(b, t->col[i].name);
	}
	put(b, " LIMIT %u", 1 + rng_below(&w->chance, 3));
}

static void returning(struct world *w, enum statement s, struct table *t, struct buf *b)
{
	if (s == S_returning_insert) {
		put_insert(w, t, chance(w, 400) ? "REPLACE" : "INSERT OR IGNORE", 2, b);
	} else if (s == S_returning_delete || !put_update(w, t, "", b)) {
		put_delete(t, b);
		put_some(w, t, b);
	} else {
		put_key_is(w, t, b);
	}
	put(b, " RETURNING *");
}

/* ---- the view ---- */

static bool view(struct world *w, enum statement s, struct buf *b)
{
	const struct table *t = named(w, "twin1");

	if (!w->has_view)
		return false;
	if (s == S_view_insert) {
		put(b, "INSERT INTO both(id, a, ua) VALUES(");
		put_key_value(w, b, &t->col[0]);
		put(b, ", ");
		put_value(w, b, &t->col[1]);
		put(b, ", 5)");
		return true;
	}
	put(b, s == S_view_delete ? "DELETE FROM both" : "UPDATE both SET ");
	if (s == S_view_update) {
		put(b, chance(w, 300) ? "id = " : "a = ");
		put_key_value(w, b, &t->col[0]);
	}
	put(b, " WHERE id = ");
	put_key_value(w, b, &t->col[0]);
	return true;
}

/* ---- telemetry ---- */

static void put_log_row(struct world *w, struct buf *b)
{
	const struct table *t = named(w, "log");

	put(b, "(");
	if (strcmp(t->col[0].type, "INTEGER") == 0 && chance(w, 700))
		put(b, "NULL");
	else if (strcmp(t->col[0].type, "INTEGER") == 0)
		put(b, "%d", (int)rng_below(&w->chance, 300) - 20);
	else
		put(b, "'%c%u'", chance(w, 500) ? 'k' : 'K', rng_below(&w->chance, 200));
	put(b, ", %llu, ", (unsigned long long)++w->tokens);
	put_value(w, b, &t->col[2]);
	put(b, ")");
}

static bool append(struct world *w, enum statement s, struct buf *b)
{
	static const char *const verbs[] = {"INSERT", "INSERT OR IGNORE", "INSERT OR FAIL"};
	unsigned rows = chance(w, 50) ? 100 : 1 + rng_below(&w->chance, 3);

	switch (s) {
	case S_append_delete:
		put(b, "DELETE FROM log WHERE token %% 7 = %u", rng_below(&w->chance, 7));
		return true;
	case S_append_update:
		w->append_touched = true;
		put(b, "UPDATE log SET v = 'changed' WHERE token %% 11 = %u",
		    rng_below(&w->chance, 11));
		return true;
	case S_append_key:
		w->append_touched = w->append_rekeyed = true;
		put(b,
		    "UPDATE OR IGNORE log SET id = %s WHERE token = (SELECT max(token) FROM log)",
		    strcmp(named(w, "log")->col[0].type, "INTEGER") == 0 ? "id + 1" : "upper(id)");
		return true;
	default:
		put(b, "%s INTO log(id, token, v) VALUES",
		    s == S_append_replace ? "REPLACE" : verbs[rng_below(&w->chance, 3)]);
		for (unsigned i = 0; i < rows; i++) {
			put(b, i ? ", " : " ");
			put_log_row(w, b);
		}
		return true;
	}
}

static const char *update_how(enum statement s)
{
	switch (s) {
	case S_update_or_replace:
		return " OR REPLACE";
	case S_update_or_ignore:
		return " OR IGNORE";
	case S_update_or_fail:
		return " OR FAIL";
	case S_update_or_abort:
		return " OR ABORT";
	case S_update_or_rollback:
		return " OR ROLLBACK";
	default:
		return "";
	}
}

/* An update with a conflict clause: of a key, of many rows, or of one. */
static bool update_or(struct world *w, enum statement s, struct table *t, struct buf *b)
{
	if (chance(w, 300)) {
		put_update_key(w, t, update_how(s), b);
		put_key_is(w, t, b);
		return true;
	}
	if (!put_update(w, t, update_how(s), b))
		return false;
	if (chance(w, 500))
		put_some(w, t, b);
	else
		put_key_is(w, t, b);
	return true;
}

static void big_value(struct world *w, struct buf *b)
{
	size_t n = rng_range(&w->chance, BIG_MIN, BIG_MAX);

	put(b, "REPLACE INTO twin1(id, a) VALUES(%u, ", rng_below(&w->chance, 4));
	if (chance(w, 500)) {
		put(b, "zeroblob(%zu))", n);
		return;
	}
	/* Does not pack well. */
	put(b, "x'");
	for (size_t i = 0; i < n / 40; i++)
		put(b, "%016llx", (unsigned long long)rng_u64(&w->chance));
	put(b, "')");
}

bool rows_statement(struct world *w, enum statement s, struct buf *b)
{
	static const char *const insert_verbs[] = {[S_insert] = "INSERT",
						   [S_insert_rows] = "INSERT",
						   [S_insert_or_replace] = "INSERT OR REPLACE",
						   [S_insert_or_ignore] = "INSERT OR IGNORE",
						   [S_insert_or_fail] = "INSERT OR FAIL",
						   [S_insert_or_abort] = "INSERT OR ABORT",
						   [S_insert_or_rollback] = "INSERT OR ROLLBACK",
						   [S_replace_into] = "REPLACE"};
	struct table *t = some_table(w);

	switch (s) {
	case S_insert:
		put_insert(w, t, insert_verbs[s], 1, b);
		return true;
	case S_insert_rows:
	case S_insert_or_replace:
	case S_insert_or_ignore:
	case S_insert_or_fail:
	case S_insert_or_abort:
	case S_insert_or_rollback:
	case S_replace_into:
		put_insert(w, t, insert_verbs[s], 1 + rng_below(&w->chance, 3), b);
		return true;
	case S_insert_default:
		put(b, "INSERT INTO ");
		put_name(b, t->name);
		put(b, " DEFAULT VALUES");
		return true;
	case S_insert_select:
		put_insert_select(w, t, chance(w, 500) ? "REPLACE" : "INSERT OR IGNORE", b);
		return true;
	case S_insert_select_twin:
		put(b, "%s INTO twin%u SELECT * FROM twin%u",
		    chance(w, 500)   ? "INSERT"
		    : chance(w, 500) ? "REPLACE"
				     : "INSERT OR IGNORE",
		    1 + rng_below(&w->chance, 3), 1 + rng_below(&w->chance, 3));
		return true;
	case S_upsert_nothing:
	case S_upsert_update:
	case S_upsert_where:
	case S_upsert_chain:
		return upsert(w, t, s, b);
	case S_update_one:
		if (!put_update(w, t, "", b))
			return false;
		put_key_is(w, t, b);
		return true;
	case S_update_some:
		if (!put_update(w, t, "", b))
			return false;
		put_some(w, t, b);
		return true;
	case S_update_all:
		return put_update(w, t, "", b);
	case S_update_or_replace:
	case S_update_or_ignore:
	case S_update_or_fail:
	case S_update_or_abort:
	case S_update_or_rollback:
		return update_or(w, s, t, b);
	case S_update_key:
		put_update_key(w, t, "", b);
		put_key_is(w, t, b);
		return true;
	case S_update_keys:
		return update_keys(w, t, b);
	case S_update_from:
		return update_from(w, t, b);
	case S_update_swap:
		return update_swap(w, t, b);
	case S_update_limit:
		if (t->without_rowid || !put_update(w, t, "", b))
			return false;
		put_limit(w, t, b);
		return true;
	case S_delete_one:
		put_delete(t, b);
		put_key_is(w, t, b);
		return true;
	case S_delete_some:
		put_delete(t, b);
		put_some(w, t, b);
		return true;
	case S_delete_all:
		put_delete(t, b);
		return true;
	case S_delete_limit:
		if (t->without_rowid)
			return false;
		put_delete(t, b);
		put_limit(w, t, b);
		return true;
	case S_returning_insert:
	case S_returning_update:
	case S_returning_delete:
		returning(w, s, t, b);
		return true;
	case S_with_insert:
		put(b,
		    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
		    "%u) INSERT OR REPLACE INTO twin%u SELECT i, i * 2, 'n' || i FROM n",
		    1 + rng_below(&w->chance, 30), 1 + rng_below(&w->chance, 2));
		return true;
	case S_view_insert:
	case S_view_update:
	case S_view_delete:
		return view(w, s, b);
	case S_big_value:
		big_value(w, b);
		return true;
	case S_append_insert:
	case S_append_replace:
	case S_append_delete:
	case S_append_update:
	case S_append_key:
		return append(w, s, b);
	case S_untracked_write:
		put_insert(w, named(w, "twin3"), "REPLACE", 3, b);
		return true;
	default:
		return false;
	}
}
