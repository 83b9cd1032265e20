/*
 * A bounded queue from the link's threads to the agent's loop, with a
 * descriptor to poll. Messages over the bound are dropped and counted: the
 * engine recovers from a lost message by itself. Notices (connected, lost,
 * sent) are always taken; there are few of each connection.
 */
#ifndef NEAP_DEVICE_SHELL_MAILBOX_H
#define NEAP_DEVICE_SHELL_MAILBOX_H

#include "common/bytes.h"
#include "protocol/topic.h"

enum {
	MAILBOX_BYTES = 8 * 1024 * 1024, /* of messages waiting */
	MAILBOX_MESSAGES = 8192,
};

enum letter_type {
	LETTER_UP,   /* connected and subscribed */
	LETTER_LOST, /* an attempt failed or the connection ended: `code`, `text` */
	LETTER_MESSAGE,
	LETTER_SENT, /* `sent_bytes` of a publish were acknowledged by the broker */

	/* Between a link's threads and its own functions; the agent never sees them. */
	LETTER_CONNECTED,
	LETTER_CLOSED,
	LETTER_FAILED, /* an attempt ended without a reason */
};

struct letter {
	struct letter *next;
	enum letter_type type;
	uint64_t attempt; /* of the connection it belongs to */
	int code;	  /* enum ne */
	size_t sent_bytes;
	char text[256];
	struct topic topic;
	size_t len;
	uint8_t bytes[];
};

struct mailbox;

NEAP_CHECK int mailbox_new(struct mailbox **out, struct err *e);
void mailbox_free(struct mailbox *m);	 /* NULL allowed; drops what is in it */
int mailbox_fd(const struct mailbox *m); /* readable while there is something */

/* A letter with room for `len` bytes, to be filled and posted. NULL when out of memory. */
struct letter *letter_new(enum letter_type type, uint64_t attempt, size_t len);
/*
 * Hands `l` over; any thread. False: a message over the bound (or NULL) was
 * dropped and counted.
 */
bool mailbox_post(struct mailbox *m, struct letter *l);
/* The oldest letter, or NULL; free() it. */
struct letter *mailbox_take(struct mailbox *m);
uint64_t mailbox_dropped(struct mailbox *m);

#endif
