/*
 * The login server: HTTPS with POST /v1/login, POST /v1/refresh and
 * GET /v1/health (docs/openapi.yaml). One thread a connection, all bounded.
 */
#ifndef NEAP_BACKEND_AUTH_SERVER_H
#define NEAP_BACKEND_AUTH_SERVER_H

#include "backend/auth/auth.h"

struct login_server;

/* Called from any thread after each good login, before the answer; an error makes it a 503. */
struct login_hooks {
	int (*user)(void *ctx, const char *user, struct err *e);
	void *ctx;
};

/*
 * Serves until login_server_stop(). `a`, `c` and `hooks` (may be NULL) must live as long. NE_USAGE
 * (certificate or key unusable, secret too open), NE_UNREACHABLE (address in use), NE_NOT_FOUND.
 */
NEAP_CHECK int login_server_start(struct login_server **out, struct auth *a, const struct config *c,
				  const struct login_hooks *hooks, struct err *e);
uint16_t login_server_port(const struct login_server *s); /* the one bound */
/* Waits for requests being answered. NULL is allowed. */
void login_server_stop(struct login_server *s);

#endif
