/*
 * What login, enrolment and refresh return, and the strict reading of it. The request
 * bodies are built here, too; sending them is http.h's job.
 */
#ifndef NEAP_DEVICE_SHELL_LOGIN_H
#define NEAP_DEVICE_SHELL_LOGIN_H

#include <jansson.h>

#include "protocol/jwt.h"
#include "protocol/keys.h"
#include "protocol/topic.h"

enum {
	LOGIN_REFRESH_MAX = 512,
	LOGIN_HOST_MAX = 255,
	LOGIN_PEM_MAX = 16 * 1024,
	LOGIN_URL_MAX = 512,
};

/* All that a login grants. Holds secrets: grant_wipe before it is freed. */
struct grant {
	struct id user, device;
	char access[JWT_MAX + 1];
	int64_t life_s; /* of the access token, from when it was received */
	char refresh[LOGIN_REFRESH_MAX + 1];
	struct key message, group;
	uint32_t message_epoch, group_epoch;
	char broker_host[LOGIN_HOST_MAX + 1];
	uint16_t broker_port;
	char broker_ca[LOGIN_PEM_MAX + 1];
	int64_t server_ms;
};

/*
 * Reads the body of a 200 answer. Every member must be there with its type and within its
 * bounds; duplicates are refused; unknown members are ignored (a newer server may add some).
 * `out` is untouched on error. NE_MALFORMED, NE_MEMORY.
 */
NEAP_CHECK int grant_parse(struct slice body, struct grant *out, struct err *e);
void grant_wipe(struct grant *g);

/* The parts of it that the secret file shares. Both consume nothing and own nothing of `doc`. */
NEAP_CHECK int grant_from_json(const json_t *doc, struct grant *out, struct err *e);
json_t *grant_to_json(const struct grant *g); /* NULL when out of memory */

/*
 * `server` + `path` ("/v1/login"), with any trailing slash of `server` dropped. NE_USAGE unless
 * it begins with https:// and names a host.
 */
NEAP_CHECK int login_url(const char *server, const char *path, char out[static LOGIN_URL_MAX + 1],
			 struct err *e);

/* Request bodies. The caller wipes and frees them (login_body_free). NULL when out of memory. */
char *login_body(const char *user, const char *password, const char *device);
char *login_enrol_body(const char *code, const char *attempt);
char *login_refresh_body(const char *refresh);
void login_body_free(char *body);

#endif
