/* Merging a set's rows into the store, and what of them goes out (J1, P4, P5). */
#include <string.h>

#include "backend/core/ingest_step.h"

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory to merge a change set");
}

static int prepare(struct merging *m, struct err *e)
{
	size_t n = (size_t)m->t->shape.n_col + 1;
	const struct store_shape *sh = m->sh;
	uint16_t last = sh->shape.n_col;

	m->same_cols = sh->in_order && (last == 0 || sh->col[last - 1] == last - 1);
	m->cell = arena_array(m->a, n, sizeof *m->cell);
	m->vals = arena_array(m->a, n, sizeof *m->vals);
	m->write = arena_array(m->a, n, sizeof *m->write);
	m->taken = arena_array(m->a, n, sizeof *m->taken);
	m->got.cell_taken = arena_array(m->a, n, sizeof *m->got.cell_taken);
	m->got.cell_voided = arena_array(m->a, n, sizeof *m->got.cell_voided);
	if (!m->cell || !m->vals || !m->write || !m->taken || !m->got.cell_taken ||
	    !m->got.cell_voided)
		return no_memory(e);
	m->voids = sh->has;
	if (m->s->in->c.broken.void_all) {
		bool *all = arena_array(m->a, n, sizeof *all);
		if (!all)
			return no_memory(e);
		memset(all, true, n);
		m->voids = all;
	}
	TRY(store_row_init(m->t, m->a, &m->before, e));
	return store_row_init(m->t, m->a, &m->row, e);
}

/* The entry of the effect for `shape`, made when first needed. */
static int effect_table(struct merging *m, const struct shape *shape, struct table_rows **slot,
			struct err *e)
{
	struct rows *rows = &m->out->rows;

	for (size_t i = 0; i < rows->n_table && !*slot; i++)
		if (shape_id_eq(rows->table[i].shape->id, shape->id))
			*slot = &rows->table[i];
	if (*slot)
		return 0;
	*slot = &rows->table[rows->n_table];
	**slot = (struct table_rows){
		.shape = shape,
		.row = arena_array(m->a, m->capacity, sizeof(struct row)),
	};
	if (!(*slot)->row)
		return no_memory(e);
	rows->n_table++;
	return 0;
}

static int add_effect(struct merging *m, bool whole, const struct row *r, struct err *e)
{
	struct table_rows **slot = whole ? &m->whole : &m->sent;

	TRY(effect_table(m, whole ? &m->t->shape : &m->sh->shape, slot, e));
	(*slot)->row[(*slot)->n_row++] = *r;
	m->out->n_row++;
	return 0;
}

struct row merging_mapped(struct merging *m, const struct row *r)
{
	struct row mapped = *r;

	if (m->same_cols)
		return mapped;
	for (uint16_t i = 0; i < r->n_cell; i++) {
		struct cell c = r->cell[i];
		uint16_t at = i;
		c.col = m->sh->col[c.col];
		for (; at && m->cell[at - 1].col > c.col; at--)
			m->cell[at] = m->cell[at - 1];
		m->cell[at] = c;
	}
	mapped.cell = m->cell;
	return mapped;
}

static void note_taken(struct merging *m, const struct row *mapped)
{
	size_t n = m->t->shape.n_col;

	memset(m->taken, 0, n * sizeof *m->taken);
	for (uint16_t i = 0; i < mapped->n_cell; i++)
		m->taken[mapped->cell[i].col] = m->got.cell_taken[i];
}

/* Registers that moved are known to others from the set's seq on, with all that a row revived. */
static void move_seqs(struct merging *m, bool was_alive)
{
	uint64_t seq = m->us->u.head + 1;
	bool revived = m->row.st.alive && !was_alive;

	if (m->got.exist_taken)
		m->row.exist_seq = seq;
	for (uint16_t i = 0; i < m->row.st.n_col; i++)
		if (m->taken[i] || (m->row.st.has[i] && (revived || m->got.cell_voided[i])))
			m->row.cell_seq[i] = seq;
}

/* ---- writing ---- */

/* Values of taken cells into vals, or into kept of a row that is not alive. */
static void set_values(struct merging *m, const struct row *mapped, struct val *vals)
{
	for (uint16_t i = 0; i < mapped->n_cell; i++)
		if (m->got.cell_taken[i])
			vals[mapped->cell[i].col] = mapped->cell[i].val;
}

/* A value that was kept for the insert of its row. */
static bool stands(const struct merging *m, uint16_t col)
{
	return m->row.st.has[col] && !m->taken[col] && !m->got.cell_voided[col];
}

static int write_new(struct merging *m, const struct row *mapped, struct err *e)
{
	for (uint16_t i = 0; i < m->row.st.n_col; i++)
		m->vals[i] = stands(m, i) ? m->row.kept[i] : (struct val){.type = VAL_NULL};
	set_values(m, mapped, m->vals);
	return store_values_insert(m->s->store, &m->us->u, m->t, mapped->key, m->vals, e);
}

static int write_change(struct merging *m, const struct row *mapped, struct err *e)
{
	for (uint16_t i = 0; i < m->row.st.n_col; i++) {
		m->write[i] = m->taken[i] || m->got.cell_voided[i];
		m->vals[i] = (struct val){.type = VAL_NULL};
	}
	set_values(m, mapped, m->vals);
	return store_values_update(m->s->store, &m->us->u, m->t, mapped->key, m->vals, m->write, e);
}

/* A delete; cells later than it keep their values in the shadow. */
static int write_end(struct merging *m, const struct row *mapped, struct err *e)
{
	bool any = false, found = false;

	for (uint16_t i = 0; i < m->row.st.n_col; i++)
		any = any || m->row.st.has[i];
	if (any)
		TRY(store_values_get(m->s->store, &m->us->u, m->t, mapped->key, m->a, m->row.kept,
				     &found, e));
	set_values(m, mapped, m->row.kept);
	return store_values_delete(m->s->store, &m->us->u, m->t, mapped->key, e);
}

static int write_values(struct merging *m, const struct row *mapped, bool was_alive, struct err *e)
{
	if (m->row.st.alive)
		return was_alive ? write_change(m, mapped, e) : write_new(m, mapped, e);
	if (was_alive)
		return write_end(m, mapped, e);
	set_values(m, mapped, m->row.kept);
	return 0;
}

/*
 * A row grows by several sets; past what fits in a page no device could ever be sent it. Looked at
 * before anything is written, and only when something large is.
 */
static int too_large(struct merging *m, const struct row *mapped, bool was_alive, bool *yes,
		     struct err *e)
{
	enum { LARGE = STORE_ROW_BYTES / LIMIT_COLUMNS };
	size_t sum = 0;
	bool found, large = false;

	*yes = false;
	for (uint16_t i = 0; i < m->t->shape.n_key; i++)
		sum += val_size(&mapped->key[i]);
	large = sum > LARGE;
	for (uint16_t i = 0; i < mapped->n_cell; i++)
		large = large || (m->got.cell_taken[i] && val_size(&mapped->cell[i].val) > LARGE);
	if (!large || !m->row.st.alive)
		return 0;
	for (uint16_t i = 0; i < m->row.st.n_col; i++)
		m->vals[i] = stands(m, i) && !was_alive ? m->row.kept[i]
							: (struct val){.type = VAL_NULL};
	if (was_alive)
		TRY(store_values_get(m->s->store, &m->us->u, m->t, mapped->key, m->a, m->vals,
				     &found, e));
	set_values(m, mapped, m->vals);
	for (uint16_t i = 0; i < m->row.st.n_col; i++)
		sum += m->got.cell_voided[i] ? 0 : val_size(&m->vals[i]);
	*yes = sum > STORE_ROW_BYTES;
	return 0;
}

/* ---- effects ---- */

/* The row as it stands, every cell with a register, by columns of the sender's shape or the
 * table's. */
static int whole_cells(struct merging *m, const struct val *vals, bool table, struct row *r,
		       struct err *e)
{
	uint16_t n = table ? m->t->shape.n_col : m->sh->shape.n_col;
	struct cell *cell = arena_array(m->a, (size_t)n + 1, sizeof *cell);
	uint16_t out = 0;

	if (!cell)
		return no_memory(e);
	for (uint16_t i = 0; i < n; i++) {
		uint16_t col = table ? i : m->sh->col[i];
		if (m->row.st.has[col])
			cell[out++] = (struct cell){i, m->row.st.cell[col], vals[col]};
	}
	r->cell = cell;
	r->n_cell = out;
	return 0;
}

static int add_whole(struct merging *m, const struct row *in, bool written, struct err *e)
{
	const struct standing *st = &m->row.st;
	struct row r = {.key = in->key, .exist = EXIST_DEAD, .exist_reg = st->exist};
	bool table = false, found;
	struct val *vals = m->vals;

	if (!st->alive)
		return add_effect(m, false, &r, e);
	r.exist = EXIST_ALIVE;
	if (!m->got.exist_taken) /* the sender may not have heard of the spelling it has now */
		TRY(store_key_stored(m->s->store, &m->us->u, m->t, in->key, m->a, &r.key, e));
	for (uint16_t i = 0; i < st->n_col; i++)
		table = table || (st->has[i] && !m->sh->has[i]);
	if (!written) {
		vals = arena_array(m->a, (size_t)st->n_col + 1, sizeof *vals);
		if (!vals)
			return no_memory(e);
		TRY(store_values_get(m->s->store, &m->us->u, m->t, in->key, m->a, vals, &found, e));
	}
	TRY(whole_cells(m, vals, table, &r, e));
	return add_effect(m, table, &r, e);
}

/* The cells that were taken of an update. */
static int add_cells(struct merging *m, const struct row *in, struct err *e)
{
	struct cell *cell = arena_array(m->a, (size_t)in->n_cell + 1, sizeof *cell);
	struct row r = {.key = in->key, .exist = EXIST_NONE, .cell = cell};

	if (!cell)
		return no_memory(e);
	for (uint16_t i = 0; i < in->n_cell; i++)
		if (m->taken[m->sh->col[in->cell[i].col]])
			cell[r.n_cell++] = in->cell[i];
	return r.n_cell ? add_effect(m, false, &r, e) : 0;
}

static int add_effects(struct merging *m, const struct row *in, bool written, struct err *e)
{
	bool lost = m->got.lost && !m->s->in->c.broken.no_correct;
	size_t before = m->out->n_row;

	m->out->lost = m->out->lost || lost;
	if (lost || m->got.exist_taken)
		TRY(add_whole(m, in, written, e));
	else if (m->row.st.alive)
		TRY(add_cells(m, in, e));
	if (m->out->n_row > before)
		m->row.seq = m->us->u.head + 1;
	return 0;
}

/* J1 broken on purpose: nothing is kept for rows that are not alive. */
static bool forget_join(struct merging *m, const struct row *in, bool existed)
{
	if (!m->s->in->c.broken.no_join || m->row.st.alive)
		return false;
	memset(m->row.st.has, 0, m->row.st.n_col * sizeof *m->row.st.has);
	return !existed && in->exist != EXIST_ALIVE;
}

static struct merged_row merged_row(struct merging *m, const struct row *in,
				    const struct row *mapped)
{
	return (struct merged_row){
		.us = m->us,
		.device = m->by.device,
		.sh = m->sh,
		.t = m->t,
		.in = in,
		.mapped = mapped,
		.got = &m->got,
		.st = &m->row.st,
		.kept = m->row.kept,
	};
}

/* What of the row lost goes to the conflicts (J7). */
static int note_row(struct merging *m, const struct row *in, const struct row *mapped,
		    struct err *e)
{
	const struct merged_row merged = merged_row(m, in, mapped);

	m->out->noted = true;
	return note_lost(m->s, &merged, e);
}

int merging_overwritten(struct merging *m, const struct row *in, const struct store_row *before,
			const struct val *was, struct err *e)
{
	struct row mapped = merging_mapped(m, in);
	const struct merged_row merged = merged_row(m, in, &mapped);

	if (!overwrites_unseen(&m->by, before, &m->row.st))
		return 0;
	m->out->noted = true;
	return note_overwritten(m->s, &merged, &m->by, before, was, e);
}

int merging_finish(struct merging *m, const struct row *in, bool written, bool existed,
		   struct err *e)
{
	TRY(add_effects(m, in, written, e));
	if (!m->got.any && m->row.seq != m->us->u.head + 1)
		return 0;
	TRY(store_row_put(m->s->store, &m->us->u, m->t, in->key, &m->row, existed, e));
	if (m->got.exist_taken && m->row.st.alive)
		return store_key_spell(m->s->store, &m->us->u, m->t, in->key, e);
	return 0;
}

static int note_rejected(struct merging *m, const struct row *in, const char *reason, struct err *e)
{
	struct rejected_row *r = arena_alloc(m->a, sizeof *r);
	size_t len = strlen(reason);
	char *text = arena_alloc(m->a, len + 1);

	if (!r || !text)
		return no_memory(e);
	memcpy(text, reason, len);
	*r = (struct rejected_row){m->out->rejected, &m->sh->shape, in, text};
	m->out->rejected = r;
	m->out->n_rejected++;
	return 0;
}

int merging_refuse(struct merging *m, const struct row *in, const char *reason, struct err *e)
{
	struct row mapped = merging_mapped(m, in);

	TRY(store_row_get(m->s->store, &m->us->u, m->t, in->key, m->a, &m->row, e));
	bool existed = m->row.st.known;
	merge_refuse(&m->row.st, &mapped, m->sh->has);
	m->out->lost = true;
	m->got.exist_taken = false;
	TRY(note_rejected(m, in, reason, e));
	TRY(add_whole(m, in, false, e));
	m->row.seq = m->us->u.head + 1;
	return store_row_put(m->s->store, &m->us->u, m->t, in->key, &m->row, existed, e);
}

/* The values of the row before it is written, if something of it is lost that nobody had seen. */
static int read_overwritten(struct merging *m, const struct row *in, struct val **was,
			    struct err *e)
{
	bool found;

	if (!m->before.st.alive || !overwrites_unseen(&m->by, &m->before, &m->row.st))
		return 0;
	*was = arena_array(m->a, (size_t)m->row.st.n_col + 1, sizeof **was);
	if (!*was)
		return no_memory(e);
	return store_values_get(m->s->store, &m->us->u, m->t, in->key, m->a, *was, &found, e);
}

/* Writes what was taken; *done if the row was refused instead. */
static int write_taken(struct merging *m, const struct row *in, const struct row *mapped,
		       bool was_alive, bool *refused, struct err *e)
{
	struct err why;
	bool large;

	TRY(too_large(m, mapped, was_alive, &large, e));
	*refused = large;
	if (large)
		return merging_refuse(m, in, "the row would be larger than 3.75 MiB in all", e);
	int rc = write_values(m, mapped, was_alive, &why);
	*refused = rc == NE_ROWS;
	if (*refused)
		return merging_refuse(m, in, why.text, e);
	return rc ? err_set(e, rc, "%s", why.text) : 0;
}

/* What a row that stays as it is written leaves behind: effects, registers, conflicts. */
static int row_written(struct merging *m, const struct row *in, const struct row *mapped,
		       const struct val *was, struct err *e)
{
	bool was_alive = m->before.st.alive;

	if (m->got.lost)
		TRY(note_row(m, in, mapped, e));
	if (m->got.any && m->before.seq > m->by.seen)
		TRY(merging_overwritten(m, in, &m->before, was, e));
	return merging_finish(m, in, m->row.st.alive && !was_alive, m->before.st.known, e);
}

static bool stands_already(const struct merging *m, const struct row *mapped, uint16_t i)
{
	const struct cell *c = &mapped->cell[i];

	return !m->got.cell_taken[i] && m->row.st.has[c->col] &&
	       reg_cmp(c->reg, m->row.st.cell[c->col]) == 0;
}

/*
 * A version names one write, but where a database was copied and both copies went on under its site
 * for a while. What came first stands; the sender is corrected.
 */
static int look_for_other_values(struct merging *m, const struct row *in, const struct row *mapped,
				 struct err *e)
{
	struct val *vals = m->before.kept;
	bool any = false, found;

	for (uint16_t i = 0; i < mapped->n_cell; i++)
		any = any || stands_already(m, mapped, i);
	if (m->got.lost || !any)
		return 0;
	if (m->before.st.alive) {
		vals = arena_array(m->a, (size_t)m->row.st.n_col + 1, sizeof *vals);
		if (!vals)
			return no_memory(e);
		TRY(store_values_get(m->s->store, &m->us->u, m->t, in->key, m->a, vals, &found, e));
	}
	for (uint16_t i = 0; i < mapped->n_cell; i++)
		if (stands_already(m, mapped, i) &&
		    !val_eq(&vals[mapped->cell[i].col], &mapped->cell[i].val))
			m->got.lost = true;
	return 0;
}

/* J1 broken on purpose: whatever stands gives way. */
static void forget_stamps(struct standing *st)
{
	st->exist = (struct reg){0, 0};
	memset(st->cell, 0, st->n_col * sizeof *st->cell);
}

static int merge_row(struct merging *m, const struct row *in, struct err *e)
{
	struct row mapped = merging_mapped(m, in);
	struct val *was = NULL;
	bool refused = false;

	TRY(store_row_get(m->s->store, &m->us->u, m->t, in->key, m->a, &m->row, e));
	bool existed = m->row.st.known, was_alive = m->row.st.alive;
	store_row_copy(&m->before, &m->row);
	if (m->s->in->c.broken.last_wins)
		forget_stamps(&m->row.st);
	merge_server(&m->row.st, &mapped, m->voids, &m->got);
	TRY(look_for_other_values(m, in, &mapped, e));
	if (!m->got.any && !m->got.lost)
		return 0;
	if (forget_join(m, in, existed))
		return 0;
	note_taken(m, &mapped);
	move_seqs(m, was_alive);
	uint32_t watched = m->uniques ? unique_concerns(m, was_alive) : 0;
	if (watched)
		TRY(unique_watch(m, in, watched, e));
	else if (m->got.any && m->before.seq > m->by.seen)
		TRY(read_overwritten(m, in, &was, e));
	if (m->got.any)
		TRY(write_taken(m, in, &mapped, was_alive, &refused, e));
	if (refused) {
		m->n_candidate -= watched != 0;
		return 0;
	}
	if (!watched)
		return row_written(m, in, &mapped, was, e);
	if (m->got.lost)
		TRY(note_row(m, in, &mapped, e));
	return store_row_put(m->s->store, &m->us->u, m->t, in->key, &m->row, existed, e);
}

/* Rows of a table that the server alone writes: all are refused. */
static int refuse_all(struct merging *m, const struct table_rows *tr, struct err *e)
{
	for (size_t i = 0; i < tr->n_row; i++)
		TRY(merging_refuse(m, &tr->row[i], "only the server writes this table", e));
	return 0;
}

int merge_table(struct step *s, struct user_state *us, const struct table_rows *tr, size_t capacity,
		struct set_effect *out, struct err *e)
{
	struct merging m = {
		.s = s,
		.us = us,
		.sh = store_shape_find(s->store, tr->shape->id),
		.a = &s->in->work,
		.by = out->by,
		.out = out,
		.capacity = capacity,
		.n_row = tr->n_row,
	};

	m.t = m.sh->table;
	if (tr->shape->direction == DIR_UP) /* its devices never look at what others write */
		m.by.seen = 0;
	TRY(prepare(&m, e));
	if (m.t->from == FROM_SERVER)
		return refuse_all(&m, tr, e);
	if (!s->in->c.broken.no_unique)
		TRY(store_uniques(s->store, &us->u, m.t, s->now_ms, &m.uniques, e));
	for (size_t i = 0; i < tr->n_row; i++)
		TRY(merge_row(&m, &tr->row[i], e));
	return unique_settle(&m, e);
}
