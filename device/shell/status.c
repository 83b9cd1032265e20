/* The answer to "may I overwrite this row now?", as one JSON object. */
#include <string.h>

#include "device/shell/clock.h"
#include "device/shell/ops.h"

static const char *const directions[] = {[DIR_UP] = "up", [DIR_DOWN] = "down", [DIR_BOTH] = "both"};

static int one_table(struct devdb *d, const struct tracked *t, json_t *list, struct err *e)
{
	struct pending_stats pending;

	TRY(cut_pending(d, t, &pending, e));
	json_t *o =
		json_pack("{s:s%, s:s, s:s, s:I, s:s, s:i}", "name", (const char *)t->shape.name.at,
			  t->shape.name.len, "kind",
			  t->shape.kind == SHAPE_APPEND ? "append" : "merge", "direction",
			  directions[t->shape.direction], "pending_rows", (json_int_t)pending.rows,
			  "capture", t->capture_ok ? "ok" : "broken", "priority", t->priority);
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

/* What a person reads: one word, why, and what to do. */
struct words {
	const char *state;
	char reason[400];
	char next[400];
};

static void say_login(const struct link_view *v, struct words *w)
{
	w->state = "login-required";
	snprintf(w->reason, sizeof w->reason, "the server refused this device's login: %s",
		 v->text);
	snprintf(w->next, sizeof w->next,
		 "log in again with `neap init DB --server URL --user U --device D`; pending "
		 "changes "
		 "are kept");
}

static void say_offline(const struct link_view *v, struct words *w)
{
	w->state = v->state == CONN_WAITING ? "offline" : "connecting";
	snprintf(w->reason, sizeof w->reason, "%s", v->text);
	if (v->problem == NE_CERT)
		snprintf(w->next, sizeof w->next,
			 "check that the server's certificate is signed by the CA given at `neap "
			 "init "
			 "--ca`, and this device's clock");
	else if (v->state == CONN_WAITING)
		snprintf(w->next, sizeof w->next,
			 "nothing to do: the next try is in %llu s; changes wait in the database",
			 (unsigned long long)((v->retry_in_ms + 999) / 1000));
}

static void say_online(const struct engine_status *s, struct words *w)
{
	if (s->state == ENGINE_PULLING)
		w->state = "catching-up";
	else if (s->state != ENGINE_READY)
		w->state = "connecting";
	else if (s->pending_rows > 0 || s->inflight_sets > 0)
		w->state = "sending";
	else
		w->state = s->cursor >= s->head ? "in-sync" : "catching-up";
}

static void find_words(const struct engine_status *s, const struct link_view *v, struct words *w)
{
	if (!v) {
		w->state = "stopped";
		snprintf(w->reason, sizeof w->reason, "no agent runs on this database");
		snprintf(w->next, sizeof w->next,
			 "start one with `neap run DB`, or sync once with `neap sync DB`");
	} else if (v->state == CONN_LOGIN) {
		say_login(v, w);
	} else if (v->state == CONN_UP) {
		say_online(s, w);
	} else {
		say_offline(v, w);
	}
	/* What is in the way of rows goes before what is in the way of the connection. */
	if (s->problem || (s->reason[0] && !w->reason[0])) {
		snprintf(w->reason, sizeof w->reason, "%s", s->reason);
		snprintf(w->next, sizeof w->next, "%s", s->next_step);
	}
	if (s->problem && !strcmp(w->state, "in-sync"))
		w->state = "attention";
	if (v && v->blocked) {
		w->state = v->blocked == NE_BUSY ? w->state : "blocked";
		snprintf(w->reason, sizeof w->reason, "the database cannot be written: %s",
			 v->blocked_text);
		snprintf(w->next, sizeof w->next,
			 v->blocked == NE_DISK
				 ? "make room on the disk; it is tried again by itself"
				 : "it is tried again by itself");
	}
}

int ops_status(struct engine *en, const char *db, const struct link_view *view, json_t **out,
	       struct err *e)
{
	struct engine_status s;
	struct words w = {0};
	json_t *tables;
	int64_t now = (int64_t)wall_ms();

	TRY(engine_status(en, &s, e));
	TRY(all_tables(engine_devdb(en), &tables, e));
	find_words(&s, view, &w);
	/* The age of the oldest pending write; its time may be unknown or ahead of this clock. */
	int64_t age = s.oldest_pending_ms > 0 && s.oldest_pending_ms < now
			      ? now - s.oldest_pending_ms
			      : 0;
	*out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I, s:I, s:I,"
			 " s:s, s:I, s:o}",
			 "database", db, "user", engine_devdb(en)->user.at, "device",
			 engine_devdb(en)->device.at, "state", w.state, "reason", w.reason,
			 "next_step", w.next, "pending_rows", (json_int_t)s.pending_rows,
			 "pending_bytes", (json_int_t)s.pending_bytes, "oldest_pending_ms",
			 (json_int_t)age, "acked_number", (json_int_t)s.acked_number, "last_number",
			 (json_int_t)s.last_number, "cursor", (json_int_t)s.cursor, "head",
			 (json_int_t)s.head, "verified_ms", (json_int_t)s.verified_wall_ms,
			 "inflight_sets", (json_int_t)s.inflight_sets, "parked_rows",
			 (json_int_t)s.parked_rows, "rejected_rows", (json_int_t)s.rejected_rows,
			 "problem", s.problem ? ne_name(s.problem) : "", "bad_messages",
			 (json_int_t)(s.bad_frames + (view ? view->bad_messages : 0)), "tables",
			 tables);
	return *out ? NE_OK : err_set(e, NE_MEMORY, "out of memory");
}
