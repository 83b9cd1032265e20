/*
 * Which tables hold the server's rows in the shape they have now (J5). A table that is tracked
 * anew, or has a column that it had not, does not: its rows are pulled from 0, beside the stream,
 * while the others go on (engine_backfill.c). So is a table whose capture was lost, which is
 * compared.
 *
 * neap_meta's `pulled` has the ids of the shapes that a pull from 0 covered or has begun to cover.
 * neap_catchup(table_id, mode, known, begun, cursor) has the tables that are to be pulled whether
 * covered or not, and the ones whose pull has begun:
 * - known: of a table that lost its capture: rows up to that seq were here. -1: positions of that
 *   time mean nothing any more.
 * - begun: the pull that covers it is under way: its own, or a full one.
 * - cursor: how far its own has come.
 */
#ifndef NEAP_DEVICE_CORE_COVERAGE_H
#define NEAP_DEVICE_CORE_COVERAGE_H

#include "device/core/devdb.h"

enum catchup_mode {
	CATCHUP_PULL = 1,    /* to be pulled again */
	CATCHUP_COMPARE = 2, /* capture was lost: the device wins over what it knew */
};

/* Sets waits, comparing and known of every table: after each change of what is above. */
NEAP_CHECK int coverage_look(struct devdb *d, struct err *e);

/* Inside the caller's transaction: */

/* A full pull begins: it covers every table that can take changes. */
NEAP_CHECK int coverage_all(struct devdb *d, struct err *e);
NEAP_CHECK int coverage_has(struct devdb *d, struct shape_id id, bool *yes, struct err *e);
/* The pull of `t` alone begins. */
NEAP_CHECK int coverage_add(struct devdb *d, const struct tracked *t, struct err *e);
/* Tables that are gone or cannot be written miss changes: they are not covered any more. */
NEAP_CHECK int coverage_prune(struct devdb *d, struct err *e);
/* A table covered as `was` is so as `now`, which adds nothing that others may have written. */
NEAP_CHECK int coverage_follow(struct devdb *d, struct shape_id was, struct shape_id now,
			       struct err *e);

/*
 * Notes that table `id`, which has been known as `was`, is to be pulled whatever its shape. Nothing
 * before the first sync, which pulls everything.
 */
NEAP_CHECK int coverage_want(struct devdb *d, int64_t id, struct shape_id was,
			     enum catchup_mode mode, struct err *e);

#endif
