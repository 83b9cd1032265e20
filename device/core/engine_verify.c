/* Comparing what is here with what the server has (J6). */
#include <string.h>

#include "device/core/devdb_schema.h"
#include "device/core/engine_internal.h"
#include "protocol/value_bytes.h"

enum {
	TABLE_ROWS = 1000, /* of a question at each level */
	RANGE_ROWS = 64,
	DIFFER_MAX = 3, /* small ranges in a row that differ: the rest is compared row by row */
	MOVED_MAX = 3,	/* a range that never stands still is looked at more closely */
	PAUSE_MS = 200,
	KEY_BYTES = 2 * LIMIT_SET,
	ABOVE_MAX = 100000,
};

static struct verify_table *current(struct engine *en)
{
	return &en->verify.report.table[en->verify.report.at];
}

const struct verify_report *engine_verify_report(const struct engine *en)
{
	return &en->verify.report;
}

void engine_verify_again(struct engine *en)
{
	engine_question_close(&en->verify.question);
	en->verify.ask_at_ms = en->mono_ms;
}

void engine_verify_free(struct engine *en)
{
	struct verification *v = &en->verify;

	buf_free(&v->from);
	buf_free(&v->to);
	buf_free(&v->except);
	buf_free(&v->absent);
	for (int i = 0; i < LEVELS; i++)
		buf_free(&v->end[i]);
}

void engine_verify_cancel(struct engine *en)
{
	en->verify.on = en->verify.hold_cuts = false;
	engine_question_close(&en->verify.question);
}

static bool wanted(const struct event *ev, const struct tracked *t)
{
	for (size_t i = 0; i < ev->verify.n; i++) {
		if (devdb_name_eq(slice_str(ev->verify.table[i]), t->shape.name))
			return true;
	}
	return !ev->verify.n;
}

int engine_verify_begin(struct engine *en, const struct event *ev, struct err *e)
{
	struct verification *v = &en->verify;

	(void)e;
	engine_verify_free(en);
	*v = (struct verification){.on = true,
				   .report = {.id = ev->verify.id,
					      .named = ev->verify.n > 0,
					      .repair = ev->verify.repair}};
	v->from.max = v->to.max = v->except.max = v->absent.max = KEY_BYTES;
	for (int i = 0; i < LEVELS; i++)
		v->end[i].max = KEY_BYTES;
	engine_verify_again(en);
	for (size_t i = 0; i < en->d->n_table && v->report.n < LIMIT_TABLES; i++) {
		const struct tracked *t = &en->d->table[i];

		if (!wanted(ev, t))
			continue;
		v->table[v->report.n] = t->id;
		memcpy(v->report.table[v->report.n++].name, t->shape.name.at, t->shape.name.len);
	}
	return NE_OK;
}

/* ---- from table to table ---- */

int engine_verify_end_table(struct engine *en, enum verify_outcome outcome, struct err *e)
{
	struct verification *v = &en->verify;

	if (outcome == VERIFY_DONE)
		TRY(verify_note(en->d, v->table[v->report.at], en->now_ms, &current(en)->n, e));
	current(en)->outcome = outcome;
	v->report.at++;
	v->begun = v->hold_cuts = false;
	engine_verify_again(en);
	return NE_OK;
}

static int begin_table(struct engine *en, struct tracked *t, struct err *e)
{
	struct verification *v = &en->verify;
	struct verify_range all = {.d = en->d, .t = t};
	int64_t total;

	TRY(verify_total(&all, VERIFY_TOTAL_MAX, &total, e));
	TRY(verify_absent(en->d, t, &en->tmp, &v->absent, e));
	current(en)->total = (uint64_t)total;
	current(en)->n = (struct verify_counts){0};
	v->shape = t->shape.id;
	v->level = LEVEL_TABLE;
	v->moved = 0;
	v->append = (struct lost_compare){0};
	buf_clear(&v->from);
	for (int i = 0; i < LEVELS; i++)
		buf_clear(&v->end[i]);
	v->begun = true;
	return NE_OK;
}

static enum verify_outcome cannot(const struct tracked *t)
{
	if (!t || !t->capture_ok || t->comparing)
		return VERIFY_CAPTURE;
	if (t->shape.kind == SHAPE_APPEND)
		return t->shape.key_is_number || policy_keeps(&t->policy) ? VERIFY_WAITS
									  : VERIFY_APPEND;
	return t->shape.direction == DIR_UP ? VERIFY_UP : VERIFY_WAITS;
}

/* A table that is yet to be pulled does not hold what the server has. */
static int to_be_pulled(struct engine *en, int64_t table, bool *yes, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(en->d->db, "SELECT 1 FROM neap_catchup WHERE table_id = ?1", &s, e));
	sqlite3_bind_int64(s, 1, table);
	TRY(db_step(en->d->db, s, yes, e));
	sqlite3_reset(s);
	return NE_OK;
}

/* The next table that can be compared; NULL: all are done. */
static int next_table(struct engine *en, struct tracked **out, struct err *e)
{
	struct verification *v = &en->verify;

	while (v->report.at < v->report.n) {
		struct tracked *t = devdb_table_by_id(en->d, v->table[v->report.at]);
		enum verify_outcome why = cannot(t);

		if (why != VERIFY_WAITS) {
			TRY(engine_verify_end_table(en, why, e));
			continue;
		}
		/* An ALTER TABLE under way begins it anew. */
		if (!v->begun || !shape_id_eq(v->shape, t->shape.id))
			TRY(begin_table(en, t, e));
		*out = t;
		return NE_OK;
	}
	*out = NULL;
	return NE_OK;
}

static int finish(struct engine *en)
{
	struct action *a = engine_act(en, ACT_VERIFIED);

	if (!a)
		return NE_MEMORY;
	a->sync_id = en->verify.report.id;
	en->verify.report.done = true;
	engine_verify_cancel(en);
	return NE_OK;
}

/* ---- asking ---- */

static struct verify_range range_to(struct engine *en, struct tracked *t, struct slice to)
{
	return (struct verify_range){
		.d = en->d, .t = t, .from = buf_slice(&en->verify.from), .to = to};
}

static int copy(struct buf *to, struct slice from, struct err *e)
{
	buf_clear(to);
	return buf_put(to, from.at, from.len) ? err_set(e, NE_MEMORY, "no memory for a key")
					      : NE_OK;
}

static int choose_range(struct engine *en, struct tracked *t, struct err *e)
{
	struct verification *v = &en->verify;
	struct slice end = buf_slice(&v->end[v->level]);
	const struct verify_range r = range_to(en, t, end);

	if (v->level != LEVEL_ROWS)
		return verify_bounds(&r, v->level == LEVEL_TABLE ? TABLE_ROWS : RANGE_ROWS, &v->to,
				     &v->except, e);
	buf_clear(&v->except);
	return copy(&v->to, end, e);
}

static int ask(struct engine *en, struct tracked *t, struct err *e)
{
	struct verification *v = &en->verify;
	struct frame f = {.type = FRAME_VERIFY, .uncompressed = t->shape.uncompressed};

	TRY(choose_range(en, t, e));
	engine_question_open(en, &v->question, false);
	v->silent++;
	f.verify = (struct f_verify){
		.nonce = v->question.nonce,
		.at = en->at,
		.shape = t->shape.id,
		.whole = v->level == LEVEL_ROWS,
		.from = buf_slice(&v->from),
		.to = buf_slice(&v->to),
		.except = buf_slice(&v->except),
		.absent = v->level == LEVEL_ROWS ? (struct slice){0} : buf_slice(&v->absent),
	};
	return engine_publish(en, &f, e);
}

/* Rows here are what the server had at the cursor only then. */
static bool ready(const struct engine *en)
{
	return en->verify.on && en->link && en->welcomed && !en->quiet && !en->at.full &&
	       en->at.store && en->at.hold <= en->at.cursor;
}

static uint64_t due_ms(const struct engine *en)
{
	const struct verification *v = &en->verify;
	uint64_t at = v->question.open ? v->question.due_ms : v->ask_at_ms;

	return at > en->busy_until_ms ? at : en->busy_until_ms;
}

uint64_t engine_verify_time(const struct engine *en)
{
	return ready(en) ? due_ms(en) : NEVER_MS;
}

void engine_verify_pause(struct engine *en)
{
	struct verification *v = &en->verify;
	uint64_t ms = (uint64_t)PAUSE_MS << (v->silent < 5 ? v->silent : 5);

	engine_question_close(&v->question);
	v->ask_at_ms = en->mono_ms + engine_jitter(en, ms);
}

/* False after an ALTER TABLE that was not looked at yet: the next event does. */
static int schema_known(struct engine *en, bool *yes, struct err *e)
{
	int64_t version;

	TRY(db_int(en->d->db, "PRAGMA schema_version", 0, &version, e));
	*yes = version == en->d->schema_version;
	if (!*yes)
		en->data_version = -1;
	return NE_OK;
}

int engine_verify(struct engine *en, struct err *e)
{
	struct tracked *t;
	bool known, pulled;
	int rc;

	if (!ready(en) || en->mono_ms < due_ms(en))
		return NE_OK;
	TRY(schema_known(en, &known, e));
	if (!known) {
		engine_verify_pause(en);
		return NE_OK;
	}
	TRY(next_table(en, &t, e));
	if (!t)
		return finish(en);
	TRY(to_be_pulled(en, t->id, &pulled, e));
	if (pulled) {
		engine_verify_pause(en);
		return NE_OK;
	}
	if (t->shape.kind == SHAPE_APPEND)
		return engine_verify_append(en, t, e);
	rc = ask(en, t, e);
	return rc == NE_LIMIT || rc == NE_MEMORY ? engine_verify_end_table(en, VERIFY_FAILED, e)
						 : rc;
}

/* ---- answers ---- */

/* The range is done: so are the levels that end with it, or all of the table. */
static int advance(struct engine *en, struct slice upto, struct err *e)
{
	struct verification *v = &en->verify;

	while (v->level > LEVEL_TABLE && slice_eq(upto, buf_slice(&v->end[v->level])))
		v->level--;
	v->moved = 0;
	if (v->level == LEVEL_TABLE && !upto.len)
		return engine_verify_end_table(en, VERIFY_DONE, e);
	TRY(copy(&v->from, upto, e));
	engine_verify_again(en);
	return NE_OK;
}

/* The range up to `upto` differs: once more, more closely. */
static int descend(struct engine *en, struct slice upto, struct err *e)
{
	struct verification *v = &en->verify;

	if (v->level == LEVEL_TABLE)
		v->differ = 0;
	v->level++;
	v->moved = 0;
	TRY(copy(&v->end[v->level], upto, e));
	engine_verify_again(en);
	return NE_OK;
}

static int on_sum(struct engine *en, const struct verify_range *r, const struct f_digest *d,
		  const struct key_set *above, struct err *e)
{
	struct verification *v = &en->verify;
	struct key_set except;
	enum verify_found found;

	if (key_set_read(&r->t->shape, buf_slice(&v->except), LIMIT_EXCEPT, &en->tmp, &except))
		return err_set(e, NE_MEMORY, "no memory for keys");
	TRY(verify_sum(r, &except, above, &d->sum, &found, &current(en)->n, e));
	if (found == VERIFY_EQUAL) {
		v->differ = 0;
		return advance(en, r->to, e);
	}
	if (found == VERIFY_DIFFERS && v->level == LEVEL_RANGE && ++v->differ >= DIFFER_MAX)
		return descend(en, buf_slice(&v->end[LEVEL_RANGE]), e);
	if (found == VERIFY_DIFFERS || ++v->moved == MOVED_MAX)
		return descend(en, r->to, e);
	engine_verify_again(en);
	return NE_OK;
}

/* The rows of an answer are of the table asked about, or none. */
static int read_rows(struct engine *en, const struct verify_range *r, const struct f_digest *d,
		     struct rows *rows, bool *good, struct err *e)
{
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	int rc = rows_decode(d->rows, SITE_SERVER, finder, &en->tmp, rows, NULL, e);

	if (rc == NE_MEMORY)
		return rc;
	*good = !rc && (!rows->n_table || (rows->n_table == 1 &&
					   shape_id_eq(rows->table[0].shape->id, r->t->shape.id)));
	for (size_t i = 0; *good && rows->n_table && i < rows->table[0].n_row; i++)
		*good = rows->table[0].row[i].exist != EXIST_NONE;
	return NE_OK;
}

static int on_rows(struct engine *en, const struct verify_range *r, const struct f_digest *d,
		   const struct key_set *above, struct err *e)
{
	struct table_rows none = {.shape = &r->t->shape};
	struct applied done;
	struct rows rows;
	bool good;
	int rc;

	TRY(read_rows(en, r, d, &rows, &good, e));
	if (!good) {
		en->bad_frames++;
		engine_verify_pause(en);
		return NE_OK;
	}
	rc = verify_rows(r, rows.n_table ? &rows.table[0] : &none, above, en->verify.report.repair,
			 &current(en)->n, &done, e);
	if (rc == NE_CAPTURE) {
		engine_verify_pause(en);
		return NE_OK;
	}
	TRY(rc);
	engine_applied(en, &done);
	if (done.rows)
		TRY(engine_tell_changed(en, &rows));
	en->dirty = true;
	return advance(en, r->to, e);
}

/* How far the answer goes. A key that is not behind `from`, or behind `to`, is no answer. */
static int check_upto(struct engine *en, struct tracked *t, const struct f_digest *d, bool *good,
		      struct err *e)
{
	struct verification *v = &en->verify;
	struct val key[LIMIT_KEY_COLUMNS];
	bool over = false;

	*good = true;
	if (!d->upto.len)
		return NE_OK;
	*good = key_take_whole(d->upto, &t->shape, key) == NE_OK;
	if (*good && v->from.len)
		TRY(verify_behind(en->d, t, d->upto, buf_slice(&v->from), good, e));
	if (*good && v->to.len)
		TRY(verify_behind(en->d, t, d->upto, buf_slice(&v->to), &over, e));
	*good &= !over;
	return NE_OK;
}

static int compare(struct engine *en, struct tracked *t, const struct f_digest *d, struct err *e)
{
	struct verification *v = &en->verify;
	struct verify_range r = range_to(en, t, d->upto.len ? d->upto : buf_slice(&v->to));
	struct key_set above;
	bool good;
	int rc;

	TRY(check_upto(en, t, d, &good, e));
	rc = good ? key_set_read(&t->shape, d->above, ABOVE_MAX, &en->tmp, &above) : NE_MALFORMED;
	if (rc == NE_MEMORY)
		return err_set(e, rc, "no memory for keys");
	if (rc) {
		en->bad_frames++;
		engine_verify_pause(en);
		return NE_OK;
	}
	v->silent = 0;
	return v->level == LEVEL_ROWS ? on_rows(en, &r, d, &above, e)
				      : on_sum(en, &r, d, &above, e);
}

/*
 * Rows the server does not name are at its head as they were at the cursor asked about; here they
 * are so if no later change was applied than the server knew of.
 */
static bool counts(const struct engine *en, const struct f_digest *d)
{
	const struct position *asked = &en->verify.question.at;

	return asked->store == en->at.store && asked->term == en->at.term &&
	       asked->cursor <= en->at.cursor && en->at.cursor <= d->head &&
	       en->at.hold <= en->at.cursor && !en->at.full;
}

int engine_on_digest(struct engine *en, const struct f_digest *d, struct err *e)
{
	struct verification *v = &en->verify;
	struct tracked *t;
	bool known, pulled;
	int rc;

	if (!v->question.open || d->nonce != v->question.nonce)
		return NE_OK;
	if (d->store != en->at.store || d->term != en->at.term) {
		engine_verify_pause(en);
		engine_want_hello(en, 0);
		return NE_OK;
	}
	t = devdb_table_by_id(en->d, v->table[v->report.at]);
	if (d->status == DIGEST_NO_TABLE)
		return engine_verify_end_table(en, VERIFY_NO_TABLE, e);
	TRY(schema_known(en, &known, e));
	TRY(to_be_pulled(en, v->table[v->report.at], &pulled, e));
	if (d->status != DIGEST_OK || !known || pulled || !t ||
	    !shape_id_eq(t->shape.id, v->shape) || !counts(en, d)) {
		engine_verify_pause(en);
		return NE_OK;
	}
	rc = compare(en, t, d, e);
	return rc == NE_MEMORY || rc == NE_LIMIT ? engine_verify_end_table(en, VERIFY_FAILED, e)
						 : rc;
}
