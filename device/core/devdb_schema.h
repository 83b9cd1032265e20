/* Looking at a tracked table anew: what the app's ALTER TABLE and migrations did to it (J5). */
#ifndef NEAP_DEVICE_CORE_DEVDB_SCHEMA_H
#define NEAP_DEVICE_CORE_DEVDB_SCHEMA_H

#include "device/core/devdb.h"

bool devdb_name_eq(struct slice a, struct slice b); /* ASCII case folded */

/*
 * Compares table `t` and its triggers with what was stored when it was last looked at, and brings
 * capture in order, in the transaction of the caller:
 *
 * - ADD, DROP, RENAME COLUMN, DROP INDEX: marks follow their columns; what was written to
 *   an added column is marked, and so are all values of a renamed one, which is a new one to all
 *   others, with stamp 0 where no mark was pending.
 * - RENAME TO, or a key's column renamed: the same rows under another name: all are marked as
 *   inserts, with stamp 0 where no mark was pending.
 * - The triggers are missing or others (create, copy, drop, rename; DROP TRIGGER): they are
 *   installed again, and the table is to be compared whole with the server (coverage.h). So it
 *   is after CREATE UNIQUE INDEX: REPLACE may have removed rows through it that nothing saw.
 * - The app made a trigger that comes before ours: ours are made again, and come first. If it has
 *   RAISE, which may have hidden rows from ours, the table is to be compared.
 * - The key is another one: another table; it is tracked anew.
 * - The table is gone, or cannot be synced any more: t->capture_ok is false until it is back, and
 *   then it is compared. An append table whose rows go by numbers given at capture is so by
 *   asking the server which keys it has (lost.h).
 */
NEAP_CHECK int devdb_check_table(struct devdb *d, struct tracked *t, struct err *e);

/* Appends the DEFAULT of a column as SQL, NULL where there is none. */
NEAP_CHECK int column_default_sql(struct db *db, struct slice table, struct slice col,
				  struct buf *out, struct err *e);

#endif
