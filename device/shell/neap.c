/* The public interface: every call becomes a request to whichever engine holds the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "device/shell/bind.h"
#include "device/shell/neap_internal.h"

/* Sizes of the first release's structs: what every caller has at least. */
enum {
	TRACK_SIZE_MIN = sizeof(struct neap_track_options),
	STATUS_SIZE_MIN = sizeof(struct neap_status),
};

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

static int bind_with_ca(struct bind_request *request, const char *ca_file)
{
	struct err e = {0};
	struct buf ca = {.max = LOGIN_PEM_MAX};

	int rc = ca_file ? file_read(ca_file, &ca, &e) : NE_OK;
	if (!rc && ca_file)
		rc = buf_terminate(&ca);
	request->ca_pem = ca_file ? (const char *)ca.at : NULL;
	if (!rc)
		rc = bind_database(request, NULL, &e);
	buf_free(&ca);
	return api_done(NULL, rc, &e);
}

static int only_ca_optional(const char *function)
{
	struct err e = {0};

	return api_done(NULL, err_set(&e, NE_USAGE, "%s: only the CA's file may be NULL", function),
			&e);
}

int neap_init(const char *path, const char *server, const char *user, const char *password,
	      const char *device, const char *ca_file)
{
	struct bind_request request = {
		.db = path,
		.server = server,
		.user = user,
		.password = password,
		.device = device,
	};

	if (!path || !server || !user || !password || !device)
		return only_ca_optional("neap_init");
	return bind_with_ca(&request, ca_file);
}

int neap_enrol(const char *path, const char *server, const char *code, const char *ca_file)
{
	struct bind_request request = {.db = path, .server = server, .code = code};

	if (!path || !server || !code)
		return only_ca_optional("neap_enrol");
	return bind_with_ca(&request, ca_file);
}

static int open_handle(const char *path, neap **out, struct err *e)
{
	neap *n = calloc(1, sizeof *n);

	if (!n)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = paths_of(path, &n->paths, e);
	if (!rc && pthread_mutex_init(&n->mode_lock, NULL) != 0)
		rc = err_set(e, NE_MEMORY, "out of memory");
	if (!rc && pthread_mutex_init(&n->ended_lock, NULL) != 0) {
		pthread_mutex_destroy(&n->mode_lock);
		rc = err_set(e, NE_MEMORY, "out of memory");
	}
	if (rc) {
		free(n);
		return rc;
	}
	n->pid = getpid();
	*out = n;
	return NE_OK;
}

int neap_open(const char *path, neap **out)
{
	struct err e = {0};
	neap *n = NULL;
	int rc;

	if (!path || !out)
		rc = err_set(&e, NE_USAGE,
			     "neap_open: a path and a place for the handle are needed");
	else
		rc = open_handle(path, &n, &e);
	if (out)
		*out = n;
	return api_done(n, rc, &e);
}

int neap_close(neap *n)
{
	if (!n)
		return NEAP_OK;
	int code = neap_stop(n);
	if (code)
		return code;
	api_changes_free(n);
	api_conflicts_free(n);
	pthread_mutex_destroy(&n->mode_lock);
	pthread_mutex_destroy(&n->ended_lock);
	free(n);
	return api_done(NULL, NE_OK, NULL);
}

/* Takes `request`. By the loop itself there is nobody to ask: it is done at once. */
static int ask(neap *n, struct api_loop *here, json_t *request, json_t **answer)
{
	struct err e = {0};
	json_t *line = NULL;
	int rc;

	if (!request)
		rc = err_set(&e, NE_USAGE, "a name is not valid UTF-8");
	else if (here && n->node)
		rc = node_ask(n->node, request, &line, &e);
	else if ((rc = api_may_wait(n, &e)) == NE_OK)
		rc = ops_ask(n->paths.db, request, &line, &e);
	if (here)
		agent_wake(n->agent);
	json_decref(request);
	if (answer && !rc)
		*answer = line;
	else
		json_decref(line);
	return api_done(n, rc, &e);
}

static int refuse(const neap *n, const char *text)
{
	struct err e = {0};

	return api_done(n, err_set(&e, NE_USAGE, "%s", text), &e);
}

static void add_options(json_t *request, const struct neap_track_options *o)
{
	static const char *const directions[] = {"both", "up", "down"};

	if (o->direction != NEAP_BOTH || !o->append)
		json_object_set_new(request, "direction", json_string(directions[o->direction]));
	json_object_set_new(request, "append", json_boolean(o->append));
	json_object_set_new(request, "keep_ms", json_integer(o->keep_ms));
	json_object_set_new(request, "keep_rows", json_integer(o->keep_rows));
	json_object_set_new(request, "keep_bytes", json_integer(o->keep_bytes));
	json_object_set_new(request, "pending_rows", json_integer(o->pending_rows));
	json_object_set_new(request, "pending_bytes", json_integer(o->pending_bytes));
	json_object_set_new(request, "drop_oldest", json_boolean(o->drop_oldest));
	if (o->uncompressed)
		json_object_set_new(request, "compress", json_string("off"));
	if (o->priority >= 0)
		json_object_set_new(request, "priority", json_integer(o->priority));
}

int neap_track(neap *n, const char *table, const struct neap_track_options *o)
{
	struct api_loop *here;

	if (api_enter(n, "neap_track", &here))
		return NEAP_USAGE;
	if (!table)
		return refuse(n, "neap_track: the table is NULL");
	if (o && (o->size < TRACK_SIZE_MIN || o->direction < NEAP_BOTH || o->direction > NEAP_DOWN))
		return refuse(n, "neap_track: the options do not begin with NEAP_TRACK_OPTIONS, or "
				 "their direction is none");
	json_t *request = json_pack("{s:s, s:s}", "op", "track", "table", table);
	if (request && o)
		add_options(request, o);
	return ask(n, here, request, NULL);
}

int neap_untrack(neap *n, const char *table)
{
	struct api_loop *here;

	if (api_enter(n, "neap_untrack", &here))
		return NEAP_USAGE;
	if (!table)
		return refuse(n, "neap_untrack: the table is NULL");
	return ask(n, here, json_pack("{s:s, s:s}", "op", "untrack", "table", table), NULL);
}

int64_t api_number(const json_t *o, const char *member)
{
	return json_integer_value(json_object_get(o, member));
}

/* Cut where it does not fit, but not within a character of UTF-8. */
static void text(const json_t *status, const char *name, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(status, name));
	size_t len = s ? strlen(s) : 0;

	if (len >= size)
		for (len = size - 1; len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80;)
			len--;
	if (len > 0)
		memcpy(out, s, len);
	out[len] = '\0';
}

/* A loop that ended by itself left its reason here. */
static void tell_ended(neap *n, struct neap_status *st)
{
	pthread_mutex_lock(&n->ended_lock);
	if (n->ended.code && !strcmp(st->state, "stopped")) {
		snprintf(st->reason, sizeof st->reason, "it ended: %.350s", n->ended.text);
		snprintf(st->next_step, sizeof st->next_step, "neap_stop, then start it again");
	}
	pthread_mutex_unlock(&n->ended_lock);
}

static void read_status(const json_t *s, struct neap_status *out)
{
	*out = (struct neap_status){
		.size = sizeof *out,
		.pending_rows = api_number(s, "pending_rows"),
		.pending_bytes = api_number(s, "pending_bytes"),
		.oldest_pending_ms = api_number(s, "oldest_pending_ms"),
		.acked_number = api_number(s, "acked_number"),
		.cursor = api_number(s, "cursor"),
		.head = api_number(s, "head"),
		.verified_ms = api_number(s, "verified_ms"),
		.rejected_rows = api_number(s, "rejected_rows"),
		.parked_rows = api_number(s, "parked_rows"),
	};
	text(s, "state", out->state, sizeof out->state);
	text(s, "reason", out->reason, sizeof out->reason);
	text(s, "next_step", out->next_step, sizeof out->next_step);
}

int neap_status(neap *n, struct neap_status *out)
{
	struct api_loop *here;
	struct neap_status st;
	json_t *answer = NULL;

	if (api_enter(n, "neap_status", &here))
		return NEAP_USAGE;
	if (!out || out->size < STATUS_SIZE_MIN)
		return refuse(n, "neap_status: set `size` to sizeof(struct neap_status) first");
	int code = ask(n, here, json_pack("{s:s}", "op", "status"), &answer);
	if (!code) {
		read_status(json_object_get(answer, "status"), &st);
		tell_ended(n, &st);
		if (out->size < st.size)
			st.size = out->size;
		memcpy(out, &st, st.size);
	}
	json_decref(answer);
	return code;
}
