#include "backend/shell/publisher.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backend/shell/os.h"
#include "backend/shell/seals.h"
#include "common/log.h"

enum {
	BATCHES = 8,
	BUSY_MAX = 256,
	SEALERS_MAX = 50000,
	BUSY_RETRY_MIN_MS = 500,
	BUSY_RETRY_SPREAD_MS = 1500,
};

struct busy {
	struct id user, device;
};

struct publisher {
	struct serve_stats *stats;
	struct seals *seals; /* of the thread */
	struct buf sealed;   /* of the thread */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t more, less;
	struct link *link;
	bool stop, renew;
	struct out_messages batch[BATCHES];
	size_t first, n;
	struct busy busy[BUSY_MAX];
	size_t n_busy;
};

static const enum seal_kind seal_of[] = {
	[TOPIC_DOWN] = SEAL_DOWN,
	[TOPIC_CHANGES] = SEAL_CHANGES,
	[TOPIC_HEAD] = SEAL_HEAD,
};

static void publish(struct publisher *p, struct link *l, enum topic_kind kind,
		    const struct id *user, const struct id *peer, bool retain, struct slice frame)
{
	char topic[TOPIC_MAX];
	struct err e = {0};

	buf_clear(&p->sealed);
	/* An operator's SQL may have put anything into user_id: such a topic is refused here (Q3).
	 */
	int rc = topic_for(kind, user->at, peer->at, topic, &e);
	if (!rc)
		rc = seals_seal(p->seals, seal_of[kind], user, peer, frame, &p->sealed, &e);
	if (!rc) {
		rc = link_publish(l, topic, buf_slice(&p->sealed), retain);
		if (rc == NE_LIMIT)
			err_set(&e, rc, "a message of %zu bytes is larger than the broker takes",
				p->sealed.len);
	}
	if (!rc) {
		p->stats->published++;
		p->stats->bytes_out += p->sealed.len;
		return;
	}
	p->stats->unpublished++;
	/* Not connected, revoked or removed meanwhile: nobody waits for this message. */
	if (rc != NE_UNREACHABLE && rc != NE_AUTH && rc != NE_NOT_FOUND)
		log_err(LOG_WARN, "publish_failed", &e);
}

static void publish_batch(struct publisher *p, struct link *l, const struct out_messages *o)
{
	for (size_t i = 0; i < o->n; i++) {
		const struct out_message *m = &o->at[i];
		publish(p, l, m->kind, &m->user, &m->peer, m->retain, m->frame);
	}
}

static void publish_busy(struct publisher *p, struct link *l, const struct busy *busy, size_t n)
{
	struct buf frame = {.max = 64};
	struct frame f = {.type = FRAME_BUSY};

	for (size_t i = 0; i < n; i++) {
		/* Spread, so that they do not all come back at once. */
		f.busy.retry_ms = BUSY_RETRY_MIN_MS + os_random_upto(BUSY_RETRY_SPREAD_MS);
		buf_clear(&frame);
		if (frame_encode(&f, &frame, NULL))
			break;
		publish(p, l, TOPIC_DOWN, &busy[i].user, &busy[i].device, false, buf_slice(&frame));
	}
	buf_free(&frame);
}

struct work {
	struct link *link;
	bool renew;
	struct out_messages batch;
	struct busy busy[BUSY_MAX];
	size_t n_busy;
};

/* Waits for work; false when stopped and nothing is left. */
static bool take_work(struct publisher *p, struct work *w)
{
	pthread_mutex_lock(&p->lock);
	while (!p->n && !p->n_busy && !p->stop)
		pthread_cond_wait(&p->more, &p->lock);
	bool any = p->n || p->n_busy;
	w->link = p->link;
	w->renew = p->renew;
	p->renew = false;
	w->batch = (struct out_messages){0};
	if (p->n) {
		w->batch = p->batch[p->first];
		p->first = (p->first + 1) % BATCHES;
		p->n--;
		pthread_cond_broadcast(&p->less);
	}
	w->n_busy = p->n_busy;
	memcpy(w->busy, p->busy, p->n_busy * sizeof p->busy[0]);
	p->n_busy = 0;
	pthread_mutex_unlock(&p->lock);
	return any;
}

static void *publisher_thread(void *arg)
{
	struct publisher *p = arg;
	struct work *w = calloc(1, sizeof *w);

	if (!w) {
		log_line(LOG_ERROR, "out_of_memory", "thread=publisher");
		abort();
	}
	while (take_work(p, w)) {
		if (w->renew)
			seals_clear(p->seals);
		if (w->link) {
			publish_busy(p, w->link, w->busy, w->n_busy);
			publish_batch(p, w->link, &w->batch);
		} else {
			p->stats->unpublished += w->batch.n + w->n_busy;
		}
		out_messages_free(&w->batch);
	}
	free(w);
	return NULL;
}

int publisher_start(struct publisher **out, struct auth *auth, struct serve_stats *stats,
		    struct err *e)
{
	struct publisher *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(e, NE_MEMORY, "out of memory");
	p->stats = stats;
	p->sealed.max = 2 * LIMIT_MESSAGE;
	int rc = seals_new(&p->seals, auth, SEALERS_MAX, e);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	pthread_cond_init(&p->less, NULL);
	if (!rc && pthread_create(&p->thread, NULL, publisher_thread, p))
		rc = err_set(e, NE_MEMORY, "no thread for the publisher");
	if (rc) {
		seals_free(p->seals);
		free(p);
		return rc;
	}
	*out = p;
	return NE_OK;
}

void publisher_stop(struct publisher *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_cond_broadcast(&p->less);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
}

void publisher_free(struct publisher *p)
{
	if (!p)
		return;
	seals_free(p->seals);
	buf_free(&p->sealed);
	pthread_cond_destroy(&p->more);
	pthread_cond_destroy(&p->less);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void publisher_use(struct publisher *p, struct link *l)
{
	pthread_mutex_lock(&p->lock);
	p->link = l;
	pthread_mutex_unlock(&p->lock);
}

void publisher_reconnected(struct publisher *p)
{
	pthread_mutex_lock(&p->lock);
	p->renew = true;
	pthread_mutex_unlock(&p->lock);
}

void publisher_give(struct publisher *p, struct out_messages *o)
{
	struct out_messages rest = {0};

	pthread_mutex_lock(&p->lock);
	while (p->n == BATCHES && !p->stop)
		pthread_cond_wait(&p->less, &p->lock);
	if (p->stop) {
		rest = *o;
	} else {
		p->batch[(p->first + p->n) % BATCHES] = *o;
		p->n++;
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
	out_messages_free(&rest);
	*o = (struct out_messages){0};
}

static bool busy_waits(const struct publisher *p, const struct id *user, const struct id *device)
{
	for (size_t i = 0; i < p->n_busy; i++)
		if (strcmp(p->busy[i].device.at, device->at) == 0 &&
		    strcmp(p->busy[i].user.at, user->at) == 0)
			return true;
	return false;
}

void publisher_busy(struct publisher *p, const struct id *user, const struct id *device)
{
	pthread_mutex_lock(&p->lock);
	if (p->n_busy < BUSY_MAX && !busy_waits(p, user, device)) {
		p->busy[p->n_busy++] = (struct busy){*user, *device};
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
}
