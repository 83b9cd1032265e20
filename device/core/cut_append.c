/* Cutting an append table: keys above those in flight, and rows with numbers of their own. */
#include "device/core/cut_internal.h"
#include "device/core/identity.h"
#include "device/core/lost.h"
#include "device/core/rejected.h"

enum { SQL_MAX_BYTES = 1 << 20 };

struct append_state {
	int64_t high, cut_from, numbered, acked;
	bool asking; /* the server is yet to tell what it lost of the table */
};

static int load_state(struct cutting *c, const struct tracked *t, struct append_state *out,
		      struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(
		c->d->db,
		"SELECT high, cut_from, numbered, acked, EXISTS(SELECT 1 FROM neap_ask WHERE "
		"table_id = ?1) FROM neap_append WHERE id = ?1",
		&s, e));
	sqlite3_bind_int64(s, 1, t->id);
	TRY(db_step(c->d->db, s, &row, e));
	if (row)
		*out = (struct append_state){.high = sqlite3_column_int64(s, 0),
					     .cut_from = sqlite3_column_int64(s, 1),
					     .numbered = sqlite3_column_int64(s, 2),
					     .acked = sqlite3_column_int64(s, 3),
					     .asking = sqlite3_column_int(s, 4)};
	sqlite3_reset(s);
	return row ? NE_OK : err_set(e, NE_CORRUPT, "neap_append lacks table %s", t->marks);
}

static int store_state(struct cutting *c, const struct tracked *t, const struct append_state *a,
		       struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(c->d->db,
		       "UPDATE neap_append SET high = ?2, cut_from = ?3, numbered = ?4, acked = ?5 "
		       "WHERE id = ?1",
		       &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int64(s, 2, a->high);
	sqlite3_bind_int64(s, 3, a->cut_from);
	sqlite3_bind_int64(s, 4, a->numbered);
	sqlite3_bind_int64(s, 5, a->acked);
	return db_run(c->d->db, s, e);
}

static int put_columns(const struct shape *s, const char *of, struct buf *out)
{
	for (int i = 0; i < s->n_key + s->n_col; i++) {
		TRY(buf_printf(out, "%s%s.", i ? ", " : "", of));
		TRY(sql_put_name(out, i < s->n_key ? s->key[i].name : s->col[i - s->n_key].name));
	}
	return NE_OK;
}

/* A row whose key got a number goes under that number only. */
static int put_keys_sql(const struct tracked *t, bool upto, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out, "SELECT "));
	TRY(put_columns(s, "x", out));
	TRY(buf_printf(out, " FROM main."));
	TRY(sql_put_name(out, s->name));
	TRY(buf_printf(out, " AS x WHERE x."));
	TRY(sql_put_name(out, s->key[0].name));
	TRY(buf_printf(out, " > ?1 AND "));
	if (upto) {
		TRY(buf_printf(out, "x."));
		TRY(sql_put_name(out, s->key[0].name));
		TRY(buf_printf(out, " <= ?2 AND "));
	}
	TRY(buf_printf(out, "NOT EXISTS(SELECT 1 FROM \"%s\" WHERE k0 = x.", t->marks));
	TRY(sql_put_name(out, s->key[0].name));
	TRY(buf_printf(out, ") ORDER BY x."));
	return sql_put_name(out, s->key[0].name);
}

static const char *const collation_names[] = {"BINARY", "NOCASE", "RTRIM"};

/* In number order; n, then the row, whose first key column is NULL where it is gone. */
static int put_numbers_sql(const struct tracked *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out, "SELECT "));
	TRY(put_columns(s, "x", out));
	TRY(buf_printf(out, ", m.n FROM \"%s\" AS m LEFT JOIN main.", t->marks));
	TRY(sql_put_name(out, s->name));
	TRY(buf_printf(out, " AS x ON "));
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%sx.", i ? " AND " : ""));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " = m.k%u COLLATE %s", i,
			       collation_names[s->key[i].collation]));
	}
	return buf_printf(out, " WHERE m.n > ?1 ORDER BY m.n");
}

static int prepare(struct cutting *c, int rc, struct buf *sql, sqlite3_stmt **out, struct err *e)
{
	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(c->d->db, sql, out, e);
	buf_free(sql);
	return rc;
}

static int copy_values(struct cutting *c, sqlite3_stmt *s, const struct shape *shape,
		       struct row *out)
{
	struct val *key = arena_array(c->arena, shape->n_key, sizeof *key);
	struct cell *cell = arena_array(c->arena, shape->n_col + 1u, sizeof *cell);

	if (!key || !cell)
		return NE_LIMIT;
	for (uint16_t i = 0; i < shape->n_key; i++) {
		struct val v = val_column(s, i);

		if (!val_copy(c->arena, &v, &key[i]))
			return NE_LIMIT;
	}
	for (uint16_t i = 0; i < shape->n_col; i++) {
		struct val v = val_column(s, shape->n_key + i);

		cell[i].col = i;
		if (!val_copy(c->arena, &v, &cell[i].val))
			return NE_LIMIT;
	}
	out->key = key;
	out->cell = cell;
	out->n_cell = shape->n_col;
	return NE_OK;
}

/*
 * Takes the row under (id, n); c->full when there is no room for it, or when its site is another
 * than that of the append rows in the set; *rejected if there never is room, or the server refused
 * it.
 */
static int take(struct cutting *c, sqlite3_stmt *s, const struct tracked *t,
		const struct identity *id, int64_t n, bool *rejected, struct err *e)
{
	const struct shape *shape = &t->shape;
	size_t cells = (size_t)shape->n_key + shape->n_col, bytes = 0, largest = 0;
	struct val key[LIMIT_KEY_COLUMNS];

	for (int i = 0; i < shape->n_key + shape->n_col; i++) {
		struct val v = val_column(s, i);

		bytes += val_size(&v);
		largest = val_size(&v) > largest ? val_size(&v) : largest;
		if (i < shape->n_key)
			key[i] = v;
	}
	*rejected = !cut_fits_a_set(largest, bytes);
	if (*rejected)
		return cut_reject(c, t, key, e);
	if (c->rejects)
		TRY(rejected_sent(c->d, t, key, (uint64_t)id->gen, n, rejected, e));
	if (*rejected)
		return NE_OK;
	c->full = !cutting_fits(c, cells, bytes) || (c->any_append && c->captured != id->site);
	if (c->full)
		return NE_OK;
	c->row[c->n_row] = (struct row){.gen = (uint64_t)id->gen, .n = n};
	if (copy_values(c, s, shape, &c->row[c->n_row]))
		return err_set(e, NE_LIMIT,
			       "a row of table %.*s does not fit in memory for one set",
			       (int)shape->name.len, (const char *)shape->name.at);
	c->any_append = true;
	c->captured = id->site;
	cutting_take(c, cells, bytes);
	return c->rejects ? rejected_replaced(c->d, t, key, true, NULL, 0, e) : NE_OK;
}

static int put_range(struct cutting *c, const struct tracked *t, enum range_kind kind, int64_t lo,
		     int64_t hi, struct err *e)
{
	struct val a = {.type = VAL_INT, .i = lo}, b = {.type = VAL_INT, .i = hi};
	struct buf x = {.max = 64}, y = {.max = 64};
	int rc = key_pack(&x, &a, 1);

	rc = rc ? rc : key_pack(&y, &b, 1);
	if (!rc) {
		struct range r = {
			.table = t->id, .kind = kind, .lo = buf_slice(&x), .hi = buf_slice(&y)};
		rc = range_put(&c->ranges, &r);
	}
	buf_free(&x);
	buf_free(&y);
	return rc ? err_set(e, rc, "no memory for the ranges of a set") : NE_OK;
}

/* Rows by key: no mark each, all above what was cut. */
static int cut_keys(struct cutting *c, const struct tracked *t, struct append_state *a,
		    struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t lo = a->cut_from;
	size_t before = c->n_row;
	struct identity who = {.hi = INT64_MIN};
	sqlite3_stmt *s;
	bool row, rejected;
	int rc;

	TRY(prepare(c, put_keys_sql(t, false, &sql), &sql, &s, e));
	sqlite3_bind_int64(s, 1, lo);
	while (!(rc = db_step(c->d->db, s, &row, e)) && row) {
		int64_t id = sqlite3_column_int64(s, 0);

		rc = id > who.hi ? identity_of(c->d, t, RANGE_KEYS, id, &who, e) : NE_OK;
		rc = rc ? rc : take(c, s, t, &who, id, &rejected, e);
		if (rc || c->full)
			break;
		a->cut_from = id;
	}
	sqlite3_reset(s);
	TRY(rc);
	if (c->n_row == before) {
		/* Rejected rows only: done with, where no set in flight comes before. */
		if (a->acked == lo)
			a->acked = a->cut_from;
		else
			a->cut_from = lo;
	}
	a->high = a->cut_from > a->high ? a->cut_from : a->high;
	if (c->n_row == before)
		return a->cut_from == lo ? NE_OK : store_state(c, t, a, e);
	return put_range(c, t, RANGE_KEYS, lo, a->cut_from, e);
}

/* The next keys that the server lost: above p->lost_at. */
static int next_lost(struct cutting *c, const struct tracked *t, const struct pass *p, int64_t *lo,
		     int64_t *hi, bool *any, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(c->d->db,
		       "SELECT max(lo, ?3), hi FROM neap_lost WHERE table_id = ?1 AND kind = ?2 "
		       "AND hi > ?3 ORDER BY lo LIMIT 1",
		       &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, RANGE_KEYS);
	sqlite3_bind_int64(s, 3, p->lost_at);
	TRY(db_step(c->d->db, s, any, e));
	*lo = sqlite3_column_int64(s, 0);
	*hi = sqlite3_column_int64(s, 1);
	sqlite3_reset(s);
	return NE_OK;
}

/* Rows with keys above lo, up to hi, as far as there is room: to *upto. */
static int cut_keys_between(struct cutting *c, const struct tracked *t, int64_t lo, int64_t hi,
			    int64_t *upto, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	struct identity who = {.hi = INT64_MIN};
	sqlite3_stmt *s;
	bool row, rejected;
	int rc;

	*upto = lo;
	TRY(prepare(c, put_keys_sql(t, true, &sql), &sql, &s, e));
	sqlite3_bind_int64(s, 1, lo);
	sqlite3_bind_int64(s, 2, hi);
	while (!(rc = db_step(c->d->db, s, &row, e)) && row) {
		int64_t id = sqlite3_column_int64(s, 0);

		rc = id > who.hi ? identity_of(c->d, t, RANGE_KEYS, id, &who, e) : NE_OK;
		rc = rc ? rc : take(c, s, t, &who, id, &rejected, e);
		if (rc || c->full)
			break;
		*upto = id;
	}
	sqlite3_reset(s);
	if (!rc && !c->full)
		*upto = hi;
	return rc;
}

/* Rows that went up once and were lost; keys without a row, or with one that was refused, go. */
static int cut_lost_keys(struct cutting *c, const struct tracked *t, struct pass *p, struct err *e)
{
	int64_t lo, hi, upto;
	bool any;

	for (;;) {
		size_t before = c->n_row;

		TRY(next_lost(c, t, p, &lo, &hi, &any, e));
		if (!any)
			return NE_OK;
		TRY(cut_keys_between(c, t, lo, hi, &upto, e));
		if (c->n_row > before)
			TRY(put_range(c, t, RANGE_LOST, lo, upto, e));
		else
			TRY(lost_settle(c->d, t->id, lo, upto, e));
		p->lost_at = upto;
		if (c->full)
			return NE_OK;
	}
}

static int drop_number(struct cutting *c, const struct tracked *t, int64_t n, struct err *e)
{
	struct buf sql = {.max = 256};
	sqlite3_stmt *s;

	TRY(prepare(c, buf_printf(&sql, "DELETE FROM \"%s\" WHERE n = ?1", t->marks), &sql, &s, e));
	sqlite3_bind_int64(s, 1, n);
	return db_run(c->d->db, s, e);
}

static int cut_numbers(struct cutting *c, const struct tracked *t, struct append_state *a,
		       struct pass *p, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t lo = p->number_at;
	size_t before = c->n_row;
	int at_n = t->shape.n_key + t->shape.n_col;
	struct identity who = {.hi = INT64_MIN};
	sqlite3_stmt *s;
	bool row, rejected = false;
	int rc;

	TRY(prepare(c, put_numbers_sql(t, &sql), &sql, &s, e));
	sqlite3_bind_int64(s, 1, lo);
	while (!(rc = db_step(c->d->db, s, &row, e)) && row) {
		int64_t n = sqlite3_column_int64(s, at_n);

		if (sqlite3_column_type(s, 0) == SQLITE_NULL) {
			rc = drop_number(c, t, n, e);
		} else {
			rc = n > who.hi ? identity_of(c->d, t, RANGE_NUMBERS, n, &who, e) : NE_OK;
			rc = rc ? rc : take(c, s, t, &who, n, &rejected, e);
			/* Its key stands for this row: a later row under it needs a number. */
			if (t->shape.key_is_number && sqlite3_column_int64(s, 0) > a->high)
				a->high = sqlite3_column_int64(s, 0);
		}
		if (!rc && rejected)
			rc = drop_number(c, t, n, e);
		if (rc || c->full)
			break;
		p->number_at = n;
	}
	sqlite3_reset(s);
	TRY(rc);
	if (c->n_row == before) {
		p->number_at = lo;
		return NE_OK;
	}
	a->numbered = p->number_at > a->numbered ? p->number_at : a->numbered;
	return put_range(c, t, RANGE_NUMBERS, lo, p->number_at, e);
}

int cut_append_table(struct cutting *c, const struct tracked *t, struct pass *p, struct err *e)
{
	struct append_state a = {0};

	TRY(load_state(c, t, &a, e));
	if (a.asking)
		return NE_OK;
	TRY(cut_numbers(c, t, &a, p, e));
	if (t->shape.key_is_number && !c->full)
		TRY(cut_lost_keys(c, t, p, e));
	if (t->shape.key_is_number && !c->full)
		TRY(cut_keys(c, t, &a, e));
	if (c->n_row == 0)
		return NE_OK;
	TRY(store_state(c, t, &a, e));
	return cutting_table(c, t, e);
}
