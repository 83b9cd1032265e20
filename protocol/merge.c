#include "protocol/merge.h"

#include <assert.h>
#include <string.h>

bool cell_no_value(const struct row *r, const struct cell *c)
{
	return r->exist == EXIST_ALIVE && c->val.type == VAL_NULL &&
	       reg_cmp(c->reg, r->exist_reg) < 0;
}

static bool tombstone(const struct standing *st)
{
	return !st->alive && (st->exist.stamp || st->exist.site);
}

/* What of the row was written until its end has none; what was written later waits for an insert.
 */
static void end_row(struct standing *st, struct merge_result *out)
{
	for (uint16_t i = 0; i < st->n_col; i++) {
		if (!st->has[i] || reg_cmp(st->cell[i], st->exist) > 0)
			continue;
		st->has[i] = false;
		st->cell[i] = (struct reg){0, 0};
		out->cell_voided[i] = true;
	}
}

/* A column of a live row has no value as of `reg`, unless it was written since. */
static void void_at(struct standing *st, uint16_t col, struct reg reg, struct merge_result *out)
{
	if (st->has[col] && reg_cmp(st->cell[col], reg) > 0)
		return;
	st->has[col] = true;
	st->cell[col] = reg;
	out->cell_voided[col] = true;
	out->any = true;
}

/* The columns stand at the row's end from now on, so that nothing older comes in. */
static void revive(struct standing *st, struct reg ended, struct merge_result *out)
{
	for (uint16_t i = 0; i < st->n_col; i++)
		if (!st->has[i])
			void_at(st, i, ended, out);
}

static void merge_exist(struct standing *st, const struct row *in, struct merge_result *out)
{
	bool alive = in->exist == EXIST_ALIVE;
	int order = reg_cmp(in->exist_reg, st->exist);
	struct standing was = *st;

	/* No two writes of a row have one version, but for those of copied databases. */
	if (order == 0 && alive != st->alive)
		order = alive ? -1 : 1;
	out->lost = order < 0;
	if (order == 0)
		return;
	if (order < 0) {
		for (uint16_t i = 0; st->alive && !alive && i < st->n_col; i++)
			void_at(st, i, in->exist_reg, out);
		return;
	}
	st->exist = in->exist_reg;
	st->alive = alive;
	out->exist_taken = out->any = true;
	out->revived = alive;
	if (!alive)
		end_row(st, out);
	else if (tombstone(&was))
		revive(st, was.exist, out);
}

/* An insert brings every column of its sender's shape; one it does not has no value. */
static void void_unnamed(struct standing *st, const struct row *in, const bool *shape_has,
			 struct merge_result *out)
{
	uint16_t k = 0;

	for (uint16_t i = 0; i < st->n_col; i++) {
		while (k < in->n_cell && in->cell[k].col < i)
			k++;
		bool named = k < in->n_cell && in->cell[k].col == i &&
			     reg_cmp(in->cell[k].reg, in->exist_reg) >= 0;
		bool later = st->has[i] && reg_cmp(st->cell[i], in->exist_reg) >= 0;
		if (shape_has[i] && !named && !later)
			void_at(st, i, in->exist_reg, out);
	}
}

/* How a cell stands to what was written to its column: as reg_cmp. */
static int cell_order(const struct standing *st, const struct cell *c)
{
	if (st->has[c->col])
		return reg_cmp(c->reg, st->cell[c->col]);
	if (!tombstone(st))
		return 1;
	return reg_cmp(c->reg, st->exist) > 0 ? 1 : -1;
}

/*
 * Nothing stands under the register of a write that was refused while the row was not alive: what
 * the insert brings does from now on.
 */
static bool fills_refused(const struct standing *st, const struct cell *c,
			  const struct merge_result *out)
{
	return out->revived && st->has[c->col] && st->cell[c->col].site == SITE_REFUSED;
}

static void merge_cell(struct standing *st, const struct row *in, uint16_t i,
		       struct merge_result *out)
{
	const struct cell *c = &in->cell[i];

	assert(c->col < st->n_col);
	int order = cell_order(st, c);
	if (order < 0)
		out->lost = true;
	if (order < 0 && fills_refused(st, c, out)) {
		out->cell_taken[i] = true;
		out->cell_voided[c->col] = false;
	}
	if (order <= 0)
		return;
	st->has[c->col] = true;
	st->cell[c->col] = c->reg;
	out->cell_taken[i] = true;
	out->cell_voided[c->col] = false;
	out->any = true;
	/* It says "no value" where the sender has a NULL: it gets the whole row, like all others.
	 */
	if (st->alive && c->val.type == VAL_NULL && reg_cmp(c->reg, st->exist) < 0)
		out->lost = true;
}

void merge_server(struct standing *st, const struct row *in, const bool *shape_has,
		  struct merge_result *out)
{
	out->exist_taken = out->revived = out->lost = out->any = false;
	memset(out->cell_taken, 0, in->n_cell * sizeof *out->cell_taken);
	memset(out->cell_voided, 0, st->n_col * sizeof *out->cell_voided);
	if (!st->known) {
		st->known = true;
		st->alive = false;
		st->exist = (struct reg){0, 0};
	}
	if (in->exist != EXIST_NONE)
		merge_exist(st, in, out);
	if (in->exist == EXIST_ALIVE && st->alive)
		void_unnamed(st, in, shape_has, out);
	for (uint16_t i = 0; i < in->n_cell; i++)
		merge_cell(st, in, i, out);
}

static struct reg after(struct reg refused)
{
	return (struct reg){refused.stamp, SITE_REFUSED};
}

static void raise_cell(struct standing *st, uint16_t col, struct reg reg)
{
	if (st->has[col] && reg_cmp(reg, st->cell[col]) <= 0)
		return;
	st->has[col] = true;
	st->cell[col] = reg;
}

/* The register that ends an update of a row nobody knows, or the existence that was written. */
static struct reg refused_exist(const struct standing *st, const struct row *in)
{
	struct reg newest = {0, 0};

	if (in->exist != EXIST_NONE)
		return after(in->exist_reg);
	for (uint16_t i = 0; !st->known && i < in->n_cell; i++)
		if (reg_cmp(after(in->cell[i].reg), newest) > 0)
			newest = after(in->cell[i].reg);
	return newest;
}

/* What stands is as if it were written just after what was refused, but for what has no value. */
static void raise_standing(struct standing *st, const struct row *in, const bool *shape_has,
			   struct reg before)
{
	for (uint16_t i = 0; i < st->n_col; i++)
		if (st->has[i] && reg_cmp(st->cell[i], before) >= 0 &&
		    (shape_has[i] || in->exist == EXIST_DEAD))
			raise_cell(st, i, st->exist);
}

void merge_refuse(struct standing *st, const struct row *in, const bool *shape_has)
{
	struct reg exist = refused_exist(st, in), before;
	bool raised;

	if (!st->known) {
		st->known = true;
		st->alive = false;
		st->exist = (struct reg){0, 0};
	}
	before = st->exist;
	raised = reg_cmp(exist, st->exist) > 0;
	if (raised)
		st->exist = exist;
	if (!st->alive) {
		for (uint16_t i = 0; i < st->n_col; i++)
			st->has[i] = st->has[i] && reg_cmp(st->cell[i], st->exist) > 0;
		/* Later than the end: else an insert from between would bring an older value,
		 * which the sender takes its own for a later one of. */
		for (uint16_t i = 0; i < in->n_cell; i++)
			if (reg_cmp(after(in->cell[i].reg), st->exist) > 0)
				raise_cell(st, in->cell[i].col, after(in->cell[i].reg));
		return;
	}
	/* What a refused insert or delete would have voided stands. */
	if (raised)
		raise_standing(st, in, shape_has, before);
	for (uint16_t i = 0; i < in->n_cell; i++)
		raise_cell(st, in->cell[i].col, after(in->cell[i].reg));
}

static void plan_delete(const struct pending *p, struct apply_plan *out)
{
	out->action = APPLY_DELETE;
	out->drop_exist_mark = p->has_exist;
	memcpy(out->drop_mark, p->has, p->n_col * sizeof *out->drop_mark);
}

/* What a cell is worth here: its mark, or the insert that is pending. False: it is settled. */
static bool local_version(const struct pending *p, const struct row *in, uint16_t col,
			  struct reg *out)
{
	/* The server that has the insert has what it brought, if maybe not of columns added since.
	 */
	bool echo = in->exist != EXIST_NONE && reg_cmp(p->exist, in->exist_reg) == 0;
	bool inserted = p->has_exist && !echo;

	if (!p->row_exists)
		return false;
	*out = p->has[col] ? p->cell[col] : (struct reg){0, 0};
	if (inserted && reg_cmp(p->exist, *out) > 0)
		*out = p->exist;
	return p->has[col] || inserted;
}

void merge_device(const struct pending *p, const struct row *in, struct apply_plan *out)
{
	bool there = p->row_exists;
	struct reg local;

	out->action = APPLY_NONE;
	out->drop_exist_mark = false;
	memset(out->write, 0, in->n_cell * sizeof *out->write);
	memset(out->drop_mark, 0, p->n_col * sizeof *out->drop_mark);
	memset(out->keep, 0, p->n_col * sizeof *out->keep);
	/* Existence compares with the existence mark only: a delete beats concurrent updates. */
	if (in->exist != EXIST_NONE && !(p->has_exist && reg_cmp(p->exist, in->exist_reg) > 0)) {
		if (in->exist == EXIST_DEAD) {
			plan_delete(p, out);
			return;
		}
		out->action = APPLY_INSERT;
		out->drop_exist_mark = p->has_exist;
		there = true;
		for (uint16_t i = 0; i < p->n_col; i++) {
			/* Marks of a row that is gone are not about the one that comes. */
			out->drop_mark[i] = p->has[i] && !p->row_exists;
			out->keep[i] = p->has_exist && p->row_exists &&
				       reg_cmp(p->exist, in->exist_reg) < 0;
		}
	}
	if (!there)
		return;
	for (uint16_t i = 0; i < in->n_cell; i++) {
		uint16_t col = in->cell[i].col;

		assert(col < p->n_col);
		int order =
			local_version(p, in, col, &local) ? reg_cmp(local, in->cell[i].reg) : -1;
		if (order > 0)
			continue;
		/* The cell's own write, come back: its mark goes when it is acknowledged. */
		bool echo = order == 0 && p->has[col] && !cell_no_value(in, &in->cell[i]);
		out->keep[col] = false;
		out->write[i] = true;
		out->drop_mark[col] = p->has[col] && !echo;
	}
}
