/*
 * Rows of append tables (J3): added once by identity. What was received is also
 * kept as ranges of numbers, so that rows an operator purged stay purged. A
 * range knows how many rows it has: in a dense one a missing row was purged, in
 * a sparse one it may never have come, and then it is taken, never dropped. Nor
 * is one dropped for a purged row that said something else: a device whose file
 * was restored may write under identities that it has used.
 */
#include "backend/core/store_sqlite.h"

struct range {
	int64_t lo, hi, n;
};

struct appending {
	struct store *s;
	const struct store_user *u;
	const struct store_site *site;
	const struct store_shape *shape;
	uint64_t now_ms;
	struct store_appended *out;
	int64_t bytes; /* of rows added */
};

static bool dense(const struct range *r)
{
	return (uint64_t)r->hi - (uint64_t)r->lo == (uint64_t)r->n - 1;
}

/* Whether `n` comes right behind the dense range `r`. */
static bool continues(const struct range *r, int64_t n)
{
	return dense(r) && r->hi < INT64_MAX && r->hi + 1 == n;
}

static int bind_range_key(struct appending *p, sqlite3_stmt *st, uint64_t gen, struct err *e)
{
	TRY(bind_int(p->s, st, 1, (uint64_t)p->shape->table->id, e));
	TRY(bind_int(p->s, st, 2, (uint64_t)p->site->id, e));
	return bind_int(p->s, st, 3, gen, e);
}

/* The range with the greatest lo ≤ n. */
static int find_range(struct appending *p, uint64_t gen, int64_t n, struct range *out, bool *found,
		      struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(p->s->db,
		       "SELECT lo, hi, n FROM neap_range WHERE tab = ? AND site = ? AND gen = ?"
		       " AND lo <= ? ORDER BY lo DESC LIMIT 1",
		       &st, e));
	TRY(bind_range_key(p, st, gen, e));
	TRY(bind_int(p->s, st, 4, (uint64_t)n, e));
	TRY(db_step(p->s->db, st, found, e));
	if (*found)
		*out = (struct range){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
				      sqlite3_column_int64(st, 2)};
	sqlite3_reset(st);
	return 0;
}

static int put_range(struct appending *p, uint64_t gen, const struct range *r, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(p->s->db,
		       "INSERT INTO neap_range(tab, site, gen, lo, hi, n) VALUES(?1,?2,?3,?4,?5,?6)"
		       " ON CONFLICT(tab, site, gen, lo) DO UPDATE SET hi = ?5, n = ?6",
		       &st, e));
	TRY(bind_range_key(p, st, gen, e));
	TRY(bind_int(p->s, st, 4, (uint64_t)r->lo, e));
	TRY(bind_int(p->s, st, 5, (uint64_t)r->hi, e));
	TRY(bind_int(p->s, st, 6, (uint64_t)r->n, e));
	return db_run(p->s->db, st, e);
}

/* Binds what is the same for every row of the set. */
static int bind_set(struct appending *p, sqlite3_stmt *st, struct err *e)
{
	TRY(bind_text(p->s, st, 1, p->u->name.at, e));
	TRY(bind_text(p->s, st, 2, p->site->device.at, e));
	return bind_int(p->s, st, 3, (uint64_t)p->site->id, e);
}

/* There is no use in going on: the savepoint is undone anyway. */
static bool over(const struct appending *p)
{
	return p->out->n_collided == STORE_REFUSED || p->out->n_refused == STORE_REFUSED;
}

static void collide(struct appending *p, const struct row *r)
{
	if (!over(p))
		p->out->collided[p->out->n_collided++] = r;
}

static void refuse(struct appending *p, const struct row *r, const char *why)
{
	if (p->out->n_refused == 0)
		err_set(&p->out->why, NE_ROWS, "table %s: %.300s", p->shape->table->name, why);
	p->out->refused[p->out->n_refused++] = r;
}

static int64_t row_bytes(const struct shape *shape, const struct row *r)
{
	int64_t bytes = 8 * (int64_t)(shape->n_col - r->n_cell);

	for (uint16_t i = 0; i < shape->n_key; i++)
		bytes += (int64_t)usage_size(&r->key[i]);
	for (uint16_t i = 0; i < r->n_cell; i++)
		bytes += (int64_t)usage_size(&r->cell[i].val);
	return bytes;
}

/*
 * Adds the row; *there is true, and nothing changed, if its identity is in the table already.
 * Nothing changed either if the row is refused.
 */
static int insert(struct appending *p, sqlite3_stmt *st, const struct row *r, bool *there,
		  struct err *e)
{
	const struct shape *shape = &p->shape->table->shape;
	const struct val id[] = {{.type = VAL_INT, .i = p->site->id},
				 {.type = VAL_INT, .i = (int64_t)r->gen},
				 {.type = VAL_INT, .i = r->n}};
	struct err why;

	*there = false;
	if (rolled_refuses(p->s, p->u, p->shape->table, id, 3, &why)) {
		refuse(p, r, why.text);
		return 0;
	}
	TRY(bind_int(p->s, st, 4, r->gen, e));
	TRY(bind_int(p->s, st, 5, (uint64_t)r->n, e));
	TRY(bind_vals(p->s, st, 6, r->key, shape->n_key, e));
	for (uint16_t i = 0; i < r->n_cell; i++)
		TRY(bind_vals(p->s, st, 6 + shape->n_key + p->shape->col[r->cell[i].col],
			      &r->cell[i].val, 1, e));
	int rc = sqlite3_step(st);
	*there = rc == SQLITE_CONSTRAINT_PRIMARYKEY;
	bool added = rc == SQLITE_DONE;
	if ((rc & 0xff) == SQLITE_CONSTRAINT && sqlite3_get_autocommit(db_handle(p->s->db))) {
		rc = rolled_note(p->s, p->u, p->shape->table, id, 3, e);
	} else if ((rc & 0xff) == SQLITE_CONSTRAINT && !*there) {
		refuse(p, r, sqlite3_errmsg(db_handle(p->s->db)));
		rc = 0;
	} else if (!added && !*there) {
		rc = db_error(p->s->db, e, "adding a row to an append table");
	} else {
		rc = 0;
	}
	sqlite3_reset(st);
	p->out->added += added;
	if (added)
		p->bytes += row_bytes(shape, r);
	return rc;
}

static bool same_content(struct appending *p, sqlite3_stmt *st, const struct row *r)
{
	const struct shape *shape = &p->shape->table->shape;

	for (uint16_t i = 0; i < shape->n_key; i++) {
		struct val v = val_column(st, 1 + i);
		if (!val_eq(&v, &r->key[i]))
			return false;
	}
	for (uint16_t i = 0; i < r->n_cell; i++) {
		struct val v = val_column(st, 1 + shape->n_key + p->shape->col[r->cell[i].col]);
		if (!val_eq(&v, &r->cell[i].val))
			return false;
	}
	return true;
}

/* Compares a row received again with what is here, if it still is. */
static int compare(struct appending *p, const struct row *r, bool *there, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt(p->s, p->shape->table, TQ_APPEND_GET, &st, e));
	TRY(bind_text(p->s, st, 1, p->u->name.at, e));
	TRY(bind_int(p->s, st, 2, (uint64_t)p->site->id, e));
	TRY(bind_int(p->s, st, 3, r->gen, e));
	TRY(bind_int(p->s, st, 4, (uint64_t)r->n, e));
	TRY(db_step(p->s->db, st, there, e));
	if (*there && !same_content(p, st, r))
		collide(p, r);
	sqlite3_reset(st);
	return 0;
}

static struct store_captured captured(const struct appending *p, uint64_t gen)
{
	return (struct store_captured){
		.site = p->site, .shape = p->shape, .gen = gen, .now_ms = p->now_ms};
}

/* A row received again that was purged: it stays so if it is that one. */
static int compare_purged(struct appending *p, const struct row *r, struct err *e)
{
	const struct store_captured of = captured(p, r->gen);
	bool same;

	TRY(content_same(p->s, &of, r, &same, e));
	if (!same)
		collide(p, r);
	return 0;
}

/* The slow way, for rows that do not come after all others: each is looked up. */
static int add_one(struct appending *p, sqlite3_stmt *insert_st, const struct row *r, struct err *e)
{
	struct range at;
	bool found, there = false;

	TRY(find_range(p, r->gen, r->n, &at, &found, e));
	bool inside = found && r->n <= at.hi && !p->s->broken.no_ranges;
	if (inside) {
		TRY(compare(p, r, &there, e));
		if (!there && dense(&at))
			TRY(compare_purged(p, r, e));
		if (there || dense(&at)) {
			p->out->duplicates++;
			return 0;
		}
	}
	TRY(insert(p, insert_st, r, &there, e));
	if (there) {
		p->out->duplicates++;
		return compare(p, r, &there, e);
	}
	if (inside)
		at.n++;
	else if (found && continues(&at, r->n))
		at = (struct range){at.lo, r->n, at.n + 1};
	else
		at = (struct range){r->n, r->n, 1};
	const struct store_captured of = captured(p, r->gen);
	TRY(content_note(p->s, &of, r, 1, e));
	return put_range(p, r->gen, &at, e);
}

/* Rows of one generation with rising numbers, all above what was received: no lookups. */
static int add_above(struct appending *p, sqlite3_stmt *insert_st, const struct row *rows, size_t n,
		     struct err *e)
{
	for (size_t i = 0; i < n && !over(p); i++) {
		bool there;
		TRY(insert(p, insert_st, &rows[i], &there, e));
		if (there) {
			p->out->duplicates++;
			TRY(compare(p, &rows[i], &there, e));
		}
	}
	return 0;
}

static size_t count_runs(const struct row *rows, size_t n)
{
	size_t runs = 1;

	for (size_t i = 1; i < n; i++)
		runs += rows[i - 1].n + 1 != rows[i].n;
	return runs;
}

/* Records rows added by add_above: as dense ranges, or as a sparse one if those would be many. */
static int note_above(struct appending *p, const struct row *rows, size_t n,
		      const struct range *last, struct err *e)
{
	const struct store_captured of = captured(p, rows[0].gen);
	struct range r = {rows[0].n, rows[0].n, 1};

	if (count_runs(rows, n) > 4 + n / 8) {
		/* A missing one of these is taken again: what it said does not matter. */
		r = (struct range){rows[0].n, rows[n - 1].n, (int64_t)n};
		return put_range(p, rows[0].gen, &r, e);
	}
	TRY(content_note(p->s, &of, rows, n, e));
	if (last && continues(last, r.lo))
		r = (struct range){last->lo, r.hi, last->n + 1};
	for (size_t i = 1; i < n; i++) {
		if (rows[i].n == rows[i - 1].n + 1) {
			r.hi++;
			r.n++;
			continue;
		}
		TRY(put_range(p, rows[0].gen, &r, e));
		r = (struct range){rows[i].n, rows[i].n, 1};
	}
	return put_range(p, rows[0].gen, &r, e);
}

/* The rows from `rows` on that are of one generation with rising numbers. */
static size_t segment(const struct row *rows, size_t n)
{
	size_t i = 1;

	while (i < n && rows[i].gen == rows[0].gen && rows[i].n > rows[i - 1].n)
		i++;
	return i;
}

static int add_segment(struct appending *p, sqlite3_stmt *insert_st, const struct row *rows,
		       size_t n, struct err *e)
{
	struct range last;
	bool found;

	TRY(find_range(p, rows[0].gen, INT64_MAX, &last, &found, e));
	if (!found || rows[0].n > last.hi) {
		TRY(add_above(p, insert_st, rows, n, e));
		return p->out->n_collided || p->out->n_refused
			       ? 0
			       : note_above(p, rows, n, found ? &last : NULL, e);
	}
	for (size_t i = 0; i < n && !over(p); i++)
		TRY(add_one(p, insert_st, &rows[i], e));
	return 0;
}

int store_append(struct store *s, const struct store_user *u, const struct store_site *site,
		 const struct store_shape *shape, const struct row *rows, size_t n, uint64_t now_ms,
		 struct store_appended *out, struct err *e)
{
	struct appending p = {
		.s = s, .u = u, .site = site, .shape = shape, .now_ms = now_ms, .out = out};
	sqlite3_stmt *st;
	size_t len;

	*out = (struct store_appended){0};
	TRY(table_stmt(s, shape->table, TQ_APPEND, &st, e));
	sqlite3_clear_bindings(st); /* columns that this shape lacks are NULL */
	TRY(bind_set(&p, st, e));
	for (size_t i = 0; i < n && !over(&p); i += len) {
		len = segment(rows + i, n - i);
		TRY(add_segment(&p, st, rows + i, len, e));
	}
	sqlite3_clear_bindings(st); /* they borrow from the caller's rows */
	return usage_add(s, u, shape->table, (int64_t)out->added, p.bytes, e);
}
