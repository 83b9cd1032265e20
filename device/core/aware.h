/*
 * What the app may have known of the server's changes when it wrote what is pending (J7). A set
 * says up to which seq; the server lists what it overwrites that is newer.
 *
 * That is the cursor at the cut, unless a change was applied while a later write of the same cell
 * or row was pending: that write was made without it. Then, until all that was pending at the time
 * is settled, it is the cursor before that change, for every set; if a table is pulled by itself,
 * that table's own, for sets with rows of it. A set may claim to have known less than its writer
 * did, never more. After a reset seqs are others, and nothing is lowered before the full pull has
 * ended.
 *
 * In neap_meta: aware_below (the cursor + 1; 0: that of now), aware_below:ID (the same of table ID
 * alone), aware_until (the last number that carries what was pending; 0: not all was cut yet),
 * aware_full (the cursor + 1 before the full pull under way; 0: not known).
 */
#ifndef NEAP_DEVICE_CORE_AWARE_H
#define NEAP_DEVICE_CORE_AWARE_H

#include "device/core/devdb.h"
#include "protocol/rows.h"

/* All in the caller's transaction. */

/* Up to which seq the app may have known what it overwrote, for a set of `rows` that is cut now. */
NEAP_CHECK int aware_of(struct devdb *d, const struct rows *rows, uint64_t *seq, struct err *e);
/* A change of another site was applied, the cursor has not moved yet, and a later write stood. */
NEAP_CHECK int aware_passed_over(struct devdb *d, bool full_pull, struct err *e);
/* Nothing is pending but what is in flight, and what of tables that are withheld (`waits`). */
NEAP_CHECK int aware_all_cut(struct devdb *d, struct err *e);
/* What is in flight will be cut anew. */
NEAP_CHECK int aware_recut(struct devdb *d, struct err *e);
/* The sets up to `number` were settled. */
NEAP_CHECK int aware_settled(struct devdb *d, uint64_t number, struct err *e);
/* A full pull begins at the cursor as it stands in neap_meta, or after a `reset`. */
NEAP_CHECK int aware_full_begins(struct devdb *d, bool reset, struct err *e);

#endif
