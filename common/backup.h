/*
 * A copy of a SQLite database that others write meanwhile: SQLite's online
 * backup, in small steps, from one read snapshot.
 */
#ifndef NEAP_COMMON_BACKUP_H
#define NEAP_COMMON_BACKUP_H

#include "common/error.h"

/*
 * Copies the database `from` as it is now to the new file `to` (0600), durable on return. Writers
 * of `from`, in WAL mode, wait for nothing; its WAL grows until the copy is done. `progress` (may
 * be NULL) is called after each step. The copy is made as `<to>.partial` and gets its name when it
 * is complete. NE_EXISTS: `to` or the partial file is there already. NE_NOT_FOUND, NE_DISK,
 * NE_CORRUPT, NE_BUSY, NE_MEMORY; nothing is left behind then.
 */
NEAP_CHECK int backup_copy(const char *from, const char *to,
			   void (*progress)(void *ctx, int pages_done, int pages), void *ctx,
			   struct err *e);

#endif
