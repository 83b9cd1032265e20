#include "device/shell/login.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/shell/members.h"

/* Strict base64url without padding of exactly 32 bytes (RFC 7515): 43 characters. */
static bool key_from_text(const char *text, struct key *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned n_bit = 0;
	size_t n = 0;

	if (strlen(text) != 43)
		return false;
	for (const char *c = text; *c; c++) {
		const char *digit = strchr(digits, *c);
		if (!digit)
			return false;
		bits = (bits << 6 | (uint32_t)(digit - digits)) & 0xffff;
		n_bit += 6;
		if (n_bit >= 8) {
			n_bit -= 8;
			out->at[n++] = (uint8_t)(bits >> n_bit);
		}
	}
	/* The last character carries two unused bits; other values would be a second spelling. */
	return n == KEY_LEN && (bits & ((1u << n_bit) - 1)) == 0;
}

static void key_to_text(const struct key *key, char out[static 44])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned n_bit = 0;
	size_t n = 0;

	for (size_t i = 0; i < KEY_LEN; i++) {
		bits = (bits << 8 | key->at[i]) & 0xffff;
		n_bit += 8;
		while (n_bit >= 6) {
			n_bit -= 6;
			out[n++] = digits[bits >> n_bit & 63];
		}
	}
	out[n++] = digits[bits << (6 - n_bit) & 63];
	out[n] = '\0';
}

static int read_jwk(const json_t *doc, const char *name, struct key *key, uint32_t *epoch,
		    struct err *e)
{
	const json_t *jwk = json_object_get(doc, name);
	char kty[8], kid[16], k[48];
	char *end;

	if (!json_is_object(jwk))
		return err_set(e, NE_MALFORMED, "'%s' is missing or not an object", name);
	TRY(member_text(jwk, "kty", kty, sizeof kty, e));
	TRY(member_text(jwk, "kid", kid, sizeof kid, e));
	TRY(member_text(jwk, "k", k, sizeof k, e));
	unsigned long long n = strtoull(kid, &end, 10);
	bool good = !strcmp(kty, "oct") && kid[0] >= '1' && kid[0] <= '9' && !*end &&
		    n <= UINT32_MAX && key_from_text(k, key);
	OPENSSL_cleanse(k, sizeof k);
	*epoch = (uint32_t)n;
	return good ? NE_OK : err_set(e, NE_MALFORMED, "'%s' is not a symmetric key", name);
}

static bool is_token(const char *text)
{
	return text[0] && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-_.") == strlen(text);
}

static int read_broker(const json_t *doc, struct grant *g, struct err *e)
{
	const json_t *broker = json_object_get(doc, "broker");
	int64_t port;

	if (!json_is_object(broker))
		return err_set(e, NE_MALFORMED, "'broker' is missing or not an object");
	TRY(member_text(broker, "host", g->broker_host, sizeof g->broker_host, e));
	TRY(member_int(broker, "port", 1, 65535, &port, e));
	TRY(member_text(broker, "ca", g->broker_ca, sizeof g->broker_ca, e));
	g->broker_port = (uint16_t)port;
	/* The host becomes part of a URI: nothing in it may end the host. */
	if (!g->broker_host[0] ||
	    strspn(g->broker_host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789-.:[]") != strlen(g->broker_host))
		return err_set(e, NE_MALFORMED, "'broker.host' is not a host name or address");
	if (!strstr(g->broker_ca, "-----BEGIN CERTIFICATE-----"))
		return err_set(e, NE_MALFORMED, "'broker.ca' is not a PEM certificate");
	return NE_OK;
}

static int read_id(const json_t *doc, const char *name, struct id *out, struct err *e)
{
	char text[LIMIT_ID + 2];

	TRY(member_text(doc, name, text, sizeof text, e));
	return id_set(out, slice_str(text), name, e);
}

/* The topics are computed here; a server that disagrees would be talked past. */
static int check_prefix(const json_t *doc, const struct id *user, struct err *e)
{
	char told[TOPIC_MAX], own[TOPIC_MAX];

	TRY(member_text(doc, "topic_prefix", told, sizeof told, e));
	TRY(topic_for(TOPIC_HEAD, user->at, NULL, own, e));
	size_t n = strlen(own) - strlen("/head");
	if (strlen(told) != n || memcmp(told, own, n) != 0)
		return err_set(e, NE_MALFORMED, "'topic_prefix' is not %.*s", (int)n, own);
	return NE_OK;
}

static int read_grant(const json_t *doc, struct grant *g, struct err *e)
{
	char type[16];

	if (!json_is_object(doc))
		return err_set(e, NE_MALFORMED, "it is not a JSON object");
	TRY(member_text(doc, "token_type", type, sizeof type, e));
	if (strcmp(type, "Bearer") != 0)
		return err_set(e, NE_MALFORMED, "'token_type' is not Bearer");
	TRY(read_id(doc, "user", &g->user, e));
	TRY(read_id(doc, "device", &g->device, e));
	TRY(member_text(doc, "access_token", g->access, sizeof g->access, e));
	TRY(member_text(doc, "refresh_token", g->refresh, sizeof g->refresh, e));
	if (!is_token(g->access) || !is_token(g->refresh))
		return err_set(e, NE_MALFORMED, "a token has characters that no token has");
	TRY(member_int(doc, "expires_in", 1, JWT_LIFE_MAX_S, &g->life_s, e));
	TRY(member_int(doc, "server_time_ms", 1, INT64_MAX / 2, &g->server_ms, e));
	TRY(read_jwk(doc, "message_key", &g->message, &g->message_epoch, e));
	TRY(read_jwk(doc, "group_key", &g->group, &g->group_epoch, e));
	TRY(read_broker(doc, g, e));
	return check_prefix(doc, &g->user, e);
}

int grant_from_json(const json_t *doc, struct grant *out, struct err *e)
{
	struct grant *g = calloc(1, sizeof *g);

	if (!g)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = read_grant(doc, g, e);
	if (!rc)
		*out = *g;
	grant_wipe(g);
	free(g);
	return rc;
}

int grant_parse(struct slice body, struct grant *out, struct err *e)
{
	json_error_t why;
	json_t *doc = json_loadb((const char *)body.at, body.len, JSON_REJECT_DUPLICATES, &why);

	if (!doc)
		return err_set(e, NE_MALFORMED, "the login server's answer is not JSON: %s",
			       why.text);
	int rc = grant_from_json(doc, out, e);
	json_decref(doc);
	if (rc == NE_MALFORMED)
		err_wrap(e, "the login server's answer is refused");
	return rc;
}

static json_t *write_jwk(const struct key *key, uint32_t epoch)
{
	char kid[16], k[44];

	snprintf(kid, sizeof kid, "%u", (unsigned)epoch);
	key_to_text(key, k);
	json_t *jwk = json_pack("{s:s, s:s, s:s, s:[s]}", "kty", "oct", "kid", kid, "k", k,
				"key_ops", "deriveKey");
	OPENSSL_cleanse(k, sizeof k);
	return jwk;
}

json_t *grant_to_json(const struct grant *g)
{
	char head[TOPIC_MAX];

	if (topic_for(TOPIC_HEAD, g->user.at, NULL, head, NULL))
		return NULL;
	head[strlen(head) - strlen("/head")] = '\0';
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:o, s:o, s:{s:s, s:i, s:s}}",
			 "user", g->user.at, "device", g->device.at, "token_type", "Bearer",
			 "access_token", g->access, "refresh_token", g->refresh, "expires_in",
			 (json_int_t)g->life_s, "server_time_ms", (json_int_t)g->server_ms,
			 "topic_prefix", head, "message_key",
			 write_jwk(&g->message, g->message_epoch), "group_key",
			 write_jwk(&g->group, g->group_epoch), "broker", "host", g->broker_host,
			 "port", (int)g->broker_port, "ca", g->broker_ca);
}

void grant_wipe(struct grant *g)
{
	OPENSSL_cleanse(g, sizeof *g);
}

int login_url(const char *server, const char *path, char out[static LOGIN_URL_MAX + 1],
	      struct err *e)
{
	size_t n = strlen(server);

	while (n > 0 && server[n - 1] == '/')
		n--;
	if (strncmp(server, "https://", 8) != 0 || n <= 8)
		return err_set(e, NE_USAGE,
			       "'%.200s' is not a usable server address: give https://host[:port]",
			       server);
	if (n > LOGIN_URL_MAX - strlen(path))
		return err_set(e, NE_USAGE, "the server address is longer than %d bytes",
			       LOGIN_URL_MAX);
	memcpy(out, server, n);
	memcpy(out + n, path, strlen(path) + 1);
	return NE_OK;
}

static char *dump(json_t *doc)
{
	char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;

	json_decref(doc);
	return text;
}

char *login_body(const char *user, const char *password, const char *device)
{
	return dump(
		json_pack("{s:s, s:s, s:s}", "user", user, "password", password, "device", device));
}

char *login_enrol_body(const char *code, const char *attempt)
{
	return dump(json_pack("{s:s, s:s}", "code", code, "attempt", attempt));
}

char *login_refresh_body(const char *refresh)
{
	return dump(json_pack("{s:s}", "refresh_token", refresh));
}

void login_body_free(char *body)
{
	if (body)
		OPENSSL_cleanse(body, strlen(body));
	free(body);
}
