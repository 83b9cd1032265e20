/*
 * Sealers and openers by user and peer, kept so that keys are derived once.
 * Each entry is checked again when accounts changed (auth_revision): a revoked
 * device's messages are refused at once, a moved epoch is sealed under.
 * One thread per instance.
 */
#ifndef NEAP_BACKEND_SHELL_SEALS_H
#define NEAP_BACKEND_SHELL_SEALS_H

#include "backend/auth/auth.h"
#include "protocol/seal.h"

struct seals;

/* Keeps at most `max` entries; above that it starts again from none. */
NEAP_CHECK int seals_new(struct seals **out, struct auth *auth, size_t max, struct err *e);
void seals_free(struct seals *s); /* NULL is allowed */
/* Forgets all: what is sealed next has a new sid. Called at every connect. */
void seals_clear(struct seals *s);

/*
 * Opens a message on the device's `up`, appending the plaintext. NE_MALFORMED, NE_AUTH (key,
 * revoked), NE_NOT_FOUND (no such user or device), NE_LIMIT, NE_MEMORY, NE_DISK. *ended: NE_AUTH,
 * and it is the device's, under a key that ended with the store before: to be told of its new one.
 */
NEAP_CHECK int seals_open(struct seals *s, const struct id *user, const struct id *device,
			  struct slice sealed, struct buf *out, bool *ended, struct err *e);
/* Seals under the current epoch: SEAL_DOWN under the device's key, the others under the group's. */
NEAP_CHECK int seals_seal(struct seals *s, enum seal_kind kind, const struct id *user,
			  const struct id *peer, struct slice plain, struct buf *out,
			  struct err *e);

#endif
