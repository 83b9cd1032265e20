#include <stdio.h>
#include <string.h>

#include "protocol/value_bytes.h"
#include "tests/sim/winners.h"

enum { SQL_MAX = 700 };

static struct store_table *store_table_named(struct world *w, const char *name)
{
	struct store_table *const *t;
	size_t n = store_tables(w->backend.store, &t);

	for (size_t i = 0; i < n; i++)
		if (strcmp(t[i]->name, name) == 0)
			return t[i];
	return NULL;
}

static sqlite3 *open_store(struct world *w)
{
	sqlite3 *db;

	if (sqlite3_open_v2(STORE_PATH, &db, SQLITE_OPEN_READWRITE, MEMVFS_NAME) != SQLITE_OK)
		sim_fail(w, "the store: %s", sqlite3_errmsg(db));
	return db;
}

/* ---- what the server wrote itself ---- */

/* One register of the store: if it is the server's and new, it is above what was known. */
static void take_one(struct world *w, struct written *to)
{
	struct buf val = {.max = WINNERS_BYTES};
	bool dead;

	if (to->reg.site == SITE_SERVER && to->reg.stamp) {
		struct reg known = winners_find(w, to, &dead, &val);
		int cmp = reg_cmp(to->reg, known);
		if (cmp < 0)
			sim_fail(w,
				 "%s.%.*s: what the server wrote itself, at %llu.%u, is not above "
				 "what it had taken, at %llu.%u",
				 to->table, (int)to->col.len, (const char *)to->col.at,
				 (unsigned long long)stamp_ms(to->reg.stamp),
				 (unsigned)(to->reg.stamp & 0xffff),
				 (unsigned long long)stamp_ms(known.stamp),
				 (unsigned)(known.stamp & 0xffff));
		else if (cmp > 0)
			winners_fold(w, to);
	}
	buf_free(&val);
}

static void take_row(struct world *w, const struct store_user *u, struct store_table *t,
		     const struct val *key)
{
	struct arena a = {.max = WINNERS_BYTES};
	struct buf packed = {.max = WINNERS_BYTES};
	struct val *vals = arena_array(&a, (size_t)t->shape.n_col + 1, sizeof *vals);
	struct written to = {.user = u->name.at, .table = t->name};
	struct store_row row;
	bool found = false;
	struct err e = {0};

	if (!vals || key_put_canonical(&packed, &t->shape, key) ||
	    store_row_init(t, &a, &row, &e) ||
	    store_row_get(w->backend.store, u, t, key, &a, &row, &e) ||
	    store_values_get(w->backend.store, u, t, key, &a, vals, &found, &e))
		sim_fail(w, "the store: %s", e.text);
	to.key = buf_slice(&packed);
	to.reg = row.st.exist;
	to.dead = !row.st.alive;
	if (!w->failed)
		take_one(w, &to);
	to.dead = false;
	/* A delete older than what the server wrote may have been taken in the same step. */
	if (!found)
		vals = row.kept;
	for (uint16_t i = 0; i < t->shape.n_col && !w->failed; i++) {
		to.col = t->shape.col[i].name;
		to.reg = row.st.cell[i];
		to.val = &vals[i];
		if (row.st.has[i])
			take_one(w, &to);
	}
	buf_free(&packed);
	arena_free(&a);
}

static void take_table(struct world *w, sqlite3 *db, const struct store_user *u,
		       struct store_table *t)
{
	char sql[SQL_MAX];
	size_t n = (size_t)snprintf(sql, sizeof sql, "SELECT k0");
	struct val key[LIMIT_KEY_COLUMNS];
	sqlite3_stmt *s;

	for (uint16_t i = 1; i < t->shape.n_key; i++)
		n += (size_t)snprintf(sql + n, sizeof sql - n, ", k%u", i);
	snprintf(sql + n, sizeof sql - n, " FROM neap_r%lld WHERE uid = %lld", (long long)t->id,
		 (long long)u->uid);
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		sim_fail(w, "the store: %s", sqlite3_errmsg(db));
	while (!w->failed && sqlite3_step(s) == SQLITE_ROW) {
		for (uint16_t i = 0; i < t->shape.n_key; i++)
			key[i] = val_column(s, i);
		take_row(w, u, t, key);
	}
	sqlite3_finalize(s);
}

void winners_take_server(struct world *w)
{
	sqlite3 *db;

	if (!w->operator_wrote)
		return;
	w->operator_wrote = false;
	db = open_store(w);
	for (unsigned u = 0; u < w->n_user && !w->failed; u++) {
		struct store_user user;
		bool found = false;
		struct err e = {0};
		if (store_user_get(w->backend.store, w->user[u].name, &user, &found, &e))
			sim_fail(w, "the store: %s", e.text);
		for (unsigned i = 0; i < w->n_table && found && !w->failed; i++) {
			struct store_table *t = store_table_named(w, w->table[i]->name);
			if (t && winners_concern(w, t->name))
				take_table(w, db, &user, t);
		}
	}
	sqlite3_close(db);
}

/* ---- what the tables say at the end ---- */

/* `s`, `at`: where the value was read; as text only once it is not needed any more. */
static void check_cell(struct world *w, const struct written *of, sqlite3_stmt *s, int at)
{
	struct buf won = {.max = WINNERS_BYTES}, has = {.max = WINNERS_BYTES};
	const struct val null = {.type = VAL_NULL};
	bool dead;
	struct reg reg = winners_find(w, of, &dead, &won);

	if (value_put_canonical(&has, of->val, COLL_BINARY) ||
	    (!won.len && value_put_canonical(&won, &null, COLL_BINARY)))
		sim_fail(w, "no memory");
	const char *text = NULL;
	if (!slice_eq(buf_slice(&won), buf_slice(&has)) &&
	    !(text = (const char *)sqlite3_column_text(s, at)))
		text = "NULL";
	if (text)
		sim_fail(w,
			 "%s of %s: %.*s is %.100s, but the write that should have won, at "
			 "%llu.%u of site %llx, wrote something else",
			 of->table, of->user, (int)of->col.len, (const char *)of->col.at, text,
			 (unsigned long long)stamp_ms(reg.stamp), (unsigned)(reg.stamp & 0xffff),
			 (unsigned long long)reg.site);
	buf_free(&won);
	buf_free(&has);
}

/* A row as the server has it: keys first. */
static void check_row(struct world *w, const struct store_table *t, const struct sim_table *st,
		      const char *user, sqlite3_stmt *s)
{
	struct buf packed = {.max = WINNERS_BYTES}, none = {.max = WINNERS_BYTES};
	struct written of = {.user = user, .table = t->name};
	struct val key[LIMIT_KEY_COLUMNS];
	bool dead;

	for (uint16_t i = 0; i < t->shape.n_key; i++)
		key[i] = val_column(s, i);
	if (key_put_canonical(&packed, &t->shape, key))
		sim_fail(w, "no memory");
	of.key = buf_slice(&packed);
	winners_find(w, &of, &dead, &none);
	if (dead)
		sim_fail(w, "%s of %s has a row %.100s whose delete should have won", t->name, user,
			 (const char *)sqlite3_column_text(s, 0));
	for (unsigned i = st->n_key; i < st->n_col && !w->failed; i++) {
		struct val v = val_column(s, (int)i);
		of.col = slice_str(st->col[i]);
		of.val = &v;
		check_cell(w, &of, s, (int)i);
	}
	buf_free(&packed);
	buf_free(&none);
}

static void check_table(struct world *w, sqlite3 *db, const struct sim_table *st, const char *user)
{
	const struct store_table *t = store_table_named(w, st->name);
	char sql[SQL_MAX];
	size_t n = (size_t)snprintf(sql, sizeof sql, "SELECT ");
	int64_t rows = 0;
	sqlite3_stmt *s;

	if (!t)
		return;
	for (unsigned i = 0; i < st->n_col; i++)
		n += (size_t)snprintf(sql + n, sizeof sql - n, "%s%s", i ? ", " : "", st->col[i]);
	snprintf(sql + n, sizeof sql - n, " FROM %s WHERE user_id = '%s'", st->name, user);
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		sim_fail(w, "the store: %s", sqlite3_errmsg(db));
	for (; !w->failed && sqlite3_step(s) == SQLITE_ROW; rows++)
		check_row(w, t, st, user, s);
	sqlite3_finalize(s);
	int64_t alive = winners_alive(w, user, st->name);
	if (!w->failed && rows != alive)
		sim_fail(w, "%s of %s has %lld rows, but of %lld the insert should have won",
			 st->name, user, (long long)rows, (long long)alive);
}

void winners_check(struct world *w)
{
	sqlite3 *db = w->winners && !w->failed ? open_store(w) : NULL;

	for (unsigned u = 0; u < w->n_user && db; u++)
		for (unsigned i = 0; i < w->n_table && !w->failed; i++)
			if (winners_concern(w, w->table[i]->name))
				check_table(w, db, w->table[i], w->user[u].name);
	sqlite3_close(db);
}
