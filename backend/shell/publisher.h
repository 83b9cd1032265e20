/*
 * Seals what the ingest returned and publishes it, strictly in its order
 * (P6: broadcast, head, acknowledgement). While the broker is away everything
 * is dropped: devices ask again, nothing here is worth a queue.
 */
#ifndef NEAP_BACKEND_SHELL_PUBLISHER_H
#define NEAP_BACKEND_SHELL_PUBLISHER_H

#include "backend/auth/auth.h"
#include "backend/core/ingest.h"
#include "backend/shell/link.h"
#include "backend/shell/stats.h"

struct publisher;

NEAP_CHECK int publisher_start(struct publisher **out, struct auth *auth, struct serve_stats *stats,
			       struct err *e);
/* Publishes what it was given, then ends. NULL is allowed. */
void publisher_stop(struct publisher *p);
void publisher_free(struct publisher *p);

/* The link to publish on; NULL: none. To be called before the first batch, and before link_stop. */
void publisher_use(struct publisher *p, struct link *l);
/* From the next message on sealed under new subkeys (K3). */
void publisher_reconnected(struct publisher *p);

/* Takes the content of `o`, leaving it empty; waits while 8 batches are queued. */
void publisher_give(struct publisher *p, struct out_messages *o);
/* Answers "busy" to a device. Never waits; forgotten when too many wait for it already. */
void publisher_busy(struct publisher *p, const struct id *user, const struct id *device);

#endif
