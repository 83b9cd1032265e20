/*
 * Comparing an append table with what the server has (J6): by the numbers of the rows that were
 * acknowledged and are still here. What they say is not compared: a row may be changed here once it
 * has gone up. Rows that an operator deleted count as received (P8).
 */
#include "device/core/engine_internal.h"

static struct verify_counts *counts(struct engine *en)
{
	return &en->verify.report.table[en->verify.report.at].n;
}

static int all_asked(struct engine *en, struct err *e)
{
	const struct verify_table *t = &en->verify.report.table[en->verify.report.at];

	/* Pending ones, and those whose number is not kept. */
	if (t->total > t->n.rows)
		counts(en)->left_out = t->total - t->n.rows;
	return engine_verify_end_table(en, VERIFY_DONE, e);
}

int engine_verify_append(struct engine *en, const struct tracked *t, struct err *e)
{
	struct verification *v = &en->verify;
	struct frame f = {.type = FRAME_ASK};
	bool done, lost;

	TRY(lost_any(en->d, &lost, e));
	if (lost || (v->hold_cuts && en->n_flight)) {
		engine_verify_pause(en);
		return NE_OK;
	}
	TRY(lost_compare_next(en->d, t, &v->append, &v->asked, &done, e));
	if (done)
		return all_asked(en, e);
	engine_question_open(en, &v->question, false);
	v->silent++;
	f.ask = (struct f_ask){
		.nonce = v->question.nonce,
		.shape = v->asked.shape,
		.site = v->asked.site,
		.gen = (uint64_t)v->asked.gen,
		.after = v->asked.after,
		.upto = v->asked.upto,
	};
	return engine_publish(en, &f, e);
}

static int take(struct engine *en, const struct tracked *t, const struct lost_known *known,
		struct err *e)
{
	struct verification *v = &en->verify;
	struct lost_compare before = v->append;
	bool repair = v->report.repair;
	uint64_t rows, lacking;

	TRY(lost_compare_answer(en->d, t, &v->append, &v->asked, known, repair && !en->n_flight,
				&rows, &lacking, e));
	if (lacking && repair && en->n_flight) {
		/* What is sent again must be in no set that is under way: once more, then. */
		v->append = before;
		v->hold_cuts = true;
		engine_verify_pause(en);
		return NE_OK;
	}
	v->silent = 0;
	v->hold_cuts = false;
	counts(en)->rows += rows;
	counts(en)->extra += lacking;
	if (lacking && repair) {
		counts(en)->repaired += lacking;
		TRY(cutter_restart(en->cutter, e));
		en->dirty = true;
	}
	engine_verify_again(en);
	return NE_OK;
}

int engine_verify_ranges(struct engine *en, const struct f_ranges *r, bool *taken, struct err *e)
{
	const struct lost_known known = {
		.foreign = r->foreign, .upto = r->upto, .runs = r->runs, .keys = r->keys};
	struct verification *v = &en->verify;
	const struct tracked *t;
	bool lost;
	int rc;

	*taken = v->on && v->question.open && r->nonce == v->question.nonce;
	if (!*taken)
		return NE_OK;
	t = devdb_table_by_id(en->d, v->table[v->report.at]);
	TRY(lost_any(en->d, &lost, e));
	if (lost || !t || !t->capture_ok || !shape_id_eq(t->shape.id, v->asked.shape) ||
	    r->store != en->at.store || r->term != en->at.term) {
		engine_verify_pause(en);
		return NE_OK;
	}
	rc = take(en, t, &known, e);
	if (rc != NE_MALFORMED)
		return rc;
	en->bad_frames++;
	engine_verify_pause(en);
	return NE_OK;
}
