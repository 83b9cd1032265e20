/* The server's answers to sets: acknowledged, out of order, refused, too busy. */
#include <stdio.h>

#include "device/core/engine_internal.h"

static uint64_t own_of(const struct f_ack *a, uint64_t number)
{
	for (size_t i = 0; i < a->n; i++) {
		if (a->set[i].number == number)
			return a->set[i].own;
	}
	return 0;
}

/* Nothing of another term counts: the store may be a restored one. */
static bool of_our_term(struct engine *en, uint64_t store, uint64_t term)
{
	if (store == en->at.store && term == en->at.term)
		return true;
	engine_want_hello(en, 0);
	return false;
}

static void progress(struct engine *en)
{
	en->backoff = 1;
	if (en->window < en->cfg.inflight_sets)
		en->window++;
	if (!engine_unacked(en))
		en->cut_at_ms = 0;
	en->refused_ms = 0;
	en->unread = 0;
	en->few_rows *= 2;
	if (en->few_rows >= en->cfg.set_rows)
		en->few_rows = 0;
	if (!en->any_held)
		en->held_ms = 0;
	/* That the database has a new site is told as long as the agent runs. */
	if (!en->any_held && !en->no_room && en->problem)
		engine_problem(en, NE_OK, "", "");
	for (size_t i = 0; i < en->n_flight; i++) {
		struct flight *f = en->flight[i];

		if (!f->acked && !f->n_want && f->due_ms != NEVER_MS)
			f->due_ms = en->mono_ms + en->cfg.ack_ms;
	}
}

int engine_on_ack(struct engine *en, const struct f_ack *a, struct err *e)
{
	bool any = false;

	(void)e;
	if (a->site != en->d->site || a->head > INT64_MAX)
		return NE_OK;
	if (!of_our_term(en, a->store, a->term))
		return NE_OK;
	/* Before the welcome we do not know whether the numbers are ours. */
	if (!en->welcomed)
		return NE_OK;
	if (a->head > en->head)
		en->head = a->head;
	/* A number we never gave out is another copy's of this file: the welcome will say so. */
	if (en->n_flight && a->number > en->acked_number && !engine_flight(en, a->number)) {
		engine_want_hello(en, 0);
		return NE_OK;
	}
	for (size_t i = 0; i < en->n_flight; i++) {
		struct flight *f = en->flight[i];

		if (f->acked || f->number > a->number)
			continue;
		f->acked = any = true;
		en->no_room = en->no_room && f->deletes;
		f->head = a->head;
		f->own = own_of(a, f->number);
		f->n_want = 0;
		f->due_ms = NEVER_MS;
		buf_free(&f->frame);
		en->acked_number = en->committed = f->number;
	}
	if (any)
		progress(en);
	return NE_OK;
}

static const struct flight *oldest_unacked(const struct engine *en)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		if (!en->flight[i]->acked)
			return en->flight[i];
	}
	return NULL;
}

int engine_on_expect(struct engine *en, const struct f_expect *x, struct err *e)
{
	const struct flight *first = oldest_unacked(en);
	const struct flight *after = engine_flight(en, x->after);

	if (x->site != en->d->site || !of_our_term(en, x->store, x->term))
		return NE_OK;
	if (!en->welcomed || en->restart || !first || !engine_flight(en, x->number))
		return NE_OK;
	if (x->after != first->prev && !after) {
		/* The server's numbers are not the ones we count on: ask, and cut anew. */
		engine_back_off(en, BUSY_MS);
		return engine_forget(en, e);
	}
	/* Sets or their acks were lost; one resend answers a whole run of these. */
	if (en->resent_ms && en->mono_ms < en->resent_ms + en->cfg.ack_ms / 2)
		return NE_OK;
	en->resent_ms = en->mono_ms;
	engine_resend(en);
	return NE_OK;
}

void engine_on_busy(struct engine *en, const struct f_busy *b)
{
	uint64_t ms = b->retry_ms < RETRY_MAX_MS ? b->retry_ms : RETRY_MAX_MS;

	if (ms < BUSY_MS)
		ms = BUSY_MS;
	en->busy_until_ms = en->mono_ms + ms / 2 + engine_jitter(en, ms);
	if (en->window > 1)
		en->window /= 2;
	engine_resend(en);
	/* What we asked may have been dropped with the rest, and declarations not been taken. */
	if (en->declaring && !en->hello.open)
		engine_want_hello(en, en->busy_until_ms - en->mono_ms);
	if (en->hello.open)
		en->hello.due_ms = en->busy_until_ms;
	if (en->pull.open)
		en->pull.due_ms = en->busy_until_ms;
}

void engine_on_receipt(struct engine *en, const struct f_receipt *r)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		struct flight *f = en->flight[i];

		if (f->cut != r->cut || f->acked || !f->frame.len || en->restart)
			continue;
		if (en->cfg.broken.receipt_clears) {
			f->acked = true;
			continue;
		}
		for (size_t k = 0; k < r->n_missing; k++) {
			if (r->missing[k] >= f->n_piece || f->want[r->missing[k]])
				continue;
			f->want[r->missing[k]] = true;
			f->n_want++;
		}
		f->due_ms = f->n_want ? NEVER_MS : en->mono_ms + en->cfg.ack_ms * en->backoff;
	}
}

static const char *refuse_reason(enum refuse_code code)
{
	switch (code) {
	case REFUSE_SCHEMA:
		return "the server does not take a table of this device as it is";
	case REFUSE_DIRECTION:
		return "the server takes no changes of a table from devices";
	case REFUSE_QUOTA:
		return "this user's space on the server is used up";
	case REFUSE_COLLISION:
		return "the server has other rows under the identities of these";
	case REFUSE_UNKNOWN_SHAPE:
		return "the server does not accept the declaration of a table";
	default:
		return "the server could not read a change set of this device";
	}
}

static const char *refuse_next(enum refuse_code code)
{
	switch (code) {
	case REFUSE_SCHEMA:
		return "ask the operator to allow it, or `neap untrack` the table; then `neap "
		       "sync`, "
		       "or wait: it is tried again after 5 minutes, later up to an hour";
	case REFUSE_DIRECTION:
		return "`neap track` the table with --direction down, or ask the operator";
	case REFUSE_QUOTA:
		return "ask the operator for more space, or delete rows; it is tried again by "
		       "itself";
	case REFUSE_COLLISION:
		return "was this database restored from a copy? its rows are sent again under a "
		       "new identity";
	default:
		return "update Neap on this device and on the server";
	}
}

static const char *refuse_state(enum refuse_code code)
{
	switch (code) {
	case REFUSE_SCHEMA:
	case REFUSE_UNKNOWN_SHAPE:
		return "schema-refused";
	case REFUSE_DIRECTION:
		return "direction-refused";
	case REFUSE_QUOTA:
		return "quota";
	case REFUSE_COLLISION:
		return "collision";
	default:
		return "set-refused";
	}
}

static void say_refused(struct engine *en, const struct f_refuse *r)
{
	char reason[sizeof(en->reason)];
	int len = r->text.len < 120 ? (int)r->text.len : 120;

	snprintf(reason, sizeof(reason), "%s%s%.*s", refuse_reason(r->code), len ? ": " : "", len,
		 len ? (const char *)r->text.at : "");
	engine_problem(en, NE_ROWS, reason, refuse_next(r->code));
	en->problem_state = refuse_state(r->code);
}

/* The table is left out for a while that doubles; the others go on. */
static bool hold_table(struct engine *en, const struct f_refuse *r)
{
	struct tracked *t = r->n_shape ? devdb_table_by_shape(en->d, r->shape[0]) : NULL;

	if (!t || t->held)
		return false;
	t->held = en->any_held = true;
	en->held_ms = en->held_ms ? 2 * en->held_ms : REFUSED_MS;
	if (en->held_ms > REFUSED_MAX_MS)
		en->held_ms = REFUSED_MAX_MS;
	en->held_until_ms = en->mono_ms + engine_jitter(en, en->held_ms);
	return true;
}

/* A refusal that only people can change: kept visible, tried again now and then. */
static int wait_for_people(struct engine *en, const struct f_refuse *r, struct err *e)
{
	say_refused(en, r);
	if (!hold_table(en, r))
		engine_back_off(en, REFUSED_MS);
	return engine_forget(en, e);
}

/* Tries again soon, without the back-off that doubles: what is tried gets smaller each time. */
static int again_soon(struct engine *en, struct err *e)
{
	en->refused_until_ms = en->mono_ms + engine_jitter(en, 2 * BUSY_MS);
	return engine_forget(en, e);
}

/* All stays pending; deletes, which make room, go up by themselves before it is tried again. */
static int no_room(struct engine *en, const struct f_refuse *r, const struct flight *f,
		   struct err *e)
{
	say_refused(en, r);
	en->no_room = true;
	en->deletes = !f->deletes;
	if (en->deletes)
		return again_soon(en, e);
	engine_wait_for_room(en);
	return engine_forget(en, e);
}

static int declare_again(struct engine *en, const struct f_refuse *r, struct flight *f,
			 struct err *e)
{
	if (r->n_shape && !shape_id_eq(f->undeclared_shape, r->shape[0])) {
		f->undeclared_shape = r->shape[0];
		f->undeclared = 0;
	}
	if (++f->undeclared > REFUSED_SHAPES_MAX)
		return wait_for_people(en, r, e);
	TRY(engine_declare(en, r->shape, r->n_shape, e));
	engine_resend(en);
	return NE_OK;
}

/*
 * The set is cut anew without the rows to blame, which are among the rejected; rows under
 * identities that the server has with other content get new ones. A row that the server cannot read
 * is narrowed down; when row after row is like that, it is not the rows.
 */
static int without_rows(struct engine *en, const struct f_refuse *r, const struct flight *f,
			struct err *e)
{
	bool unread = r->code == REFUSE_MALFORMED;
	size_t done;

	if (unread && f->n_row > 1) {
		en->few_rows = f->n_row / 2;
		return again_soon(en, e);
	}
	if (unread && en->unread == UNREAD_ROWS_MAX)
		return wait_for_people(en, r, e);
	TRY(engine_refused_rows(en, r, f, &done, e));
	en->unread += unread;
	if (!done && r->code == REFUSE_COLLISION)
		return wait_for_people(en, r, e);
	if (!done) /* the table has changed since: it is cut as it is now */
		engine_back_off(en, AGAIN_MS);
	return done ? again_soon(en, e) : engine_forget(en, e);
}

/* Also a site of ours in the past may have become another device's, by a copy of the file. */
static int site_clash(struct engine *en, const struct flight *f, struct err *e)
{
	if (!f->captured)
		return engine_new_site(en, true, e);
	en->disown = f->captured;
	return again_soon(en, e);
}

int engine_on_refuse(struct engine *en, const struct f_refuse *r, struct err *e)
{
	struct flight *f = engine_flight(en, r->number);

	if (!r->number && !r->site) {
		/* A declaration: the sets that need it will be refused, too. */
		say_refused(en, r);
		return NE_OK;
	}
	if (r->site != en->d->site || !of_our_term(en, r->store, r->term))
		return NE_OK;
	if (!en->welcomed || en->restart || !f || f->cut != r->cut || f->acked)
		return NE_OK;
	switch (r->code) {
	case REFUSE_UNKNOWN_SHAPE:
		return declare_again(en, r, f, e);
	case REFUSE_SITE_CLASH:
		return site_clash(en, f, e);
	case REFUSE_FAR_AHEAD:
		en->restamp = true;
		engine_back_off(en, AGAIN_MS);
		en->has_offset = false;
		return engine_forget(en, e);
	case REFUSE_QUOTA:
		return no_room(en, r, f, e);
	case REFUSE_COLLISION:
	case REFUSE_ROWS:
	case REFUSE_MALFORMED:
		return without_rows(en, r, f, e);
	case REFUSE_STALE:
		engine_back_off(en, AGAIN_MS);
		return engine_forget(en, e);
	default:
		return wait_for_people(en, r, e);
	}
}
