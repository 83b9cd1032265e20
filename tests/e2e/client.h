/*
 * One MQTT connection of a test: what arrived on it, and waiting for it with a
 * deadline. A wait that is not fulfilled ends the test.
 */
#ifndef NEAP_TESTS_CLIENT_H
#define NEAP_TESTS_CLIENT_H

#include "tests/e2e/mqtt5.h"

enum { CLIENT_INBOX = 64, CLIENT_PENDING = -2, CLIENT_DEADLINE_MS = 5000 };

struct client {
	struct mqtt5_loop *loop;
	struct mqtt5 *conn;
	int connack; /* reason; CLIENT_PENDING until it comes */
	int closed;  /* reason or MQTT5_CLOSED; CLIENT_PENDING while open */
	int suback, puback;
	size_t n_inbox;
	struct {
		char topic[256];
		size_t len;
		bool retained;
	} inbox[CLIENT_INBOX];
};

/* Connects and waits for the verdict: true if let in. */
bool client_open(struct client *c, struct mqtt5_loop *l, const struct mqtt5_options *o);
void client_close(struct client *c); /* abruptly */
/* The reason of the SUBACK, or MQTT5_CLOSED. */
int client_subscribe(struct client *c, const char *filter);
/* Publishes with QoS 1: the reason of the PUBACK, or MQTT5_CLOSED. */
int client_publish(struct client *c, const char *topic, struct slice payload, bool retain);
/* Waits until the broker ends the connection, at most `ms`; false if it does not. */
bool client_wait_closed(struct client *c, int ms);
/* Waits for a message on `topic`; how many others came before it since the last call. */
size_t client_wait_message(struct client *c, const char *topic);

uint64_t client_now_ms(void);

#endif
