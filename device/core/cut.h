/*
 * Cutting pending changes into change sets (M3) and settling them once they
 * are acknowledged (M2).
 *
 * Pending rows are visited class by class in passes over the key space. A cut
 * covers, for each table, a range of keys and the marks in it with gen_lo <
 * gen ≤ gen_hi: a few numbers that are stored with the set's own number, so a
 * restarted engine still knows what an acknowledged set has carried. A mark
 * written again later has a higher generation and stays.
 */
#ifndef NEAP_DEVICE_CORE_CUT_H
#define NEAP_DEVICE_CORE_CUT_H

#include "device/core/devdb.h"

struct cut_limits {
	size_t rows;   /* ≤ LIMIT_ROWS */
	size_t cells;  /* ≤ LIMIT_CELLS */
	size_t bytes;  /* of values, roughly; one row is always taken */
	uint64_t skip; /* numbers that are left out before the set's */
	/*
	 * Only rows that were deleted, looked for once from the first key to the last since a cut
	 * of other rows or a restart; what is passed over stays to be cut.
	 */
	bool deletes;
};

/* A set that was cut: durable in neap_inflight before it is published. */
struct cut {
	uint64_t site, number, prev, cut;
	uint64_t flags; /* enum set_flags */
	size_t n_row;
	int64_t gen_hi;
	uint64_t captured; /* site in the identity of its append rows; 0: `site` */
	uint64_t seen;	   /* the newest seq that its writer may have known; 0 without merge rows */
	struct rows rows;  /* from the arena given */
	bool more;	   /* of deletes: none so far, and not all was looked at */
};

/* Where the passes over pending changes stand; in memory only. */
struct cutter;

/* While sets of an earlier run are in flight a new cutter cuts nothing: settle or restart first. */
NEAP_CHECK int cutter_new(struct cutter **out, struct devdb *d, struct err *e);
void cutter_free(struct cutter *c);
/* Forgets what is in flight: all that is not settled will be cut again. Deletes neap_inflight. */
NEAP_CHECK int cutter_restart(struct cutter *c, struct err *e);
/* A table that was held may be cut again: what is pending of it was there all the time. */
void cutter_wake(struct cutter *c);

/*
 * Cuts the next set, if anything is pending that is not in flight: *any tells. In one transaction,
 * durable (synchronous=FULL) on return: a number above every one given out before, the number
 * before it, `cut_id` and the ranges. Only tables with working capture are cut. `prev` is the
 * newest number known to be committed or in flight. On error nothing was given out.
 */
NEAP_CHECK int cutter_next(struct cutter *c, const struct cut_limits *limits, uint64_t cut_id,
			   struct arena *a, struct cut *out, bool *any, struct err *e);

/*
 * Settles the set `number` and those in flight below it (acks are cumulative): deletes the marks
 * they carried that were not written again, raises the floor above their stamps, moves append
 * tables' acknowledged number and meta's `acked_number`, forgets the sets. Call inside a
 * transaction. A number that is not in flight is ignored.
 */
NEAP_CHECK int cut_settle(struct devdb *d, uint64_t number, struct err *e);

/* The sets in flight according to neap_inflight, rising; up to `max`. */
struct cut_inflight {
	uint64_t number, cut, prev, site;
	int64_t gen_hi;
};
NEAP_CHECK int cut_list(struct devdb *d, struct cut_inflight *out, size_t max, size_t *n,
			struct err *e);

struct pending_stats {
	int64_t rows;
	/*
	 * Of the values to be sent, before packing: text and blobs count their length, other values
	 * 8. Exact up to some thousand rows or cells, above it the mean of the oldest and newest.
	 */
	int64_t bytes;
	bool bytes_estimated;
	int64_t oldest_ms; /* wall time of the oldest pending write; 0 none or unknown */
};
NEAP_CHECK int cut_pending(struct devdb *d, const struct tracked *t, struct pending_stats *out,
			   struct err *e);
/* True if anything is pending, in flight or not, or may be, as the server lost rows; cheap. */
NEAP_CHECK int cut_any_pending(struct devdb *d, bool *any, struct err *e);

#endif
