#include "backend/auth/audit.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "common/log.h"

enum { QUOTED = 4 * AUDIT_NAME + 8 };

void audit_claim(struct audit_claim *c, const char *user, const char *device)
{
	snprintf(c->user, sizeof c->user, "%s", user);
	snprintf(c->device, sizeof c->device, "%s", device);
}

void audit_address(const struct sockaddr *a, char out[static AUDIT_ADDRESS])
{
	socklen_t len = a && a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						      : sizeof(struct sockaddr_in);

	if (!a || getnameinfo(a, len, out, AUDIT_ADDRESS, NULL, 0, NI_NUMERICHOST))
		snprintf(out, AUDIT_ADDRESS, "?");
}

void audit_granted(const char *event, const char *from, const struct auth_session *s)
{
	char source[2 * LIMIT_ID + 2];

	/* A fleet may come through one address: bounded per device. */
	snprintf(source, sizeof source, "%s/%s", s->user.at, s->device.at);
	log_audit(LOG_INFO, event, source, "user=%s device=%s from=%s", s->user.at, s->device.at,
		  from);
}

void audit_refused(const char *event, const char *from, const struct audit_claim *c, int status,
		   const char *why)
{
	char user[QUOTED], device[QUOTED], reason[1100], pairs[2 * QUOTED + 32] = "";

	if (*c->user || *c->device)
		snprintf(pairs, sizeof pairs, " user=%s device=%s",
			 log_quote(c->user, user, sizeof user),
			 log_quote(c->device, device, sizeof device));
	log_audit(LOG_WARN, event, from, "status=%d from=%s%s why=%s", status, from, pairs,
		  log_quote(why, reason, sizeof reason));
}
