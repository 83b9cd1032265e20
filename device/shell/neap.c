/* The public interface: every call becomes a request to whichever engine holds the file. */
#include "device/include/neap.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "device/shell/agent.h"
#include "device/shell/bind.h"

struct neap {
	char *path;
	struct err err;
	struct agent *agent; /* while the thread runs */
	pthread_t thread;
	void (*changed)(void *ctx, const char *table);
	void *changed_ctx;
};

static int done(neap *n, int rc)
{
	if (!rc)
		n->err = (struct err){0};
	return ne_exit_code(rc);
}

const char *neap_strerror(int code)
{
	static const char *const phrases[] = {
		[NEAP_OK] = "done",
		[NEAP_INTERNAL] = "internal error",
		[NEAP_USAGE] = "wrong use",
		[NEAP_UNREACHABLE] = "unreachable or timed out",
		[NEAP_LOGIN] = "login required",
		[NEAP_CERT] = "certificate not trusted",
		[NEAP_ROWS] = "rejected or parked rows",
		[NEAP_LOCKED] = "locked by another engine",
		[NEAP_NOT_FOUND] = "no such database or table",
		[NEAP_DISK] = "disk",
		[NEAP_CAPTURE] = "capture broken",
	};

	return code >= 0 && code <= NEAP_CAPTURE ? phrases[code] : "unknown error";
}

const char *neap_version(void)
{
	return NEAP_VERSION;
}

int neap_init(const char *path, const char *server, const char *user, const char *password,
	      const char *device, const char *ca_file, char *error, unsigned size)
{
	struct err e = {0};
	struct buf ca = {.max = LOGIN_PEM_MAX};
	int rc = ca_file ? file_read(ca_file, &ca, &e) : NE_OK;

	if (!rc && ca_file)
		rc = buf_terminate(&ca);
	const struct bind_request request = {
		.db = path,
		.server = server,
		.user = user,
		.password = password,
		.device = device,
		.ca_pem = ca_file ? (const char *)ca.at : NULL,
	};
	if (!rc)
		rc = bind_database(&request, &e);
	buf_free(&ca);
	if (error && size > 0)
		snprintf(error, size, "%s", e.text);
	return ne_exit_code(rc);
}

int neap_open(const char *path, neap **out)
{
	neap *n = calloc(1, sizeof *n);

	*out = NULL;
	if (!n || !(n->path = strdup(path))) {
		free(n);
		return NEAP_INTERNAL;
	}
	*out = n;
	struct paths p;
	return done(n, paths_of(path, &p, &n->err));
}

void neap_close(neap *n)
{
	if (!n)
		return;
	neap_stop(n);
	free(n->path);
	free(n);
}

const char *neap_error(const neap *n)
{
	return n ? n->err.text : "out of memory";
}

static int ask(neap *n, json_t *request, json_t **answer)
{
	int rc = request ? ops_ask(n->path, request, answer, &n->err)
			 : err_set(&n->err, NE_USAGE, "a name is not valid UTF-8");

	json_decref(request);
	return done(n, rc);
}

int neap_track(neap *n, const char *table, const struct neap_track_options *o)
{
	static const char *const directions[] = {"both", "up", "down"};
	json_t *request = json_pack("{s:s, s:s}", "op", "track", "table", table);

	if (request && o) {
		bool chosen = o->direction > NEAP_BOTH && o->direction <= NEAP_DOWN;
		if (chosen || !o->append)
			json_object_set_new(request, "direction",
					    json_string(directions[chosen ? o->direction : 0]));
		json_object_set_new(request, "append", json_boolean(o->append));
		json_object_set_new(request, "keep_ms", json_integer(o->keep_ms));
		if (o->priority >= 0)
			json_object_set_new(request, "priority", json_integer(o->priority));
	}
	return ask(n, request, NULL);
}

int neap_untrack(neap *n, const char *table)
{
	return ask(n, json_pack("{s:s, s:s}", "op", "untrack", "table", table), NULL);
}

static void on_changed(void *ctx, const char *db, const char *table)
{
	neap *n = ctx;

	(void)db;
	if (n->changed)
		n->changed(n->changed_ctx, table);
}

static void *run(void *ctx)
{
	neap *n = ctx;
	struct err e = {0};

	/* What goes wrong with the database or the network is in its status, and is tried again. */
	(void)!agent_run(n->agent, UINT64_MAX, &e);
	return NULL;
}

int neap_start(neap *n)
{
	const struct node_owner owner = {.ctx = n, .changed = on_changed};

	if (n->agent)
		return done(n, NE_OK);
	int rc = agent_new(&n->agent, &n->err);
	if (!rc)
		rc = agent_add(n->agent, n->path, &owner, NULL, &n->err);
	if (!rc && pthread_create(&n->thread, NULL, run, n) != 0)
		rc = err_set(&n->err, NE_INTERNAL, "no thread could be started");
	if (rc) {
		agent_free(n->agent);
		n->agent = NULL;
	}
	return done(n, rc);
}

void neap_stop(neap *n)
{
	if (!n->agent)
		return;
	agent_stop(n->agent);
	pthread_join(n->thread, NULL);
	agent_free(n->agent);
	n->agent = NULL;
}

int neap_sync(neap *n, unsigned timeout_ms)
{
	return done(n, agent_sync(n->path, timeout_ms, NULL, NULL, NULL, &n->err));
}

static int64_t number(const json_t *status, const char *name)
{
	return json_integer_value(json_object_get(status, name));
}

static void text(const json_t *status, const char *name, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(status, name));

	snprintf(out, size, "%s", s ? s : "");
}

int neap_status(neap *n, struct neap_status *out)
{
	json_t *answer = NULL;
	int code = ask(n, json_pack("{s:s}", "op", "status"), &answer);
	const json_t *s = json_object_get(answer, "status");

	if (!code) {
		*out = (struct neap_status){
			.pending_rows = number(s, "pending_rows"),
			.pending_bytes = number(s, "pending_bytes"),
			.oldest_pending_ms = number(s, "oldest_pending_ms"),
			.acked_number = number(s, "acked_number"),
			.cursor = number(s, "cursor"),
			.head = number(s, "head"),
			.verified_ms = number(s, "verified_ms"),
			.rejected_rows = number(s, "rejected_rows"),
			.parked_rows = number(s, "parked_rows"),
		};
		text(s, "state", out->state, sizeof out->state);
		text(s, "reason", out->reason, sizeof out->reason);
		text(s, "next_step", out->next_step, sizeof out->next_step);
	}
	json_decref(answer);
	return code;
}

void neap_on_change(neap *n, void (*fn)(void *ctx, const char *table), void *ctx)
{
	n->changed = fn;
	n->changed_ctx = ctx;
}
