/* Asking a server that lost some of what it had acknowledged which append rows it has (P8). */
#include "device/core/engine_internal.h"

enum {
	LOST_PAUSE_MS = 1,   /* between pieces of work: the app's writers get in */
	LOST_BUSY_MS = 1000, /* the database was locked */
};

void engine_lost_close(struct engine *en)
{
	if (en->lost.open)
		en->lost_at_ms = en->mono_ms;
	engine_question_close(&en->lost);
}

int engine_look_for_lost(struct engine *en, struct err *e)
{
	bool any;

	TRY(lost_any(en->d, &any, e));
	engine_question_close(&en->lost);
	en->lost_at_ms = any ? en->mono_ms + LOST_PAUSE_MS : NEVER_MS;
	return NE_OK;
}

uint64_t engine_lost_time(const struct engine *en)
{
	if (!en->welcomed || en->restart)
		return NEVER_MS;
	return en->lost.open ? en->lost.due_ms : en->lost_at_ms;
}

static int ask(struct engine *en, struct err *e)
{
	const struct lost_question *q = &en->lost_question;
	struct frame f = {.type = FRAME_ASK};

	engine_question_open(en, &en->lost, false);
	f.ask = (struct f_ask){
		.nonce = en->lost.nonce,
		.shape = q->shape,
		.site = q->site,
		.gen = (uint64_t)q->gen,
		.after = q->after,
		.upto = q->upto,
		.salt = q->salt,
	};
	return engine_publish(en, &f, e);
}

/* No set is in flight that carries rows of the tables in question: they are not cut meanwhile. */
int engine_ask_lost(struct engine *en, struct err *e)
{
	enum lost_todo todo;
	int rc;

	if (!en->link || en->mono_ms < en->busy_until_ms || en->mono_ms < engine_lost_time(en))
		return NE_OK;
	rc = lost_next(en->d, engine_random_id(en), &todo, &en->lost_question, e);
	if (rc == NE_BUSY) {
		/* Nothing but these tables waits for it. */
		engine_question_close(&en->lost);
		en->lost_at_ms = en->mono_ms + LOST_BUSY_MS;
		return NE_OK;
	}
	TRY(rc);
	if (todo == LOST_ASK)
		return ask(en, e);
	engine_question_close(&en->lost);
	en->lost_at_ms = todo == LOST_WORK ? en->mono_ms + LOST_PAUSE_MS : NEVER_MS;
	/* A table that is done with may be cut. */
	en->dirty = true;
	return NE_OK;
}

int engine_on_ranges(struct engine *en, const struct f_ranges *r, struct err *e)
{
	const struct lost_known known = {
		.foreign = r->foreign, .upto = r->upto, .runs = r->runs, .keys = r->keys};
	bool taken;
	int rc;

	TRY(engine_verify_ranges(en, r, &taken, e));
	if (taken || !en->lost.open || r->nonce != en->lost.nonce)
		return NE_OK;
	if (r->store != en->at.store || r->term != en->at.term) {
		/* It may have lost more since: its welcome tells. */
		engine_want_hello(en, 0);
		return NE_OK;
	}
	rc = lost_answer(en->d, &en->lost_question, &known, e);
	if (rc == NE_MALFORMED) {
		/* Asked again when the question is due: nothing of it was taken. */
		en->bad_frames++;
		return NE_OK;
	}
	TRY(rc);
	engine_question_close(&en->lost);
	en->lost_at_ms = en->mono_ms;
	return NE_OK;
}
