/* Ranges by their sums. */
#include "device/core/apply_internal.h"
#include "device/core/verify_sql.h"
#include "protocol/value_bytes.h"

enum {
	ABSENT_BYTES = 2048,
	KEY_BYTES = 2 * LIMIT_SET,
	ROW_BYTES = 2 * LIMIT_SET,
	/* The server sums up no more than 1 MiB and a row: with more than that here they differ. */
	SUM_BYTES = 2 * LIMIT_SET,
};

static int no_memory(const struct verify_range *r, struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory to verify table %.*s", (int)r->t->shape.name.len,
		       (const char *)r->t->shape.name.at);
}

static int put_key(const struct verify_range *r, const struct val *key, struct buf *out,
		   struct err *e)
{
	return values_put(out, key, r->t->shape.n_key) ? no_memory(r, e) : NE_OK;
}

/* The first `max` pending keys, packed; *n of them. `last`: where the last one begins. */
static int pending_keys(const struct verify_range *r, int64_t max, struct buf *out, size_t *n,
			size_t *last, struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];
	sqlite3_stmt *s;
	bool row = true;
	int rc = NE_OK;

	*n = *last = 0;
	if (r->d->broken.sum_marked)
		return NE_OK;
	TRY(range_query(r, RANGE_MARKS, max, &s, e));
	while (!rc && row) {
		rc = db_step(r->d->db, s, &row, e);
		if (rc || !row || !range_values(s, 0, r->t->shape.n_key, key))
			continue;
		*last = out->len;
		rc = put_key(r, key, out, e);
		++*n;
	}
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

static int nth_key(const struct verify_range *r, size_t rows, struct buf *to, struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(range_query(r, RANGE_NTH, (int64_t)rows - 1, &s, e));
	rc = db_step(r->d->db, s, &row, e);
	if (!rc && row && range_values(s, 0, r->t->shape.n_key, key))
		rc = put_key(r, key, to, e);
	else if (!rc && r->to.len && buf_put(to, r->to.at, r->to.len))
		rc = no_memory(r, e);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

int verify_bounds(const struct verify_range *r, size_t rows, struct buf *to, struct buf *except,
		  struct err *e)
{
	struct verify_range upto = *r;
	size_t n, last;

	buf_clear(to);
	buf_clear(except);
	TRY(nth_key(r, rows, to, e));
	upto.to = buf_slice(to);
	TRY(pending_keys(&upto, LIMIT_EXCEPT, except, &n, &last, e));
	if (n < LIMIT_EXCEPT)
		return NE_OK;
	buf_clear(to);
	return buf_put(to, except->at + last, except->len - last) ? no_memory(r, e) : NE_OK;
}

/* Whether all that is pending now was left out when it was asked. */
static int all_left_out(const struct verify_range *r, const struct key_set *except, bool *yes,
			struct err *e)
{
	struct buf keys = {.max = KEY_BYTES}, scratch = {.max = KEY_BYTES};
	struct val key[LIMIT_KEY_COLUMNS];
	size_t n, last;
	struct slice left;
	int rc = pending_keys(r, LIMIT_EXCEPT + 1, &keys, &n, &last, e);

	*yes = n <= LIMIT_EXCEPT;
	left = buf_slice(&keys);
	while (!rc && *yes && left.len) {
		rc = key_take(&left, &r->t->shape, key);
		if (!rc)
			rc = key_set_has(except, key, &scratch, yes);
	}
	buf_free(&keys);
	buf_free(&scratch);
	return rc;
}

/* One range being summed. */
struct summing {
	const struct verify_range *r;
	const struct key_set *except, *above;
	struct row_sum sum;
	struct buf scratch;
	uint64_t left_out;
	size_t bytes;
};

static int add_row(struct summing *g, sqlite3_stmt *s, struct err *e)
{
	const struct shape *shape = &g->r->t->shape;
	struct val key[LIMIT_KEY_COLUMNS], col[LIMIT_COLUMNS];
	bool out;

	/* Not synced: the key must be whole. */
	if (!range_values(s, 0, shape->n_key, key))
		return NE_OK;
	if (key_set_has(g->except, key, &g->scratch, &out))
		return no_memory(g->r, e);
	if (!out && key_set_has(g->above, key, &g->scratch, &out))
		return no_memory(g->r, e);
	g->left_out += out;
	if (out)
		return NE_OK;
	range_values(s, shape->n_key, shape->n_col, col);
	for (int i = 0; i < shape->n_col; i++)
		g->bytes += val_size(&col[i]);
	return row_sum_add(&g->sum, shape, key, col, &g->scratch) ? no_memory(g->r, e) : NE_OK;
}

static int sum_rows(struct summing *g, struct err *e)
{
	sqlite3_stmt *s;
	bool row = true;
	int rc = NE_OK;

	TRY(range_query(g->r, RANGE_ROWS, 0, &s, e));
	while (!rc && row && g->bytes <= SUM_BYTES) {
		rc = db_step(g->r->d->db, s, &row, e);
		if (!rc && row)
			rc = add_row(g, s, e);
	}
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

/* In one snapshot of the database. */
static int compare(struct summing *g, const struct row_sum *theirs, enum verify_found *found,
		   struct err *e)
{
	bool yes;

	TRY(all_left_out(g->r, g->except, &yes, e));
	*found = VERIFY_MOVED;
	if (!yes)
		return NE_OK;
	TRY(sum_rows(g, e));
	*found = row_sum_eq(&g->sum, theirs) ? VERIFY_EQUAL : VERIFY_DIFFERS;
	return NE_OK;
}

int verify_sum(const struct verify_range *r, const struct key_set *except,
	       const struct key_set *above, const struct row_sum *theirs, enum verify_found *found,
	       struct verify_counts *out, struct err *e)
{
	struct summing g = {
		.r = r, .except = except, .above = above, .scratch = {.max = ROW_BYTES}};
	int rc;

	TRY(db_exec(r->d->db, "BEGIN", e));
	rc = compare(&g, theirs, found, e);
	devdb_rollback(r->d);
	buf_free(&g.scratch);
	if (!rc && *found == VERIFY_EQUAL) {
		out->rows += g.sum.n;
		out->left_out += g.left_out;
	}
	return rc;
}

int verify_total(const struct verify_range *r, int64_t max, int64_t *out, struct err *e)
{
	struct buf sql = {.max = 1024};
	int rc = buf_printf(&sql, "SELECT count(*) FROM (SELECT 1 FROM main.");

	rc = rc ? rc : sql_put_name(&sql, r->t->shape.name);
	rc = rc ? rc : buf_printf(&sql, " LIMIT %lld)", (long long)max);
	rc = rc ? rc : buf_terminate(&sql);
	rc = rc ? no_memory(r, e) : db_int(r->d->db, (const char *)sql.at, 0, out, e);
	buf_free(&sql);
	return rc;
}

int verify_absent(struct devdb *d, const struct tracked *t, struct arena *a, struct buf *out,
		  struct err *e)
{
	bool any = false;
	int rc = NE_OK;

	buf_clear(out);
	for (uint16_t i = 0; !rc && i < t->shape.n_col; i++) {
		struct val v = {.type = VAL_NULL};

		TRY(default_of(d, t, i, a, &v, e));
		any |= v.type != VAL_NULL;
		rc = value_put(out, &v);
	}
	if (rc && rc != NE_LIMIT)
		return err_set(e, rc, "no memory for the defaults of a table");
	if (!any || rc || out->len > ABSENT_BYTES)
		buf_clear(out);
	return NE_OK;
}
