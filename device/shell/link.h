/*
 * The MQTT link as the agent sees it: connect, publish, and letters in a
 * mailbox. One implementation today (link_paho.c); the interface says nothing
 * of Paho so that another client can take its place.
 *
 * All functions are called from one thread. None blocks on the network.
 */
#ifndef NEAP_DEVICE_SHELL_LINK_H
#define NEAP_DEVICE_SHELL_LINK_H

#include "device/shell/mailbox.h"

enum {
	LINK_KEEPALIVE_S = 60,
	LINK_CONNECT_S = 20,
	/*
	 * Publishes not yet acknowledged by the broker. Below Mosquitto's default Receive Maximum
	 * of 20: Paho's sender sleeps up to a second when its own window fills.
	 */
	LINK_WINDOW = 16,
	LINK_WAITING_MAX =
		4096, /* publishes waiting for the window; the engine's own window is far below */
};

/* Who connects to what. Texts are borrowed for the time of the call. */
struct link_target {
	const char *host;
	uint16_t port;
	const char *ca_pem;
	const char *user, *device;
	const char *token;
};

struct link {
	/*
	 * Drops what there is and begins a new attempt: later a LETTER_UP or LETTER_LOST with the
	 * number returned in *attempt. An error is a failed attempt, without a letter.
	 */
	int (*connect)(struct link *l, const struct link_target *t, uint64_t *attempt,
		       struct err *e);
	/* Ends the connection or the attempt, without a letter. A clean end says `offline`. */
	void (*disconnect)(struct link *l);
	/*
	 * Publishes on the device's `up`, QoS 1; `credit` comes back in a LETTER_SENT. NE_LIMIT:
	 * larger than a message may be (refused here, the broker would end the connection).
	 * NE_UNREACHABLE.
	 */
	int (*publish)(struct link *l, struct slice sealed, size_t credit, struct err *e);
	/*
	 * The next letter of the current attempt, or NULL; free() it. The link's own steps
	 * (subscribing, filling the window) happen in here, so call it whenever `fd` is readable.
	 */
	struct letter *(*take)(struct link *l);
	void (*free)(struct link *l);
	int fd; /* readable while there may be letters */
};

NEAP_CHECK int link_paho_new(struct link **out, struct err *e);

#endif
