/*
 * Declarations: a new shape joins the table it fits or makes a new one. What a
 * device sends is never run as DDL; every name goes through one quoting function.
 */
#include <assert.h>
#include <stdio.h>

#include "backend/core/catalogue.h"
#include "backend/core/store_sqlite.h"

enum { DDL_BYTES = 1024 * 1024, DECLARE_ARENA = 1024 * 1024 };

struct declaration {
	struct store *s;
	const struct store_user *u;
	struct arena arena;
	struct buf ddl, canonical;
	struct shape shape; /* as declared */
	struct slice encoded;
	enum declare_result result;
};

int catalogue_user_table(struct store *s, int64_t uid, int64_t table, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_user_table(uid, tab) VALUES(?, ?) ON CONFLICT DO NOTHING",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)table, e));
	return db_run(s->db, st, e);
}

int store_user_joins(struct store *s, const struct store_user *u, const struct store_table *t,
		     struct err *e)
{
	return catalogue_user_table(s, u->uid, t->id, e);
}

static int refuse(struct declaration *d, enum declare_result why)
{
	d->result = why;
	return 0;
}

static int count_user_tables(struct declaration *d, int64_t except, int64_t *n, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	TRY(db_prepare(d->s->db, "SELECT count(*) FROM neap_user_table WHERE uid = ? AND tab <> ?",
		       &st, e));
	TRY(bind_int(d->s, st, 1, (uint64_t)d->u->uid, e));
	TRY(bind_int(d->s, st, 2, (uint64_t)except, e));
	TRY(db_step(d->s->db, st, &row, e));
	*n = row ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	return 0;
}

static int run_ddl(struct declaration *d, struct err *e)
{
	if (buf_terminate(&d->ddl))
		return err_set(e, NE_MEMORY, "no memory for a table's declaration");
	d->s->catalogue_stale = true;
	return db_exec(d->s->db, (const char *)d->ddl.at, e);
}

static int put_blob(struct store *s, sqlite3_stmt *st, int at, struct slice bytes, struct err *e)
{
	return sqlite3_bind_blob64(st, at, bytes.at, bytes.len, SQLITE_STATIC)
		       ? db_error(s->db, e, "binding bytes")
		       : 0;
}

static int record_shape(struct declaration *d, struct shape_id id, struct slice encoded,
			int64_t table, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(d->s->db,
		       "INSERT INTO neap_shape(id, tab, shape) VALUES(?, ?, ?)"
		       " ON CONFLICT DO NOTHING",
		       &st, e));
	TRY(put_blob(d->s, st, 1, slice_of(id.at, sizeof id.at), e));
	TRY(bind_int(d->s, st, 2, (uint64_t)table, e));
	TRY(put_blob(d->s, st, 3, encoded, e));
	d->s->catalogue_stale = true;
	return db_run(d->s->db, st, e);
}

static int record_table(struct declaration *d, const struct store_table *t, bool new, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(d->s->db,
		       new ? "INSERT INTO neap_table(id, name, shape) VALUES(?1, ?2, ?3)"
			   : "UPDATE neap_table SET name = ?2, shape = ?3 WHERE id = ?1",
		       &st, e));
	TRY(bind_int(d->s, st, 1, (uint64_t)t->id, e));
	TRY(bind_text(d->s, st, 2, t->name, e));
	TRY(put_blob(d->s, st, 3, t->encoded, e));
	d->s->catalogue_stale = true;
	return db_run(d->s->db, st, e);
}

static int taken(struct store *s, const char *name, bool *out, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE", &st, e));
	TRY(bind_text(s, st, 1, name, e));
	TRY(db_step(s->db, st, out, e));
	sqlite3_reset(st);
	return 0;
}

/* The declared name, or with __2, __3 … behind it: others' tables of that name stay as they are. */
static int free_name(struct declaration *d, struct buf *out, struct err *e)
{
	struct slice name = d->shape.name;
	bool used = true;

	for (int i = 1; used; i++) {
		buf_clear(out);
		int rc = i == 1 ? buf_put(out, name.at, name.len)
				: buf_printf(out, "%.*s__%d", (int)name.len, (const char *)name.at,
					     i);
		if (!rc)
			rc = buf_terminate(out);
		if (rc)
			return err_set(e, rc, "no name is free for table %.*s", (int)name.len,
				       (const char *)name.at);
		TRY(taken(d->s, (const char *)out->at, &used, e));
	}
	return 0;
}

/* That one user does not want its rows compressed is not the table's, which all users share. */
static int canonical(struct declaration *d, struct store_table *t, struct err *e)
{
	if (!t->shape.uncompressed)
		return 0;
	t->shape.uncompressed = false;
	buf_clear(&d->canonical);
	TRY(shape_encode(&t->shape, &d->canonical, e));
	t->encoded = buf_slice(&d->canonical);
	return 0;
}

static int create(struct declaration *d, const char *name, struct err *e)
{
	struct store_table t = {.name = name, .shape = d->shape, .encoded = d->encoded};

	TRY(canonical(d, &t, e));
	TRY(db_int(d->s->db, "SELECT 1 + coalesce(max(id), 0) FROM neap_table", 1, &t.id, e));
	buf_clear(&d->ddl);
	int rc = table_sql_create(&t, &d->ddl);
	if (!rc)
		rc = table_sql_capture(&t, true, &d->ddl, e);
	if (rc)
		return err_set(e, rc, "no memory to create table %s", name);
	TRY(run_ddl(d, e));
	TRY(record_table(d, &t, true, e));
	TRY(record_shape(d, t.shape.id, t.encoded, t.id, e));
	if (d->shape.uncompressed)
		TRY(record_shape(d, d->shape.id, d->encoded, t.id, e));
	return catalogue_user_table(d->s, d->u->uid, t.id, e);
}

static int new_table(struct declaration *d, struct err *e)
{
	struct buf name = {.max = LIMIT_NAME + 16};
	int64_t mine;

	TRY(count_user_tables(d, 0, &mine, e));
	if (mine >= LIMIT_TABLES || d->s->cat.n_table >= CATALOGUE_TABLES) {
		err_set(e, NE_LIMIT, "table %.*s would be one too many: %d a user, %d a server",
			(int)d->shape.name.len, (const char *)d->shape.name.at, LIMIT_TABLES,
			CATALOGUE_TABLES);
		return refuse(d, DECLARE_LIMIT);
	}
	int rc = free_name(d, &name, e);
	if (!rc)
		rc = create(d, (const char *)name.at, e);
	buf_free(&name);
	/* SQLite refuses what we did not foresee, such as a name it keeps for itself. */
	return rc == NE_INTERNAL ? refuse(d, DECLARE_REFUSED) : rc;
}

static int add_columns(struct declaration *d, const struct store_table *old,
		       const struct shape *wide, struct err *e)
{
	struct store_table t = *old;
	int rc;

	t.shape = *wide;
	buf_clear(&d->canonical);
	if (shape_encode(&t.shape, &d->canonical, e))
		return refuse(d, DECLARE_LIMIT);
	t.encoded = buf_slice(&d->canonical);
	buf_clear(&d->ddl);
	rc = table_sql_uncapture(old, &d->ddl, e);
	for (uint16_t i = old->shape.n_col; !rc && i < t.shape.n_col; i++)
		rc = table_sql_add_column(&t, i, &d->ddl);
	if (!rc)
		rc = table_sql_capture(&t, false, &d->ddl, e);
	if (rc)
		return err_set(e, rc, "no memory to add columns to table %s", t.name);
	rc = run_ddl(d, e);
	if (rc)
		return rc == NE_INTERNAL ? refuse(d, DECLARE_REFUSED) : rc;
	TRY(record_table(d, &t, false, e));
	return record_shape(d, t.shape.id, t.encoded, t.id, e);
}

static int join_table(struct declaration *d, struct store_table *t, bool known, bool locked,
		      struct err *e)
{
	struct shape wide;
	int64_t mine;
	bool grown;

	if (t->missing) {
		err_set(e, NE_PROTOCOL, "%s", t->missing);
		return refuse(d, DECLARE_LOCKED);
	}
	TRY(count_user_tables(d, t->id, &mine, e));
	int rc = catalogue_widen(&t->shape, &d->shape, &d->arena, &wide, &grown, e);
	if (rc == NE_LIMIT || (!rc && mine >= LIMIT_TABLES)) {
		err_set(e, NE_LIMIT, "table %s: more columns than %d, or tables than %d", t->name,
			LIMIT_COLUMNS, LIMIT_TABLES);
		return refuse(d, DECLARE_LIMIT);
	}
	TRY(rc);
	if (grown && locked) {
		err_set(e, NE_PROTOCOL, "table %s has a column that the locked schema lacks",
			t->name);
		return refuse(d, DECLARE_LOCKED);
	}
	if (grown)
		TRY(add_columns(d, t, &wide, e));
	if (d->result != DECLARE_OK)
		return 0;
	if (!known)
		TRY(record_shape(d, d->shape.id, d->encoded, t->id, e));
	return catalogue_user_table(d->s, d->u->uid, t->id, e);
}

static int place_unknown(struct declaration *d, bool locked, struct err *e)
{
	for (size_t i = 0; i < d->s->cat.n_table; i++)
		if (catalogue_fits(&d->s->cat.table[i]->shape, &d->shape))
			return join_table(d, d->s->cat.table[i], false, locked, e);
	if (locked) {
		err_set(e, NE_PROTOCOL, "table %.*s is unknown and the schema is locked",
			(int)d->shape.name.len, (const char *)d->shape.name.at);
		return refuse(d, DECLARE_LOCKED);
	}
	return new_table(d, e);
}

/* How many shapes the user was the first to declare. */
static int count_shapes(struct declaration *d, bool add, int64_t *n, struct err *e)
{
	char key[40];

	snprintf(key, sizeof key, "shapes:%lld", (long long)d->u->uid);
	TRY(meta_get(d->s, key, 0, n, e));
	return add ? meta_set(d->s, key, *n + 1, e) : 0;
}

static int place_new(struct declaration *d, bool locked, struct err *e)
{
	int64_t n;

	TRY(count_shapes(d, false, &n, e));
	if (n >= CATALOGUE_SHAPES_USER) {
		err_set(e, NE_LIMIT, "account %s has brought %lld forms of tables already",
			d->u->name.at, (long long)n);
		return refuse(d, DECLARE_LIMIT);
	}
	TRY(place_unknown(d, locked, e));
	return d->result == DECLARE_OK ? count_shapes(d, true, &n, e) : 0;
}

static int place(struct declaration *d, struct err *e)
{
	const struct store_shape *known = store_shape_find(d->s, d->shape.id);
	bool locked;

	TRY(store_schema_locked(d->s, &locked, e));
	return known ? join_table(d, known->table, true, locked, e) : place_new(d, locked, e);
}

static int declare(struct declaration *d, struct err *e)
{
	int rc = shape_decode(d->encoded, &d->arena, &d->shape, e);

	if (rc == NE_MALFORMED || rc == NE_LIMIT)
		return refuse(d, DECLARE_REFUSED);
	TRY(rc);
	TRY(store_savepoint(d->s, e));
	rc = place(d, e);
	if (!rc && d->result == DECLARE_OK)
		return store_keep(d->s, e);
	int undone = store_undo(d->s, NULL);
	return rc ? rc : undone;
}

/* The constraints of a shape that is in the catalogue by now. */
static int declare_uniques(struct store *s, struct shape_id id, struct err *e)
{
	const struct store_shape *sh = store_shape_find(s, id);

	TRY(uniques_add(s, sh, e));
	return s->catalogue_stale ? catalogue_load(s, e) : 0;
}

int store_declare(struct store *s, const struct store_user *u, struct slice encoded,
		  enum declare_result *result, struct err *e)
{
	struct declaration d = {
		.s = s,
		.u = u,
		.encoded = encoded,
		.arena = {.max = DECLARE_ARENA},
		.ddl = {.max = DDL_BYTES},
		.canonical = {.max = LIMIT_SLICE},
		.result = DECLARE_OK,
	};

	assert(s->in_tx);
	int rc = declare(&d, e);
	arena_free(&d.arena);
	buf_free(&d.ddl);
	buf_free(&d.canonical);
	*result = d.result;
	if (!rc && s->catalogue_stale)
		rc = catalogue_load(s, e);
	if (!rc && d.result == DECLARE_OK && d.shape.n_unique)
		rc = declare_uniques(s, d.shape.id, e);
	return rc;
}

int store_schema_lock(struct store *s, bool locked, struct err *e)
{
	return meta_set(s, "locked", locked, e);
}

int store_schema_locked(struct store *s, bool *locked, struct err *e)
{
	int64_t v;

	TRY(meta_get(s, "locked", 0, &v, e));
	*locked = v != 0;
	return 0;
}
