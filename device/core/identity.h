/*
 * Identities of append rows (J3, M5): (site at capture, generation, number).
 *
 * A row goes by its INTEGER PRIMARY KEY or by the number it got at capture:
 * two kinds of number, RANGE_KEYS and RANGE_NUMBERS of cut_internal.h. Of each
 * table and kind, `neap_identity(table_id, kind, hi, site, gen)` cuts the
 * numbers into segments: one up to and including `hi`, above the next lower
 * hi, was captured as (site, gen). Above the greatest hi: the site now with
 * neap_append.gen (keys) or gen + 1 (numbers). Entries stay while the table is
 * tracked, so that a row sent again, also after a lost or restored store, goes
 * under the identity it always had and is recognised.
 *
 * A (site, generation, number) names one row for ever: generations come from
 * the counter `append_gen` of neap_meta and are never used again.
 */
#ifndef NEAP_DEVICE_CORE_IDENTITY_H
#define NEAP_DEVICE_CORE_IDENTITY_H

#include "device/core/cut_internal.h"

struct identity {
	uint64_t site;
	int64_t gen;
	int64_t hi; /* numbers from the one asked for up to here have it */
};

/* All functions run in the caller's transaction, or read only. NE_DISK, NE_BUSY, NE_CORRUPT. */

/* The identity of number `n` (of numbered rows: their number above 0) of table `t`. */
NEAP_CHECK int identity_of(struct devdb *d, const struct tracked *t, enum range_kind kind,
			   int64_t n, struct identity *out, struct err *e);

/* A new generation for every append table's rows to come; before `append_gen` was ever taken: 1. */
NEAP_CHECK int identity_new_gen(struct devdb *d, int64_t *gen, struct err *e);

/*
 * Before d->site changes: all rows that are here were captured under it. Keys up to the greatest
 * one are below the high water from now on.
 */
NEAP_CHECK int identity_sign(struct devdb *d, struct err *e);

/*
 * The row of `key` goes by a new number from now on, whatever it went by before: the server has
 * that identity with other content, or refused the row under it. No set that carries it counts any
 * more. *there is false if the row is gone.
 */
NEAP_CHECK int identity_renumber(struct devdb *d, const struct tracked *t, const struct val *key,
				 bool *there, struct err *e);

/* `site` became another device's: rows captured under it and not acknowledged get new identities.
 */
NEAP_CHECK int identity_disown(struct devdb *d, uint64_t site, struct err *e);

#endif
