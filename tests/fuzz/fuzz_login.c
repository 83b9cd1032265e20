/*
 * What login, refresh and enrolment read: bodies of requests at the server, headers before them,
 * answers at the device. The first byte says which. What is taken is text within its bounds, and
 * goes into JSON and comes back as it was.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/auth/reply.h"
#include "backend/auth/strict.h"
#include "device/shell/login.h"
#include "protocol/cbor_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static bool is_text(const char *s)
{
	size_t len = strnlen(s, REQUEST_MAX);
	return len < REQUEST_MAX && utf8_valid(slice_of(s, len));
}

static void fuzz_requests(struct slice in)
{
	static struct login_request login, again;
	static struct enrol_request enrol, enrol_again;
	static char refresh[REQUEST_MAX], refresh_again[REQUEST_MAX];
	struct err e;
	int rc;

	rc = request_login(in, &login, &e);
	assert(rc == 0 || rc == NE_MALFORMED);
	if (!rc) {
		assert(is_text(login.user) && is_text(login.password) && is_text(login.device));
		char *body = login_body(login.user, login.password, login.device);
		rc = request_login(slice_str(body), &again, &e);
		assert(!rc && strcmp(login.user, again.user) == 0);
		assert(!strcmp(login.password, again.password) &&
		       !strcmp(login.device, again.device));
		login_body_free(body);
	}
	rc = request_enrol(in, &enrol, &e);
	assert(rc == 0 || rc == NE_MALFORMED);
	if (!rc) {
		char *body = login_enrol_body(enrol.code, enrol.attempt);
		rc = request_enrol(slice_str(body), &enrol_again, &e);
		assert(!rc && !strcmp(enrol.code, enrol_again.code));
		login_body_free(body);
	}
	rc = request_refresh(in, refresh, &e);
	assert(rc == 0 || rc == NE_MALFORMED);
	if (!rc) {
		char *body = login_refresh_body(refresh);
		rc = request_refresh(slice_str(body), refresh_again, &e);
		assert(!rc && !strcmp(refresh, refresh_again));
		login_body_free(body);
	}
}

static void fuzz_answer(struct slice in)
{
	static struct grant g, again;
	struct err e;

	int rc = grant_parse(in, &g, &e);
	assert(rc == 0 || rc == NE_MALFORMED || rc == NE_MEMORY);
	if (rc)
		return;
	assert(id_valid(id_slice(&g.user)) && id_valid(id_slice(&g.device)));
	json_t *doc = grant_to_json(&g);
	rc = grant_from_json(doc, &again, &e);
	assert(!rc && !memcmp(&g.message, &again.message, sizeof g.message));
	assert(!strcmp(g.refresh, again.refresh) && !strcmp(g.broker_host, again.broker_host));
	json_decref(doc);
	grant_wipe(&g);
	grant_wipe(&again);
}

/* Names and values between line ends, as a server has them after its own parsing. */
static void fuzz_headers(struct slice in, bool post)
{
	struct strict s = {0};
	char *text = strndup((const char *)in.at, in.len), *rest = NULL;
	const char *detail = NULL;
	bool bad = false;

	assert(text);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *value = strchr(line, ':');
		if (value)
			*value++ = '\0';
		bad = bad || strpbrk(line, " \t\r\v\f") ||
		      !strncasecmp(line, "transfer-encoding", 17);
		strict_header(&s, line, value);
	}
	int status = strict_verdict(&s, post, REQUEST_MAX, &detail);
	assert(status == 0 || (status >= 400 && status < 500 && detail));
	assert(!bad || status);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	if (len == 0)
		return 0;
	struct slice in = slice_of(at + 1, len - 1);

	if (at[0] % 4 == 0)
		fuzz_requests(in);
	else if (at[0] % 4 == 1)
		fuzz_answer(in);
	else if (in.len)
		fuzz_headers(in, at[0] & 1);
	return 0;
}
