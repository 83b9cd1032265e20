/*
 * One neapd a set-up: a lock on run_dir/neapd.lock, released by the system when
 * the process ends. It keeps a second start from taking the store's term, which
 * would end the neapd that serves; neapds on other hosts are fenced by the term alone.
 */
#ifndef NEAP_BACKEND_SHELL_RUNLOCK_H
#define NEAP_BACKEND_SHELL_RUNLOCK_H

#include "backend/auth/config.h"

/* *fd holds the lock until it is closed. Makes run_dir. NE_LOCKED, NE_DISK, NE_USAGE (path too
 * long). */
NEAP_CHECK int runlock_take(const struct config *c, int *fd, struct err *e);

#endif
