/* Rows that someone's SQL touched, read from the marks that triggers left (J4). */
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { KEY_BYTES = 64 * 1024 * 1024, FIRST_KEY = 6 };

typedef int (*touched_fn)(void *ctx, const struct store_user *u, const struct store_touched *t,
			  struct err *e);

/* The row whose marks are being gathered. */
struct gathering {
	struct store *s;
	struct store_table *table;
	struct arena arena;
	struct store_user user;
	struct val key[LIMIT_KEY_COLUMNS];
	bool any, exist;
	bool cell[LIMIT_COLUMNS];
	touched_fn fn;
	void *ctx;
};

static int flush(struct gathering *g, struct err *e)
{
	struct store_touched t = {
		.table = g->table, .key = g->key, .exist = g->exist, .cell = g->cell};

	return g->any ? g->fn(g->ctx, &g->user, &t, e) : 0;
}

static bool same_row(const struct gathering *g, sqlite3_stmt *st)
{
	if (!g->any || g->user.uid != sqlite3_column_int64(st, 0))
		return false;
	for (uint16_t i = 0; i < g->table->shape.n_key; i++) {
		struct val v = val_column(st, FIRST_KEY + i);
		if (!val_eq(&v, &g->key[i]))
			return false;
	}
	return true;
}

static int begin_row(struct gathering *g, sqlite3_stmt *st, struct err *e)
{
	if (!g->any || g->user.uid != sqlite3_column_int64(st, 0))
		TRY(catalogue_user_table(g->s, sqlite3_column_int64(st, 0), g->table->id, e));
	g->any = true;
	g->exist = false;
	memset(g->cell, 0, sizeof g->cell);
	g->user = (struct store_user){
		.uid = sqlite3_column_int64(st, 0),
		.name = column_id(st, 1),
		.head = column_u64(st, 2),
		.gc_seq = column_u64(st, 3),
		.last_term = sqlite3_column_int64(st, 4),
	};
	arena_free(&g->arena);
	for (uint16_t i = 0; i < g->table->shape.n_key; i++) {
		struct val v = val_column(st, FIRST_KEY + i);
		if (!val_copy(&g->arena, &v, &g->key[i]))
			return err_set(e, NE_MEMORY, "no memory for a key of table %s",
				       g->table->name);
	}
	return 0;
}

static int gather(struct gathering *g, sqlite3_stmt *st, struct err *e)
{
	bool row;

	for (;;) {
		TRY(db_step(g->s->db, st, &row, e));
		if (!row)
			return flush(g, e);
		if (!same_row(g, st)) {
			TRY(flush(g, e));
			TRY(begin_row(g, st, e));
		}
		int64_t col = sqlite3_column_int64(st, 5);
		if (col >= 0 && col < g->table->shape.n_col)
			g->cell[col] = true;
		else
			g->exist = true;
	}
}

static int any_marks(struct store *s, struct store_table *t, bool *any, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt(s, t, TQ_TOUCHED_ANY, &st, e));
	TRY(db_step(s->db, st, any, e));
	sqlite3_reset(st);
	return 0;
}

static int table_touched(struct gathering *g, struct err *e)
{
	sqlite3_stmt *st;
	bool any;

	TRY(any_marks(g->s, g->table, &any, e));
	if (!any)
		return 0;
	TRY(table_stmt(g->s, g->table, TQ_TOUCHED, &st, e));
	int rc = gather(g, st, e);
	sqlite3_reset(st);
	TRY(rc);
	TRY(table_stmt(g->s, g->table, TQ_TOUCHED_FORGET, &st, e));
	return db_run(g->s->db, st, e);
}

int store_touched(struct store *s, touched_fn fn, void *ctx, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < s->cat.n_table; i++) {
		struct gathering g = {.s = s,
				      .table = s->cat.table[i],
				      .arena = {.max = KEY_BYTES},
				      .fn = fn,
				      .ctx = ctx};
		if (g.table->shape.kind == SHAPE_MERGE && !g.table->missing)
			rc = table_touched(&g, e);
		arena_free(&g.arena);
	}
	return rc;
}

int store_unsent(struct store *s, uint64_t *n, const struct store_table **t, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	*n = 0;
	*t = NULL;
	TRY(db_prepare(s->db, "SELECT tab, n FROM neap_unsent", &st, e));
	for (;;) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		const struct store_table *one = catalogue_table(s, sqlite3_column_int64(st, 0));
		*n += column_u64(st, 1);
		*t = one ? one : *t;
	}
	sqlite3_reset(st);
	return *n ? db_exec(s->db, "DELETE FROM neap_unsent", e) : 0;
}
