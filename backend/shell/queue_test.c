#include "backend/shell/queue.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct up_message *message(const char *user, const char *device, size_t len)
{
	static const uint8_t zeros[65536];
	struct topic t = {.kind = TOPIC_UP};
	strcpy(t.user.at, user);
	strcpy(t.peer.at, device);
	struct up_message *m = up_message_new(&t, slice_of(zeros, len));
	assert_non_null(m);
	return m;
}

static bool push(struct queue *q, const char *user, const char *device, size_t len)
{
	struct up_message *m = message(user, device, len);
	bool ok = queue_push(q, m);
	if (!ok)
		free(m);
	return ok;
}

static void keeps_order_within_a_user(void **unused)
{
	struct queue *q;
	char device[8] = "d0";

	(void)unused;
	assert_int_equal(queue_new(&q, 100, 1 << 20), NE_OK);
	for (char c = '0'; c <= '9'; c++) {
		device[1] = c;
		assert_true(push(q, "u", device, 20000));
	}
	for (char c = '0'; c <= '9'; c++) {
		struct up_message *m = queue_pop(q);
		assert_int_equal(m->device.at[1], c);
		free(m);
	}
	queue_free(q);
}

static void small_user_does_not_wait_for_a_flood(void **unused)
{
	struct queue *q;
	int before = 0;

	(void)unused;
	assert_int_equal(queue_new(&q, 1000, 64 << 20), NE_OK);
	for (int i = 0; i < 400; i++)
		assert_true(push(q, "flood", "d", 16000));
	assert_true(push(q, "small", "d", 100));
	for (;;) {
		struct up_message *m = queue_pop(q);
		bool small = strcmp(m->user.at, "small") == 0;
		free(m);
		if (small)
			break;
		before++;
	}
	assert_in_range(before, 0, 2);
	queue_free(q);
}

static void shares_bytes_not_messages(void **unused)
{
	struct queue *q;
	size_t big = 0, little = 0;

	(void)unused;
	assert_int_equal(queue_new(&q, 4000, 64 << 20), NE_OK);
	for (int i = 0; i < 900; i++) {
		assert_true(push(q, "big", "d", 16000));
		assert_true(push(q, "little", "d", 4100));
	}
	for (int i = 0; i < 300; i++) {
		struct up_message *m = queue_pop(q);
		*(strcmp(m->user.at, "big") == 0 ? &big : &little) += m->len;
		free(m);
	}
	assert_true(big < little + little / 4 && little < big + big / 4);
	queue_free(q);
}

/* Questions are small and bring as much work as sets: many of them do not crowd out anybody. */
static void small_ones_cost_as_much(void **unused)
{
	struct queue *q;
	size_t asks = 0, sets = 0;

	(void)unused;
	assert_int_equal(queue_new(&q, 4000, 64 << 20), NE_OK);
	for (int i = 0; i < 900; i++) {
		assert_true(push(q, "asks", "d", 100));
		assert_true(push(q, "sets", "d", 4000));
	}
	for (int i = 0; i < 400; i++) {
		struct up_message *m = queue_pop(q);
		*(strcmp(m->user.at, "asks") == 0 ? &asks : &sets) += 1;
		free(m);
	}
	assert_in_range(asks, 190, 210);
	assert_in_range(sets, 190, 210);
	queue_free(q);
}

static void bounds(void **unused)
{
	struct queue *q;
	struct queue_depth d;

	(void)unused;
	assert_int_equal(queue_new(&q, 8, 1000), NE_OK);
	for (int i = 0; i < 7; i++)
		assert_true(push(q, "one", "d", 10));
	/* Another user gets in; from then on the first is above its quarter. */
	assert_true(push(q, "two", "d", 10));
	assert_false(push(q, "three", "d", 10));
	free(queue_pop(q));
	assert_false(push(q, "one", "d", 10));
	assert_false(push(q, "three", "d", 2000));
	assert_true(push(q, "three", "d", 10));
	queue_look(q, &d);
	assert_int_equal(d.messages, 8);
	assert_int_equal(d.bytes, 80);
	queue_close(q);
	assert_false(push(q, "four", "d", 1));
	for (int i = 0; i < 8; i++) {
		struct up_message *m = queue_pop(q);
		assert_non_null(m);
		free(m);
	}
	assert_null(queue_pop(q));
	queue_free(q);
}

static void *pop_all(void *arg)
{
	size_t *n = calloc(1, sizeof *n);
	for (struct up_message *m; (m = queue_pop(arg)); ++*n)
		free(m);
	return n;
}

static void hands_over_between_threads(void **unused)
{
	struct queue *q;
	pthread_t thread[2];
	size_t taken = 0, sent = 0;

	(void)unused;
	assert_int_equal(queue_new(&q, 64, 1 << 20), NE_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, pop_all, q), 0);
	for (int i = 0; i < 20000; i++)
		sent += push(q, i % 3 ? "a" : "b", "d", 100);
	queue_close(q);
	for (int i = 0; i < 2; i++) {
		void *n;
		pthread_join(thread[i], &n);
		taken += *(size_t *)n;
		free(n);
	}
	assert_int_equal(taken, sent);
	queue_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_order_within_a_user),
		cmocka_unit_test(small_user_does_not_wait_for_a_flood),
		cmocka_unit_test(shares_bytes_not_messages),
		cmocka_unit_test(small_ones_cost_as_much),
		cmocka_unit_test(bounds),
		cmocka_unit_test(hands_over_between_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
