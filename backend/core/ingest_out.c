/* What a step publishes, and in which order (P6). */
#include <stdio.h>
#include <string.h>

#include "backend/core/ingest_step.h"

static int no_memory(struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory for a step's messages");
}

static int push(struct step *s, const struct out_message *m, struct err *e)
{
	struct out_messages *o = s->out;

	if (o->n == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 64;
		struct out_message *at = arena_array(&o->arena, cap, sizeof *at);
		if (!at)
			return no_memory(e);
		if (o->n)
			memcpy(at, o->at, o->n * sizeof *at);
		o->at = at;
		o->cap = cap;
	}
	o->at[o->n++] = *m;
	return 0;
}

/* Encodes into the step's memory. */
static int encode(struct step *s, const struct frame *f, struct slice *out, struct err *e)
{
	struct buf *b = &s->in->frame;

	buf_clear(b);
	TRY(frame_encode(f, b, e));
	*out = arena_copy(&s->out->arena, buf_slice(b));
	return out->at ? 0 : no_memory(e);
}

static int queue_down(struct step *s, const struct sender *to, struct slice frame, struct err *e)
{
	struct down *d = arena_alloc(&s->arena, sizeof *d);

	if (!d)
		return no_memory(e);
	d->msg = (struct out_message){
		.kind = TOPIC_DOWN, .user = to->us->u.name, .peer = to->device, .frame = frame};
	*s->down_end = d;
	s->down_end = &d->next;
	return 0;
}

static int send_parts(struct step *s, const struct sender *to, struct slice whole, uint64_t nonce,
		      struct err *e)
{
	size_t n = parts_count(whole.len, DOWN_PIECE);
	uint8_t digest[32];

	parts_digest(whole, digest);
	for (size_t i = 0; i < n; i++) {
		struct frame part;
		struct slice bytes;
		parts_get(whole, DOWN_PIECE, nonce, i, digest, &part);
		TRY(encode(s, &part, &bytes, e));
		TRY(queue_down(s, to, bytes, e));
	}
	return 0;
}

int queue_reject(struct step *s, const struct sender *to, const struct frame *f, struct err *e)
{
	struct down *d = arena_alloc(&s->arena, sizeof *d);

	if (!d)
		return no_memory(e);
	d->msg = (struct out_message){
		.kind = TOPIC_DOWN, .user = to->us->u.name, .peer = to->device};
	TRY(encode(s, f, &d->msg.frame, e));
	*s->rejects_end = d;
	s->rejects_end = &d->next;
	return 0;
}

int send_down(struct step *s, const struct sender *to, const struct frame *f, uint64_t nonce,
	      struct err *e)
{
	struct slice bytes;

	TRY(encode(s, f, &bytes, e));
	if (bytes.len > DOWN_MAX)
		return send_parts(s, to, bytes, nonce, e);
	return queue_down(s, to, bytes, e);
}

int mark_uncompressed(struct step *s, const struct user_state *us, const struct rows *rows,
		      bool *any, struct err *e)
{
	for (size_t i = 0; i < rows->n_table; i++) {
		struct table_rows *t = &rows->table[i];
		const struct store_shape *sh = store_shape_find(s->store, t->shape->id);
		if (sh)
			TRY(store_uncompressed(s->store, &us->u, sh->table, s->now_ms,
					       &t->uncompressed, e));
	}
	*any = rows_uncompressed(rows);
	return 0;
}

int broadcast(struct step *s, struct user_state *us, const char *origin, const struct rows *rows,
	      struct err *e)
{
	struct buf *b = &s->in->rows;
	struct frame f = {.type = FRAME_CHANGE};
	struct out_message m = {.kind = TOPIC_CHANGES, .user = us->u.name};

	us->head_due = true;
	if (s->out->arena.used > OUT_BROADCAST_BYTES)
		return 0;
	buf_clear(b);
	TRY(mark_uncompressed(s, us, rows, &f.uncompressed, e));
	int rc = rows_encode(rows, SITE_SERVER, b, e);
	if (rc == NE_LIMIT)
		return 0;
	TRY(rc);
	f.change.term = store_term(s->store);
	f.change.seq = us->u.head;
	f.change.rows = buf_slice(b);
	buf_clear(&s->in->frame);
	rc = frame_encode(&f, &s->in->frame, e);
	if (rc == NE_LIMIT || (!rc && s->in->frame.len > BROADCAST_MAX))
		return 0;
	TRY(rc);
	m.frame = arena_copy(&s->out->arena, buf_slice(&s->in->frame));
	if (!m.frame.at)
		return no_memory(e);
	snprintf(m.peer.at, sizeof m.peer.at, "%s", origin);
	return push(s, &m, e);
}

static bool same_ack(const struct ack_state *a, const struct sender *from, uint64_t site)
{
	return a->us == from->us && a->site == site && strcmp(a->device.at, from->device.at) == 0;
}

int ack_add(struct step *s, const struct sender *from, uint64_t site, uint64_t newest,
	    uint64_t number, uint64_t own, struct err *e)
{
	struct ack_state *a = s->acks;

	while (a && !(same_ack(a, from, site) && a->n < LIMIT_ACK_SETS))
		a = a->next;
	if (!a) {
		a = arena_alloc(&s->arena, sizeof *a);
		if (!a)
			return no_memory(e);
		a->us = from->us;
		a->device = from->device;
		a->site = site;
		a->next = s->acks;
		s->acks = a;
	}
	if (newest > a->number)
		a->number = newest;
	for (size_t i = 0; i < a->n; i++)
		if (a->set[i].number == number)
			return 0;
	size_t at = a->n++;
	for (; at && a->set[at - 1].number > number; at--)
		a->set[at] = a->set[at - 1];
	a->set[at] = (struct ack_set){.number = number, .own = own};
	from->us->head_due = true;
	return 0;
}

static int send_ack(struct step *s, const struct ack_state *a, struct err *e)
{
	struct frame f = {.type = FRAME_ACK};
	struct out_message m = {.kind = TOPIC_DOWN, .user = a->us->u.name, .peer = a->device};

	f.ack = (struct f_ack){
		.store = store_id(s->store),
		.term = store_term(s->store),
		.site = a->site,
		.number = a->number,
		.head = a->us->u.head,
		.n = a->n,
		.set = a->set,
	};
	if (s->in->c.broken.ack_own_seq) {
		f.ack.head = 0;
		for (size_t i = 0; i < a->n; i++)
			if (a->set[i].own > f.ack.head)
				f.ack.head = a->set[i].own;
	}
	TRY(encode(s, &f, &m.frame, e));
	return push(s, &m, e);
}

static int send_head(struct step *s, const struct store_user *u, struct err *e)
{
	struct frame f = {.type = FRAME_HEAD};
	struct out_message m = {.kind = TOPIC_HEAD, .user = u->name, .retain = true};

	f.head = (struct f_head){
		.store = store_id(s->store), .term = store_term(s->store), .head = u->head};
	TRY(store_user_term(s->store, u, &f.head.prev_term, &f.head.first, e));
	TRY(encode(s, &f, &m.frame, e));
	return push(s, &m, e);
}

/* Heads of all users are published in batches after a start and when the broker lost us. */
static int send_due_heads(struct step *s, struct err *e)
{
	struct ingest *in = s->in;
	struct store_user *u = arena_array(&s->arena, HEADS_A_STEP, sizeof *u);
	size_t n;

	if (!u)
		return no_memory(e);
	TRY(store_users(s->store, in->heads_uid, u, HEADS_A_STEP, &n, e));
	for (size_t i = 0; i < n; i++)
		TRY(send_head(s, &u[i], e));
	in->heads_due = n == HEADS_A_STEP;
	if (n)
		in->heads_uid = u[n - 1].uid;
	return 0;
}

int finish_out(struct step *s, struct err *e)
{
	for (struct user_state *us = s->users; us; us = us->next)
		if (us->head_due)
			TRY(send_head(s, &us->u, e));
	if (s->in->heads_due)
		TRY(send_due_heads(s, e));
	for (const struct down *d = s->rejects; d; d = d->next)
		TRY(push(s, &d->msg, e));
	for (const struct ack_state *a = s->acks; a; a = a->next)
		TRY(send_ack(s, a, e));
	for (const struct down *d = s->down; d; d = d->next)
		TRY(push(s, &d->msg, e));
	return 0;
}
