#include "device/shell/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool readable(struct mailbox *m)
{
	struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void letters_come_in_order_and_the_descriptor_tells(void **state)
{
	struct mailbox *m;
	struct letter *l;

	(void)state;
	assert_int_equal(mailbox_new(&m, NULL), NE_OK);
	assert_false(readable(m));
	assert_null(mailbox_take(m));
	for (uint64_t i = 1; i <= 3; i++)
		assert_true(mailbox_post(m, letter_new(LETTER_SENT, i, 0)));
	for (uint64_t i = 1; i <= 3; i++) {
		assert_true(readable(m));
		l = mailbox_take(m);
		assert_int_equal(l->attempt, i);
		free(l);
	}
	assert_false(readable(m));
	mailbox_free(m);
}

static void messages_over_the_bound_are_dropped_and_notices_are_not(void **state)
{
	struct mailbox *m;
	size_t taken = 0;

	(void)state;
	assert_int_equal(mailbox_new(&m, NULL), NE_OK);
	while (mailbox_post(m, letter_new(LETTER_MESSAGE, 1, LIMIT_MESSAGE)))
		assert_true(++taken < MAILBOX_MESSAGES);
	assert_int_equal(taken, MAILBOX_BYTES / LIMIT_MESSAGE);
	assert_int_equal(mailbox_dropped(m), 1);
	assert_true(mailbox_post(m, letter_new(LETTER_LOST, 1, 0)));
	/* Room again once one was taken. */
	free(mailbox_take(m));
	assert_true(mailbox_post(m, letter_new(LETTER_MESSAGE, 1, LIMIT_MESSAGE)));
	mailbox_free(m);
}

static void many_small_messages_are_bounded_too(void **state)
{
	struct mailbox *m;
	size_t taken = 0;

	(void)state;
	assert_int_equal(mailbox_new(&m, NULL), NE_OK);
	while (mailbox_post(m, letter_new(LETTER_MESSAGE, 1, 1)))
		taken++;
	assert_int_equal(taken, MAILBOX_MESSAGES);
	mailbox_free(m);
}

static void a_letter_larger_than_a_message_is_not_made(void **state)
{
	struct mailbox *m;

	(void)state;
	assert_int_equal(mailbox_new(&m, NULL), NE_OK);
	assert_null(letter_new(LETTER_MESSAGE, 1, LIMIT_MESSAGE + 1));
	assert_false(mailbox_post(m, NULL));
	assert_int_equal(mailbox_dropped(m), 1);
	mailbox_free(m);
}

enum { EACH = 20000 };

static void *post_many(void *ctx)
{
	for (int i = 0; i < EACH; i++)
		mailbox_post(ctx, letter_new(LETTER_SENT, 1, 0));
	return NULL;
}

static void two_threads_lose_nothing(void **state)
{
	struct mailbox *m;
	pthread_t thread[2];
	size_t n = 0;

	(void)state;
	assert_int_equal(mailbox_new(&m, NULL), NE_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, post_many, m), 0);
	while (n < 2 * EACH) {
		struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
		assert_int_equal(poll(&p, 1, 10000), 1);
		struct letter *l;
		while ((l = mailbox_take(m)) != NULL) {
			free(l);
			n++;
		}
	}
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_false(readable(m));
	mailbox_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters_come_in_order_and_the_descriptor_tells),
		cmocka_unit_test(messages_over_the_bound_are_dropped_and_notices_are_not),
		cmocka_unit_test(many_small_messages_are_bounded_too),
		cmocka_unit_test(a_letter_larger_than_a_message_is_not_made),
		cmocka_unit_test(two_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
