/* Who runs the loop: a thread of ours, the app's own loop, or a sync. */
#include <signal.h>
#include <string.h>

#include "device/shell/neap_internal.h"

static void keep_ended(neap *n, const struct err *e)
{
	pthread_mutex_lock(&n->ended_lock);
	n->ended = *e;
	pthread_mutex_unlock(&n->ended_lock);
}

static bool has_ended(neap *n)
{
	pthread_mutex_lock(&n->ended_lock);
	bool ended = n->ended.code != NE_OK;
	pthread_mutex_unlock(&n->ended_lock);
	return ended;
}

static void *run(void *ctx)
{
	neap *n = ctx;
	struct api_loop here;
	struct err e = {0};

	api_loop_push(&here, n);
	/* What goes wrong with database or network is in the status, and is tried again. */
	int rc = agent_run(n->agent, UINT64_MAX, &e);
	if (rc) {
		e.code = rc;
		agent_clear(n->agent);
		keep_ended(n, &e);
	}
	api_loop_pop(&here);
	return NULL;
}

/* The rest are called with mode_lock held. */

static int open_agent(neap *n, struct err *e)
{
	struct node_owner owner = api_owner(n);
	int rc = agent_new(&n->agent, e);

	owner.every_ms = n->every_ms;

	keep_ended(n, &(struct err){0});
	if (!rc)
		rc = agent_add(n->agent, n->paths.db, &owner, &n->node, e);
	return rc;
}

static void drop_agent(neap *n)
{
	agent_free(n->agent);
	n->agent = NULL;
	n->node = NULL;
	n->mode = API_IDLE;
}

static void end_thread(neap *n)
{
	agent_stop(n->agent);
	pthread_join(n->thread, NULL);
	drop_agent(n);
}

/* Signals are the app's: its handlers run in its own threads. */
static int start_thread(neap *n, struct err *e)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = open_agent(n, e);
	if (!rc && pthread_create(&n->thread, NULL, run, n) != 0)
		rc = err_set(e, NE_INTERNAL, "no thread could be started");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		drop_agent(n);
	else
		n->mode = API_THREAD;
	return rc;
}

static int begin_poll(neap *n, int *fd, struct err *e)
{
	int rc = open_agent(n, e);

	if (!rc)
		rc = agent_fd(n->agent, fd, e);
	if (rc) {
		drop_agent(n);
		return rc;
	}
	api_loop_push(&n->here, n);
	n->mode = API_POLL;
	return NE_OK;
}

int neap_every(neap *n, int64_t every_ms)
{
	struct err e = {0};
	int rc = NE_OK;

	if (api_enter(n, "neap_every", NULL))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	if (n->mode != API_IDLE || n->syncs > 0)
		rc = err_set(&e, NE_USAGE,
			     "neap_every: not while it runs or syncs; neap_stop first");
	else if (every_ms && (every_ms < NODE_EVERY_MIN_MS || every_ms > NODE_EVERY_MAX_MS))
		rc = err_set(&e, NE_USAGE, "neap_every: %lld ms is neither 0 nor 1 s to 7 days",
			     (long long)every_ms);
	else
		n->every_ms = (uint64_t)every_ms;
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}

int neap_start(neap *n)
{
	struct err e = {0};
	int rc = NE_OK;

	if (api_enter(n, "neap_start", NULL))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	if (n->mode == API_THREAD && has_ended(n))
		end_thread(n);
	if (n->mode == API_POLL)
		rc = err_set(&e, NE_USAGE,
			     "neap_start: neap_poll_begin is in effect; neap_stop first");
	else if (n->mode == API_IDLE)
		rc = start_thread(n, &e);
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}

int neap_poll_begin(neap *n, int *fd)
{
	struct err e = {0};
	int rc;

	if (api_enter(n, "neap_poll_begin", NULL))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	if (!fd)
		rc = err_set(&e, NE_USAGE, "neap_poll_begin: there is no place for the descriptor");
	else if (n->mode != API_IDLE)
		rc = err_set(&e, NE_USAGE, "neap_poll_begin: it runs already; neap_stop first");
	else
		rc = begin_poll(n, fd, &e);
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}

/* In poll mode nobody else touches agent and node: no lock, so that callbacks run without one. */
int neap_dispatch(neap *n, int *wait_ms)
{
	struct api_loop *here;
	struct err e = {0};
	int wait = 0, rc;

	if (api_enter(n, "neap_dispatch", &here))
		return NEAP_USAGE;
	if (!here)
		rc = err_set(&e, NE_USAGE,
			     "neap_dispatch: this thread has not called neap_poll_begin");
	else if (n->ended.code)
		rc = err_set(&e, n->ended.code, "%s", n->ended.text);
	else if ((rc = agent_step(n->agent, &wait, &e)) != NE_OK) {
		e.code = rc;
		agent_clear(n->agent);
		n->node = NULL;
		keep_ended(n, &e);
	}
	if (wait_ms && !rc)
		*wait_ms = wait;
	return api_done(n, rc, &e);
}

int neap_stop(neap *n)
{
	struct api_loop *here;
	struct err e = {0};
	int rc = NE_OK;

	if (api_enter(n, "neap_stop", &here))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	if (n->mode == API_THREAD) {
		end_thread(n);
	} else if (here) {
		api_loop_pop(&n->here);
		drop_agent(n);
	} else if (n->mode == API_POLL) {
		rc = err_set(&e, NE_USAGE,
			     "neap_stop: the thread that called neap_poll_begin must call it");
	}
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}

void api_count_syncs(neap *n, int more)
{
	pthread_mutex_lock(&n->mode_lock);
	n->syncs = (unsigned)((int)n->syncs + more);
	pthread_mutex_unlock(&n->mode_lock);
}

/* By whichever engine has the database; an own one, for the time, if none has. */
static int sync_anywhere(neap *n, unsigned timeout_ms, struct err *e)
{
	const struct node_owner owner = api_owner(n);
	struct api_loop here;

	TRY(api_may_wait(n, e));
	api_count_syncs(n, 1);
	api_loop_push(&here, n);
	int rc = agent_sync(n->paths.db, timeout_ms, &owner, NULL, e);
	api_loop_pop(&here);
	api_count_syncs(n, -1);
	return rc;
}

int neap_sync(neap *n, unsigned timeout_ms)
{
	struct api_loop *here;
	struct err e = {0};
	int rc;

	if (api_enter(n, "neap_sync", &here))
		return NEAP_USAGE;
	if (!here)
		rc = sync_anywhere(n, timeout_ms, &e);
	else if (n->node)
		rc = agent_sync_node(n->agent, n->node, timeout_ms, NULL, &e);
	else
		rc = err_set(&e, n->ended.code, "%s", n->ended.text);
	return api_done(n, rc, &e);
}
