/*
 * The bounded queues between the broker link, an opener and the committer: one lane per user,
 * served by deficit round robin over bytes (Shreedhar & Varghese 1995; a message counts at least 4
 * KiB), so that one user's flood does not delay another's few messages (rule R4). Messages of one
 * user stay in order. Any thread may push, pop and close.
 */
#ifndef NEAP_BACKEND_SHELL_QUEUE_H
#define NEAP_BACKEND_SHELL_QUEUE_H

#include "protocol/topic.h"

struct up_message {
	struct up_message *next;
	struct id user, device;
	size_t len;
	uint8_t bytes[];
};

/* A copy of the payload; NULL when memory is short. Freed with free(). */
struct up_message *up_message_new(const struct topic *t, struct slice payload);

struct queue;

struct queue_depth {
	size_t messages, bytes, users;
};

NEAP_CHECK int queue_new(struct queue **out, size_t max_messages, size_t max_bytes);
void queue_free(struct queue *q); /* with what is left in it; NULL is allowed */
/*
 * Takes the message. False when it is not taken: the queue is full or closed, or its user already
 * holds a quarter of the queue while others wait.
 */
NEAP_CHECK bool queue_push(struct queue *q, struct up_message *m);
/* The next message, or NULL if there is none now. */
struct up_message *queue_take(struct queue *q);
/* Waits for a message; NULL once the queue is closed and empty. */
struct up_message *queue_pop(struct queue *q);
/* No more is taken; what is in it can still be popped. */
void queue_close(struct queue *q);
void queue_look(struct queue *q, struct queue_depth *out);

#endif
