#include "device/core/rejected.h"

#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/capture.h"
#include "device/core/identity.h"

/* A byte may be six in the text: \u0000. */
enum { REASON_BYTES = 300, TEXT_BYTES = 6 * LIMIT_DECODED };

static const char unknown_reason[] = "the server refused this write";

static const struct shape *find_own(void *ctx, struct shape_id id)
{
	const struct tracked *t = ctx;

	return shape_id_eq(t->shape.id, id) ? &t->shape : NULL;
}

static int pack_row(const struct tracked *t, struct row *row, struct buf *out, struct err *e)
{
	struct table_rows table = {.shape = &t->shape, .n_row = 1, .row = row};
	struct rows rows = {.n_table = 1, .table = &table};

	return rows_encode(&rows, SITE_SERVER, out, e);
}

static int pack(const struct tracked *t, const struct image *im, struct buf *out, struct err *e)
{
	struct cell cell[LIMIT_COLUMNS];
	struct row row = {.key = im->key, .exist = im->exist, .cell = cell};

	for (uint16_t i = 0; i < t->shape.n_col; i++)
		if (im->has[i])
			cell[row.n_cell++] = (struct cell){.col = i, .val = im->val[i]};
	return pack_row(t, &row, out, e);
}

/* A statement with ?1 table and ?2 key. */
static int by_key(struct devdb *d, const char *sql, const struct tracked *t, const struct buf *key,
		  sqlite3_stmt **out, struct err *e)
{
	TRY(db_prepare(d->db, sql, out, e));
	if (sqlite3_bind_int64(*out, 1, t->id) ||
	    sqlite3_bind_blob64(*out, 2, key->at, key->len, SQLITE_STATIC))
		return db_error(d->db, e, "keeping a rejected row");
	return NE_OK;
}

static int bind_reason(struct devdb *d, sqlite3_stmt *s, int at, struct slice reason, struct err *e)
{
	size_t len = reason.len < REASON_BYTES ? reason.len : REASON_BYTES;

	return sqlite3_bind_text64(s, at, len ? (const char *)reason.at : "", len, SQLITE_STATIC,
				   SQLITE_UTF8)
		       ? db_error(d->db, e, "keeping a rejected row")
		       : NE_OK;
}

/* The reason given is the newest known; else the one the server told, else the one kept before. */
static const char keep_sql[] =
	"INSERT INTO neap_rejected(table_id, key, text, image, at_ms, reason) VALUES(?1, ?2, ?3, "
	"?4,"
	" CAST(julianday() * 86400000.0 - 210866759999999.5 AS INTEGER), coalesce(?5,"
	" (SELECT reason FROM neap_reason WHERE table_id = ?1 AND key = ?2), ?6))"
	" ON CONFLICT(table_id, key) DO UPDATE SET text = ?3, image = ?4, at_ms = excluded.at_ms,"
	" reason = excluded.reason";

static int keep(struct devdb *d, const struct tracked *t, const struct buf *key,
		const struct buf *text, const struct buf *image, const char *reason, struct err *e)
{
	sqlite3_stmt *s;

	TRY(by_key(d, keep_sql, t, key, &s, e));
	if (sqlite3_bind_text64(s, 3, (const char *)text->at, text->len, SQLITE_STATIC,
				SQLITE_UTF8) ||
	    (image->len && sqlite3_bind_blob64(s, 4, image->at, image->len, SQLITE_STATIC)) ||
	    (reason && sqlite3_bind_text(s, 5, reason, -1, SQLITE_STATIC)) ||
	    sqlite3_bind_text(s, 6, unknown_reason, -1, SQLITE_STATIC))
		return db_error(d->db, e, "keeping a rejected row");
	TRY(db_run(d->db, s, e));
	sqlite3_clear_bindings(s);
	TRY(by_key(d, "DELETE FROM neap_reason WHERE table_id = ?1 AND key = ?2", t, key, &s, e));
	return db_run(d->db, s, e);
}

int rejected_keep(struct devdb *d, const struct tracked *t, const struct image *im, bool values,
		  const char *reason, struct err *e)
{
	struct buf key = {.max = LIMIT_DECODED}, text = {.max = TEXT_BYTES},
		   image = {.max = LIMIT_DECODED};
	int rc = key_put(&t->shape, im->key, &key);

	rc = rc ? rc : row_text(&t->shape, im, values, &text);
	rc = rc ? err_set(e, rc, "no memory for a rejected row") : NE_OK;
	if (!rc && values)
		rc = pack(t, im, &image, e);
	if (!rc)
		rc = keep(d, t, &key, &text, &image, reason, e);
	buf_free(&key);
	buf_free(&text);
	buf_free(&image);
	return rc;
}

/* Registers say nothing any more, but of the sites in them. */
static int pack_sent(const struct tracked *t, const struct row *row, const struct image *im,
		     struct buf *out, struct err *e)
{
	struct row sent = *row;

	return t->shape.kind == SHAPE_APPEND ? pack_row(t, &sent, out, e) : pack(t, im, out, e);
}

static void image_of(const struct tracked *t, const struct row *row, struct image *im)
{
	memset(im, 0, sizeof *im);
	memcpy(im->key, row->key, t->shape.n_key * sizeof *row->key);
	im->exist = t->shape.kind == SHAPE_APPEND ? EXIST_ALIVE : row->exist;
	for (uint16_t i = 0; i < row->n_cell; i++) {
		im->has[row->cell[i].col] = true;
		im->val[row->cell[i].col] = row->cell[i].val;
	}
}

int rejected_keep_sent(struct devdb *d, const struct tracked *t, const struct row *row,
		       const char *reason, struct err *e)
{
	struct buf key = {.max = LIMIT_DECODED}, text = {.max = TEXT_BYTES},
		   image = {.max = LIMIT_DECODED};
	struct image *im = sqlite3_malloc64(sizeof *im);
	int rc = im ? NE_OK : NE_MEMORY;

	if (!rc) {
		image_of(t, row, im);
		rc = key_put(&t->shape, im->key, &key);
	}
	rc = rc ? rc : row_text(&t->shape, im, true, &text);
	rc = rc ? err_set(e, rc, "no memory for a rejected row") : NE_OK;
	if (!rc)
		rc = pack_sent(t, row, im, &image, e);
	if (!rc)
		rc = keep(d, t, &key, &text, &image, reason, e);
	sqlite3_free(im);
	buf_free(&key);
	buf_free(&text);
	buf_free(&image);
	return rc;
}

int rejected_any_here(struct devdb *d, bool *any, struct err *e)
{
	int64_t n;

	TRY(db_int(d->db, "SELECT EXISTS(SELECT 1 FROM neap_rejected WHERE image IS NULL)", 0, &n,
		   e));
	*any = n != 0;
	return NE_OK;
}

int rejected_here(struct devdb *d, const struct tracked *t, const struct val *key, bool *yes,
		  struct err *e)
{
	struct buf bytes = {.max = LIMIT_DECODED};
	sqlite3_stmt *s;
	int rc = key_put(&t->shape, key, &bytes);

	*yes = false;
	rc = rc ? err_set(e, rc, "no memory for a key")
		: by_key(d,
			 "SELECT 1 FROM neap_rejected WHERE table_id = ?1 AND key = ?2 AND image "
			 "IS NULL",
			 t, &bytes, &s, e);
	if (!rc) {
		rc = db_step(d->db, s, yes, e);
		sqlite3_reset(s);
		sqlite3_clear_bindings(s);
	}
	buf_free(&bytes);
	return rc;
}

static int note_reason(struct devdb *d, const struct tracked *t, const struct buf *key,
		       struct slice reason, uint64_t number, struct err *e)
{
	sqlite3_stmt *s;

	TRY(by_key(d, "UPDATE neap_rejected SET reason = ?3 WHERE table_id = ?1 AND key = ?2", t,
		   key, &s, e));
	TRY(bind_reason(d, s, 3, reason, e));
	TRY(db_run(d->db, s, e));
	if (sqlite3_changes(db_handle(d->db)))
		return NE_OK;
	TRY(by_key(d,
		   "INSERT INTO neap_reason(table_id, key, reason, number) VALUES(?1, ?2, ?3, ?4)"
		   " ON CONFLICT DO UPDATE SET reason = ?3, number = ?4",
		   t, key, &s, e));
	TRY(bind_reason(d, s, 3, reason, e));
	sqlite3_bind_int64(s, 4, (int64_t)number);
	return db_run(d->db, s, e);
}

int rejected_reason(struct devdb *d, const struct tracked *t, const struct val *key,
		    struct slice reason, uint64_t number, struct err *e)
{
	struct buf bytes = {.max = LIMIT_SET};
	int rc = key_put(&t->shape, key, &bytes);

	rc = rc ? err_set(e, rc, "no memory for a key")
		: note_reason(d, t, &bytes, reason, number, e);
	buf_free(&bytes);
	return rc;
}

/* ---- entries read back ---- */

struct entry {
	int64_t id;
	struct tracked *t; /* NULL: not tracked any more */
	bool values;	   /* im is what was kept */
	bool readable;	   /* … or was kept of the table as it was then */
	uint64_t gen;	   /* of an append table: the identity that was refused */
	int64_t n;
	struct image im;
	struct arena arena;
};

static void take_row(struct entry *en, const struct row *row)
{
	for (uint16_t i = 0; i < en->t->shape.n_key; i++)
		en->im.key[i] = row->key[i];
	en->im.exist = row->exist;
	en->gen = row->gen;
	en->n = row->n;
	for (uint16_t i = 0; i < row->n_cell; i++) {
		en->im.has[row->cell[i].col] = true;
		en->im.val[row->cell[i].col] = row->cell[i].val;
	}
}

/* Columns: id, table_id, image. */
static int read_entry(struct devdb *d, sqlite3_stmt *s, struct entry *en, struct err *e)
{
	struct slice image =
		slice_of(sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
	struct rows rows;

	*en = (struct entry){.id = sqlite3_column_int64(s, 0),
			     .t = devdb_table_by_id(d, sqlite3_column_int64(s, 1)),
			     .values = image.len > 0,
			     .arena = {.max = 2 * LIMIT_DECODED}};
	if (!en->t || !en->values)
		return NE_OK;
	struct shape_finder finder = {.find = find_own, .ctx = en->t};
	int rc = rows_decode(image, SITE_SERVER, finder, &en->arena, &rows, NULL, e);
	if (rc == NE_MEMORY)
		return rc;
	en->readable = !rc && rows.n_table == 1 && rows.table[0].n_row == 1;
	if (en->readable)
		take_row(en, rows.table[0].row);
	return NE_OK;
}

static bool covers(const struct entry *en, const uint16_t *col, uint16_t n_col)
{
	bool sent[LIMIT_COLUMNS] = {false};

	if (!en->readable || en->im.exist != EXIST_NONE)
		return false;
	for (uint16_t i = 0; i < n_col; i++)
		sent[col[i]] = true;
	for (uint16_t i = 0; i < en->t->shape.n_col; i++)
		if (en->im.has[i] && !sent[i])
			return false;
	return true;
}

static int drop(struct devdb *d, int64_t id, struct err *e)
{
	return db_execf(d->db, e, "DELETE FROM neap_rejected WHERE id = %lld", (long long)id);
}

static int find_entry(struct devdb *d, const struct tracked *t, const struct buf *key,
		      struct entry *en, bool *found, struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(by_key(d,
		   "SELECT id, table_id, image FROM neap_rejected WHERE table_id = ?1 AND key = ?2",
		   t, key, &s, e));
	TRY(db_step(d->db, s, found, e));
	rc = *found ? read_entry(d, s, en, e) : NE_OK;
	sqlite3_reset(s);
	return rc;
}

int rejected_sent(struct devdb *d, const struct tracked *t, const struct val *key, uint64_t gen,
		  int64_t n, bool *yes, struct err *e)
{
	struct buf bytes = {.max = LIMIT_DECODED};
	struct entry *en = sqlite3_malloc64(sizeof *en);
	bool found = false;
	int rc = en ? key_put(&t->shape, key, &bytes) : NE_MEMORY;

	rc = rc ? err_set(e, rc, "no memory for a key") : find_entry(d, t, &bytes, en, &found, e);
	*yes = !rc && found && en->readable && en->gen == gen && en->n == n;
	if (found)
		arena_free(&en->arena);
	sqlite3_free(en);
	buf_free(&bytes);
	return rc;
}

static int replaced(struct devdb *d, const struct tracked *t, const struct buf *key, bool whole,
		    const uint16_t *col, uint16_t n_col, struct entry *en, struct err *e)
{
	bool found = false;
	int rc = find_entry(d, t, key, en, &found, e);

	if (!rc && found && (whole || !en->values || covers(en, col, n_col)))
		rc = drop(d, en->id, e);
	if (found)
		arena_free(&en->arena);
	return rc;
}

int rejected_replaced(struct devdb *d, const struct tracked *t, const struct val *key, bool whole,
		      const uint16_t *col, uint16_t n_col, struct err *e)
{
	struct buf bytes = {.max = LIMIT_DECODED};
	struct entry *en = sqlite3_malloc64(sizeof *en);
	int rc = en ? key_put(&t->shape, key, &bytes) : NE_MEMORY;

	rc = rc ? err_set(e, rc, "no memory for a key")
		: replaced(d, t, &bytes, whole, col, n_col, en, e);
	sqlite3_free(en);
	buf_free(&bytes);
	return rc;
}

/* ---- retry ---- */

static int mark(struct target *tg, const struct val *key, int col, struct err *e)
{
	uint16_t n = tg->t->shape.n_key;
	struct buf sql = {.max = 4096};
	sqlite3_stmt *s = NULL;
	int rc = buf_printf(&sql, "INSERT INTO \"%s\" VALUES(", tg->t->marks);

	for (int i = 0; !rc && i < n; i++)
		rc = buf_printf(&sql, "?%d, ", i + 1);
	if (!rc)
		rc = buf_printf(&sql,
				"?%d, %s, (SELECT gen FROM neap_clock), NULL) ON CONFLICT DO UPDATE"
				" SET stamp = max(excluded.stamp, stamp + 1), gen = excluded.gen,"
				" site = NULL",
				n + 1, capture_clock_sql);
	if (!rc)
		rc = buf_terminate(&sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_prepare(tg->d->db, (const char *)sql.at, &s, e);
	buf_free(&sql);
	TRY(rc);
	TRY(sql_bind_key(tg->d, s, 1, tg->t, key, e));
	sqlite3_bind_int(s, n + 1, col);
	return db_run(tg->d->db, s, e);
}

static int does_not_fit(struct target *tg, struct err *e)
{
	return err_set(e, NE_ROWS,
		       "table %.*s does not take it: %.150s; change or delete the row in the way "
		       "first",
		       (int)tg->t->shape.name.len, (const char *)tg->t->shape.name.at,
		       sqlite3_errmsg(db_handle(tg->d->db)));
}

static int update_again(struct target *tg, const struct entry *en, struct err *e)
{
	const struct shape *sh = &tg->t->shape;
	sqlite3_stmt *s = tg->sql.update;
	bool fits;

	for (int i = 0; i < sh->n_col; i++)
		if (sqlite3_bind_int(s, 2 * i + 1, en->im.has[i]) ||
		    (en->im.has[i] && val_bind(s, 2 * i + 2, &en->im.val[i])))
			return db_error(tg->d->db, e, "writing a rejected row again");
	TRY(sql_bind_key(tg->d, s, 2 * sh->n_col + 1, tg->t, en->im.key, e));
	TRY(sql_write(tg->d, s, &fits, e));
	if (!fits)
		return does_not_fit(tg, e);
	for (int i = 0; i < sh->n_col; i++)
		if (en->im.has[i])
			TRY(mark(tg, en->im.key, i, e));
	return NE_OK;
}

static int is_there(struct target *tg, const struct val *key, bool *there, struct err *e)
{
	TRY(sql_bind_key(tg->d, tg->sql.find, 1, tg->t, key, e));
	TRY(db_step(tg->d->db, tg->sql.find, there, e));
	sqlite3_reset(tg->sql.find);
	return NE_OK;
}

static int write_again(struct target *tg, const struct entry *en, struct err *e)
{
	bool there, fits;

	TRY(is_there(tg, en->im.key, &there, e));
	if (en->im.exist == EXIST_DEAD) {
		TRY(sql_bind_key(tg->d, tg->sql.remove, 1, tg->t, en->im.key, e));
		TRY(db_run(tg->d->db, tg->sql.remove, e));
		return there ? mark(tg, en->im.key, MARK_EXIST, e) : NE_OK;
	}
	if (there)
		return tg->t->shape.n_col ? update_again(tg, en, e) : NE_OK;
	if (en->im.exist == EXIST_NONE)
		return err_set(e, NE_ROWS, "the row it changed is gone: forget it, or insert it");
	TRY(sql_insert(tg, &en->im, &fits, e));
	return fits ? mark(tg, en->im.key, MARK_EXIST, e) : does_not_fit(tg, e);
}

/* Its key, or the number it had, is done with: it is as a row inserted below the high water. */
static int number_again(struct devdb *d, const struct entry *en, struct err *e)
{
	bool there;

	TRY(identity_renumber(d, en->t, en->im.key, &there, e));
	if (there)
		return NE_OK;
	return err_set(e, NE_ROWS,
		       "the row is gone: insert it again in the app, and forget this one");
}

static int retry_entry(struct devdb *d, const struct entry *en, struct err *e)
{
	struct applied none = {0};
	struct target tg;

	if (en->t && en->t->shape.kind == SHAPE_APPEND && en->readable)
		return number_again(d, en, e);
	if (!en->t || en->t->shape.kind != SHAPE_MERGE || !en->values)
		return err_set(e, NE_ROWS,
			       "only the app can write it again: its values are in the app's own "
			       "table, or the table is not tracked any more");
	if (!en->readable)
		return err_set(e, NE_ROWS,
			       "the columns of table %.*s have changed since: write the row in the "
			       "app and forget this one",
			       (int)en->t->shape.name.len, (const char *)en->t->shape.name.at);
	TRY(target_open(&tg, d, en->t, &none, e));
	return write_again(&tg, en, e);
}

/* The entry `id`, or the first above `after`. */
static int next_entry(struct devdb *d, int64_t id, int64_t after, struct entry *en, bool *found,
		      struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(db_prepare(d->db,
		       "SELECT id, table_id, image FROM neap_rejected WHERE id > ?1"
		       " AND (?2 = 0 OR id = ?2) ORDER BY id LIMIT 1",
		       &s, e));
	sqlite3_bind_int64(s, 1, after);
	sqlite3_bind_int64(s, 2, id);
	TRY(db_step(d->db, s, found, e));
	rc = *found ? read_entry(d, s, en, e) : NE_OK;
	sqlite3_reset(s);
	return rc;
}

/* One entry is a savepoint: what does not fit leaves nothing behind. */
static int do_one(struct devdb *d, const struct entry *en, bool retry, struct rejected_done *out,
		  struct err *e)
{
	struct err why = {0};
	int rc = NE_OK;

	TRY(db_exec(d->db, "SAVEPOINT rejected", e));
	if (retry)
		rc = retry_entry(d, en, &why);
	if (!rc)
		rc = drop(d, en->id, &why);
	if (rc == NE_ROWS) {
		if (!out->failed++)
			out->first = why;
		TRY(db_exec(d->db, "ROLLBACK TO rejected", e));
		rc = NE_OK;
	}
	if (rc)
		return err_set(e, rc, "%s", why.text);
	return db_exec(d->db, "RELEASE rejected", e);
}

static int do_all(struct devdb *d, int64_t id, bool retry, struct rejected_done *out, struct err *e)
{
	struct entry *en = sqlite3_malloc64(sizeof *en);
	int64_t after = INT64_MIN;
	bool found = true;
	size_t n = 0;
	int rc = en ? NE_OK : err_set(e, NE_MEMORY, "no memory for a rejected row");

	while (!rc && found) {
		rc = next_entry(d, id, after, en, &found, e);
		if (rc || !found)
			break;
		after = en->id;
		n++;
		rc = do_one(d, en, retry, out, e);
		arena_free(&en->arena);
	}
	sqlite3_free(en);
	out->done = n - out->failed;
	if (!rc && id && n == 0)
		rc = err_set(e, NE_NOT_FOUND, "there is no rejected row %lld", (long long)id);
	return rc;
}

static int in_transaction(struct devdb *d, int64_t id, bool retry, struct rejected_done *out,
			  struct err *e)
{
	*out = (struct rejected_done){0};
	TRY(devdb_begin(d, e));
	int rc = do_all(d, id, retry, out, e);
	if (!rc)
		rc = devdb_commit(d, e);
	if (rc)
		devdb_rollback(d);
	return rc;
}

int rejected_retry(struct devdb *d, int64_t id, struct rejected_done *out, struct err *e)
{
	return in_transaction(d, id, true, out, e);
}

int rejected_forget(struct devdb *d, int64_t id, struct rejected_done *out, struct err *e)
{
	return in_transaction(d, id, false, out, e);
}
