/* The bodies of the login server: JSON in, JSON out, problems by RFC 9457. */
#ifndef NEAP_BACKEND_AUTH_REPLY_H
#define NEAP_BACKEND_AUTH_REPLY_H

#include "backend/auth/auth.h"

enum { REQUEST_MAX = 4096 };

struct login_request {
	char user[REQUEST_MAX], password[REQUEST_MAX], device[REQUEST_MAX];
};

struct enrol_request {
	char code[REQUEST_MAX], attempt[REQUEST_MAX];
};

/* NE_MALFORMED with a sentence for the caller: no JSON object, a member missing or not text. */
NEAP_CHECK int request_login(struct slice body, struct login_request *out, struct err *e);
NEAP_CHECK int request_enrol(struct slice body, struct enrol_request *out, struct err *e);
NEAP_CHECK int request_refresh(struct slice body, char token[static REQUEST_MAX], struct err *e);

/* What does not change from one answer to the next. */
struct reply_broker {
	const char *host;
	uint16_t port;
	const char *ca; /* PEM */
};

/* JSON text with its NUL, to be freed by the caller; NULL without memory. */
char *reply_session(const struct auth_session *s, const struct reply_broker *b,
		    int64_t server_time_ms);
char *reply_problem(int status, const char *detail);
const char *reply_status_text(int status);

#endif
