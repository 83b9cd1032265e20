/*
 * Two threads that open what devices sent and give the frames to the
 * committer. A device always meets the same thread and queue: its messages
 * stay in order.
 */
#ifndef NEAP_BACKEND_SHELL_OPENERS_H
#define NEAP_BACKEND_SHELL_OPENERS_H

#include "backend/shell/committer.h"
#include "backend/shell/queue.h"

struct openers;

NEAP_CHECK int openers_start(struct openers **out, struct auth *auth, struct committer *c,
			     struct publisher *p, struct serve_stats *stats, struct err *e);
/* Opens what waits, then ends the threads. NULL is allowed. */
void openers_stop(struct openers *o);
void openers_free(struct openers *o);

/* Takes a message off the broker link; a full queue answers busy and drops it. Never waits. */
void openers_take(struct openers *o, struct slice topic, struct slice payload, bool retained);
void openers_look(struct openers *o, struct queue_depth *out);

#endif
