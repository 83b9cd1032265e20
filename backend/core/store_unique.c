/*
 * UNIQUE constraints that devices declare (J2): which a table has, whose rows they hold for, and
 * whether a row breaks one; and whose rows must not be compressed. An index that is not UNIQUE
 * finds it: rows from before the constraint and an operator's SQL may break it, and must not fail
 * for it.
 */
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 64 * 1024, SEEN_AGAIN_MS = 24 * 3600 * 1000 };

void unique_of(const struct shape *s, size_t i, const uint16_t *to_table, struct store_unique *out)
{
	const struct shape_unique *u = &s->unique[i];

	*out = (struct store_unique){.n = 0};
	for (uint16_t k = 0; k < u->n; k++) {
		bool key = u->col[k] < s->n_key;
		uint16_t own = key ? u->col[k] : (uint16_t)(u->col[k] - s->n_key);
		uint16_t col = key ? own : (uint16_t)(s->n_key + to_table[own]);
		uint16_t at = out->n++;
		for (; at && out->col[at - 1] > col; at--) {
			out->col[at] = out->col[at - 1];
			out->collation[at] = out->collation[at - 1];
		}
		out->col[at] = col;
		out->collation[at] = (uint8_t)(key ? s->key[own].collation : s->col[own].collation);
	}
}

bool unique_eq(const struct store_unique *a, const struct store_unique *b)
{
	return a->n == b->n && memcmp(a->col, b->col, a->n * sizeof *a->col) == 0 &&
	       memcmp(a->collation, b->collation, a->n) == 0;
}

static int find(const struct store_table *t, const struct store_unique *u)
{
	for (size_t i = 0; i < t->n_unique; i++)
		if (unique_eq(&t->unique[i], u))
			return (int)i;
	return -1;
}

/* ---- the catalogue's part ---- */

static int record(struct store *s, const struct store_table *t, size_t n,
		  const struct store_unique *u, struct err *e)
{
	uint8_t def[2 * LIMIT_KEY_COLUMNS];
	sqlite3_stmt *st;

	for (uint16_t i = 0; i < u->n; i++) {
		def[2 * i] = (uint8_t)u->col[i];
		def[2 * i + 1] = u->collation[i];
	}
	TRY(db_prepare(s->db, "INSERT INTO neap_unique(tab, n, def) VALUES(?, ?, ?)", &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)t->id, e));
	TRY(bind_int(s, st, 2, n, e));
	if (sqlite3_bind_blob(st, 3, def, 2 * u->n, SQLITE_TRANSIENT))
		return db_error(s->db, e, "noting a UNIQUE constraint");
	return db_run(s->db, st, e);
}

static int make_index(struct store *s, const struct store_table *t, const struct store_unique *u,
		      struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};
	int rc = table_sql_unique(t, u, &sql);

	if (!rc)
		rc = buf_terminate(&sql);
	if (rc)
		err_set(e, rc, "no memory to index table %s", t->name);
	else
		rc = db_exec(s->db, (const char *)sql.at, e);
	buf_free(&sql);
	return rc;
}

int uniques_add(struct store *s, const struct store_shape *sh, struct err *e)
{
	struct store_unique list[STORE_UNIQUES], u;
	struct store_table t = *sh->table;

	if (t.shape.kind != SHAPE_MERGE)
		return 0;
	for (size_t i = 0; i < t.n_unique; i++)
		list[i] = t.unique[i];
	t.unique = list;
	for (uint16_t i = 0; i < sh->shape.n_unique; i++) {
		unique_of(&sh->shape, i, sh->col, &u);
		/*
		 * Beyond the bound, which all users of the table share, it is left to the
		 * devices, which park what does not fit.
		 */
		if (t.n_unique == STORE_UNIQUES || find(&t, &u) >= 0)
			continue;
		s->catalogue_stale = true;
		TRY(make_index(s, &t, &u, e));
		TRY(record(s, &t, t.n_unique, &u, e));
		list[t.n_unique++] = u;
	}
	return 0;
}

/* False if the stored bytes are no constraint of `t`. */
static bool read_def(const struct store_table *t, sqlite3_stmt *st, struct store_unique *out)
{
	const uint8_t *def = sqlite3_column_blob(st, 1);
	size_t len = (size_t)sqlite3_column_bytes(st, 1);

	*out = (struct store_unique){.n = (uint16_t)(len / 2)};
	if (len == 0 || len % 2 || len > 2 * LIMIT_KEY_COLUMNS)
		return false;
	for (uint16_t i = 0; i < out->n; i++) {
		out->col[i] = def[2 * i];
		out->collation[i] = def[2 * i + 1];
		if (out->col[i] >= t->shape.n_key + t->shape.n_col ||
		    out->collation[i] > COLL_RTRIM)
			return false;
	}
	return true;
}

static struct store_table *table_of(const struct catalogue *c, int64_t id)
{
	for (size_t i = 0; i < c->n_table; i++)
		if (c->table[i]->id == id)
			return c->table[i];
	return NULL;
}

static int take_def(struct catalogue *c, sqlite3_stmt *st, struct err *e)
{
	struct store_table *t = table_of(c, sqlite3_column_int64(st, 0));
	struct store_unique *list;

	if (!t || t->n_unique == STORE_UNIQUES)
		return err_set(e, NE_CORRUPT, "the table neap_unique is damaged");
	if (!t->unique) {
		t->unique = arena_array(&c->arena, STORE_UNIQUES, sizeof *t->unique);
		if (!t->unique)
			return err_set(e, NE_MEMORY, "no memory for the catalogue");
	}
	list = (struct store_unique *)(uintptr_t)t->unique;
	if (!read_def(t, st, &list[t->n_unique++]))
		return err_set(e, NE_CORRUPT, "the table neap_unique is damaged");
	return 0;
}

static void map_shape(struct store_shape *sh)
{
	struct store_unique u;

	sh->unique = 0;
	for (uint16_t i = 0; sh->table->n_unique && i < sh->shape.n_unique; i++) {
		unique_of(&sh->shape, i, sh->col, &u);
		int at = find(sh->table, &u);
		if (at >= 0)
			sh->unique |= (uint32_t)1 << at;
	}
}

int uniques_load(struct store *s, struct catalogue *c, struct err *e)
{
	sqlite3_stmt *st;
	bool row = true;
	int rc = 0;

	TRY(db_prepare(s->db, "SELECT tab, def FROM neap_unique ORDER BY tab, n", &st, e));
	while (!rc && row) {
		rc = db_step(s->db, st, &row, e);
		if (!rc && row)
			rc = take_def(c, st, e);
	}
	sqlite3_reset(st);
	for (size_t i = 0; !rc && i < c->n_shape; i++)
		map_shape(c->shape[i]);
	return rc;
}

/* ---- whose rows ---- */

static int bind_declares(struct store *s, sqlite3_stmt *st, const struct store_user *u,
			 const struct store_shape *sh, const char *device, uint64_t now_ms,
			 struct err *e)
{
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)sh->table->id, e));
	if (sqlite3_bind_blob(st, 3, sh->shape.id.at, sizeof sh->shape.id.at, SQLITE_STATIC))
		return db_error(s->db, e, "binding a shape");
	TRY(bind_text(s, st, 4, device, e));
	return bind_int(s, st, 5, now_ms, e);
}

int store_device_uses(struct store *s, const struct store_user *u, const char *device,
		      const struct store_shape *sh, uint64_t now_ms, struct err *e)
{
	sqlite3_stmt *st;

	if (!sh->unique && !sh->shape.uncompressed)
		return 0;
	TRY(db_prepare(s->db,
		       "INSERT INTO neap_declares(uid, tab, shape, device, seen_ms)"
		       " VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET seen_ms = ?5"
		       " WHERE seen_ms < ?5 - ?6",
		       &st, e));
	TRY(bind_declares(s, st, u, sh, device, now_ms, e));
	TRY(bind_int(s, st, 6, SEEN_AGAIN_MS, e));
	return db_run(s->db, st, e);
}

static bool among(struct shape_id id, const struct shape_id *shape, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (shape_id_eq(id, shape[i]))
			return true;
	return false;
}

/* The next shape that the device declared before, after *id; *found. */
static int next_declared(struct store *s, const struct store_user *u, const char *device,
			 struct shape_id *id, bool first, bool *found, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT shape FROM neap_declares WHERE uid = ?1 AND device = ?2"
		       " AND (?4 OR shape > ?3) ORDER BY shape LIMIT 1",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_text(s, st, 2, device, e));
	if (sqlite3_bind_blob(st, 3, id->at, sizeof id->at, SQLITE_TRANSIENT))
		return db_error(s->db, e, "binding a shape");
	TRY(bind_int(s, st, 4, first, e));
	TRY(db_step(s->db, st, found, e));
	if (*found && sqlite3_column_bytes(st, 0) == sizeof id->at)
		memcpy(id->at, sqlite3_column_blob(st, 0), sizeof id->at);
	sqlite3_reset(st);
	return 0;
}

static int undeclare(struct store *s, const struct store_user *u, const char *device,
		     struct shape_id id, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "DELETE FROM neap_declares WHERE uid = ?1 AND device = ?2 AND shape = ?3",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_text(s, st, 2, device, e));
	if (sqlite3_bind_blob(st, 3, id.at, sizeof id.at, SQLITE_TRANSIENT))
		return db_error(s->db, e, "binding a shape");
	return db_run(s->db, st, e);
}

int store_device_tracks(struct store *s, const struct store_user *u, const char *device,
			const struct shape_id *shape, size_t n, uint64_t now_ms, struct err *e)
{
	struct shape_id id = {{0}};
	bool found = true;

	for (bool first = true; found; first = false) {
		TRY(next_declared(s, u, device, &id, first, &found, e));
		if (found && !among(id, shape, n))
			TRY(undeclare(s, u, device, id, e));
	}
	for (size_t i = 0; i < n; i++) {
		const struct store_shape *sh = store_shape_find(s, shape[i]);
		if (sh)
			TRY(store_device_uses(s, u, device, sh, now_ms, e));
	}
	return 0;
}

/* One look-up for each shape of the table that devices of the user have, however many they are. */
static int next_shape(struct store *s, const struct store_user *u, const struct store_table *t,
		      uint64_t since_ms, struct shape_id *id, bool first, bool *found,
		      struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT shape FROM neap_declares WHERE uid = ?1 AND tab = ?2"
		       " AND shape > ?3 AND seen_ms >= ?4 ORDER BY shape LIMIT 1",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)t->id, e));
	if (sqlite3_bind_blob(st, 3, id->at, first ? 0 : (int)sizeof id->at, SQLITE_TRANSIENT))
		return db_error(s->db, e, "binding a shape");
	TRY(bind_int(s, st, 4, since_ms, e));
	TRY(db_step(s->db, st, found, e));
	if (*found && sqlite3_column_bytes(st, 0) == sizeof id->at)
		memcpy(id->at, sqlite3_column_blob(st, 0), sizeof id->at);
	sqlite3_reset(st);
	return 0;
}

int store_uniques(struct store *s, const struct store_user *u, const struct store_table *t,
		  uint64_t now_ms, uint32_t *out, struct err *e)
{
	uint64_t since_ms = now_ms > STORE_DECLARED_MS ? now_ms - STORE_DECLARED_MS : 0;
	struct shape_id id = {{0}};
	bool found = t->n_unique > 0;

	*out = 0;
	for (bool first = true; found; first = false) {
		TRY(next_shape(s, u, t, since_ms, &id, first, &found, e));
		const struct store_shape *sh = found ? store_shape_find(s, id) : NULL;
		if (sh)
			*out |= sh->unique;
	}
	return 0;
}

int store_uncompressed(struct store *s, const struct store_user *u, const struct store_table *t,
		       uint64_t now_ms, bool *out, struct err *e)
{
	uint64_t since_ms = now_ms > STORE_DECLARED_MS ? now_ms - STORE_DECLARED_MS : 0;
	struct shape_id id = {{0}};
	bool found = t->uncompressed;

	*out = false;
	for (bool first = true; found && !*out; first = false) {
		TRY(next_shape(s, u, t, since_ms, &id, first, &found, e));
		const struct store_shape *sh = found ? store_shape_find(s, id) : NULL;
		*out = sh && sh->shape.uncompressed;
	}
	return 0;
}

int store_unique_clash(struct store *s, const struct store_user *u, struct store_table *t,
		       size_t which, const struct val *key, bool *clash, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt_clash(s, t, which, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(db_step(s->db, st, clash, e));
	sqlite3_reset(st);
	return 0;
}
