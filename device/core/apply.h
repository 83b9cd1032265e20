/*
 * Applying what others wrote: effects and page rows, merged against pending
 * marks, in the app's own tables.
 */
#ifndef NEAP_DEVICE_CORE_APPLY_H
#define NEAP_DEVICE_CORE_APPLY_H

#include "device/core/devdb.h"

struct applied {
	size_t rows;	   /* written or deleted */
	size_t parked;	   /* could not be written: kept in neap_parked */
	bool overtook;	   /* a local mark was dropped because a later write won */
	int64_t overtook_gen; /* the highest generation among those */
};

/*
 * Merges `rows` into the app's tables inside the caller's transaction, raises the floor, records
 * keys seen while a full pull is under way. Columns and tables the device lacks are left out. A row
 * that violates a constraint is parked, never an error. Errors: NE_DISK, NE_BUSY, NE_CORRUPT.
 */
NEAP_CHECK int apply_rows(struct devdb *d, const struct rows *rows, bool full_pull,
			  struct applied *out, struct err *e);

/* Starts and ends a full pull (P7): ending removes rows not seen that carry no insert mark. */
NEAP_CHECK int apply_full_begin(struct devdb *d, struct err *e);
NEAP_CHECK int apply_full_end(struct devdb *d, struct applied *out, struct err *e);

/* Tries parked rows again; those that fit now are written and leave the list. */
NEAP_CHECK int apply_retry_parked(struct devdb *d, struct applied *out, struct err *e);

#endif
