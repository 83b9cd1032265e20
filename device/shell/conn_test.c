#include "device/shell/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint32_t dice; /* what the next draws return */

static uint32_t roll(void *ctx)
{
	(void)ctx;
	return dice;
}

enum { LIFE = 3600 * 1000 };

static struct conn begun(uint64_t left_ms, enum conn_order expect)
{
	struct conn c;

	dice = 0;
	conn_init(&c, roll, NULL);
	assert_int_equal(conn_start(&c, 1000, left_ms, LIFE), expect);
	return c;
}

static struct conn up(void)
{
	struct conn c = begun(LIFE, CONN_CONNECT);

	conn_link_up(&c, 2000);
	assert_int_equal(c.state, CONN_UP);
	return c;
}

static void a_good_token_connects_at_once(void **state)
{
	struct conn c = up();

	(void)state;
	assert_int_equal(c.problem, NE_OK);
}

static void an_old_token_is_refreshed_first(void **state)
{
	(void)state;
	for (uint64_t left = 0; left <= CONN_TOKEN_SLACK_MS; left += CONN_TOKEN_SLACK_MS) {
		struct conn c = begun(left, CONN_REFRESH);
		assert_int_equal(conn_refreshed(&c, 1500, NE_OK, LIFE, 0), CONN_CONNECT);
		assert_int_equal(c.state, CONN_CONNECTING);
	}
}

static void backoff_doubles_from_1_s_to_60_s_with_full_jitter(void **state)
{
	uint64_t now = 1000;
	struct conn c = begun(LIFE, CONN_CONNECT);
	const uint64_t bounds[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};

	(void)state;
	for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
		dice = (uint32_t)bounds[i]; /* the greatest draw: the bound itself */
		assert_int_equal(conn_link_lost(&c, now, NE_UNREACHABLE), CONN_NOTHING);
		assert_int_equal(c.state, CONN_WAITING);
		assert_int_equal(conn_deadline_ms(&c) - now, bounds[i]);
		assert_int_equal(conn_tick(&c, conn_deadline_ms(&c) - 1), CONN_NOTHING);
		now = conn_deadline_ms(&c);
		dice = 0;
		assert_int_equal(conn_tick(&c, now), CONN_CONNECT);
	}
	/* The smallest draw: no wait at all. A back-off with a floor would bring a fleet back
	 * together. */
	conn_link_lost(&c, now, NE_UNREACHABLE);
	assert_int_equal(conn_deadline_ms(&c), now);
}

static void only_a_steady_connection_forgives(void **state)
{
	struct conn c = up();

	(void)state;
	dice = 1000;
	conn_link_lost(&c, 2000 + CONN_STEADY_MS - 1, NE_UNREACHABLE);
	assert_int_equal(c.attempts, 1);
	assert_int_equal(conn_tick(&c, conn_deadline_ms(&c)), CONN_CONNECT);
	conn_link_up(&c, 200000);
	conn_link_lost(&c, 200000 + 10, NE_UNREACHABLE); /* thrown out at once: two with one id */
	assert_int_equal(c.attempts, 2);
	assert_int_equal(conn_tick(&c, 900000), CONN_CONNECT);
	conn_link_up(&c, 900000);
	conn_link_lost(&c, 900000 + CONN_STEADY_MS, NE_UNREACHABLE);
	assert_int_equal(c.attempts, 1);
}

static void the_token_is_renewed_between_60_and_80_percent(void **state)
{
	(void)state;
	for (uint32_t draw = 0; draw <= LIFE / 5; draw += LIFE / 5) {
		struct conn c;
		dice = draw;
		conn_init(&c, roll, NULL);
		assert_int_equal(conn_start(&c, 1000, LIFE, LIFE), CONN_CONNECT);
		conn_link_up(&c, 1000);
		uint64_t at = conn_deadline_ms(&c) - 1000;
		assert_int_equal(at, draw ? LIFE / 10 * 8 : LIFE / 10 * 6);
		assert_int_equal(conn_tick(&c, 1000 + at - 1), CONN_NOTHING);
		assert_int_equal(conn_tick(&c, 1000 + at), CONN_REFRESH);
		assert_int_equal(c.state, CONN_UP); /* the link stays meanwhile */
		assert_int_equal(conn_tick(&c, 1000 + at + 1), CONN_NOTHING);
		assert_int_equal(conn_refreshed(&c, 1000 + at + 5, NE_OK, LIFE, 0), CONN_CONNECT);
	}
}

static void a_failed_renewal_keeps_the_link(void **state)
{
	struct conn c = up();
	uint64_t at = conn_deadline_ms(&c);

	(void)state;
	assert_int_equal(conn_tick(&c, at), CONN_REFRESH);
	assert_int_equal(conn_refreshed(&c, at, NE_UNREACHABLE, 0, 0), CONN_NOTHING);
	assert_int_equal(c.state, CONN_UP);
	assert_true(conn_deadline_ms(&c) > at);
	assert_int_equal(conn_tick(&c, conn_deadline_ms(&c)), CONN_REFRESH);
	/* Refused: the device is revoked, the link goes down with it. */
	assert_int_equal(conn_refreshed(&c, at + 9999, NE_AUTH, 0, 0), CONN_DISCONNECT);
	assert_int_equal(c.state, CONN_LOGIN);
}

static void a_refused_token_is_refreshed_once_then_waited_for(void **state)
{
	struct conn c = begun(LIFE, CONN_CONNECT);
	uint64_t now = 2000;

	(void)state;
	conn_link_lost(&c, now, NE_AUTH);
	assert_int_equal(conn_tick(&c, now += 60000), CONN_REFRESH);
	assert_int_equal(conn_refreshed(&c, now, NE_OK, LIFE, 0), CONN_CONNECT);
	/* The broker refuses the new one, too: no storm of refreshes. */
	conn_link_lost(&c, now, NE_AUTH);
	assert_int_equal(conn_tick(&c, now += 60000), CONN_CONNECT);
	conn_link_up(&c, now);
	conn_link_lost(&c, now, NE_AUTH); /* a new story */
	assert_int_equal(conn_tick(&c, now += 60000), CONN_REFRESH);
}

static void a_refused_refresh_asks_for_login_and_stops(void **state)
{
	struct conn c = begun(0, CONN_REFRESH);

	(void)state;
	assert_int_equal(conn_refreshed(&c, 2000, NE_AUTH, 0, 0), CONN_NOTHING);
	assert_int_equal(c.state, CONN_LOGIN);
	assert_int_equal(c.problem, NE_AUTH);
	assert_true(conn_deadline_ms(&c) == UINT64_MAX);
	assert_int_equal(conn_poke(&c, 3000), CONN_NOTHING);
	/* A new login starts it again. */
	assert_int_equal(conn_start(&c, 4000, LIFE, LIFE), CONN_CONNECT);
}

static void retry_after_is_honoured(void **state)
{
	struct conn c = begun(0, CONN_REFRESH);

	(void)state;
	dice = 500;
	conn_refreshed(&c, 2000, NE_BUSY, 0, 30000);
	assert_int_equal(conn_deadline_ms(&c), 2000 + 30000 + 500);
	assert_int_equal(conn_poke(&c, 3000), CONN_NOTHING);
	assert_int_equal(conn_tick(&c, conn_deadline_ms(&c)), CONN_REFRESH);
}

static void a_poke_ends_our_own_wait(void **state)
{
	struct conn c = begun(LIFE, CONN_CONNECT);

	(void)state;
	dice = 1000;
	conn_link_lost(&c, 2000, NE_UNREACHABLE);
	assert_int_equal(conn_poke(&c, 2001), CONN_CONNECT);
	assert_int_equal(conn_poke(&c, 2002), CONN_NOTHING);
}

static void a_silent_attempt_is_dropped(void **state)
{
	struct conn c = begun(LIFE, CONN_CONNECT);

	(void)state;
	assert_int_equal(conn_tick(&c, 1000 + CONN_LINK_TIMEOUT_MS), CONN_DISCONNECT);
	assert_int_equal(c.state, CONN_WAITING);
	assert_int_equal(c.problem, NE_TIMEOUT);
	conn_link_up(&c, 90000); /* too late */
	assert_int_equal(c.state, CONN_WAITING);
}

static void a_loss_during_renewal_waits_for_its_answer(void **state)
{
	struct conn c = up();
	uint64_t at = conn_deadline_ms(&c);

	(void)state;
	assert_int_equal(conn_tick(&c, at), CONN_REFRESH);
	assert_int_equal(conn_link_lost(&c, at, NE_UNREACHABLE), CONN_NOTHING);
	assert_int_equal(c.state, CONN_REFRESHING);
	assert_int_equal(conn_refreshed(&c, at + 10, NE_OK, LIFE, 0), CONN_CONNECT);
}

static void an_unknown_key_refreshes_at_most_once_in_5_min(void **state)
{
	struct conn c = up();
	const uint64_t patience = CONN_KEY_WAIT_MS + CONN_KEY_JITTER_MS;

	(void)state;
	conn_unknown_key(&c, 10000, true);
	assert_in_range(conn_deadline_ms(&c), 10000 + CONN_KEY_WAIT_MS, 10000 + patience);
	assert_int_equal(conn_tick(&c, 10000 + patience), CONN_REFRESH);
	assert_int_equal(conn_refreshed(&c, 20001, NE_OK, LIFE, 0), CONN_CONNECT);
	conn_link_up(&c, 20002);
	conn_unknown_key(&c, 20003, true);
	assert_true(conn_deadline_ms(&c) > 10000 + patience + CONN_KEY_REFRESH_MS);
	conn_unknown_key(&c, 10000 + patience + CONN_KEY_REFRESH_MS, true);
	assert_true(conn_deadline_ms(&c) <= 10000 + 2 * patience + CONN_KEY_REFRESH_MS);
}

/* Where a revocation's key comes a moment after the first message under it, nobody refreshes. */
static void a_group_key_that_comes_needs_no_refresh(void **state)
{
	struct conn c = up();
	uint64_t renewal = conn_deadline_ms(&c);

	(void)state;
	conn_unknown_key(&c, 10000, true);
	conn_group_key(&c);
	assert_int_equal(conn_deadline_ms(&c), renewal);
	/* It counts for nothing: the next one is waited for alike. */
	conn_unknown_key(&c, 11000, true);
	assert_true(conn_deadline_ms(&c) < renewal);
	/* A device's own key comes by a refresh alone. */
	conn_unknown_key(&c, 11001, false);
	conn_group_key(&c);
	assert_true(conn_deadline_ms(&c) < renewal);
}

static void it_sleeps_and_wakes_when_asked(void **state)
{
	struct conn c = up();

	(void)state;
	assert_true(conn_may_sleep(&c));
	assert_int_equal(conn_sleep(&c, 5000, 300000), CONN_DISCONNECT);
	assert_int_equal(conn_deadline_ms(&c), 300000);
	/* Time alone does not end it: whoever wakes it has something to ask. */
	assert_int_equal(conn_tick(&c, 300001), CONN_NOTHING);
	assert_int_equal(c.state, CONN_ASLEEP);
	assert_int_equal(conn_poke(&c, 200000), CONN_CONNECT);
	/* An attempt that fails is no reason to wait longer the next time. */
	dice = 800;
	conn_link_lost(&c, 200000, NE_UNREACHABLE);
	assert_int_equal(conn_sleep(&c, 200500, 500000), CONN_NOTHING);
	assert_int_equal(c.attempts, 0);
	assert_int_equal(c.problem, NE_UNREACHABLE);
	assert_int_equal(conn_poke(&c, 500000), CONN_CONNECT);
}

/* Renewed while the link is up a token would cost another connection. */
static void a_sleeper_renews_its_token_before_it_connects(void **state)
{
	struct conn c = up();
	uint64_t due = conn_deadline_ms(&c);

	(void)state;
	conn_sleep(&c, 5000, due - 1);
	assert_int_equal(conn_poke(&c, due - 1), CONN_CONNECT);
	conn_link_up(&c, due - 1);
	conn_sleep(&c, due - 1, due + 1);
	assert_int_equal(conn_poke(&c, due + 1), CONN_REFRESH);
	assert_false(conn_may_sleep(&c));
	/* The login server is away: the old token is still good. */
	dice = 0;
	assert_int_equal(conn_refreshed(&c, due + 2, NE_UNREACHABLE, 0, 0), CONN_NOTHING);
	assert_int_equal(conn_tick(&c, conn_deadline_ms(&c)), CONN_CONNECT);
}

static void a_sleeper_waits_as_long_as_the_server_asked(void **state)
{
	struct conn c = begun(0, CONN_REFRESH);

	(void)state;
	assert_int_equal(conn_refreshed(&c, 2000, NE_BUSY, 0, 60000), CONN_NOTHING);
	assert_int_equal(conn_sleep(&c, 2000, 10000), CONN_NOTHING);
	assert_int_equal(conn_deadline_ms(&c), 62000);
	assert_int_equal(conn_poke(&c, 61999), CONN_NOTHING);
	assert_int_equal(conn_poke(&c, 62000), CONN_REFRESH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_sleeps_and_wakes_when_asked),
		cmocka_unit_test(a_sleeper_renews_its_token_before_it_connects),
		cmocka_unit_test(a_sleeper_waits_as_long_as_the_server_asked),
		cmocka_unit_test(a_good_token_connects_at_once),
		cmocka_unit_test(an_old_token_is_refreshed_first),
		cmocka_unit_test(backoff_doubles_from_1_s_to_60_s_with_full_jitter),
		cmocka_unit_test(only_a_steady_connection_forgives),
		cmocka_unit_test(the_token_is_renewed_between_60_and_80_percent),
		cmocka_unit_test(a_failed_renewal_keeps_the_link),
		cmocka_unit_test(a_refused_token_is_refreshed_once_then_waited_for),
		cmocka_unit_test(a_refused_refresh_asks_for_login_and_stops),
		cmocka_unit_test(retry_after_is_honoured),
		cmocka_unit_test(a_poke_ends_our_own_wait),
		cmocka_unit_test(a_silent_attempt_is_dropped),
		cmocka_unit_test(a_loss_during_renewal_waits_for_its_answer),
		cmocka_unit_test(an_unknown_key_refreshes_at_most_once_in_5_min),
		cmocka_unit_test(a_group_key_that_comes_needs_no_refresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
