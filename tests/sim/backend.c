#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/describe.h"
#include "tests/sim/sim.h"

enum { EPOCH = 1000, BATCH_MAX = 8, TICK_MS = 5000 };

/* ---- keys ---- */

static struct sealer *new_sealer(struct world *w, const struct key *key, enum seal_kind kind,
				 const char *user, const char *peer)
{
	struct sealer *s;
	struct err e;

	if (sealer_new(&s, key, EPOCH, kind, slice_str(user), slice_str(peer), rng_bytes, &w->ids,
		       &e))
		abort();
	return s;
}

static struct sealer *sealer_for(struct world *w, const struct out_message *m)
{
	struct sim_backend *b = &w->backend;
	struct sim_device *d = device_named(w, m->peer.at);
	unsigned u = 0;

	while (u < w->n_user && strcmp(w->user[u].name, m->user.at) != 0)
		u++;
	if (u == w->n_user)
		return NULL;
	if (m->kind == TOPIC_DOWN) {
		if (!d)
			return NULL;
		if (!b->down[d->index])
			b->down[d->index] =
				new_sealer(w, &d->message, SEAL_DOWN, m->user.at, m->peer.at);
		return b->down[d->index];
	}
	if (m->kind == TOPIC_HEAD) {
		if (!b->head[u])
			b->head[u] = new_sealer(w, &w->user[u].group, SEAL_HEAD, m->user.at, "");
		return b->head[u];
	}
	unsigned origin = d ? d->index + 1 : 0;
	if (!d && strcmp(m->peer.at, TOPIC_ORIGIN_SERVER) != 0)
		return NULL;
	struct sealer **changes = &b->changes[u * (w->cap_device + 1) + origin];
	if (!*changes)
		*changes = new_sealer(w, &w->user[u].group, SEAL_CHANGES, m->user.at, m->peer.at);
	return *changes;
}

static void keys_new(struct world *w)
{
	struct sim_backend *b = &w->backend;

	b->down = calloc(w->cap_device, sizeof *b->down);
	b->up = calloc(w->cap_device, sizeof(struct opener *));
	b->head = calloc(w->n_user, sizeof *b->head);
	b->changes = calloc((size_t)w->n_user * (w->cap_device + 1), sizeof *b->changes);
	assert(b->down && b->up && b->head && b->changes);
}

static void keys_free(struct world *w)
{
	struct sim_backend *b = &w->backend;

	for (unsigned i = 0; b->down && i < w->cap_device; i++) {
		sealer_free(b->down[i]);
		opener_free(b->up[i]);
	}
	for (unsigned u = 0; b->head && u < w->n_user; u++)
		sealer_free(b->head[u]);
	for (size_t i = 0; b->changes && i < (size_t)w->n_user * (w->cap_device + 1); i++)
		sealer_free(b->changes[i]);
	free(b->down);
	free(b->up);
	free(b->head);
	free(b->changes);
	b->down = b->head = b->changes = NULL;
	b->up = NULL;
}

/* ---- life ---- */

static void close_ingest(struct world *w)
{
	ingest_close(w->backend.in);
	store_close(w->backend.store);
	w->backend.in = NULL;
	w->backend.store = NULL;
	keys_free(w);
}

static void step(struct world *w, const struct in_event *ev, size_t n);

void backend_open(struct world *w)
{
	struct sim_backend *b = &w->backend;
	struct store_config sc = {.path = STORE_PATH,
				  .vfs = MEMVFS_NAME,
				  .random = rng_bytes,
				  .random_ctx = &w->ids,
				  .broken = w->opt->ingest_broken};
	struct ingest_config ic = {.random = rng_bytes,
				   .random_ctx = &w->ids,
				   .page_bytes = w->c.page_bytes,
				   .tombstone_ms = w->c.tombstone_ms,
				   .broken = w->opt->ingest_broken};
	struct err e = {0};

	sim_clock(w, NULL);
	keys_new(w);
	b->wake_ms = UINT64_MAX;
	b->tick_ms = w->now_ms + TICK_MS;
	if (store_open(&b->store, &sc, &e)) {
		sim_fail(w, "the store does not open: %s", e.text);
		return;
	}
	for (unsigned i = 0; i < w->n_user; i++) {
		struct store_user u;
		if (store_user_ensure(b->store, w->user[i].name, &u, &e))
			sim_fail(w, "user: %s", e.text);
	}
	ic.store = b->store;
	if (ingest_open(&b->in, &ic, w->now_ms, &e)) {
		sim_fail(w, "the ingest does not open: %s", e.text);
		return;
	}
	const struct in_event start[] = {{.type = IN_BROKER}, {.type = IN_SQL}};
	step(w, start, 2);
}

static void drop_inbox(struct world *w)
{
	for (size_t i = 0; i < w->n_inbox; i++)
		item_free(w->inbox[i]);
	w->n_inbox = 0;
}

static void restart(struct world *w, struct memimage *image)
{
	memvfs_fail_at("", 0, NULL);
	w->backend.link_run++;
	drop_inbox(w);
	close_ingest(w);
	memvfs_restore(STORE_PATH, image);
	memimage_free(image);
	backend_open(w);
}

void backend_kill(struct world *w)
{
	bool power = rng_chance(&w->chance, w->c.tear);

	sim_fault(w, FAULT_BACKEND_KILLED);
	sim_trace(w, "backend is killed%s", power ? " by a power cut" : "");
	restart(w, memvfs_image(STORE_PATH, power ? &w->chance : NULL));
	check_acked(w);
}

void backend_backup(struct world *w)
{
	memimage_free(w->backend.backup);
	w->backend.backup = memvfs_image(STORE_PATH, NULL);
	sim_trace(w, "store copied");
}

static void forget_purges(struct world *w)
{
	for (size_t i = 0; i < w->n_token; i++)
		if (w->token[i].purged == PURGED)
			w->token[i].purged = PURGED_ONCE;
}

void backend_restore(struct world *w)
{
	struct memimage *backup = w->backend.backup;

	if (!backup)
		return;
	sim_fault(w, FAULT_STORE_RESTORED);
	sim_trace(w, "store restored from its copy");
	w->backend.backup = NULL;
	w->backend.restored = true;
	winners_close(w);
	forget_purges(w);
	restart(w, backup);
}

void backend_wipe(struct world *w)
{
	sim_fault(w, FAULT_STORE_WIPED);
	sim_trace(w, "store wiped");
	w->backend.restored = true;
	winners_close(w);
	forget_purges(w);
	restart(w, memvfs_image("no such file", NULL));
}

void backend_die_at_write(struct world *w)
{
	bool power = rng_chance(&w->chance, w->c.tear);

	memvfs_fail_at(STORE_PATH, rng_range(&w->chance, 1, 60), power ? &w->chance : NULL);
}

void backend_free(struct world *w)
{
	drop_inbox(w);
	close_ingest(w);
	out_messages_free(&w->backend.out);
	memimage_free(w->backend.backup);
}

/* ---- messages ---- */

static void publish(struct world *w, const struct out_message *m)
{
	struct buf sealed = {.max = LIMIT_MESSAGE + SEAL_OVERHEAD};
	struct topic t = {.kind = m->kind, .user = m->user, .peer = m->peer};
	struct sealer *s = sealer_for(w, m);
	char text[TOPIC_MAX];
	struct err e;

	describe_frame(w, "backend", m->kind == TOPIC_DOWN ? m->peer.at : "->", m->frame);
	t.shard = id_shard(slice_str(m->user.at));
	if (!s || topic_write(&t, text, &e)) {
		sim_fail(w, "the backend publishes to user %s, peer %s", m->user.at, m->peer.at);
		return;
	}
	if (sealer_seal(s, m->frame, &sealed, &e))
		sim_fail(w, "the backend cannot seal %zu bytes: %s", m->frame.len, e.text);
	else
		net_publish(w, -1, &t, buf_slice(&sealed), m->retain);
	buf_free(&sealed);
}

static void step(struct world *w, const struct in_event *ev, size_t n)
{
	struct sim_backend *b = &w->backend;
	struct added_values was;
	struct err e = {0};

	sim_clock(w, NULL);
	w->totals->batches++;
	added_note(w, ev, n, &was);
	int rc = ingest_step(b->in, w->now_ms, ev, n, &b->out, &e);
	struct memimage *image = memvfs_failed();
	added_check(w, &was, !rc && !image);
	if (image) {
		sim_fault(w, FAULT_BACKEND_AT_WRITE);
		sim_trace(w, "backend dies at a write");
		restart(w, image);
		check_acked(w);
		return;
	}
	if (rc == NE_BUSY) {
		/* An operator holds the store: the same events may be given again, or be lost. */
		sim_trace(w, "backend busy");
		return;
	}
	if (rc) {
		sim_fail(w, "ingest: %s (%s)", e.text, ne_name(rc));
		return;
	}
	winners_step(w);
	watch_backend(w, ev, n);
	/* Killed between the commit and the last of what it has to publish. */
	bool dies = !w->healed && b->out.n && rng_chance(&w->chance, w->c.unpublished);
	size_t send = dies ? rng_below(&w->chance, (uint32_t)b->out.n) : b->out.n;
	for (size_t i = 0; i < send && !w->failed; i++)
		publish(w, &b->out.at[i]);
	if (dies && !w->failed) {
		sim_fault(w, FAULT_BACKEND_UNPUBLISHED);
		sim_trace(w, "backend is killed with %zu of %zu messages published", send,
			  b->out.n);
		restart(w, memvfs_image(STORE_PATH, NULL));
	}
}

/* ---- events ---- */

static struct slice open_up(struct world *w, const struct item *it, struct buf *plain)
{
	struct sim_device *d = device_named(w, it->topic.peer.at);
	struct opener **o = &w->backend.up[d->index];
	struct err e;

	if (!*o && opener_new(o, &d->message, EPOCH, SEAL_UP, slice_str(d->user->name),
			      slice_str(d->name), &e))
		abort();
	if (opener_open(*o, buf_slice(&it->sealed), plain, &e))
		sim_fail(w, "the backend cannot open a message of %s: %s", d->name, e.text);
	return buf_slice(plain);
}

void backend_deliver(struct world *w, struct item *it)
{
	if (w->n_inbox == w->cap_inbox) {
		w->cap_inbox = w->cap_inbox ? 2 * w->cap_inbox : 64;
		w->inbox = realloc(w->inbox, w->cap_inbox * sizeof(struct item *));
		assert(w->inbox);
	}
	w->inbox[w->n_inbox++] = it;
	uint64_t wake = w->now_ms + 1 + rng_below(&w->chance, 5);
	if (wake < w->backend.wake_ms)
		w->backend.wake_ms = wake;
}

void backend_run(struct world *w)
{
	struct in_event ev[BATCH_MAX];
	struct buf plain[BATCH_MAX];
	struct item *it[BATCH_MAX];
	size_t n = 0;

	memset(plain, 0, sizeof plain);
	while (n < BATCH_MAX && n < w->n_inbox) {
		it[n] = w->inbox[n];
		ev[n] = (struct in_event){.type = it[n]->type == ITEM_SQL ? IN_SQL : IN_BROKER};
		if (it[n]->type == ITEM_MESSAGE) {
			plain[n].max = LIMIT_MESSAGE;
			ev[n] = (struct in_event){.type = IN_FRAME,
						  .user = it[n]->topic.user.at,
						  .device = it[n]->topic.peer.at,
						  .frame = open_up(w, it[n], &plain[n])};
		}
		n++;
	}
	memmove(w->inbox, w->inbox + n, (w->n_inbox - n) * sizeof(struct item *));
	w->n_inbox -= n;
	w->backend.wake_ms = w->n_inbox ? w->now_ms + 1 : UINT64_MAX;
	if (!w->failed && n)
		step(w, ev, n);
	for (size_t i = 0; i < n; i++) {
		buf_free(&plain[i]);
		item_free(it[i]);
	}
}

void backend_tick(struct world *w)
{
	const struct in_event tick = {.type = IN_TICK};

	w->backend.tick_ms = w->now_ms + TICK_MS;
	step(w, &tick, 1);
}
