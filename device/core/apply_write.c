/* Writing a planned row; what collides is set aside until the others are written (J2). */
#include <string.h>

#include "device/core/apply_internal.h"

/* What the row will hold: the cells to write, the rest from where it stands now. */
static void plan_image(struct work *w)
{
	for (int i = 0; i < w->row.n_cell; i++) {
		uint16_t col = w->cell[i].col;

		if (!w->plan.write[i])
			continue;
		w->image.has[col] = true;
		w->image.val[col] = w->cell[i].val;
		w->image.reg[col] = w->cell[i].reg;
	}
}

static int remove_row(struct target *tg, const struct image *im, struct err *e)
{
	TRY(sql_bind_key(tg->d, tg->sql.remove, 1, tg->t, im->key, e));
	return db_run(tg->d->db, tg->sql.remove, e);
}

static int update_row(struct work *w, bool *fits, struct err *e)
{
	struct target *tg = &w->tg;
	sqlite3_stmt *s = tg->sql.update;
	int n = tg->t->shape.n_col;
	bool any = false;

	*fits = true;
	for (int i = 0; i < n; i++)
		any |= w->image.has[i];
	if (!any)
		return NE_OK;
	for (int i = 0; i < n; i++) {
		if (sqlite3_bind_int(s, 2 * i + 1, w->image.has[i]) ||
		    (w->image.has[i] && val_bind(s, 2 * i + 2, &w->image.val[i])))
			return db_error(tg->d->db, e, "applying a change");
	}
	TRY(sql_bind_key(tg->d, s, 2 * n + 1, tg->t, w->image.key, e));
	return sql_write(tg->d, s, fits, e);
}

int key_spelling(struct work *w, bool *differs, struct err *e)
{
	struct target *tg = &w->tg;
	const struct shape *s = &tg->t->shape;
	bool found, loose = false;

	*differs = false;
	for (int i = 0; i < s->n_key; i++)
		loose |= s->key[i].collation != COLL_BINARY || s->key[i].affinity == AFF_BLOB;
	if (!loose)
		return NE_OK;
	TRY(sql_bind_key(tg->d, tg->sql.find, 1, tg->t, w->image.key, e));
	TRY(db_step(tg->d->db, tg->sql.find, &found, e));
	for (int i = 0; found && i < s->n_key; i++) {
		struct val v = val_column(tg->sql.find, i);

		*differs |= !val_eq(&v, &w->image.key[i]);
	}
	sqlite3_reset(tg->sql.find);
	return NE_OK;
}

/* An insert brings its own spelling of a key. */
static int spell_key(struct work *w, bool *fits, struct err *e)
{
	struct target *tg = &w->tg;
	bool differs;

	TRY(key_spelling(w, &differs, e));
	if (!differs)
		return NE_OK;
	TRY(sql_bind_key(tg->d, tg->sql.spell, 1, tg->t, w->image.key, e));
	TRY(sql_bind_key(tg->d, tg->sql.spell, tg->t->shape.n_key + 1, tg->t, w->image.key, e));
	return sql_write(tg->d, tg->sql.spell, fits, e);
}

/* A copy of the image that lives until the end of the call. */
static struct image *copy_image(struct work *w)
{
	const struct shape *s = &w->tg.t->shape;
	struct image *im = arena_alloc(&w->arena, sizeof(*im));
	bool ok = im != NULL;

	if (ok)
		*im = w->image;
	for (int i = 0; ok && i < s->n_key; i++)
		ok = val_copy(&w->arena, &w->image.key[i], &im->key[i]);
	for (int i = 0; ok && i < s->n_col; i++)
		ok = !im->has[i] || val_copy(&w->arena, &w->image.val[i], &im->val[i]);
	return ok ? im : NULL;
}

/* Takes a colliding row out; it is written when all others are (J2). */
static int set_aside(struct work *w, struct err *e)
{
	struct set_aside *a;
	bool found;

	if (w->pending.row_exists && !w->parked) {
		TRY(sql_read(&w->tg, &w->image, &w->row_arena, &found, e));
		TRY(remove_row(&w->tg, &w->image, e));
	}
	a = arena_alloc(&w->arena, sizeof(*a));
	if (a)
		a->image = copy_image(w);
	if (!a || !a->image)
		return park(&w->tg, &w->image, e);
	a->next = w->aside;
	w->aside = a;
	return NE_OK;
}

static int save_lost(struct work *w, struct err *e)
{
	struct image old = {0};
	bool found, differs = w->plan.action == APPLY_DELETE;

	memcpy(old.key, w->image.key, sizeof(old.key));
	TRY(sql_read(&w->tg, &old, &w->row_arena, &found, e));
	for (int i = 0; found && i < w->tg.t->shape.n_col; i++)
		differs |= w->image.has[i] && !w->has_mark[i] &&
			   !val_eq(&old.val[i], &w->image.val[i]);
	if (!found || !differs)
		return NE_OK;
	return save_conflict(&w->tg, &old, w->tg.lost_reason, e);
}

int work_write(struct work *w, struct err *e)
{
	bool fits = true, found;

	plan_image(w);
	if (w->tg.save_lost && w->pending.row_exists && !w->parked)
		TRY(save_lost(w, e));
	if (w->parked)
		TRY(parked_read(&w->tg, &w->image, &w->row_arena, &found, e));
	if (w->pending.row_exists && !w->parked) {
		TRY(update_row(w, &fits, e));
		if (fits && w->plan.action == APPLY_INSERT)
			TRY(spell_key(w, &fits, e));
	} else {
		TRY(sql_insert(&w->tg, &w->image, &fits, e));
	}
	if (!fits)
		return set_aside(w, e);
	w->tg.out->rows++;
	return w->parked ? unpark(&w->tg, &w->image, e) : NE_OK;
}

int work_delete(struct work *w, struct err *e)
{
	if (w->tg.save_lost && w->pending.row_exists && !w->parked)
		TRY(save_lost(w, e));
	TRY(remove_row(&w->tg, &w->image, e));
	if (w->parked)
		TRY(unpark(&w->tg, &w->image, e));
	w->tg.out->rows += w->pending.row_exists;
	return NE_OK;
}

/* Rows set aside go in now that the others made room, or are parked. */
int work_write_aside(struct work *w, struct err *e)
{
	for (struct set_aside *a = w->aside; a; a = a->next) {
		bool fits;

		TRY(sql_insert(&w->tg, a->image, &fits, e));
		if (!fits) {
			TRY(park(&w->tg, a->image, e));
			continue;
		}
		w->tg.out->rows++;
		TRY(unpark(&w->tg, a->image, e));
		if (w->tg.note_seen)
			TRY(seen_note(&w->tg, a->image, e));
	}
	return NE_OK;
}
