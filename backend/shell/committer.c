#include "backend/shell/committer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/shell/os.h"
#include "common/log.h"

enum {
	INBOX_FRAMES = 1024,
	INBOX_BYTES = 16 * 1024 * 1024,
	BATCH_FRAMES = 256,
	BATCH_LEAST = 2,
	BATCH_BYTES = 8 * 1024 * 1024,
	EVENTS_MAX = BATCH_FRAMES + 3,
	LOOK_MS = 50,  /* how often others' writes are looked for */
	WORK_MS = 90,  /* of continuous work … */
	FREE_MS = 10,  /* … after which the write lock is left free */
	RETRY_MS = 50, /* the store is busy */
	RETRY_DISK_MS = 1000,
	LIMIT_LOG_MS = 10000, /* between lines that say whom a limit met */
};

struct committer {
	struct committer_config config;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t more, less;
	struct queue *inbox;
	size_t frames_max; /* of a transaction, so that it takes no longer than WORK_MS */
	bool stop, broker, tick;
	struct committer_look look;
	/* Refusals and slowed messages told of, and when the next may be. */
	uint64_t quota_logged, quota_log_at_ms, slow_logged, slow_log_at_ms;
};

/* What one transaction takes. */
struct batch {
	struct up_message *frames; /* owned */
	size_t n;
	struct in_event ev[EVENTS_MAX];
};

static void batch_event(struct batch *b, enum in_type type)
{
	b->ev[b->n++] = (struct in_event){.type = type};
}

/* Moves frames from the inbox. The lock is held. */
static void take_frames(struct committer *c, struct batch *b)
{
	struct up_message **tail = &b->frames, *m;

	for (size_t n = 0, bytes = 0; n < c->frames_max && bytes < BATCH_BYTES; n++) {
		m = queue_take(c->inbox);
		if (!m)
			break;
		bytes += m->len;
		*tail = m;
		tail = &m->next;
		b->ev[b->n++] = (struct in_event){IN_FRAME, m->user.at, m->device.at,
						  slice_of(m->bytes, m->len)};
	}
	pthread_cond_broadcast(&c->less);
}

static bool any_waits(const struct committer *c)
{
	struct queue_depth depth;

	queue_look(c->inbox, &depth);
	return depth.messages > 0;
}

/* Waits at most LOOK_MS for something to do; false once stopped and empty. */
static bool collect(struct committer *c, struct batch *b)
{
	struct timespec until = mono_after_ms(LOOK_MS);

	b->n = 0;
	b->frames = NULL;
	pthread_mutex_lock(&c->lock);
	while (!any_waits(c) && !c->broker && !c->tick && !c->stop)
		if (pthread_cond_timedwait(&c->more, &c->lock, &until))
			break;
	bool go_on = !c->stop || any_waits(c);
	if (c->broker)
		batch_event(b, IN_BROKER);
	if (c->tick)
		batch_event(b, IN_TICK);
	c->broker = c->tick = false;
	take_frames(c, b);
	pthread_mutex_unlock(&c->lock);
	return go_on;
}

static void batch_free(struct batch *b)
{
	for (struct up_message *p = b->frames, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	b->frames = NULL;
}

/* Waits `ms`, less when stopped; false then. */
static bool pause_ms(struct committer *c, uint64_t ms)
{
	struct timespec until = mono_after_ms(ms);

	pthread_mutex_lock(&c->lock);
	while (!c->stop && pthread_cond_timedwait(&c->more, &c->lock, &until) == 0)
		continue;
	bool stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return !stop;
}

static void note_trouble(struct committer *c, const struct err *e)
{
	char text[sizeof c->look.trouble] = "";

	if (e)
		snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, e->text);
	pthread_mutex_lock(&c->lock);
	bool news = strcmp(text, c->look.trouble) != 0;
	memcpy(c->look.trouble, text, sizeof text);
	pthread_mutex_unlock(&c->lock);
	if (!news)
		return;
	if (e)
		log_err(LOG_ERROR, "store_trouble", e);
	else
		log_line(LOG_INFO, "store_recovered", "%s", "");
}

/* One transaction, tried until it is done: only then may anything be published. */
static int commit(struct committer *c, const struct batch *b, struct err *e)
{
	for (;;) {
		struct out_messages out = {0};
		int rc = ingest_step(c->config.ingest, wall_ms(), b->ev, b->n, &out, e);
		if (!rc) {
			c->config.stats->steps++;
			c->config.stats->step_events += b->n;
			note_trouble(c, NULL);
			if (out.n)
				publisher_give(c->config.publisher, &out);
			out_messages_free(&out);
			return NE_OK;
		}
		out_messages_free(&out);
		if (rc != NE_BUSY && rc != NE_DISK && rc != NE_MEMORY)
			return rc;
		c->config.stats->step_retries++;
		note_trouble(c, e);
		/* Devices keep what was not acknowledged; on stopping it is dropped here. */
		if (!pause_ms(c, rc == NE_BUSY ? RETRY_MS : RETRY_DISK_MS))
			return NE_OK;
	}
}

static int look_for_others(struct committer *c, struct batch *b, struct err *e)
{
	bool any = false;
	int rc = store_foreign_pending(c->config.store, &any, e);

	if (rc && ne_category(rc) == NE_CAT_CORRUPT)
		return rc;
	if (rc)
		note_trouble(c, e);
	else if (any)
		batch_event(b, IN_SQL);
	return NE_OK;
}

static void look_at_tables(struct committer *c)
{
	struct store_table *const *t;
	size_t n = store_tables(c->config.store, &t), missing = 0;
	char text[sizeof c->look.missing] = "";

	for (size_t i = 0; i < n; i++)
		if (t[i]->missing && missing++ == 0)
			snprintf(text, sizeof text,
				 "%.120s: put it back; until then devices keep their changes",
				 t[i]->missing);
	pthread_mutex_lock(&c->lock);
	bool news = missing != c->look.tables_missing || strcmp(text, c->look.missing) != 0;
	c->look.tables_missing = missing;
	memcpy(c->look.missing, text, sizeof text);
	pthread_mutex_unlock(&c->lock);
	if (news && missing)
		log_line(LOG_ERROR, "table_missing", "tables=%zu first=\"%s\"", missing, text);
	else if (news)
		log_line(LOG_INFO, "table_back", "%s", "");
}

/* Devices try again by themselves: a line for each would say the same over and over. */
static bool may_log(uint64_t count, uint64_t *logged, uint64_t *at_ms, uint64_t *news)
{
	uint64_t now = mono_ms();

	if (count == *logged || now < *at_ms)
		return false;
	*news = count - *logged;
	*logged = count;
	*at_ms = now + LIMIT_LOG_MS;
	return true;
}

static void log_limits(struct committer *c, const struct ingest_stats *s)
{
	uint64_t n;

	if (may_log(s->over_quota, &c->quota_logged, &c->quota_log_at_ms, &n))
		log_line(LOG_WARN, "over_quota", "sets=%llu user=%s device=%s why=\"%s\"",
			 (unsigned long long)n, s->over_user.at, s->over_device.at, s->over_why);
	if (may_log(s->slowed, &c->slow_logged, &c->slow_log_at_ms, &n))
		log_line(LOG_WARN, "device_slowed", "messages=%llu user=%s device=%s",
			 (unsigned long long)n, s->slowed_user.at, s->slowed_device.at);
}

static void copy_stats(struct committer *c)
{
	struct ingest_stats s;
	ingest_stats(c->config.ingest, &s);
	pthread_mutex_lock(&c->lock);
	uint64_t repaired = s.captures_repaired - c->look.ingest.captures_repaired;
	uint64_t unsent = s.not_sent - c->look.ingest.not_sent;
	c->look.ingest = s;
	pthread_mutex_unlock(&c->lock);
	log_limits(c, &s);
	if (unsent)
		log_line(LOG_WARN, "not_sent",
			 "writes=%llu table=\"%s\" next=\"neapd schema show counts such rows\"",
			 (unsigned long long)unsent, s.not_sent_last);
	if (repaired)
		log_line(LOG_WARN, "capture_reinstalled",
			 "tables=%llu why=\"triggers were gone or changed: what was written"
			 " meanwhile did not reach devices\"",
			 (unsigned long long)repaired);
}

/* Who comes next waits for the whole transaction: heavy frames make it smaller. */
static void choose_size(struct committer *c, uint64_t took_ms, size_t frames)
{
	if (took_ms > WORK_MS && c->frames_max > BATCH_LEAST)
		c->frames_max /= 2;
	else if (took_ms < WORK_MS / 2 && frames >= c->frames_max && c->frames_max < BATCH_FRAMES)
		c->frames_max *= 2;
}

static int run(struct committer *c, struct batch *b, struct err *e)
{
	uint64_t free_since = mono_ms();

	while (collect(c, b)) {
		int rc = look_for_others(c, b, e);
		uint64_t began = mono_ms();
		if (!rc && b->n)
			rc = commit(c, b, e);
		choose_size(c, mono_ms() - began, b->n);
		bool worked = b->n > 0;
		batch_free(b);
		if (rc)
			return rc;
		if (!worked) {
			free_since = mono_ms();
			continue;
		}
		copy_stats(c);
		look_at_tables(c);
		if (mono_ms() - free_since >= WORK_MS) {
			/* An operator's shell waits for the lock by polling; this is its chance. */
			nanosleep(&(struct timespec){0, FREE_MS * 1000000L}, NULL);
			free_since = mono_ms();
		}
	}
	return NE_OK;
}

static void *committer_thread(void *arg)
{
	struct committer *c = arg;
	struct batch *b = calloc(1, sizeof *b);
	struct err e = {0};
	int rc = NE_MEMORY;

	if (b)
		rc = run(c, b, &e);
	else
		err_set(&e, rc, "out of memory");
	free(b);
	if (rc) {
		pthread_mutex_lock(&c->lock);
		c->stop = true;
		pthread_cond_broadcast(&c->less);
		pthread_mutex_unlock(&c->lock);
		c->config.fatal(c->config.ctx, &e);
	}
	return NULL;
}

int committer_start(struct committer **out, const struct committer_config *config, struct err *e)
{
	pthread_condattr_t attr;
	struct committer *c = calloc(1, sizeof *c);

	if (!c)
		return err_set(e, NE_MEMORY, "out of memory");
	c->config = *config;
	c->frames_max = BATCH_FRAMES;
	if (queue_new(&c->inbox, INBOX_FRAMES, INBOX_BYTES)) {
		free(c);
		return err_set(e, NE_MEMORY, "out of memory");
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->more, &attr);
	pthread_cond_init(&c->less, NULL);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&c->thread, NULL, committer_thread, c)) {
		queue_free(c->inbox);
		free(c);
		return err_set(e, NE_MEMORY, "no thread for the committer");
	}
	*out = c;
	return NE_OK;
}

void committer_stop(struct committer *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->more);
	pthread_cond_broadcast(&c->less);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
}

void committer_free(struct committer *c)
{
	if (!c)
		return;
	queue_free(c->inbox);
	pthread_cond_destroy(&c->more);
	pthread_cond_destroy(&c->less);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void committer_give(struct committer *c, struct up_message *p)
{
	bool taken = false;

	pthread_mutex_lock(&c->lock);
	while (!c->stop && !(taken = queue_push(c->inbox, p)))
		pthread_cond_wait(&c->less, &c->lock);
	if (taken)
		pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
	if (!taken)
		free(p);
}

void committer_broker(struct committer *c)
{
	pthread_mutex_lock(&c->lock);
	c->broker = true;
	pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
}

void committer_tick(struct committer *c)
{
	pthread_mutex_lock(&c->lock);
	c->tick = true;
	pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
}

void committer_look(struct committer *c, struct committer_look *out)
{
	struct queue_depth depth;

	pthread_mutex_lock(&c->lock);
	*out = c->look;
	queue_look(c->inbox, &depth);
	out->waiting = depth.messages;
	out->waiting_bytes = depth.bytes;
	pthread_mutex_unlock(&c->lock);
}
