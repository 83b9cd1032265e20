/* What lost here goes to the server's conflicts (J7): one frame at a time, until it is noted. */
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"
#include "protocol/conflict.h"

enum {
	REPORT_BYTES = 24 * 1024,
	REPORT_BACKOFF_MAX = 16,
	REPORT_IN_VAIN = 8, /* a sync does not wait for what was sent so often */
};

void engine_report_drop(struct engine *en)
{
	if (en->report)
		engine_free_flight(en->report);
	en->report = NULL;
	en->report_due = true;
}

void engine_report_resend(struct engine *en)
{
	if (en->report)
		engine_want_all(en->report);
}

void engine_report_again(struct engine *en)
{
	if (!en->report || en->report_backoff < REPORT_IN_VAIN)
		return;
	en->report_backoff = REPORT_IN_VAIN / 2;
	engine_want_all(en->report);
}

static struct slice text_of(struct engine *en, sqlite3_stmt *s, int col, size_t max)
{
	const void *at = sqlite3_column_text(s, col);
	struct slice text = slice_of(at, at ? (size_t)sqlite3_column_bytes(s, col) : 0);

	return arena_copy(&en->tmp, conflict_cut(text, max));
}

/* A settled row has no value but its text. */
static int value_of(struct engine *en, sqlite3_stmt *s, struct slice *out)
{
	struct buf b = {.max = LIMIT_FRAME};
	struct val v = val_column(s, 4);
	bool row = !sqlite3_column_int64(s, 5) && !sqlite3_column_int64(s, 6);
	int rc;

	if (row) {
		v = val_column(s, 11);
		if (v.type == VAL_TEXT)
			v.s = conflict_cut(v.s, CONFLICT_ROW_BYTES);
	}
	rc = conflict_put_value(&v, &b);
	if (!rc) {
		*out = arena_copy(&en->tmp, buf_slice(&b));
		rc = out->at ? NE_OK : NE_MEMORY;
	}
	buf_free(&b);
	return rc;
}

static int read_lost(struct engine *en, sqlite3_stmt *s, struct lost_value *out)
{
	*out = (struct lost_value){
		.table = text_of(en, s, 1, LIMIT_NAME),
		.key = text_of(en, s, 2, CONFLICT_KEY_BYTES),
		.column = text_of(en, s, 3, LIMIT_NAME),
		.reg = {(uint64_t)sqlite3_column_int64(s, 5), (uint64_t)sqlite3_column_int64(s, 6)},
		.won = {(uint64_t)sqlite3_column_int64(s, 7), (uint64_t)sqlite3_column_int64(s, 8)},
		.lost_ms = (uint64_t)sqlite3_column_int64(s, 9),
		.why = text_of(en, s, 10, CONFLICT_WHY_BYTES),
	};
	if (!out->table.at || !out->key.at || !out->column.at || !out->why.at)
		return NE_MEMORY;
	return value_of(en, s, &out->value);
}

static const char lost_sql[] =
	"SELECT c.id, coalesce(c.tab, t.name, '?'), coalesce(c.row_key, c.text, '?'),"
	" ifnull(c.col, ''), c.value, c.stamp, c.site, c.won_stamp, c.won_site,"
	" max(ifnull(c.at_ms, 0), 0), ifnull(c.reason, ''), c.text FROM neap_conflict c"
	" LEFT JOIN neap_table t ON t.id = c.table_id WHERE c.id > ?1 ORDER BY c.id LIMIT ?2";

/* Whether what lost in the table of this name must not be compressed. */
static bool uncompressed(struct engine *en, struct slice table)
{
	const struct tracked *t = devdb_table_by_name(en->d, table);

	return t && t->shape.uncompressed;
}

/* The oldest that the server has not noted, as many as go well into one frame. */
static int gather(struct engine *en, struct lost_value *lost, struct frame *f, struct err *e)
{
	struct f_conflicts *out = &f->conflicts;
	sqlite3_stmt *s;
	size_t bytes = 0;
	int64_t noted;
	bool row = true;
	int rc = NE_OK;

	TRY(devdb_get(en->d, "conflict_noted", &noted, e));
	TRY(db_prepare(en->d->db, lost_sql, &s, e));
	sqlite3_bind_int64(s, 1, noted);
	sqlite3_bind_int64(s, 2, LIMIT_LOST);
	while (!rc && row && bytes < REPORT_BYTES) {
		rc = db_step(en->d->db, s, &row, e);
		if (rc || !row)
			break;
		rc = read_lost(en, s, &lost[out->n]);
		out->number = (uint64_t)sqlite3_column_int64(s, 0);
		f->uncompressed = f->uncompressed || uncompressed(en, lost[out->n].table);
		bytes += lost[out->n].value.len + lost[out->n].key.len;
		out->n++;
	}
	sqlite3_reset(s);
	return rc;
}

static int cut_report(struct engine *en, struct err *e)
{
	struct lost_value *lost = arena_array(&en->tmp, LIMIT_LOST, sizeof(*lost));
	struct frame f = {
		.type = FRAME_CONFLICTS,
		.conflicts = {.nonce = engine_random_id(en), .site = en->d->site, .lost = lost}};

	if (!lost)
		return NE_MEMORY;
	TRY(gather(en, lost, &f, e));
	en->report_due = f.conflicts.n > 0;
	if (!f.conflicts.n)
		return NE_OK;
	TRY(engine_make_flight(en, &f, f.conflicts.nonce, &en->report, e));
	en->report_nonce = f.conflicts.nonce;
	en->report_number = f.conflicts.number;
	en->report_backoff = 1;
	return NE_OK;
}

static bool sets_waiting(const struct engine *en)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		if (en->flight[i]->n_want)
			return true;
	}
	return false;
}

int engine_report(struct engine *en, struct err *e)
{
	struct flight *f;

	if (!en->link || !en->welcomed || en->at.full || en->mono_ms < en->busy_until_ms ||
	    en->cfg.broken.no_report)
		return NE_OK;
	if (!en->report && en->report_due)
		TRY(cut_report(en, e));
	f = en->report;
	if (!f || sets_waiting(en))
		return NE_OK;
	if (f->due_ms <= en->mono_ms) {
		if (en->report_backoff < REPORT_BACKOFF_MAX)
			en->report_backoff *= 2;
		engine_want_all(f);
	}
	if (!f->n_want)
		return NE_OK;
	TRY(engine_pump_flight(en, f, e));
	if (!f->n_want)
		f->due_ms = en->mono_ms + en->cfg.ack_ms * en->report_backoff;
	return NE_OK;
}

int engine_unreported(struct engine *en, bool *any, struct err *e)
{
	int64_t n = 0;

	*any = false;
	if ((!en->report && !en->report_due) || en->cfg.broken.no_report)
		return NE_OK;
	if (en->report && en->report_backoff >= REPORT_IN_VAIN)
		return NE_OK;
	TRY(db_int(en->d->db,
		   "SELECT EXISTS(SELECT 1 FROM neap_conflict WHERE id > ifnull((SELECT value FROM "
		   "neap_meta WHERE key = 'conflict_noted'), 0))",
		   0, &n, e));
	*any = n != 0;
	return NE_OK;
}

uint64_t engine_report_time(const struct engine *en)
{
	if (!en->report || !en->welcomed || en->at.full || sets_waiting(en))
		return NEVER_MS;
	return en->report->n_want ? en->sent_at_ms + STUCK_MS : en->report->due_ms;
}

int engine_tell_again(struct engine *en, uint64_t term, uint64_t noted, struct err *e)
{
	int64_t here, in_term;

	TRY(devdb_get(en->d, "conflict_noted", &here, e));
	TRY(devdb_get(en->d, "conflict_term", &in_term, e));
	if ((uint64_t)in_term != term) {
		/* A report that we took for the next one may have reached a store that was put back
		 * to before the last one: its number says nothing of those. */
		if (noted > (uint64_t)here)
			noted = 0;
		TRY(devdb_set(en->d, "conflict_term", (int64_t)term, e));
	}
	if ((uint64_t)here <= noted)
		return NE_OK;
	TRY(devdb_set(en->d, "conflict_noted", (int64_t)noted, e));
	engine_report_drop(en);
	return NE_OK;
}

int engine_on_noted(struct engine *en, const struct f_noted *n, struct err *e)
{
	int64_t term;

	if (!en->report || n->store != en->at.store || n->term != en->at.term ||
	    n->site != en->d->site || n->nonce != en->report_nonce ||
	    n->number != en->report_number)
		return NE_OK;
	/* Of a term that no welcome was heard of yet. */
	TRY(devdb_get(en->d, "conflict_term", &term, e));
	if ((uint64_t)term != n->term)
		return NE_OK;
	TRY(devdb_set(en->d, "conflict_noted", (int64_t)n->number, e));
	engine_report_drop(en);
	return NE_OK;
}
