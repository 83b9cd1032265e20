/*
 * UNIQUE constraints at commit (J2). The rows of a set are written first and looked at when all
 * are there, so that values may swap places; a row that shares a value with another then is taken
 * back whole. That gives its old values back, which may collide with a row that took them: rows
 * are looked at until nothing changes, and a bounded number of times.
 */
#include <stdio.h>
#include <string.h>

#include "backend/core/ingest_step.h"

enum { PASSES = 8 };

struct candidate {
	const struct row *in;
	uint32_t concerns;	 /* constraints to look at */
	struct store_row before; /* its registers … */
	struct val *vals;	 /* … and values, if it was alive, before the set */
	bool lost, exist_taken;
	bool *taken; /* cells, by the table's columns */
	bool refused;
	int which; /* the constraint it breaks */
};

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory to check UNIQUE constraints");
}

/* Whether a column of the constraint was written; a key's never is. */
static bool written(const struct merging *m, const struct store_unique *u)
{
	for (uint16_t i = 0; i < u->n; i++) {
		if (u->col[i] < m->t->shape.n_key)
			continue;
		uint16_t col = (uint16_t)(u->col[i] - m->t->shape.n_key);
		if (m->taken[col] || m->got.cell_voided[col])
			return true;
	}
	return false;
}

/* A delete breaks nothing itself. What an update leaves alone may be broken from before. */
uint32_t unique_concerns(const struct merging *m, bool was_alive)
{
	uint32_t out = 0;

	if (!m->got.any || !m->row.st.alive)
		return 0;
	for (size_t i = 0; i < m->t->n_unique; i++)
		if (!was_alive || written(m, &m->t->unique[i]))
			out |= (uint32_t)1 << i;
	return out & m->uniques;
}

int unique_watch(struct merging *m, const struct row *in, uint32_t concerns, struct err *e)
{
	size_t n = (size_t)m->t->shape.n_col + 1;
	struct candidate *c;
	bool found;

	if (!m->candidate)
		m->candidate = arena_array(m->a, m->n_row, sizeof *m->candidate);
	if (!m->candidate)
		return no_memory(e);
	c = &m->candidate[m->n_candidate++];
	*c = (struct candidate){.in = in,
				.concerns = concerns,
				.lost = m->got.lost,
				.exist_taken = m->got.exist_taken,
				.taken = arena_array(m->a, n, sizeof *c->taken)};
	if (!c->taken)
		return no_memory(e);
	memcpy(c->taken, m->taken, m->t->shape.n_col * sizeof *c->taken);
	TRY(store_row_init(m->t, m->a, &c->before, e));
	store_row_copy(&c->before, &m->before);
	if (!c->before.st.alive)
		return 0;
	c->vals = arena_array(m->a, n, sizeof *c->vals);
	if (!c->vals)
		return no_memory(e);
	return store_values_get(m->s->store, &m->us->u, m->t, in->key, m->a, c->vals, &found, e);
}

static int clashes(struct merging *m, struct candidate *c, bool *yes, struct err *e)
{
	*yes = false;
	for (size_t i = 0; !*yes && i < m->t->n_unique; i++) {
		if (!(c->concerns >> i & 1))
			continue;
		c->which = (int)i;
		TRY(store_unique_clash(m->s->store, &m->us->u, m->t, i, c->in->key, yes, e));
	}
	return 0;
}

/* The row as it was before the set, values and registers. */
static int take_back(struct merging *m, struct candidate *c, struct err *e)
{
	struct store *s = m->s->store;

	c->refused = true;
	if (c->before.st.alive)
		TRY(store_values_insert(s, &m->us->u, m->t, c->in->key, c->vals, e));
	else
		TRY(store_values_delete(s, &m->us->u, m->t, c->in->key, e));
	return store_row_put(s, &m->us->u, m->t, c->in->key, &c->before, true, e);
}

/* Looks at all that stand, the last first or the first first; *any was taken back. */
static int pass(struct merging *m, bool backward, bool *any, struct err *e)
{
	*any = false;
	for (size_t k = 0; k < m->n_candidate; k++) {
		struct candidate *c = &m->candidate[backward ? m->n_candidate - 1 - k : k];
		bool yes = false;
		if (!c->refused)
			TRY(clashes(m, c, &yes, e));
		if (yes)
			TRY(take_back(m, c, e));
		*any = *any || yes;
	}
	return 0;
}

/*
 * Rows that gave up a value are what makes others collide when they are taken back. With all of
 * them gone one more look is enough: taking back a new row gives nothing to collide with.
 */
static int take_back_movers(struct merging *m, struct err *e)
{
	bool any;

	for (size_t i = 0; i < m->n_candidate; i++)
		if (m->candidate[i].before.st.alive && !m->candidate[i].refused)
			TRY(take_back(m, &m->candidate[i], e));
	return pass(m, true, &any, e);
}

static void say_which(const struct merging *m, const struct candidate *c, char *out, size_t size)
{
	const struct store_unique *u = &m->t->unique[c->which];
	const struct shape *s = &m->t->shape;
	int at = snprintf(out, size, "another row has the same value of UNIQUE (");

	for (uint16_t i = 0; i < u->n && at >= 0 && (size_t)at < size; i++) {
		struct slice name = u->col[i] < s->n_key ? s->key[u->col[i]].name
							 : s->col[u->col[i] - s->n_key].name;
		at += snprintf(out + at, size - (size_t)at, "%s%.*s%s", i ? ", " : "",
			       (int)name.len, (const char *)name.at, i + 1 == u->n ? ")" : "");
	}
}

/* Registers as they are by now: a row may be in a malformed set twice. */
static int finish(struct merging *m, const struct candidate *c, struct err *e)
{
	char reason[300];

	if (c->refused) {
		say_which(m, c, reason, sizeof reason);
		return merging_refuse(m, c->in, reason, e);
	}
	TRY(store_row_get(m->s->store, &m->us->u, m->t, c->in->key, m->a, &m->row, e));
	memcpy(m->taken, c->taken, m->t->shape.n_col * sizeof *m->taken);
	m->got.any = true;
	m->got.lost = c->lost;
	m->got.exist_taken = c->exist_taken;
	TRY(merging_overwritten(m, c->in, &c->before, c->vals, e));
	return merging_finish(m, c->in, false, true, e);
}

int unique_settle(struct merging *m, struct err *e)
{
	bool any = m->n_candidate > 0;

	for (int i = 0; any && i < PASSES; i++)
		TRY(pass(m, i % 2 == 0, &any, e));
	if (any)
		TRY(take_back_movers(m, e));
	for (size_t i = 0; i < m->n_candidate; i++)
		TRY(finish(m, &m->candidate[i], e));
	return 0;
}
