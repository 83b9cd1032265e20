/*
 * Pulling one table from 0, beside the stream (J5): after a column was added, a table tracked anew,
 * a capture lost.
 *
 * Its pages hold rows whose newest seq is not above the cursor, so nothing in them is newer than
 * what the stream brought. The cursor may move on between two of them; what the stream brings of
 * the table meanwhile is asked for once more, since a broadcast has only cells. Once the table's
 * own cursor reaches the stream's, a row that has not come yet has a newer seq than that, but none
 * above hold, which these pages raise as all do (P3): so it comes whole by the stream, and the
 * table is complete when the stream gets to hold.
 *
 * Nothing of the table goes up before that. Its sets in flight were forgotten when the change was
 * noticed, so the echo of each of its rows comes, too, and no row is missed because its ack stood
 * in.
 */
#include "device/core/engine_internal.h"

static void go_on(struct engine *en, int64_t table, uint64_t from)
{
	en->backfill = (struct backfill){.table = table, .from = from};
	en->d->seen_table = table;
}

/* Goes on with the pull of `t` that a run before this one began. *yes is false if there is none. */
static int resume(struct engine *en, const struct tracked *t, bool *yes, struct err *e)
{
	sqlite3_stmt *s;
	uint64_t from = 0;

	TRY(db_prepare(en->d->db, "SELECT cursor FROM neap_catchup WHERE table_id = ?1 AND begun",
		       &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	TRY(db_step(en->d->db, s, yes, e));
	if (*yes)
		from = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_reset(s);
	/* … unless the table has changed since. */
	if (*yes)
		TRY(coverage_has(en->d, t->shape.id, yes, e));
	if (*yes)
		go_on(en, t->id, from);
	return NE_OK;
}

static int begin(struct engine *en, const struct tracked *t, struct err *e)
{
	TRY(devdb_begin(en->d, e));
	TRY(db_execf(en->d->db, e,
		     "INSERT INTO neap_catchup(table_id, mode, known, begun, cursor)"
		     " VALUES(%lld, %d, 0, 1, 0) ON CONFLICT DO UPDATE SET begun = 1, cursor = 0",
		     (long long)t->id, CATCHUP_PULL));
	TRY(coverage_add(en->d, t, e));
	TRY(apply_table_begin(en->d, t, e));
	TRY(devdb_commit(en->d, e));
	go_on(en, t->id, 0);
	return NE_OK;
}

/* All its rows were seen: those that the server does not have go. */
static int finish(struct engine *en, struct err *e)
{
	struct tracked *t = devdb_table_by_id(en->d, en->backfill.table);
	struct applied done;
	bool more = t && !en->cfg.broken.no_sweep;

	while (more) {
		TRY(apply_table_end(en->d, t, &done, &more, e));
		engine_applied(en, &done);
	}
	TRY(devdb_begin(en->d, e));
	TRY(db_execf(en->d->db, e, "DELETE FROM neap_catchup WHERE table_id = %lld AND begun",
		     (long long)en->backfill.table));
	TRY(apply_seen_forget(en->d, en->backfill.table, e));
	TRY(devdb_commit(en->d, e));
	go_on(en, 0, 0);
	en->dirty = true;
	return coverage_look(en->d, e);
}

static const struct tracked *next_waiting(const struct engine *en)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		if (en->d->table[i].waits)
			return &en->d->table[i];
	}
	return NULL;
}

static int begin_next(struct engine *en, const struct tracked *t, struct err *e)
{
	bool going;

	TRY(resume(en, t, &going, e));
	return going ? NE_OK : begin(en, t, e);
}

int engine_backfill(struct engine *en, struct err *e)
{
	const struct tracked *t;

	if (!en->at.store || en->at.full || !en->welcomed ||
	    en->schema_version != en->d->schema_version)
		return NE_OK;
	while (en->backfill.table || (t = next_waiting(en))) {
		struct backfill *b = &en->backfill;

		if (!b->table)
			TRY(begin_next(en, t, e));
		/* At 0 nothing can be asked for: either nothing is there, or the stream brings it.
		 */
		if (!b->within && b->from >= en->at.cursor && (en->at.cursor || !en->head))
			b->reached = true;
		if (!b->reached || en->at.cursor < en->at.hold)
			return NE_OK;
		TRY(finish(en, e));
	}
	return NE_OK;
}

bool engine_backfill_holds(const struct engine *en)
{
	return en->backfill.within || (en->pull.open && en->pull.table);
}

bool engine_backfill_turn(struct engine *en)
{
	struct backfill *b = &en->backfill;
	bool stream = en->at.cursor < en->at.hold || en->at.cursor < en->head;

	if (!b->table || b->reached || b->from >= en->at.cursor)
		return false;
	if (b->within || !stream)
		return true;
	b->turn = !en->token.len && !b->turn;
	return b->turn;
}

void engine_backfill_ask(struct engine *en, struct f_pull *p)
{
	const struct tracked *t = devdb_table_by_id(en->d, en->backfill.table);
	uint64_t known = t && t->comparing && t->known > 0 ? (uint64_t)t->known : 0;

	en->pull.table = en->backfill.table;
	en->pull.from = en->backfill.from;
	/* Rows up to there the device knew, later ones it never saw: no page holds both. */
	en->pull.upto = en->backfill.from < known && known < en->at.cursor ? known : en->at.cursor;
	p->from = en->pull.from;
	p->upto = en->pull.upto;
	p->table = t ? t->shape.name : slice_str("");
}

bool engine_backfill_answers(const struct engine *en, const struct f_page *p)
{
	return en->pull.table == en->backfill.table && en->pull.from == en->backfill.from &&
	       p->from == en->pull.from && p->upto <= en->pull.upto;
}

int engine_backfill_page(struct engine *en, const struct f_page *p, const struct rows *rows,
			 struct progress *to, struct err *e)
{
	int rc;

	to->table = en->pull.table;
	to->from = p->upto;
	en->d->page_from = en->pull.from;
	en->d->page_upto = en->pull.upto;
	rc = engine_apply(en, rows, to, e);
	en->d->page_from = en->d->page_upto = 0;
	TRY(rc);
	en->backfill.from = p->upto;
	en->backfill.within = p->token.len > 0;
	return NE_OK;
}
