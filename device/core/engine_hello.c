/* Questions to the server and its welcome: what a conclusion may rest on (P2). */
#include <string.h>

#include "device/core/engine_internal.h"

void engine_question_open(struct engine *en, struct question *q, bool clean)
{
	if (!q->backoff_ms)
		q->backoff_ms = RETRY_MS;
	else if (q->backoff_ms < RETRY_MAX_MS)
		q->backoff_ms *= 2;
	q->open = true;
	q->clean = clean;
	q->nonce = engine_random_id(en);
	q->at = en->at;
	q->site = en->d->site;
	q->head = en->head;
	q->sent_ms = en->mono_ms;
	q->due_ms = en->mono_ms + engine_jitter(en, q->backoff_ms) + q->backoff_ms / 2;
}

void engine_question_close(struct question *q)
{
	q->open = false;
	q->backoff_ms = 0;
	q->due_ms = NEVER_MS;
}

void engine_want_hello(struct engine *en, uint64_t ms)
{
	uint64_t at = en->mono_ms + ms;

	if (at < en->hello_at_ms)
		en->hello_at_ms = at;
}

int engine_clean(struct engine *en, bool *clean, struct err *e)
{
	/* The server has lost some of what it had, and what that was is not asked yet. */
	bool any = en->restart && en->welcomed && en->committed < en->acked_number;

	*clean = false;
	if (any || en->n_flight)
		return NE_OK;
	TRY(cut_any_pending(en->d, &any, e));
	if (!any)
		TRY(engine_unreported(en, &any, e));
	*clean = !any;
	return NE_OK;
}

static int conclude(struct engine *en)
{
	for (size_t i = 0; i < en->n_sync; i++) {
		struct action *a = engine_act(en, ACT_SYNCED);

		if (!a)
			return NE_MEMORY;
		a->sync_id = en->syncs[i];
	}
	en->n_sync = 0;
	return NE_OK;
}

int engine_answered(struct engine *en, const struct question *q, uint64_t head, struct err *e)
{
	bool clean;

	/* A hint heard since the question was asked may be newer than the answer. */
	if (head > en->head || q->head == en->head)
		en->head = head;
	TRY(engine_backfill(en, e));
	en->check_at_ms = en->mono_ms + engine_jitter(en, en->cfg.check_ms);
	if (en->at.full || en->at.cursor != head || en->at.cursor < en->at.hold || !en->welcomed ||
	    en->backfill.table)
		return NE_OK;
	en->verified_wall_ms = en->now_ms;
	TRY(devdb_set(en->d, "verified_ms", (int64_t)en->now_ms, e));
	if (!q->clean || !en->n_sync)
		return NE_OK;
	TRY(engine_clean(en, &clean, e));
	return clean ? conclude(en) : NE_OK;
}

int engine_ask_hello(struct engine *en, struct err *e)
{
	struct frame f = {.type = FRAME_HELLO};
	struct shape_id shapes[LIMIT_TABLES];
	size_t n = 0;
	int64_t last_number, last_cut;
	bool clean;

	TRY(devdb_get(en->d, "last_number", &last_number, e));
	TRY(devdb_get(en->d, "last_cut", &last_cut, e));
	TRY(engine_clean(en, &clean, e));
	for (size_t i = 0; i < en->d->n_table && n < LIMIT_TABLES; i++)
		shapes[n++] = en->d->table[i].shape.id;
	en->hello_at_ms = NEVER_MS;
	engine_question_open(en, &en->hello, clean);
	en->hello.last_number = (uint64_t)last_number;
	f.hello = (struct f_hello){
		.nonce = en->hello.nonce,
		.site = en->d->site,
		.last_number = (uint64_t)last_number,
		.last_cut = (uint64_t)last_cut,
		.at = en->at,
		.n_shape = n,
		.shape = shapes,
	};
	return engine_publish(en, &f, e);
}

/* A sync that waits needs an answer to a question asked when all was done. */
static int want_answer(struct engine *en, struct err *e)
{
	bool clean;

	if (!en->n_sync || !en->welcomed || en->hello.open || en->pull.open || engine_behind(en))
		return NE_OK;
	TRY(engine_clean(en, &clean, e));
	if (clean)
		engine_want_hello(en, 0);
	return NE_OK;
}

int engine_ask(struct engine *en, struct err *e)
{
	if (!en->link)
		return NE_OK;
	if (en->mono_ms >= en->check_at_ms) {
		en->check_at_ms = en->mono_ms + engine_jitter(en, en->cfg.check_ms);
		engine_want_hello(en, 0);
	}
	TRY(engine_backfill(en, e));
	TRY(want_answer(en, e));
	/* Pages of a full pull are as new as what the welcome says is committed, or newer. */
	if (!engine_behind(en) || (en->at.full && !en->welcomed))
		en->pull_at_ms = NEVER_MS;
	else if (en->pull_at_ms == NEVER_MS)
		engine_want_pull(en, engine_jitter(en, 2 * GAP_MS));
	if (en->mono_ms < en->busy_until_ms)
		return NE_OK;
	if (en->hello.open ? en->mono_ms >= en->hello.due_ms : en->mono_ms >= en->hello_at_ms)
		TRY(engine_ask_hello(en, e));
	if (en->pull.open ? en->mono_ms >= en->pull.due_ms : en->mono_ms >= en->pull_at_ms)
		TRY(engine_ask_pull(en, e));
	return NE_OK;
}

static bool listed(const struct shape_id *only, size_t n, struct shape_id id)
{
	for (size_t i = 0; i < n; i++) {
		if (shape_id_eq(only[i], id))
			return true;
	}
	return !n;
}

int engine_declare(struct engine *en, const struct shape_id *only, size_t n, struct err *e)
{
	struct slice shapes[LIMIT_TABLES];
	struct frame f = {.type = FRAME_DECLARE, .declare = {.shape = shapes}};
	size_t bytes = 0;

	for (size_t i = 0; i < en->d->n_table; i++) {
		const struct tracked *t = &en->d->table[i];

		if (!listed(only, n, t->shape.id))
			continue;
		if (f.declare.n && (bytes + t->encoded_shape.len > en->cfg.piece_bytes / 2 ||
				    f.declare.n == LIMIT_TABLES)) {
			TRY(engine_publish(en, &f, e));
			f.declare.n = bytes = 0;
		}
		shapes[f.declare.n++] = t->encoded_shape;
		bytes += t->encoded_shape.len;
	}
	return f.declare.n ? engine_publish(en, &f, e) : NE_OK;
}

static void measure(struct engine *en, const struct question *q, uint64_t server_ms)
{
	uint64_t rtt = en->mono_ms - q->sent_ms;

	engine_heard_time(en, server_ms);
	if (rtt > RTT_MAX_MS || server_ms > INT64_MAX / 2 || en->now_ms > INT64_MAX / 2)
		return;
	en->has_offset = true;
	en->offset_ms = (int64_t)server_ms + (int64_t)(rtt / 2) - (int64_t)en->now_ms;
}

/* Sets the server has are acknowledged; where their echo is, is unknown: their seqs are pulled. */
static int take_last_number(struct engine *en, const struct f_welcome *w, bool *behind)
{
	*behind = false;
	for (size_t i = 0; i < en->n_flight; i++) {
		struct flight *f = en->flight[i];

		if (f->number == w->last_number && f->cut != w->last_cut)
			*behind = true;
		if (f->number > w->last_number || f->acked)
			continue;
		f->acked = true;
		f->head = w->head;
		f->own = 0;
		f->n_want = 0;
		f->due_ms = NEVER_MS;
		if (f->number > en->acked_number)
			en->acked_number = f->number;
	}
	en->committed = w->last_number;
	return NE_OK;
}

/* A hello ends the sets given out before it that the server does not have. */
static bool fenced(const struct engine *en, const struct question *q, const struct f_welcome *w)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		const struct flight *f = en->flight[i];
		if (!f->acked && f->number > w->last_number && f->number <= q->last_number)
			return true;
	}
	return false;
}

static int welcome_site(struct engine *en, const struct question *q, const struct f_welcome *w,
			bool *done, struct err *e)
{
	bool behind = w->site_status != SITE_OK;
	int64_t last;

	*done = false;
	if (w->site != en->d->site)
		return NE_OK;
	TRY(devdb_get(en->d, "last_number", &last, e));
	if (w->site_status == SITE_BEHIND && w->last_number > q->last_number &&
	    w->last_number <= (uint64_t)last) {
		/* A set cut since overtook the question: that is no other copy of us. */
		en->quiet = true;
		engine_want_hello(en, 0);
		*done = true;
		return NE_OK;
	}
	if (!behind && en->welcomed && fenced(en, q, w))
		TRY(engine_forget(en, e));
	if (!behind && !en->welcomed && (uint64_t)last > q->last_number && !fenced(en, q, w)) {
		/* Sets given out since may yet be committed: nothing is cut anew before that is
		 * known. */
		engine_want_hello(en, 0);
		*done = true;
		return NE_OK;
	}
	if (!behind && !en->welcomed)
		TRY(take_last_number(en, w, &behind));
	if (!behind)
		return NE_OK;
	engine_problem(en, NE_OK,
		       w->site_status == SITE_CLASH
			       ? "another device of this user used a copy of this database"
			       : "this database is an older copy of itself (restored or cloned)",
		       "nothing to do: it goes on under a new site id");
	*done = true;
	return engine_new_site(en, w->site_status == SITE_CLASH, e);
}

/* Takes the store and term of an answer. *again: the position moved since it was asked. */
static int welcome_term(struct engine *en, const struct question *q, const struct f_welcome *w,
			bool *again, struct err *e)
{
	*again = false;
	if (en->at.store && en->at.store != w->store)
		return engine_begin_full(en, w->store, w->term, w->head, true, e);
	if (!en->at.store)
		return engine_begin_full(en, w->store, w->term, w->head, false, e);
	if (en->at.term == w->term)
		return NE_OK;
	/* What was applied since may be of the old term's lost end. */
	*again = !engine_stands_at(en, &q->at);
	return *again ? NE_OK : engine_adopt(en, w->store, w->term, e);
}

int engine_on_welcome(struct engine *en, const struct f_welcome *w, struct err *e)
{
	struct question q = en->hello;
	bool again, done;

	if (!q.open || w->nonce != q.nonce || !w->store || !w->term)
		return NE_OK;
	engine_question_close(&en->hello);
	measure(en, &q, w->server_ms);
	TRY(welcome_term(en, &q, w, &again, e));
	if (again || q.site != en->d->site) {
		engine_want_hello(en, 0);
		return NE_OK;
	}
	TRY(welcome_site(en, &q, w, &done, e));
	if (done)
		return NE_OK;
	TRY(engine_tell_again(en, w->term, w->noted, e));
	en->welcomed = true;
	if (en->at.full && !en->at.cursor)
		TRY(engine_settle_known(en, e));
	en->quiet = false;
	en->hello_at_ms = NEVER_MS;
	en->declaring = w->n_unknown > 0;
	if (w->n_unknown)
		TRY(engine_declare(en, w->unknown, w->n_unknown, e));
	TRY(engine_answered(en, &q, w->head, e));
	if (engine_behind(en))
		engine_want_pull(en, 0);
	return NE_OK;
}
