/* Logging devices of the fleet in, one after the other, over one kept-alive handle. */
#ifndef NEAP_TESTS_FLEET_LOGIN_H
#define NEAP_TESTS_FLEET_LOGIN_H

#include "protocol/jwt.h"
#include "protocol/keys.h"

struct fleet_session {
	struct id user, device;
	char token[JWT_MAX + 1];
	struct key message_key;
	uint32_t epoch;
};

/* POST /v1/login; waits as told and tries again on 429 and 503. Ends the program on anything else.
 */
void fleet_login(const char *server, const char *ca, const char *user, const char *password,
		 const char *device, struct fleet_session *out);

#endif
