/*
 * A small MQTT 5 client for tests: thousands of TLS connections in one thread
 * over epoll, and free to send what a good client would not. The product uses
 * Paho; this one is for the other side of the question.
 */
#ifndef NEAP_TESTS_MQTT5_H
#define NEAP_TESTS_MQTT5_H

#include <openssl/ssl.h>

#include "common/bytes.h"

struct mqtt5_loop;
struct mqtt5;

enum { MQTT5_CLOSED = -1 }; /* the connection ended without a DISCONNECT */

/* Called from mqtt5_loop_run. Any may be NULL. Connections may be freed inside. */
struct mqtt5_events {
	void (*connack)(void *ctx, struct mqtt5 *c, int reason);
	void (*suback)(void *ctx, struct mqtt5 *c, uint16_t id, struct slice reasons);
	void (*puback)(void *ctx, struct mqtt5 *c, uint16_t id, int reason);
	void (*message)(void *ctx, struct mqtt5 *c, struct slice topic, struct slice payload,
			bool retained);
	/* Once, when it is over: the reason of the server's DISCONNECT, or MQTT5_CLOSED. */
	void (*closed)(void *ctx, struct mqtt5 *c, int reason);
	void *ctx;
};

struct mqtt5_options {
	uint16_t port; /* on 127.0.0.1 */
	SSL_CTX *tls;
	const char *client_id;
	const char *username, *password; /* NULL: not sent */
	uint8_t version;		 /* 0: 5; as sent, e.g. 4 or 0x84 */
	uint16_t keep_alive_s;		 /* 0: 60; the caller pings */
	const char *will_topic, *will_payload;
	bool will_retain;
};

struct mqtt5_loop *mqtt5_loop_new(void);
void mqtt5_loop_free(struct mqtt5_loop *l);
/* Handles what is there, waiting at most `ms` for it. */
void mqtt5_loop_run(struct mqtt5_loop *l, int ms);

/* Begins to connect; NULL only when out of descriptors. Options are not needed afterwards. */
struct mqtt5 *mqtt5_connect(struct mqtt5_loop *l, const struct mqtt5_options *o,
			    const struct mqtt5_events *ev);
/* Ends the connection without a DISCONNECT (wills are sent), without events. */
void mqtt5_free(struct mqtt5 *c);
/* A DISCONNECT, then as mqtt5_free. */
void mqtt5_leave(struct mqtt5 *c);
/* 0 when the connection is over. */
uint16_t mqtt5_subscribe(struct mqtt5 *c, const char *const *filter, size_t n);
uint16_t mqtt5_publish(struct mqtt5 *c, const char *topic, struct slice payload, int qos,
		       bool retain);
void mqtt5_ping(struct mqtt5 *c);
/* Bytes not yet written to the socket. */
size_t mqtt5_unsent(const struct mqtt5 *c);

#endif
