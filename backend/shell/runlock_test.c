#include "backend/shell/runlock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/shell/status.h"

static int set_up(void **state)
{
	static struct config c;
	strcpy(c.run_dir, "/tmp/neap_run.XXXXXX");
	assert_non_null(mkdtemp(c.run_dir));
	*state = &c;
	return 0;
}

static int tear_down(void **state)
{
	struct config *c = *state;
	char path[sizeof c->run_dir + 32];
	snprintf(path, sizeof path, "%s/neapd.lock", c->run_dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/neapd.sock", c->run_dir);
	unlink(path);
	return rmdir(c->run_dir);
}

static void one_at_a_time(void **state)
{
	struct err e = {0};
	int first, second;

	assert_int_equal(runlock_take(*state, &first, &e), NE_OK);
	assert_int_equal(runlock_take(*state, &second, &e), NE_LOCKED);
	assert_non_null(strstr(e.text, "already running"));
	close(first);
	assert_int_equal(runlock_take(*state, &second, &e), NE_OK);
	close(second);
}

static void status_without_a_neapd(void **state)
{
	struct buf json = {.max = 4096};
	struct err e = {0};
	int fd;

	assert_int_equal(serve_status(*state, &json, &e), NE_UNREACHABLE);
	/* Nor is a socket that a killed one left. */
	assert_int_equal(status_listen(*state, &fd, &e), NE_OK);
	close(fd);
	assert_int_equal(serve_status(*state, &json, &e), NE_UNREACHABLE);
	assert_int_equal(status_listen(*state, &fd, &e), NE_OK);
	close(fd);
	buf_free(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_at_a_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(status_without_a_neapd, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
