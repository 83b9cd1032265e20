/*
 * The loop: any number of nodes, one thread, one poll. `neap run`, `neap sync` and
 * libneap's thread are this.
 */
#ifndef NEAP_DEVICE_SHELL_AGENT_H
#define NEAP_DEVICE_SHELL_AGENT_H

#include "device/shell/node.h"

enum { AGENT_NODES = HTTP_EXTRA_MAX / NODE_FDS - 1 };

struct agent;

NEAP_CHECK int agent_new(struct agent **out, struct err *e);
void agent_free(struct agent *a); /* closes its nodes; NULL allowed */
/* Adds a database; *node (may be NULL) belongs to the agent. NE_LIMIT, or node_open's errors. */
NEAP_CHECK int agent_add(struct agent *a, const char *db, const struct node_owner *owner,
			 struct node **node, struct err *e);
/*
 * Runs until agent_stop, or until `until_ms` (mono; UINT64_MAX never): NE_TIMEOUT then. An error is
 * one of the loop itself; what is wrong with a database is in its status.
 */
NEAP_CHECK int agent_run(struct agent *a, uint64_t until_ms, struct err *e);
/* Ends agent_run; from any thread, and from a signal handler. */
void agent_stop(struct agent *a);

/*
 * Syncs one database: through its agent if one runs, else with an engine in this process.
 * `timeout_ms` 0: give up by itself when nothing moves. `progress` (may be NULL) sees `status`
 * objects. The last status comes in *status (may be NULL; NULL stays where there was none).
 */
NEAP_CHECK int agent_sync(const char *db, uint64_t timeout_ms,
			  void (*progress)(void *ctx, const json_t *status), void *ctx,
			  json_t **status, struct err *e);

#endif
