#include "protocol/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void round_trip(enum topic_kind kind, const char *peer, const char *want)
{
	char text[TOPIC_MAX];
	struct topic t;
	struct err e;

	assert_int_equal(topic_for(kind, "alice", peer, text, &e), 0);
	assert_string_equal(text, want);
	assert_int_equal(topic_parse(slice_str(text), &t, &e), 0);
	assert_int_equal(t.kind, kind);
	assert_int_equal(t.shard, 0x2b);
	assert_string_equal(t.user.at, "alice");
	assert_string_equal(t.peer.at, peer ? peer : "");
}

static void test_round_trips(void **state)
{
	(void)state;
	round_trip(TOPIC_UP, "d1", "neap/v1/2b/alice/d1/up");
	round_trip(TOPIC_DOWN, "d1", "neap/v1/2b/alice/d1/down");
	round_trip(TOPIC_PRESENCE, "d1", "neap/v1/2b/alice/d1/presence");
	round_trip(TOPIC_CHANGES, "d1", "neap/v1/2b/alice/changes/d1");
	round_trip(TOPIC_CHANGES, "server", "neap/v1/2b/alice/changes/server");
	round_trip(TOPIC_CHANGES, "up", "neap/v1/2b/alice/changes/up");
	round_trip(TOPIC_HEAD, NULL, "neap/v1/2b/alice/head");
	round_trip(TOPIC_UP, "head", "neap/v1/2b/alice/head/up");
}

static void test_longest_fits(void **state)
{
	char id[65], text[TOPIC_MAX];
	struct err e;
	struct topic t;
	(void)state;
	memset(id, 'x', 64);
	id[64] = 0;
	assert_int_equal(topic_for(TOPIC_PRESENCE, id, id, text, &e), 0);
	assert_int_equal(strlen(text), 8 + 3 + 65 + 65 + 8);
	assert_int_equal(topic_parse(slice_str(text), &t, &e), 0);
	assert_string_equal(t.peer.at, id);
}

static void test_refuses_to_build(void **state)
{
	char text[TOPIC_MAX] = "x", longer[80];
	struct err e;
	(void)state;
	memset(longer, 'x', 65);
	longer[65] = 0;
	const char *const bad[] = {"a/#", "", "+", "#", "neapd", "changes", "a\n", longer};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(topic_for(TOPIC_CHANGES, bad[i], "server", text, &e),
				 NE_MALFORMED);
		assert_string_equal(text, "");
		assert_int_equal(topic_for(TOPIC_UP, "alice", bad[i], text, &e), NE_MALFORMED);
	}
	assert_int_equal(topic_for(TOPIC_UP, "alice", "server", text, &e), NE_MALFORMED);
	assert_int_equal(topic_for(TOPIC_HEAD, "alice", "d1", text, &e), NE_MALFORMED);
	assert_int_equal(topic_for(TOPIC_DOWN, "alice", NULL, text, &e), NE_MALFORMED);
}

static void test_refuses_to_parse(void **state)
{
	const char *const bad[] = {
		"",
		"neap/v1/",
		"neap/v1/2b",
		"neap/v1/2b/alice",
		"neap/v1/2b/alice/",
		"neap/v1/2b/alice/up",
		"neap/v1/2b/alice/d1",
		"neap/v1/2b/alice/d1/",
		"neap/v1/2b/alice/d1/up/",
		"neap/v1/2b/alice/d1/up/x",
		"neap/v1/2b/alice/d1/UP",
		"neap/v1/2b/alice//up",
		"neap/v1/2B/alice/d1/up",
		"neap/v1/2c/alice/d1/up",
		"neap/v1/b/alice/d1/up",
		"neap/v1/02b/alice/d1/up",
		"neap/v2/2b/alice/d1/up",
		"/neap/v1/2b/alice/d1/up",
		"neap/v1/2b/alice/server/up",
		"neap/v1/2b/alice/changes/",
		"neap/v1/2b/alice/changes/#",
		"neap/v1/2b/alice/changes/neapd",
		"neap/v1/2b/alice/changes",
		"neap/v1/2b/alice/head/",
		"neap/v1/2b/alice/+/up",
		"neap/v1/2b/alice/#",
		"$share/g/neap/v1/2b/alice/d1/up",
	};
	struct topic t = {.shard = 99};
	struct err e;
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(topic_parse(slice_str(bad[i]), &t, &e), NE_MALFORMED);
		assert_int_equal(t.shard, 99);
	}
	assert_int_equal(topic_parse(slice_of("neap/v1/2b/alice/d1/up\0", 23), &t, &e),
			 NE_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_longest_fits),
		cmocka_unit_test(test_refuses_to_build),
		cmocka_unit_test(test_refuses_to_parse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
