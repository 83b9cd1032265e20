/* Change sets: which one may be committed (M3), and committing it whole or not at all. */
#include <stdio.h>
#include <string.h>

#include "backend/core/ingest_step.h"

enum { REFUSED_BYTES = 16 * 1024 };

/* The keys of the rows refused: as many as go well into a message, at least one. */
static int put_refused(struct step *s, const struct sender *from, const struct refusal *why,
		       struct frame *f, struct err *e)
{
	struct row row[STORE_REFUSED];
	struct table_rows table = {.row = row};
	struct rows rows = {.n_table = 1, .table = &table};
	size_t bytes = 0;

	buf_clear(&s->in->rows);
	if (!why->n_row)
		return 0;
	/* It was there before the set, whose rows were read with it. */
	table.shape = &store_shape_find(s->store, why->row_shape)->shape;
	while (table.n_row < why->n_row && bytes < REFUSED_BYTES) {
		const struct row *r = why->row[table.n_row];
		for (uint16_t i = 0; i < table.shape->n_key; i++)
			bytes += val_size(&r->key[i]);
		row[table.n_row++] = (struct row){.gen = r->gen, .n = r->n, .key = r->key};
	}
	TRY(mark_uncompressed(s, from->us, &rows, &f->uncompressed, e));
	return rows_encode(&rows, SITE_SERVER, &s->in->rows, e);
}

static int refuse(struct step *s, const struct sender *from, const struct f_set *set,
		  const struct refusal *why, struct err *e)
{
	struct frame f = {.type = FRAME_REFUSE};

	TRY(put_refused(s, from, why, &f, e));
	s->in->stats.refused++;
	f.refuse = (struct f_refuse){
		.store = store_id(s->store),
		.term = store_term(s->store),
		.site = set->site,
		.number = set->number,
		.cut = set->cut,
		.code = why->code,
		.server_ms = s->now_ms,
		.limit_ms = s->in->c.far_ahead_ms,
		.text = slice_str(why->text.text),
		.n_shape = why->has_shape,
		.shape = &why->shape,
		.rows = buf_slice(&s->in->rows),
	};
	return send_down(s, from, &f, set->cut, e);
}

static void refusal(struct refusal *why, enum refuse_code code, const char *text)
{
	why->code = code;
	err_set(&why->text, NE_PROTOCOL, "%s", text);
}

static int expect(struct step *s, const struct sender *from, const struct f_set *set,
		  uint64_t newest, struct err *e)
{
	struct frame f = {.type = FRAME_EXPECT};

	f.expect = (struct f_expect){
		.store = store_id(s->store),
		.term = store_term(s->store),
		.site = set->site,
		.after = newest,
		.number = set->number,
	};
	return send_down(s, from, &f, set->cut, e);
}

static bool well_formed(const struct f_set *set)
{
	return set->site && set->site < SITE_REFUSED && set->number <= INT64_MAX && set->cut &&
	       set->cut <= INT64_MAX && set->captured < SITE_REFUSED && set->number > set->prev;
}

static bool cells_ordered(const struct row *r, const struct shape *shape)
{
	if (r->exist != EXIST_NONE && r->exist_reg.site == SITE_REFUSED)
		return false;
	for (uint16_t i = 0; i < r->n_cell; i++)
		if (r->cell[i].col >= shape->n_col || r->cell[i].reg.site == SITE_REFUSED ||
		    (i && r->cell[i].col <= r->cell[i - 1].col))
			return false;
	for (uint16_t i = 0; i < shape->n_key; i++)
		if (r->key[i].type == VAL_NULL)
			return false;
	return true;
}

static uint64_t newest_stamp(const struct row *r)
{
	uint64_t newest = r->exist == EXIST_NONE ? 0 : r->exist_reg.stamp;

	for (uint16_t i = 0; i < r->n_cell; i++)
		if (r->cell[i].reg.stamp > newest)
			newest = r->cell[i].reg.stamp;
	return newest;
}

/* Sets why->code if the table's rows cannot be taken whatever the store holds. */
static void check_table(const struct step *s, const struct table_rows *tr, struct refusal *why)
{
	uint64_t now = stamp_from_ms(s->now_ms), issued = store_issued(s->store);
	uint64_t limit =
		stamp_from_ms(stamp_ms(issued > now ? issued : now) + s->in->c.far_ahead_ms + 1);

	const char *missing = store_shape_find(s->store, tr->shape->id)->table->missing;

	if (missing) {
		refusal(why, REFUSE_SCHEMA, missing);
		why->has_shape = true;
		why->shape = tr->shape->id;
		return;
	}
	if (tr->shape->direction == DIR_DOWN) {
		refusal(why, REFUSE_DIRECTION, "devices do not write this table");
		why->has_shape = true;
		why->shape = tr->shape->id;
		return;
	}
	for (size_t i = 0; i < tr->n_row && !why->code; i++) {
		const struct row *r = &tr->row[i];
		if (!cells_ordered(r, tr->shape))
			refusal(why, REFUSE_MALFORMED, "a row has columns out of order or no key");
		else if (tr->shape->kind == SHAPE_MERGE && newest_stamp(r) >= limit &&
			 !s->in->c.broken.any_stamp)
			refusal(why, REFUSE_FAR_AHEAD,
				"the device's clock is too far ahead of the server's");
	}
}

/*
 * Decodes the rows; why->code tells why not. Also for want of memory the set is refused: one that
 * takes more than its share must not stop the step of the others.
 */
static void open_rows(struct step *s, const struct f_set *set, struct rows *rows,
		      struct refusal *why)
{
	int rc = rows_decode(set->rows, set->site, store_shapes(s->store), &s->in->decoded, rows,
			     &why->shape, &why->text);

	if (rc) {
		why->has_shape = rc == NE_UNKNOWN_SHAPE;
		why->code = why->has_shape ? REFUSE_UNKNOWN_SHAPE : REFUSE_MALFORMED;
		return;
	}
	for (size_t i = 0; i < rows->n_table && !why->code; i++)
		check_table(s, &rows->table[i], why);
}

static int append_table(struct step *s, struct user_state *us, const struct store_site *site,
			const struct table_rows *tr, struct refusal *why, struct err *e)
{
	const struct store_shape *sh = store_shape_find(s->store, tr->shape->id);
	struct store_appended got;

	TRY(store_append(s->store, &us->u, site, sh, tr->row, tr->n_row, s->now_ms, &got, e));
	s->in->stats.duplicates += got.duplicates;
	if (got.n_refused && !got.n_collided) {
		/* There is no effect that could tell it: the device has to know before the set
		 * commits. */
		why->code = REFUSE_ROWS;
		why->text = got.why;
		why->row_shape = tr->shape->id;
		why->n_row = got.n_refused;
		memcpy(why->row, got.refused, got.n_refused * sizeof *why->row);
		return 0;
	}
	if (!got.n_collided || s->in->c.broken.no_compare)
		return 0;
	why->code = REFUSE_COLLISION;
	why->has_shape = true;
	why->shape = tr->shape->id;
	why->row_shape = tr->shape->id;
	why->n_row = got.n_collided;
	memcpy(why->row, got.collided, got.n_collided * sizeof *why->row);
	err_set(&why->text, NE_EXISTS, "table %.*s: number %lld of this site holds another row",
		(int)tr->shape->name.len, (const char *)tr->shape->name.at,
		(long long)got.collided[0]->n);
	return 0;
}

struct commit {
	const struct f_set *set;
	struct store_site captured; /* in the identity of append rows */
	struct rows rows;
	size_t n_row;
	uint64_t own;
	const struct rejected_row *rejected;
	struct refusal why;
};

/* The set's one seq and its one message (P4, P5). */
static int publish(struct step *s, const struct sender *from, struct commit *c,
		   const struct set_effect *effect, struct err *e)
{
	bool as_sent = s->in->c.broken.publish_as_sent;
	bool correct = effect->lost && !as_sent;

	if (effect->n_row == 0)
		return 0;
	TRY(store_user_advance(s->store, &from->us->u, e));
	c->own = correct ? 0 : from->us->u.head;
	return broadcast(s, from->us, correct ? TOPIC_ORIGIN_SERVER : from->device.at,
			 as_sent ? &c->rows : &effect->rows, e);
}

static int apply(struct step *s, const struct sender *from, struct store_site *site,
		 struct commit *c, struct err *e)
{
	struct set_effect effect = {
		.by = {.device = &from->device, .site = site->site, .seen = c->set->seen}};

	/* Each table's effect may need its sender's shape and the table's own. */
	effect.rows.table =
		arena_array(&s->in->work, 2 * c->rows.n_table + 1, sizeof *effect.rows.table);
	if (!effect.rows.table)
		return err_set(e, NE_MEMORY, "no memory for a change set");
	for (size_t i = 0; i < c->rows.n_table && !c->why.code; i++) {
		const struct table_rows *tr = &c->rows.table[i];
		const struct store_shape *sh = store_shape_find(s->store, tr->shape->id);
		/* Another user may have declared it: pages look only at the user's own tables. */
		TRY(store_user_joins(s->store, &from->us->u, sh->table, e));
		TRY(store_device_uses(s->store, &from->us->u, from->device.at, sh, s->now_ms, e));
		if (tr->shape->kind == SHAPE_APPEND)
			TRY(append_table(s, from->us, &c->captured, tr, &c->why, e));
		else
			TRY(merge_table(s, from->us, tr, c->n_row, &effect, e));
	}
	if (c->why.code)
		return 0;
	if (effect.noted)
		TRY(conflicts_trim(s, from->us, e));
	TRY(publish(s, from, c, &effect, e));
	c->rejected = effect.rejected;
	s->in->stats.rejected += effect.n_rejected;
	return store_site_commit(s->store, &from->us->u, site, c->set->number, c->set->cut, c->own,
				 s->now_ms, c->n_row, e);
}

/*
 * Errors that are the set's own fault, or its size's: it is refused, the step goes on. NE_ROWS: an
 * operator's trigger does not even take back what a set had changed.
 */
static bool sets_fault(int rc)
{
	return rc == NE_ROWS || rc == NE_INTERNAL || rc == NE_LIMIT || rc == NE_MALFORMED ||
	       rc == NE_MEMORY;
}

int site_add(struct step *s, const struct sender *from, uint64_t site, struct store_site *out,
	     struct err *e)
{
	uint64_t keep = s->in->c.tombstone_ms;

	return store_site_add(s->store, &from->us->u, site, from->device.at,
			      s->now_ms > keep ? s->now_ms - keep : 0, out, e);
}

/*
 * The site in the identity of the set's append rows: an earlier one of the same device, or one
 * that nobody has.
 */
static int find_captured(struct step *s, const struct sender *from, const struct store_site *own,
			 struct commit *c, struct err *e)
{
	bool known;

	c->captured = *own;
	if (!c->set->captured)
		return 0;
	TRY(store_site_get(s->store, &from->us->u, c->set->captured, &c->captured, &known, e));
	if (!known)
		return site_add(s, from, c->set->captured, &c->captured, e);
	if (strcmp(c->captured.device.at, from->device.at) != 0)
		refusal(&c->why, REFUSE_SITE_CLASH,
			"rows captured under a site of another device of the user");
	return 0;
}

static int commit(struct step *s, const struct sender *from, struct store_site *site, bool known,
		  struct commit *c, struct err *e)
{
	struct store_user before = from->us->u;
	size_t messages = s->out->n;

	TRY(store_hide(s->store, e));
	TRY(store_savepoint(s->store, e));
	int rc = 0;
	if (!known)
		rc = site_add(s, from, c->set->site, site, e);
	if (!rc)
		rc = find_captured(s, from, site, c, e);
	if (rc == NE_LIMIT) { /* too many sites */
		c->why.code = REFUSE_QUOTA;
		c->why.text = *e;
		rc = 0;
	}
	if (!rc && !c->why.code)
		rc = apply(s, from, site, c, e);
	if (!rc && !c->why.code)
		rc = quota_after(s, from, &c->why, e);
	if (sets_fault(rc)) {
		c->why.code = REFUSE_MALFORMED;
		c->why.text = *e;
		rc = 0;
	}
	TRY(rc);
	if (!c->why.code)
		return store_keep(s->store, e);
	from->us->u = before;
	s->out->n = messages;
	return store_undo(s->store, e);
}

static size_t count_rows(const struct rows *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < rows->n_table; i++)
		n += rows->table[i].n_row;
	return n;
}

static int take(struct step *s, const struct sender *from, struct store_site *site, bool known,
		const struct f_set *set, struct err *e)
{
	struct commit c = {.set = set};

	open_rows(s, set, &c.rows, &c.why);
	c.n_row = count_rows(&c.rows);
	s->rows += c.n_row;
	uint64_t wait = c.why.code == REFUSE_UNKNOWN_SHAPE ? declaration_wait_ms(s, from) : 0;
	if (wait) /* it could not be declared now */
		return send_busy(s, from, wait, e);
	if (!c.why.code)
		TRY(quota_before(s, from, &c.rows, &c.why, e));
	if (!c.why.code)
		TRY(commit(s, from, site, known, &c, e));
	if (c.why.code)
		return refuse(s, from, set, &c.why, e);
	TRY(send_rejects(s, from, set->site, set->number, c.rejected, e));
	s->in->stats.sets++;
	s->in->stats.rows += c.n_row;
	return ack_add(s, from, set->site, site->number, set->number, c.own, e);
}

/* A number that was committed: acknowledged again if it is the same set, never committed again. */
static int again(struct step *s, const struct sender *from, const struct store_site *site,
		 const struct f_set *set, struct err *e)
{
	struct refusal why = {.code = 0};
	uint64_t own;
	bool found;

	TRY(store_site_recall(s->store, &from->us->u, site, set->number, set->cut, &own, &found,
			      e));
	if (found || s->in->c.broken.no_cut_id) {
		s->in->stats.duplicates++;
		return ack_add(s, from, set->site, site->number, set->number, own, e);
	}
	refusal(&why, REFUSE_STALE, "an old set under a cut id that is not remembered");
	return refuse(s, from, set, &why, e);
}

int on_set(struct step *s, const struct sender *from, const struct f_set *set, struct err *e)
{
	bool any_number = s->in->c.broken.no_successor;
	struct refusal why = {.code = 0};
	struct store_site site = {.id = 0};
	bool known;

	if (!well_formed(set)) {
		s->in->stats.malformed++;
		return 0;
	}
	TRY(store_site_get(s->store, &from->us->u, set->site, &site, &known, e));
	if (known && strcmp(site.device.at, from->device.at) != 0 && !s->in->c.broken.no_clash) {
		refusal(&why, REFUSE_SITE_CLASH, "this site belongs to another device of the user");
		return refuse(s, from, set, &why, e);
	}
	if (!any_number && set->number <= site.number)
		return again(s, from, &site, set, e);
	if (!any_number && set->number <= site.fence) {
		refusal(&why, REFUSE_STALE, "a set from before the device's newest hello");
		return refuse(s, from, set, &why, e);
	}
	if (!any_number && set->prev != site.number)
		return expect(s, from, set, site.number, e);
	return take(s, from, &site, known, set, e);
}
