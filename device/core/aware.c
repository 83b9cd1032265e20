#include "device/core/aware.h"

#include <stdio.h>

static const char below_key[] = "aware_below";

/* The same of one table alone. */
static void table_key(char out[48], int64_t table)
{
	snprintf(out, 48, "%s:%lld", below_key, (long long)table);
}

static int at_most(struct devdb *d, const char *key, uint64_t *seq, struct err *e)
{
	int64_t below;

	TRY(devdb_get(d, key, &below, e));
	if (below && (uint64_t)below - 1 < *seq)
		*seq = (uint64_t)below - 1;
	return NE_OK;
}

int aware_of(struct devdb *d, const struct rows *rows, uint64_t *seq, struct err *e)
{
	int64_t cursor;

	TRY(devdb_get(d, "cursor", &cursor, e));
	*seq = (uint64_t)cursor;
	TRY(at_most(d, below_key, seq, e));
	for (size_t i = 0; i < rows->n_table; i++) {
		const struct tracked *t = devdb_table_by_shape(d, rows->table[i].shape->id);
		char key[48];

		table_key(key, t ? t->id : 0);
		TRY(at_most(d, key, seq, e));
	}
	return NE_OK;
}

static int lower(struct devdb *d, const char *key, int64_t cursor, struct err *e)
{
	int64_t below, until;

	TRY(devdb_get(d, key, &below, e));
	TRY(devdb_get(d, "aware_until", &until, e));
	if (!below || cursor + 1 < below)
		TRY(devdb_set(d, key, cursor + 1, e));
	return until ? devdb_set(d, "aware_until", 0, e) : NE_OK;
}

int aware_passed_over(struct devdb *d, bool full_pull, struct err *e)
{
	int64_t cursor, before;
	char key[48];

	if (d->page_upto) {
		table_key(key, d->seen_table);
		return lower(d, key, (int64_t)d->page_from, e);
	}
	TRY(devdb_get(d, "cursor", &cursor, e));
	if (!full_pull)
		return lower(d, below_key, cursor, e);
	TRY(devdb_get(d, "aware_full", &before, e));
	return before ? lower(d, below_key, before - 1, e) : NE_OK;
}

static int forget(struct devdb *d, struct err *e)
{
	return db_exec(d->db,
		       "DELETE FROM neap_meta WHERE key >= 'aware_below' AND key < 'aware_below;';"
		       " DELETE FROM neap_meta WHERE key = 'aware_until'",
		       e);
}

static int has_marks(struct devdb *d, const struct tracked *t, bool *yes, struct err *e)
{
	struct buf sql = {.max = 128};
	int64_t any = 0;
	int rc = buf_printf(&sql, "SELECT EXISTS(SELECT 1 FROM \"%s\")", t->marks);

	rc = rc ? rc : buf_terminate(&sql);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_int(d->db, (const char *)sql.at, 0, &any, e);
	buf_free(&sql);
	*yes = any;
	return rc;
}

/* A table that is not cut now, such as one that is pulled by itself, may have pending writes. */
static int any_withheld(struct devdb *d, bool *yes, struct err *e)
{
	*yes = false;
	for (size_t i = 0; !*yes && i < d->n_table; i++) {
		const struct tracked *t = &d->table[i];

		if (t->shape.kind != SHAPE_MERGE || t->shape.direction == DIR_DOWN ||
		    tracked_is_cut(t))
			continue;
		*yes = !t->capture_ok;
		if (!*yes)
			TRY(has_marks(d, t, yes, e));
	}
	return NE_OK;
}

static int any_lowered(struct devdb *d, bool *yes, struct err *e)
{
	int64_t any;

	TRY(db_int(d->db,
		   "SELECT EXISTS(SELECT 1 FROM neap_meta WHERE key >= 'aware_below' AND key <"
		   " 'aware_below;' AND value > 0)",
		   0, &any, e));
	*yes = any;
	return NE_OK;
}

int aware_all_cut(struct devdb *d, struct err *e)
{
	int64_t until, last;
	bool lowered, withheld;

	TRY(any_lowered(d, &lowered, e));
	TRY(devdb_get(d, "aware_until", &until, e));
	if (!lowered || until)
		return NE_OK;
	TRY(any_withheld(d, &withheld, e));
	if (withheld)
		return NE_OK;
	TRY(db_int(d->db, "SELECT max(number) FROM neap_inflight", 0, &last, e));
	return last ? devdb_set(d, "aware_until", last, e) : forget(d, e);
}

int aware_recut(struct devdb *d, struct err *e)
{
	int64_t until;

	TRY(devdb_get(d, "aware_until", &until, e));
	return until ? devdb_set(d, "aware_until", 0, e) : NE_OK;
}

int aware_settled(struct devdb *d, uint64_t number, struct err *e)
{
	int64_t until;

	TRY(devdb_get(d, "aware_until", &until, e));
	return until && number >= (uint64_t)until ? forget(d, e) : NE_OK;
}

int aware_full_begins(struct devdb *d, bool reset, struct err *e)
{
	int64_t cursor, full;

	if (reset) {
		TRY(forget(d, e));
		return devdb_set(d, "aware_full", 0, e);
	}
	TRY(devdb_get(d, "full", &full, e));
	TRY(devdb_get(d, "cursor", &cursor, e));
	/* One that began before it is not over: its cursor says nothing. */
	return full ? NE_OK : devdb_set(d, "aware_full", cursor + 1, e);
}
