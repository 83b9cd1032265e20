#include "device/shell/secret.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[128], other[128];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/neap-secret-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/app.db.neap-secret", dir);
	snprintf(other, sizeof other, "%s/other", dir);
	return 0;
}

static int drop_dir(void **state)
{
	(void)state;
	unlink(path);
	unlink(other);
	return rmdir(dir);
}

static struct secret *filled(void)
{
	struct secret *s = secret_new();

	assert_non_null(s);
	strcpy(s->server, "https://h:1");
	strcpy(s->ca, "-----BEGIN CERTIFICATE-----");
	s->got_ms = 1790000000000;
	strcpy(s->grant.user.at, "u");
	strcpy(s->grant.device.at, "d");
	strcpy(s->grant.access, "a.b.c");
	s->grant.life_s = 3600;
	s->grant.server_ms = 5;
	strcpy(s->grant.refresh, "r");
	memset(s->grant.message.at, 0xab, KEY_LEN);
	memset(s->grant.group.at, 0xff, KEY_LEN);
	s->grant.message_epoch = 1;
	s->grant.group_epoch = UINT32_MAX;
	strcpy(s->grant.broker_host, "b");
	s->grant.broker_port = 1;
	strcpy(s->grant.broker_ca, "-----BEGIN CERTIFICATE-----\n");
	return s;
}

static void it_reads_back_and_is_for_the_owner_alone(void **state)
{
	struct secret *a = filled(), *b = secret_new();
	struct err e = {0};
	struct stat st;

	(void)state;
	assert_int_equal(secret_save(path, a, &e), NE_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(secret_load(path, b, &e), NE_OK);
	assert_memory_equal(a, b, sizeof *a);
	/* Over an old one as well. */
	strcpy(a->grant.refresh, "r2");
	assert_int_equal(secret_save(path, a, &e), NE_OK);
	assert_int_equal(secret_load(path, b, &e), NE_OK);
	assert_string_equal(b->grant.refresh, "r2");
	secret_drop(a);
	secret_drop(b);
}

static void a_missing_one_asks_for_login(void **state)
{
	struct secret *s = secret_new();
	struct err e = {0};

	(void)state;
	assert_int_equal(secret_load(other, s, &e), NE_LOGIN);
	assert_non_null(strstr(e.text, "neap init"));
	secret_drop(s);
}

static void an_open_one_and_a_link_are_refused(void **state)
{
	struct secret *s = filled();
	struct err e = {0};

	(void)state;
	assert_int_equal(secret_save(path, s, &e), NE_OK);
	assert_int_equal(symlink(path, other), 0);
	assert_int_equal(secret_load(other, s, &e), NE_USAGE);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(secret_load(path, s, &e), NE_USAGE);
	assert_int_equal(chmod(path, 0604), 0);
	assert_int_equal(secret_load(path, s, &e), NE_USAGE);
	secret_drop(s);
}

static void a_damaged_one_is_told_and_changes_nothing(void **state)
{
	struct secret *s = filled(), *before = filled();
	struct err e = {0};
	char text[8192];

	(void)state;
	assert_int_equal(secret_save(path, s, &e), NE_OK);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	size_t n = fread(text, 1, sizeof text, f);
	fclose(f);
	/* Cut off at every length. The last byte is the closing brace. */
	for (size_t cut = 0; cut < n; cut += 37) {
		assert_int_equal(truncate(path, 0), 0);
		f = fopen(path, "w");
		assert_int_equal(fwrite(text, 1, cut, f), cut);
		fclose(f);
		assert_int_equal(secret_load(path, s, &e), NE_LOGIN);
		assert_memory_equal(s, before, sizeof *s);
	}
	secret_drop(s);
	secret_drop(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_reads_back_and_is_for_the_owner_alone, make_dir,
						drop_dir),
		cmocka_unit_test_setup_teardown(a_missing_one_asks_for_login, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(an_open_one_and_a_link_are_refused, make_dir,
						drop_dir),
		cmocka_unit_test_setup_teardown(a_damaged_one_is_told_and_changes_nothing, make_dir,
						drop_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
