/*
 * Own writes that the server refused: a register that comes under the write's own stamp and the
 * site SITE_REFUSED says so. They are kept before what stands instead is written.
 */
#include <string.h>

#include "device/core/again.h"
#include "device/core/apply_internal.h"
#include "device/core/rejected.h"

static bool refuses(struct reg in, struct reg own)
{
	return in.site == SITE_REFUSED && in.stamp == own.stamp;
}

/* The whole row was refused: its insert, its delete, or a change of one that nobody knows. */
static bool whole_refused(const struct work *w)
{
	if (w->row.exist == EXIST_NONE || w->row.exist_reg.site != SITE_REFUSED)
		return false;
	if (w->pending.has_exist)
		return w->plan.drop_exist_mark && refuses(w->row.exist_reg, w->pending.exist);
	for (int i = 0; i < w->pending.n_col; i++)
		if (w->plan.drop_mark[i] && refuses(w->row.exist_reg, w->mark[i]))
			return true;
	return false;
}

static bool cell_refused(const struct work *w, const struct cell *c)
{
	return w->has_mark[c->col] && w->plan.drop_mark[c->col] && refuses(c->reg, w->mark[c->col]);
}

/* The columns to keep; false if nothing was refused. */
static bool refused_columns(const struct work *w, bool *col)
{
	bool whole = whole_refused(w), any = whole;

	for (int i = 0; i < w->pending.n_col; i++)
		col[i] = whole && (w->pending.has_exist || w->has_mark[i]);
	for (int i = 0; !whole && i < w->row.n_cell; i++)
		if (cell_refused(w, &w->cell[i]))
			any = col[w->cell[i].col] = true;
	return any;
}

static int read_own(struct work *w, struct image *im, bool *found, struct err *e)
{
	memset(im, 0, sizeof *im);
	memcpy(im->key, w->image.key, sizeof im->key);
	if (w->parked)
		return parked_read(&w->tg, im, &w->row_arena, found, e);
	return sql_read(&w->tg, im, &w->row_arena, found, e);
}

static int keep(struct work *w, const bool *col, struct image *im, struct err *e)
{
	bool found;

	TRY(read_own(w, im, &found, e));
	for (int i = 0; i < w->pending.n_col; i++)
		im->has[i] = im->has[i] && col[i];
	im->exist = !found ? EXIST_DEAD : w->pending.has_exist ? EXIST_ALIVE : EXIST_NONE;
	return rejected_keep(w->tg.d, w->tg.t, im, true, NULL, e);
}

int keep_refused(struct work *w, bool *again, struct err *e)
{
	bool col[LIMIT_COLUMNS];
	struct image *im;
	int rc;

	*again = false;
	w->tg.refused = w->tg.any_marks && refused_columns(w, col);
	if (w->tg.refused)
		TRY(again_refused(w->tg.d, w->tg.t, w->image.key, again, e));
	w->tg.refused &= !*again;
	if (!w->tg.refused)
		return NE_OK;
	im = sqlite3_malloc64(sizeof *im);
	rc = im ? keep(w, col, im, e) : err_set(e, NE_MEMORY, "no memory for a rejected row");
	sqlite3_free(im);
	return rc;
}
