#include "backend/shell/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A small message asks for as much work as a large one brings: a pull, a page. */
enum { BUCKETS = 1024, QUANTUM = 4096, LEAST_COST = 4096 };

/* What one user has waiting. Exists only while there is something. */
struct lane {
	struct lane *same_bucket;
	struct lane *next; /* round of active lanes, a ring */
	struct id user;
	struct up_message *head, **tail;
	size_t messages, bytes, deficit;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	bool closed;
	size_t max_messages, max_bytes;
	struct queue_depth depth;
	struct lane *bucket[BUCKETS];
	struct lane *last; /* of the ring; the one after it is served next */
};

struct up_message *up_message_new(const struct topic *t, struct slice payload)
{
	struct up_message *m = malloc(sizeof *m + payload.len);
	if (!m)
		return NULL;
	m->next = NULL;
	m->user = t->user;
	m->device = t->peer;
	m->len = payload.len;
	if (payload.len)
		memcpy(m->bytes, payload.at, payload.len);
	return m;
}

int queue_new(struct queue **out, size_t max_messages, size_t max_bytes)
{
	struct queue *q = calloc(1, sizeof *q);
	if (!q)
		return NE_MEMORY;
	q->max_messages = max_messages;
	q->max_bytes = max_bytes;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->filled, NULL);
	*out = q;
	return NE_OK;
}

static struct lane **lane_of(struct queue *q, const char *user)
{
	uint32_t h = 2166136261u;
	for (const char *c = user; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	struct lane **at = &q->bucket[h % BUCKETS];
	while (*at && strcmp((*at)->user.at, user) != 0)
		at = &(*at)->same_bucket;
	return at;
}

/* A new lane goes to the end of the round. */
static struct lane *lane_new(struct queue *q, struct lane **at, const struct id *user)
{
	struct lane *l = calloc(1, sizeof *l);
	if (!l)
		return NULL;
	l->user = *user;
	l->tail = &l->head;
	l->next = q->last ? q->last->next : l;
	if (q->last)
		q->last->next = l;
	q->last = l;
	*at = l;
	q->depth.users++;
	return l;
}

static bool fits(const struct queue *q, const struct lane *l, const struct up_message *m)
{
	if (q->closed || q->depth.messages >= q->max_messages ||
	    m->len > q->max_bytes - q->depth.bytes)
		return false;
	bool others_wait = q->depth.users > (l ? 1u : 0u);
	if (!l || !others_wait)
		return true;
	return l->messages < q->max_messages / 4 && l->bytes < q->max_bytes / 4;
}

bool queue_push(struct queue *q, struct up_message *m)
{
	pthread_mutex_lock(&q->lock);
	struct lane **at = lane_of(q, m->user.at);
	struct lane *l = *at;
	bool ok = fits(q, l, m);
	if (ok && !l)
		ok = (l = lane_new(q, at, &m->user)) != NULL;
	if (ok) {
		m->next = NULL;
		*l->tail = m;
		l->tail = &m->next;
		l->messages++;
		l->bytes += m->len;
		q->depth.messages++;
		q->depth.bytes += m->len;
		pthread_cond_signal(&q->filled);
	}
	pthread_mutex_unlock(&q->lock);
	return ok;
}

static void lane_drop(struct queue *q, struct lane *before, struct lane *l)
{
	struct lane **at = lane_of(q, l->user.at);
	assert(*at == l);
	*at = l->same_bucket;
	if (before == l)
		q->last = NULL;
	else
		before->next = l->next;
	if (q->last == l)
		q->last = before;
	q->depth.users--;
	free(l);
}

static size_t cost(const struct up_message *m)
{
	return m->len < LEAST_COST ? LEAST_COST : m->len;
}

static struct up_message *take(struct queue *q)
{
	for (;;) {
		struct lane *before = q->last, *l = before->next;
		struct up_message *m = l->head;
		if (l->deficit < cost(m)) {
			l->deficit += QUANTUM;
			q->last = l; /* its turn is over, unless the quantum already suffices next
					round */
			continue;
		}
		l->deficit -= cost(m);
		l->head = m->next;
		if (!l->head)
			l->tail = &l->head;
		l->messages--;
		l->bytes -= m->len;
		q->depth.messages--;
		q->depth.bytes -= m->len;
		if (!l->head)
			lane_drop(q, before, l);
		m->next = NULL;
		return m;
	}
}

struct up_message *queue_take(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	struct up_message *m = q->depth.messages ? take(q) : NULL;
	pthread_mutex_unlock(&q->lock);
	return m;
}

struct up_message *queue_pop(struct queue *q)
{
	struct up_message *m = NULL;

	pthread_mutex_lock(&q->lock);
	while (!q->depth.messages && !q->closed)
		pthread_cond_wait(&q->filled, &q->lock);
	if (q->depth.messages)
		m = take(q);
	pthread_mutex_unlock(&q->lock);
	return m;
}

void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->filled);
	pthread_mutex_unlock(&q->lock);
}

void queue_look(struct queue *q, struct queue_depth *out)
{
	pthread_mutex_lock(&q->lock);
	*out = q->depth;
	pthread_mutex_unlock(&q->lock);
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	while (q->depth.messages)
		free(take(q));
	pthread_cond_destroy(&q->filled);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
