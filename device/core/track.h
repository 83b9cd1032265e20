/* Which tables are synced, and the capture triggers in them. */
#ifndef NEAP_DEVICE_CORE_TRACK_H
#define NEAP_DEVICE_CORE_TRACK_H

#include "device/core/devdb.h"

struct track_options {
	bool append;
	bool uncompressed;		/* secrets: see shape.h */
	enum shape_direction direction; /* append tables are always up */
	int priority;			/* 0 … 9; default 5 for merge, 7 for append */
	struct policy policy;
};

/*
 * Tracks an existing table: reads its shape from the catalogue, installs capture, and marks the
 * rows that are there as inserts with stamp 0 (append: takes them as pending), all in one
 * transaction. Tracking it again changes options and reinstalls capture. Errors: NE_NOT_FOUND (no
 * such table, or it is a view, or has no declared primary key: the sentence says how to add one),
 * NE_LIMIT (columns, tables), NE_USAGE (a name Neap keeps for itself; a UNIQUE
 * index that hides from triggers what REPLACE removes; tracked as the other kind, append or merge).
 */
NEAP_CHECK int track_table(struct devdb *d, const char *table, const struct track_options *o,
			   struct err *e);
/*
 * The app replaced the table of `t` by one with another key, `now`: tracks it anew with the same
 * options, and makes `t` that. In the caller's transaction. As track_table.
 */
NEAP_CHECK int track_replaced(struct devdb *d, struct tracked *t, const struct shape *now,
			      struct err *e);
/* Removes capture, marks and the entry; the app's rows stay. NE_NOT_FOUND. */
NEAP_CHECK int untrack_table(struct devdb *d, const char *table, struct err *e);

/* The shape of a table of the app, from SQLite's catalogue. Memory from `a`. */
NEAP_CHECK int track_read_shape(struct db *db, const char *table, const struct track_options *o,
				struct arena *a, struct shape *out, struct err *e);

#endif
