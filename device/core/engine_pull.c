/* Catching up: pulls, their pages, and resets (rules P1, P3, P7). */
#include <string.h>

#include "device/core/engine_internal.h"

bool engine_behind(const struct engine *en)
{
	return en->at.store && (en->at.full || en->backfill.table || en->at.cursor < en->at.hold ||
				en->at.cursor < en->head);
}

void engine_want_pull(struct engine *en, uint64_t ms)
{
	uint64_t at = en->mono_ms + ms;

	if (at < en->pull_at_ms)
		en->pull_at_ms = at;
}

int engine_ask_pull(struct engine *en, struct err *e)
{
	struct frame f = {.type = FRAME_PULL};
	bool clean, alone = engine_backfill_turn(en);

	TRY(engine_clean(en, &clean, e));
	en->pull_at_ms = NEVER_MS;
	engine_question_open(en, &en->pull, clean);
	f.pull = (struct f_pull){
		.nonce = en->pull.nonce,
		.number = ++en->pull_number,
		.at = en->at,
		.token = buf_slice(&en->token),
		.credit = PULL_CREDIT,
	};
	en->pull.table = 0;
	if (alone)
		engine_backfill_ask(en, &f.pull);
	return engine_publish(en, &f, e);
}

/* The next place in `learnt`; the oldest shape goes when all are taken. */
static struct learnt *learn_place(struct engine *en)
{
	struct learnt *l = &en->learnt[en->next_learnt];

	en->next_learnt = (en->next_learnt + 1) % LEARNT_MAX;
	if (en->n_learnt < LEARNT_MAX)
		en->n_learnt++;
	arena_free(&l->arena);
	memset(l, 0, sizeof(*l));
	return l;
}

/* Keeps a page's declarations: broadcasts name these shapes by id only. */
static int learn(struct engine *en, const struct f_page *p, struct err *e)
{
	for (size_t i = 0; i < p->n_shape; i++) {
		struct arena a = {.max = LIMIT_SLICE};
		struct shape s;
		int rc = shape_decode(p->shape[i], &a, &s, e);

		if (!rc && !engine_find_shape(en, s.id)) {
			struct learnt *l = learn_place(en);

			l->shape = s;
			l->arena = a;
		} else {
			arena_free(&a);
		}
		TRY(rc);
	}
	return NE_OK;
}

static bool sound(const struct f_page *p)
{
	if (!p->store || !p->term || p->upto < p->from || p->head < p->upto)
		return false;
	if (p->token.len)
		return p->upto == p->from;
	return p->upto > p->from || p->head == p->from;
}

/*
 * An insert that the server took and then lost to a delete whose tombstone is gone is in no page,
 * and its mark would keep the row from the sweep. So the sweep waits until the server told which
 * sets it has, and until the pages are as new as their acknowledgements.
 */
static bool covered(const struct engine *en)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		if (en->flight[i]->acked && en->flight[i]->head > en->at.cursor)
			return false;
	}
	return en->welcomed;
}

/* All rows were seen: what the server does not have goes, a bounded number at a time. */
static int finish_full(struct engine *en, struct err *e)
{
	struct position at = en->at;
	struct applied done;
	bool more = !en->cfg.broken.no_sweep;

	TRY(engine_settle_covered(en, e));
	at.full = false;
	at.base = 0;
	while (more) {
		TRY(apply_full_end(en->d, &done, &more, e));
		engine_applied(en, &done);
	}
	TRY(devdb_begin(en->d, e));
	TRY(engine_put_position(en, &at, e));
	TRY(db_exec(en->d->db, "DELETE FROM neap_catchup WHERE begun", e));
	TRY(devdb_commit(en->d, e));
	en->at = at;
	en->dirty = true;
	en->save_lost = false;
	return coverage_look(en->d, e);
}

static int take_page(struct engine *en, const struct f_page *p, const struct rows *rows,
		     struct err *e)
{
	struct question q = en->pull;
	struct progress to = {.at = en->at};

	if (p->head > to.at.hold)
		to.at.hold = p->head;
	if (q.table) {
		TRY(engine_backfill_page(en, p, rows, &to, e));
	} else {
		to.at.cursor = p->upto;
		TRY(engine_apply(en, rows, &to, e));
	}
	/* Not before: a page that was not applied, as the app holds the lock, is asked for again.
	 */
	buf_clear(&en->token);
	TRY(buf_put(&en->token, p->token.at, p->token.len));
	engine_drop_heard(en, en->at.cursor);
	if (en->at.full && !p->token.len && en->at.cursor >= en->at.hold && covered(en))
		TRY(finish_full(en, e));
	engine_question_close(&en->pull);
	TRY(engine_answered(en, &q, p->head, e));
	if (p->token.len || engine_behind(en))
		engine_want_pull(en, 0);
	return NE_OK;
}

int engine_on_page(struct engine *en, const struct f_page *p, struct err *e)
{
	const struct question *q = &en->pull;
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	struct rows rows;
	int rc;

	if (!q->open || p->nonce != q->nonce)
		return NE_OK;
	if (!sound(p)) {
		en->bad_frames++;
		return NE_OK;
	}
	if (p->store != en->at.store)
		return engine_begin_full(en, p->store, p->term, p->head, true, e);
	if (!engine_stands_at(en, &q->at) ||
	    (q->table ? !engine_backfill_answers(en, p) : p->from != en->at.cursor)) {
		/* A broadcast moved the cursor meanwhile. */
		engine_question_close(&en->pull);
		buf_clear(&en->token);
		engine_want_pull(en, 0);
		return NE_OK;
	}
	if (p->term != en->at.term) {
		TRY(engine_adopt(en, p->store, p->term, e));
		en->head = p->head;
		engine_want_pull(en, 0);
		return NE_OK;
	}
	rc = learn(en, p, e);
	if (!rc)
		rc = rows_decode(p->rows, SITE_SERVER, finder, &en->tmp, &rows, NULL, e);
	if (rc) {
		/* Asked again when the question is due: nothing of it was taken. */
		en->bad_frames++;
		return NE_OK;
	}
	return take_page(en, p, &rows, e);
}

int engine_on_reset(struct engine *en, const struct f_reset *r, struct err *e)
{
	struct question *const open[] = {&en->hello, &en->pull, &en->verify.question};
	struct question *q = NULL;

	for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++) {
		if (open[i]->open && open[i]->nonce == r->nonce)
			q = open[i];
	}
	if (!q || !r->store || !r->term)
		return NE_OK;
	if (!engine_stands_at(en, &q->at)) {
		engine_question_close(q);
		engine_want_hello(en, 0);
		return NE_OK;
	}
	TRY(engine_begin_full(en, r->store, r->term, r->head, en->at.store != 0, e));
	engine_want_pull(en, 0);
	return NE_OK;
}
