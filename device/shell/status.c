/* The answer to "may I overwrite this row now?", as one JSON object. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "device/shell/clock.h"
#include "device/shell/ops.h"

static const char *const directions[] = {[DIR_UP] = "up", [DIR_DOWN] = "down", [DIR_BOTH] = "both"};

static int one_table(struct devdb *d, const struct tracked *t, json_t *list, struct err *e)
{
	struct pending_stats pending;
	struct verify_last last;

	TRY(cut_pending(d, t, &pending, e));
	TRY(verify_last(d, t->id, &last, e));
	json_t *o = json_pack("{s:s%, s:s, s:s, s:I, s:s, s:i, s:I, s:s}", "name",
			      (const char *)t->shape.name.at, t->shape.name.len, "kind",
			      t->shape.kind == SHAPE_APPEND ? "append" : "merge", "direction",
			      directions[t->shape.direction], "pending_rows",
			      (json_int_t)pending.rows, "capture", t->capture_ok ? "ok" : "broken",
			      "priority", t->priority, "pending_bytes", (json_int_t)pending.bytes,
			      "compress", t->shape.uncompressed ? "off" : "on");
	if (o && last.at_ms)
		json_object_set_new(o, "verified",
				    json_pack("{s:I, s:I, s:I, s:I}", "at_ms",
					      (json_int_t)last.at_ms, "rows", (json_int_t)last.rows,
					      "differed", (json_int_t)last.differed, "repaired",
					      (json_int_t)last.repaired));
	if (!o || json_array_append_new(list, o))
		return err_set(e, NE_MEMORY, "out of memory");
	return NE_OK;
}

static int all_tables(struct devdb *d, json_t **out, struct err *e)
{
	json_t *list = json_array();
	int rc = list ? NE_OK : err_set(e, NE_MEMORY, "out of memory");

	for (size_t i = 0; !rc && i < d->n_table; i++)
		rc = one_table(d, &d->table[i], list, e);
	if (rc)
		json_decref(list);
	else
		*out = list;
	return rc;
}

/* All that is to be told, the worst first. */
struct report {
	const char *connection; /* where the connection stands, in a word */
	size_t n;
	struct engine_trouble at[ENGINE_TROUBLES + 4];
};

static void tell(struct report *r, const char *state, int code, const char *next_step,
		 const char *fmt, ...) NEAP_PRINTF(5, 6);
static void tell(struct report *r, const char *state, int code, const char *next_step,
		 const char *fmt, ...)
{
	struct engine_trouble *t = &r->at[r->n++];
	va_list args;

	*t = (struct engine_trouble){.state = state, .code = code};
	snprintf(t->next_step, sizeof t->next_step, "%s", next_step);
	va_start(args, fmt);
	vsnprintf(t->reason, sizeof t->reason, fmt, args);
	va_end(args);
}

static const char *online(const struct engine_status *s)
{
	if (s->state == ENGINE_PULLING)
		return "catching-up";
	if (s->state != ENGINE_READY)
		return "connecting";
	if (s->pending_rows > 0 || s->inflight_sets > 0)
		return "sending";
	return s->cursor >= s->head && !s->asking ? "in-sync" : "catching-up";
}

static void tell_offline(const struct link_view *v, struct report *r)
{
	char next[100] = "nothing to do: it is tried again now; changes wait in the database";

	if (!v->problem)
		return;
	if (v->problem == NE_CERT) {
		tell(r, "certificate", NE_CERT,
		     "check that the server's certificate is signed by the CA given at `neap init "
		     "--ca`, and this device's clock",
		     "%s", v->text);
		return;
	}
	if (v->state == CONN_WAITING || v->state == CONN_ASLEEP)
		snprintf(next, sizeof next,
			 "nothing to do: the next try is in %llu s; changes wait in the database",
			 (unsigned long long)((v->retry_in_ms + 999) / 1000));
	tell(r, "offline", v->problem == NE_TIMEOUT ? NE_TIMEOUT : NE_UNREACHABLE, next, "%s",
	     v->text);
}

static void tell_asleep(const struct link_view *v, struct report *r)
{
	char next[100];

	snprintf(next, sizeof next,
		 "nothing to do: it connects in %llu s, or now with `neap sync DB`",
		 (unsigned long long)((v->retry_in_ms + 999) / 1000));
	tell(r, "asleep", NE_OK, next, "the agent connects only now and then (--every)");
}

static void tell_link(const struct engine_status *s, const struct link_view *v, struct report *r)
{
	if (!v) {
		r->connection = "stopped";
		tell(r, "stopped", NE_OK,
		     "start one with `neap run DB`, or sync once with `neap sync DB`",
		     "no agent runs on this database");
		return;
	}
	if (v->rival)
		tell(r, "session-taken", NE_UNREACHABLE,
		     "stop the other one, or `neap init` it with a device id of its own",
		     "another one runs with this user and device: connections were taken over, the "
		     "last one %llu s ago",
		     (unsigned long long)(v->rival_ms / 1000));
	r->connection = v->state == CONN_UP	   ? online(s)
			: v->state == CONN_LOGIN   ? "login-required"
			: v->state == CONN_WAITING ? "offline"
			: v->state == CONN_ASLEEP  ? "asleep"
						   : "connecting";
	if (v->state == CONN_LOGIN)
		tell(r, "login-required", NE_LOGIN,
		     "log in again with `neap init DB --server URL --user U --device D [--ca F]`; "
		     "pending changes are kept",
		     "the server refused this device's login: %s", v->text);
	else if (v->state == CONN_ASLEEP && !v->problem)
		tell_asleep(v, r);
	else if (v->state != CONN_UP)
		tell_offline(v, r);
}

static void tell_blocked(const struct link_view *v, struct report *r)
{
	if (!v || !v->blocked || v->blocked == NE_BUSY)
		return;
	if (v->blocked == NE_DISK)
		tell(r, "disk", NE_DISK, "make room on the disk; it is tried again by itself",
		     "the database cannot be written: %s", v->blocked_text);
	else
		tell(r, "database-failed", v->blocked,
		     "check the file with `PRAGMA integrity_check`; it is tried again by itself",
		     "the database cannot be used: %s", v->blocked_text);
}

/* What is in the way of rows goes before what is in the way of the connection. */
static void gather(const struct engine_status *s, const struct link_view *v, struct report *r)
{
	*r = (struct report){0};
	tell_blocked(v, r);
	for (size_t i = 0; i < s->n_trouble; i++)
		if (s->trouble[i].code)
			r->at[r->n++] = s->trouble[i];
	tell_link(s, v, r);
	for (size_t i = 0; i < s->n_trouble; i++)
		if (!s->trouble[i].code)
			r->at[r->n++] = s->trouble[i];
}

static int put_troubles(const struct report *r, json_t **out, struct err *e)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < r->n; i++) {
		const struct engine_trouble *t = &r->at[i];
		json_t *o =
			json_pack("{s:s, s:s, s:s, s:i}", "state", t->state, "reason", t->reason,
				  "next_step", t->next_step, "exit_code", ne_exit_code(t->code));

		/* What a server sent as a reason may not be UTF-8. */
		if (!o)
			o = json_pack("{s:s, s:s, s:s, s:i}", "state", t->state, "reason",
				      "(not text)", "next_step", t->next_step, "exit_code",
				      ne_exit_code(t->code));
		if (!o || json_array_append_new(list, o)) {
			json_decref(list);
			list = NULL;
		}
	}
	*out = list;
	return list ? NE_OK : err_set(e, NE_MEMORY, "out of memory");
}

/* The worst one's name, if it is in the way of anything; else where the connection stands. */
static const char *state_of(const struct report *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->at[i].code)
			return r->at[i].state;
	return r->connection;
}

int ops_status(struct engine *en, const char *db, const struct link_view *view, json_t **out,
	       struct err *e)
{
	struct engine_status s;
	struct report r;
	json_t *tables, *troubles;
	int64_t now = (int64_t)wall_ms();

	TRY(engine_status(en, &s, e));
	TRY(all_tables(engine_devdb(en), &tables, e));
	gather(&s, view, &r);
	int rc = put_troubles(&r, &troubles, e);
	if (rc) {
		json_decref(tables);
		return rc;
	}
	const char *reason =
		json_string_value(json_object_get(json_array_get(troubles, 0), "reason"));
	/* The age of the oldest pending write; its time may be unknown or ahead of this clock. */
	int64_t age = s.oldest_pending_ms > 0 && s.oldest_pending_ms < now
			      ? now - s.oldest_pending_ms
			      : 0;
	bool asleep = view && view->state == CONN_ASLEEP;
	*out = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:I, s:I,"
		" s:s, s:I, s:I, s:o, s:o, s:s, s:b, s:I, s:I, s:I, s:I}",
		"database", db, "user", engine_devdb(en)->user.at, "device",
		engine_devdb(en)->device.at, "state", state_of(&r), "reason", reason ? reason : "",
		"next_step", r.n ? r.at[0].next_step : "", "pending_rows",
		(json_int_t)s.pending_rows, "pending_bytes", (json_int_t)s.pending_bytes,
		"oldest_pending_ms", (json_int_t)age, "acked_number", (json_int_t)s.acked_number,
		"last_number", (json_int_t)s.last_number, "cursor", (json_int_t)s.cursor, "head",
		(json_int_t)s.head, "verified_ms", (json_int_t)s.verified_wall_ms, "inflight_sets",
		(json_int_t)s.inflight_sets, "parked_rows", (json_int_t)s.parked_rows,
		"rejected_rows", (json_int_t)s.rejected_rows, "problem",
		s.problem ? ne_name(s.problem) : "", "bad_messages",
		(json_int_t)(s.bad_frames + (view ? view->bad_messages : 0)), "other_key_messages",
		(json_int_t)(view ? view->other_key : 0), "tables", tables, "troubles", troubles,
		"connection", r.connection, "pending_bytes_estimated", s.pending_estimated,
		"dropped_rows", (json_int_t)s.dropped_rows, "conflict_rows",
		(json_int_t)s.conflict_rows, "clock_offset_ms", (json_int_t)s.clock_offset_ms,
		"wake_in_ms", (json_int_t)(asleep ? view->retry_in_ms : 0));
	return *out ? NE_OK : err_set(e, NE_MEMORY, "out of memory");
}
