/*
 * The audit trail: who came in and who did not, what was revoked, which keys
 * changed. Lines of common/log.h, each event described in docs/operations.md.
 */
#ifndef NEAP_BACKEND_AUTH_AUDIT_H
#define NEAP_BACKEND_AUTH_AUDIT_H

#include <sys/socket.h>

#include "backend/auth/auth.h"

enum { AUDIT_ADDRESS = 64, AUDIT_NAME = 80 };

/* What a request says of itself; anything may be in it. */
struct audit_claim {
	char user[AUDIT_NAME], device[AUDIT_NAME]; /* cut; "" unknown */
};
void audit_claim(struct audit_claim *c, const char *user, const char *device);

/* The address without its port, "?" if there is none. */
void audit_address(const struct sockaddr *a, char out[static AUDIT_ADDRESS]);

/* event=login, refresh or enrol */
void audit_granted(const char *event, const char *from, const struct auth_session *s);
/* event=login_refused and so on; `status` is the answer's. */
void audit_refused(const char *event, const char *from, const struct audit_claim *c, int status,
		   const char *why);

#endif
