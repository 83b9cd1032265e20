#include "device/shell/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "device/shell/clock.h"
#include "device/shell/pollset.h"

enum {
	WAIT_MAX_MS = 60 * 1000,
	/* An engine holds the file and has no socket: it is starting, or a short command. */
	STARTING_MAX_MS = 10 * 1000,
};

struct agent {
	struct http *http;
	int stop;
	struct pollset *set; /* of all descriptors, once someone asked for one */
	size_t n;
	struct node *node[AGENT_NODES];
};

int agent_new(struct agent **out, struct err *e)
{
	struct agent *a = calloc(1, sizeof *a);

	if (!a)
		return err_set(e, NE_MEMORY, "out of memory");
	a->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = a->stop < 0 ? err_set(e, NE_INTERNAL, "eventfd: %s", strerror(errno))
			     : http_new(&a->http, e);
	if (rc) {
		agent_free(a);
		return rc;
	}
	*out = a;
	return NE_OK;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	agent_clear(a);
	pollset_free(a->set);
	http_free(a->http);
	if (a->stop >= 0)
		close(a->stop);
	free(a);
}

void agent_clear(struct agent *a)
{
	while (a->n > 0)
		node_close(a->node[--a->n]);
}

int agent_add(struct agent *a, const char *db, const struct node_owner *owner, struct node **node,
	      struct err *e)
{
	if (a->n == AGENT_NODES)
		return err_set(e, NE_LIMIT, "one agent takes %d databases; start another for '%s'",
			       (int)AGENT_NODES, db);
	TRY(node_open(&a->node[a->n], db, a->http, owner, e));
	if (node)
		*node = a->node[a->n];
	a->n++;
	return NE_OK;
}

void agent_stop(struct agent *a)
{
	const uint64_t one = 1;

	(void)!write(a->stop, &one, sizeof one);
}

void agent_wake(struct agent *a)
{
	agent_stop(a); /* which agent_step forgets */
}

static bool stopped(const struct agent *a)
{
	uint64_t count;

	return read(a->stop, &count, sizeof count) > 0;
}

static int wait_ms(const struct agent *a, uint64_t until_ms)
{
	uint64_t at = http_deadline_ms(a->http), now = mono_ms();

	if (until_ms < at)
		at = until_ms;
	for (size_t i = 0; i < a->n; i++) {
		uint64_t d = node_deadline_ms(a->node[i]);
		if (d < at)
			at = d;
	}
	if (at <= now)
		return 0;
	return at - now < WAIT_MAX_MS ? (int)(at - now) : WAIT_MAX_MS;
}

static size_t descriptors(const struct agent *a, struct pollfd out[static AGENT_FDS])
{
	size_t n = 0;

	out[n++] = (struct pollfd){.fd = a->stop, .events = POLLIN};
	out[n++] = (struct pollfd){.fd = http_fd(a->http), .events = POLLIN};
	for (size_t i = 0; i < a->n; i++)
		n += node_fds(a->node[i], out + n);
	return n;
}

/* Goes on without a database whose file is not the one it was; false: its owner has no use for
 * that.
 */
static bool drop(struct agent *a, size_t i, const struct err *e)
{
	struct node *n = a->node[i];

	if (!node_tell_end(n, e->text))
		return false;
	a->n--;
	memmove(&a->node[i], &a->node[i + 1], (a->n - i) * sizeof a->node[0]);
	node_close(n);
	return true;
}

static int step_all(struct agent *a, struct err *e)
{
	http_step(a->http);
	for (size_t i = 0; i < a->n;) {
		int rc = node_check_file(a->node[i], e);

		if (!rc)
			node_step(a->node[i++]);
		else if (!drop(a, i, e))
			return rc;
	}
	return NE_OK;
}

int agent_run(struct agent *a, uint64_t until_ms, struct err *e)
{
	struct pollfd fds[AGENT_FDS];

	for (;;) {
		TRY(step_all(a, e));
		if (stopped(a))
			return NE_OK;
		if (mono_ms() >= until_ms)
			return err_set(e, NE_TIMEOUT, "not done in time");
		size_t n = descriptors(a, fds);
		if (poll(fds, (nfds_t)n, wait_ms(a, until_ms)) < 0 && errno != EINTR)
			return err_set(e, NE_INTERNAL, "poll: %s", strerror(errno));
	}
}

static int watch_descriptors(struct agent *a, struct err *e)
{
	struct pollfd fds[AGENT_FDS];

	return pollset_watch(a->set, fds, descriptors(a, fds), e);
}

int agent_fd(struct agent *a, int *fd, struct err *e)
{
	if (!a->set)
		TRY(pollset_new(&a->set, e));
	TRY(watch_descriptors(a, e));
	*fd = pollset_fd(a->set);
	return NE_OK;
}

int agent_step(struct agent *a, int *wait, struct err *e)
{
	(void)stopped(a);
	TRY(step_all(a, e));
	if (a->set)
		TRY(watch_descriptors(a, e));
	*wait = wait_ms(a, UINT64_MAX);
	return NE_OK;
}

/* --- one sync, or one verification --- */

struct waiter {
	struct agent *agent;
	const json_t *verify; /* the request; NULL: a sync */
	const struct agent_progress *progress;
	json_t *status;
	struct err end;
	bool ended;
};

static void see(struct waiter *w, const json_t *status)
{
	if (!status)
		return;
	json_decref(w->status);
	w->status = json_deep_copy(status);
	if (w->progress && w->progress->fn)
		w->progress->fn(w->progress->ctx, status);
}

static void give(struct waiter *w)
{
	if (w->progress && w->progress->status)
		*w->progress->status = w->status;
	else
		json_decref(w->status);
}

static void on_sync(void *ctx, int code, const char *text, const json_t *status)
{
	struct waiter *w = ctx;

	see(w, status);
	if (code < 0)
		return;
	(void)err_set(&w->end, code, "%s", text);
	w->ended = true;
	agent_stop(w->agent);
}

static void on_line(void *ctx, const json_t *line)
{
	see(ctx, json_object_get(line, "status"));
}

/* Why it is not done, from the connection's point of view. */
static int timed_out(const struct waiter *w, struct err *e)
{
	const char *reason = json_string_value(json_object_get(w->status, "reason"));
	json_int_t pending = json_integer_value(json_object_get(w->status, "pending_rows"));

	if (w->verify)
		return err_set(e, NE_TIMEOUT, "not done in time%s%.200s",
			       reason && *reason ? ": " : "", reason ? reason : "");
	return err_set(e, NE_TIMEOUT, "not in sync in time: %lld rows are pending%s%.200s",
		       (long long)pending, reason && *reason ? "; " : "", reason ? reason : "");
}

static int wait_node(struct waiter *w, struct node *node, uint64_t timeout_ms, struct err *e)
{
	int rc = w->verify ? node_verify(node, w->verify, on_sync, w, e)
			   : node_sync(node, timeout_ms > 0, on_sync, w, e);

	const uint64_t until_ms = timeout_ms ? mono_ms() + timeout_ms : UINT64_MAX;

	/* An agent_wake of before ends a run, too. */
	while (!rc && !w->ended)
		rc = agent_run(w->agent, until_ms, e);
	node_sync_cancel(node, w);
	if (rc == NE_TIMEOUT && !w->ended) {
		json_t *status = NULL;
		if (!node_status(node, &status, e))
			see(w, status);
		json_decref(status);
		rc = timed_out(w, e);
	}
	if (w->ended) {
		rc = w->end.code;
		if (rc)
			rc = err_set(e, rc, "%s", w->end.text);
	}
	return rc;
}

int agent_sync_node(struct agent *a, struct node *node, uint64_t timeout_ms,
		    const struct agent_progress *progress, struct err *e)
{
	struct waiter w = {.agent = a, .progress = progress};
	int rc = wait_node(&w, node, timeout_ms, e);

	give(&w);
	return rc;
}

int agent_verify_node(struct agent *a, struct node *node, const json_t *request,
		      uint64_t timeout_ms, const struct agent_progress *progress, struct err *e)
{
	struct waiter w = {.agent = a, .verify = request, .progress = progress};
	int rc = wait_node(&w, node, timeout_ms, e);

	give(&w);
	return rc;
}

static int wait_here(const char *db, uint64_t timeout_ms, const struct node_owner *owner,
		     struct waiter *w, struct err *e)
{
	const struct node_owner nobody = {0};
	struct node *node;

	TRY(agent_new(&w->agent, e));
	int rc = agent_add(w->agent, db, owner ? owner : &nobody, &node, e);
	if (!rc)
		rc = wait_node(w, node, timeout_ms, e);
	agent_free(w->agent);
	return rc;
}

static int wait_there(const struct paths *p, uint64_t timeout_ms, struct waiter *w, struct err *e)
{
	json_t *request = w->verify ? json_deep_copy(w->verify) : json_pack("{s:s}", "op", "sync");

	if (!request)
		return err_set(e, NE_MEMORY, "out of memory");
	json_object_set_new(request, "patient", json_boolean(timeout_ms > 0));
	int rc = control_call(p, request, timeout_ms, on_line, w, e);
	json_decref(request);
	return rc == NE_TIMEOUT && timeout_ms ? timed_out(w, e) : rc;
}

/* Here, or by the engine that holds the file; NE_LOCKED while that one does not listen. */
static int try_wait(const struct paths *p, uint64_t timeout_ms, const struct node_owner *owner,
		    struct waiter *w, struct err *e)
{
	struct err locked = {0};
	int fd, rc = lock_take(p, 0, &fd, &locked);

	if (!rc) {
		lock_drop(fd);
		return wait_here(p->db, timeout_ms, owner, w, e);
	}
	if (rc != NE_LOCKED)
		return err_set(e, rc, "%s", locked.text);
	rc = wait_there(p, timeout_ms, w, e);
	return rc == NE_UNREACHABLE && !w->status ? err_set(e, NE_LOCKED, "%s", locked.text) : rc;
}

static int wait_anywhere(const char *db, uint64_t timeout_ms, const struct node_owner *owner,
			 struct waiter *w, struct err *e)
{
	const uint64_t began_ms = mono_ms();
	const uint64_t patience_ms =
		timeout_ms && timeout_ms < STARTING_MAX_MS ? timeout_ms : STARTING_MAX_MS;
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	uint64_t waited_ms = 0;
	struct paths p;
	int rc;

	TRY(paths_of(db, &p, e));
	while ((rc = try_wait(&p, timeout_ms ? timeout_ms - waited_ms : 0, owner, w, e)) ==
	       NE_LOCKED) {
		nanosleep(&pause, NULL);
		waited_ms = mono_ms() - began_ms;
		if (waited_ms >= patience_ms)
			break;
	}
	give(w);
	return rc;
}

int agent_sync(const char *db, uint64_t timeout_ms, const struct node_owner *owner,
	       const struct agent_progress *progress, struct err *e)
{
	struct waiter w = {.progress = progress};

	return wait_anywhere(db, timeout_ms, owner, &w, e);
}

int agent_verify(const char *db, const json_t *request, uint64_t timeout_ms,
		 const struct node_owner *owner, const struct agent_progress *progress,
		 struct err *e)
{
	struct waiter w = {.verify = request, .progress = progress};

	return wait_anywhere(db, timeout_ms, owner, &w, e);
}
