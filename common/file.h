/*
 * Small files written so that a power cut leaves the old content or the new,
 * and secret ones so that nobody else can read them, not even for a moment.
 */
#ifndef NEAP_COMMON_FILE_H
#define NEAP_COMMON_FILE_H

#include <sys/types.h>

#include "common/bytes.h"

enum file_mode {
	FILE_SECRET = 0600,
	FILE_PUBLIC = 0644,
};

/*
 * Writes a new file (O_EXCL: never through a link, never over another), durable when it returns.
 * NE_EXISTS, NE_NOT_FOUND (no such folder), NE_DISK; nothing is left behind on failure.
 */
NEAP_CHECK int file_create(const char *path, struct slice content, enum file_mode mode,
			   struct err *e);

/*
 * Replaces or creates a file: a temporary one beside it, fsync, rename, fsync of the folder.
 * NE_NOT_FOUND (no such folder), NE_DISK; the old content stands on failure.
 */
NEAP_CHECK int file_replace(const char *path, struct slice content, enum file_mode mode,
			    struct err *e);

/* Appends the whole content to `out`. NE_NOT_FOUND, NE_LIMIT (more than out->max), NE_DISK. */
NEAP_CHECK int file_read(const char *path, struct buf *out, struct err *e);

/*
 * The same for a secret: NE_USAGE if it is a symbolic link, not a regular file, another user's, or
 * open to group or others. Free `out` with secret_free().
 */
NEAP_CHECK int file_read_secret(const char *path, struct buf *out, struct err *e);

/* Only checks that: what file_read_secret() would refuse, for a file that another library reads. */
NEAP_CHECK int file_check_secret(const char *path, struct err *e);

/* Makes a folder of mode 0700; NE_EXISTS if there is something of that name. */
NEAP_CHECK int file_mkdir(const char *path, struct err *e);

/* A file that root just made goes to the owner of its folder; others' are so already. NE_DISK. */
NEAP_CHECK int file_follow_folder(const char *path, struct err *e);

/* Makes the name of `path` in its folder durable. NE_DISK. */
NEAP_CHECK int file_sync_folder(const char *path, struct err *e);

/* Overwrites the bytes, then frees them. */
void secret_free(struct buf *b);

#endif
