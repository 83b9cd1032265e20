/* The files beside a database, and the lock that makes one engine per file. */
#ifndef NEAP_DEVICE_SHELL_PATHS_H
#define NEAP_DEVICE_SHELL_PATHS_H

#include <limits.h>

#include "common/error.h"

struct paths {
	char db[PATH_MAX]; /* canonical: two names of one file find the same lock */
	char dir[PATH_MAX];
	char name[NAME_MAX + 1]; /* of the database in `dir` */
	char secret[PATH_MAX];
	char lock[PATH_MAX];
	char sock[PATH_MAX];
};

/* NE_NOT_FOUND (quoting `db`), NE_USAGE (not a file, or a name too long). */
NEAP_CHECK int paths_of(const char *db, struct paths *out, struct err *e);

/*
 * Takes the engine's lock, waiting up to `wait_ms`. *fd is closed by lock_drop. NE_LOCKED names the
 * process that holds it; NE_DISK.
 */
NEAP_CHECK int lock_take(const struct paths *p, int wait_ms, int *fd, struct err *e);
void lock_drop(int fd);

#endif
