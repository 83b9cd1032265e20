#include "tests/e2e/fleet_login.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/base64url.h"

enum { BODY_MAX = 65536, TRIES = 200 };

static void die(const char *what, const char *why)
{
	fprintf(stderr, "fleet: %s: %s\n", what, why);
	exit(1);
}

static size_t on_body(char *at, size_t size, size_t n, void *ctx)
{
	return buf_put(ctx, at, size * n) ? 0 : n;
}

static CURL *prepare(const char *server, const char *ca, struct buf *body)
{
	static CURL *curl;
	static struct curl_slist *headers;
	static char url[512];

	if (!curl) {
		curl_global_init(CURL_GLOBAL_DEFAULT);
		curl = curl_easy_init();
		headers = curl_slist_append(NULL, "Content-Type: application/json");
		if (!curl || !headers)
			die("curl", "out of memory");
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
		curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	}
	snprintf(url, sizeof url, "%s/v1/login", server);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	return curl;
}

static const char *text_of(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	if (!text)
		die("login answer lacks", name);
	return text;
}

static void take_session(json_t *answer, struct fleet_session *out)
{
	json_t *key = json_object_get(answer, "message_key");
	struct buf k = {.max = 2 * KEY_LEN};

	snprintf(out->token, sizeof out->token, "%s", text_of(answer, "access_token"));
	out->epoch = (uint32_t)strtoul(text_of(key, "kid"), NULL, 10);
	if (base64url_decode(slice_str(text_of(key, "k")), &k) || k.len != KEY_LEN)
		die("message key", "not 32 bytes of base64url");
	memcpy(out->message_key.at, k.at, KEY_LEN);
	buf_free(&k);
}

/* The answer's status; its body is in `body`. */
static long post(CURL *curl, const char *json, struct buf *body)
{
	long status = 0;

	buf_clear(body);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json);
	CURLcode rc = curl_easy_perform(curl);
	if (rc)
		die("login", curl_easy_strerror(rc));
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

void fleet_login(const char *server, const char *ca, const char *user, const char *password,
		 const char *device, struct fleet_session *out)
{
	struct buf body = {.max = BODY_MAX};
	CURL *curl = prepare(server, ca, &body);
	json_t *request =
		json_pack("{s:s,s:s,s:s}", "user", user, "password", password, "device", device);
	char *json = json_dumps(request, JSON_COMPACT);
	long status = 0;
	struct err e = {0};

	for (int i = 0; i < TRIES && (status = post(curl, json, &body)) != 200; i++) {
		if (status != 429 && status != 503) {
			fprintf(stderr, "fleet: login of %s/%s: status %ld: %.*s\n", user, device,
				status, (int)body.len, (const char *)body.at);
			exit(1);
		}
		nanosleep(&(struct timespec){0, 100000000}, NULL); /* told to come back later */
	}
	json_t *answer = json_loadb((const char *)body.at, body.len, 0, NULL);
	if (status != 200 || !answer)
		die("login", "never accepted, or no JSON");

	if (id_set(&out->user, slice_str(user), "user", &e) ||
	    id_set(&out->device, slice_str(device), "device", &e))
		die("login", e.text);
	take_session(answer, out);
	json_decref(answer);
	json_decref(request);
	free(json);
	buf_free(&body);
}
