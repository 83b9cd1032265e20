/*
 * Which append rows of a site were received (P8): from neap_range where those are dense, which
 * counts rows that an operator purged; else from the rows that are here.
 */
#include "backend/core/store_sqlite.h"
#include "protocol/ranges.h"

struct listing {
	struct store *s;
	const struct store_user *u;
	const struct store_site *site;
	const struct store_shape *shape;
	const struct store_span *span;
	struct store_known *out;
	int64_t at; /* the last number listed */
	size_t runs, rows;
};

static bool enough(const struct listing *l)
{
	return l->runs >= STORE_KNOWN_RUNS || l->rows >= STORE_KNOWN_ROWS;
}

static int put(struct listing *l, int64_t lo, int64_t hi, struct err *e)
{
	int rc = run_put(&l->out->runs, &l->at, lo, hi);

	l->runs++;
	return rc ? err_set(e, rc, "no memory for the numbers of append rows") : 0;
}

static int bind_rows(struct listing *l, sqlite3_stmt *st, int64_t after, int64_t upto,
		     struct err *e)
{
	TRY(bind_text(l->s, st, 1, l->u->name.at, e));
	TRY(bind_int(l->s, st, 2, (uint64_t)l->site->id, e));
	TRY(bind_int(l->s, st, 3, l->span->gen, e));
	TRY(bind_int(l->s, st, 4, (uint64_t)after, e));
	return bind_int(l->s, st, 5, (uint64_t)upto, e);
}

/* The numbers in lo … hi that are in the table, as runs. */
static int list_rows(struct listing *l, int64_t lo, int64_t hi, struct err *e)
{
	int64_t from = 0, last = 0;
	bool row, open = false;
	sqlite3_stmt *st;
	int rc;

	TRY(table_stmt(l->s, l->shape->table, TQ_APPEND_NUMBERS, &st, e));
	TRY(bind_rows(l, st, lo - 1, hi, e));
	while (!(rc = db_step(l->s->db, st, &row, e)) && row && !enough(l)) {
		int64_t n = sqlite3_column_int64(st, 0);

		if (open && n != last + 1) {
			rc = put(l, from, last, e);
			if (rc)
				break;
			open = false;
		}
		from = open ? from : n;
		last = n;
		open = true;
		l->rows++;
	}
	sqlite3_reset(st);
	return rc || !open ? rc : put(l, from, last, e);
}

/* One row of neap_range, cut to the span. */
static int list_range(struct listing *l, int64_t lo, int64_t hi, int64_t n, struct err *e)
{
	bool dense = (uint64_t)hi - (uint64_t)lo == (uint64_t)n - 1;

	lo = lo > l->span->after ? lo : l->span->after + 1;
	hi = hi < l->span->upto ? hi : l->span->upto;
	if (lo > hi)
		return 0;
	return dense ? put(l, lo, hi, e) : list_rows(l, lo, hi, e);
}

static int bind_ranges(struct listing *l, sqlite3_stmt *st, struct err *e)
{
	TRY(bind_int(l->s, st, 1, (uint64_t)l->shape->table->id, e));
	TRY(bind_int(l->s, st, 2, (uint64_t)l->site->id, e));
	TRY(bind_int(l->s, st, 3, l->span->gen, e));
	TRY(bind_int(l->s, st, 4, (uint64_t)l->span->after, e));
	return bind_int(l->s, st, 5, (uint64_t)l->span->upto, e);
}

int store_ranges(struct store *s, const struct store_user *u, const struct store_site *site,
		 const struct store_shape *shape, const struct store_span *span,
		 struct store_known *out, struct err *e)
{
	struct listing l = {.s = s,
			    .u = u,
			    .site = site,
			    .shape = shape,
			    .span = span,
			    .out = out,
			    .at = span->after};
	sqlite3_stmt *st;
	bool row;
	int rc;

	/* From the range that the first number may be in: those before it end before it, too. */
	TRY(db_prepare(s->db,
		       "SELECT lo, hi, n FROM neap_range WHERE tab = ?1 AND site = ?2 AND gen = ?3 "
		       "AND lo >= ifnull((SELECT max(lo) FROM neap_range WHERE tab = ?1 AND site = "
		       "?2 AND gen = ?3 AND lo <= ?4), ?4) AND lo <= ?5 ORDER BY lo",
		       &st, e));
	TRY(bind_ranges(&l, st, e));
	while (!(rc = db_step(s->db, st, &row, e)) && row && !enough(&l)) {
		rc = list_range(&l, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
				sqlite3_column_int64(st, 2), e);
		if (rc)
			break;
	}
	sqlite3_reset(st);
	out->upto = enough(&l) ? l.at : span->upto;
	return rc;
}

static int put_hash(struct listing *l, const struct val *key, uint64_t salt, struct buf *scratch,
		    struct err *e)
{
	uint64_t hash;
	int rc = key_hash(salt, &l->shape->table->shape, key, scratch, &hash);

	rc = rc ? rc : key_hash_put(&l->out->keys, hash);
	l->rows++;
	return rc ? err_set(e, rc, "no memory for the hashes of keys") : 0;
}

int store_keys(struct store *s, const struct store_user *u, const struct store_site *site,
	       const struct store_shape *shape, const struct store_span *span, uint64_t salt,
	       struct store_known *out, struct err *e)
{
	struct listing l = {.s = s,
			    .u = u,
			    .site = site,
			    .shape = shape,
			    .span = span,
			    .out = out,
			    .at = span->after};
	struct buf scratch = {.max = LIMIT_DECODED};
	struct val key[LIMIT_KEY_COLUMNS];
	sqlite3_stmt *st;
	bool row;
	int rc;

	TRY(table_stmt(s, shape->table, TQ_APPEND_KEYS, &st, e));
	TRY(bind_rows(&l, st, span->after, span->upto, e));
	while (!(rc = db_step(s->db, st, &row, e)) && row && l.rows < STORE_KNOWN_KEYS) {
		l.at = sqlite3_column_int64(st, 0);
		for (int i = 0; i < shape->table->shape.n_key; i++)
			key[i] = val_column(st, 1 + i);
		rc = put_hash(&l, key, salt, &scratch, e);
		if (rc)
			break;
	}
	sqlite3_reset(st);
	buf_free(&scratch);
	out->upto = l.rows >= STORE_KNOWN_KEYS ? l.at : span->upto;
	return rc;
}
