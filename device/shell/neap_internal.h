/*
 * What the files behind neap.h share: the handle, which thread runs whose loop, and the
 * rules that every call checks before anything else.
 */
#ifndef NEAP_DEVICE_SHELL_NEAP_INTERNAL_H
#define NEAP_DEVICE_SHELL_NEAP_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "device/include/neap.h"
#include "device/shell/agent.h"

enum api_mode { API_IDLE, API_THREAD, API_POLL };

/* A loop that the present thread runs; the innermost first. */
struct api_loop {
	struct api_loop *next;
	neap *n;
	bool calling; /* a callback of the app is being called */
};

struct api_resolver {
	char *table;
	neap_resolver_fn fn;
	void *ctx;
};

struct api_change {
	char *table; /* NULL: all */
	neap_change_fn fn;
	void *ctx;
};

struct neap {
	struct paths paths; /* fixed */
	pid_t pid;	    /* fixed: of the process that opened it */

	pthread_mutex_t mode_lock; /* never held in a callback, nor for a request */
	enum api_mode mode;
	unsigned syncs; /* calls under way that may run an engine of their own */
	struct agent *agent;
	struct node *node;
	pthread_t thread;     /* API_THREAD */
	struct api_loop here; /* API_POLL: in the list of the thread that began it */

	/* Changed under mode_lock, and only while no loop runs; the loop reads them without. */
	size_t n_change;
	struct api_change *change;
	uint64_t every_ms;
	neap_conflict_fn conflict;
	void *conflict_ctx;
	size_t n_resolver;
	struct api_resolver *resolver;

	pthread_mutex_t ended_lock;
	struct err ended; /* why a loop ended by itself; code NE_OK: it did not */
};

/*
 * To be asked first by every function: a handle, of this process, not from a callback (which would
 * wait for itself, or for one that waits for it). *here (may be NULL) is the loop of `n` if this
 * thread runs it (in poll mode), else NULL. NE_USAGE, told already.
 */
NEAP_CHECK int api_enter(const neap *n, const char *function, struct api_loop **here);
/* Before asking whichever loop has the database: NE_USAGE if it is this thread's, by another
 * handle. */
NEAP_CHECK int api_may_wait(const neap *n, struct err *e);
/* Ends every function: keeps `e` for neap_error() in this thread, returns the neap_code of `rc`. */
int api_done(const neap *n, int rc, const struct err *e);

/* A member of an answer; 0 if it has none. */
int64_t api_number(const json_t *o, const char *member);

void api_loop_push(struct api_loop *l, neap *n);
void api_loop_pop(struct api_loop *l);
/* Marks this thread's loop of `n` while a function of the app is called. */
void api_calling(const neap *n, bool calling);
/* What a node's loop tells `n`. */
struct node_owner api_owner(neap *n);
/* A call begins (1) or ends (−1) that may run an engine of its own. */
void api_count_syncs(neap *n, int more);
void api_changes_free(neap *n);
/* Adds what neap_on_conflict and neap_set_resolver want to hear of. */
void api_own_conflicts(neap *n, struct node_owner *out);
void api_conflicts_free(neap *n);

#endif
