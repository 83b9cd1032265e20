/* The engine's durable state and the ways to begin anew. */
#include <stdlib.h>
#include <string.h>

#include "device/core/aware.h"
#include "device/core/engine_internal.h"
#include "device/core/identity.h"

static int get_u64(struct engine *en, const char *key, uint64_t *out, struct err *e)
{
	int64_t v;

	TRY(devdb_get(en->d, key, &v, e));
	*out = (uint64_t)v;
	return NE_OK;
}

enum { FULL_NONE, FULL_PLAIN, FULL_SAVES };

int engine_load(struct engine *en, struct err *e)
{
	struct position at = {0};
	uint64_t acked, verified;
	int64_t full;

	TRY(get_u64(en, "store", &at.store, e));
	TRY(get_u64(en, "term", &at.term, e));
	TRY(get_u64(en, "cursor", &at.cursor, e));
	TRY(get_u64(en, "base", &at.base, e));
	TRY(devdb_get(en->d, "full", &full, e));
	TRY(get_u64(en, "hold", &at.hold, e));
	TRY(get_u64(en, "acked_number", &acked, e));
	TRY(get_u64(en, "verified_ms", &verified, e));
	at.full = full != FULL_NONE;
	en->save_lost = full == FULL_SAVES;
	if (en->cfg.broken.hold_forgotten)
		at.hold = 0;
	en->at = at;
	en->acked_number = acked;
	en->verified_wall_ms = verified;
	return NE_OK;
}

bool engine_stands_at(const struct engine *en, const struct position *p)
{
	const struct position *at = &en->at;

	return at->store == p->store && at->term == p->term && at->cursor == p->cursor &&
	       at->hold == p->hold && at->full == p->full && at->base == p->base;
}

int engine_put_position(struct engine *en, const struct position *at, struct err *e)
{
	const struct {
		const char *key;
		uint64_t old, new;
	} v[] = {
		{"store", en->at.store, at->store},    {"term", en->at.term, at->term},
		{"cursor", en->at.cursor, at->cursor}, {"base", en->at.base, at->base},
		{"hold", en->at.hold, at->hold},
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		if (v[i].new != v[i].old)
			TRY(devdb_set(en->d, v[i].key, (int64_t)v[i].new, e));
	}
	if (at->full != en->at.full)
		TRY(devdb_set(en->d, "full", at->full ? FULL_PLAIN : FULL_NONE, e));
	return NE_OK;
}

/* The sets that a run before this one, or before a change of term, gave out. */
static int load_flights(struct engine *en, struct err *e)
{
	struct cut_inflight list[FLIGHT_MAX];
	size_t n;

	TRY(cut_list(en->d, list, FLIGHT_MAX, &n, e));
	for (size_t i = 0; i < n; i++) {
		struct flight *f = calloc(1, sizeof(*f));

		if (!f)
			return NE_MEMORY;
		f->number = list[i].number;
		f->prev = list[i].prev;
		f->cut = list[i].cut;
		f->gen_hi = list[i].gen_hi;
		f->n_row = SETTLE_ROWS;
		f->due_ms = f->sent_ms = NEVER_MS;
		en->flight[en->n_flight++] = f;
	}
	return NE_OK;
}

int engine_forget(struct engine *en, struct err *e)
{
	engine_drop_flights(en);
	engine_report_drop(en);
	engine_drop_heard(en, UINT64_MAX);
	engine_question_close(&en->hello);
	engine_question_close(&en->pull);
	engine_question_close(&en->lost);
	engine_verify_again(en);
	en->hello_at_ms = en->pull_at_ms = en->lost_at_ms = NEVER_MS;
	parts_free(en->parts);
	en->parts = NULL;
	buf_clear(&en->token);
	en->backfill = (struct backfill){0};
	en->d->seen_table = 0;
	en->head = 0;
	en->odd = (struct f_head){0};
	en->welcomed = en->quiet = false;
	en->restart = true;
	en->dirty = true;
	en->window = en->cfg.inflight_sets;
	en->backoff = 1;
	en->cut_at_ms = en->resent_ms = 0;
	engine_keep_wake(en);
	TRY(load_flights(en, e));
	if (en->link)
		engine_want_hello(en, 0);
	return NE_OK;
}

int engine_adopt(struct engine *en, uint64_t store, uint64_t term, struct err *e)
{
	struct position at = en->at;

	at.store = store;
	at.term = term;
	TRY(devdb_begin(en->d, e));
	TRY(engine_put_position(en, &at, e));
	TRY(devdb_commit(en->d, e));
	en->at = at;
	return engine_forget(en, e);
}

/* What was known when capture was lost says nothing of another store, or another past. */
static int begin_catchup(struct engine *en, bool save, struct err *e)
{
	TRY(db_exec(en->d->db,
		    save ? "UPDATE neap_catchup SET begun = 0, known = -1"
			 : "UPDATE neap_catchup SET begun = 0",
		    e));
	for (size_t i = 0; i < en->d->n_table; i++) {
		if (tracked_receives(&en->d->table[i]))
			TRY(db_execf(en->d->db, e,
				     "UPDATE neap_catchup SET begun = 1 WHERE table_id = %lld",
				     (long long)en->d->table[i].id));
	}
	return NE_OK;
}

int engine_begin_full(struct engine *en, uint64_t store, uint64_t term, uint64_t head, bool save,
		      struct err *e)
{
	struct position at = {
		.store = store, .term = term, .cursor = 0, .full = true, .base = head};

	/* What a reset before this one set out to save is still to be saved. */
	save |= en->at.full && en->save_lost;
	TRY(devdb_begin(en->d, e));
	TRY(aware_full_begins(en->d, save, e));
	TRY(engine_put_position(en, &at, e));
	TRY(devdb_set(en->d, "full", save ? FULL_SAVES : FULL_PLAIN, e));
	TRY(coverage_all(en->d, e));
	/* Append rows that were acknowledged may be gone, too. */
	if (save && (store != en->at.store || term != en->at.term))
		TRY(lost_begin(en->d, e));
	TRY(begin_catchup(en, save, e));
	TRY(coverage_look(en->d, e));
	TRY(apply_full_begin(en->d, e));
	TRY(devdb_commit(en->d, e));
	en->at = at;
	en->save_lost = save;
	TRY(engine_forget(en, e));
	en->head = head;
	return NE_OK;
}

/* Marks keep the site they were captured under (M5). */
static int sign_marks(struct engine *en, uint64_t old, struct err *e)
{
	for (size_t i = 0; i < en->d->n_table; i++) {
		if (en->d->table[i].shape.kind == SHAPE_MERGE)
			TRY(db_execf(en->d->db, e,
				     "UPDATE \"%s\" SET site = %lld WHERE site IS NULL",
				     en->d->table[i].marks, (long long)old));
	}
	return NE_OK;
}

int engine_new_site(struct engine *en, bool anothers, struct err *e)
{
	uint64_t site = engine_random_id(en);
	struct action *a = engine_act(en, ACT_NEW_SITE);

	if (!a)
		return NE_MEMORY;
	TRY(devdb_begin(en->d, e));
	if (!en->cfg.broken.site_lost) {
		TRY(sign_marks(en, en->d->site, e));
		TRY(identity_sign(en->d, e));
	}
	if (anothers)
		TRY(lost_begin_keys(en->d, e));
	TRY(cutter_restart(en->cutter, e));
	TRY(devdb_set(en->d, "site", (int64_t)site, e));
	TRY(devdb_set(en->d, "last_number", 0, e));
	TRY(devdb_set(en->d, "last_cut", 0, e));
	TRY(devdb_set(en->d, "acked_number", 0, e));
	TRY(devdb_commit(en->d, e));
	en->d->site = site;
	en->acked_number = en->committed = 0;
	TRY(engine_forget(en, e));
	/* A server that never likes a site is not asked without pause. */
	if (en->new_sites++)
		en->hello_at_ms = en->mono_ms + RETRY_MS;
	return NE_OK;
}
