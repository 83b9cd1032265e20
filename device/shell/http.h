/*
 * The HTTPS client of login and refresh: one JSON body up, one down. https
 * only, no redirects, no proxy, TLS 1.2 or newer, an explicit CA if one is given.
 * It runs inside the caller's poll loop by one descriptor and one deadline;
 * nothing here blocks but http_wait.
 */
#ifndef NEAP_DEVICE_SHELL_HTTP_H
#define NEAP_DEVICE_SHELL_HTTP_H

#include "common/bytes.h"

enum { HTTP_BODY_MAX = 64 * 1024 }; /* bytes of an answer; a longer one is NE_LIMIT */

struct http;

/* What came back. Borrowed: valid during the callback only. */
struct http_answer {
	/*
	 * NE_OK: status 200 and a body. NE_AUTH (401, 403), NE_BUSY (429, 5xx),
	 * NE_UNREACHABLE, NE_TIMEOUT, NE_CERT (the server's certificate), NE_PROTOCOL
	 * (any other status), NE_LIMIT, NE_USAGE (the URL).
	 */
	int code;
	int status;		/* 0 if there was no answer */
	int64_t retry_after_ms; /* the server's wish; 0 none */
	struct slice body;
	const char *text; /* a sentence when code is not NE_OK */
};

typedef void (*http_fn)(void *ctx, const struct http_answer *answer);

NEAP_CHECK int http_new(struct http **out, struct err *e);
/* Ends what is under way without calling back. NULL allowed. */
void http_free(struct http *h);

/*
 * Starts POSTing `json` to `url`; `done` is called once, from http_step. `ca_pem` NULL or "" trusts
 * the system's certificates. All arguments are copied; the body's copy is wiped afterwards.
 */
NEAP_CHECK int http_post(struct http *h, const char *url, const char *ca_pem, const char *json,
			 http_fn done, void *ctx, struct err *e);
/* Ends every request of `ctx` without calling back. */
void http_cancel(struct http *h, void *ctx);

/* Readable while a request can go on; the same for the life of `h`. */
int http_fd(const struct http *h);
/* When to call http_step at the latest, mono; UINT64_MAX never. */
uint64_t http_deadline_ms(const struct http *h);
/* Does what can be done without waiting, then calls back for requests that ended. */
void http_step(struct http *h);
/* For a caller without a loop: waits until a request can go on, `timeout_ms` at most, and steps. */
NEAP_CHECK int http_wait(struct http *h, int timeout_ms, struct err *e);

#endif
