/*
 * neapd's connection to the broker: Paho over TLS with a client certificate,
 * Clean Start, plain subscriptions for the shards owned. It comes back by
 * itself, with full jitter. Paho's traps are fenced in here: callbacks only
 * hand over, TCP_NODELAY is set on its socket, and no more than a window of
 * messages and bytes is given to it at a time.
 */
#ifndef NEAP_BACKEND_SHELL_LINK_H
#define NEAP_BACKEND_SHELL_LINK_H

#include "common/bytes.h"

struct link;

struct link_config {
	const char *host;
	uint16_t port;
	const char *ca, *cert, *key; /* PEM files */
	uint8_t shard_lo, shard_hi;
};

/* All are called from the link's threads and must return at once, `up` without calling the link. */
struct link_events {
	/* A message on a subscribed topic; the bytes are gone after the call. */
	void (*up)(void *ctx, struct slice topic, struct slice payload, bool retained);
	/* Connected and subscribed; may publish. */
	void (*connected)(void *ctx);
	void *ctx;
};

/* The config's strings must live as long as the link. NE_MEMORY, NE_NOT_FOUND (a PEM file). */
NEAP_CHECK int link_new(struct link **out, const struct link_config *c,
			const struct link_events *ev, struct err *e);
/* Begins to connect. NE_MEMORY; link_stop is due all the same. */
NEAP_CHECK int link_start(struct link *l, struct err *e);
/* Sends what Paho still has for at most a second, disconnects and ends the threads. NULL is
 * allowed. */
void link_stop(struct link *l);

/*
 * Publishes with QoS 0, waiting while the window is full. Any thread. NE_UNREACHABLE (not
 * connected; the message is dropped), NE_LIMIT (larger than LIMIT_MESSAGE).
 */
NEAP_CHECK int link_publish(struct link *l, const char *topic, struct slice payload, bool retain);

struct link_state {
	bool connected;
	uint64_t connects, failures;
};
void link_look(struct link *l, struct link_state *out);

#endif
