#include "backend/auth/deadline.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { LOOK_MS = 500 };

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void shut_late_ones(struct deadline *d)
{
	long long now = now_ms();

	/* In order of their ends: all live equally long. */
	for (struct deadline_node *n = d->list.next; n != &d->list && n->end_ms <= now; n = n->next)
		shutdown(n->fd, SHUT_RDWR);
}

static void *run(void *arg)
{
	struct deadline *d = arg;

	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		pthread_cond_timedwait(&d->stopped, &d->lock, &until);
		shut_late_ones(d);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

int deadline_start(struct deadline *d, int life_ms, struct err *e)
{
	pthread_condattr_t attr;

	d->list.next = d->list.prev = &d->list;
	d->life_ms = life_ms;
	d->stop = false;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->stopped, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&d->thread, NULL, run, d))
		return err_set(e, NE_MEMORY, "cannot start a thread");
	return 0;
}

void deadline_stop(struct deadline *d)
{
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->stopped);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	pthread_cond_destroy(&d->stopped);
	pthread_mutex_destroy(&d->lock);
}

struct deadline_node *deadline_add(struct deadline *d, int fd)
{
	struct deadline_node *n = malloc(sizeof *n);

	if (!n)
		return NULL;
	n->fd = fd;
	pthread_mutex_lock(&d->lock);
	n->end_ms = now_ms() + d->life_ms;
	n->prev = d->list.prev;
	n->next = &d->list;
	n->prev->next = n->next->prev = n;
	pthread_mutex_unlock(&d->lock);
	return n;
}

void deadline_remove(struct deadline *d, struct deadline_node *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&d->lock);
	n->prev->next = n->next;
	n->next->prev = n->prev;
	pthread_mutex_unlock(&d->lock);
	free(n);
}
