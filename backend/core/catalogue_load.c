/* The catalogue in memory, and the statements of its tables. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backend/core/catalogue.h"
#include "backend/core/store_sqlite.h"

enum { CATALOGUE_BYTES = 512 * 1024 * 1024, SQL_BYTES = 512 * 1024 };

void catalogue_free(struct catalogue *c)
{
	arena_free(&c->arena);
	*c = (struct catalogue){0};
}

static char *arena_text(struct arena *a, sqlite3_stmt *st, int col)
{
	size_t len = (size_t)sqlite3_column_bytes(st, col);
	char *text = arena_alloc(a, len + 1);

	if (text && len)
		memcpy(text, sqlite3_column_text(st, col), len);
	return text;
}

/* A stored declaration: its bytes copied into the arena, and decoded. */
static int read_shape(sqlite3_stmt *st, int col, struct arena *a, struct slice *bytes,
		      struct shape *out, struct err *e)
{
	struct slice stored =
		slice_of(sqlite3_column_blob(st, col), (size_t)sqlite3_column_bytes(st, col));

	*bytes = arena_copy(a, stored);
	if (!bytes->at)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	int rc = shape_decode(*bytes, a, out, e);
	if (rc && rc != NE_MEMORY)
		return err_set(e, NE_CORRUPT, "the catalogue holds a damaged declaration");
	return rc;
}

static int read_table(struct catalogue *c, sqlite3_stmt *st, struct err *e)
{
	struct store_table *t = arena_alloc(&c->arena, sizeof *t);
	struct store_sql *sql = arena_alloc(&c->arena, sizeof *sql);

	if (!t || !sql)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	t->id = sqlite3_column_int64(st, 0);
	t->name = arena_text(&c->arena, st, 1);
	TRY(read_shape(st, 2, &c->arena, &t->encoded, &t->shape, e));
	sql->set_col = arena_array(&c->arena, (size_t)t->shape.n_col + 1, sizeof *sql->set_col);
	if (!t->name || !sql->set_col)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	t->sql = sql;
	c->table[c->n_table++] = t;
	return 0;
}

static struct store_table *find_table(const struct catalogue *c, int64_t id)
{
	for (size_t i = 0; i < c->n_table; i++)
		if (c->table[i]->id == id)
			return c->table[i];
	return NULL;
}

static int read_declared(struct catalogue *c, sqlite3_stmt *st, struct err *e)
{
	struct store_shape *sh = arena_alloc(&c->arena, sizeof *sh);
	struct slice bytes;

	if (!sh)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	sh->table = find_table(c, sqlite3_column_int64(st, 0));
	if (!sh->table)
		return err_set(e, NE_CORRUPT, "the catalogue names a table that is not there");
	TRY(read_shape(st, 1, &c->arena, &bytes, &sh->shape, e));
	TRY(catalogue_map(sh, &c->arena, e));
	sh->table->uncompressed = sh->table->uncompressed || sh->shape.uncompressed;
	c->shape[c->n_shape++] = sh;
	return 0;
}

static int read_from(struct catalogue *c, sqlite3_stmt *st, struct err *e)
{
	struct store_table *t = find_table(c, sqlite3_column_int64(st, 0));
	int64_t from = sqlite3_column_int64(st, 1);

	if (from < FROM_BOTH || from > FROM_SERVER)
		return err_set(e, NE_CORRUPT, "the table neap_from holds an unknown policy");
	if (t)
		t->from = (enum store_from)from;
	return 0;
}

static int read_rows(struct store *s, struct catalogue *c, const char *sql,
		     int (*read)(struct catalogue *, sqlite3_stmt *, struct err *), struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	TRY(db_prepare(s->db, sql, &st, e));
	for (;;) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		int rc = read(c, st, e);
		if (rc) {
			sqlite3_reset(st);
			return rc;
		}
	}
	sqlite3_reset(st);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct store_shape *const *x = a, *const *y = b;

	return memcmp((*x)->shape.id.at, (*y)->shape.id.at, sizeof(struct shape_id));
}

static int read_all(struct store *s, struct catalogue *c, struct err *e)
{
	int64_t tables, shapes;

	TRY(db_int(s->db, "SELECT count(*) FROM neap_table", 0, &tables, e));
	TRY(db_int(s->db, "SELECT count(*) FROM neap_shape", 0, &shapes, e));
	c->table = arena_array(&c->arena, (size_t)tables + 1, sizeof *c->table);
	c->shape = arena_array(&c->arena, (size_t)shapes + 1, sizeof *c->shape);
	if (!c->table || !c->shape)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	TRY(read_rows(s, c, "SELECT id, name, shape FROM neap_table ORDER BY id", read_table, e));
	TRY(read_rows(s, c, "SELECT tab, shape FROM neap_shape", read_declared, e));
	qsort(c->shape, c->n_shape, sizeof *c->shape, by_id);
	TRY(read_rows(s, c, "SELECT tab, origin FROM neap_from", read_from, e));
	return uniques_load(s, c, e);
}

/* Only another's DDL makes a difference: what is missing is not looked for at each load. */
static int keep_missing(const struct catalogue *old, struct catalogue *c, struct err *e)
{
	for (size_t i = 0; i < old->n_table; i++) {
		const char *missing = old->table[i]->missing;
		struct store_table *t = missing ? find_table(c, old->table[i]->id) : NULL;
		if (!t)
			continue;
		t->missing =
			(const char *)arena_copy(&c->arena, slice_of(missing, strlen(missing) + 1))
				.at;
		if (!t->missing)
			return err_set(e, NE_MEMORY, "no memory for the catalogue");
	}
	return 0;
}

int catalogue_load(struct store *s, struct err *e)
{
	struct catalogue c = {.arena = {.max = CATALOGUE_BYTES}};

	/* Statements of the old tables go with them. */
	db_forget(s->db);
	int rc = read_all(s, &c, e);
	if (!rc)
		rc = keep_missing(&s->cat, &c, e);
	catalogue_free(&s->cat);
	if (rc) {
		catalogue_free(&c);
		return rc;
	}
	s->cat = c;
	return 0;
}

struct store_table *catalogue_table(struct store *s, int64_t id)
{
	return find_table(&s->cat, id);
}

const struct store_shape *store_shape_find(struct store *s, struct shape_id id)
{
	struct store_shape want, *key = &want;

	want.shape.id = id;
	if (s->cat.n_shape == 0)
		return NULL;
	struct store_shape **at =
		bsearch(&key, s->cat.shape, s->cat.n_shape, sizeof *s->cat.shape, by_id);
	return at ? *at : NULL;
}

static const struct shape *finder(void *ctx, struct shape_id id)
{
	const struct store_shape *sh = store_shape_find(ctx, id);

	return sh ? &sh->shape : NULL;
}

struct shape_finder store_shapes(struct store *s)
{
	return (struct shape_finder){.find = finder, .ctx = s};
}

size_t store_tables(struct store *s, struct store_table *const **out)
{
	*out = s->cat.table;
	return s->cat.n_table;
}

static int prepare(struct store *s, const struct store_table *t, int rc, struct buf *sql,
		   sqlite3_stmt **out, struct err *e)
{
	if (!rc)
		rc = buf_terminate(sql);
	if (rc)
		err_set(e, rc, "no memory for a statement on table %s", t->name);
	else
		rc = db_prepare(s->db, (const char *)sql->at, out, e);
	buf_free(sql);
	return rc;
}

int table_stmt(struct store *s, struct store_table *t, enum table_query q, sqlite3_stmt **out,
	       struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};

	if (!t->sql->stmt[q])
		TRY(prepare(s, t, table_sql(t, q, &sql), &sql, &t->sql->stmt[q], e));
	sqlite3_reset(t->sql->stmt[q]);
	*out = t->sql->stmt[q];
	return 0;
}

int table_stmt_clash(struct store *s, struct store_table *t, size_t which, sqlite3_stmt **out,
		     struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};

	assert(which < t->n_unique);
	if (!t->sql->clash[which])
		TRY(prepare(s, t, table_sql_clash(t, &t->unique[which], &sql), &sql,
			    &t->sql->clash[which], e));
	sqlite3_reset(t->sql->clash[which]);
	*out = t->sql->clash[which];
	return 0;
}

int table_stmt_col(struct store *s, struct store_table *t, uint16_t col, sqlite3_stmt **out,
		   struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};

	assert(col < t->shape.n_col);
	if (!t->sql->set_col[col])
		TRY(prepare(s, t, table_sql_col(t, col, &sql), &sql, &t->sql->set_col[col], e));
	sqlite3_reset(t->sql->set_col[col]);
	*out = t->sql->set_col[col];
	return 0;
}
