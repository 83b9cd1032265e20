/*
 * Spellings of a key: under NOCASE or RTRIM, or 1 and 1.0 without a type, one
 * row can be written in several ways. An insert brings its own.
 */
#include "backend/core/store_sqlite.h"

/*
 * Whether the row of this key may stand under another spelling. A blob equals itself alone, and
 * so does text where no collation and no affinity says otherwise.
 */
static bool is_loose(const struct shape *s, const struct val *key)
{
	for (uint16_t i = 0; i < s->n_key; i++) {
		if (key[i].type == VAL_BLOB)
			continue;
		if (s->key[i].collation != COLL_BINARY)
			return true;
		if (s->key[i].affinity == AFF_BLOB && key[i].type != VAL_TEXT)
			return true;
	}
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
		TRY(buf_printf(out, " = %s", shadow ? "neap_spelt(state, " : "neap_change("));
		TRY(put_key_col(t, shadow, i, out));
		TRY(buf_printf(out, ", ?%d)", i + 2));
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

int table_sql_spell(const struct store_table *t, enum table_query q, struct buf *out)
{
	return q == TQ_KEY_STORED ? put_stored(t, out) : put_spell(t, q == TQ_SPELL_REGS, out);
}

static int spell(struct store *s, const struct store_user *u, struct store_table *t,
		 enum table_query q, const struct val *key, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt(s, t, q, &st, e));
	if (q == TQ_SPELL_REGS)
		TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	else
		TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	return q == TQ_SPELL ? row_write(s, u, t, key, st, e) : db_run(s->db, st, e);
}

int store_key_spell(struct store *s, const struct store_user *u, struct store_table *t,
		    const struct val *key, struct err *e)
{
	if (!is_loose(&t->shape, key))
		return 0;
	s->usage.value = 0;
	int rc = spell(s, u, t, TQ_SPELL, key, e);
	if (rc == NE_ROWS) /* an operator's trigger: it keeps the spelling it has */
		return 0;
	TRY(rc);
	TRY(usage_add(s, u, t, 0, s->usage.value, e));
	s->usage.dead_bytes = 0;
	TRY(spell(s, u, t, TQ_SPELL_REGS, key, e));
	return usage_dead(s, u->uid, t, 0, s->usage.dead_bytes, e);
}

int store_key_stored(struct store *s, const struct store_user *u, struct store_table *t,
		     const struct val *key, struct arena *a, const struct val **out, struct err *e)
{
	bool found, copied = true;
	struct val *stored;
	sqlite3_stmt *st;

	*out = key;
	if (!is_loose(&t->shape, key))
		return 0;
	stored = arena_array(a, t->shape.n_key, sizeof *stored);
	if (!stored)
		return err_set(e, NE_MEMORY, "no memory for a key of table %s", t->name);
	TRY(table_stmt(s, t, TQ_KEY_STORED, &st, e));
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
