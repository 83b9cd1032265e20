/*
 * Many devices of many users in this process, each with its own TLS connection: what a fleet does
 * to the broker and to neapd, without a database on each device.
 */
#ifndef NEAP_TESTS_BENCH_CROWD_H
#define NEAP_TESTS_BENCH_CROWD_H

#include "tests/bench/stack.h"
#include "tests/e2e/fleet_device.h"

enum { CROWD_ROWS_A_SET = 100 };

struct crowd {
	struct fleet fleet;
	struct fleet_device *device;
	size_t n;
	uint64_t room; /* of fleet.latency_us, in sets */
};

/*
 * The stack's accounts, opened beside neapd as its admin commands do. A device is enrolled by a
 * one-time code, which costs no password's hash, and an account one: a fleet of 10,000 would log in
 * for an hour otherwise, and nothing of that is what is measured.
 */
void crowd_open(void);
void crowd_close(void);

/*
 * `n` devices named after `name` and their `users` accounts, one set sent by each. At most
 * `sets` more can be sent by each of them.
 */
void crowd_begin(struct crowd *c, const char *name, size_t n, size_t users, uint64_t sets);
void crowd_end(struct crowd *c);

/* Each sends so many sets more, and all are acknowledged. Seconds. */
double crowd_send(struct crowd *c, uint64_t sets);

/* Kills the broker; returns when it is back and all know that their connection is gone. */
void crowd_lose_broker(struct crowd *c);
/* All come back, each with so many sets pending, until all is acknowledged. Seconds. */
double crowd_come_back(struct crowd *c, uint64_t sets);

#endif
