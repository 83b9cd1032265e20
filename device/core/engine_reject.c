/* Rows of a committed set that the server did not take: kept for `neap rejected`. */
#include "device/core/apply_internal.h"
#include "device/core/engine_internal.h"

static int keep_rejected(struct devdb *d, const struct shape *s, const struct row *row,
			 struct slice reason, struct err *e)
{
	const struct tracked *t = devdb_table_by_name(d, s->name);
	struct buf key = {.max = LIMIT_SET}, text = {.max = LIMIT_SET};
	struct image im = {0};
	sqlite3_stmt *stmt;
	int rc;

	for (int i = 0; i < s->n_key; i++)
		im.key[i] = row->key[i];
	rc = key_put(s, im.key, &key);
	if (!rc)
		rc = row_text(s, &im, false, &text);
	if (!rc)
		rc = db_prepare(d->db,
				"INSERT INTO neap_rejected(table_id, key, text, reason) "
				"VALUES(?1, ?2, ?3, ?4)",
				&stmt, e);
	if (!rc &&
	    (sqlite3_bind_int64(stmt, 1, t ? t->id : 0) ||
	     sqlite3_bind_blob(stmt, 2, key.at, (int)key.len, SQLITE_STATIC) ||
	     sqlite3_bind_text(stmt, 3, (const char *)text.at, (int)text.len, SQLITE_STATIC) ||
	     sqlite3_bind_text(stmt, 4, reason.len ? (const char *)reason.at : "", (int)reason.len,
			       SQLITE_STATIC)))
		rc = db_error(d->db, e, "keeping a rejected row");
	if (!rc)
		rc = db_run(d->db, stmt, e);
	buf_free(&key);
	buf_free(&text);
	return rc;
}

static int keep_all(struct engine *en, const struct rows *rows, struct slice reason, struct err *e)
{
	TRY(devdb_begin(en->d, e));
	for (size_t i = 0; i < rows->n_table; i++) {
		const struct table_rows *t = &rows->table[i];

		for (size_t k = 0; k < t->n_row; k++)
			TRY(keep_rejected(en->d, t->shape, &t->row[k], reason, e));
	}
	return devdb_commit(en->d, e);
}

int engine_on_reject(struct engine *en, const struct f_reject *r, struct err *e)
{
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	struct rows rows;

	if (r->site != en->d->site)
		return NE_OK;
	if (rows_decode(r->rows, SITE_SERVER, finder, &en->tmp, &rows, NULL, e)) {
		en->bad_frames++;
		return NE_OK;
	}
	return keep_all(en, &rows, r->text, e);
}
