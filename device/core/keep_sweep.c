/* Finding and deleting rows of an append table in the order of their keys or numbers. */
#include "device/core/apply_internal.h"
#include "device/core/keep_internal.h"

enum { SQL_MAX_BYTES = 1 << 20 };

static const char *const collation_names[] = {"BINARY", "NOCASE", "RTRIM"};

/* Of a row `x` by key: the key, its size, the key's columns. */
static int put_by_key(const struct tracked *t, int limit, struct buf *out)
{
	struct slice key = t->shape.key[0].name;

	TRY(buf_printf(out, "SELECT x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, ", "));
	TRY(cut_put_row_size(&t->shape, "x", out));
	TRY(buf_printf(out, ", x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, " FROM main."));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x WHERE x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, " > ?1 AND x."));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, " <= ?2 AND NOT EXISTS(SELECT 1 FROM main.\"%s\" WHERE k0 = x.",
		       t->marks));
	TRY(sql_put_name(out, key));
	TRY(buf_printf(out, ") ORDER BY x."));
	TRY(sql_put_name(out, key));
	return buf_printf(out, " LIMIT %d", limit);
}

static int put_match(const struct shape *s, struct buf *out)
{
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sx.", i ? " AND " : ""));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " = m.k%u COLLATE %s", i,
			       collation_names[s->key[i].collation]));
	}
	return NE_OK;
}

/* By number: the number, the row's size (NULL: it is gone), the key's columns. */
static int put_by_number(const struct tracked *t, bool pending, int limit, struct buf *out)
{
	TRY(buf_printf(out, "SELECT abs(m.n), CASE WHEN x."));
	TRY(sql_put_name(out, t->shape.key[0].name));
	TRY(buf_printf(out, " IS NOT NULL THEN "));
	TRY(cut_put_row_size(&t->shape, "x", out));
	TRY(buf_printf(out, " END"));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, ", m.k%u", i));
	TRY(buf_printf(out, " FROM main.\"%s\" AS m LEFT JOIN main.", t->marks));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x ON "));
	TRY(put_match(&t->shape, out));
	return buf_printf(out,
			  pending ? " WHERE m.n > ?1 AND m.n <= ?2 ORDER BY m.n LIMIT %d"
				  : " WHERE m.n < -?1 AND m.n >= -?2 ORDER BY m.n DESC LIMIT %d",
			  limit);
}

static int prepare(struct devdb *d, int rc, struct buf *sql, sqlite3_stmt **out, struct err *e)
{
	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, sql, out, e);
	buf_free(sql);
	return rc;
}

static int prepare_range(struct devdb *d, const struct tracked *t, enum keep_by by, bool pending,
			 int limit, int64_t lo, int64_t upto, sqlite3_stmt **out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int rc = by == BY_KEY ? put_by_key(t, limit, &sql) : put_by_number(t, pending, limit, &sql);

	TRY(prepare(d, rc, &sql, out, e));
	sqlite3_bind_int64(*out, 1, lo);
	sqlite3_bind_int64(*out, 2, upto);
	return NE_OK;
}

/* SQLite gives a key above the greatest one; without that row it would give old keys again. */
static int greatest_key(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int rc;

	*out = INT64_MAX;
	if (!t->shape.key_is_number)
		return NE_OK;
	rc = buf_printf(&sql, "SELECT max(");
	rc = rc ? rc : sql_put_name(&sql, t->shape.key[0].name);
	rc = rc ? rc : buf_printf(&sql, ") FROM main.");
	rc = rc ? rc : sql_put_name(&sql, t->shape.name);
	rc = rc ? rc : buf_terminate(&sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_int(d->db, (const char *)sql.at, INT64_MAX, out, e);
	buf_free(&sql);
	return rc;
}

/* A row that was refused is nowhere else: it is not deleted, whatever its number says. */
static int is_rejected(struct devdb *d, const struct tracked *t, const struct val *key, bool *out,
		       struct err *e)
{
	struct buf bytes = {.max = LIMIT_DECODED};
	sqlite3_stmt *s;
	int rc = key_put(&t->shape, key, &bytes);

	rc = rc ? err_set(e, NE_MEMORY, "no memory for a key")
		: db_prepare(d->db, "SELECT 1 FROM neap_rejected WHERE table_id = ?1 AND key = ?2",
			     &s, e);
	if (!rc) {
		sqlite3_bind_int64(s, 1, t->id);
		sqlite3_bind_blob64(s, 2, bytes.at, bytes.len, SQLITE_STATIC);
		rc = db_step(d->db, s, out, e);
		sqlite3_reset(s);
		sqlite3_clear_bindings(s);
	}
	buf_free(&bytes);
	return rc;
}

static int take(const struct tracked *t, sqlite3_stmt *s, struct arena *a, struct doomed *out,
		struct err *e)
{
	out->at = sqlite3_column_int64(s, 0);
	out->gone = sqlite3_column_type(s, 1) == SQLITE_NULL;
	out->bytes = sqlite3_column_int64(s, 1);
	out->key = arena_array(a, t->shape.n_key, sizeof *out->key);
	for (int i = 0; out->key && i < t->shape.n_key; i++) {
		struct val v = val_column(s, 2 + i);

		if (!val_copy(a, &v, &out->key[i]))
			out->key = NULL;
	}
	return out->key ? NE_OK : err_set(e, NE_MEMORY, "no memory for the keys of old rows");
}

struct finding {
	struct devdb *d;
	const struct tracked *t;
	struct candidates *out;
	int64_t last_key; /* the row that stays */
	int64_t rejects;
	int64_t rows, bytes; /* found */
};

static bool enough(const struct finding *f)
{
	const struct sweep *s = f->out->s;

	return f->bytes >= SWEEP_BYTES || (f->rows >= s->rows && f->bytes >= s->bytes);
}

/* *stop: the row under the statement and those after it are not for this time. */
static int consider(struct finding *f, sqlite3_stmt *s, struct arena *a, bool *stop, struct err *e)
{
	struct doomed *row = &f->out->row[f->out->n];
	bool rejected = false;

	*stop = enough(f);
	if (*stop)
		return NE_OK;
	TRY(take(f->t, s, a, row, e));
	*stop = !row->gone && f->t->shape.key_is_number && row->key[0].i == f->last_key;
	if (*stop)
		return NE_OK;
	if (f->rejects)
		TRY(is_rejected(f->d, f->t, row->key, &rejected, e));
	f->out->upto = row->at;
	if (rejected)
		return NE_OK;
	f->rows += !row->gone;
	f->bytes += row->bytes;
	f->out->n++;
	return NE_OK;
}

int sweep_find(struct devdb *d, const struct tracked *t, const struct sweep *sweep, struct arena *a,
	       struct candidates *out, struct err *e)
{
	struct finding f = {.d = d, .t = t, .out = out};
	bool row = true, stop = false;
	int seen = 0, rc;
	sqlite3_stmt *s;

	out->s = sweep;
	out->n = 0;
	out->upto = sweep->lo;
	TRY(greatest_key(d, t, &f.last_key, e));
	TRY(db_int(d->db, "SELECT EXISTS(SELECT 1 FROM neap_rejected)", 0, &f.rejects, e));
	TRY(prepare_range(d, t, sweep->by, sweep->pending, SWEEP_ROWS, sweep->lo, sweep->upto, &s,
			  e));
	while (!(rc = db_step(d->db, s, &row, e)) && row && !stop) {
		rc = consider(&f, s, a, &stop, e);
		seen++;
		if (rc)
			break;
	}
	sqlite3_reset(s);
	out->end = !rc && ((!stop && seen < SWEEP_ROWS) || out->upto == sweep->upto);
	if (out->end)
		out->upto = sweep->upto;
	return rc;
}

static int put_delete(const struct tracked *t, enum keep_by by, struct buf *out)
{
	TRY(buf_printf(out, "DELETE FROM main."));
	TRY(sql_put_name(out, t->shape.name));
	for (unsigned i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " AND " : " WHERE "));
		TRY(sql_put_name(out, t->shape.key[i].name));
		TRY(buf_printf(out, " = ?%u", i + 2));
	}
	if (by == BY_KEY)
		return buf_printf(
			out, " AND ?1 = ?1 AND NOT EXISTS(SELECT 1 FROM main.\"%s\" WHERE k0 = ?2)",
			t->marks);
	TRY(buf_printf(out, " AND EXISTS(SELECT 1 FROM main.\"%s\" WHERE n = ?1", t->marks));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, " AND k%u = ?%u", i, i + 2));
	return buf_printf(out, ")");
}

static int forget_number(struct devdb *d, const struct tracked *t, int64_t n, struct err *e)
{
	struct buf sql = {.max = 256};
	sqlite3_stmt *s;
	int rc = buf_printf(&sql, "DELETE FROM main.\"%s\" WHERE n = ?1", t->marks);

	TRY(prepare(d, rc, &sql, &s, e));
	sqlite3_bind_int64(s, 1, n);
	return db_run(d->db, s, e);
}

static int delete_one(struct devdb *d, const struct tracked *t, const struct candidates *c,
		      const struct doomed *row, sqlite3_stmt *s, struct swept *out, struct err *e)
{
	int64_t n = c->s->pending ? row->at : -row->at;

	if (!row->gone) {
		sqlite3_bind_int64(s, 1, n);
		for (int i = 0; i < t->shape.n_key; i++) {
			if (val_bind(s, i + 2, &row->key[i]) != SQLITE_OK)
				return db_error(d->db, e, "binding a key");
		}
		TRY(db_run(d->db, s, e));
		sqlite3_clear_bindings(s);
		if (sqlite3_changes64(db_handle(d->db)) > 0) {
			out->rows++;
			out->bytes += row->bytes;
		}
	}
	return c->s->by == BY_NUMBER ? forget_number(d, t, n, e) : NE_OK;
}

int sweep_delete(struct devdb *d, const struct tracked *t, const struct candidates *c,
		 struct swept *out, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;

	*out = (struct swept){0};
	TRY(prepare(d, put_delete(t, c->s->by, &sql), &sql, &s, e));
	for (size_t i = 0; i < c->n; i++)
		TRY(delete_one(d, t, c, &c->row[i], s, out, e));
	return NE_OK;
}

int sweep_measure(struct devdb *d, const struct tracked *t, enum keep_by by, bool pending,
		  int64_t lo, int max, int64_t *upto, struct swept *out, struct err *e)
{
	int64_t seen = 0, last = lo;
	sqlite3_stmt *s;
	bool row;
	int rc;

	*out = (struct swept){0};
	TRY(prepare_range(d, t, by, pending, max, lo, *upto, &s, e));
	while (!(rc = db_step(d->db, s, &row, e)) && row) {
		last = sqlite3_column_int64(s, 0);
		out->rows += sqlite3_column_type(s, 1) != SQLITE_NULL;
		out->bytes += sqlite3_column_int64(s, 1);
		seen++;
	}
	sqlite3_reset(s);
	out->last = last;
	if (seen == max)
		*upto = last;
	return rc;
}
