/* Those who wait for a sync, and requests on the control socket. */
#include <stdlib.h>
#include <string.h>

#include "device/shell/node_internal.h"

static bool tell(struct node *n, const struct sync *s, int code, const char *text, json_t *status)
{
	if (!s->client) {
		s->fn(s->ctx, code, text, status);
		return true;
	}
	json_t *line = json_object();
	if (status)
		json_object_set(line, "status", status);
	if (code >= 0)
		json_object_set_new(line, "code", json_integer(code));
	if (code > 0)
		json_object_set_new(line, "text", json_string(text));
	return control_send(n->control, s->client, line);
}

static void end(struct node *n, struct sync *s, int code, const char *text)
{
	json_t *status = NULL;
	struct err e = {0};
	struct sync copy = *s;

	*s = (struct sync){0};
	if (node_status(n, &status, &e))
		node_say(n, "%s", e.text);
	(void)tell(n, &copy, code, text, status);
	json_decref(status);
}

/* What the server refuses whole: its rows stay pending until people change something. */
static const struct engine_trouble *refused(const struct engine_status *st)
{
	for (size_t i = 0; i < st->n_trouble; i++)
		if (st->trouble[i].code == NE_ROWS &&
		    strncmp(st->trouble[i].state, "rows-", 5) != 0)
			return &st->trouble[i];
	return NULL;
}

/* Everything is sent and heard; rows that cannot be are still a failure. */
static int verdict(const struct engine_status *st, struct err *e)
{
	if (st->problem == NE_CAPTURE)
		return err_set(e, NE_CAPTURE, "%s; %s", st->reason, st->next_step);
	if (refused(st))
		return err_set(e, NE_ROWS, "%s; %s", refused(st)->reason, refused(st)->next_step);
	if (st->rejected_rows + st->parked_rows > 0)
		return err_set(e, NE_ROWS, "%lld rejected and %lld parked rows: %s; %s",
			       (long long)st->rejected_rows, (long long)st->parked_rows, st->reason,
			       st->next_step);
	return NE_OK;
}

void node_synced(struct node *n, uint64_t id)
{
	struct engine_status st;
	struct err e = {0};

	int rc = engine_status(n->engine, &st, &e);
	if (!rc)
		rc = verdict(&st, &e);
	/* The engine merges requests: an answer to one answers all before it. */
	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].id && n->sync[i].id <= id)
			end(n, &n->sync[i], rc, e.text);
}

/* What ends a wait early: nothing but a person can help. */
static int hopeless(const struct node *n, const struct sync *s, struct err *e)
{
	if (n->conn.state == CONN_LOGIN)
		return err_set(
			e, NE_LOGIN,
			"login required: %.200s (with `neap init`; pending changes are kept)",
			n->link_text.text);
	if (n->conn.state == CONN_WAITING && n->conn.problem == NE_CERT)
		return err_set(e, NE_CERT, "%s", n->link_text.text);
	if (n->trouble.code == NE_DISK && n->trouble_ms > s->began_ms + DISK_PATIENCE_MS)
		return err_set(e, NE_DISK,
			       "the database cannot be written: %.250s; make room on its disk and "
			       "sync again, pending changes are kept",
			       n->trouble.text);
	if (!s->patient && n->conn.state == CONN_WAITING && n->failures >= GIVE_UP_ATTEMPTS)
		return err_set(e, n->conn.problem == NE_TIMEOUT ? NE_TIMEOUT : NE_UNREACHABLE, "%s",
			       n->link_text.text);
	return NE_OK;
}

static bool progressed(struct sync *s, const struct engine_status *st)
{
	const int64_t mark[4] = {st->pending_rows, (int64_t)st->cursor, (int64_t)st->acked_number,
				 (int64_t)st->inflight_bytes};

	if (!memcmp(mark, s->mark, sizeof mark))
		return false;
	memcpy(s->mark, mark, sizeof mark);
	return true;
}

static void report(struct node *n, struct sync *s, const struct engine_status *st, json_t *status)
{
	struct err e = {0};

	if (progressed(s, st))
		s->since_ms = mono_ms();
	if (st->problem == NE_CAPTURE && !st->comparing)
		end(n, s, verdict(st, &e), e.text);
	else if (!s->patient && mono_ms() - s->since_ms > STALL_MS && st->comparing)
		end(n, s, verdict(st, &e), e.text);
	else if (refused(st) && !st->inflight_sets && mono_ms() - s->since_ms > REFUSED_PATIENCE_MS)
		end(n, s, verdict(st, &e), e.text);
	else if (!s->patient && mono_ms() - s->since_ms > STALL_MS)
		end(n, s, NE_TIMEOUT, "the server does not answer");
	else if (!tell(n, s, -1, "", status))
		*s = (struct sync){0}; /* the client hung up */
}

static void report_all(struct node *n)
{
	struct engine_status st;
	json_t *status;
	struct err e = {0};

	n->progress_ms = mono_ms() + PROGRESS_MS;
	if (engine_status(n->engine, &st, &e) || node_status(n, &status, &e))
		return;
	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].id)
			report(n, &n->sync[i], &st, status);
	json_decref(status);
}

/* Hands the request to the engine; a database that refuses now is asked again. */
static void ask(struct node *n, struct sync *s)
{
	struct event ev = {.type = EV_SYNC, .sync_id = s->id};

	if (s->asked || (n->held_back && mono_ms() < n->retry_ms))
		return;
	s->asked = true; /* before: the answer may come in the step, and frees the slot */
	if (!node_feed(n, &ev))
		s->asked = false;
}

void node_sync_step(struct node *n)
{
	bool any = false;

	for (size_t i = 0; i < NODE_SYNCS; i++) {
		struct sync *s = &n->sync[i];
		struct err e = {0};

		if (!s->id)
			continue;
		ask(n, s);
		int rc = s->id ? hopeless(n, s, &e) : NE_OK;
		if (rc)
			end(n, s, rc, e.text);
		any = any || s->id;
	}
	if (!any)
		n->progress_ms = UINT64_MAX;
	else if (n->progress_ms == UINT64_MAX)
		n->progress_ms = mono_ms() + PROGRESS_MS;
	else if (mono_ms() >= n->progress_ms)
		report_all(n);
}

static int begin(struct node *n, const struct sync *want, struct err *e)
{
	struct sync *s = NULL;

	for (size_t i = 0; i < NODE_SYNCS && !s; i++)
		if (!n->sync[i].id)
			s = &n->sync[i];
	if (!s)
		return err_set(e, NE_BUSY, "%d syncs of this database are under way",
			       (int)NODE_SYNCS);
	*s = *want;
	s->id = ++n->last_sync;
	s->began_ms = s->since_ms = mono_ms();
	ask(n, s);
	node_link_poke(n);
	return NE_OK;
}

int node_sync(struct node *n, bool patient, node_sync_fn fn, void *ctx, struct err *e)
{
	const struct sync want = {.patient = patient, .fn = fn, .ctx = ctx};

	return begin(n, &want, e);
}

void node_sync_cancel(struct node *n, const void *ctx)
{
	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].id && !n->sync[i].client && n->sync[i].ctx == ctx)
			n->sync[i] = (struct sync){0};
}

int node_ask(struct node *n, const json_t *request, json_t **out, struct err *e)
{
	const struct link_view view = node_view(n);
	bool changed;

	TRY(ops_do(n->engine, n->paths.db, request, &view, out, &changed, e));
	n->local_due = n->local_due || changed;
	return NE_OK;
}

static int answer(struct node *n, uint64_t client, const json_t *request, json_t **out,
		  struct err *e)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	const struct sync want = {.patient = json_is_true(json_object_get(request, "patient")),
				  .client = client};

	*out = NULL;
	if (op && !strcmp(op, "sync"))
		return begin(n, &want, e); /* answered when it ends */
	TRY(node_ask(n, request, out, e));
	json_object_set_new(*out, "code", json_integer(NE_OK));
	return NE_OK;
}

void node_request(void *ctx, uint64_t client, const json_t *request)
{
	struct node *n = ctx;
	struct err e = {0};
	json_t *line;
	int rc = answer(n, client, request, &line, &e);

	if (rc)
		line = json_pack("{s:i, s:s}", "code", rc, "text", e.text);
	if (line)
		control_send(n->control, client, line);
}
