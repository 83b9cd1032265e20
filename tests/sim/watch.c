/* What must hold after every step of a device, and of a backend that starts again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"
#include "tests/sim/sim.h"

_Static_assert((int)FLIGHT_SEEN >= (int)FLIGHT_MAX, "every set in flight is watched");

/* ---- sets that are acknowledged, and settled (M3, P4) ---- */

static struct committed *committed_as(struct sim_device *d, uint64_t site, uint64_t number,
				      uint64_t term)
{
	for (size_t i = d->n_committed; i > 0; i--) {
		struct committed *c = &d->committed[i - 1];
		if (c->site == site && c->number == number && c->term == term)
			return c;
	}
	return NULL;
}

/* Acknowledged first: the user's head is then `head`. */
static void note_committed(struct sim_device *d, uint64_t site, uint64_t term, uint64_t number,
			   uint64_t head)
{
	if (committed_as(d, site, number, term))
		return;
	if (d->n_committed == d->cap_committed) {
		d->cap_committed = d->cap_committed ? 2 * d->cap_committed : 64;
		d->committed = realloc(d->committed, d->cap_committed * sizeof *d->committed);
		assert(d->committed);
	}
	d->committed[d->n_committed++] =
		(struct committed){.site = site, .number = number, .term = term, .head = head};
}

/*
 * A welcome says so, too: of sets whose acks died with the backend, and, in one step, of sets
 * before others raised the head.
 */
static void note_welcome(struct sim_device *d, const struct f_welcome *in)
{
	for (size_t i = 0; i < d->seen.n_flight && d->seen.site == in->site; i++)
		if (d->seen.flight[i] <= in->last_number)
			note_committed(d, in->site, in->term, d->seen.flight[i], in->head);
	for (size_t i = 0; i < d->n_committed; i++) {
		struct committed *c = &d->committed[i];
		if (c->site == in->site && c->term == in->term && c->number <= in->last_number &&
		    c->head > in->head)
			c->head = in->head;
	}
}

/*
 * Its marks are gone: the cursor has reached the user's head as of its commit, or all is pulled
 * anew.
 */
static void check_settled(struct sim_device *d, uint64_t number)
{
	const struct engine *en = d->en;
	const struct committed *c = committed_as(d, en->d->site, number, en->at.term);

	if (c && !en->at.full && en->at.cursor < c->head)
		sim_fail(d->w,
			 "%s: the marks of set %llu, committed at head %llu, are gone at cursor "
			 "%llu",
			 d->name, (unsigned long long)number, (unsigned long long)c->head,
			 (unsigned long long)en->at.cursor);
}

static bool in_flight(const struct engine *en, uint64_t number)
{
	for (size_t i = 0; i < en->n_flight; i++)
		if (en->flight[i]->number == number)
			return true;
	return false;
}

static void check_flights(struct sim_device *d, bool same)
{
	const struct engine *en = d->en;

	for (size_t i = 0; same && i < d->seen.n_flight && !d->w->failed; i++) {
		uint64_t number = d->seen.flight[i];
		if (!in_flight(en, number) && number <= en->acked_number)
			check_settled(d, number);
	}
	d->seen.n_flight = en->n_flight;
	for (size_t i = 0; i < en->n_flight; i++)
		d->seen.flight[i] = en->flight[i]->number;
}

/* ---- positions ---- */

void check_device_moves(struct sim_device *d)
{
	const struct engine *en = d->en;

	if (d->w->failed || !en || en->stale)
		return;
	bool same = !en->at.full && en->at.store == d->seen.store && en->at.term == d->seen.term &&
		    en->d->site == d->seen.site;
	if (same && en->at.cursor < d->seen.cursor)
		sim_fail(d->w, "%s: its cursor went back from %llu to %llu", d->name,
			 (unsigned long long)d->seen.cursor, (unsigned long long)en->at.cursor);
	if (same && en->at.hold < d->seen.hold)
		sim_fail(d->w, "%s: its hold went back from %llu to %llu", d->name,
			 (unsigned long long)d->seen.hold, (unsigned long long)en->at.hold);
	check_flights(d, en->at.store == d->seen.store && en->at.term == d->seen.term &&
				 en->d->site == d->seen.site);
	/* A restored store has lost some: they are given out again (P8). */
	if (same && en->acked_number < d->seen.acked && !d->w->backend.restored)
		sim_fail(d->w, "%s: its acknowledged number went back from %llu to %llu", d->name,
			 (unsigned long long)d->seen.acked, (unsigned long long)en->acked_number);
	winners_note_cuts(d);
	d->seen.store = en->at.full ? 0 : en->at.store;
	d->seen.term = en->at.term;
	d->seen.site = en->d->site;
	d->seen.cursor = en->at.cursor;
	d->seen.hold = en->at.hold;
	d->seen.acked = en->acked_number;
}

/* What a device knows to be committed is on the disk of a backend that died (P6). */
void check_acked(struct world *w)
{
	for (unsigned i = 0; i < w->n_device && !w->failed && !w->backend.restored; i++) {
		const struct engine *en = w->device[i].en;
		struct store_site site = {.id = 0};
		struct store_user u;
		bool found;
		struct err e;
		if (!en || w->device[i].restored || en->acked_number == 0)
			continue;
		if (store_user_get(w->backend.store, w->device[i].user->name, &u, &found, &e) ||
		    store_site_get(w->backend.store, &u, en->d->site, &site, &found, &e))
			sim_fail(w, "%s", e.text);
		else if (site.number < en->acked_number)
			sim_fail(w, "set %llu of %s was acknowledged, and is gone",
				 (unsigned long long)en->acked_number, w->device[i].name);
	}
}

/* ---- the backend ---- */

/* One seq is one message, and none is left out but by a crash. */
static void check_seq(struct world *w, struct sim_user *u, const struct out_message *m)
{
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f;
	struct err e;

	if (frame_decode(m->frame, &a, &f, &e)) {
		sim_fail(w, "the backend sends what does not decode: %s", e.text);
	} else if (f.type == FRAME_CHANGE) {
		if (u->term == f.change.term && f.change.seq <= u->seq)
			sim_fail(w, "seq %llu comes after %llu", (unsigned long long)f.change.seq,
				 (unsigned long long)u->seq);
		if (u->term == f.change.term && u->seq && f.change.seq != u->seq + 1)
			sim_fail(w, "a gap between seq %llu and %llu", (unsigned long long)u->seq,
				 (unsigned long long)f.change.seq);
		u->seq = f.change.seq;
		u->term = f.change.term;
	}
	arena_free(&a);
}

static void note_down(struct world *w, struct sim_device *d, const struct out_message *m)
{
	struct arena a = {.max = LIMIT_DECODED};
	struct store_user u;
	struct frame f;
	bool found;
	struct err e;

	if (frame_decode(m->frame, &a, &f, &e) ||
	    store_user_get(w->backend.store, m->user.at, &u, &found, &e))
		sim_fail(w, "the backend's answer: %s", e.text);
	else if (f.type == FRAME_ACK)
		for (size_t k = 0; k < f.ack.n; k++)
			note_committed(d, f.ack.site, f.ack.term, f.ack.set[k].number, u.head);
	else if (f.type == FRAME_WELCOME)
		note_welcome(d, &f.welcome);
	else if (f.type == FRAME_REFUSE)
		d->renewed |= f.refuse.code == REFUSE_SITE_CLASH;
	arena_free(&a);
}

/* Whether the step under way acknowledges that set. */
static bool acks_now(struct world *w, const struct sim_device *d, const struct f_set *set)
{
	bool yes = false;

	for (size_t i = 0; i < w->backend.out.n && !yes; i++) {
		const struct out_message *m = &w->backend.out.at[i];
		struct arena a = {.max = LIMIT_DECODED};
		struct frame f;
		if (m->kind == TOPIC_DOWN && strcmp(m->peer.at, d->name) == 0 &&
		    !frame_decode(m->frame, &a, &f, NULL) && f.type == FRAME_ACK)
			for (size_t k = 0; k < f.ack.n; k++)
				yes |= f.ack.site == set->site &&
				       f.ack.set[k].number == set->number;
		arena_free(&a);
	}
	return yes;
}

/* What is acknowledged under a number is the set that was committed, not another of that number. */
static void check_cut(struct world *w, struct sim_device *d, const struct f_set *set)
{
	struct committed *c = committed_as(d, set->site, set->number, store_term(w->backend.store));

	if (!c || c->cut == set->cut || !acks_now(w, d, set))
		return;
	if (!c->cut)
		c->cut = set->cut;
	else
		sim_fail(w, "%s: set %llu is acknowledged, and another one was committed", d->name,
			 (unsigned long long)set->number);
}

/* The sets in a step; those of one device and number together say nothing. */
static void check_sets(struct world *w, const struct in_event *ev, size_t n)
{
	for (size_t i = 0; i < n && !w->failed; i++) {
		struct arena a = {.max = LIMIT_DECODED};
		struct sim_device *d =
			ev[i].type == IN_FRAME ? device_named(w, ev[i].device) : NULL;
		struct frame f;
		bool alone = d != NULL;
		for (size_t k = 0; d && k < n; k++)
			alone = alone && (k == i || ev[k].type != IN_FRAME ||
					  strcmp(ev[k].device, ev[i].device) != 0);
		if (alone && !frame_decode(ev[i].frame, &a, &f, NULL) && f.type == FRAME_SET)
			check_cut(w, d, &f.set);
		arena_free(&a);
	}
}

void watch_backend(struct world *w, const struct in_event *ev, size_t n)
{
	for (size_t i = 0; i < w->backend.out.n && !w->failed; i++) {
		const struct out_message *m = &w->backend.out.at[i];
		struct sim_device *d = device_named(w, m->peer.at);
		if (m->kind == TOPIC_DOWN && d)
			note_down(w, d, m);
		for (unsigned u = 0; u < w->n_user && m->kind == TOPIC_CHANGES; u++)
			if (strcmp(w->user[u].name, m->user.at) == 0)
				check_seq(w, &w->user[u], m);
	}
	check_sets(w, ev, n);
}
