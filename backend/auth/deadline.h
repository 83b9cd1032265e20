/*
 * An end for every connection, however busy it keeps itself: the HTTP
 * library's own timeout starts again with each byte.
 */
#ifndef NEAP_BACKEND_AUTH_DEADLINE_H
#define NEAP_BACKEND_AUTH_DEADLINE_H

#include <pthread.h>

#include "common/error.h"

struct deadline_node {
	struct deadline_node *next, *prev;
	int fd;
	long long end_ms;
};

/* One thread that shuts down sockets past their end. */
struct deadline {
	pthread_mutex_t lock;
	pthread_cond_t stopped;
	pthread_t thread;
	struct deadline_node list; /* a ring */
	int life_ms;
	bool stop;
};

NEAP_CHECK int deadline_start(struct deadline *d, int life_ms, struct err *e);
void deadline_stop(struct deadline *d);
/* `fd` is shut down when its time is over; remove it before it is closed. NULL without memory. */
struct deadline_node *deadline_add(struct deadline *d, int fd);
void deadline_remove(struct deadline *d, struct deadline_node *node);

#endif
