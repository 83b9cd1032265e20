#include "device/shell/pollset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static bool ready(const struct pollset *s)
{
	struct pollfd p = {.fd = pollset_fd(s), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static int signalled(void)
{
	int fd = eventfd(1, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void one_descriptor_stands_for_those_watched(void **state)
{
	struct pollset *s;
	int a = signalled(), b = eventfd(0, EFD_CLOEXEC);
	struct pollfd fds[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};

	(void)state;
	assert_int_equal(pollset_new(&s, NULL), NE_OK);
	int fd = pollset_fd(s);
	assert_false(ready(s));
	assert_int_equal(pollset_watch(s, fds + 1, 1, NULL), NE_OK);
	assert_false(ready(s));
	assert_int_equal(pollset_watch(s, fds, 2, NULL), NE_OK);
	assert_true(ready(s));
	assert_int_equal(pollset_watch(s, fds + 1, 1, NULL), NE_OK);
	assert_false(ready(s));
	fds[1].events = POLLOUT;
	assert_int_equal(pollset_watch(s, fds + 1, 1, NULL), NE_OK);
	assert_true(ready(s));
	assert_int_equal(pollset_watch(s, NULL, 0, NULL), NE_OK);
	assert_false(ready(s));
	assert_int_equal(pollset_fd(s), fd);
	pollset_free(s);
	close(a);
	close(b);
}

/* What a forked child keeps open would stay in a plain epoll set after a close here. */
static void a_closed_descriptor_leaves_no_trace(void **state)
{
	struct pollset *s;
	int a = signalled(), childs = dup(a);
	struct pollfd p = {.fd = a, .events = POLLIN};

	(void)state;
	assert_int_equal(pollset_new(&s, NULL), NE_OK);
	assert_int_equal(pollset_watch(s, &p, 1, NULL), NE_OK);
	close(a);
	assert_true(ready(s));
	assert_int_equal(pollset_watch(s, NULL, 0, NULL), NE_OK);
	assert_false(ready(s));
	pollset_free(s);
	close(childs);
}

static void what_is_no_descriptor_changes_nothing(void **state)
{
	struct pollset *s;
	int a = signalled();
	struct pollfd good = {.fd = a, .events = POLLIN}, bad = {.fd = -1, .events = POLLIN};
	struct err e = {0};

	(void)state;
	assert_int_equal(pollset_new(&s, NULL), NE_OK);
	assert_int_equal(pollset_watch(s, &good, 1, NULL), NE_OK);
	assert_int_equal(pollset_watch(s, &bad, 1, &e), NE_INTERNAL);
	assert_true(ready(s));
	pollset_free(s);
	pollset_free(NULL);
	close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_descriptor_stands_for_those_watched),
		cmocka_unit_test(a_closed_descriptor_leaves_no_trace),
		cmocka_unit_test(what_is_no_descriptor_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
