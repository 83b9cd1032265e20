/*
 * Spellings of a key: under NOCASE or RTRIM, or 1 and 1.0 without a type, one
 * row can be written in several ways. An insert brings its own.
 */
#include "backend/core/store_sqlite.h"

enum { SQL_MAX_BYTES = 64 * 1024 };

static bool is_loose(const struct shape *s)
{
	for (uint16_t i = 0; i < s->n_key; i++)
		if (s->key[i].collation != COLL_BINARY || s->key[i].affinity == AFF_BLOB)
			return true;
	return false;
}

/* The i-th key column: the app's name of it, or the shadow's. */
static int put_key_col(const struct store_table *t, bool shadow, uint16_t i, struct buf *out)
{
	struct buf name = {.max = 2 * LIMIT_NAME};
	int rc;

	if (shadow)
		return buf_printf(out, "k%d", i);
	rc = column_name(t->shape.key[i].name, &name);
	if (!rc)
		rc = sql_put_name(out, buf_slice(&name));
	buf_free(&name);
	return rc;
}

static int put_table_name(const struct store_table *t, bool shadow, struct buf *out)
{
	return shadow ? buf_printf(out, "neap_r%lld", (long long)t->id)
		      : sql_put_name(out, slice_str(t->name));
}

/* ?1 the user, ?2 … the key. */
static int put_where(const struct store_table *t, bool shadow, struct buf *out)
{
	TRY(buf_printf(out, " WHERE %s = ?1", shadow ? "uid" : "user_id"));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, " AND "));
		TRY(put_key_col(t, shadow, i, out));
		TRY(buf_printf(out, " = ?%d", i + 2));
	}
	return 0;
}

/* Only where it changes something: the key is the table's order. */
static int put_spell(const struct store_table *t, bool shadow, struct buf *out)
{
	TRY(buf_printf(out, "UPDATE "));
	TRY(put_table_name(t, shadow, out));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, i ? ", " : " SET "));
		TRY(put_key_col(t, shadow, i, out));
		TRY(buf_printf(out, " = %s", shadow ? "" : "neap_change("));
		if (!shadow)
			TRY(put_key_col(t, shadow, i, out));
		TRY(buf_printf(out, "%s?%d%s", shadow ? "" : ", ", i + 2, shadow ? "" : ")"));
	}
	TRY(put_where(t, shadow, out));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, i ? " OR " : " AND ("));
		TRY(put_key_col(t, shadow, i, out));
		TRY(buf_printf(out, " IS NOT ?%d COLLATE BINARY OR typeof(", i + 2));
		TRY(put_key_col(t, shadow, i, out));
		TRY(buf_printf(out, ") <> typeof(?%d)", i + 2));
	}
	return buf_printf(out, ")");
}

static int put_stored(const struct store_table *t, struct buf *out)
{
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, i ? ", " : "SELECT "));
		TRY(put_key_col(t, false, i, out));
	}
	TRY(buf_printf(out, " FROM "));
	TRY(put_table_name(t, false, out));
	return put_where(t, false, out);
}

static int prepare(struct store *s, int rc, struct buf *sql, sqlite3_stmt **out, struct err *e)
{
	rc = rc ? rc : buf_terminate(sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_prepare(s->db, (const char *)sql->at, out, e);
	buf_free(sql);
	return rc;
}

static int spell(struct store *s, const struct store_user *u, struct store_table *t, bool shadow,
		 const struct val *key, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *st;

	TRY(prepare(s, put_spell(t, shadow, &sql), &sql, &st, e));
	if (shadow)
		TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	else
		TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	return db_run(s->db, st, e);
}

int store_key_spell(struct store *s, const struct store_user *u, struct store_table *t,
		    const struct val *key, struct err *e)
{
	if (!is_loose(&t->shape))
		return 0;
	s->usage.value = 0;
	TRY(spell(s, u, t, false, key, e));
	TRY(usage_add(s, u, t, 0, s->usage.value, e));
	return spell(s, u, t, true, key, e);
}

int store_key_stored(struct store *s, const struct store_user *u, struct store_table *t,
		     const struct val *key, struct arena *a, const struct val **out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	bool found, copied = true;
	struct val *stored;
	sqlite3_stmt *st;

	*out = key;
	if (!is_loose(&t->shape))
		return 0;
	stored = arena_array(a, t->shape.n_key, sizeof *stored);
	if (!stored)
		return err_set(e, NE_MEMORY, "no memory for a key of table %s", t->name);
	TRY(prepare(s, put_stored(t, &sql), &sql, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(db_step(s->db, st, &found, e));
	for (uint16_t i = 0; found && copied && i < t->shape.n_key; i++) {
		struct val v = val_column(st, i);

		copied = val_copy(a, &v, &stored[i]);
	}
	sqlite3_reset(st);
	if (found)
		*out = stored;
	return copied ? 0 : err_set(e, NE_MEMORY, "no memory for a key of table %s", t->name);
}
