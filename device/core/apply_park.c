/* Rows that violate a constraint of the app's table: kept beside it and tried again (J2). */
#include <stdio.h>
#include <string.h>

#include "device/core/apply_internal.h"

enum { IMAGE_MEMORY = 2 * LIMIT_DECODED, TRIES_MAX = 1000 };

static const struct shape *find_own(void *ctx, struct shape_id id)
{
	struct tracked *t = ctx;

	return shape_id_eq(t->shape.id, id) ? &t->shape : NULL;
}

static int pack(const struct tracked *t, const struct image *im, struct buf *out, struct err *e)
{
	struct cell cell[LIMIT_COLUMNS];
	struct row row = {.key = im->key, .exist = EXIST_ALIVE, .exist_reg = im->exist_reg};
	struct table_rows table = {.shape = &t->shape, .n_row = 1, .row = &row};
	struct rows rows = {.n_table = 1, .table = &table};

	row.cell = cell;
	for (uint16_t i = 0; i < t->shape.n_col; i++) {
		if (im->has[i])
			cell[row.n_cell++] =
				(struct cell){.col = i, .reg = im->reg[i], .val = im->val[i]};
	}
	return rows_encode(&rows, SITE_SERVER, out, e);
}

/* Fills what `im` lacks. */
static void overlay(struct image *im, const struct row *row)
{
	for (int i = 0; i < row->n_cell; i++) {
		const struct cell *c = &row->cell[i];

		if (im->has[c->col])
			continue;
		im->has[c->col] = true;
		im->reg[c->col] = c->reg;
		im->val[c->col] = c->val;
	}
	if (im->exist == EXIST_NONE)
		im->exist_reg = row->exist_reg;
	im->exist = EXIST_ALIVE;
}

static int bind_key(struct target *tg, sqlite3_stmt *s, const struct image *im, struct buf *key,
		    struct err *e)
{
	TRY(key_put(&tg->t->shape, im->key, key));
	if (sqlite3_bind_int64(s, 1, tg->t->id) ||
	    sqlite3_bind_blob(s, 2, key->at, (int)key->len, SQLITE_STATIC))
		return db_error(tg->d->db, e, "parking a row");
	return NE_OK;
}

int park(struct target *tg, const struct image *im, struct err *e)
{
	struct buf key = {.max = LIMIT_SET}, image = {.max = LIMIT_DECODED};
	struct buf text = {.max = 6 * LIMIT_DECODED}; /* a byte may be six there: \u0000 */
	sqlite3_stmt *s;
	char why[200];

	if (tg->d->broken.no_park)
		return NE_OK;
	snprintf(why, sizeof why, "%s", sqlite3_errmsg(db_handle(tg->d->db)));
	int rc = db_prepare(tg->d->db,
			    "INSERT INTO neap_parked(table_id, key, image, reason, text, at_ms) "
			    "VALUES(?1, ?2, ?3, ?4, ?5, CAST(julianday() * 86400000.0 - "
			    "210866759999999.5 AS INTEGER)) ON CONFLICT DO UPDATE SET image = "
			    "excluded.image, reason = excluded.reason, text = excluded.text",
			    &s, e);

	if (!rc)
		rc = bind_key(tg, s, im, &key, e);
	if (!rc)
		rc = pack(tg->t, im, &image, e);
	if (!rc && row_text(&tg->t->shape, im, true, &text))
		rc = err_set(e, NE_MEMORY, "no memory to park a row");
	if (!rc && (sqlite3_bind_blob(s, 3, image.at, (int)image.len, SQLITE_STATIC) ||
		    sqlite3_bind_text(s, 4, why, -1, SQLITE_STATIC) ||
		    sqlite3_bind_text64(s, 5, (const char *)text.at, text.len, SQLITE_STATIC,
					SQLITE_UTF8)))
		rc = db_error(tg->d->db, e, "parking a row");
	if (!rc)
		rc = db_run(tg->d->db, s, e);
	/* Once there is room for it, it must not be taken for a row that the server lacks. */
	if (!rc && tg->note_seen)
		rc = seen_key(tg, buf_slice(&key), e);
	tg->any_parked = true;
	tg->out->parked++;
	buf_free(&text);
	buf_free(&key);
	buf_free(&image);
	return rc;
}

int unpark(struct target *tg, const struct image *im, struct err *e)
{
	struct buf key = {.max = LIMIT_SET};
	sqlite3_stmt *s;
	int rc = db_prepare(tg->d->db, "DELETE FROM neap_parked WHERE table_id = ?1 AND key = ?2",
			    &s, e);

	if (!rc)
		rc = bind_key(tg, s, im, &key, e);
	if (!rc)
		rc = db_run(tg->d->db, s, e);
	buf_free(&key);
	return rc;
}

/* An image of an older shape cannot be read: the full pull that the new shape needs replaces it. */
static int unpack(struct tracked *t, sqlite3_stmt *s, int col, struct arena *a, struct rows *out,
		  bool *ok, struct err *e)
{
	struct shape_finder finder = {.find = find_own, .ctx = t};
	struct slice image =
		slice_of(sqlite3_column_blob(s, col), (size_t)sqlite3_column_bytes(s, col));
	int rc = rows_decode(image, SITE_SERVER, finder, a, out, NULL, e);

	*ok = !rc && out->n_table == 1 && out->table[0].n_row == 1;
	return rc == NE_MEMORY ? rc : NE_OK;
}

int parked_read(struct target *tg, struct image *im, struct arena *a, bool *found, struct err *e)
{
	struct buf key = {.max = LIMIT_SET};
	struct rows rows;
	sqlite3_stmt *s;
	int rc;

	*found = false;
	TRY(db_prepare(tg->d->db, "SELECT image FROM neap_parked WHERE table_id = ?1 AND key = ?2",
		       &s, e));
	rc = bind_key(tg, s, im, &key, e);
	if (!rc)
		rc = db_step(tg->d->db, s, found, e);
	if (!rc && *found)
		rc = unpack(tg->t, s, 0, a, &rows, found, e);
	sqlite3_reset(s);
	buf_free(&key);
	if (!rc && *found)
		overlay(im, rows.table[0].row);
	return rc;
}

/* A row written here since wins over the parked one: its insert is the later. */
static int try_one(struct devdb *d, struct tracked *t, const struct row *row, bool *gone,
		   struct applied *out, struct err *e)
{
	struct image im = {.exist = EXIST_ALIVE, .exist_reg = row->exist_reg};
	struct target tg;
	bool fits = false;

	for (int i = 0; i < t->shape.n_key; i++)
		im.key[i] = row->key[i];
	overlay(&im, row);
	TRY(target_open(&tg, d, t, out, e));
	TRY(sql_bind_key(d, tg.sql.find, 1, t, im.key, e));
	TRY(db_step(d->db, tg.sql.find, gone, e));
	sqlite3_reset(tg.sql.find);
	if (*gone)
		return NE_OK;
	TRY(sql_insert(&tg, &im, &fits, e));
	*gone = fits;
	out->rows += fits;
	return NE_OK;
}

/* A place among the parked rows; all are behind the first one. */
struct place {
	int64_t table;
	struct slice key;
};
static const struct place first = {.table = INT64_MIN};

static int bind_place(struct devdb *d, sqlite3_stmt *s, int at, const struct place *p,
		      struct err *e)
{
	if (sqlite3_bind_int64(s, at, p->table) ||
	    sqlite3_bind_blob(s, at + 1, p->key.len ? (const void *)p->key.at : "", (int)p->key.len,
			      SQLITE_STATIC))
		return db_error(d->db, e, "reading parked rows");
	return NE_OK;
}

/* The first one behind `after`, up to and including `end` (NULL: whatever comes). */
static int next_parked(struct devdb *d, const struct place *after, const struct place *end,
		       sqlite3_stmt **s, bool *found, struct err *e)
{
	static const struct place last = {.table = INT64_MAX};

	TRY(db_prepare(d->db,
		       "SELECT table_id, key, image FROM neap_parked WHERE (table_id, key) > (?1, "
		       "?2) AND (table_id, key) <= (?3, ?4) ORDER BY table_id, key LIMIT 1",
		       s, e));
	TRY(bind_place(d, *s, 1, after, e));
	TRY(bind_place(d, *s, 3, end ? end : &last, e));
	return db_step(d->db, *s, found, e);
}

static int forget_parked(struct devdb *d, int64_t table, const struct buf *key, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db, "DELETE FROM neap_parked WHERE table_id = ?1 AND key = ?2", &s, e));
	if (sqlite3_bind_int64(s, 1, table) ||
	    sqlite3_bind_blob(s, 2, key->len ? (const void *)key->at : "", (int)key->len,
			      SQLITE_STATIC))
		return db_error(d->db, e, "forgetting a parked row");
	return db_run(d->db, s, e);
}

/* Copies the row out of the statement so that others may use it. */
static int retry_at(struct devdb *d, sqlite3_stmt *s, int64_t *table, struct buf *key,
		    struct applied *out, struct err *e)
{
	struct arena a = {.max = IMAGE_MEMORY};
	struct tracked *t;
	struct rows rows;
	bool gone = true, ok = false;
	int rc;

	*table = sqlite3_column_int64(s, 0);
	buf_clear(key);
	TRY(buf_put(key, sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1)));
	t = devdb_table_by_id(d, *table);
	rc = t ? unpack(t, s, 2, &a, &rows, &ok, e) : NE_OK;
	sqlite3_reset(s);
	if (!rc && ok)
		rc = try_one(d, t, rows.table[0].row, &gone, out, e);
	if (!rc && gone && (ok || !t))
		rc = forget_parked(d, *table, key, e);
	arena_free(&a);
	return rc;
}

/* Tries rows behind the last one tried, `left` at most, up to and including `end`. */
static int retry_up_to(struct devdb *d, const struct place *end, int *left, struct applied *out,
		       struct err *e)
{
	for (; *left; --*left) {
		struct place at = {d->retried.table, buf_slice(&d->retried.key)};
		sqlite3_stmt *s = NULL;
		bool found;

		TRY(next_parked(d, &at, end, &s, &found, e));
		if (!found)
			return NE_OK;
		TRY(retry_at(d, s, &d->retried.table, &d->retried.key, out, e));
	}
	return NE_OK;
}

/* Once round from where the last call ended: rows that never fit do not hold up those behind. */
int apply_retry_parked(struct devdb *d, struct applied *out, struct err *e)
{
	struct buf key = {.max = LIMIT_SET};
	struct place from = {.table = d->retried.table};
	int left = TRIES_MAX;
	int rc;

	*out = (struct applied){0};
	d->retried.key.max = LIMIT_SET;
	rc = buf_put(&key, d->retried.key.at, d->retried.key.len);
	from.key = buf_slice(&key);
	if (!rc)
		rc = retry_up_to(d, NULL, &left, out, e);
	if (!rc && left) {
		d->retried.table = first.table;
		buf_clear(&d->retried.key);
		rc = retry_up_to(d, &from, &left, out, e);
	}
	buf_free(&key);
	return rc;
}
