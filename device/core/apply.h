/*
 * Applying what others wrote: effects and page rows, merged against pending
 * marks, in the app's own tables.
 */
#ifndef NEAP_DEVICE_CORE_APPLY_H
#define NEAP_DEVICE_CORE_APPLY_H

#include "device/core/devdb.h"

struct applied {
	size_t rows;	      /* written or deleted */
	size_t parked;	      /* could not be written: kept in neap_parked */
	bool overtook;	      /* a local mark was dropped because a later write won */
	int64_t overtook_gen; /* the highest generation among those */
	size_t conflicts;     /* new records of what lost */
	bool passed_over;     /* something of another site gave way to a later pending write */
};

/*
 * Merges `rows` into the app's tables inside the caller's transaction, raises the floor, records
 * the keys of a pull from 0: of a full one (`full`), or of the devdb's seen_table. Columns and
 * tables the device lacks are left out, as are tables it does not receive. A row that violates a
 * constraint even after all others of the call were written is parked, never an error. Errors:
 * NE_DISK, NE_BUSY, NE_CORRUPT, NE_MEMORY.
 */
NEAP_CHECK int apply_rows(struct devdb *d, const struct rows *rows, bool full, struct applied *out,
			  struct err *e);

/*
 * The same with whole rows that a verification found to differ here (J6): settled values that are
 * overwritten go to the conflicts first.
 */
NEAP_CHECK int apply_repair(struct devdb *d, const struct rows *rows, struct applied *out,
			    struct err *e);

/*
 * Starts and ends a full pull (P7). Starting, inside the caller's transaction, notes which tables
 * have rows. Ending removes their rows that were not seen and carry no insert mark: it looks for
 * them without a lock and removes a bounded number in a transaction of its own; *more tells that
 * it must be called again.
 */
NEAP_CHECK int apply_full_begin(struct devdb *d, struct err *e);
NEAP_CHECK int apply_full_end(struct devdb *d, struct applied *out, bool *more, struct err *e);
/* The same of one table that is pulled by itself (J5); what was seen of it stays noted, until … */
NEAP_CHECK int apply_table_begin(struct devdb *d, const struct tracked *t, struct err *e);
NEAP_CHECK int apply_table_end(struct devdb *d, struct tracked *t, struct applied *out, bool *more,
			       struct err *e);
/* … this, when its pull is over: in the caller's transaction. */
NEAP_CHECK int apply_seen_forget(struct devdb *d, int64_t table, struct err *e);

/*
 * Tries parked rows again, 1000 a call in turn; those that fit now are written and leave the list.
 * In the caller's transaction.
 */
NEAP_CHECK int apply_retry_parked(struct devdb *d, struct applied *out, struct err *e);

#endif
