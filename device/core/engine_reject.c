/*
 * Rows of a committed set that the server did not take, and why. That they were not taken is told
 * by their registers (apply_refused.c), which cannot get lost; a reject only says the reason. A
 * table that receives nothing has no other source: its rows are kept here.
 */
#include <stdio.h>
#include <string.h>

#include "device/core/again.h"
#include "device/core/apply_internal.h"
#include "device/core/engine_internal.h"
#include "device/core/identity.h"
#include "device/core/rejected.h"

/* The row as it is here now, or its key alone if it is gone. */
static int keep_row(struct devdb *d, struct tracked *t, const struct row *row, struct slice reason,
		    struct err *e)
{
	struct image *im = sqlite3_malloc64(sizeof *im);
	struct arena a = {.max = 2 * LIMIT_DECODED};
	struct applied none = {0};
	struct target tg;
	char text[300];
	bool found = false;
	int rc = im ? NE_OK : err_set(e, NE_MEMORY, "no memory for a rejected row");

	snprintf(text, sizeof text, "%.*s", (int)reason.len, (const char *)reason.at);
	if (!rc)
		rc = target_open(&tg, d, t, &none, e);
	if (!rc) {
		memset(im, 0, sizeof *im);
		memcpy(im->key, row->key, t->shape.n_key * sizeof *row->key);
		rc = sql_read(&tg, im, &a, &found, e);
	}
	if (!rc) {
		im->exist = found ? EXIST_ALIVE : EXIST_DEAD;
		rc = rejected_keep(d, t, im, true, text, e);
	}
	sqlite3_free(im);
	arena_free(&a);
	return rc;
}

static int take_row(struct devdb *d, struct tracked *t, const struct row *row, struct slice reason,
		    struct err *e)
{
	bool again;

	TRY(again_refused(d, t, row->key, &again, e));
	return again ? NE_OK : keep_row(d, t, row, reason, e);
}

static int take_table(struct engine *en, const struct table_rows *rows, const struct f_reject *r,
		      struct err *e)
{
	struct tracked *t = devdb_table_by_shape(en->d, rows->shape->id);

	if (!t || t->shape.kind != SHAPE_MERGE)
		return NE_OK;
	for (size_t k = 0; k < rows->n_row; k++) {
		if (t->shape.direction == DIR_UP)
			TRY(take_row(en->d, t, &rows->row[k], r->text, e));
		else
			TRY(rejected_reason(en->d, t, rows->row[k].key, r->text, r->number, e));
	}
	return NE_OK;
}

static int take_all(struct engine *en, const struct rows *rows, const struct f_reject *r,
		    struct err *e)
{
	TRY(devdb_begin(en->d, e));
	/* Reasons of sets that are settled were told too late. */
	TRY(db_execf(en->d->db, e, "DELETE FROM neap_reason WHERE number < %lld",
		     (long long)en->flight[0]->number));
	for (size_t i = 0; i < rows->n_table; i++)
		TRY(take_table(en, &rows->table[i], r, e));
	return devdb_commit(en->d, e);
}

int engine_on_reject(struct engine *en, const struct f_reject *r, struct err *e)
{
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	struct rows rows;

	/* Of a set that is not in flight it is a repetition. */
	if (r->site != en->d->site || !engine_flight(en, r->number))
		return NE_OK;
	if (rows_decode(r->rows, SITE_SERVER, finder, &en->tmp, &rows, NULL, e)) {
		en->bad_frames++;
		return NE_OK;
	}
	return take_all(en, &rows, r, e);
}

/* ---- rows of a set that was refused for them ---- */

/* The rows that a set in flight carries. */
static int rows_sent(struct engine *en, const struct flight *f, struct arena *a, struct rows *out,
		     struct err *e)
{
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	struct frame set;

	*out = (struct rows){0};
	if (!f->frame.len)
		return NE_OK;
	TRY(frame_decode(buf_slice(&f->frame), a, &set, e));
	return rows_decode(set.set.rows, set.set.site, finder, a, out, NULL, e);
}

/* What is pending of a merge row goes with it, but for its values that are kept. */
static int drop_marks(struct devdb *d, struct tracked *t, const struct val *key, struct err *e)
{
	struct applied none = {0};
	struct target tg;

	TRY(target_open(&tg, d, t, &none, e));
	TRY(sql_bind_key(d, tg.sql.drop_marks, 1, t, key, e));
	return db_run(d->db, tg.sql.drop_marks, e);
}

/* A row that the server refused, or whose identity has other content there (J3). */
static int put_aside(struct engine *en, const struct f_refuse *r, const struct shape *shape,
		     const struct row *row, size_t *done, struct err *e)
{
	struct tracked *t = devdb_table_by_shape(en->d, shape->id);
	char reason[300];
	bool there;

	/* The table is another one by now: it is cut as it is then. */
	if (!t)
		return NE_OK;
	++*done;
	if (r->code == REFUSE_COLLISION)
		return identity_renumber(en->d, t, row->key, &there, e);
	snprintf(reason, sizeof reason, "%.*s", (int)r->text.len, (const char *)r->text.at);
	TRY(rejected_keep_sent(en->d, t, row, reason, e));
	return t->shape.kind == SHAPE_MERGE ? drop_marks(en->d, t, row->key, e) : NE_OK;
}

static int put_named_aside(struct engine *en, const struct f_refuse *r, const struct rows *sent,
			   const struct table_rows *named, size_t *done, struct err *e)
{
	for (size_t i = 0; i < sent->n_table; i++) {
		const struct table_rows *t = &sent->table[i];

		if (!shape_id_eq(t->shape->id, named->shape->id) || t->shape->kind != SHAPE_APPEND)
			continue;
		for (size_t k = 0; k < t->n_row * named->n_row; k++) {
			const struct row *row = &t->row[k / named->n_row];
			const struct row *name = &named->row[k % named->n_row];

			if (row->gen == name->gen && row->n == name->n)
				TRY(put_aside(en, r, t->shape, row, done, e));
		}
	}
	return NE_OK;
}

static int put_all_aside(struct engine *en, const struct f_refuse *r, const struct rows *sent,
			 struct arena *a, size_t *done, struct err *e)
{
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	struct rows named;

	/* The only row of a set that the server cannot read. */
	if (r->code == REFUSE_MALFORMED)
		return sent->n_table != 1 || sent->table[0].n_row != 1
			       ? NE_OK
			       : put_aside(en, r, sent->table[0].shape, &sent->table[0].row[0],
					   done, e);
	if (rows_decode(r->rows, SITE_SERVER, finder, a, &named, NULL, e)) {
		en->bad_frames++;
		return NE_OK;
	}
	for (size_t i = 0; i < named.n_table; i++)
		TRY(put_named_aside(en, r, sent, &named.table[i], done, e));
	return NE_OK;
}

int engine_refused_rows(struct engine *en, const struct f_refuse *r, const struct flight *f,
			size_t *done, struct err *e)
{
	struct arena a = {.max = 3 * (size_t)LIMIT_DECODED};
	struct rows sent;
	int rc = rows_sent(en, f, &a, &sent, e);

	*done = 0;
	if (!rc)
		rc = devdb_begin(en->d, e);
	if (!rc) {
		rc = put_all_aside(en, r, &sent, &a, done, e);
		rc = rc ? rc : devdb_commit(en->d, e);
		if (rc)
			devdb_rollback(en->d);
	}
	arena_free(&a);
	return rc;
}
