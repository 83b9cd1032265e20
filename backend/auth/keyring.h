/*
 * The folder of keys: master-<id> (32 random bytes; id = the second it was
 * made), token-<kid>.pem (ES256), refresh (32 random bytes, authenticates
 * refresh tokens). The public halves of token keys lie in another folder,
 * which the broker may read.
 */
#ifndef NEAP_BACKEND_AUTH_KEYRING_H
#define NEAP_BACKEND_AUTH_KEYRING_H

#include "protocol/jwt.h"
#include "protocol/keys.h"

enum { KEYRING_MASTERS = 64 };

struct keyring {
	struct {
		uint32_t id;
		struct key key;
	} master[KEYRING_MASTERS]; /* by rising id */
	size_t masters;
	struct key refresh;
	struct jwt_signer *signer; /* of the newest token key */
};

/* Writes a first set of keys into two existing folders. NE_EXISTS, NE_DISK. */
NEAP_CHECK int keyring_create(const char *keys, const char *token_keys, int64_t now_s,
			      struct err *e);
/* NE_NOT_FOUND (no key), NE_USAGE (others may read one), NE_CORRUPT, NE_LIMIT, NE_DISK. */
NEAP_CHECK int keyring_open(struct keyring *k, const char *keys, struct err *e);
void keyring_close(struct keyring *k);

/* The master key of an epoch is the newest one made before it; NULL if there is none. */
const struct key *keyring_master(const struct keyring *k, uint32_t epoch, uint32_t *id);

#endif
