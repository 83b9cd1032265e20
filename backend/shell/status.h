/*
 * `neapd status`: a Unix socket in run_dir that answers every connection of
 * this user (or root) with one JSON object and closes.
 */
#ifndef NEAP_BACKEND_SHELL_STATUS_H
#define NEAP_BACKEND_SHELL_STATUS_H

#include "backend/auth/config.h"

/*
 * Asks the running neapd; appends its JSON. NE_UNREACHABLE: none runs, or it does not answer within
 * two seconds.
 */
NEAP_CHECK int serve_status(const struct config *c, struct buf *json, struct err *e);

/* A listening socket; *fd is closed by the caller. NE_DISK, NE_USAGE (the path is too long). */
NEAP_CHECK int status_listen(const struct config *c, int *fd, struct err *e);
/* Answers one connection if there is one, without waiting for its reader. */
void status_answer(int fd, struct slice json);

#endif
