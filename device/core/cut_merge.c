/* Cutting a merge table: marks in key order, one row of the app's table for each key. */
#include <stdlib.h>
#include <string.h>

#include "device/core/again.h"
#include "device/core/apply_internal.h"
#include "device/core/cut_internal.h"
#include "device/core/rejected.h"

enum { SQL_MAX_BYTES = 1 << 20, PASS_MAX = 2000 };

/* The marks of one key. */
struct group {
	struct buf bytes; /* the key, packed */
	struct val key[LIMIT_KEY_COLUMNS];
	bool any, has_exist, has_candidate;
	struct reg exist, candidate;
	uint16_t n_cell;
	uint16_t col[LIMIT_COLUMNS];
	struct reg reg[LIMIT_COLUMNS];
};

/* One call of cut_merge_table. */
struct scan {
	struct cutting *c;
	const struct tracked *t;
	const struct shape *s;
	struct pass *p;
	struct buf sql;
	struct buf last;   /* the last key that is done with */
	sqlite3_stmt *row; /* reads the row of a key */
	struct group g;
	struct image *im; /* the parked row of a key that the table has not, */
	bool parked;	  /* … if there is one */
	size_t done;	  /* rows taken of this table */
	/* Only deletes are wanted: `last` is the last of some keys passed over, cut up to `gen`. */
	bool passed;
	int64_t gen;   /* of the segment at hand of the pass before */
	struct buf lo; /* what the set carries of the table begins above it */
};

static struct reg later(struct reg a, struct reg b)
{
	return reg_cmp(a, b) >= 0 ? a : b;
}

static bool begins(const struct scan *x)
{
	return x->p->now.n == 0;
}

/* ?1 gen, then the bounds. */
static int marks_sql(struct scan *x, bool lower, bool upper)
{
	int param = 2;

	buf_clear(&x->sql);
	TRY(buf_printf(&x->sql, "SELECT "));
	for (uint16_t i = 0; i < x->s->n_key; i++)
		TRY(buf_printf(&x->sql, "k%u, ", (unsigned)i));
	TRY(buf_printf(&x->sql, "col, stamp, site FROM \"%s\" WHERE gen > ?1", x->t->marks));
	if (lower)
		TRY(cut_put_bound(&x->sql, x->s->n_key, ">", &param));
	if (upper)
		TRY(cut_put_bound(&x->sql, x->s->n_key, "<=", &param));
	TRY(buf_printf(&x->sql, " ORDER BY "));
	for (uint16_t i = 0; i < x->s->n_key; i++)
		TRY(buf_printf(&x->sql, "k%u, ", (unsigned)i));
	return buf_printf(&x->sql, "col");
}

static const char *const collation_names[] = {"BINARY", "NOCASE", "RTRIM"};

/* The row of a key, its key columns first: the spelling that the table has. */
static int row_sql(struct scan *x)
{
	buf_clear(&x->sql);
	TRY(buf_printf(&x->sql, "SELECT "));
	for (int i = 0; i < x->s->n_key + x->s->n_col; i++) {
		TRY(buf_printf(&x->sql, "%s", i ? ", " : ""));
		TRY(sql_put_name(&x->sql, i < x->s->n_key ? x->s->key[i].name
							  : x->s->col[i - x->s->n_key].name));
	}
	TRY(buf_printf(&x->sql, " FROM main."));
	TRY(sql_put_name(&x->sql, x->s->name));
	TRY(buf_printf(&x->sql, " WHERE "));
	for (int i = 0; i < x->s->n_key; i++) {
		TRY(buf_printf(&x->sql, "%s", i ? " AND " : ""));
		TRY(sql_put_name(&x->sql, x->s->key[i].name));
		TRY(buf_printf(&x->sql, " = ?%d COLLATE %s", i + 1,
			       collation_names[x->s->key[i].collation]));
	}
	return NE_OK;
}

static int bind_key(struct scan *x, sqlite3_stmt *s, struct err *e)
{
	for (uint16_t i = 0; i < x->s->n_key; i++) {
		if (val_bind(s, i + 1, &x->g.key[i]) != SQLITE_OK)
			return db_error(x->c->d->db, e, "binding a key");
	}
	return NE_OK;
}

/* Drops the marks of the group's key where `which`; they say nothing. */
static int drop_marks(struct scan *x, const char *which, struct err *e)
{
	sqlite3_stmt *s;

	buf_clear(&x->sql);
	if (buf_printf(&x->sql, "DELETE FROM \"%s\" WHERE ", x->t->marks))
		return err_set(e, NE_MEMORY, "no memory for an SQL text");
	for (unsigned i = 0; i < x->s->n_key; i++) {
		if (buf_printf(&x->sql, "k%u = ?%u AND ", i, i + 1))
			return err_set(e, NE_MEMORY, "no memory for an SQL text");
	}
	if (buf_printf(&x->sql, "%s", which))
		return err_set(e, NE_MEMORY, "no memory for an SQL text");
	TRY(cut_prepare(x->c->d->db, &x->sql, &s, e));
	TRY(bind_key(x, s, e));
	return db_run(x->c->d->db, s, e);
}

static int full_arena(struct scan *x, struct err *e)
{
	return err_set(e, NE_LIMIT, "a row of table %.*s does not fit in memory for one set",
		       (int)x->s->name.len, (const char *)x->s->name.at);
}

static int copy_key(struct scan *x, sqlite3_stmt *row, struct row *out, struct err *e)
{
	struct val *key = arena_array(x->c->arena, x->s->n_key, sizeof *key);

	if (!key)
		return full_arena(x, e);
	for (uint16_t i = 0; i < x->s->n_key; i++) {
		struct val v = row ? val_column(row, i) : x->g.key[i];

		if (!val_copy(x->c->arena, &v, &key[i]))
			return full_arena(x, e);
	}
	out->key = key;
	return NE_OK;
}

/* A row's value: of the table, or of its parked image, which stands in for it. */
static struct val value_of(const struct scan *x, sqlite3_stmt *row, uint16_t col)
{
	if (row)
		return val_column(row, x->s->n_key + col);
	return x->im->has[col] ? x->im->val[col] : (struct val){.type = VAL_NULL};
}

/* Every column at the insert's stamp, marked ones at their own if later. */
static void all_cells(struct scan *x, struct cell *cell)
{
	for (uint16_t i = 0; i < x->s->n_col; i++)
		cell[i] = (struct cell){.col = i, .reg = x->g.exist};
	for (uint16_t i = 0; i < x->g.n_cell; i++)
		cell[x->g.col[i]].reg = later(x->g.reg[i], x->g.exist);
}

/*
 * A value that only a renamed column brought: pending below all others until here. The server takes
 * no cell that is older than its row.
 */
static void stamp_defaults(struct scan *x)
{
	for (uint16_t i = 0; !x->g.has_exist && i < x->g.n_cell; i++) {
		if (x->g.reg[i].stamp == 0)
			x->g.reg[i].stamp = x->c->clock.floor;
	}
}

static int copy_cells(struct scan *x, sqlite3_stmt *row, struct row *out, struct err *e)
{
	bool all = x->g.has_exist && !x->c->d->broken.no_filler;
	uint16_t n = all ? x->s->n_col : x->g.n_cell;
	struct cell *cell = arena_array(x->c->arena, n ? n : 1, sizeof *cell);

	if (!cell)
		return full_arena(x, e);
	if (all)
		all_cells(x, cell);
	stamp_defaults(x);
	for (uint16_t i = 0; i < n; i++) {
		struct val v;

		if (!all)
			cell[i] = (struct cell){.col = x->g.col[i], .reg = x->g.reg[i]};
		v = value_of(x, row, cell[i].col);
		if (!val_copy(x->c->arena, &v, &cell[i].val))
			return full_arena(x, e);
		x->c->stamp = cell[i].reg.stamp > x->c->stamp ? cell[i].reg.stamp : x->c->stamp;
	}
	out->n_cell = n;
	out->cell = cell;
	return NE_OK;
}

/* What the row's values take; *largest of them. */
static size_t row_bytes(const struct scan *x, sqlite3_stmt *row, size_t *largest)
{
	uint16_t n = x->g.has_exist ? x->s->n_col : x->g.n_cell;
	size_t bytes = x->g.bytes.len;

	*largest = 0;
	for (uint16_t i = 0; (row || x->parked) && i < n; i++) {
		struct val v = value_of(x, row, x->g.has_exist ? i : x->g.col[i]);
		size_t size = val_size(&v);

		bytes += size;
		*largest = size > *largest ? size : *largest;
	}
	return bytes;
}

static int no_ranges(int rc, struct err *e)
{
	return rc ? err_set(e, rc, "no memory for the ranges of a set") : NE_OK;
}

/* The keys passed over, up to the key `hi`, are as they were; what is taken begins behind them. */
static int end_passed(struct scan *x, struct slice hi, struct err *e)
{
	x->passed = false;
	TRY(no_ranges(segments_add(&x->p->now, hi, x->gen), e));
	buf_clear(&x->lo);
	return no_ranges(buf_put(&x->lo, hi.at, hi.len), e);
}

/*
 * A row that is there, while only deletes are wanted. A set carries of each table one range of
 * keys: the row is passed over in front of it and ends it. So many are passed over in one go.
 */
static bool pass_over(struct scan *x)
{
	if (x->done || x->c->n_passed == PASS_MAX)
		return false;
	x->c->n_passed++;
	x->passed = true;
	return true;
}

/* Takes the row if it fits; *taken. */
static int take(struct scan *x, sqlite3_stmt *row, bool *taken, struct err *e)
{
	struct cutting *c = x->c;
	struct row *out = &c->row[c->n_row];
	bool there = row || x->parked;
	size_t cells = x->s->n_key + (there ? (x->g.has_exist ? x->s->n_col : x->g.n_cell) : 0u);
	size_t largest, bytes = row_bytes(x, row, &largest);

	*taken = true;
	if (c->limits->deletes && there) {
		*taken = pass_over(x);
		return NE_OK;
	}
	if (!cut_fits_a_set(largest > x->g.bytes.len ? largest : x->g.bytes.len, bytes)) {
		TRY(drop_marks(x, "true", e));
		return cut_reject(c, x->t, x->g.key, e);
	}
	*taken = cutting_fits(c, cells, bytes);
	if (!*taken)
		return NE_OK;
	if (x->passed)
		TRY(end_passed(x, buf_slice(&x->last), e));
	*out = (struct row){.exist = EXIST_NONE};
	TRY(copy_key(x, row, out, e));
	if (x->g.has_exist || !there) {
		out->exist = there ? EXIST_ALIVE : EXIST_DEAD;
		out->exist_reg = x->g.exist;
		c->stamp = x->g.exist.stamp > c->stamp ? x->g.exist.stamp : c->stamp;
	}
	if (there)
		TRY(copy_cells(x, row, out, e));
	cutting_take(c, cells, bytes);
	x->done++;
	if (!c->rejects)
		return NE_OK;
	return rejected_replaced(c->d, x->t, x->g.key, out->exist != EXIST_NONE, x->g.col,
				 x->g.n_cell, e);
}

/* What the marks of a key mean, now that it is known whether its row is there. */
static int resolve(struct scan *x, sqlite3_stmt *row, bool *done, struct err *e)
{
	struct group *g = &x->g;
	bool there = row || x->parked;

	*done = true;
	if (there && g->has_candidate) {
		TRY(drop_marks(x, "col = -2", e));
		if (!g->has_exist && g->n_cell == 0)
			return NE_OK;
	}
	if (!there && g->has_candidate) {
		g->exist = g->has_exist ? later(g->exist, g->candidate) : g->candidate;
		g->has_exist = true;
	}
	if (!there && !g->has_exist)
		return drop_marks(x, "col >= 0", e);
	return take(x, row, done, e);
}

/* Of the key gathered, empty. */
static int parked_image(struct scan *x, struct image **out, struct err *e)
{
	if (!x->im)
		x->im = arena_alloc(x->c->arena, sizeof *x->im);
	if (!x->im)
		return full_arena(x, e);
	memset(x->im, 0, sizeof *x->im);
	memcpy(x->im->key, x->g.key, sizeof x->g.key);
	*out = x->im;
	return NE_OK;
}

/* A row of others that does not fit the table now: what was written to it before goes up. */
static int look_parked(struct scan *x, struct err *e)
{
	struct target tg = {.d = x->c->d, .t = (struct tracked *)(uintptr_t)x->t};

	struct image *im;

	x->parked = false;
	if (!x->c->parked)
		return NE_OK;
	TRY(parked_image(x, &im, e));
	return parked_read(&tg, im, x->c->arena, &x->parked, e);
}

/* The app wrote the row anew: the image must not stand in for it once that is gone. */
static int drop_parked(struct scan *x, struct err *e)
{
	struct target tg = {.d = x->c->d, .t = (struct tracked *)(uintptr_t)x->t};
	struct image *im;

	if (!x->c->parked)
		return NE_OK;
	TRY(parked_image(x, &im, e));
	return unpark(&tg, im, e);
}

/* Cuts the group gathered; c->full when there is no room for it. */
static int end_group(struct scan *x, struct err *e)
{
	sqlite3_stmt *s = x->row;
	bool row, done;
	int rc;

	if (!x->g.any)
		return NE_OK;
	TRY(bind_key(x, s, e));
	TRY(db_step(x->c->d->db, s, &row, e));
	x->parked = false;
	rc = row ? drop_parked(x, e) : look_parked(x, e);
	if (!rc)
		rc = resolve(x, row ? s : NULL, &done, e);
	sqlite3_reset(s);
	TRY(rc);
	if (!done) {
		x->c->full = true;
		return NE_OK;
	}
	buf_clear(&x->last);
	if (buf_put(&x->last, x->g.bytes.at, x->g.bytes.len))
		return err_set(e, NE_MEMORY, "no memory for a key");
	x->g.any = false;
	return NE_OK;
}

static int begin_group(struct scan *x, const struct val *key, struct err *e)
{
	struct group *g = &x->g;

	buf_clear(&g->bytes);
	if (key_pack(&g->bytes, key, x->s->n_key))
		return err_set(e, NE_MEMORY, "no memory for a key");
	if (key_unpack(buf_slice(&g->bytes), g->key, x->s->n_key))
		return err_set(e, NE_CORRUPT, "a key of table %s cannot be read", x->t->marks);
	g->any = true;
	g->has_exist = g->has_candidate = false;
	g->n_cell = 0;
	return NE_OK;
}

static void add_mark(struct scan *x, int64_t col, struct reg reg)
{
	struct group *g = &x->g;

	if (col == MARK_EXIST) {
		g->has_exist = true;
		g->exist = reg;
	} else if (col == MARK_CANDIDATE) {
		g->has_candidate = true;
		g->candidate = reg;
	} else if (col >= 0 && col < x->s->n_col) {
		g->col[g->n_cell] = (uint16_t)col;
		g->reg[g->n_cell++] = reg;
	}
}

static int on_mark(struct scan *x, sqlite3_stmt *s, struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];
	uint16_t n = x->s->n_key;
	struct reg reg = {.stamp = (uint64_t)sqlite3_column_int64(s, n + 1), .site = x->c->d->site};

	if (sqlite3_column_type(s, n + 2) != SQLITE_NULL)
		reg.site = (uint64_t)sqlite3_column_int64(s, n + 2);
	for (uint16_t i = 0; i < n; i++)
		key[i] = val_column(s, i);
	if (x->g.any && !key_same(x->s, x->g.key, key)) {
		TRY(end_group(x, e));
		if (x->c->full)
			return NE_OK;
	}
	if (!x->g.any)
		TRY(begin_group(x, key, e));
	add_mark(x, sqlite3_column_int64(s, n), reg);
	return NE_OK;
}

/* The marks above `lo` in one segment of the pass before. */
static int scan_segment(struct scan *x, struct slice lo, struct slice hi, int64_t gen,
			struct err *e)
{
	struct db *db = x->c->d->db;
	sqlite3_stmt *s;
	int param = 2, rc;
	bool row;

	if (marks_sql(x, lo.len > 0, hi.len > 0))
		return err_set(e, NE_MEMORY, "no memory for an SQL text");
	TRY(cut_prepare(db, &x->sql, &s, e));
	sqlite3_bind_int64(s, 1, gen);
	if (lo.len)
		TRY(cut_bind_bound(db, s, lo, x->s->n_key, &param, e));
	if (hi.len)
		TRY(cut_bind_bound(db, s, hi, x->s->n_key, &param, e));
	x->g.any = false;
	while (!(rc = db_step(db, s, &row, e)) && row && !x->c->full) {
		rc = on_mark(x, s, e);
		if (rc)
			break;
	}
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	if (!rc && !x->c->full)
		rc = end_group(x, e);
	return rc;
}

/* Where the pass stands; empty at its start. */
static struct slice position(const struct pass *p)
{
	return p->now.n ? buf_slice(&p->now.at[p->now.n - 1].hi) : slice_of(NULL, 0);
}

/* What was covered is from now on what the pass before covered. */
static void next_pass(struct pass *p)
{
	segments_free(&p->before);
	p->before = p->now;
	p->now = (struct segments){0};
	p->at = 0;
	p->begun = false;
}

/* Scans from `lo` to the pass's end or until the set is full. */
static int scan_rest(struct scan *x, struct slice lo, struct err *e)
{
	struct segments *b = &x->p->before;
	struct slice none = {0}, from = lo;

	x->gen = -1;
	if (b->n == 0)
		return scan_segment(x, lo, none, -1, e);
	while (x->p->at < b->n) {
		struct slice hi = buf_slice(&b->at[x->p->at].hi);

		x->gen = b->at[x->p->at].gen;
		TRY(scan_segment(x, from, hi, x->gen, e));
		if (x->c->full)
			break;
		if (x->passed && hi.len)
			TRY(end_passed(x, hi, e));
		from = hi;
		x->p->at++;
	}
	return NE_OK;
}

static int record(struct scan *x, size_t taken_before, struct err *e)
{
	struct cutting *c = x->c;
	struct slice hi = c->full ? buf_slice(&x->last) : slice_of(NULL, 0);
	bool taken = x->done > taken_before;
	struct range r = {
		.table = x->t->id, .kind = RANGE_MARKS, .lo = buf_slice(&x->lo), .hi = hi};

	if (x->passed)
		return no_ranges(segments_add(&x->p->now, hi, x->gen), e);
	if (c->full && hi.len == 0) /* not even one key was done: nothing moved */
		return NE_OK;
	/* Later writes of this generation are possible while no set was given out. */
	if (taken)
		TRY(no_ranges(range_put(&c->ranges, &r), e));
	return no_ranges(segments_add(&x->p->now, hi, taken ? c->clock.gen : c->clock.gen - 1), e);
}

/* The rest of the pass under way. *whole: it began at the first key. */
static int cut_pass(struct scan *x, bool *whole, struct err *e)
{
	struct slice at = position(x->p);
	struct buf lo = {.max = LIMIT_DECODED}; /* the scan borrows it, x->lo moves */
	size_t before = x->done;
	int rc;

	*whole = begins(x);
	if (!x->p->begun)
		TRY(again_pass(x->c->d, x->t, &x->p->round, e));
	x->p->begun = true;
	buf_clear(&x->last);
	buf_clear(&x->lo);
	TRY(no_ranges(buf_put(&x->lo, at.at, at.len), e));
	rc = no_ranges(buf_put(&lo, at.at, at.len), e);
	rc = rc ? rc : scan_rest(x, buf_slice(&lo), e);
	if (!rc)
		rc = record(x, before, e);
	if (!rc && !x->c->full) {
		next_pass(x->p);
		x->p->searched = x->c->limits->deletes;
	}
	buf_free(&lo);
	return rc;
}

static int prepare_row(struct scan *x, struct err *e)
{
	if (row_sql(x))
		return err_set(e, NE_MEMORY, "no memory for an SQL text");
	return cut_prepare(x->c->d->db, &x->sql, &x->row, e);
}

int cut_merge_table(struct cutting *c, const struct tracked *t, struct pass *p, struct err *e)
{
	struct scan *x = calloc(1, sizeof *x);
	bool whole = false, waits = false;
	int rc;

	if (c->limits->deletes && p->searched) {
		free(x);
		return NE_OK;
	}
	p->searched = false;
	if (!x)
		return err_set(e, NE_MEMORY, "no memory to cut a set");
	*x = (struct scan){.c = c,
			   .t = t,
			   .s = &t->shape,
			   .p = p,
			   .sql = {.max = SQL_MAX_BYTES},
			   .last = {.max = LIMIT_DECODED},
			   .lo = {.max = LIMIT_DECODED},
			   .g = {.bytes = {.max = LIMIT_DECODED}}};
	rc = prepare_row(x, e);
	if (!rc)
		rc = again_waits(c->d, t, &waits, e);
	/* A pass that ends without a row may have passed by what was written behind it. */
	while (!rc && !c->full && x->done == 0 && !whole && !p->searched && (p->begun || !waits))
		rc = cut_pass(x, &whole, e);
	if (!rc)
		rc = cutting_table(c, t, e);
	buf_free(&x->sql);
	buf_free(&x->last);
	buf_free(&x->lo);
	buf_free(&x->g.bytes);
	free(x);
	return rc;
}
