#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/track.h"
#include "tests/sim/describe.h"
#include "tests/sim/sim.h"

enum { EPOCH = 1000, SPIN_MAX = 200, CLOCK_ERROR_MS = 200 };

uint64_t device_wall_ms(const struct sim_device *d)
{
	return d->w->now_ms + (uint64_t)d->skew_ms;
}

static void opened(struct sim_device *d, int rc, struct err *e, const char *doing)
{
	if (rc)
		sim_fail(d->w, "%s: %s: %s (%s)", d->name, doing, e->text, ne_name(rc));
}

/* ---- keys ---- */

static void keys_new(struct sim_device *d)
{
	struct slice user = slice_str(d->user->name), self = slice_str(d->name);
	struct err e;

	if (sealer_new(&d->up, &d->message, EPOCH, SEAL_UP, user, self, rng_bytes, &d->w->ids,
		       &e) ||
	    opener_new(&d->down, &d->message, EPOCH, SEAL_DOWN, user, self, &e) ||
	    opener_new(&d->head, &d->user->group, EPOCH, SEAL_HEAD, user, slice_str(""), &e))
		abort();
	d->changes = calloc(d->w->cap_device + 1, sizeof(struct opener *));
	assert(d->changes);
}

static void keys_free(struct sim_device *d)
{
	sealer_free(d->up);
	opener_free(d->down);
	opener_free(d->head);
	d->up = NULL;
	d->down = d->head = NULL;
	for (size_t i = 0; d->changes && i <= d->w->cap_device; i++)
		opener_free(d->changes[i]);
	free(d->changes);
	d->changes = NULL;
}

static struct opener *changes_opener(struct sim_device *d, const char *origin)
{
	const struct sim_device *from = device_named(d->w, origin);
	struct opener **o = &d->changes[from ? from->index + 1 : 0];
	struct err e;

	if (!*o && opener_new(o, &d->user->group, EPOCH, SEAL_CHANGES, slice_str(d->user->name),
			      slice_str(origin), &e))
		abort();
	return *o;
}

/* ---- life ---- */

/* A write that fails kills the device, which is then as new; the file may be locked by the app. */
static bool track(struct sim_device *d, unsigned i)
{
	struct track_options o = {.append = d->w->table[i]->append};
	struct err e;

	o.direction = d->w->down >> i & 1 ? DIR_DOWN : d->w->up >> i & 1 ? DIR_UP : DIR_BOTH;
	o.priority = (int)((d->w->seed >> i) % 10); /* the same on all devices */
	int rc = track_table(engine_devdb(d->en), d->w->table[i]->name, &o, &e);
	if (device_struck(d))
		return false;
	if (rc != NE_BUSY)
		opened(d, rc, &e, "track");
	if (!rc)
		d->untracked &= ~(1u << i);
	return !rc;
}

void device_track(struct sim_device *d, bool all)
{
	for (unsigned i = 0; i < d->w->n_table && !d->w->failed; i++) {
		if (!(d->untracked >> i & 1))
			continue;
		sim_clock(d->w, d);
		if (!track(d, i) || !all)
			break;
	}
	device_step(d, &(struct event){.type = EV_LOCAL});
}

static void create_tables(struct sim_device *d)
{
	sqlite3 *app = app_connection(d);

	for (unsigned i = 0; i < d->w->n_table; i++)
		if (sqlite3_exec(app, d->w->table[i]->create, NULL, NULL, NULL) != SQLITE_OK ||
		    ((d->w->up >> i & 1) && !app_create_twin(d, d->w->table[i])))
			sim_fail(d->w, "%s: %s", d->name, sqlite3_errmsg(app));
	/* Some rows are there before the table is tracked. */
	if (rng_chance(&d->w->chance, 300))
		app_write(d);
	app_end(d);
	for (unsigned i = 0; i < d->w->n_table && !d->w->failed; i++) {
		d->untracked |= 1u << i;
		/* The first one always is: tracking puts what the app created on the disk. */
		if (i == 0 || !d->w->c.later || rng_chance(&d->w->chance, 1000 - d->w->c.later))
			track(d, i);
	}
}

void device_init(struct world *w, unsigned index, struct sim_user *user)
{
	struct sim_device *d = &w->device[index];
	struct err e;

	d->w = w;
	d->user = user;
	d->index = index;
	d->link_up_at = w->now_ms + rng_range(&w->chance, 0, 5000);
	snprintf(d->name, sizeof d->name, "d%u", index);
	snprintf(d->path, sizeof d->path, "d%u.db", index);
	rng_bytes(&w->ids, d->message.at, KEY_LEN);
	if (rng_chance(&w->chance, w->c.skew))
		d->skew_ms = (int64_t)rng_range(&w->chance, 0, 240000) - 120000;
	keys_new(d);
	sim_clock(w, d);
	uint64_t site = rng_u64(&w->ids) >> 1 | 1;
	opened(d, devdb_init(d->path, MEMVFS_NAME, user->name, d->name, site, &e), &e, "init");
	device_open(d);
	if (!w->failed)
		create_tables(d);
	if (!w->failed)
		device_step(d, &(struct event){.type = EV_LOCAL});
}

void device_open(struct sim_device *d)
{
	struct engine_config c = {.path = d->path,
				  .vfs = MEMVFS_NAME,
				  .random = rng_bytes,
				  .random_ctx = &d->w->ids,
				  .set_rows = d->w->c.set_rows,
				  .piece_bytes = d->w->c.piece_bytes,
				  .broken = d->w->opt->engine_broken};
	struct err e;

	sim_clock(d->w, d);
	d->seen.acked = 0; /* durable only once it is settled */
	d->seen.n_flight = 0;
	opened(d, engine_open(&d->en, &c, &e), &e, "open");
}

static void drop_link(struct sim_device *d)
{
	d->link = false;
	d->link_run++; /* what is on its way belongs to the old link */
	d->link_up_at = d->w->now_ms + (d->w->healed ? 100 : rng_range(&d->w->chance, 10, 30000));
}

/* The process is gone without a further step; what its disk holds is in `image`. */
static void reopen(struct sim_device *d, struct memimage *image)
{
	memvfs_fail_at("", 0, NULL);
	drop_link(d);
	app_close(d);
	engine_close(d->en);
	d->en = NULL;
	memvfs_restore(d->path, image);
	memimage_free(image);
	device_open(d);
	if (!d->w->failed)
		device_step(d, &(struct event){.type = EV_LOCAL});
	if (!d->w->failed && d->w->sync_id)
		device_step(d, &(struct event){.type = EV_SYNC, .sync_id = d->w->sync_id});
}

bool device_struck(struct sim_device *d)
{
	struct memimage *image = memvfs_failed();
	struct token fresh[FRESH_MAX];
	size_t n = d->n_fresh;

	if (!image)
		return false;
	sim_fault(d->w, FAULT_DEVICE_AT_WRITE);
	sim_trace(d->w, "%s   dies at a write", d->name);
	memcpy(fresh, d->fresh, sizeof fresh);
	reopen(d, image);
	/* Whether the app's commit had reached the disk is for the disk to say. */
	if (!d->w->failed)
		app_note_vanished(d);
	if (n && !d->w->failed)
		app_keep_found(d, fresh, n);
	return true;
}

void device_kill(struct sim_device *d, bool power)
{
	sim_fault(d->w, power ? FAULT_DEVICE_POWER : FAULT_DEVICE_KILLED);
	sim_trace(d->w, "%s   %s", d->name, power ? "loses its power" : "is killed");
	reopen(d, memvfs_image(d->path, power ? &d->w->chance : NULL));
	if (!d->w->failed)
		app_note_vanished(d);
}

void device_backup(struct sim_device *d)
{
	memimage_free(d->backup);
	d->backup = memvfs_image(d->path, NULL);
	memcpy(d->backup_added, d->added, sizeof d->added);
	d->backup_tokens = d->w->n_token;
	sim_trace(d->w, "%s   is copied", d->name);
}

void device_restore(struct sim_device *d)
{
	struct memimage *backup = d->backup;

	if (!backup)
		return;
	sim_fault(d->w, FAULT_DEVICE_RESTORED);
	sim_trace(d->w, "%s   is restored from its copy", d->name);
	d->backup = NULL;
	d->restored = true;
	winners_close(d->w);
	for (size_t i = d->backup_tokens; i < d->w->n_token; i++)
		d->w->token[i].lost |= d->w->token[i].device == d->index;
	/* What the power took since may be in the copy. */
	for (size_t i = 0; i < d->backup_tokens; i++)
		d->w->token[i].lost |= d->w->token[i].vanished;
	memcpy(d->added, d->backup_added, sizeof d->added);
	memset(&d->seen, 0, sizeof d->seen);
	reopen(d, backup);
}

void device_late_sets(struct sim_device *d)
{
	struct world *w = d->w;
	uint64_t soon = rng_range(&w->chance, 300, 4000);

	if (d->app_tx)
		return;
	device_backup(d);
	d->slow_until_ms = w->now_ms + soon + rng_range(&w->chance, 5000, 60000);
	app_write(d);
	queue_add(w, ITEM_BEGIN_ANEW, soon, (int)d->index);
}

void device_begin_anew(struct sim_device *d)
{
	if (d->w->healed)
		return;
	if (rng_chance(&d->w->chance, 500))
		device_restore(d);
	else
		device_kill(d, false);
	if (!d->w->failed && !d->app_tx)
		app_touch(d);
	if (!d->w->failed && !d->app_tx)
		app_write(d);
}

/* What was pending in the copied file may go up twice; what `d` had is gone. */
static void note_copy(struct sim_device *of, struct sim_device *d)
{
	struct world *w = d->w;

	w->copy[w->n_copy].of = of->index;
	w->copy[w->n_copy++].by = d->index;
	for (size_t i = 0; i < w->n_token; i++) {
		w->token[i].lost |= w->token[i].device == d->index;
		w->token[i].copied |= w->token[i].device == of->index || w->token[i].copied;
	}
}

void device_clone(struct sim_device *d)
{
	struct world *w = d->w;
	struct sim_device *of = &w->device[rng_below(&w->chance, w->n_device)];
	struct memimage *image;
	struct err e;

	if (of == d || of->user != d->user || w->n_copy == COPIES_MAX)
		return;
	sim_fault(w, FAULT_DEVICE_CLONED);
	sim_trace(w, "%s   is started from a copy of %s", d->name, of->name);
	image = memvfs_image(of->path, NULL);
	memimage_rename(image, of->path, d->path);
	note_copy(of, d);
	d->restored = of->restored = true;
	winners_close(w);
	memcpy(d->added, of->added, sizeof d->added);
	memset(&d->seen, 0, sizeof d->seen);
	memvfs_fail_at("", 0, NULL);
	drop_link(d);
	app_close(d);
	engine_close(d->en);
	d->en = NULL;
	memvfs_restore(d->path, image);
	memimage_free(image);
	opened(d, devdb_init(d->path, MEMVFS_NAME, d->user->name, d->name, 1, &e), &e, "init");
	if (!w->failed)
		device_open(d);
	if (!w->failed)
		device_step(d, &(struct event){.type = EV_LOCAL});
}

void device_die_at_write(struct sim_device *d)
{
	bool power = rng_chance(&d->w->chance, d->w->c.tear);

	memvfs_fail_at(d->path, rng_range(&d->w->chance, 1, 40), power ? &d->w->chance : NULL);
}

void device_free(struct sim_device *d)
{
	app_close(d);
	engine_close(d->en);
	d->en = NULL;
	actions_free(&d->out);
	memimage_free(d->backup);
	free(d->committed);
	keys_free(d);
}

/* ---- link ---- */

void device_link_up(struct sim_device *d)
{
	struct err e;

	assert(!d->link);
	d->link = true;
	d->link_run++;
	sim_trace(d->w, "%s   link up", d->name);
	if (sealer_renew(d->up, &e))
		abort();
	if (rng_chance(&d->w->chance, d->w->healed ? 1000 : 1000 - d->w->c.unmeasured)) {
		/* A login or refresh just before measured the clock, on its round trip. */
		int64_t error =
			(int64_t)rng_below(&d->w->chance, 2 * CLOCK_ERROR_MS) - CLOCK_ERROR_MS;
		struct event ev = {.type = EV_OFFSET, .offset_ms = error - d->skew_ms};
		device_step(d, &ev);
	}
	if (!d->w->failed && d->link)
		device_step(d, &(struct event){.type = EV_LINK_UP});
	if (!d->w->failed && d->link)
		net_subscribed(d->w, d);
	if (d->w->opt->verify)
		device_verify(d);
}

void device_verify(struct sim_device *d)
{
	struct event ev = {.type = EV_VERIFY};

	/* What is found is told, not mended: it must be nothing. */
	ev.verify.id = 1;
	d->verified = false;
	device_step(d, &ev);
}

void device_link_down(struct sim_device *d)
{
	if (!d->link)
		return;
	drop_link(d);
	sim_trace(d->w, "%s   link down", d->name);
	if (d->en)
		device_step(d, &(struct event){.type = EV_LINK_DOWN});
}

/* ---- steps ---- */

static void publish(struct sim_device *d, struct slice frame)
{
	struct buf sealed = {.max = LIMIT_MESSAGE + SEAL_OVERHEAD};
	struct topic t = {.kind = TOPIC_UP, .shard = id_shard(slice_str(d->user->name))};
	struct err e;

	describe_frame(d->w, d->name, "->", frame);
	if (!d->link) {
		sim_fail(d->w, "%s publishes without a link", d->name);
		return;
	}
	if (id_set(&t.user, slice_str(d->user->name), "user", &e) ||
	    id_set(&t.peer, slice_str(d->name), "device", &e))
		abort();
	opened(d, sealer_seal(d->up, frame, &sealed, &e), &e, "seal");
	struct item *sent =
		queue_add(d->w, ITEM_SENT, 1 + rng_below(&d->w->chance, 50), (int)d->index);
	sent->link_run = d->link_run;
	sent->bytes = frame.len;
	if (d->w->now_ms < d->slow_until_ms && frame.len > 1 && frame.at[1] == FRAME_SET)
		d->w->late_ms = rng_range(&d->w->chance, 1000, 60000);
	net_publish(d->w, (int)d->index, &t, buf_slice(&sealed), false);
	d->w->late_ms = 0;
	buf_free(&sealed);
}

static void do_actions(struct sim_device *d)
{
	for (size_t i = 0; i < d->out.n && !d->w->failed; i++) {
		const struct action *a = &d->out.at[i];
		switch (a->type) {
		case ACT_PUBLISH:
			publish(d, a->frame);
			break;
		case ACT_SYNCED:
			sim_trace(d->w, "%s   synced %llu", d->name,
				  (unsigned long long)a->sync_id);
			if (a->sync_id > d->synced)
				d->synced = a->sync_id;
			break;
		case ACT_VERIFIED:
			check_verified(d);
			break;
		case ACT_NEW_SITE:
			sim_trace(d->w, "%s   state: see status", d->name);
			break;
		case ACT_KEY:
		case ACT_CHANGED:
		case ACT_CONFLICT:
			break;
		}
	}
}

static void retry_later(struct sim_device *d, const struct event *ev)
{
	struct item *it =
		queue_add(d->w, ITEM_RETRY, 20 + rng_below(&d->w->chance, 80), (int)d->index);

	it->event = *ev;
	it->link_run = d->link_run;
	if (ev->type == EV_DOWN || ev->type == EV_CHANGES || ev->type == EV_HEAD) {
		it->sealed.max = ev->frame.len;
		if (buf_put(&it->sealed, ev->frame.at, ev->frame.len))
			abort();
	}
}

/* A tick loop that does not advance the clock is a defect. */
static void check_spin(struct sim_device *d, const struct event *ev)
{
	if (ev->type != EV_TICK)
		return;
	d->ticks = d->tick_ms == d->w->now_ms ? d->ticks + 1 : 0;
	d->tick_ms = d->w->now_ms;
	if (d->ticks > SPIN_MAX)
		sim_fail(d->w, "%s spins: its deadline stays in the past", d->name);
}

void device_step(struct sim_device *d, struct event *ev)
{
	struct err e = {0};

	if (d->w->failed || !d->en)
		return;
	check_spin(d, ev);
	sim_clock(d->w, d);
	ev->now_ms = device_wall_ms(d);
	ev->mono_ms = d->w->now_ms;
	d->w->totals->steps++;
	int rc = engine_step(d->en, ev, &d->out, &e);
	if (device_struck(d))
		return;
	if (rc == NE_BUSY) {
		sim_trace(d->w, "%s   busy", d->name);
		retry_later(d, ev);
		return;
	}
	if (rc) {
		sim_fail(d->w, "%s: step %d: %s (%s)", d->name, ev->type, e.text, ne_name(rc));
		return;
	}
	do_actions(d);
	check_device_moves(d);
}

void device_receive(struct sim_device *d, const struct item *it)
{
	struct buf plain = {.max = LIMIT_MESSAGE};
	struct event ev = {0};
	struct opener *o;
	struct err e;

	switch (it->topic.kind) {
	case TOPIC_DOWN:
		ev.type = EV_DOWN;
		o = d->down;
		break;
	case TOPIC_CHANGES:
		ev.type = EV_CHANGES;
		o = changes_opener(d, it->topic.peer.at);
		break;
	default:
		ev.type = EV_HEAD;
		o = d->head;
	}
	if (opener_open(o, buf_slice(&it->sealed), &plain, &e)) {
		sim_fail(d->w, "%s cannot open a message: %s", d->name, e.text);
		return;
	}
	describe_frame(d->w, d->name, "<-", buf_slice(&plain));
	ev.frame = buf_slice(&plain);
	device_step(d, &ev);
	buf_free(&plain);
}
