/*
 * Carries changes of accounts to the fleet: the list of revoked tokens to the
 * broker (L5), and a user's new group key, sealed, to each of its devices (K1).
 */
#ifndef NEAP_BACKEND_SHELL_KEEPER_H
#define NEAP_BACKEND_SHELL_KEEPER_H

#include "backend/auth/auth.h"
#include "backend/shell/link.h"

struct keeper;

/* Remembers the group epochs as they are. */
NEAP_CHECK int keeper_new(struct keeper **out, struct auth *auth, const struct config *c,
			  struct err *e);
void keeper_free(struct keeper *k); /* NULL is allowed */

/*
 * Sends the whole list of revoked tokens; after a connect, first of all, for the plugin lets no
 * device in before. Any thread. NE_UNREACHABLE, or what auth_each_void returned.
 */
NEAP_CHECK int keeper_send_voids(struct keeper *k, struct link *l, struct err *e);

/*
 * If accounts changed since the last call: sends the list and new group keys. *epoch_moved: heads
 * have to be published again under the new key. On an error the next call tries all of it again.
 * One thread.
 */
NEAP_CHECK int keeper_look(struct keeper *k, struct link *l, bool *epoch_moved, struct err *e);

#endif
