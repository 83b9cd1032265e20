#include "backend/auth/deadline.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void sockets_end_and_removed_ones_do_not(void **state)
{
	struct deadline d;
	struct err e;
	int late[2], gone[2];
	char c;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, late), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, gone), 0);
	assert_int_equal(deadline_start(&d, 50, &e), 0);
	struct deadline_node *removed = deadline_add(&d, gone[0]);
	struct deadline_node *node = deadline_add(&d, late[0]);
	assert_non_null(removed);
	assert_non_null(node);
	deadline_remove(&d, removed);

	/* Blocks until the thread has shut it down: end of file on the other side. */
	assert_int_equal(poll(&(struct pollfd){late[1], POLLIN, 0}, 1, 10000), 1);
	assert_int_equal(read(late[1], &c, 1), 0);
	assert_int_equal(poll(&(struct pollfd){gone[1], POLLIN, 0}, 1, 0), 0);

	deadline_remove(&d, node);
	deadline_remove(&d, NULL);
	deadline_stop(&d);
	for (int i = 0; i < 2; i++) {
		close(late[i]);
		close(gone[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sockets_end_and_removed_ones_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
