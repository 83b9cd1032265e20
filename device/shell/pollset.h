/*
 * Many descriptors behind one: what an app's own loop watches instead of a set that
 * changes with every connection.
 */
#ifndef NEAP_DEVICE_SHELL_POLLSET_H
#define NEAP_DEVICE_SHELL_POLLSET_H

#include <poll.h>
#include <stddef.h>

#include "common/error.h"

struct pollset;

NEAP_CHECK int pollset_new(struct pollset **out, struct err *e);
void pollset_free(struct pollset *p); /* NULL allowed; leaves the descriptors watched alone */
/* Readable while one of those watched is ready; the same for the life of `p`. */
int pollset_fd(const struct pollset *p);
/* Watches exactly these (POLLIN, POLLOUT) from now on. On an error the set is as before. */
NEAP_CHECK int pollset_watch(struct pollset *p, const struct pollfd *fds, size_t n, struct err *e);

#endif
