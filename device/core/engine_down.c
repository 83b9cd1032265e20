/* What others wrote: broadcasts in seq order, and settling what they complete. */
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"

enum { ODD_MS = 30000 };

static void free_heard(struct engine *en, size_t i)
{
	en->heard_bytes -= en->heard[i].frame.len;
	buf_free(&en->heard[i].frame);
	en->n_heard--;
	memmove(&en->heard[i], &en->heard[i + 1], (en->n_heard - i) * sizeof(en->heard[0]));
}

void engine_drop_heard(struct engine *en, uint64_t seq)
{
	while (en->n_heard && en->heard[0].seq <= seq)
		free_heard(en, 0);
}

/* Keeps a broadcast. When there is no room the furthest one goes: it will be pulled. */
static int keep(struct engine *en, uint64_t seq, struct slice plain)
{
	struct buf copy = {.max = LIMIT_MESSAGE * 2};
	size_t i = en->n_heard;

	while (i && en->heard[i - 1].seq > seq)
		i--;
	if (i && en->heard[i - 1].seq == seq)
		return NE_OK;
	while (en->n_heard > i &&
	       (en->n_heard == HEARD_MAX || plain.len > HEARD_BYTES_MAX - en->heard_bytes))
		free_heard(en, en->n_heard - 1);
	if (en->n_heard == HEARD_MAX || plain.len > HEARD_BYTES_MAX - en->heard_bytes)
		return NE_OK;
	if (buf_put(&copy, plain.at, plain.len)) {
		buf_free(&copy);
		return NE_OK;
	}
	memmove(&en->heard[i + 1], &en->heard[i], (en->n_heard - i) * sizeof(en->heard[0]));
	en->heard[i] = (struct heard){.seq = seq, .frame = copy};
	en->heard_bytes += copy.len;
	en->n_heard++;
	return NE_OK;
}

/* Something speaks of another term: look, but not again and again because of the same thing. */
static void look(struct engine *en, uint64_t store, uint64_t term, uint64_t head)
{
	if (en->odd.store == store && en->odd.term == term && en->odd.head == head &&
	    en->mono_ms < en->odd_until_ms)
		return;
	en->odd = (struct f_head){.store = store, .term = term, .head = head};
	en->odd_until_ms = en->mono_ms + ODD_MS;
	engine_want_hello(en, engine_jitter(en, 2 * GAP_MS));
}

int engine_on_change(struct engine *en, const struct f_change *c, struct slice plain, struct err *e)
{
	(void)e;
	if (!en->at.store || c->seq > INT64_MAX)
		return NE_OK;
	if (c->term != en->at.term) {
		look(en, en->at.store, c->term, 0);
		return NE_OK;
	}
	if (c->seq > en->head)
		en->head = c->seq;
	if (c->seq <= en->at.cursor || en->at.full)
		return NE_OK;
	if (c->seq <= en->at.hold && !en->cfg.broken.no_hold)
		return NE_OK;
	return keep(en, c->seq, plain);
}

void engine_on_head(struct engine *en, const struct f_head *h)
{
	bool still = !engine_behind(en) && h->store == en->at.store &&
		     h->prev_term == en->at.term && h->first == en->at.cursor + 1 &&
		     h->head == en->at.cursor;

	if (!en->at.store || h->head > INT64_MAX)
		return;
	if (h->store == en->at.store && h->term == en->at.term) {
		if (h->head > en->head)
			en->head = h->head;
	} else if (!still) {
		look(en, h->store, h->term, h->head);
		return;
	}
	/* The head was heard: the check after a reconnect is not needed. */
	if (h->head <= en->at.cursor)
		en->check_at_ms = en->mono_ms + engine_jitter(en, en->cfg.check_ms);
}

void engine_applied(struct engine *en, const struct applied *done)
{
	for (size_t i = 0; done->overtook && i < en->n_flight; i++)
		en->flight[i]->overtaken = true;
	if (done->conflicts)
		en->report_due = en->ask_due = en->tell_due = true;
}

int engine_tell_changed(struct engine *en, const struct rows *rows)
{
	for (size_t i = 0; i < rows->n_table; i++) {
		const struct tracked *t = devdb_table_by_name(en->d, rows->table[i].shape->name);
		bool told = false;
		struct action *a;
		char *name;

		for (size_t k = 0; t && k < en->out->n; k++)
			told |= en->out->at[k].type == ACT_CHANGED &&
				slice_eq(slice_str(en->out->at[k].table), t->shape.name);
		if (!t || told)
			continue;
		name = arena_alloc(&en->out->arena, t->shape.name.len + 1);
		a = name ? engine_act(en, ACT_CHANGED) : NULL;
		if (!a)
			return NE_MEMORY;
		memcpy(name, t->shape.name.at, t->shape.name.len);
		a->table = name;
	}
	return NE_OK;
}

static int apply_slice(struct engine *en, const struct rows *rows, struct err *e)
{
	struct applied done;

	TRY(apply_rows(en->d, rows, en->at.full, &done, e));
	engine_applied(en, &done);
	return engine_tell_changed(en, rows);
}

static int retry_parked(struct engine *en, struct err *e)
{
	struct applied done;

	TRY(apply_retry_parked(en->d, &done, e));
	engine_applied(en, &done);
	return NE_OK;
}

static size_t count_rows(const struct rows *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < rows->n_table; i++)
		n += rows->table[i].n_row;
	return n;
}

/* Fills `out` (room for all tables) with the next rows after table *t, row *r. */
static void next_slice(const struct rows *rows, size_t *t, size_t *r, struct rows *out)
{
	size_t left = SLICE_ROWS;

	out->n_table = 0;
	while (left && *t < rows->n_table) {
		const struct table_rows *from = &rows->table[*t];
		size_t n = from->n_row - *r < left ? from->n_row - *r : left;

		out->table[out->n_table++] = (struct table_rows){
			.shape = from->shape, .n_row = n, .row = from->row + *r};
		left -= n;
		*r += n;
		if (*r == from->n_row) {
			++*t;
			*r = 0;
		}
	}
}

static int put_progress(struct engine *en, const struct progress *to, struct err *e)
{
	if (to->table)
		TRY(db_execf(
			en->d->db, e,
			"UPDATE neap_catchup SET cursor = %llu WHERE table_id = %lld AND begun",
			(unsigned long long)to->from, (long long)to->table));
	return engine_put_position(en, &to->at, e);
}

int engine_apply(struct engine *en, const struct rows *rows, const struct progress *to,
		 struct err *e)
{
	struct position within = en->at;
	struct rows slice = {0};
	size_t t = 0, r = 0;
	bool last;

	within.hold = to->at.hold;
	slice.table = arena_array(&en->tmp, rows->n_table + 1, sizeof(*slice.table));
	if (!slice.table)
		return NE_MEMORY;
	do {
		next_slice(rows, &t, &r, &slice);
		last = t == rows->n_table;
		TRY(devdb_begin(en->d, e));
		TRY(apply_slice(en, &slice, e));
		if (last)
			TRY(retry_parked(en, e));
		/* The first slice already brings rows as of `hold`: nothing older may follow. */
		if (last)
			TRY(put_progress(en, to, e));
		else
			TRY(engine_put_position(en, &within, e));
		TRY(devdb_commit(en->d, e));
		en->at = last ? to->at : within;
	} while (!last);
	return NE_OK;
}

/* A transaction under way while the cursor moves. */
struct move {
	struct position at;
	bool begun;
	size_t n_row;
};

static int begin(struct engine *en, struct move *m, struct err *e)
{
	if (!m->begun)
		TRY(devdb_begin(en->d, e));
	m->begun = true;
	return NE_OK;
}

static bool settles(const struct engine *en, const struct flight *f, uint64_t cursor)
{
	bool may = !en->at.full || en->closing;

	return f->acked &&
	       ((cursor >= f->head && may) || en->opening || en->cfg.broken.clear_early);
}

/* M2 broken: what was written again counts as carried. */
static int lower_generations(struct engine *en, int64_t gen, struct err *e)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		if (en->d->table[i].shape.kind == SHAPE_MERGE)
			TRY(db_execf(en->d->db, e, "UPDATE \"%s\" SET gen = %lld WHERE gen > %lld",
				     en->d->table[i].marks, (long long)gen, (long long)gen));
	}
	return NE_OK;
}

/* Settles some of the sets the cursor completes; the newest one's number or 0. */
static int settle_some(struct engine *en, struct move *m, uint64_t *acked, struct err *e)
{
	size_t n_row = 0;

	*acked = 0;
	for (size_t i = 0; i < en->n_flight && n_row < SETTLE_ROWS; i++) {
		const struct flight *f = en->flight[i];

		if (!settles(en, f, m->at.cursor))
			continue;
		n_row += f->n_row;
		TRY(begin(en, m, e));
		if (en->cfg.broken.clear_by_stamp)
			TRY(lower_generations(en, f->gen_hi, e));
		TRY(cut_settle(en->d, f->number, e));
		*acked = f->number;
	}
	return NE_OK;
}

/* Ends the transaction: the cursor, and sets it completes. */
static int flush(struct engine *en, struct move *m, struct err *e)
{
	uint64_t acked;

	TRY(settle_some(en, m, &acked, e));
	if (m->at.cursor != en->at.cursor)
		TRY(begin(en, m, e));
	if (!m->begun)
		return NE_OK;
	if (acked)
		TRY(devdb_set(en->d, "acked_number", (int64_t)acked, e));
	/* What was written here may have made room for a row, too. */
	if (m->n_row || acked)
		TRY(retry_parked(en, e));
	TRY(engine_put_position(en, &m->at, e));
	TRY(devdb_commit(en->d, e));
	en->at = m->at;
	m->begun = false;
	m->n_row = 0;
	buf_clear(&en->token);
	engine_drop_heard(en, en->at.cursor);
	while (en->n_flight && en->flight[0]->number <= acked)
		engine_drop_flight(en, en->flight[0]);
	en->dirty |= acked != 0;
	if (acked)
		engine_keep_wake(en);
	return NE_OK;
}

static int settle_here(struct engine *en, bool *why, struct err *e)
{
	struct move m = {.at = en->at};
	int rc;

	*why = true;
	do {
		rc = flush(en, &m, e);
	} while (!rc && en->n_flight && settles(en, en->flight[0], en->at.cursor));
	*why = false;
	return rc;
}

int engine_settle_known(struct engine *en, struct err *e)
{
	return settle_here(en, &en->opening, e);
}

int engine_settle_covered(struct engine *en, struct err *e)
{
	return settle_here(en, &en->closing, e);
}

static const struct flight *own_seq(const struct engine *en, uint64_t seq)
{
	for (size_t i = 0; i < en->n_flight; i++) {
		if (en->flight[i]->acked && en->flight[i]->own == seq)
			return en->flight[i];
	}
	return NULL;
}

static bool any_settles(const struct engine *en, uint64_t cursor)
{
	return en->n_flight && settles(en, en->flight[0], cursor);
}

static struct heard *heard_seq(struct engine *en, uint64_t seq)
{
	for (size_t i = 0; i < en->n_heard; i++) {
		if (en->heard[i].seq == seq)
			return &en->heard[i];
	}
	return NULL;
}

/* Applies the broadcast of the next seq; *gap if it cannot be read here. */
static int apply_heard(struct engine *en, struct heard *h, struct move *m, bool *gap, struct err *e)
{
	struct shape_finder finder = {.find = engine_find_shape, .ctx = en};
	struct position at = m->at;
	struct arena a = {.max = LIMIT_DECODED};
	struct rows rows;
	struct frame f;
	int rc = frame_decode(buf_slice(&h->frame), &a, &f, e);

	if (!rc)
		rc = rows_decode(f.change.rows, SITE_SERVER, finder, &a, &rows, NULL, e);
	*gap = rc != NE_OK;
	at.cursor = h->seq;
	if (*gap) {
		free_heard(en, (size_t)(h - en->heard));
		rc = NE_OK;
	} else if (count_rows(&rows) > SLICE_ROWS) {
		rc = flush(en, m, e);
		if (!rc)
			rc = engine_apply(en, &rows, &(struct progress){.at = at}, e);
	} else {
		rc = begin(en, m, e);
		if (!rc)
			rc = apply_slice(en, &rows, e);
		m->n_row += count_rows(&rows);
	}
	if (!*gap && !rc)
		m->at = at;
	arena_free(&a);
	return rc;
}

int engine_settle(struct engine *en, struct err *e)
{
	struct move m = {.at = en->at};
	bool gap = false;

	while (!gap && en->at.store && !en->at.full && !engine_backfill_holds(en)) {
		uint64_t next = m.at.cursor + 1;
		const struct flight *own = own_seq(en, next);
		struct heard *h;

		/* What is settled has not lost to what comes after it (J7). */
		if (!own && heard_seq(en, next) && any_settles(en, m.at.cursor))
			TRY(flush(en, &m, e));
		h = heard_seq(en, next);
		if (next <= en->at.hold && !en->cfg.broken.no_hold)
			break;
		if (own && (!own->overtaken || en->cfg.broken.skip_own))
			m.at.cursor = next;
		else if (h && !own)
			TRY(apply_heard(en, h, &m, &gap, e));
		else
			gap = own != NULL;
		if (m.n_row >= SLICE_ROWS)
			TRY(flush(en, &m, e));
		if (m.at.cursor < next)
			break;
	}
	do {
		TRY(flush(en, &m, e));
	} while (en->n_flight && settles(en, en->flight[0], en->at.cursor));
	if (gap)
		engine_want_pull(en, 0);
	return NE_OK;
}
