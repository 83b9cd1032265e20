#include "protocol/merge.h"

#include <assert.h>
#include <string.h>

static void merge_exist(struct standing *st, const struct row *in, const bool *shape_has,
			struct merge_result *out)
{
	bool alive = in->exist == EXIST_ALIVE;
	int order = reg_cmp(in->exist_reg, st->exist);

	if (order < 0 || (order == 0 && alive != st->alive)) {
		out->lost = true;
		return;
	}
	if (order == 0)
		return;
	st->exist = in->exist_reg;
	st->alive = alive;
	out->exist_taken = true;
	out->revived = alive;
	for (uint16_t i = 0; i < st->n_col; i++) {
		/* An insert knows nothing of columns its sender lacks; a delete ends them all. */
		if (!st->has[i] || reg_cmp(st->cell[i], st->exist) >= 0 || (alive && !shape_has[i]))
			continue;
		st->has[i] = false;
		st->cell[i] = (struct reg){0, 0};
		out->cell_voided[i] = true;
	}
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
		merge_exist(st, in, shape_has, out);
	out->any = out->exist_taken;
	for (uint16_t i = 0; i < in->n_cell; i++) {
		uint16_t col = in->cell[i].col;
		struct reg reg = in->cell[i].reg;

		assert(col < st->n_col);
		int order = st->has[col] ? reg_cmp(reg, st->cell[col]) : 1;
		if (reg_cmp(reg, st->exist) < 0 || order < 0) {
			out->lost = true;
		} else if (order > 0) {
			st->has[col] = true;
			st->cell[col] = reg;
			out->cell_taken[i] = true;
			out->cell_voided[col] = false;
			out->any = true;
		}
	}
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

void merge_refuse(struct standing *st, const struct row *in, const bool *shape_has)
{
	struct reg exist = refused_exist(st, in);
	bool raised;

	if (!st->known) {
		st->known = true;
		st->alive = false;
		st->exist = (struct reg){0, 0};
	}
	raised = reg_cmp(exist, st->exist) > 0;
	if (raised)
		st->exist = exist;
	if (!st->alive) {
		for (uint16_t i = 0; i < st->n_col; i++)
			st->has[i] = st->has[i] && reg_cmp(st->cell[i], st->exist) >= 0;
		return;
	}
	/* What a refused insert or delete would have voided stands. */
	for (uint16_t i = 0; raised && i < st->n_col; i++)
		if (shape_has[i] || in->exist == EXIST_DEAD)
			raise_cell(st, i, exist);
	for (uint16_t i = 0; i < in->n_cell; i++)
		raise_cell(st, in->cell[i].col, after(in->cell[i].reg));
}

static void plan_delete(const struct pending *p, struct apply_plan *out)
{
	out->action = APPLY_DELETE;
	out->drop_exist_mark = p->has_exist;
	memcpy(out->drop_mark, p->has, p->n_col * sizeof *out->drop_mark);
}

void merge_device(const struct pending *p, const struct row *in, struct apply_plan *out)
{
	bool there = p->row_exists;
	bool local_exist = p->has_exist;

	out->action = APPLY_NONE;
	out->drop_exist_mark = false;
	memset(out->write, 0, in->n_cell * sizeof *out->write);
	memset(out->drop_mark, 0, p->n_col * sizeof *out->drop_mark);
	/* Existence compares with the existence mark only: a delete beats concurrent updates. */
	if (in->exist != EXIST_NONE && !(p->has_exist && reg_cmp(p->exist, in->exist_reg) > 0)) {
		if (in->exist == EXIST_DEAD) {
			plan_delete(p, out);
			return;
		}
		out->action = APPLY_INSERT;
		out->drop_exist_mark = p->has_exist;
		there = true;
		local_exist = false;
		for (uint16_t i = 0; i < p->n_col; i++)
			out->drop_mark[i] = p->has[i] && reg_cmp(p->cell[i], in->exist_reg) < 0;
	}
	if (!there)
		return;
	for (uint16_t i = 0; i < in->n_cell; i++) {
		uint16_t col = in->cell[i].col;
		struct reg reg = in->cell[i].reg;

		assert(col < p->n_col);
		if (p->has[col] && !out->drop_mark[col] && reg_cmp(p->cell[col], reg) >= 0)
			continue;
		/* Cells of a pending insert without a mark count at the insert's stamp. */
		if (local_exist && reg_cmp(p->exist, reg) > 0)
			continue;
		out->write[i] = true;
		out->drop_mark[col] = p->has[col];
	}
}
