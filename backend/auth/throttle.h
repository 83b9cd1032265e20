/*
 * Failed logins by user name: after a few, the next try has to wait, twice as
 * long each time up to 5 minutes (rule L8). Nobody is locked out for good.
 */
#ifndef NEAP_BACKEND_AUTH_THROTTLE_H
#define NEAP_BACKEND_AUTH_THROTTLE_H

#include <pthread.h>

#include "common/bytes.h"

enum { THROTTLE_SLOTS = 4096, THROTTLE_FREE = 3, THROTTLE_MAX_S = 300 };

/*
 * Names are hashed under a random key into a fixed table: a collision drops the older name's
 * failures, which an attacker cannot aim at.
 */
struct throttle {
	pthread_mutex_t lock;
	uint8_t secret[32];
	struct throttle_slot {
		uint64_t name;
		int64_t until_s; /* no try before */
		int64_t last_s;
		unsigned failures;
	} slot[THROTTLE_SLOTS];
};

NEAP_CHECK int throttle_init(struct throttle *t, struct err *e);
void throttle_destroy(struct throttle *t);
/* Seconds until `user` may be tried again; 0: now. */
int throttle_wait_s(struct throttle *t, struct slice user, int64_t now_s);
void throttle_failed(struct throttle *t, struct slice user, int64_t now_s);
void throttle_succeeded(struct throttle *t, struct slice user);

#endif
