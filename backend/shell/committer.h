/*
 * The one thread that writes the data store: takes the opened frames that
 * wait, by turns among users, as one transaction (group commit) that is to take
 * no more than 90 ms, hands what came out
 * to the publisher, and leaves the write lock free for 10 ms in every 100.
 */
#ifndef NEAP_BACKEND_SHELL_COMMITTER_H
#define NEAP_BACKEND_SHELL_COMMITTER_H

#include "backend/core/ingest.h"
#include "backend/shell/publisher.h"
#include "backend/shell/queue.h"

struct committer_config {
	struct store *store;
	struct ingest *ingest;
	struct publisher *publisher;
	struct serve_stats *stats;
	/* Called once, from the committer's thread, when it cannot go on (another committer, a
	 * corrupt store). */
	void (*fatal)(void *ctx, const struct err *e);
	void *ctx;
};

struct committer;

NEAP_CHECK int committer_start(struct committer **out, const struct committer_config *c,
			       struct err *e);
/* Takes nothing more, finishes the transaction under way and what waits, and ends. NULL is allowed.
 */
void committer_stop(struct committer *c);
void committer_free(struct committer *c);

/*
 * Takes an opened frame; waits while the inbox is full, or a quarter of it its user's while others
 * wait. Freed and forgotten once the committer stops.
 */
void committer_give(struct committer *c, struct up_message *p);
/* The broker does not know our session: heads are published again. */
void committer_broker(struct committer *c);
void committer_tick(struct committer *c);

struct committer_look {
	size_t waiting, waiting_bytes;
	struct ingest_stats ingest; /* as of the last transaction */
	size_t tables_missing;	    /* tables that an operator's DDL took something from */
	char missing[200];	    /* of the first of them: what, and the next step */
	char trouble[200];	    /* what the store's last failure was, "" none since */
};
void committer_look(struct committer *c, struct committer_look *out);

#endif
