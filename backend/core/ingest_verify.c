/* A device compares a range of a table with what is here (J6). */
#include "backend/core/ingest_step.h"
#include "protocol/value_bytes.h"

enum { ANSWERS_A_STEP = 2 };

/* Of one question, read and checked. */
struct asked {
	struct val from[LIMIT_KEY_COLUMNS], to[LIMIT_KEY_COLUMNS];
	struct val absent[LIMIT_COLUMNS];
	struct key_set except;
	struct store_range range;
};

static int answer(struct step *s, const struct sender *from, struct frame *f, uint64_t nonce,
		  struct err *e)
{
	f->digest.nonce = nonce;
	f->digest.store = store_id(s->store);
	f->digest.term = store_term(s->store);
	f->digest.head = from->us->u.head;
	return send_down(s, from, f, nonce, e);
}

static int without(struct step *s, const struct sender *from, enum digest_status why,
		   uint64_t nonce, struct err *e)
{
	struct frame f = {.type = FRAME_DIGEST, .digest = {.status = why}};

	return answer(s, from, &f, nonce, e);
}

/* Each answer reads thousands of rows: a user gets one a step, so that none keeps others waiting.
 */
static bool too_much(struct step *s, struct user_state *us)
{
	if (us->verified || s->verified == ANSWERS_A_STEP)
		return true;
	us->verified = true;
	s->verified++;
	return false;
}

static int read_asked(struct step *s, const struct f_verify *v, const struct store_shape *sh,
		      struct asked *out)
{
	const struct shape *shape = &sh->shape;

	out->range = (struct store_range){.shape = sh,
					  .cursor = s->in->c.broken.sum_above ? UINT64_MAX
									      : v->at.cursor,
					  .except = &out->except,
					  .whole = v->whole,
					  .bytes = s->in->c.page_bytes};
	if (v->from.len) {
		TRY(key_take_whole(v->from, shape, out->from));
		out->range.from = out->from;
	}
	if (v->to.len) {
		TRY(key_take_whole(v->to, shape, out->to));
		out->range.to = out->to;
	}
	if (v->absent.len) {
		struct slice left = v->absent;

		TRY(values_take(&left, out->absent, shape->n_col));
		out->range.absent = out->absent;
		if (left.len)
			return NE_MALFORMED;
	}
	return key_set_read(shape, v->except, LIMIT_EXCEPT, &s->in->work, &out->except);
}

static int put_rows(struct step *s, struct store_digest *got, struct f_digest *out, struct err *e)
{
	struct rows rows = {.n_table = got->rows.n_row > 0, .table = &got->rows};
	struct buf *b = &s->in->rows;

	buf_clear(b);
	TRY(rows_encode(&rows, SITE_SERVER, b, e));
	out->rows = buf_slice(b);
	return 0;
}

static int digest(struct step *s, const struct sender *from, const struct f_verify *v,
		  const struct asked *a, struct err *e)
{
	struct frame f = {.type = FRAME_DIGEST};
	struct store_digest got;

	TRY(store_verify(s->store, &from->us->u, &a->range, &s->in->work, &got, e));
	TRY(store_uncompressed(s->store, &from->us->u, a->range.shape->table, s->now_ms,
			       &f.uncompressed, e));
	f.digest.upto = got.upto;
	f.digest.sum = got.sum;
	f.digest.above = got.above;
	got.rows.uncompressed = f.uncompressed;
	s->rows += VERIFY_ROWS;
	s->in->stats.verifies++;
	s->in->stats.unseen += got.repaired;
	if (v->whole)
		TRY(put_rows(s, &got, &f.digest, e));
	return answer(s, from, &f, v->nonce, e);
}

int on_verify(struct step *s, const struct sender *from, const struct f_verify *v, struct err *e)
{
	const struct store_shape *sh = store_shape_find(s->store, v->shape);
	struct asked *a = arena_alloc(&s->in->work, sizeof *a);
	bool ok;

	if (!a)
		return err_set(e, NE_MEMORY, "no memory to verify a table");
	TRY(position_ok(s, from, &v->at, &ok, e));
	if (!ok)
		return send_reset(s, from, v->nonce, e);
	if (!sh || sh->table->missing || sh->shape.kind != SHAPE_MERGE)
		return without(s, from, DIGEST_NO_TABLE, v->nonce, e);
	if (v->at.full || read_asked(s, v, sh, a)) {
		s->in->stats.malformed++;
		return 0;
	}
	if (too_much(s, from->us))
		return without(s, from, DIGEST_BUSY, v->nonce, e);
	return digest(s, from, v, a, e);
}
