#include "backend/auth/reply.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/auth/base64.h"

/* Copies a text member and wipes jansson's copy of it. */
static int take_text(json_t *root, const char *name, char out[static REQUEST_MAX], struct err *e)
{
	json_t *v = json_object_get(root, name);

	if (!json_is_string(v))
		return err_set(e, NE_MALFORMED, "the member \"%s\" must be there and text", name);
	size_t len = json_string_length(v);
	if (len >= REQUEST_MAX)
		return err_set(e, NE_MALFORMED, "the member \"%s\" is too long", name);
	memcpy(out, json_string_value(v), len + 1);
	/* json_string_set would allocate another; the bytes are the value's own. */
	explicit_bzero((char *)(uintptr_t)json_string_value(v), len);
	return 0;
}

static int load(struct slice body, json_t **out, struct err *e)
{
	json_error_t bad;

	*out = json_loadb((const char *)body.at, body.len, JSON_REJECT_DUPLICATES, &bad);
	if (*out && json_is_object(*out))
		return 0;
	json_decref(*out);
	/* Not jansson's own words: they quote the body, which holds a password. */
	return err_set(e, NE_MALFORMED,
		       "the body must be one JSON object in UTF-8, each member at most once");
}

int request_login(struct slice body, struct login_request *out, struct err *e)
{
	json_t *root;

	TRY(load(body, &root, e));
	int rc = take_text(root, "user", out->user, e);
	if (!rc)
		rc = take_text(root, "password", out->password, e);
	if (!rc)
		rc = take_text(root, "device", out->device, e);
	json_decref(root);
	return rc;
}

int request_enrol(struct slice body, struct enrol_request *out, struct err *e)
{
	json_t *root;

	TRY(load(body, &root, e));
	int rc = take_text(root, "code", out->code, e);
	if (!rc)
		rc = take_text(root, "attempt", out->attempt, e);
	json_decref(root);
	return rc;
}

int request_refresh(struct slice body, char token[static REQUEST_MAX], struct err *e)
{
	json_t *root;

	TRY(load(body, &root, e));
	int rc = take_text(root, "refresh_token", token, e);
	json_decref(root);
	return rc;
}

/* A JWK (RFC 7517) for deriving only (K6). */
static json_t *jwk(const struct auth_key *key)
{
	char kid[16], k[BASE64_LEN(KEY_LEN) + 1];

	snprintf(kid, sizeof kid, "%u", key->epoch);
	if (base64_write(slice_of(key->key.at, KEY_LEN), k))
		return NULL; /* json_pack fails on it */
	json_t *out = json_pack("{s:s, s:s, s:s, s:[s]}", "kty", "oct", "kid", kid, "k", k,
				"key_ops", "deriveKey");
	explicit_bzero(k, sizeof k);
	return out;
}

char *reply_session(const struct auth_session *s, const struct reply_broker *b,
		    int64_t server_time_ms)
{
	char prefix[32 + LIMIT_ID];

	snprintf(prefix, sizeof prefix, "neap/v1/%02x/%s", id_shard(id_slice(&s->user)),
		 s->user.at);
	json_t *root = json_pack(
		"{s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o, s:{s:s, s:i, s:s}, s:s, s:I}",
		"access_token", s->access, "token_type", "Bearer", "expires_in",
		(json_int_t)s->expires_in_s, "refresh_token", s->refresh, "user", s->user.at,
		"device", s->device.at, "message_key", jwk(&s->message), "group_key",
		jwk(&s->group), "broker", "host", b->host, "port", (int)b->port, "ca", b->ca,
		"topic_prefix", prefix, "server_time_ms", (json_int_t)server_time_ms);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

char *reply_problem(int status, const char *detail)
{
	json_t *root = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title",
				 reply_status_text(status), "status", status, "detail", detail);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}

const char *reply_status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 415:
		return "Unsupported Media Type";
	case 429:
		return "Too Many Requests";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}
