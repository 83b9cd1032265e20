/*
 * One simulated device: hello, declare, then append sets within a small
 * window, until all are acknowledged. It speaks the wire format through
 * protocol/, and has no database.
 */
#ifndef NEAP_TESTS_FLEET_DEVICE_H
#define NEAP_TESTS_FLEET_DEVICE_H

#include "protocol/seal.h"
#include "protocol/topic.h"
#include "tests/e2e/fleet_login.h"
#include "tests/e2e/mqtt5.h"

enum { FLEET_WINDOW = 4 };

enum fleet_phase {
	FLEET_OFF, /* not connected */
	FLEET_CONNECTING,
	FLEET_GREETING, /* hello sent, and the shape declared where it was asked for */
	FLEET_SENDING,
	FLEET_DONE, /* everything acknowledged; stays connected */
};

struct fleet_flight {
	uint64_t number, cut, sent_us;
	struct buf frame; /* plaintext */
};

struct fleet;

struct fleet_device {
	struct fleet *fleet;
	struct fleet_session session;
	struct mqtt5 *conn;
	struct sealer *up;
	struct opener *down;
	char client_id[2 * LIMIT_ID + 2];
	char up_topic[TOPIC_MAX], down_topic[TOPIC_MAX];
	char head_topic[TOPIC_MAX], changes_filter[TOPIC_MAX];
	enum fleet_phase phase;
	bool greeted;
	uint64_t site, nonce, acked, next_number, last_cut;
	uint64_t retry_us; /* when to connect again, greet again or send again */
	struct fleet_flight flight[FLEET_WINDOW];
	size_t n_flight;
};

/* What is common to all, and what they count. */
struct fleet {
	struct mqtt5_loop *loop;
	SSL_CTX *tls;
	uint16_t mqtt_port;
	uint64_t sets; /* of each device */
	size_t rows;   /* of each set */
	size_t connecting;
	bool resumes;	  /* as running engines do: one that was greeted once says no hello again */
	struct buf shape; /* encoded */
	struct shape *readings;

	uint64_t connects, refused, lost, busy, resent;
	uint64_t acked_sets, bytes_up, done;
	uint64_t *latency_us; /* acked_sets of them */
};

uint64_t fleet_now_us(void);
void fleet_random(void *ctx, void *out, size_t len);

/* The table that all write; ends the program if it cannot be described. */
void fleet_make_shape(struct fleet *f);
/* Takes the session in `d->session`. */
void fleet_device_init(struct fleet_device *d, struct fleet *f);
void fleet_device_free(struct fleet_device *d);
/* Does what is due: connects, greets, sends, sends again. */
void fleet_device_look(struct fleet_device *d, uint64_t now_us);

#endif
