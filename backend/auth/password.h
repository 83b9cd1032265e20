/*
 * Password hashes (Argon2id, 19 MiB, 2 passes) and the gate that bounds how
 * many are worked on at a time (rule L8): each costs memory and a core.
 */
#ifndef NEAP_BACKEND_AUTH_PASSWORD_H
#define NEAP_BACKEND_AUTH_PASSWORD_H

#include <pthread.h>

#include "common/bytes.h"

enum { PASSWORD_HASH_MAX = 160, PASSWORD_QUEUE = 32 };

/* An encoded hash with a fresh salt. NE_MEMORY, NE_INTERNAL. */
NEAP_CHECK int password_hash(struct slice password, char out[static PASSWORD_HASH_MAX],
			     struct err *e);
/* 0, NE_AUTH (another password) or NE_MEMORY. */
NEAP_CHECK int password_verify(struct slice password, const char *hash, struct err *e);

struct hash_gate {
	pthread_mutex_t lock;
	pthread_cond_t left;
	unsigned inside, inside_max;
	unsigned waiting;
};
/* max(1, cores / 2) inside, PASSWORD_QUEUE waiting. */
void hash_gate_init(struct hash_gate *g);
void hash_gate_destroy(struct hash_gate *g);
/* Waits for room; NE_BUSY at once if too many wait already. */
NEAP_CHECK int hash_gate_enter(struct hash_gate *g);
void hash_gate_leave(struct hash_gate *g);

#endif
