/*
 * Local retention of append tables (`keep` by age, rows and bytes): rows are deleted once the
 * server has them and they are too old or too many, never before.
 *
 * There is no time in a row. What counts is when it was acknowledged: neap_acked holds, for each
 * table, runs of rows in the order they were acknowledged, with the first and last time and, where
 * a size is limited, what they hold. A run spans at most a 64th of what is kept, so a row stays at
 * most that much longer. Rows are found by key where the key is their number, else by the number
 * they were sent under, which stays in the number table as −n while the row does. So a step costs
 * what is newly acknowledged and what is deleted, whatever the table holds.
 *
 * Our connection runs no triggers: capture does not see these deletes, nor do the app's own
 * triggers or foreign keys. The row with the greatest key stays, or SQLite would give keys anew.
 */
#ifndef NEAP_DEVICE_CORE_KEEP_H
#define NEAP_DEVICE_CORE_KEEP_H

#include "device/core/devdb.h"

/* The server's time. Not known, nothing is deleted by age. */
struct keep_clock {
	bool known;
	int64_t ms;
};

struct kept {
	bool more;	/* a step was done, and there may be another */
	int64_t due_ms; /* the server's time at which the next age is reached; 0 none */
	size_t deleted;
};

/*
 * One small step over all tables, in transactions of its own that each write a few hundred rows at
 * most. Errors: NE_BUSY, NE_DISK, NE_CORRUPT, NE_MEMORY; what was done is committed whole.
 */
NEAP_CHECK int keep_step(struct devdb *d, struct keep_clock now, struct kept *out, struct err *e);

/*
 * The other bound: of a table that says drop_oldest and has more pending than its bound, the oldest
 * rows that were never cut are deleted, down to a sixteenth below it, and counted in neap_policy at
 * `wall_ms`. One small step; the next one is due at *due_ms, mono (UINT64_MAX: after the next
 * write). What is pending is counted as it comes, and anew before anything is deleted, at most
 * every 10 s.
 */
NEAP_CHECK int keep_drop_pending(struct devdb *d, int64_t wall_ms, uint64_t mono_ms,
				 uint64_t *due_ms, struct err *e);

/* Forgets what was acknowledged when, in the caller's transaction: nothing is deleted any more. */
NEAP_CHECK int keep_forget(struct devdb *d, const struct tracked *t, struct err *e);

#endif
