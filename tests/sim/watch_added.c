/*
 * What an older version of an app inserts leaves the columns alone that it does not have (J1). That
 * all are the same in the end says nothing of this: they would lose the values together.
 */
#include <stdio.h>
#include <string.h>

#include "protocol/rows.h"
#include "tests/sim/sim.h"

enum { SQL_MAX = 600 };

static const struct shape *find_shape(void *ctx, struct shape_id id)
{
	const struct world *w = ctx;
	const struct store_shape *s = store_shape_find(w->backend.store, id);

	return s ? &s->shape : NULL;
}

/* The app that wrote this had the added column, whatever its name was then, or deleted a row. */
static bool says_more(const struct sim_table *t, const struct table_rows *rows)
{
	bool more = false;

	for (unsigned i = 0; i < rows->shape->n_col; i++) {
		struct slice name = rows->shape->col[i].name;
		size_t n = strlen(t->added);
		more |= name.len >= n && memcmp(name.at, t->added, n) == 0;
	}
	for (size_t i = 0; i < rows->n_row; i++)
		more |= rows->row[i].exist == EXIST_DEAD;
	return more;
}

static uint32_t leave_out(const struct world *w, const struct rows *rows)
{
	uint32_t out = 0;

	for (size_t k = 0; k < rows->n_table; k++)
		for (unsigned i = 0; i < w->n_table; i++) {
			const struct sim_table *t = w->table[i];
			if (t->added && !t->append &&
			    slice_eq(slice_str(t->name), rows->table[k].shape->name) &&
			    says_more(t, &rows->table[k]))
				out |= 1u << i;
		}
	return out;
}

/* The tables in which no event of the step may change a value of an added column. */
static uint32_t unchanged(struct world *w, const struct in_event *ev, size_t n)
{
	struct shape_finder finder = {find_shape, w};
	uint32_t tables = 0;

	for (unsigned i = 0; i < w->n_table && i < TABLES_MAX; i++)
		if (w->table[i]->added && !w->table[i]->append)
			tables |= 1u << i;
	for (size_t i = 0; i < n && tables; i++) {
		struct arena a = {.max = 2 * LIMIT_DECODED};
		struct frame f;
		struct rows rows;
		if (ev[i].type != IN_FRAME)
			continue;
		if (frame_decode(ev[i].frame, &a, &f, NULL) || f.type == FRAME_PART)
			tables = 0;
		else if (f.type == FRAME_SET &&
			 rows_decode(f.set.rows, f.set.site, finder, &a, &rows, NULL, NULL))
			tables = 0;
		else if (f.type == FRAME_SET)
			tables &= ~leave_out(w, &rows);
		arena_free(&a);
	}
	return tables;
}

static void keys(const struct sim_table *t, char *out)
{
	size_t len = (size_t)snprintf(out, SQL_MAX, "user_id");

	for (unsigned i = 0; i < t->n_key; i++)
		len += (size_t)snprintf(out + len, SQL_MAX - len, ", %s", t->col[i]);
}

void added_note(struct world *w, const struct in_event *ev, size_t n, struct added_values *was)
{
	char key[SQL_MAX], sql[2 * SQL_MAX];

	*was = (struct added_values){0};
	if (w->c.kind != CLIMATE_SCHEMA || !(was->tables = unchanged(w, ev, n)))
		return;
	if (sqlite3_open_v2(STORE_PATH, &was->db, SQLITE_OPEN_READWRITE, MEMVFS_NAME) !=
		    SQLITE_OK ||
	    sqlite3_exec(was->db, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL) != SQLITE_OK)
		sim_fail(w, "the store: %s", sqlite3_errmsg(was->db));
	for (unsigned i = 0; i < w->n_table; i++) {
		const struct sim_table *t = w->table[i];
		if (!(was->tables >> i & 1))
			continue;
		keys(t, key);
		snprintf(sql, sizeof sql,
			 "CREATE TEMP TABLE was_%s AS SELECT %s, %s AS was FROM main.%s", t->name,
			 key, t->added, t->name);
		/* The table, or its column, may not be declared yet. */
		if (sqlite3_exec(was->db, sql, NULL, NULL, NULL) != SQLITE_OK)
			was->tables &= ~(1u << i);
	}
}

static void compare(struct world *w, sqlite3 *db, const struct sim_table *t)
{
	char key[SQL_MAX], sql[2 * SQL_MAX];
	sqlite3_stmt *s;

	keys(t, key);
	snprintf(sql, sizeof sql,
		 "SELECT was FROM main.%s JOIN temp.was_%s USING(%s) WHERE %s IS NOT was", t->name,
		 t->name, key, t->added);
	/* An operator's or a device's migration of the step may have renamed the column. */
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	if (sqlite3_step(s) == SQLITE_ROW)
		sim_fail(w, "%s: an app without the column %s took its value %s from a row",
			 t->name, t->added, (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
}

void added_check(struct world *w, struct added_values *was, bool stepped)
{
	for (unsigned i = 0; i < w->n_table && stepped && !w->failed; i++)
		if (was->tables >> i & 1)
			compare(w, was->db, w->table[i]);
	sqlite3_close(was->db);
}
