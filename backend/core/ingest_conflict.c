/* Writes that lost (J7): what a merge did not take, and what devices report of their own. */
#include <string.h>

#include "backend/core/ingest_step.h"
#include "protocol/conflict.h"
#include "protocol/row_text.h"
#include "protocol/topic.h"

enum { EXPIRE_MAX = 10000 };

/* One row of a set, some of which lost, or made others lose. */
struct losing {
	struct step *s;
	const struct merged_row *m;
	struct lost_value lost;
	const struct val *now;		/* the row's values as they stand, by the table's columns */
	const struct writer *by;	/* of a row that overwrote others: its writer, … */
	const struct store_row *before; /* … and what it found */
	const struct val *was;
	struct err *e;
};

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory to note a conflict");
}

static int add_of(struct losing *x, const char *device, struct slice column,
		  const struct val *value, struct reg reg, struct reg won, const char *why)
{
	x->lost.column = column;
	x->lost.reg = reg;
	x->lost.won = won;
	x->lost.why = slice_str(why);
	x->s->in->stats.conflicts++;
	return store_conflict_add(x->s->store, &x->m->us->u, device, &x->lost, value, x->s->now_ms,
				  x->e);
}

static int add(struct losing *x, struct slice column, const struct val *value, struct reg reg,
	       struct reg won, const char *why)
{
	return add_of(x, x->m->device->at, column, value, reg, won, why);
}

/* An insert of a row that is deleted, a delete of one that is there. */
static int add_existence(struct losing *x)
{
	static const struct val none = {.type = VAL_NULL};
	const struct row *in = x->m->in;
	const struct standing *st = x->m->st;

	if (in->exist == EXIST_NONE || x->m->got->exist_taken ||
	    (in->exist == EXIST_ALIVE) == st->alive)
		return 0;
	return add(x, slice_of(NULL, 0), &none, in->exist_reg, st->exist,
		   st->alive ? CONFLICT_INSERTED : CONFLICT_DELETED);
}

/* `c` is by the table's columns. A value that is the same as the winner's has lost nothing. */
static int add_cell(struct losing *x, const struct cell *c)
{
	static const struct val none = {.type = VAL_NULL};
	const struct standing *st = x->m->st;
	bool later = st->has[c->col] && reg_cmp(c->reg, st->cell[c->col]) <= 0;
	bool voided = !st->alive && !st->has[c->col] && reg_cmp(c->reg, st->exist) <= 0;
	const struct val *now = &none;

	if (!later && !voided)
		return 0;
	if (st->alive || st->has[c->col])
		now = &x->now[c->col];
	if (val_eq(now, &c->val))
		return 0;
	return add(x, x->m->sh->shape.col[x->m->sh->from[c->col]].name, &c->val, c->reg,
		   later ? st->cell[c->col] : st->exist,
		   st->alive || later ? CONFLICT_LATER : CONFLICT_DELETED);
}

static int add_all(struct losing *x)
{
	TRY(add_existence(x));
	for (uint16_t i = 0; i < x->m->mapped->n_cell; i++)
		if (!x->m->got->cell_taken[i])
			TRY(add_cell(x, &x->m->mapped->cell[i]));
	return 0;
}

/* Names table and row, and calls `fn`. */
static int name_row(struct losing *x, int (*fn)(struct losing *x))
{
	const struct merged_row *m = x->m;
	struct buf key = {.max = CONFLICT_KEY_BYTES};
	int rc = conflict_key(&m->sh->shape, m->in->key, &key);

	x->lost.table = m->sh->shape.name;
	x->lost.key = buf_slice(&key);
	rc = rc ? no_memory(x->e) : fn(x);
	buf_free(&key);
	return rc;
}

int note_lost(struct step *s, const struct merged_row *m, struct err *e)
{
	struct losing x = {.s = s, .m = m, .now = m->kept, .e = e};
	bool found;

	if (m->st->alive) {
		struct val *now = arena_array(&s->in->work, (size_t)m->st->n_col + 1, sizeof *now);
		if (!now)
			return no_memory(e);
		TRY(store_values_get(s->store, &m->us->u, m->t, m->in->key, &s->in->work, now,
				     &found, e));
		x.now = now;
	}
	return name_row(&x, add_all);
}

/* ---- writes that a later one overwrote, whose writer had not seen them ---- */

static bool unseen(const struct writer *w, struct reg reg, uint64_t seq)
{
	/* Under nobody's site stands what was there before a write that was refused. */
	return seq > w->seen && reg.site != w->site && reg.site != SITE_REFUSED;
}

static bool existence_overwritten(const struct writer *w, const struct store_row *before,
				  const struct standing *now)
{
	return before->st.alive != now->alive && unseen(w, before->st.exist, before->exist_seq);
}

static bool cell_overwritten(const struct writer *w, const struct store_row *before,
			     const struct standing *now, uint16_t col)
{
	bool moved = !now->has[col] || reg_cmp(now->cell[col], before->st.cell[col]) != 0;

	return before->st.has[col] && moved &&
	       unseen(w, before->st.cell[col], before->cell_seq[col]);
}

bool overwrites_unseen(const struct writer *w, const struct store_row *before,
		       const struct standing *now)
{
	if (!before->st.known || before->seq <= w->seen)
		return false;
	bool any = existence_overwritten(w, before, now);
	for (uint16_t i = 0; !any && i < now->n_col; i++)
		any = cell_overwritten(w, before, now, i);
	return any;
}

/* Whose write it was; *others: not one that the writer made itself, under another site. */
static int device_of(struct losing *x, struct reg reg, struct id *out, bool *others)
{
	struct store_site site;
	bool found = false;

	*out = (struct id){TOPIC_ORIGIN_SERVER};
	if (reg.site != SITE_SERVER) {
		TRY(store_site_get(x->s->store, &x->m->us->u, reg.site, &site, &found, x->e));
		*out = found ? site.device : (struct id){""};
	}
	*others = strcmp(out->at, x->by->device->at) != 0;
	return 0;
}

static int add_overwritten_existence(struct losing *x)
{
	static const struct val none = {.type = VAL_NULL};
	const struct standing *now = x->m->st;
	struct id device;
	bool others;

	if (!existence_overwritten(x->by, x->before, now))
		return 0;
	TRY(device_of(x, x->before->st.exist, &device, &others));
	if (!others)
		return 0;
	return add_of(x, device.at, slice_of(NULL, 0), &none, x->before->st.exist, now->exist,
		      now->alive ? CONFLICT_INSERTED : CONFLICT_DELETED);
}

static const struct val *new_value(const struct losing *x, uint16_t col)
{
	static const struct val none = {.type = VAL_NULL};
	const struct row *mapped = x->m->mapped;

	for (uint16_t i = 0; x->m->st->has[col] && i < mapped->n_cell; i++)
		if (mapped->cell[i].col == col)
			return &mapped->cell[i].val;
	return &none;
}

static int add_overwritten_cell(struct losing *x, uint16_t col)
{
	const struct merged_row *m = x->m;
	const struct standing *now = m->st;
	const struct val *was = x->before->st.alive ? x->was : x->before->kept;
	bool others, deleted = x->before->st.alive && !now->alive;
	struct id device;

	if (!cell_overwritten(x->by, x->before, now, col) || val_eq(&was[col], new_value(x, col)))
		return 0;
	TRY(device_of(x, x->before->st.cell[col], &device, &others));
	if (!others)
		return 0;
	return add_of(x, device.at,
		      m->sh->has[col] ? m->sh->shape.col[m->sh->from[col]].name
				      : m->t->shape.col[col].name,
		      &was[col], x->before->st.cell[col],
		      now->has[col] ? now->cell[col] : now->exist,
		      deleted ? CONFLICT_DELETED : CONFLICT_LATER);
}

static int add_overwritten(struct losing *x)
{
	TRY(add_overwritten_existence(x));
	for (uint16_t i = 0; i < x->m->st->n_col; i++)
		TRY(add_overwritten_cell(x, i));
	return 0;
}

int note_overwritten(struct step *s, const struct merged_row *m, const struct writer *w,
		     const struct store_row *before, const struct val *was, struct err *e)
{
	struct losing x = {.s = s, .m = m, .by = w, .before = before, .was = was, .e = e};

	return name_row(&x, add_overwritten);
}

/* A person will read it, perhaps on a terminal. */
static bool sound(const struct lost_value *l)
{
	return l->table.len && l->table.len <= LIMIT_NAME && l->column.len <= LIMIT_NAME &&
	       l->key.len <= CONFLICT_KEY_BYTES && l->why.len <= CONFLICT_WHY_BYTES &&
	       text_shows(l->table) && text_shows(l->key) && text_shows(l->column) &&
	       text_shows(l->why);
}

static int take_lost(struct step *s, const struct sender *from, const struct lost_value *l,
		     struct err *e)
{
	struct val v;

	if (!sound(l) || conflict_get_value(l->value, &s->in->work, &v)) {
		s->in->stats.malformed++;
		return 0;
	}
	s->in->stats.conflicts++;
	return store_conflict_add(s->store, &from->us->u, from->device.at, l, &v, s->now_ms, e);
}

/* So that a device learns from a welcome what a restored store has not. */
static int note_number(struct step *s, const struct sender *from, const struct f_conflicts *f,
		       struct err *e)
{
	struct store_site site;
	bool known;

	if (f->site >= SITE_REFUSED)
		return 0;
	TRY(store_site_get(s->store, &from->us->u, f->site, &site, &known, e));
	int rc = known ? 0 : site_add(s, from, f->site, &site, e);
	if (rc == NE_LIMIT)
		return 0;
	TRY(rc);
	if (strcmp(site.device.at, from->device.at) != 0)
		return 0;
	return store_site_noted(s->store, &from->us->u, &site, f->number, e);
}

int on_conflicts(struct step *s, const struct sender *from, const struct f_conflicts *f,
		 struct err *e)
{
	struct frame noted = {.type = FRAME_NOTED,
			      .noted = {.nonce = f->nonce,
					.store = store_id(s->store),
					.term = store_term(s->store),
					.site = f->site,
					.number = f->number}};

	s->rows += f->n;
	for (size_t i = 0; i < f->n; i++)
		TRY(take_lost(s, from, &f->lost[i], e));
	TRY(conflicts_trim(s, from->us, e));
	TRY(note_number(s, from, f, e));
	return send_down(s, from, &noted, f->number, e);
}

int conflicts_trim(struct step *s, const struct user_state *us, struct err *e)
{
	return store_conflict_trim(s->store, &us->u, s->in->c.conflicts_user,
				   s->in->c.conflict_bytes_user, e);
}

int conflicts_expire(struct step *s, struct err *e)
{
	uint64_t keep = s->in->c.conflict_keep_ms;

	if (s->now_ms < keep)
		return 0;
	return store_conflict_expire(s->store, s->now_ms - keep, EXPIRE_MAX, e);
}
