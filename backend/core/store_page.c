/* Pages: current rows in seq order, gathered from the shadows of all of a user's tables. */
#include <string.h>

#include "backend/core/catalogue.h"
#include "backend/core/registers.h"
#include "backend/core/store_sqlite.h"
#include "protocol/value_bytes.h"

enum { PAGE_ROWS = 4000, PAGE_CELLS = 100000, TOKEN_BYTES = 8 * 1024 * 1024 };

/* One table being read in seq order. */
struct source {
	struct store_table *table;
	sqlite3_stmt *st;
	bool row; /* st stands on one */
	uint64_t seq;
	struct store_row scratch;
};

/* A row taken, in the order of taking. */
struct taken {
	struct taken *next;
	size_t source;
	uint64_t seq;
	struct row row;
};

struct pager {
	struct store *s;
	const struct store_user *u;
	const struct store_asked *asked;
	struct arena *a;
	size_t n;
	struct source *source; /* by table id */
	struct taken *first, **end;
	struct taken **complete; /* end of the rows whose seqs are complete */
	uint64_t complete_seq;	 /* the newest of them */
	size_t rows, cells, bytes, budget;
	uint64_t limit; /* rows with a newer seq are left out */
};

/* Where a seq continues: behind this key of this table. */
struct mark {
	bool given;
	uint64_t seq;
	int64_t table;
	struct val key[LIMIT_KEY_COLUMNS];
};

static int take_int(struct slice *in, uint64_t *out)
{
	struct val v;

	TRY(value_take(in, &v));
	if (v.type != VAL_INT)
		return NE_MALFORMED;
	*out = (uint64_t)v.i;
	return 0;
}

static int read_token(struct pager *p, struct mark *m)
{
	struct slice token = p->asked->token;
	uint64_t table;

	m->given = token.len > 0;
	if (!m->given)
		return 0;
	TRY(take_int(&token, &m->seq));
	TRY(take_int(&token, &table));
	m->table = (int64_t)table;
	struct store_table *t = catalogue_table(p->s, m->table);
	if (!t || m->seq <= p->asked->from)
		return NE_MALFORMED;
	TRY(values_take(&token, m->key, t->shape.n_key));
	return token.len ? NE_MALFORMED : 0;
}

static int write_token(struct pager *p, const struct taken *last, struct slice *out, struct err *e)
{
	struct source *src = &p->source[last->source];
	struct buf b = {.max = TOKEN_BYTES};
	struct val seq = {.type = VAL_INT, .i = (int64_t)last->seq};
	struct val table = {.type = VAL_INT, .i = src->table->id};
	int rc = value_put(&b, &seq);

	if (!rc)
		rc = value_put(&b, &table);
	if (!rc)
		rc = values_put(&b, last->row.key, src->table->shape.n_key);
	if (!rc)
		*out = arena_copy(p->a, buf_slice(&b));
	buf_free(&b);
	if (rc || !out->at)
		return err_set(e, NE_MEMORY, "no memory for a page");
	return 0;
}

static int advance(struct pager *p, struct source *src, struct err *e)
{
	TRY(db_step(p->s->db, src->st, &src->row, e));
	if (src->row)
		src->seq = column_u64(src->st, 0);
	src->row = src->row && src->seq <= p->limit;
	return 0;
}

static int start(struct pager *p, struct source *src, const struct mark *m, struct err *e)
{
	bool behind = m->given && src->table->id == m->table;
	uint64_t from = !m->given		    ? p->asked->from + 1
			: src->table->id > m->table ? m->seq
						    : m->seq + 1;

	TRY(store_row_init(src->table, p->a, &src->scratch, e));
	TRY(table_stmt(p->s, src->table, behind ? TQ_PAGE_AFTER : TQ_PAGE, &src->st, e));
	TRY(bind_int(p->s, src->st, 1, (uint64_t)p->u->uid, e));
	TRY(bind_text(p->s, src->st, 2, p->u->name.at, e));
	TRY(bind_int(p->s, src->st, 3, behind ? m->seq : from, e));
	if (behind)
		TRY(bind_vals(p->s, src->st, 4, m->key, src->table->shape.n_key, e));
	return advance(p, src, e);
}

static bool asked_for(const struct pager *p, const struct store_table *t)
{
	return !p->asked->table.len || name_same(p->asked->table, t->shape.name);
}

static int open_sources(struct pager *p, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	p->source = arena_array(p->a, p->s->cat.n_table + 1, sizeof *p->source);
	if (!p->source)
		return err_set(e, NE_MEMORY, "no memory for a page");
	TRY(db_prepare(p->s->db, "SELECT tab FROM neap_user_table WHERE uid = ? ORDER BY tab", &st,
		       e));
	TRY(bind_int(p->s, st, 1, (uint64_t)p->u->uid, e));
	for (;;) {
		TRY(db_step(p->s->db, st, &row, e));
		if (!row)
			break;
		struct store_table *t = catalogue_table(p->s, sqlite3_column_int64(st, 0));
		if (t && t->shape.kind == SHAPE_MERGE && !t->missing && asked_for(p, t) &&
		    p->n < p->s->cat.n_table)
			p->source[p->n++].table = t;
	}
	sqlite3_reset(st);
	return 0;
}

static void close_sources(struct pager *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (!p->source[i].st)
			continue;
		sqlite3_reset(p->source[i].st);
		sqlite3_clear_bindings(p->source[i].st);
	}
}

/* The source whose row comes next by (seq, table); NULL at the end. */
static struct source *next_source(struct pager *p)
{
	struct source *best = NULL;

	for (size_t i = 0; i < p->n; i++)
		if (p->source[i].row && (!best || p->source[i].seq < best->seq))
			best = &p->source[i];
	return best;
}

static int copy_vals(struct pager *p, sqlite3_stmt *st, int from, uint16_t n, struct val *out,
		     size_t *bytes, struct err *e)
{
	for (uint16_t i = 0; i < n; i++) {
		struct val v = val_column(st, from + i);
		*bytes += val_size(&v) + 2;
		if (!val_copy(p->a, &v, &out[i]))
			return err_set(e, NE_MEMORY, "no memory for a page");
	}
	return 0;
}

static int read_cells(struct pager *p, struct source *src, struct row *row, size_t *bytes,
		      struct err *e)
{
	const struct shape *shape = &src->table->shape;
	const struct standing *st = &src->scratch.st;
	struct cell *cell = arena_array(p->a, (size_t)shape->n_col + 1, sizeof *cell);
	uint16_t n = 0;

	if (!cell)
		return err_set(e, NE_MEMORY, "no memory for a page");
	for (uint16_t i = 0; i < shape->n_col; i++) {
		struct val v = val_column(src->st, 5 + shape->n_key + i);
		bool travels = val_size(&v) <= LIMIT_VALUE && *bytes <= STORE_ROW_BYTES &&
			       val_size(&v) <= STORE_ROW_BYTES - *bytes;
		if (!st->has[i] || !travels)
			continue;
		cell[n].col = i;
		cell[n].reg = st->cell[i];
		TRY(copy_vals(p, src->st, 5 + shape->n_key + i, 1, &cell[n].val, bytes, e));
		n++;
	}
	row->cell = cell;
	row->n_cell = n;
	return 0;
}

static int read_row(struct pager *p, struct source *src, struct row *row, size_t *bytes,
		    struct err *e)
{
	const struct shape *shape = &src->table->shape;
	struct val *key = arena_array(p->a, shape->n_key, sizeof *key);
	struct reg exist = {column_u64(src->st, 2), column_u64(src->st, 3)};
	struct slice regs =
		slice_of(sqlite3_column_blob(src->st, 4), (size_t)sqlite3_column_bytes(src->st, 4));

	if (!key)
		return err_set(e, NE_MEMORY, "no memory for a page");
	if (registers_decode(sqlite3_column_int64(src->st, 1), exist, regs, p->a, &src->scratch))
		return err_set(e, NE_CORRUPT, "registers of table %s cannot be read",
			       src->table->name);
	*bytes = 16;
	TRY(copy_vals(p, src->st, 5, shape->n_key, key, bytes, e));
	*row = (struct row){.key = key, .exist = EXIST_DEAD, .exist_reg = exist};
	if (!src->scratch.st.alive)
		return 0;
	row->exist = EXIST_ALIVE;
	return read_cells(p, src, row, bytes, e);
}

static bool fits(const struct pager *p, size_t bytes, uint16_t cells)
{
	return bytes <= p->budget && p->bytes <= p->budget - bytes && p->rows < PAGE_ROWS &&
	       p->cells + cells <= PAGE_CELLS;
}

static int take_row(struct pager *p, struct source *src, bool *full, struct err *e)
{
	struct taken *t = arena_alloc(p->a, sizeof *t);
	size_t bytes = 0;

	if (!t)
		return err_set(e, NE_MEMORY, "no memory for a page");
	TRY(read_row(p, src, &t->row, &bytes, e));
	*full = p->rows > 0 && !fits(p, bytes, t->row.n_cell);
	if (*full)
		return 0;
	t->seq = src->seq;
	t->source = (size_t)(src - p->source);
	*p->end = t;
	p->end = &t->next;
	p->rows++;
	p->cells += (size_t)t->row.n_cell + src->table->shape.n_key;
	p->bytes += bytes;
	return advance(p, src, e);
}

/* Takes rows until the page is full; *more tells whether any are left. */
static int gather(struct pager *p, uint64_t seq, bool *more, struct err *e)
{
	struct source *src;

	*more = false;
	while ((src = next_source(p))) {
		if (seq && src->seq != seq) {
			p->complete = p->end;
			p->complete_seq = seq;
		}
		seq = src->seq;
		TRY(take_row(p, src, more, e));
		if (*more)
			return 0;
	}
	p->complete = p->end;
	return 0;
}

/* Rows taken, table by table. */
static int build(struct pager *p, struct store_page *out, struct err *e)
{
	size_t *count = arena_array(p->a, p->n + 1, sizeof *count);

	out->rows.table = arena_array(p->a, p->n + 1, sizeof *out->rows.table);
	out->table = arena_array(p->a, p->n + 1, sizeof *out->table);
	if (!count || !out->rows.table || !out->table)
		return err_set(e, NE_MEMORY, "no memory for a page");
	for (struct taken *t = p->first; t; t = t->next)
		count[t->source]++;
	for (size_t i = 0; i < p->n; i++) {
		if (count[i] == 0)
			continue;
		struct table_rows *tr = &out->rows.table[out->rows.n_table];
		tr->shape = &p->source[i].table->shape;
		tr->row = arena_array(p->a, count[i], sizeof *tr->row);
		if (!tr->row)
			return err_set(e, NE_MEMORY, "no memory for a page");
		out->table[out->rows.n_table++] = p->source[i].table;
		for (struct taken *t = p->first; t; t = t->next)
			if (t->source == i)
				tr->row[tr->n_row++] = t->row;
	}
	out->n_table = out->rows.n_table;
	return 0;
}

static struct taken *last_taken(struct pager *p)
{
	struct taken *t = p->first;

	while (t->next)
		t = t->next;
	return t;
}

static int page(struct pager *p, struct store_page *out, struct err *e)
{
	struct mark m;
	bool more;

	if (read_token(p, &m))
		return err_set(e, NE_MALFORMED, "a pull's token is not one of ours");
	TRY(open_sources(p, e));
	for (size_t i = 0; i < p->n; i++)
		TRY(start(p, &p->source[i], &m, e));
	TRY(gather(p, m.given ? m.seq : 0, &more, e));
	out->upto = more ? p->asked->from : p->limit < p->u->head ? p->limit : p->u->head;
	if (more && p->complete_seq) {
		/* What is there of the next seq waits for the next page. */
		*p->complete = NULL;
		out->upto = p->complete_seq;
	} else if (more) {
		TRY(write_token(p, last_taken(p), &out->token, e));
	}
	return build(p, out, e);
}

int store_page(struct store *s, const struct store_user *u, const struct store_asked *asked,
	       struct arena *a, struct store_page *out, struct err *e)
{
	struct pager p = {.s = s,
			  .u = u,
			  .asked = asked,
			  .a = a,
			  .budget = asked->bytes,
			  .limit = asked->upto ? asked->upto : UINT64_MAX};

	p.end = p.complete = &p.first;
	*out = (struct store_page){.upto = asked->from};
	int rc = page(&p, out, e);
	close_sources(&p);
	return rc;
}
