/*
 * One database kept in sync: its engine, its connection, its files. Driven by
 * an agent's loop (agent.h); nothing in it blocks on the network.
 */
#ifndef NEAP_DEVICE_SHELL_NODE_H
#define NEAP_DEVICE_SHELL_NODE_H

#include "device/shell/control.h"
#include "device/shell/http.h"
#include "device/shell/ops.h"

enum {
	NODE_FDS = CONTROL_FDS + 2,
	NODE_SYNCS = 16, /* at a time; one more is NE_BUSY */
	NODE_EVERY_MIN_MS = 1000,
	NODE_EVERY_MAX_MS = 7 * 24 * 3600 * 1000, /* keys change at most every 30 days */
};

struct node;

/* What a node tells its owner. Every function may be NULL; called from the loop. */
struct node_owner {
	void *ctx;
	/* There are others in the loop: no step waits long for somebody else's lock. */
	bool shares_loop;
	/*
	 * 0, or: the link is up only for a sync every so often, and for whoever asks for one. See
	 * NODE_EVERY_MIN_MS.
	 */
	uint64_t every_ms;
	/* One line for a log: connected, offline and why, … Never a secret. */
	void (*say)(void *ctx, const char *db, const char *text);
	/* The file is gone or another one: the agent has closed it. See agent_run. */
	void (*ended)(void *ctx, const char *db, const char *text);
	/* Rows of `table` were changed by others. */
	void (*changed)(void *ctx, const char *db, const char *table);
	/* A pending write lost: see engine.h, as for what a resolver may do. */
	void (*conflict)(void *ctx, const char *db, const struct engine_conflict *c);
	enum resolution (*resolve)(void *ctx, const char *db, const struct engine_conflict *c,
				   struct val *write);
};

/* Progress and the end of a sync. `code` is −1 while it runs; `status` as of `neap status --json`.
 */
typedef void (*node_sync_fn)(void *ctx, int code, const char *text, const json_t *status);

/*
 * Takes the lock, reads the secret, opens the engine and the control socket. `http` is the loop's
 * and outlives the node. NE_NOT_FOUND, NE_LOGIN, NE_LOCKED, NE_DISK, NE_CORRUPT, …
 */
NEAP_CHECK int node_open(struct node **out, const char *db, struct http *http,
			 const struct node_owner *owner, struct err *e);
void node_close(struct node *n); /* NULL allowed; open syncs end without a word */

size_t node_fds(struct node *n, struct pollfd *out); /* at most NODE_FDS */
/* Does all that can be done now. */
void node_step(struct node *n);

/*
 * NE_NOT_FOUND when the path does not lead to the file any more that was opened: another one was
 * put in its place, or none. What the app writes from now on would not be seen.
 */
NEAP_CHECK int node_check_file(const struct node *n, struct err *e);
/* Tells the owner that it ends, before node_close. True if it wants to know. */
bool node_tell_end(struct node *n, const char *text);
uint64_t node_deadline_ms(const struct node *n); /* mono: call node_step then at the latest */

/*
 * Asks for a sync: `fn` is called about once a second and once at the end. A `patient` one waits
 * through failures of the network for ever, another one gives up (NE_UNREACHABLE, NE_TIMEOUT).
 */
NEAP_CHECK int node_sync(struct node *n, bool patient, node_sync_fn fn, void *ctx, struct err *e);

/*
 * Asks for a verification, one at a time (NE_BUSY): {"op": "verify", "tables": [T, …], "repair":
 * bool, "patient": bool}, all but op may be missing. `fn` is called as for a sync, its `status` has
 * a member "verify" as of ops.h. NE_NOT_FOUND for a table. It ends with NE_ROWS if differences
 * remain, or a table that was named could not be compared.
 */
NEAP_CHECK int node_verify(struct node *n, const json_t *request, node_sync_fn fn, void *ctx,
			   struct err *e);

/* Forgets the syncs and verifications of `ctx` without calling back. */
void node_sync_cancel(struct node *n, const void *ctx);

/* Carries out a request of ops.h (any but sync) for whoever owns the loop; *out is the answer. */
NEAP_CHECK int node_ask(struct node *n, const json_t *request, json_t **out, struct err *e);
/* A snapshot for whoever owns the loop. */
NEAP_CHECK int node_status(struct node *n, json_t **out, struct err *e);

#endif
