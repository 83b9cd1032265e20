/* Statements on an app's table: their texts come from its shape only, so the cache is bounded. */
#include <string.h>

#include "device/core/apply_internal.h"

enum { SQL_MAX = 256 * 1024 };

static const char *const collations[] = {
	[COLL_BINARY] = "BINARY", [COLL_NOCASE] = "NOCASE", [COLL_RTRIM] = "RTRIM"};

static int put_where(const struct shape *s, int first, bool marks, struct buf *out)
{
	for (int i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, i ? " AND " : " WHERE "));
		if (marks)
			TRY(buf_printf(out, "k%d", i));
		else
			TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " = ?%d COLLATE %s", first + i,
			       collations[s->key[i].collation]));
	}
	return NE_OK;
}

static int put_names(const struct shape_col *col, int n, const char *before, struct buf *out)
{
	for (int i = 0; i < n; i++) {
		TRY(buf_printf(out, "%s", i ? ", " : before));
		TRY(sql_put_name(out, col[i].name));
	}
	return NE_OK;
}

static int put_select(const struct shape *s, bool keys, struct buf *out)
{
	TRY(buf_printf(out, "SELECT "));
	if (keys)
		TRY(put_names(s->key, s->n_key, "", out));
	else
		TRY(put_names(s->col, s->n_col, "", out));
	if (!keys && !s->n_col)
		TRY(buf_printf(out, "1"));
	TRY(buf_printf(out, " FROM "));
	TRY(sql_put_name(out, s->name));
	return put_where(s, 1, false, out);
}

/* OR ABORT overrides conflict clauses of the schema, which could replace rows unseen. */
static int put_insert(const struct shape *s, const bool *has, struct buf *out)
{
	int n = s->n_key;

	TRY(buf_printf(out, "INSERT OR ABORT INTO "));
	TRY(sql_put_name(out, s->name));
	TRY(put_names(s->key, s->n_key, "(", out));
	for (int i = 0; i < s->n_col; i++) {
		if (has && !has[i])
			continue;
		TRY(buf_printf(out, ", "));
		TRY(sql_put_name(out, s->col[i].name));
		n++;
	}
	TRY(buf_printf(out, ") VALUES("));
	for (int i = 0; i < n; i++)
		TRY(buf_printf(out, "%s?%d", i ? ", " : "", i + 1));
	return buf_printf(out, ")");
}

static int put_update(const struct shape *s, struct buf *out)
{
	TRY(buf_printf(out, "UPDATE OR ABORT "));
	TRY(sql_put_name(out, s->name));
	for (int i = 0; i < s->n_col; i++) {
		TRY(buf_printf(out, i ? ", " : " SET "));
		TRY(sql_put_name(out, s->col[i].name));
		TRY(buf_printf(out, " = iif(?%d, ?%d, ", 2 * i + 1, 2 * i + 2));
		TRY(sql_put_name(out, s->col[i].name));
		TRY(buf_printf(out, ")"));
	}
	return put_where(s, 2 * s->n_col + 1, false, out);
}

static int put_spell(const struct shape *s, struct buf *out)
{
	TRY(buf_printf(out, "UPDATE OR ABORT "));
	TRY(sql_put_name(out, s->name));
	for (int i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, i ? ", " : " SET "));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " = ?%d", i + 1));
	}
	return put_where(s, s->n_key + 1, false, out);
}

static int put_remove(const struct shape *s, struct buf *out)
{
	TRY(buf_printf(out, "DELETE FROM "));
	TRY(sql_put_name(out, s->name));
	return put_where(s, 1, false, out);
}

static int put_on_marks(const struct tracked *t, const char *verb, bool col, struct buf *out)
{
	TRY(buf_printf(out, "%s FROM \"%s\"", verb, t->marks));
	TRY(put_where(&t->shape, 1, true, out));
	return col ? buf_printf(out, " AND col = ?%d", t->shape.n_key + 1) : NE_OK;
}

static int put_mark(const struct tracked *t, struct buf *out)
{
	int n = t->shape.n_key;

	TRY(buf_printf(out, "INSERT INTO \"%s\" VALUES(", t->marks));
	for (int i = 0; i < n + 4; i++)
		TRY(buf_printf(out, "%s?%d", i ? ", " : "", i + 1));
	return buf_printf(out, ") ON CONFLICT DO UPDATE SET stamp = excluded.stamp, "
			       "gen = excluded.gen, site = excluded.site");
}

static int prepare(struct devdb *d, int rc, struct buf *text, sqlite3_stmt **out, struct err *e)
{
	if (!rc)
		rc = buf_terminate(text);
	if (rc)
		return err_set(e, rc, "the statement for a table is too long");
	TRY(db_prepare(d->db, (const char *)text->at, out, e));
	buf_clear(text);
	return NE_OK;
}

static int prepare_all(struct devdb *d, const struct tracked *t, struct buf *b,
		       struct table_sql *out, struct err *e)
{
	const struct shape *s = &t->shape;

	TRY(prepare(d, put_select(s, true, b), b, &out->find, e));
	TRY(prepare(d, put_select(s, false, b), b, &out->read, e));
	TRY(prepare(d, put_insert(s, NULL, b), b, &out->insert, e));
	if (s->n_col)
		TRY(prepare(d, put_update(s, b), b, &out->update, e));
	TRY(prepare(d, put_spell(s, b), b, &out->spell, e));
	TRY(prepare(d, put_remove(s, b), b, &out->remove, e));
	TRY(prepare(d, put_on_marks(t, "SELECT col, stamp, gen, site", false, b), b, &out->marks,
		    e));
	TRY(prepare(d, put_on_marks(t, "DELETE", true, b), b, &out->drop_mark, e));
	TRY(prepare(d, put_on_marks(t, "DELETE", false, b), b, &out->drop_marks, e));
	return prepare(d, put_mark(t, b), b, &out->put_mark, e);
}

int table_sql_prepare(struct devdb *d, const struct tracked *t, struct table_sql *out,
		      struct err *e)
{
	struct buf text = {.max = SQL_MAX};
	int rc = prepare_all(d, t, &text, out, e);

	buf_free(&text);
	return rc;
}

int sql_bind_key(struct devdb *d, sqlite3_stmt *s, int at, const struct tracked *t,
		 const struct val *key, struct err *e)
{
	for (int i = 0; i < t->shape.n_key; i++) {
		if (val_bind(s, at + i, &key[i]))
			return db_error(d->db, e, "applying a change");
	}
	return NE_OK;
}

int sql_write(struct devdb *d, sqlite3_stmt *s, bool *fits, struct err *e)
{
	int rc = sqlite3_step(s);
	int kind = rc & 0xff;

	*fits = rc == SQLITE_DONE;
	if (!*fits && kind != SQLITE_CONSTRAINT && kind != SQLITE_MISMATCH &&
	    kind != SQLITE_TOOBIG) {
		rc = db_error(d->db, e, "applying a change");
		sqlite3_reset(s);
		return rc;
	}
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return NE_OK;
}

static bool whole(const struct shape *s, const struct image *im)
{
	for (int i = 0; i < s->n_col; i++) {
		if (!im->has[i])
			return false;
	}
	return true;
}

static int bind_image(struct target *tg, sqlite3_stmt *s, const struct image *im, struct err *e)
{
	int at = tg->t->shape.n_key + 1;

	TRY(sql_bind_key(tg->d, s, 1, tg->t, im->key, e));
	for (int i = 0; i < tg->t->shape.n_col; i++) {
		if (im->has[i] && val_bind(s, at++, &im->val[i]))
			return db_error(tg->d->db, e, "applying a change");
	}
	return NE_OK;
}

/* Which columns are missing depends on the sender, so this text is not for the cache. */
static int insert_some(struct target *tg, const struct image *im, bool *fits, struct err *e)
{
	struct buf text = {.max = SQL_MAX};
	sqlite3_stmt *s = NULL;
	int rc = put_insert(&tg->t->shape, im->has, &text);

	if (!rc && sqlite3_prepare_v2(db_handle(tg->d->db), (const char *)text.at, (int)text.len,
				      &s, NULL))
		rc = db_error(tg->d->db, e, "applying a change");
	if (!rc)
		rc = bind_image(tg, s, im, e);
	if (!rc)
		rc = sql_write(tg->d, s, fits, e);
	sqlite3_finalize(s);
	buf_free(&text);
	return rc;
}

int sql_insert(struct target *tg, const struct image *im, bool *fits, struct err *e)
{
	if (!whole(&tg->t->shape, im))
		return insert_some(tg, im, fits, e);
	TRY(bind_image(tg, tg->sql.insert, im, e));
	return sql_write(tg->d, tg->sql.insert, fits, e);
}

int sql_read(struct target *tg, struct image *im, struct arena *a, bool *found, struct err *e)
{
	sqlite3_stmt *s = tg->sql.read;
	int rc = NE_OK;

	TRY(sql_bind_key(tg->d, s, 1, tg->t, im->key, e));
	TRY(db_step(tg->d->db, s, found, e));
	for (int i = 0; *found && !rc && i < tg->t->shape.n_col; i++) {
		struct val v = val_column(s, i);

		if (im->has[i])
			continue;
		if (!val_copy(a, &v, &im->val[i]))
			rc = err_set(e, NE_MEMORY, "no memory for a row");
		im->has[i] = true;
		im->reg[i] = (struct reg){0, SITE_SERVER};
	}
	sqlite3_reset(s);
	return rc;
}
