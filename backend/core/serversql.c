/*
 * Server-side SQL (J4): what an operator wrote becomes change sets of the
 * server's own, at the start of every step, before a device's set can meet a
 * row whose registers do not know of it yet.
 */
#include <stdio.h>
#include <string.h>

#include "backend/core/ingest_step.h"

enum { CHUNK_ROWS = 500, CHUNK_BYTES = 24 * 1024, CHUNK_ARENA = 256 * 1024 * 1024 };

struct chunk_row {
	struct chunk_row *next;
	struct store_table *table;
	struct row row;
};

/* Rows of one user that will share a seq. */
struct sql_chunk {
	struct arena arena;
	struct chunk_row *first, **end;
	size_t n, bytes;
};

struct server_sql {
	struct step *s;
	struct arena row; /* of the row at hand */
};

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory for the server's own changes");
}

static int group(struct sql_chunk *c, struct rows *out, struct err *e)
{
	out->n_table = 0;
	out->table = arena_array(&c->arena, c->n, sizeof *out->table);
	if (!out->table)
		return no_memory(e);
	for (struct chunk_row *r = c->first; r; r = r->next) {
		size_t i = 0;
		while (i < out->n_table && out->table[i].shape != &r->table->shape)
			i++;
		struct table_rows *tr = &out->table[i];
		if (i == out->n_table) {
			tr->shape = &r->table->shape;
			tr->row = arena_array(&c->arena, c->n, sizeof *tr->row);
			if (!tr->row)
				return no_memory(e);
			out->n_table++;
		}
		tr->row[tr->n_row++] = r->row;
	}
	return 0;
}

static void chunk_clear(struct sql_chunk *c)
{
	arena_free(&c->arena);
	c->first = NULL;
	c->end = &c->first;
	c->n = c->bytes = 0;
}

static int flush(struct step *s, struct user_state *us, struct err *e)
{
	struct rows rows;

	if (!us->sql || us->sql->n == 0)
		return 0;
	TRY(group(us->sql, &rows, e));
	TRY(store_user_advance(s->store, &us->u, e));
	TRY(broadcast(s, us, TOPIC_ORIGIN_SERVER, &rows, e));
	s->in->stats.server_changes++;
	chunk_clear(us->sql);
	return 0;
}

static int open_chunk(struct step *s, struct user_state *us, struct err *e)
{
	if (us->sql)
		return 0;
	us->sql = arena_alloc(&s->arena, sizeof *us->sql);
	if (!us->sql)
		return no_memory(e);
	us->sql->arena.max = CHUNK_ARENA;
	us->sql->end = &us->sql->first;
	return 0;
}

static struct reg next_reg(const struct step *s, const struct standing *st)
{
	uint64_t newest = st->known ? st->exist.stamp : 0;

	if (s->in->c.broken.sql_by_clock)
		return (struct reg){stamp_next(0, s->now_ms), SITE_SERVER};
	for (uint16_t i = 0; i < st->n_col; i++)
		if (st->has[i] && st->cell[i].stamp > newest)
			newest = st->cell[i].stamp;
	return (struct reg){stamp_next(newest, s->now_ms), SITE_SERVER};
}

/* Moves the registers of the columns written (all of them after an insert) to `reg`, at row->seq.
 */
static void move_registers(struct store_row *row, const struct store_touched *t, bool whole,
			   struct reg reg)
{
	if (whole) {
		row->st.exist = reg;
		row->st.alive = true;
		row->exist_seq = row->seq;
	}
	for (uint16_t i = 0; i < row->st.n_col; i++)
		if (whole || t->cell[i]) {
			row->st.cell[i] = reg;
			row->st.has[i] = true;
			row->cell_seq[i] = row->seq;
		}
}

static void end_row(struct store_row *row, struct reg reg)
{
	row->st.exist = reg;
	row->st.alive = false;
	row->exist_seq = row->seq;
	memset(row->st.has, 0, row->st.n_col * sizeof *row->st.has);
}

static int add_cells(struct chunk_row *r, struct sql_chunk *c, const struct store_touched *t,
		     bool whole, struct reg reg, const struct val *vals, struct err *e)
{
	uint16_t n = t->table->shape.n_col;
	struct cell *cell = arena_array(&c->arena, (size_t)n + 1, sizeof *cell);

	if (!cell)
		return no_memory(e);
	r->row.cell = cell;
	for (uint16_t i = 0; i < n; i++) {
		if (!whole && !t->cell[i])
			continue;
		struct cell *to = &cell[r->row.n_cell++];
		to->col = i;
		to->reg = reg;
		if (!val_copy(&c->arena, &vals[i], &to->val))
			return no_memory(e);
		c->bytes += val_size(&vals[i]);
	}
	return 0;
}

static int add_row(struct sql_chunk *c, const struct store_touched *t, const struct val *spelt,
		   enum row_exist exist, struct reg reg, const struct val *vals, struct err *e)
{
	uint16_t n_key = t->table->shape.n_key;
	struct chunk_row *r = arena_alloc(&c->arena, sizeof *r);
	struct val *key = arena_array(&c->arena, n_key, sizeof *key);

	if (!r || !key)
		return no_memory(e);
	for (uint16_t i = 0; i < n_key; i++) {
		if (!val_copy(&c->arena, &spelt[i], &key[i]))
			return no_memory(e);
		c->bytes += val_size(&key[i]);
	}
	r->table = t->table;
	r->row = (struct row){.key = key, .exist = exist, .exist_reg = reg};
	if (exist != EXIST_DEAD)
		TRY(add_cells(r, c, t, exist == EXIST_ALIVE, reg, vals, e));
	*c->end = r;
	c->end = &r->next;
	c->n++;
	return 0;
}

static void not_sent(struct step *s, const struct store_table *t, uint64_t n, const char *why)
{
	struct ingest_stats *st = &s->in->stats;

	st->not_sent += n;
	snprintf(st->not_sent_last, sizeof st->not_sent_last, "%s: %s", t->name, why);
}

/* What was written is kept, and devices get the rest of the row. */
static void count_too_large(struct step *s, const struct store_touched *t, bool whole,
			    const struct val *vals)
{
	for (uint16_t i = 0; i < t->table->shape.n_col; i++)
		if ((whole || t->cell[i]) && val_size(&vals[i]) > LIMIT_VALUE)
			not_sent(s, t->table, 1, "a value is above 3.5 MiB");
}

/* Brings the registers of one row up to what the table says now. */
static int touched_row(struct server_sql *q, struct user_state *us, const struct store_touched *t,
		       struct err *e)
{
	struct step *s = q->s;
	struct val *vals = arena_array(&q->row, (size_t)t->table->shape.n_col + 1, sizeof *vals);
	struct store_row row;
	bool there;

	if (!vals)
		return no_memory(e);
	TRY(store_row_init(t->table, &q->row, &row, e));
	TRY(store_row_get(s->store, &us->u, t->table, t->key, &q->row, &row, e));
	TRY(store_values_get(s->store, &us->u, t->table, t->key, &q->row, vals, &there, e));
	bool existed = row.st.known;
	bool whole = there && (t->exist || !row.st.alive);
	if (!there && (!row.st.alive || s->in->c.broken.no_leaving))
		return 0;
	struct reg reg = next_reg(s, &row.st);
	if (there)
		count_too_large(s, t, whole, vals);
	TRY(store_set_issued(s->store, reg.stamp, e));
	row.seq = us->u.head + 1;
	if (there)
		move_registers(&row, t, whole, reg);
	else
		end_row(&row, reg);
	TRY(store_row_put(s->store, &us->u, t->table, t->key, &row, existed, e));
	enum row_exist exist = !there ? EXIST_DEAD : whole ? EXIST_ALIVE : EXIST_NONE;
	const struct val *key =
		t->key; /* of the mark; the table may have another spelling by now */
	if (whole) {
		TRY(store_key_stored(s->store, &us->u, t->table, t->key, &q->row, &key, e));
		TRY(store_key_spell(s->store, &us->u, t->table, key, e));
	}
	TRY(add_row(us->sql, t, key, exist, reg, vals, e));
	if (us->sql->n >= CHUNK_ROWS || us->sql->bytes >= CHUNK_BYTES)
		return flush(s, us, e);
	return 0;
}

static int on_touched(void *ctx, const struct store_user *u, const struct store_touched *t,
		      struct err *e)
{
	struct server_sql *q = ctx;
	struct user_state *us;

	TRY(step_user(q->s, u->name.at, &us, e));
	TRY(open_chunk(q->s, us, e));
	arena_free(&q->row);
	return touched_row(q, us, t, e);
}

static int count_keyless(struct step *s, struct err *e)
{
	const struct store_table *t;
	uint64_t n;

	TRY(store_unsent(s->store, &n, &t, e));
	if (n && t)
		not_sent(s, t, n, "user_id or a column of the key is NULL");
	return 0;
}

static int run(struct server_sql *q, struct err *e)
{
	TRY(count_keyless(q->s, e));
	TRY(store_touched(q->s->store, on_touched, q, e));
	for (struct user_state *us = q->s->users; us; us = us->next)
		TRY(flush(q->s, us, e));
	return 0;
}

int server_changes(struct step *s, struct err *e)
{
	struct server_sql q = {.s = s, .row = {.max = WORK_BYTES}};
	size_t repaired, returned;
	bool any;

	TRY(store_foreign_writes(s->store, &any, e));
	if (!any)
		return 0;
	TRY(store_refresh(s->store, e));
	TRY(store_altered(s->store, &repaired, &returned, e));
	s->in->stats.captures_repaired += repaired;
	if (returned) {
		s->in->heads_due = true;
		s->in->heads_uid = 0;
	}
	int rc = run(&q, e);
	arena_free(&q.row);
	for (struct user_state *us = s->users; us; us = us->next)
		if (us->sql)
			chunk_clear(us->sql);
	return rc;
}
