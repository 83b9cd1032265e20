/* Notices that another process may have written the database, its WAL or the secret. */
#ifndef NEAP_DEVICE_SHELL_WATCH_H
#define NEAP_DEVICE_SHELL_WATCH_H

#include "device/shell/paths.h"

enum watch_seen {
	WATCH_DB = 1,
	WATCH_SECRET = 2,
};

/* Returns a descriptor to poll, or -1: then only the periodic look at data_version is left. */
int watch_open(const struct paths *p);
/* Reads all there is: a set of enum watch_seen. A lost event counts as everything. */
unsigned watch_read(int fd, const struct paths *p);

#endif
