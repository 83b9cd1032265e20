/*
 * Rows to be sent again (J2). A backlog of several sets is consistent only at its end: a row that
 * takes a UNIQUE value may go up before the row that gives it up, and the server refuses it. Such a
 * row stays pending under a new stamp, and goes up with all others of its kind once nothing of the
 * table is in flight; a swap is whole then. It is refused for good when a round of sending them
 * again got none accepted.
 */
#ifndef NEAP_DEVICE_CORE_AGAIN_H
#define NEAP_DEVICE_CORE_AGAIN_H

#include "device/core/devdb.h"

/* Set `number` does not end the backlog. In the caller's transaction, as all of these. */
NEAP_CHECK int again_partial(struct devdb *d, uint64_t number, struct err *e);

/*
 * The server refused what is pending of `key`. *again: all its marks were written anew, and it is
 * not to be taken back; else it is refused for good.
 */
NEAP_CHECK int again_refused(struct devdb *d, const struct tracked *t, const struct val *key,
			     bool *again, struct err *e);

/* Whether rows of `t` are to be sent again, and must wait for sets that carry others of it. */
NEAP_CHECK int again_waits(struct devdb *d, const struct tracked *t, bool *yes, struct err *e);
/*
 * A pass over `t` begins, with nothing of it in flight. *round is that of the pass before, and
 * becomes this one's: 0 nothing is sent again. What was accepted is forgotten.
 */
NEAP_CHECK int again_pass(struct devdb *d, const struct tracked *t, int64_t *round, struct err *e);

#endif
