#include "broker-config/neap_auth_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum who { SELF, SIBLING, STRANGER, BACKEND, N_WHO };

static const struct {
	const char *username, *client_id;
} people[N_WHO] = {
	[SELF] = {"alice", "alice/d1"},
	[SIBLING] = {"alice", "alice/d2"},
	[STRANGER] = {"bob", "bob/d1"},
	[BACKEND] = {"$neapd", "$neapd/0-255"},
};

/* Rights as letters per person: r read, w write, W write retained, s subscribe. */
struct cell {
	const char *topic; /* %s: alice's prefix */
	const char *may[N_WHO];
};

static const struct cell table[] = {
	{"%s/d1/up", {"w", "", "", "r"}},
	{"%s/d1/down", {"rs", "", "", "w"}},
	{"%s/d1/presence", {"wW", "", "", ""}},
	{"%s/changes/d1", {"", "r", "", "w"}},
	{"%s/changes/d2", {"r", "", "", "w"}},
	{"%s/changes/server", {"r", "r", "", "w"}},
	{"%s/changes/+", {"s", "s", "", ""}},
	{"%s/head", {"rs", "rs", "", "wW"}},
	{"%s/+/up", {"", "", "", ""}},
	{"%s/+/down", {"", "", "", ""}},
	{"%s/#", {"", "", "", ""}},
	{"%s/d1/down/x", {"", "", "", ""}},
	{"%s/d1", {"", "", "", ""}},
	{"#", {"", "", "", ""}},
	{"+", {"", "", "", ""}},
	{"", {"", "", "", ""}},
	{"$SYS/broker/clients/total", {"", "", "", ""}},
	{"$SYS/#", {"", "", "", ""}},
	{"$CONTROL/neap/v1", {"", "", "", "w"}},
	{"$CONTROL/dynamic-security/v1", {"", "", "", ""}},
	{"$share/g/%s/d1/down", {"", "", "", ""}},
	{"$share/g/%s/head", {"", "", "", ""}},
	{"neap/v1/+/+/+/up", {"", "", "", ""}},
	{"neap/v1/0a/+/+/up", {"", "", "", "s"}},
	{"neap/v1/0A/+/+/up", {"", "", "", ""}},
	{"neap/v1/0a/#", {"", "", "", ""}},
};

static void check(const struct cell *c, enum who who, const char *prefix)
{
	static const struct {
		char letter;
		enum policy_access access;
		bool retain;
	} ways[] = {
		{'r', POLICY_READ, false},
		{'w', POLICY_WRITE, false},
		{'W', POLICY_WRITE, true},
		{'s', POLICY_SUBSCRIBE, false},
	};
	char topic[512] = "";

	for (const char *at = c->topic; *at; at++) {
		size_t n = strlen(topic);
		if (*at == '%')
			snprintf(topic + n, sizeof topic - n, "%s", prefix);
		if (*at == '%')
			at++;
		else
			topic[n] = *at;
	}
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		struct policy_request r = {
			.username = people[who].username,
			.client_id = people[who].client_id,
			.access = ways[i].access,
			.topic = topic,
			.retain = ways[i].retain,
			.len = 10,
		};
		bool expected = strchr(c->may[who], ways[i].letter) != NULL;
		if (policy_allows(&r) != expected)
			fail_msg("%s: '%c' on '%s' should be %s", people[who].client_id,
				 ways[i].letter, topic, expected ? "allowed" : "refused");
	}
}

static void allows_exactly_the_table(void **unused)
{
	char prefix[TOPIC_MAX];

	(void)unused;
	assert_int_equal(topic_for(TOPIC_HEAD, "alice", NULL, prefix, NULL), NE_OK);
	*strrchr(prefix, '/') = '\0';
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		for (enum who who = 0; who < N_WHO; who++)
			check(&table[i], who, prefix);
}

static void refuses_nameless_and_foreign_sources(void **unused)
{
	char topic[TOPIC_MAX];
	static const struct {
		const char *username, *client_id;
	} odd[] = {
		{NULL, "alice/d1"},    {"alice", NULL},	    {"alice", "bob/d1"},
		{"alice", "alice"},    {"alice", "alice/"}, {"alice", "alice/d1/x"},
		{"ali", "alice/d1"},   {"", "/d1"},	    {"neapd", "neapd/d1"},
		{"alice", "alice/.."},
	};

	(void)unused;
	assert_int_equal(topic_for(TOPIC_UP, "alice", "d1", topic, NULL), NE_OK);
	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		struct policy_request r = {
			odd[i].username, odd[i].client_id, POLICY_WRITE, topic, false, 1};
		assert_false(policy_allows(&r));
	}
}

static void presence_is_short(void **unused)
{
	char topic[TOPIC_MAX];

	(void)unused;
	assert_int_equal(topic_for(TOPIC_PRESENCE, "alice", "d1", topic, NULL), NE_OK);
	struct policy_request r = {"alice", "alice/d1", POLICY_WRITE,
				   topic,   true,	POLICY_PRESENCE_MAX};
	assert_true(policy_allows(&r));
	r.len++;
	assert_false(policy_allows(&r));
}

static void backend_needs_its_certificate(void **unused)
{
	(void)unused;
	assert_true(policy_is_backend("$neapd", "$neapd", "$neapd/0-255"));
	assert_false(policy_is_backend(NULL, "$neapd", "$neapd/0-255"));
	assert_false(policy_is_backend("other", "$neapd", "$neapd/0-255"));
	assert_false(policy_is_backend("$neapd", "alice", "$neapd/0-255"));
	assert_false(policy_is_backend("$neapd", "$neapd", "alice/d1"));
	assert_false(policy_is_backend("$neapd", NULL, "$neapd/0-255"));
	assert_false(policy_is_backend("$neapd", "$neapd", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allows_exactly_the_table),
		cmocka_unit_test(refuses_nameless_and_foreign_sources),
		cmocka_unit_test(presence_is_short),
		cmocka_unit_test(backend_needs_its_certificate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
