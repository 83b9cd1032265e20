/* What the files of the checks give each other. */
#ifndef NEAP_SIM_CHECK_INTERNAL_H
#define NEAP_SIM_CHECK_INTERNAL_H

#include "tests/sim/sim.h"

/* check.c */
/* One row as text that is equal only for equal types and bits. */
void check_put_row(struct buf *out, sqlite3_stmt *s);
/* Fails with the first lines in which two texts of sorted rows differ. Terminates both. */
void check_fail_difference(struct world *w, const char *what, struct buf *a, const char *who,
			   struct buf *b);

/* check_append.c: every row that an app appended is there once, as written. */
void check_append_table(struct world *w, sqlite3 *store, unsigned table);

/* check_conflicts.c */
void check_conflicts(struct world *w, sqlite3 *store, struct sim_device *d);

#endif
