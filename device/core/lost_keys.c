/* Of tables whose numbers were dropped: which keys the server does not have (P8). */
#include "device/core/lost.h"
#include "protocol/ranges.h"

enum { SQL_MAX_BYTES = 1 << 20, KEYS_A_STEP = 1000 };

static int put_names(const struct shape *s, const char *sep, const char *order, struct buf *out)
{
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sx.", i ? sep : ""));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, "%s", order));
	}
	return NE_OK;
}

/* Keys in order, behind ?1 … if `after`, then whether the row has a number. */
static int put_scan(const struct tracked *t, bool after, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out, "SELECT "));
	TRY(put_names(s, ", ", "", out));
	TRY(buf_printf(out, ", EXISTS(SELECT 1 FROM main.\"%s\" AS m WHERE ", t->marks));
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sm.k%u = x.", i ? " AND " : "", i));
		TRY(sql_put_name(out, s->key[i].name));
	}
	TRY(buf_printf(out, ") FROM main."));
	TRY(sql_put_name(out, s->name));
	TRY(buf_printf(out, " AS x WHERE "));
	TRY(put_names(s, " AND ", " IS NOT NULL", out));
	if (after) {
		TRY(buf_printf(out, " AND ("));
		TRY(put_names(s, ", ", "", out));
		TRY(buf_printf(out, ") > (?1"));
		for (unsigned i = 1; i < s->n_key; i++)
			TRY(buf_printf(out, ", ?%u", i + 1));
		TRY(buf_printf(out, ")"));
	}
	TRY(buf_printf(out, " ORDER BY "));
	TRY(put_names(s, ", ", "", out));
	return buf_printf(out, " LIMIT %d", KEYS_A_STEP);
}

static int prepare_scan(struct devdb *d, const struct tracked *t, struct slice after,
			sqlite3_stmt **out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int param = 1, rc = put_scan(t, after.len > 0, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, out, e);
	buf_free(&sql);
	TRY(rc);
	return after.len ? cut_bind_bound(d->db, *out, after, t->shape.n_key, &param, e) : NE_OK;
}

struct scan {
	struct devdb *d;
	const struct tracked *t;
	struct lost_state *s;
	struct buf scratch;
	int (*row)(struct scan *x, const struct val *key, uint64_t hash, struct err *e);
};

static int remember(struct lost_state *s, const struct tracked *t, const struct val *key,
		    struct arena *a, struct err *e)
{
	struct buf packed = {.max = LIMIT_DECODED};
	int rc = key_pack(&packed, key, t->shape.n_key);

	s->key = rc ? (struct slice){0} : arena_copy(a, buf_slice(&packed));
	buf_free(&packed);
	return s->key.at ? NE_OK : err_set(e, NE_MEMORY, "no memory for a key");
}

/* Calls x->row for each of the next keys that has no number; s->key moves; *more. */
static int scan(struct scan *x, struct arena *a, bool *more, struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];
	sqlite3_stmt *st;
	int n = 0, rc;
	bool row;

	TRY(prepare_scan(x->d, x->t, x->s->key, &st, e));
	while (!(rc = db_step(x->d->db, st, &row, e)) && row) {
		uint64_t hash;

		for (int i = 0; i < x->t->shape.n_key; i++)
			key[i] = val_column(st, i);
		if (!sqlite3_column_int(st, x->t->shape.n_key)) {
			rc = key_hash(x->s->salt, &x->t->shape, key, &x->scratch, &hash);
			rc = rc ? err_set(e, rc, "no memory for a key") : x->row(x, key, hash, e);
		}
		if (!rc && ++n == KEYS_A_STEP)
			rc = remember(x->s, x->t, key, a, e);
		if (rc)
			break;
	}
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	buf_free(&x->scratch);
	*more = n == KEYS_A_STEP;
	return rc;
}

/* Runs a statement on one hash of the table. */
static int on_hash(struct devdb *d, const char *sql, int64_t table, uint64_t hash, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db, sql, &s, e));
	sqlite3_bind_int64(s, 1, table);
	sqlite3_bind_int64(s, 2, (int64_t)hash);
	return db_run(d->db, s, e);
}

static const char drop_hash[] = "DELETE FROM neap_hash WHERE table_id = ?1 AND hash = ?2";

static int note(struct scan *x, const struct val *key, uint64_t hash, struct err *e)
{
	(void)key;
	return on_hash(x->d, "INSERT OR IGNORE INTO neap_hash(table_id, hash) VALUES(?1, ?2)",
		       x->t->id, hash, e);
}

int lost_hash_some(struct devdb *d, const struct tracked *t, struct lost_state *s, struct arena *a,
		   bool *more, struct err *e)
{
	struct scan x = {.d = d, .t = t, .s = s, .scratch = {.max = LIMIT_DECODED}, .row = note};

	return scan(&x, a, more, e);
}

int lost_unhash(struct devdb *d, int64_t table, struct slice keys, struct err *e)
{
	for (size_t i = 0; i < keys.len; i += KEY_HASH_BYTES)
		TRY(on_hash(d, drop_hash, table, key_hash_read(keys.at + i), e));
	return NE_OK;
}

int lost_hashes(struct devdb *d, int64_t table, bool *any, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db, "SELECT 1 FROM neap_hash WHERE table_id = ?1 LIMIT 1", &s, e));
	sqlite3_bind_int64(s, 1, table);
	TRY(db_step(d->db, s, any, e));
	sqlite3_reset(s);
	return NE_OK;
}

static int put_give(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO main.\"%s\"(n", t->marks));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, ", k%u", i));
	TRY(buf_printf(out,
		       ") SELECT max(ifnull((SELECT max(n) FROM main.\"%s\"), 0), numbered) + 1",
		       t->marks));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, ", ?%u", i + 2));
	return buf_printf(out, " FROM neap_append WHERE id = ?1");
}

/* A row that the server lacks gets a number above all before it: it is pending. */
static int give(struct scan *x, const struct val *key, uint64_t hash, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	int rc;

	TRY(on_hash(x->d, drop_hash, x->t->id, hash, e));
	if (!sqlite3_changes64(db_handle(x->d->db)))
		return NE_OK;
	rc = put_give(x->t, &sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(x->d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int64(s, 1, x->t->id);
	for (int i = 0; i < x->t->shape.n_key; i++) {
		if (val_bind(s, i + 2, &key[i]) != SQLITE_OK)
			return db_error(x->d->db, e, "binding a key");
	}
	rc = db_run(x->d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc;
}

/* The greatest number that was given out. */
static int last_number(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	struct buf sql = {.max = 256};
	sqlite3_stmt *s;
	bool row;
	int rc =
		buf_printf(&sql,
			   "SELECT max(ifnull((SELECT max(n) FROM main.\"%s\"), 0), numbered) FROM "
			   "neap_append WHERE id = ?1",
			   t->marks);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int64(s, 1, t->id);
	TRY(db_step(d->db, s, &row, e));
	*out = sqlite3_column_int64(s, 0);
	sqlite3_reset(s);
	return NE_OK;
}

int lost_give_some(struct devdb *d, const struct tracked *t, struct lost_state *s, struct arena *a,
		   bool *more, struct err *e)
{
	struct scan x = {.d = d, .t = t, .s = s, .scratch = {.max = LIMIT_DECODED}, .row = give};
	int64_t before, after;

	TRY(last_number(d, t, &before, e));
	TRY(scan(&x, a, more, e));
	TRY(last_number(d, t, &after, e));
	return after > before ? lost_put_range(d, t->id, RANGE_LOST, before, after, e) : NE_OK;
}
