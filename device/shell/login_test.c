#include "device/shell/login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

/* The answer of a server, as parts that a test replaces. */
static json_t *good(void)
{
	char head[TOPIC_MAX];

	assert_int_equal(topic_for(TOPIC_HEAD, "shop1", NULL, head, NULL), NE_OK);
	head[strlen(head) - 5] = '\0';
	json_t *doc =
		json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:[s]}, s:{s:s, s:s, "
			  "s:s, s:[s]}, "
			  "s:{s:s, s:i, s:s}, s:s, s:I}",
			  "access_token", "aa.bb.cc", "token_type", "Bearer", "expires_in", 3600,
			  "refresh_token", "r-1_x", "user", "shop1", "device", "till.3",
			  "message_key", "kty", "oct", "kid", "1790000000", "k", KEY, "key_ops",
			  "deriveKey", "group_key", "kty", "oct", "kid", "7", "k", KEY, "key_ops",
			  "deriveKey", "broker", "host", "127.0.0.1", "port", 8883, "ca",
			  "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
			  "topic_prefix", head, "server_time_ms", (json_int_t)1790000000123);
	assert_non_null(doc);
	return doc;
}

static int parse(json_t *doc, struct grant *g)
{
	char *text = json_dumps(doc, JSON_COMPACT);
	struct err e = {0};
	int rc = grant_parse(slice_str(text), g, &e);

	assert_int_equal(rc == NE_OK, e.text[0] == '\0');
	free(text);
	json_decref(doc);
	return rc;
}

static void a_good_answer_is_read(void **state)
{
	struct grant *g = calloc(1, sizeof *g);

	(void)state;
	assert_int_equal(parse(good(), g), NE_OK);
	assert_string_equal(g->user.at, "shop1");
	assert_string_equal(g->device.at, "till.3");
	assert_string_equal(g->access, "aa.bb.cc");
	assert_string_equal(g->refresh, "r-1_x");
	assert_int_equal(g->life_s, 3600);
	assert_int_equal(g->message_epoch, 1790000000);
	assert_int_equal(g->group_epoch, 7);
	for (int i = 0; i < KEY_LEN; i++)
		assert_int_equal(g->message.at[i], i);
	assert_string_equal(g->broker_host, "127.0.0.1");
	assert_int_equal(g->broker_port, 8883);
	assert_true(g->server_ms == 1790000000123);
	free(g);
}

static void what_is_written_reads_back(void **state)
{
	struct grant *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);

	(void)state;
	assert_int_equal(parse(good(), a), NE_OK);
	assert_int_equal(parse(grant_to_json(a), b), NE_OK);
	assert_memory_equal(a, b, sizeof *a);
	free(a);
	free(b);
}

/* Replaces one member (a path of up to two names) by JSON text, or removes it. */
static void refused_with(const char *outer, const char *inner, const char *value)
{
	struct grant *g = calloc(1, sizeof *g), *zero = calloc(1, sizeof *zero);
	json_t *doc = good();
	json_t *at = inner ? json_object_get(doc, outer) : doc;
	const char *name = inner ? inner : outer;

	assert_non_null(json_object_get(at, name));
	if (value)
		json_object_set_new(at, name, json_loads(value, JSON_DECODE_ANY, NULL));
	else
		json_object_del(at, name);
	if (parse(doc, g) != NE_MALFORMED)
		fail_msg("%s %s = %s was taken", outer, inner ? inner : "", value ? value : "none");
	assert_memory_equal(g, zero, sizeof *g); /* untouched */
	free(g);
	free(zero);
}

static void hostile_answers_are_refused(void **state)
{
	static const char *const names[] = {
		"access_token", "token_type", "expires_in",   "refresh_token",	"user",	 "device",
		"message_key",	"group_key",  "topic_prefix", "server_time_ms", "broker"};
	static const char *const wrong[] = {NULL, "null", "true", "[]", "\"\"", "-1", "1.5"};
	static const char *const inner[][2] = {{"message_key", "kty"}, {"message_key", "kid"},
					       {"message_key", "k"},   {"group_key", "kid"},
					       {"group_key", "k"},     {"broker", "host"},
					       {"broker", "port"},     {"broker", "ca"}};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++)
			refused_with(names[i], NULL, wrong[j]);
	for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
		for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++)
			refused_with(inner[i][0], inner[i][1], wrong[j]);
}

static void each_bound_holds(void **state)
{
	(void)state;
	refused_with("token_type", NULL, "\"bearer\"");
	refused_with("expires_in", NULL, "0");
	refused_with("expires_in", NULL, "7201");
	refused_with("expires_in", NULL, "\"3600\"");
	refused_with("access_token", NULL, "\"a b\"");
	refused_with("access_token", NULL, "\"a\\nb\"");
	refused_with("refresh_token", NULL, "\"a/b\"");
	refused_with("user", NULL, "\"server\"");
	refused_with("user", NULL, "\"a/b\"");
	refused_with("device", NULL, "\"..\"");
	refused_with("message_key", "kty", "\"EC\"");
	refused_with("message_key", "kid", "\"0\"");
	refused_with("message_key", "kid", "\"4294967296\"");
	refused_with("message_key", "kid", "\"12x\"");
	refused_with("message_key", "kid", "\" 12\"");
	refused_with("message_key", "k", "\"AAEC\"");
	refused_with("message_key", "k", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+\"");
	refused_with("message_key", "k", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9\"");
	refused_with("message_key", "k", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"");
	refused_with("broker", "host", "\"a/b\"");
	refused_with("broker", "host", "\"a@b\"");
	refused_with("broker", "port", "0");
	refused_with("broker", "port", "65536");
	refused_with("broker", "ca", "\"MA==\"");
	refused_with("topic_prefix", NULL, "\"neap/v1/00/other\"");
	refused_with("server_time_ms", NULL, "9223372036854775807");
}

static void text_that_is_no_json_is_refused(void **state)
{
	static const char *const bodies[] = {
		"",   "{", "[]", "null", "{\"user\":1,\"user\":2}", "\xff", "{\"a\":\"\\u0000\"}",
		"{}x"};
	struct grant *g = calloc(1, sizeof *g);
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
		assert_int_equal(grant_parse(slice_str(bodies[i]), g, &e), NE_MALFORMED);
	char deep[6000];
	memset(deep, '[', sizeof deep);
	assert_int_equal(grant_parse(slice_of(deep, sizeof deep), g, &e), NE_MALFORMED);
	/* A duplicate: jansson alone would keep the last. */
	json_t *doc = good();
	char *text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	char twice[4096];
	snprintf(twice, sizeof twice, "{\"user\":\"eve\",%s", text + 1);
	assert_int_equal(grant_parse(slice_str(twice), g, &e), NE_MALFORMED);
	free(text);
	free(g);
}

static void unknown_members_are_ignored(void **state)
{
	struct grant *g = calloc(1, sizeof *g);
	json_t *doc = good();

	(void)state;
	json_object_set_new(doc, "later", json_true());
	assert_int_equal(parse(doc, g), NE_OK);
	free(g);
}

static void urls_are_https_only(void **state)
{
	char url[LOGIN_URL_MAX + 1], longer[LOGIN_URL_MAX + 20];
	struct err e;

	(void)state;
	assert_int_equal(login_url("https://h:1//", "/v1/login", url, &e), NE_OK);
	assert_string_equal(url, "https://h:1/v1/login");
	assert_int_equal(login_url("http://h", "/v1/login", url, &e), NE_USAGE);
	assert_int_equal(login_url("https://", "/v1/login", url, &e), NE_USAGE);
	assert_int_equal(login_url("h", "/v1/login", url, &e), NE_USAGE);
	assert_int_equal(login_url("", "/v1/login", url, &e), NE_USAGE);
	memset(longer, 'a', sizeof longer);
	memcpy(longer, "https://", 8);
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(login_url(longer, "/v1/login", url, &e), NE_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_answer_is_read),
		cmocka_unit_test(what_is_written_reads_back),
		cmocka_unit_test(hostile_answers_are_refused),
		cmocka_unit_test(each_bound_holds),
		cmocka_unit_test(text_that_is_no_json_is_refused),
		cmocka_unit_test(unknown_members_are_ignored),
		cmocka_unit_test(urls_are_https_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
