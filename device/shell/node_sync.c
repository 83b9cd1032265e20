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

/* The slot is free again. */
static void drop(struct node *n, struct sync *s)
{
	if (s->verify)
		engine_verify_cancel(n->engine);
	json_decref(s->verify);
	*s = (struct sync){0};
}

static int status_for(struct node *n, bool verify, json_t **out, struct err *e)
{
	json_t *report = NULL;

	TRY(node_status(n, out, e));
	int rc = verify ? ops_verify_report(n->engine, &report, e) : NE_OK;
	if (report)
		json_object_set_new(*out, "verify", report);
	return rc;
}

static void end(struct node *n, struct sync *s, int code, const char *text)
{
	json_t *status = NULL;
	struct err e = {0};
	struct sync copy = *s;

	if (status_for(n, s->verify != NULL, &status, &e))
		node_say(n, "%s", e.text);
	drop(n, s);
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
		if (n->sync[i].id && !n->sync[i].verify && n->sync[i].id <= id)
			end(n, &n->sync[i], rc, e.text);
}

void node_verified(struct node *n, uint64_t id)
{
	struct err e = {0};
	int rc = ops_verify_verdict(n->engine, &e);

	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].id == id && n->sync[i].verify)
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

static int64_t verified_rows(const struct node *n)
{
	const struct verify_report *r = engine_verify_report(n->engine);
	uint64_t rows = r->at;

	for (size_t i = 0; i < r->n; i++)
		rows += r->table[i].n.rows + r->table[i].n.left_out;
	return (int64_t)rows;
}

static bool progressed(struct node *n, struct sync *s, const struct engine_status *st)
{
	const int64_t mark[5] = {st->pending_rows, (int64_t)st->cursor, (int64_t)st->acked_number,
				 (int64_t)st->inflight_bytes, verified_rows(n)};

	if (!memcmp(mark, s->mark, sizeof mark))
		return false;
	memcpy(s->mark, mark, sizeof mark);
	return true;
}

static void report(struct node *n, struct sync *s, const struct engine_status *st, json_t *status)
{
	struct err e = {0};

	if (progressed(n, s, st))
		s->since_ms = mono_ms();
	/* What is pending, or cannot be captured, is in the way of a sync only. */
	if (s->verify == NULL && st->problem == NE_CAPTURE && !st->comparing)
		end(n, s, verdict(st, &e), e.text);
	else if (!s->verify && !s->patient && mono_ms() - s->since_ms > STALL_MS && st->comparing)
		end(n, s, verdict(st, &e), e.text);
	else if (!s->verify && refused(st) && !st->inflight_sets &&
		 mono_ms() - s->since_ms > REFUSED_PATIENCE_MS)
		end(n, s, verdict(st, &e), e.text);
	else if (!s->patient && mono_ms() - s->since_ms > STALL_MS)
		end(n, s, NE_TIMEOUT, "the server does not answer");
	else if (!tell(n, s, -1, "", status))
		drop(n, s); /* the client hung up */
}

static void report_all(struct node *n)
{
	struct engine_status st;
	json_t *status = NULL;
	struct err e = {0};
	bool verify = false;

	n->progress_ms = mono_ms() + PROGRESS_MS;
	for (size_t i = 0; i < NODE_SYNCS; i++)
		verify |= n->sync[i].verify != NULL;
	if (engine_status(n->engine, &st, &e) || status_for(n, verify, &status, &e)) {
		json_decref(status);
		return;
	}
	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].id)
			report(n, &n->sync[i], &st, status);
	json_decref(status);
}

static struct event verify_event(const struct sync *s, const char **name)
{
	const json_t *tables = json_object_get(s->verify, "tables");
	struct event ev = {.type = EV_VERIFY};
	size_t n = json_array_size(tables);

	for (size_t i = 0; i < n && i < LIMIT_TABLES; i++)
		name[i] = json_string_value(json_array_get(tables, i));
	ev.verify.id = s->id;
	ev.verify.repair = !json_is_false(json_object_get(s->verify, "repair"));
	ev.verify.n = n < LIMIT_TABLES ? n : LIMIT_TABLES;
	ev.verify.table = name;
	return ev;
}

/* Hands the request to the engine; a database that refuses now is asked again. */
static void ask(struct node *n, struct sync *s)
{
	const char *name[LIMIT_TABLES];
	struct event ev = {.type = EV_SYNC, .sync_id = s->id};

	if (s->verify)
		ev = verify_event(s, name);
	if (s->asked || (n->held_back && mono_ms() < n->retry_ms))
		return;
	s->asked = true; /* before: the answer may come in the step, and frees the slot */
	if (!node_feed(n, &ev))
		s->asked = false;
}

bool node_syncs_wait(const struct node *n)
{
	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].id)
			return true;
	return false;
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

static int check_tables(struct node *n, const json_t *request, struct err *e)
{
	const json_t *tables = json_object_get(request, "tables");

	if (json_array_size(tables) > LIMIT_TABLES || (tables && !json_is_array(tables)))
		return err_set(e, NE_USAGE, "'tables' is no list of at most %d", (int)LIMIT_TABLES);
	for (size_t i = 0; i < json_array_size(tables); i++) {
		const char *name = json_string_value(json_array_get(tables, i));

		if (!name || !devdb_table_by_name(engine_devdb(n->engine), slice_str(name)))
			return err_set(e, NE_NOT_FOUND,
				       "no table %.100s is tracked: `neap status` lists them",
				       name ? name : "(not text)");
	}
	return NE_OK;
}

static int begin_verify(struct node *n, const json_t *request, struct sync *want, struct err *e)
{
	for (size_t i = 0; i < NODE_SYNCS; i++)
		if (n->sync[i].verify)
			return err_set(e, NE_BUSY,
				       "a verification of this database is under way already");
	TRY(check_tables(n, request, e));
	want->verify = json_deep_copy(request);
	if (!want->verify)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = begin(n, want, e);
	if (rc)
		json_decref(want->verify);
	return rc;
}

int node_verify(struct node *n, const json_t *request, node_sync_fn fn, void *ctx, struct err *e)
{
	struct sync want = {
		.patient = json_is_true(json_object_get(request, "patient")), .fn = fn, .ctx = ctx};

	return begin_verify(n, request, &want, e);
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
			drop(n, &n->sync[i]);
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
	struct sync want = {.patient = json_is_true(json_object_get(request, "patient")),
			    .client = client};

	*out = NULL;
	/* These are answered when they end. */
	if (op && !strcmp(op, "sync"))
		return begin(n, &want, e);
	if (op && !strcmp(op, "verify"))
		return begin_verify(n, request, &want, e);
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
