#include "backend/shell/openers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/shell/seals.h"
#include "common/log.h"

enum {
	OPENERS = 2,
	QUEUE_MESSAGES = 4096,
	QUEUE_BYTES = 32 * 1024 * 1024,
	OPENER_KEYS = 25000,
};

struct worker {
	struct openers *all;
	struct queue *queue;
	struct seals *seals;
	pthread_t thread;
	bool runs;
};

struct openers {
	struct committer *committer;
	struct publisher *publisher;
	struct serve_stats *stats;
	struct worker worker[OPENERS];
};

static void note_refused(struct openers *o, const struct up_message *m, const struct err *e)
{
	char quoted[4 * sizeof e->text], source[2 * LIMIT_ID + 2];

	o->stats->refused++;
	snprintf(source, sizeof source, "%s/%s", m->user.at, m->device.at);
	log_audit(LOG_WARN, "message_refused", source, "user=%s device=%s why=%s", m->user.at,
		  m->device.at, log_quote(e->text, quoted, sizeof quoted));
}

static void open_one(struct worker *w, const struct up_message *m, struct buf *plain)
{
	struct openers *o = w->all;
	struct err e = {0};
	bool ended;

	buf_clear(plain);
	if (seals_open(w->seals, &m->user, &m->device, slice_of(m->bytes, m->len), plain, &ended,
		       &e)) {
		note_refused(o, m, &e);
		if (ended) /* anything under its new key makes it ask for that */
			publisher_busy(o->publisher, &m->user, &m->device);
		return;
	}
	struct up_message *p = malloc(sizeof *p + plain->len);
	if (!p)
		return; /* as if the network had lost it */
	p->next = NULL;
	p->user = m->user;
	p->device = m->device;
	p->len = plain->len;
	if (plain->len)
		memcpy(p->bytes, plain->at, plain->len);
	o->stats->opened++;
	committer_give(o->committer, p);
}

static void *opener_thread(void *arg)
{
	struct worker *w = arg;
	struct buf plain = {.max = LIMIT_MESSAGE};

	for (struct up_message *m; (m = queue_pop(w->queue));) {
		open_one(w, m, &plain);
		free(m);
	}
	buf_free(&plain);
	return NULL;
}

static int worker_start(struct openers *o, struct worker *w, struct auth *auth, struct err *e)
{
	w->all = o;
	if (queue_new(&w->queue, QUEUE_MESSAGES, QUEUE_BYTES))
		return err_set(e, NE_MEMORY, "out of memory");
	TRY(seals_new(&w->seals, auth, OPENER_KEYS, e));
	if (pthread_create(&w->thread, NULL, opener_thread, w))
		return err_set(e, NE_MEMORY, "no thread for an opener");
	w->runs = true;
	return NE_OK;
}

int openers_start(struct openers **out, struct auth *auth, struct committer *c, struct publisher *p,
		  struct serve_stats *stats, struct err *e)
{
	struct openers *o = calloc(1, sizeof *o);
	if (!o)
		return err_set(e, NE_MEMORY, "out of memory");
	o->committer = c;
	o->publisher = p;
	o->stats = stats;
	for (size_t i = 0; i < OPENERS; i++) {
		int rc = worker_start(o, &o->worker[i], auth, e);
		if (rc) {
			openers_stop(o);
			openers_free(o);
			return rc;
		}
	}
	*out = o;
	return NE_OK;
}

void openers_stop(struct openers *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < OPENERS; i++)
		if (o->worker[i].runs)
			queue_close(o->worker[i].queue);
	for (size_t i = 0; i < OPENERS; i++) {
		if (o->worker[i].runs)
			pthread_join(o->worker[i].thread, NULL);
		o->worker[i].runs = false;
	}
}

void openers_free(struct openers *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < OPENERS; i++) {
		queue_free(o->worker[i].queue);
		seals_free(o->worker[i].seals);
	}
	free(o);
}

static struct worker *worker_of(struct openers *o, const struct topic *t)
{
	uint32_t h = t->shard;
	for (const char *c = t->peer.at; *c; c++)
		h = h * 31 + (uint8_t)*c;
	return &o->worker[h % OPENERS];
}

void openers_take(struct openers *o, struct slice topic, struct slice payload, bool retained)
{
	struct topic t;

	o->stats->received++;
	o->stats->bytes_in += payload.len;
	/* A retained message may be anything the broker kept: devices never send one (Q1). */
	if (retained || payload.len > LIMIT_MESSAGE || topic_parse(topic, &t, NULL) ||
	    t.kind != TOPIC_UP) {
		o->stats->bad_topic++;
		return;
	}
	struct up_message *m = up_message_new(&t, payload);
	if (m && queue_push(worker_of(o, &t)->queue, m))
		return;
	free(m);
	o->stats->shed++;
	publisher_busy(o->publisher, &t.user, &t.peer);
}

void openers_look(struct openers *o, struct queue_depth *out)
{
	*out = (struct queue_depth){0};
	for (size_t i = 0; i < OPENERS; i++) {
		struct queue_depth d;
		queue_look(o->worker[i].queue, &d);
		out->messages += d.messages;
		out->bytes += d.bytes;
		out->users += d.users;
	}
}
