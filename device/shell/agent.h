/*
 * The loop: any number of nodes, one thread, one poll. `neap run`, `neap sync` and
 * libneap's thread are this; an app's own loop drives it by agent_fd and agent_step.
 */
#ifndef NEAP_DEVICE_SHELL_AGENT_H
#define NEAP_DEVICE_SHELL_AGENT_H

#include "device/shell/node.h"

enum { AGENT_NODES = 22, AGENT_FDS = 2 + AGENT_NODES * NODE_FDS };

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
/* Closes all nodes, so that other engines may have the files. */
void agent_clear(struct agent *a);

/*
 * For a loop of the caller's own: *fd is readable whenever agent_step has something to do. It stays
 * the same and belongs to the agent.
 */
NEAP_CHECK int agent_fd(struct agent *a, int *fd, struct err *e);
/* Does all that can be done without waiting. *wait_ms: when to call it again at the latest. */
NEAP_CHECK int agent_step(struct agent *a, int *wait_ms, struct err *e);
/* Makes the descriptor readable once: something was asked of a node outside of agent_step. */
void agent_wake(struct agent *a);

/*
 * What a sync tells: `progress` (may be NULL) sees `status` objects; the last one comes in *status
 * (may be NULL; NULL stays where there was none).
 */
struct agent_progress {
	void (*fn)(void *ctx, const json_t *status);
	void *ctx;
	json_t **status;
};

/*
 * Syncs one database: through its agent if one runs, else with an engine in this thread, which
 * tells `owner`. `timeout_ms` 0: give up by itself when nothing moves.
 */
NEAP_CHECK int agent_sync(const char *db, uint64_t timeout_ms, const struct node_owner *owner,
			  const struct agent_progress *progress, struct err *e);
/* The same for a verification: a request of node_verify. */
NEAP_CHECK int agent_verify(const char *db, const json_t *request, uint64_t timeout_ms,
			    const struct node_owner *owner, const struct agent_progress *progress,
			    struct err *e);
/* The same for a node of `a`, by the thread that drives it. */
NEAP_CHECK int agent_verify_node(struct agent *a, struct node *node, const json_t *request,
				 uint64_t timeout_ms, const struct agent_progress *progress,
				 struct err *e);
NEAP_CHECK int agent_sync_node(struct agent *a, struct node *node, uint64_t timeout_ms,
			       const struct agent_progress *progress, struct err *e);

#endif
