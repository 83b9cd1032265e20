/* A full pull: which keys were seen, and removing what the server does not have (P7, P8). */
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/conflict.h"
#include "device/core/devdb_schema.h"
#include "device/core/rejected.h"
#include "protocol/conflict.h"

enum { SWEEP_MAX = 1000, SWEEP_MEMORY = LIMIT_DECODED };

static int exec_key(struct devdb *d, const char *sql, int64_t table, struct slice key, bool *found,
		    struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(db_prepare(d->db, sql, &s, e));
	if (sqlite3_bind_int64(s, 1, table) ||
	    sqlite3_bind_blob(s, 2, key.len ? (const void *)key.at : "", (int)key.len,
			      SQLITE_STATIC))
		return db_error(d->db, e, "following a full pull");
	rc = db_step(d->db, s, found, e);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

/* The empty key stands for: this table had rows when the pull began. */
static const struct slice whole_table = {(const uint8_t *)"", 0};

static int swept(struct devdb *d, int64_t table, bool *yes, struct err *e)
{
	return exec_key(d, "SELECT 1 FROM neap_seen WHERE table_id = ?1 AND key = ?2", table,
			whole_table, yes, e);
}

static int note(struct target *tg, struct slice key, struct err *e)
{
	bool none;

	return exec_key(tg->d, "INSERT OR IGNORE INTO neap_seen(table_id, key) VALUES(?1, ?2)",
			tg->t->id, key, &none, e);
}

int seen_key(struct target *tg, struct slice key, struct err *e)
{
	bool yes;

	TRY(swept(tg->d, tg->t->id, &yes, e));
	return yes ? note(tg, key, e) : NE_OK;
}

int seen_note(struct target *tg, const struct image *im, struct err *e)
{
	struct buf key = {.max = LIMIT_SET};
	bool found, yes;
	int rc;

	TRY(swept(tg->d, tg->t->id, &yes, e));
	if (!yes)
		return NE_OK;
	rc = key_put_stored(tg, im->key, &key, &found, e);
	if (!rc && found)
		rc = note(tg, buf_slice(&key), e);
	buf_free(&key);
	return rc;
}

int save_conflict(struct target *tg, const struct image *im, const char *reason, struct err *e)
{
	struct buf text = {.max = 6 * LIMIT_DECODED};
	struct conflict c = {.t = tg->t, .key = im->key, .reason = reason};
	bool added = false;
	int rc = row_text(&tg->t->shape, im, true, &text);

	c.text = buf_slice(&text);
	rc = rc ? err_set(e, rc, "no memory to keep a row that is overwritten")
		: conflict_add(tg->d, &c, &added, e);
	tg->out->conflicts += added;
	buf_free(&text);
	return rc;
}

static int put_scan(const struct shape *s, struct buf *out)
{
	TRY(buf_printf(out, "SELECT "));
	for (int i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? ", " : ""));
		TRY(sql_put_name(out, s->key[i].name));
	}
	TRY(buf_printf(out, " FROM "));
	TRY(sql_put_name(out, s->name));
	return buf_terminate(out);
}

static int begin_table(struct devdb *d, const struct tracked *t, struct err *e)
{
	struct buf sql = {.max = 64 * 1024};
	sqlite3_stmt *s;
	bool any = false, done;
	int rc = put_scan(&t->shape, &sql);

	if (!rc)
		rc = db_prepare(d->db, (const char *)sql.at, &s, e);
	if (!rc) {
		rc = db_step(d->db, s, &any, e);
		sqlite3_reset(s);
	}
	if (!rc && any)
		rc = exec_key(d, "INSERT OR IGNORE INTO neap_seen(table_id, key) VALUES(?1, ?2)",
			      t->id, whole_table, &done, e);
	buf_free(&sql);
	return rc;
}

int apply_table_begin(struct devdb *d, const struct tracked *t, struct err *e)
{
	TRY(db_execf(d->db, e, "DELETE FROM neap_seen WHERE table_id = %lld", (long long)t->id));
	/* All that was parked comes again; in a table to be compared it is no row that is missing.
	 */
	if (!t->comparing)
		TRY(db_execf(d->db, e, "DELETE FROM neap_parked WHERE table_id = %lld",
			     (long long)t->id));
	return begin_table(d, t, e);
}

int apply_full_begin(struct devdb *d, struct err *e)
{
	TRY(db_exec(d->db, "DELETE FROM neap_seen", e));
	for (size_t i = 0; i < d->n_table; i++) {
		if (tracked_receives(&d->table[i]))
			TRY(apply_table_begin(d, &d->table[i], e));
	}
	return NE_OK;
}

struct unseen {
	struct val key[SWEEP_MAX][LIMIT_KEY_COLUMNS];
	size_t n;
	struct arena arena;
};

/* An insert that is pending stays: the server does not have it yet. */
static int has_insert_mark(struct target *tg, const struct val *key, bool *yes, struct err *e)
{
	sqlite3_stmt *s = tg->sql.marks;
	bool more = true;

	*yes = false;
	TRY(sql_bind_key(tg->d, s, 1, tg->t, key, e));
	while (more && !*yes) {
		TRY(db_step(tg->d->db, s, &more, e));
		*yes = more && sqlite3_column_int(s, 0) == MARK_EXIST;
	}
	sqlite3_reset(s);
	return NE_OK;
}

static int look_at(struct target *tg, sqlite3_stmt *scan, struct unseen *u, struct buf *key,
		   struct err *e)
{
	struct val *at = u->key[u->n];
	bool keep;

	for (int i = 0; i < tg->t->shape.n_key; i++) {
		at[i] = val_column(scan, i);
		if (at[i].type == VAL_NULL)
			return NE_OK;
	}
	buf_clear(key);
	TRY(key_put(&tg->t->shape, at, key));
	TRY(exec_key(tg->d, "SELECT 1 FROM neap_seen WHERE table_id = ?1 AND key = ?2", tg->t->id,
		     buf_slice(key), &keep, e));
	if (!keep)
		TRY(has_insert_mark(tg, at, &keep, e));
	if (!keep && tg->any_here)
		TRY(rejected_here(tg->d, tg->t, at, &keep, e));
	if (keep)
		return NE_OK;
	for (int i = 0; i < tg->t->shape.n_key; i++) {
		struct val v = at[i];

		if (!val_copy(&u->arena, &v, &at[i]))
			return err_set(e, NE_MEMORY, "no memory for the keys to remove");
	}
	u->n++;
	return NE_OK;
}

static int find_unseen(struct target *tg, struct unseen *u, struct err *e)
{
	struct buf sql = {.max = 64 * 1024}, key = {.max = LIMIT_SET};
	sqlite3_stmt *s = NULL;
	bool more = true;
	int rc = put_scan(&tg->t->shape, &sql);

	if (!rc)
		rc = db_prepare(tg->d->db, (const char *)sql.at, &s, e);
	while (!rc && more && u->n < SWEEP_MAX) {
		rc = db_step(tg->d->db, s, &more, e);
		if (!rc && more)
			rc = look_at(tg, s, u, &key, e);
	}
	if (s)
		sqlite3_reset(s);
	buf_free(&sql);
	buf_free(&key);
	return rc;
}

static int remove_unseen(struct target *tg, const struct val *key, struct err *e)
{
	bool keep;
	struct image im = {0};
	struct arena a = {.max = 2 * LIMIT_DECODED};
	bool found;
	int rc = NE_OK;

	/* The app may have written the row since it was looked at. */
	TRY(has_insert_mark(tg, key, &keep, e));
	if (keep)
		return NE_OK;
	if (tg->compare)
		return compare_unseen(tg, key, e);
	memcpy(im.key, key, (size_t)tg->t->shape.n_key * sizeof(*key));
	if (tg->save_lost) {
		rc = sql_read(tg, &im, &a, &found, e);
		if (!rc && found)
			rc = save_conflict(tg, &im, CONFLICT_GONE, e);
	}
	if (!rc && tg->any_marks)
		rc = note_swept(tg, key, e);
	if (!rc)
		rc = sql_bind_key(tg->d, tg->sql.remove, 1, tg->t, key, e);
	if (!rc)
		rc = db_run(tg->d->db, tg->sql.remove, e);
	if (!rc && tg->any_marks)
		rc = sql_bind_key(tg->d, tg->sql.drop_marks, 1, tg->t, key, e);
	if (!rc && tg->any_marks)
		rc = db_run(tg->d->db, tg->sql.drop_marks, e);
	/* Marks of cells go with the row. */
	if (tg->any_marks && sqlite3_changes(db_handle(tg->d->db)))
		tg->out->overtook = true;
	arena_free(&a);
	return rc;
}

static int sweep_table(struct devdb *d, struct tracked *t, bool save, struct unseen *u,
		       struct applied *out, struct err *e)
{
	struct target tg;
	bool yes;

	TRY(swept(d, t->id, &yes, e));
	if (!yes)
		return NE_OK;
	TRY(target_open(&tg, d, t, out, e));
	tg.save_lost = save || t->comparing;
	tg.compare = t->comparing && (t->known >= 0 || t->shape.direction == DIR_UP);
	TRY(find_unseen(&tg, u, e));
	if (!u->n)
		return NE_OK;
	TRY(devdb_begin(d, e));
	tg.any_marks = true;
	for (size_t i = 0; i < u->n; i++)
		TRY(remove_unseen(&tg, u->key[i], e));
	out->rows += u->n;
	return devdb_commit(d, e);
}

static int end_table(struct devdb *d, struct tracked *t, struct applied *out, bool *more,
		     struct err *e)
{
	struct unseen *u = sqlite3_malloc64(sizeof(*u));
	int64_t mode = 0;
	int rc = u ? devdb_get(d, "full", &mode, e) : err_set(e, NE_MEMORY, "no memory");

	*more = false;
	if (!rc && tracked_pulls(t)) {
		u->n = 0;
		u->arena = (struct arena){.max = SWEEP_MEMORY};
		rc = sweep_table(d, t, mode == 2, u, out, e);
		*more = !rc && u->n == SWEEP_MAX;
		arena_free(&u->arena);
	}
	sqlite3_free(u);
	return rc;
}

int apply_seen_forget(struct devdb *d, int64_t table, struct err *e)
{
	/* What was parked before, and did not come again, the server does not have any more. */
	TRY(db_execf(d->db, e,
		     "DELETE FROM neap_parked WHERE table_id = %lld AND EXISTS(SELECT 1 FROM "
		     "neap_seen WHERE table_id = %lld AND key = x'') AND NOT EXISTS(SELECT 1 FROM "
		     "neap_seen AS s WHERE s.table_id = neap_parked.table_id AND s.key = "
		     "neap_parked.key)",
		     (long long)table, (long long)table));
	return db_execf(d->db, e, "DELETE FROM neap_seen WHERE table_id = %lld", (long long)table);
}

int apply_table_end(struct devdb *d, struct tracked *t, struct applied *out, bool *more,
		    struct err *e)
{
	*out = (struct applied){0};
	return end_table(d, t, out, more, e);
}

int apply_full_end(struct devdb *d, struct applied *out, bool *more, struct err *e)
{
	*out = (struct applied){0};
	*more = false;
	for (size_t i = 0; !*more && i < d->n_table; i++)
		if (tracked_receives(&d->table[i]))
			TRY(end_table(d, &d->table[i], out, more, e));
	for (size_t i = 0; !*more && i < d->n_table; i++)
		TRY(apply_seen_forget(d, d->table[i].id, e));
	return *more ? NE_OK : db_exec(d->db, "DELETE FROM neap_seen", e);
}
