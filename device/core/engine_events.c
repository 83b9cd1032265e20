/* What happened: the link, frames from the server, writes of others to the database. */
#include "device/core/engine_internal.h"

static void link_down(struct engine *en)
{
	en->link = false;
	en->outstanding = 0;
	engine_question_close(&en->hello);
	engine_question_close(&en->pull);
	engine_lost_close(en);
	engine_verify_again(en);
	parts_free(en->parts);
	en->parts = NULL;
	engine_resend(en);
	engine_report_resend(en);
}

/* A running engine asks nothing: the retained head tells whether anything was missed. */
static void link_up(struct engine *en)
{
	link_down(en);
	en->link = true;
	en->check_at_ms = en->mono_ms + HEAD_WAIT_MS / 2 + engine_jitter(en, HEAD_WAIT_MS / 2);
	if (!en->welcomed || en->quiet)
		engine_want_hello(en, 0);
}

/*
 * Somebody set the wall clock since the last step, or the device slept: the offset may be wrong
 * now, so nothing is cut before the server was asked once more.
 */
static void watch_clock(struct engine *en)
{
	int64_t ahead = (int64_t)(en->now_ms - en->mono_ms), by = ahead - en->clock_ahead_ms;

	if (en->clock_seen && by <= OFFSET_MIN_MS && by >= -OFFSET_MIN_MS)
		return;
	if (en->clock_seen) {
		en->quiet = true;
		en->has_offset = false;
		/* An answer that is on its way is compared with the clock as it is then. */
		if (en->link && !en->hello.open)
			engine_want_hello(en, 0);
	}
	en->clock_seen = true;
	en->clock_ahead_ms = ahead;
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
	engine_keep_wake(en);
	TRY(db_int(en->d->db, "PRAGMA schema_version", 0, &schema, e));
	if (schema == en->schema_version)
		return NE_OK;
	if (schema != en->d->schema_version)
		TRY(devdb_reload(en->d, e));
	TRY(coverage_prune(en->d, e));
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
	case FRAME_DIGEST:
		return engine_on_digest(en, &f->digest, e);
	case FRAME_NOTED:
		return engine_on_noted(en, &f->noted, e);
	case FRAME_RANGES:
		return engine_on_ranges(en, &f->ranges, e);
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
	struct question *const asked[] = {&en->pull, &en->hello, &en->verify.question};
	struct question *q = NULL;
	bool whole = false;
	int rc;

	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		if (asked[i]->open && asked[i]->nonce == p->cut)
			q = asked[i];
	}
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
	engine_report_again(en);
}

int engine_dispatch(struct engine *en, const struct event *ev, struct err *e)
{
	watch_clock(en);
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
	case EV_DOWN: /* the app may have changed a table that the message is about */
		TRY(look_at_database(en, false, e));
		return decode_down(en, ev->frame, false, e);
	case EV_CHANGES:
	case EV_HEAD:
		TRY(look_at_database(en, false, e));
		return on_broadcast(en, ev->type, ev->frame, e);
	case EV_SENT:
		en->outstanding -=
			ev->sent_bytes < en->outstanding ? ev->sent_bytes : en->outstanding;
		en->sent_at_ms = en->mono_ms;
		return NE_OK;
	case EV_OFFSET:
		en->has_offset = true;
		en->offset_ms = ev->offset_ms;
		engine_heard_time(en, en->now_ms + (uint64_t)ev->offset_ms);
		return NE_OK;
	case EV_VERIFY:
		TRY(look_at_database(en, true, e));
		return engine_verify_begin(en, ev, e);
	case EV_SYNC:
		want_sync(en, ev->sync_id);
		/* Who asks may have removed the cause of a refusal. */
		en->held_until_ms = en->mono_ms;
		return look_at_database(en, true, e);
	}
	return NE_OK;
}
