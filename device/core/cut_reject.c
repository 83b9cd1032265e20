/* Rows that no set can hold: kept in neap_rejected, so that they hold up nothing else. */
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/cut_internal.h"

/* A set's frame and its other fields need this much at most. */
enum { SET_OVERHEAD = 65536 };

static const char reason[] = "too large: a value may have 3.5 MiB, a row 4 MiB; shorten it and "
			     "write the row again";

bool cut_fits_a_set(size_t largest, size_t bytes)
{
	return largest <= LIMIT_VALUE && bytes <= LIMIT_SET - SET_OVERHEAD;
}

static int prepare(struct cutting *c, const struct tracked *t, const struct val *key,
		   const char *sql, struct buf *bytes, sqlite3_stmt **out, struct err *e)
{
	if (key_put(&t->shape, key, bytes))
		return err_set(e, NE_MEMORY, "no memory for a key");
	TRY(db_prepare(c->d->db, sql, out, e));
	if (sqlite3_bind_int64(*out, 1, t->id) != SQLITE_OK ||
	    sqlite3_bind_blob64(*out, 2, bytes->at, bytes->len, SQLITE_STATIC) != SQLITE_OK ||
	    sqlite3_bind_text(*out, 3, reason, -1, SQLITE_STATIC) != SQLITE_OK)
		return db_error(c->d->db, e, "keeping a rejected row");
	return NE_OK;
}

static int forget(struct cutting *c, const struct tracked *t, const struct val *key, struct err *e)
{
	struct buf bytes = {.max = LIMIT_DECODED};
	sqlite3_stmt *s;
	int rc = prepare(
		c, t, key,
		"DELETE FROM neap_rejected WHERE table_id = ?1 AND key = ?2 AND reason = ?3",
		&bytes, &s, e);

	rc = rc ? rc : db_run(c->d->db, s, e);
	buf_free(&bytes);
	return rc;
}

static int keep(struct cutting *c, const struct tracked *t, const struct val *key, struct err *e)
{
	struct buf bytes = {.max = LIMIT_DECODED}, text = {.max = LIMIT_DECODED};
	struct image *im = arena_alloc(c->arena, sizeof *im);
	sqlite3_stmt *s;
	int rc = im ? NE_OK : err_set(e, NE_MEMORY, "no memory for a key");

	if (!rc) {
		memcpy(im->key, key, t->shape.n_key * sizeof *key);
		rc = row_text(&t->shape, im, false, &text);
		rc = rc ? err_set(e, rc, "no memory for a key") : NE_OK;
	}
	if (!rc)
		rc = prepare(
			c, t, key,
			"INSERT INTO neap_rejected(table_id, key, text, reason, at_ms) VALUES(?1, "
			"?2, "
			"?4, ?3, CAST(julianday() * 86400000.0 - 210866759999999.5 AS INTEGER))",
			&bytes, &s, e);
	if (!rc && sqlite3_bind_text64(s, 4, (const char *)text.at, text.len, SQLITE_STATIC,
				       SQLITE_UTF8) != SQLITE_OK)
		rc = db_error(c->d->db, e, "keeping a rejected row");
	rc = rc ? rc : db_run(c->d->db, s, e);
	buf_free(&bytes);
	buf_free(&text);
	return rc;
}

int cut_reject(struct cutting *c, const struct tracked *t, const struct val *key, struct err *e)
{
	TRY(forget(c, t, key, e));
	c->rejects = true;
	return keep(c, t, key, e);
}

int cut_unreject(struct cutting *c, const struct tracked *t, const struct val *key, struct err *e)
{
	return c->rejects ? forget(c, t, key, e) : NE_OK;
}

int cut_look_for_rejects(struct cutting *c, struct err *e)
{
	int64_t n;

	TRY(db_int(c->d->db, "SELECT EXISTS(SELECT 1 FROM neap_rejected)", 0, &n, e));
	c->rejects = n != 0;
	return NE_OK;
}
