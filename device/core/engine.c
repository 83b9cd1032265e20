#include "device/core/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/conflict.h"
#include "device/core/engine_internal.h"

/* Of one step: a page's declarations, its rows and the frame they came in. */
enum {
	STEP_MEMORY = 3 * LIMIT_DECODED,
	LOCK_CALM_MS = 10000, /* not refused for so long: whoever held the lock is gone */
};

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
	if (!c->busy_ms)
		c->busy_ms = 2000;
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
	en->check_at_ms = en->retry_at_ms = en->keep_at_ms = NEVER_MS;
	rc = devdb_open_busy(&en->d, c->path, c->vfs, en->cfg.busy_ms, e);
	/* Foreign keys and CHECKs are the writer's business: an image is applied as a whole (J2).
	 */
	if (!rc)
		rc = db_exec(en->d->db,
			     "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF", e);
	if (!rc)
		en->d->conflict_todo =
			(c->conflicts ? CONFLICT_TELL : 0) | (c->resolve ? CONFLICT_ASK : 0);
	en->ask_due = en->tell_due = true;
	if (!rc)
		en->d->broken = c->broken;
	if (!rc && c->broken.no_sync)
		rc = db_exec(en->d->db, "PRAGMA synchronous = OFF", e);
	if (!rc)
		rc = cutter_new(&en->cutter, en->d, e);
	if (!rc)
		rc = engine_load(en, e);
	if (!rc)
		rc = engine_forget(en, e);
	if (!rc)
		rc = coverage_prune(en->d, e);
	if (!rc)
		rc = coverage_look(en->d, e);
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
	engine_report_drop(en);
	engine_drop_heard(en, UINT64_MAX);
	for (size_t i = 0; i < en->n_learnt; i++)
		arena_free(&en->learnt[i].arena);
	parts_free(en->parts);
	buf_free(&en->token);
	engine_verify_free(en);
	arena_free(&en->tmp);
	cutter_free(en->cutter);
	devdb_close(en->d);
	free(en);
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
	TRY(engine_resolve(en, e));
	TRY(engine_ask_lost(en, e));
	TRY(engine_upload(en, e));
	TRY(engine_report(en, e));
	TRY(conclude_from_head(en, e));
	TRY(engine_ask(en, e));
	TRY(engine_verify(en, e));
	TRY(engine_tell(en, e));
	return engine_keep(en, e);
}

/* The durable state is what the database says; all else begins anew. */
static int recover(struct engine *en, struct err *e)
{
	TRY(engine_load(en, e));
	TRY(engine_forget(en, e));
	en->stale = false;
	return NE_OK;
}

/* Steps that need no lock succeed beside one that is held: only one that got it ends the trouble.
 */
static void note_lock(struct engine *en, int rc, bool wrote)
{
	if (rc == NE_BUSY) {
		if (!en->locked_since_ms)
			en->locked_since_ms = en->mono_ms + !en->mono_ms;
		en->locked_seen_ms = en->mono_ms;
	} else if (!rc && !en->cut_locked &&
		   (wrote || en->mono_ms - en->locked_seen_ms >= LOCK_CALM_MS)) {
		en->locked_since_ms = 0;
	}
}

int engine_step(struct engine *en, const struct event *ev, struct actions *out, struct err *e)
{
	uint64_t begun = en->d->begun;
	int rc = NE_OK;

	engine_actions_clear(out);
	en->out = out;
	en->now_ms = ev->now_ms;
	if (ev->mono_ms > en->mono_ms)
		en->mono_ms = ev->mono_ms;
	en->retry_at_ms = NEVER_MS;
	if (en->stale)
		rc = recover(en, e);
	if (!rc)
		rc = engine_dispatch(en, ev, e);
	if (!rc)
		rc = follow_up(en, e);
	arena_free(&en->tmp);
	en->out = NULL;
	note_lock(en, rc, en->d->begun != begun);
	if (!rc)
		return NE_OK;
	if (!sqlite3_get_autocommit(db_handle(en->d->db)))
		devdb_rollback(en->d);
	for (size_t i = 0; i < out->n; i++)
		en->outstanding -= out->at[i].type == ACT_PUBLISH ? out->at[i].frame.len : 0;
	engine_actions_clear(out);
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
	if (en->retry_at_ms != NEVER_MS)
		return en->retry_at_ms;
	if (en->cfg.conflicts && en->tell_due)
		sooner(&at, en->tell_at_ms);
	if (en->cfg.resolve && en->ask_due)
		sooner(&at, en->mono_ms);
	sooner(&at, en->keep_at_ms);
	if (!en->link)
		return at;
	sooner(&at, en->hello.open ? en->hello.due_ms : en->hello_at_ms);
	sooner(&at, en->pull.open ? en->pull.due_ms : en->pull_at_ms);
	sooner(&at, engine_lost_time(en));
	for (size_t i = 0; i < en->n_flight; i++) {
		sooner(&at, en->flight[i]->due_ms);
		if (en->flight[i]->n_want && en->busy_until_ms > en->mono_ms)
			sooner(&at, en->busy_until_ms);
		else if (en->flight[i]->n_want)
			sooner(&at, en->sent_at_ms + STUCK_MS);
	}
	sooner(&at, engine_report_time(en));
	sooner(&at, engine_verify_time(en));
	/* While the server is busy nothing is sent, whatever is due. */
	if (at < en->busy_until_ms)
		at = en->busy_until_ms;
	sooner(&at, en->check_at_ms);
	sooner(&at, engine_cut_time(en));
	if (en->any_held)
		sooner(&at, en->held_until_ms);
	return at;
}
