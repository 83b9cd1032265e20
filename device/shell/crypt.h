/*
 * The device's seals: one sealer for `up`, openers for `down`, `head` and each
 * origin of `changes`. Keys come from the login and, for the group, sealed on `down`.
 */
#ifndef NEAP_DEVICE_SHELL_CRYPT_H
#define NEAP_DEVICE_SHELL_CRYPT_H

#include "device/shell/login.h"
#include "protocol/seal.h"

enum { CRYPT_ORIGINS = 64 }; /* openers kept for `changes`; the least recently used goes */

struct crypt;

NEAP_CHECK int crypt_new(struct crypt **out, const struct grant *g, struct err *e);
void crypt_free(struct crypt *c); /* NULL allowed */
/* A new sid: at every connect (K3). */
NEAP_CHECK int crypt_renew(struct crypt *c, struct err *e);
/* Takes a newer group key; one that is not newer changes nothing (K2). */
NEAP_CHECK int crypt_set_group(struct crypt *c, const struct key *key, uint32_t epoch,
			       struct err *e);

/* Replaces `out` by the sealed frame. NE_LIMIT, NE_INTERNAL. */
NEAP_CHECK int crypt_seal(struct crypt *c, struct slice plain, struct buf *out, struct err *e);
/* The epoch of a message against the one known. */
enum crypt_epoch { CRYPT_SAME, CRYPT_OLDER, CRYPT_NEWER };

/*
 * Replaces `out` by the plaintext of a message that came on `topic`. NE_MALFORMED, NE_AUTH; *epoch
 * is CRYPT_SAME where the message does not say which.
 */
NEAP_CHECK int crypt_open(struct crypt *c, const struct topic *topic, struct slice sealed,
			  struct buf *out, enum crypt_epoch *epoch, struct err *e);

/* For sealers and engine: the kernel's random bytes; aborts if there are none. */
void crypt_random(void *ctx, void *out, size_t len);

#endif
