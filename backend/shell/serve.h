/*
 * The daemon: login server, broker link, openers, committer, publisher, put
 * together and taken apart in order.
 *
 *   Paho's thread ─▶ queue (per user) ─▶ openers ─▶ committer ─▶ publisher ─▶ Paho's thread
 */
#ifndef NEAP_BACKEND_SHELL_SERVE_H
#define NEAP_BACKEND_SHELL_SERVE_H

#include "backend/auth/config.h"

/*
 * Runs until SIGTERM or SIGINT (NE_OK). The broker may be away at any time, also at the start.
 * Errors: whatever kept it from starting; NE_LOCKED when another neapd took the store; NE_CORRUPT.
 */
NEAP_CHECK int serve_run(const struct config *c, struct err *e);

#endif
