#include "backend/auth/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"

static char dir[64], path[128];

static int begin(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/neap-config-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/neapd.conf", dir);
	return 0;
}

static int end(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

#define REQUIRED                                                                               \
	"\"login_certificate\": \"a.pem\", \"login_key\": \"/b.pem\", \"device_broker\": "     \
	"\"broker.example:8883\", \"device_broker_ca\": \"c.pem\", \"broker_ca\": \"d.pem\", " \
	"\"broker_certificate\": \"e.pem\", \"broker_key\": \"f.pem\""

static int read_text(const char *text, struct config *c, struct err *e)
{
	struct err ignored;

	assert_int_equal(file_replace(path, slice_str(text), FILE_SECRET, &ignored), 0);
	return config_read(path, c, e);
}

static void paths_are_beside_the_file_and_the_rest_has_defaults(void **state)
{
	struct config c;
	char want[128];
	struct err e = {0};

	(void)state;
	assert_int_equal(read_text("{" REQUIRED "}", &c, &e), 0);
	snprintf(want, sizeof want, "%s/a.pem", dir);
	assert_string_equal(c.login_cert, want);
	assert_string_equal(c.login_key, "/b.pem");
	assert_string_equal(c.listen_host, "127.0.0.1");
	assert_int_equal(c.listen_port, 8443);
	assert_int_equal(c.conflict_keep_s, 90 * 24 * 3600);
	assert_int_equal(c.conflicts_per_user, 100000);
	assert_int_equal(c.conflict_bytes_per_user, 64 * 1024 * 1024);
	assert_string_equal(c.device_broker_host, "broker.example");
	assert_int_equal(c.broker_port, 8884);
	assert_int_equal(c.token_life_s, 3600);
	assert_int_equal(c.shard_lo, 0);
	assert_int_equal(c.shard_hi, 255);
	snprintf(want, sizeof want, "%s/data/store.db", dir);
	assert_string_equal(c.store, want);
}

static void what_is_given_counts(void **state)
{
	struct config c;
	struct err e;

	(void)state;
	assert_int_equal(read_text("{" REQUIRED ", \"listen\": \"[::1]:0\", \"token_life_s\": 2, "
				   "\"shards\": \"40-7f\"}",
				   &c, &e),
			 0);
	assert_string_equal(c.listen_host, "::1");
	assert_int_equal(c.listen_port, 0);
	assert_int_equal(c.token_life_s, 2);
	assert_int_equal(c.shard_lo, 0x40);
	assert_int_equal(c.shard_hi, 0x7f);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *text, *named;
	} bad[] = {
		{"{}", "login_certificate"},
		{"[]", "object"},
		{"{" REQUIRED, "line 1"},
		{"{" REQUIRED ", \"listne\": \"x:1\"}", "listne"},
		{"{" REQUIRED ", \"store\": \"a\", \"store\": \"b\"}", "store"},
		{"{" REQUIRED ", \"store\": 1}", "store"},
		{"{" REQUIRED ", \"store\": \"\"}", "store"},
		{"{" REQUIRED ", \"listen\": \"localhost\"}", "localhost"},
		{"{" REQUIRED ", \"listen\": \"a:65536\"}", "a:65536"},
		{"{" REQUIRED ", \"listen\": \"a:-1\"}", "a:-1"},
		{"{" REQUIRED ", \"listen\": \"::1:80\"}", "::1:80"},
		{"{" REQUIRED ", \"listen\": \":80\"}", ":80"},
		{"{" REQUIRED ", \"token_life_s\": 7200}", "token_life_s"},
		{"{" REQUIRED ", \"token_life_s\": \"60\"}", "token_life_s"},
		{"{" REQUIRED ", \"token_life_s\": 60.5}", "token_life_s"},
		{"{" REQUIRED ", \"shards\": \"80-7f\"}", "80-7f"},
		{"{" REQUIRED ", \"shards\": \"all\"}", "all"},
	};
	struct config c;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(read_text(bad[i].text, &c, &e), NE_USAGE);
		assert_non_null(strstr(e.text, path));
		if (!strstr(e.text, bad[i].named))
			fail_msg("\"%s\" is not in: %s", bad[i].named, e.text);
	}
	assert_int_equal(config_read("/nowhere/neapd.conf", &c, &e), NE_NOT_FOUND);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(paths_are_beside_the_file_and_the_rest_has_defaults),
		T(what_is_given_counts),
		T(mistakes_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
