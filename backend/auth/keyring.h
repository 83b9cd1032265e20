/*
 * The folder of keys: master-<second> (32 random bytes) and
 * token-<second>-<kid>.pem (ES256), each used from that second on until a
 * newer one's comes, and refresh (32 random bytes, authenticates refresh
 * tokens). The public halves of token keys lie in another folder, as
 * <kid>.pem, which the broker may read.
 */
#ifndef NEAP_BACKEND_AUTH_KEYRING_H
#define NEAP_BACKEND_AUTH_KEYRING_H

#include <time.h>

#include "protocol/jwt.h"
#include "protocol/keys.h"

enum { KEYRING_MASTERS = 64, KEYRING_SIGNERS = 16 };

struct keyring {
	struct {
		uint32_t id;
		struct key key;
	} master[KEYRING_MASTERS]; /* by rising id */
	size_t masters;
	struct {
		int64_t from_s;
		struct jwt_signer *signer;
	} token[KEYRING_SIGNERS]; /* by rising from_s */
	size_t tokens;
	struct key refresh;
	struct timespec mtime; /* of the folder when it was read */
};

/* Writes a first set of keys into two existing folders. NE_EXISTS, NE_DISK. */
NEAP_CHECK int keyring_create(const char *keys, const char *token_keys, int64_t now_s,
			      struct err *e);
/* Writes one more, to be used from `from_s` on. NE_EXISTS (one of that second), NE_LIMIT, NE_DISK.
 */
NEAP_CHECK int keyring_add_master(const char *keys, int64_t from_s, struct err *e);
NEAP_CHECK int keyring_add_token(const char *keys, const char *token_keys, int64_t from_s,
				 struct err *e);
/* Removes the file of one, of a token key its public half first. NE_DISK. */
NEAP_CHECK int keyring_remove_master(const char *keys, uint32_t id, struct err *e);
NEAP_CHECK int keyring_remove_token(const char *keys, const char *token_keys, int64_t from_s,
				    const char *kid, struct err *e);

/*
 * Reads all keys. NE_NOT_FOUND (no key), NE_USAGE (others may read one), NE_CORRUPT, NE_LIMIT,
 * NE_DISK.
 */
NEAP_CHECK int keyring_open(struct keyring **out, const char *keys, struct err *e);
void keyring_close(struct keyring *k); /* NULL is allowed */
/* Whether the folder changed since it was read; false also where it cannot be looked at. */
bool keyring_changed(const struct keyring *k, const char *keys);

/* The master key of an epoch is the newest one not made after it; NULL if there is none. */
const struct key *keyring_master(const struct keyring *k, uint32_t epoch, uint32_t *id);
uint32_t keyring_newest(const struct keyring *k); /* master's id */
/* The token key that signs at this time: the newest whose time has come, else the oldest. */
size_t keyring_signs(const struct keyring *k, int64_t now_s);

#endif
