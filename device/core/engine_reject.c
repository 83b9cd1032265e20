/*
 * Rows of a committed set that the server did not take, and why. That they were not taken is told
 * by their registers (apply_refused.c), which cannot get lost; a reject only says the reason. A
 * table that receives nothing has no other source: its rows are kept here.
 */
#include <stdio.h>
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/engine_internal.h"
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

static int take_table(struct engine *en, const struct table_rows *rows, const struct f_reject *r,
		      struct err *e)
{
	struct tracked *t = devdb_table_by_shape(en->d, rows->shape->id);

	if (!t || t->shape.kind != SHAPE_MERGE)
		return NE_OK;
	for (size_t k = 0; k < rows->n_row; k++) {
		if (t->shape.direction == DIR_UP)
			TRY(keep_row(en->d, t, &rows->row[k], r->text, e));
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
