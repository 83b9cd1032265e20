#include "device/core/aware.h"

int aware_of(struct devdb *d, uint64_t *seq, struct err *e)
{
	int64_t cursor, below;

	TRY(devdb_get(d, "cursor", &cursor, e));
	TRY(devdb_get(d, "aware_below", &below, e));
	*seq = (uint64_t)(below && below - 1 < cursor ? below - 1 : cursor);
	return NE_OK;
}

static int lower(struct devdb *d, int64_t cursor, struct err *e)
{
	int64_t below, until;

	TRY(devdb_get(d, "aware_below", &below, e));
	TRY(devdb_get(d, "aware_until", &until, e));
	if (!below || cursor + 1 < below)
		TRY(devdb_set(d, "aware_below", cursor + 1, e));
	return until ? devdb_set(d, "aware_until", 0, e) : NE_OK;
}

int aware_passed_over(struct devdb *d, bool full_pull, struct err *e)
{
	int64_t cursor, before;

	if (d->page_upto)
		return lower(d, (int64_t)d->page_from, e);
	TRY(devdb_get(d, "cursor", &cursor, e));
	if (!full_pull)
		return lower(d, cursor, e);
	TRY(devdb_get(d, "aware_full", &before, e));
	return before ? lower(d, before - 1, e) : NE_OK;
}

static int forget(struct devdb *d, struct err *e)
{
	TRY(devdb_set(d, "aware_below", 0, e));
	return devdb_set(d, "aware_until", 0, e);
}

int aware_all_cut(struct devdb *d, struct err *e)
{
	int64_t below, until, last;

	TRY(devdb_get(d, "aware_below", &below, e));
	TRY(devdb_get(d, "aware_until", &until, e));
	if (!below || until)
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
