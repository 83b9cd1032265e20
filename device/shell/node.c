#include "device/shell/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/shell/cert_time.h"
#include "device/shell/node_internal.h"

enum {
	PLAIN_MAX = LIMIT_MESSAGE + 1024,
	LOCK_WAIT_MS = 2000,  /* for a short command that holds the file */
	SHARED_BUSY_MS = 200, /* for the app's lock, where others wait meanwhile */
};

void node_say(struct node *n, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (!n->owner.say)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	n->owner.say(n->owner.ctx, n->paths.db, text);
}

/* The secret belongs to the identity that the database is bound to, or to none. */
static int check_identity(const struct node *n, struct err *e)
{
	const struct devdb *d = engine_devdb(n->engine);
	const struct grant *g = &n->secret->grant;

	if (!strcmp(d->user.at, g->user.at) && !strcmp(d->device.at, g->device.at))
		return NE_OK;
	return err_set(
		e, NE_LOGIN,
		"the login in %s is for %s/%s, the database belongs to %s/%s; run `neap init`",
		n->paths.secret, g->user.at, g->device.at, d->user.at, d->device.at);
}

static int fill(struct node *n, const char *db, struct err *e)
{
	TRY(paths_of(db, &n->paths, e));
	TRY(lock_take(&n->paths, n->owner.shares_loop ? 0 : LOCK_WAIT_MS, &n->lock, e));
	const struct engine_config config = {
		.path = n->paths.db,
		.random = crypt_random,
		.busy_ms = n->owner.shares_loop ? SHARED_BUSY_MS : 0,
		.conflicts = n->owner.conflict != NULL,
		.resolve = n->owner.resolve ? node_resolve : NULL,
		.resolve_ctx = n,
	};
	struct stat st;
	TRY(engine_open(&n->engine, &config, e));
	if (stat(n->paths.db, &st) != 0)
		return err_set(e, NE_NOT_FOUND, "%s: %s", n->paths.db, strerror(errno));
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	TRY(secret_load(n->paths.secret, n->secret, e));
	cert_time_heard(n->secret->grant.server_ms);
	TRY(check_identity(n, e));
	TRY(node_link_open(n, e));
	TRY(control_new(&n->control, &n->paths, node_request, n, e));
	n->watch = watch_open(&n->paths);
	return NE_OK;
}

int node_open(struct node **out, const char *db, struct http *http, const struct node_owner *owner,
	      struct err *e)
{
	struct node *n = calloc(1, sizeof *n);

	if (!n)
		return err_set(e, NE_MEMORY, "out of memory");
	n->lock = n->watch = -1;
	n->http = http;
	n->owner = *owner;
	n->plain.max = n->sealed.max = PLAIN_MAX;
	n->progress_ms = UINT64_MAX;
	n->local_due = true;
	n->secret = secret_new();
	int rc = n->secret ? fill(n, db, e) : err_set(e, NE_MEMORY, "out of memory");
	if (rc) {
		node_close(n);
		return rc;
	}
	node_link_start(n);
	*out = n;
	return NE_OK;
}

void node_close(struct node *n)
{
	if (!n)
		return;
	http_cancel(n->http, n);
	control_free(n->control);
	if (n->link)
		n->link->free(n->link);
	for (size_t i = 0; i < NODE_SYNCS; i++)
		json_decref(n->sync[i].verify);
	free(n->held);
	crypt_free(n->crypt);
	engine_close(n->engine);
	actions_free(&n->actions);
	secret_drop(n->secret);
	buf_free(&n->plain);
	buf_free(&n->sealed);
	if (n->watch >= 0)
		close(n->watch);
	lock_drop(n->lock);
	free(n);
}

size_t node_fds(struct node *n, struct pollfd *out)
{
	size_t count = 0;

	/* While the database refuses, letters stay where they are: do not spin on them. */
	if (!n->held_back)
		out[count++] = (struct pollfd){.fd = n->link->fd, .events = POLLIN};
	if (n->watch >= 0)
		out[count++] = (struct pollfd){.fd = n->watch, .events = POLLIN};
	return count + control_fds(n->control, out + count);
}

static void read_watch(struct node *n)
{
	unsigned seen = n->watch >= 0 ? watch_read(n->watch, &n->paths) : 0;
	uint64_t soon = mono_ms() + LOCAL_DEBOUNCE_MS;

	if (seen & WATCH_DB) {
		n->look_wait_ms = LOCAL_DEBOUNCE_MS;
		if (soon < n->look_ms)
			n->look_ms = soon;
	}
	if (seen & WATCH_SECRET)
		node_secret_changed(n);
}

/* Sets wait for an acknowledgement and nothing comes: TCP may not notice for long. */
static void check_silence(struct node *n)
{
	struct engine_status st;

	if (n->conn.state != CONN_UP || mono_ms() - n->heard_ms < SILENCE_MS)
		return;
	if (!engine_status(n->engine, &st, NULL) && st.inflight_sets > 0)
		node_link_suspect(n);
	n->heard_ms = mono_ms();
}

void node_step(struct node *n)
{
	read_watch(n);
	control_step(n->control);
	node_wake_step(n);
	node_link_step(n);
	node_feed_all(n);
	node_link_change_over(n);
	check_silence(n);
	node_sync_step(n);
	node_rest_step(n);
}

int node_check_file(const struct node *n, struct err *e)
{
	struct stat st;

	if (stat(n->paths.db, &st) != 0 ? errno != ENOENT
					: st.st_dev == n->dev && st.st_ino == n->ino)
		return NE_OK;
	return err_set(
		e, NE_NOT_FOUND,
		"'%s' was replaced or removed while the agent held it; start the agent again",
		n->paths.db);
}

bool node_tell_end(struct node *n, const char *text)
{
	if (n->owner.ended)
		n->owner.ended(n->owner.ctx, n->paths.db, text);
	return n->owner.ended != NULL;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t node_deadline_ms(const struct node *n)
{
	uint64_t at = min_u64(conn_deadline_ms(&n->conn), n->progress_ms);

	if (n->held_back)
		at = min_u64(at, n->retry_ms);
	else
		at = min_u64(at, min_u64(engine_deadline_ms(n->engine), n->look_ms));
	if (n->trouble.code)
		at = min_u64(at, n->trouble_ms + CALM_MS);
	if (n->change_over_ms)
		at = min_u64(at, n->change_over_ms);
	if (n->down_due && !n->held_back) /* the engine is to hear of it first */
		return mono_ms();
	if (n->conn.state == CONN_UP)
		at = min_u64(at, n->heard_ms + SILENCE_MS);
	return at;
}

struct link_view node_view(const struct node *n)
{
	uint64_t now = mono_ms(), at = conn_deadline_ms(&n->conn);

	uint64_t rival_ms = n->rival_ms ? now - n->rival_ms : 0;

	return (struct link_view){
		.rival =
			n->rival_ms &&
					rival_ms<RIVAL_HINT_MS, .rival_ms = rival_ms,
						 .state = n->conn.state, .problem = n->conn.problem,
						 .text = n->link_text.text, .retry_in_ms = at>
						now &&
					at != UINT64_MAX
				? at - now
				: 0,
		.blocked = n->trouble.code,
		.blocked_text = n->trouble.text,
		.bad_messages = n->bad_messages,
		.other_key = n->other_key,
	};
}

int node_status(struct node *n, json_t **out, struct err *e)
{
	const struct link_view view = node_view(n);

	return ops_status(n->engine, n->paths.db, &view, out, e);
}
