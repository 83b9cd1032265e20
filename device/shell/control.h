/*
 * The agent's socket `<db>.neap-sock` (0600): JSON objects, one a line. A request is
 * {"op": …, …}; an answer ends with a line that has "code" (enum ne) and, on failure, "text". A
 * sync answers with lines of "status" until then.
 */
#ifndef NEAP_DEVICE_SHELL_CONTROL_H
#define NEAP_DEVICE_SHELL_CONTROL_H

#include <jansson.h>
#include <poll.h>
#include <stdint.h>

#include "device/shell/paths.h"

enum {
	CONTROL_CLIENTS = 8,	  /* at a time; one more is closed at once */
	CONTROL_LINE = 64 * 1024, /* bytes of a request */
	CONTROL_OUT = 512 * 1024, /* bytes a client may leave unread before it is closed */
	CONTROL_FDS = CONTROL_CLIENTS + 1,
};

struct control;

/* What the agent does with a request of `client`; it answers with control_send, now or later. */
typedef void (*control_fn)(void *ctx, uint64_t client, const json_t *request);

/* Listens. The caller holds the database's lock, so a socket left over is removed. */
NEAP_CHECK int control_new(struct control **out, const struct paths *p, control_fn fn, void *ctx,
			   struct err *e);
void control_free(struct control *c); /* removes the socket; NULL allowed */
size_t control_fds(const struct control *c, struct pollfd *out); /* at most CONTROL_FDS */
/* Accepts, reads, calls back, writes: whatever is possible without waiting. */
void control_step(struct control *c);
/* Queues one line for `client` and takes `line`. False if that client is gone. */
bool control_send(struct control *c, uint64_t client, json_t *line);

/*
 * The other side: sends `request` to the agent of the database and hands over each line that comes,
 * until one has "code", which is returned (its text in `e`). `on_line` may be NULL.
 * NE_UNREACHABLE if no agent listens; NE_TIMEOUT after `timeout_ms` (0: none).
 */
NEAP_CHECK int control_call(const struct paths *p, const json_t *request, uint64_t timeout_ms,
			    void (*on_line)(void *ctx, const json_t *line), void *ctx,
			    struct err *e);

#endif
