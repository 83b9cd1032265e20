#include "device/core/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"

/* Of one step: a page's declarations, its rows and the frame they came in. */
enum { STEP_MEMORY = 3 * LIMIT_DECODED, OUT_MEMORY = 16 * 1024 * 1024 };

uint64_t engine_random_id(struct engine *en)
{
	uint64_t id = 0;

	while (!id) {
		en->cfg.random(en->cfg.random_ctx, &id, sizeof(id));
		id &= INT64_MAX;
	}
	return id;
}

uint64_t engine_jitter(struct engine *en, uint64_t ms)
{
	uint64_t r;

	en->cfg.random(en->cfg.random_ctx, &r, sizeof(r));
	return ms / 2 + r % (ms - ms / 2 + 1);
}

static void actions_clear(struct actions *a)
{
	a->n = 0;
	arena_free(&a->arena);
	a->arena.max = OUT_MEMORY;
}

void actions_free(struct actions *a)
{
	arena_free(&a->arena);
	free(a->at);
	a->at = NULL;
	a->n = a->cap = 0;
}

struct action *engine_act(struct engine *en, enum action_type type)
{
	struct actions *out = en->out;

	if (out->n == out->cap) {
		size_t cap = out->cap ? 2 * out->cap : 16;
		struct action *at = realloc(out->at, cap * sizeof(*at));

		if (!at)
			return NULL;
		out->at = at;
		out->cap = cap;
	}
	out->at[out->n] = (struct action){.type = type};
	return &out->at[out->n++];
}

int engine_publish_bytes(struct engine *en, struct slice plain)
{
	struct slice copy = arena_copy(&en->out->arena, plain);
	struct action *a;

	if (!copy.at)
		return NE_MEMORY;
	a = engine_act(en, ACT_PUBLISH);
	if (!a)
		return NE_MEMORY;
	a->frame = copy;
	if (!en->outstanding)
		en->sent_at_ms = en->mono_ms;
	en->outstanding += plain.len;
	return NE_OK;
}

static int publish_parts(struct engine *en, struct slice whole, struct err *e)
{
	struct buf part = {.max = LIMIT_MESSAGE};
	size_t n = parts_count(whole.len, en->cfg.piece_bytes);
	uint64_t id = engine_random_id(en);
	uint8_t digest[32];
	int rc = NE_OK;

	parts_digest(whole, digest);
	for (size_t i = 0; i < n && !rc; i++) {
		struct frame f;

		parts_get(whole, en->cfg.piece_bytes, id, i, digest, &f);
		buf_clear(&part);
		rc = frame_encode(&f, &part, e);
		if (!rc)
			rc = engine_publish_bytes(en, buf_slice(&part));
	}
	buf_free(&part);
	return rc;
}

int engine_publish(struct engine *en, const struct frame *f, struct err *e)
{
	struct buf whole = {.max = LIMIT_FRAME};
	int rc = frame_encode(f, &whole, e);

	if (!rc && whole.len > en->cfg.piece_bytes)
		rc = publish_parts(en, buf_slice(&whole), e);
	else if (!rc)
		rc = engine_publish_bytes(en, buf_slice(&whole));
	buf_free(&whole);
	return rc;
}

const struct shape *engine_find_shape(void *ctx, struct shape_id id)
{
	struct engine *en = ctx;
	struct tracked *t = devdb_table_by_shape(en->d, id);

	if (t)
		return &t->shape;
	for (size_t i = 0; i < en->n_learnt; i++) {
		if (shape_id_eq(en->learnt[i].shape.id, id))
			return &en->learnt[i].shape;
	}
	return NULL;
}

struct devdb *engine_devdb(struct engine *en)
{
	return en->d;
}

static void defaults(struct engine_config *c)
{
	if (!c->set_rows)
		c->set_rows = 2000;
	if (c->set_rows > LIMIT_ROWS)
		c->set_rows = LIMIT_ROWS;
	if (!c->set_bytes)
		c->set_bytes = 192 * 1024;
	if (!c->piece_bytes)
		c->piece_bytes = LIMIT_PIECE;
	if (!c->inflight_bytes)
		c->inflight_bytes = 12288;
	if (!c->inflight_sets)
		c->inflight_sets = 8;
	if (c->inflight_sets > FLIGHT_MAX / 2)
		c->inflight_sets = FLIGHT_MAX / 2;
	if (!c->ack_ms)
		c->ack_ms = 4000;
	if (!c->check_ms)
		c->check_ms = 900000;
}

int engine_open(struct engine **out, const struct engine_config *c, struct err *e)
{
	struct engine *en = calloc(1, sizeof(*en));
	int rc;

	if (!en)
		return err_set(e, NE_MEMORY, "no memory for the sync engine");
	en->cfg = *c;
	defaults(&en->cfg);
	en->tmp.max = STEP_MEMORY;
	en->token.max = LIMIT_MESSAGE;
	en->set_bytes = en->cfg.set_bytes;
	en->check_at_ms = en->retry_at_ms = NEVER_MS;
	rc = devdb_open(&en->d, c->path, c->vfs, e);
	/* Foreign keys and CHECKs are the writer's business: an image is applied as a whole (J2).
	 */
	if (!rc)
		rc = db_exec(en->d->db,
			     "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF", e);
	if (!rc)
		rc = cutter_new(&en->cutter, en->d, e);
	if (!rc)
		rc = engine_load(en, e);
	if (!rc)
		rc = engine_forget(en, e);
	if (!rc)
		rc = engine_drop_tables(en, e);
	if (!rc)
		en->schema_version = en->d->schema_version;
	if (rc) {
		engine_close(en);
		return rc;
	}
	*out = en;
	return NE_OK;
}

void engine_close(struct engine *en)
{
	if (!en)
		return;
	engine_drop_flights(en);
	engine_drop_heard(en, UINT64_MAX);
	for (size_t i = 0; i < en->n_learnt; i++)
		arena_free(&en->learnt[i].arena);
	parts_free(en->parts);
	buf_free(&en->token);
	arena_free(&en->tmp);
	cutter_free(en->cutter);
	devdb_close(en->d);
	free(en);
}

static void link_down(struct engine *en)
{
	en->link = false;
	en->outstanding = 0;
	engine_question_close(&en->hello);
	engine_question_close(&en->pull);
	parts_free(en->parts);
	en->parts = NULL;
	engine_resend(en);
}

/* A running engine asks nothing: the retained head tells whether anything was missed. */
static void link_up(struct engine *en)
{
	link_down(en);
	en->link = true;
	en->check_at_ms = en->mono_ms + HEAD_WAIT_MS / 2 + engine_jitter(en, HEAD_WAIT_MS / 2);
	if (!en->welcomed)
		engine_want_hello(en, 0);
}

/* Notices writes and schema changes of other connections. */
static int look_at_database(struct engine *en, bool told, struct err *e)
{
	int64_t data, schema;

	TRY(db_int(en->d->db, "PRAGMA data_version", 0, &data, e));
	if (!told && data == en->data_version)
		return NE_OK;
	en->data_version = data;
	en->dirty = true;
	TRY(db_int(en->d->db, "PRAGMA schema_version", 0, &schema, e));
	if (schema == en->schema_version)
		return NE_OK;
	if (schema != en->d->schema_version)
		TRY(devdb_reload(en->d, e));
	TRY(engine_drop_tables(en, e));
	en->schema_version = en->d->schema_version;
	/* Ranges of a cut in flight speak of the tables as they were: begin as after a start. */
	return engine_forget(en, e);
}

static int on_part(struct engine *en, const struct f_part *p, struct err *e);

/* What is addressed to us. */
static int on_down(struct engine *en, const struct frame *f, struct err *e)
{
	struct action *a;

	switch (f->type) {
	case FRAME_WELCOME:
		return engine_on_welcome(en, &f->welcome, e);
	case FRAME_ACK:
		return engine_on_ack(en, &f->ack, e);
	case FRAME_EXPECT:
		return engine_on_expect(en, &f->expect, e);
	case FRAME_BUSY:
		engine_on_busy(en, &f->busy);
		return NE_OK;
	case FRAME_PAGE:
		return engine_on_page(en, &f->page, e);
	case FRAME_RESET:
		return engine_on_reset(en, &f->reset, e);
	case FRAME_REFUSE:
		return engine_on_refuse(en, &f->refuse, e);
	case FRAME_RECEIPT:
		engine_on_receipt(en, &f->receipt);
		return NE_OK;
	case FRAME_REJECT:
		return engine_on_reject(en, &f->reject, e);
	case FRAME_PART:
		return on_part(en, &f->part, e);
	case FRAME_KEY:
		a = engine_act(en, ACT_KEY);
		if (!a)
			return NE_MEMORY;
		a->key = f->key;
		return NE_OK;
	default:
		en->bad_frames++;
		return NE_OK;
	}
}

static int decode_down(struct engine *en, struct slice plain, bool in_parts, struct err *e)
{
	struct frame f;
	int rc = frame_decode(plain, &en->tmp, &f, e);

	if (rc == NE_MEMORY)
		return rc;
	if (rc || (in_parts && f.type == FRAME_PART)) {
		en->bad_frames++;
		return NE_OK;
	}
	return on_down(en, &f, e);
}

/* Only an answer to an open question is put together: nobody else fills our memory. */
static int on_part(struct engine *en, const struct f_part *p, struct err *e)
{
	struct question *q = en->pull.open && p->cut == en->pull.nonce	   ? &en->pull
			     : en->hello.open && p->cut == en->hello.nonce ? &en->hello
									   : NULL;
	bool whole = false;
	int rc;

	if (!q)
		return NE_OK;
	if (en->parts && parts_cut(en->parts) != p->cut) {
		parts_free(en->parts);
		en->parts = NULL;
	}
	rc = en->parts ? NE_OK : parts_new(&en->parts, p, e);
	if (!rc)
		rc = parts_add(en->parts, p, &whole, e);
	if (rc == NE_MEMORY)
		return rc;
	if (rc) {
		en->bad_frames++;
		return NE_OK;
	}
	q->due_ms = en->mono_ms + q->backoff_ms;
	if (!whole)
		return NE_OK;
	rc = decode_down(en, parts_frame(en->parts), true, e);
	parts_free(en->parts);
	en->parts = NULL;
	return rc;
}

static int on_broadcast(struct engine *en, enum event_type type, struct slice plain, struct err *e)
{
	struct frame f;
	int rc = frame_decode(plain, &en->tmp, &f, e);

	if (rc == NE_MEMORY)
		return rc;
	if (!rc && type == EV_CHANGES && f.type == FRAME_CHANGE)
		return engine_on_change(en, &f.change, plain, e);
	if (!rc && type == EV_HEAD && f.type == FRAME_HEAD)
		engine_on_head(en, &f.head);
	else
		en->bad_frames++;
	return NE_OK;
}

static void want_sync(struct engine *en, uint64_t id)
{
	/* A step that failed for a lock is given again. */
	for (size_t i = 0; i < en->n_sync; i++)
		if (en->syncs[i] == id)
			return;
	if (en->n_sync == SYNCS_MAX)
		en->n_sync--;
	en->syncs[en->n_sync++] = id;
}

static int dispatch(struct engine *en, const struct event *ev, struct err *e)
{
	switch (ev->type) {
	case EV_TICK:
		return look_at_database(en, false, e);
	case EV_LOCAL:
		return look_at_database(en, true, e);
	case EV_LINK_UP:
		link_up(en);
		return look_at_database(en, true, e);
	case EV_LINK_DOWN:
		link_down(en);
		return NE_OK;
	case EV_DOWN:
		return decode_down(en, ev->frame, false, e);
	case EV_CHANGES:
	case EV_HEAD:
		return on_broadcast(en, ev->type, ev->frame, e);
	case EV_SENT:
		en->outstanding -=
			ev->sent_bytes < en->outstanding ? ev->sent_bytes : en->outstanding;
		en->sent_at_ms = en->mono_ms;
		return NE_OK;
	case EV_OFFSET:
		en->has_offset = true;
		en->offset_ms = ev->offset_ms;
		return NE_OK;
	case EV_SYNC:
		want_sync(en, ev->sync_id);
		return look_at_database(en, true, e);
	}
	return NE_OK;
}

/* EV_SYNC is concluded from the retained head: the rule P2 forbids it. */
static int conclude_from_head(struct engine *en, struct err *e)
{
	bool clean;

	if (!en->cfg.broken.trust_head || !en->link || en->at.cursor < en->head)
		return NE_OK;
	TRY(engine_clean(en, &clean, e));
	for (; clean && en->n_sync; en->n_sync--) {
		struct action *a = engine_act(en, ACT_SYNCED);

		if (!a)
			return NE_MEMORY;
		a->sync_id = en->syncs[en->n_sync - 1];
	}
	return NE_OK;
}

/* What an event made possible, in the order in which one makes the next possible. */
static int follow_up(struct engine *en, struct err *e)
{
	TRY(engine_settle(en, e));
	TRY(engine_upload(en, e));
	TRY(conclude_from_head(en, e));
	return engine_ask(en, e);
}

/* The durable state is what the database says; all else begins anew. */
static int recover(struct engine *en, struct err *e)
{
	TRY(engine_load(en, e));
	TRY(engine_forget(en, e));
	en->stale = false;
	return NE_OK;
}

int engine_step(struct engine *en, const struct event *ev, struct actions *out, struct err *e)
{
	int rc = NE_OK;

	actions_clear(out);
	en->out = out;
	en->now_ms = ev->now_ms;
	if (ev->mono_ms > en->mono_ms)
		en->mono_ms = ev->mono_ms;
	en->retry_at_ms = NEVER_MS;
	if (en->stale)
		rc = recover(en, e);
	if (!rc)
		rc = dispatch(en, ev, e);
	if (!rc)
		rc = follow_up(en, e);
	arena_free(&en->tmp);
	en->out = NULL;
	if (!rc)
		return NE_OK;
	if (!sqlite3_get_autocommit(db_handle(en->d->db)))
		devdb_rollback(en->d);
	for (size_t i = 0; i < out->n; i++)
		en->outstanding -= out->at[i].type == ACT_PUBLISH ? out->at[i].frame.len : 0;
	actions_clear(out);
	/* Busy: what is in memory still agrees with the database; timers repeat what was not sent.
	 */
	if (rc != NE_BUSY)
		en->stale = true;
	en->retry_at_ms = en->mono_ms + BUSY_MS;
	return rc;
}

static void sooner(uint64_t *at, uint64_t candidate)
{
	if (candidate < *at)
		*at = candidate;
}

uint64_t engine_deadline_ms(const struct engine *en)
{
	uint64_t at = NEVER_MS;

	if (en->stale)
		return en->mono_ms + BUSY_MS;
	/* The database was locked: whatever is due waits for it. */
	if (en->retry_at_ms != NEVER_MS || !en->link)
		return en->retry_at_ms;
	sooner(&at, en->hello.open ? en->hello.due_ms : en->hello_at_ms);
	sooner(&at, en->pull.open ? en->pull.due_ms : en->pull_at_ms);
	for (size_t i = 0; i < en->n_flight; i++) {
		sooner(&at, en->flight[i]->due_ms);
		if (en->flight[i]->n_want && en->busy_until_ms > en->mono_ms)
			sooner(&at, en->busy_until_ms);
		else if (en->flight[i]->n_want)
			sooner(&at, en->sent_at_ms + STUCK_MS);
	}
	/* While the server is busy nothing is sent, whatever is due. */
	if (at < en->busy_until_ms)
		at = en->busy_until_ms;
	sooner(&at, en->check_at_ms);
	sooner(&at, engine_cut_time(en));
	if (en->any_held)
		sooner(&at, en->held_until_ms);
	return at;
}
