/* Many refreshes at once: all are served, and none waits for a password. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/auth/auth_db.h"
#include "backend/auth/testing.h"

#ifdef __SANITIZE_THREAD__
enum { FLEET = 1000 }; /* to find races a tenth is enough; all of them would take a minute */
#else
enum { FLEET = 10000 };
#endif
enum { THREADS = 16 };

static struct testing t;
static struct fleet {
	char token[REFRESH_TOKEN_LEN + 1];
} * fleet;
static atomic_int next, served, refused;

static int begin(void **state)
{
	(void)state;
	testing_begin(&t);
	fleet = calloc(FLEET, sizeof *fleet);
	assert_non_null(fleet);
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(fleet);
	testing_end(&t);
	return 0;
}

/* As logins would leave it, without their password hashes. */
static int log_all_in(struct err *e)
{
	struct auth_session s = {0};
	struct auth_denial why;
	int64_t iat_s;

	TRY(id_set(&s.user, slice_str("anna"), "user", e));
	for (int i = 0; i < FLEET; i++) {
		snprintf(s.device.at, sizeof s.device.at, "d%d", i);
		TRY(session_begin(t.auth, &s, &why, &iat_s, e));
		memcpy(fleet[i].token, s.refresh, sizeof s.refresh);
	}
	return 0;
}

static void *refresh_some(void *ctx)
{
	struct auth_session s;
	struct auth_denial why;
	struct err e;

	(void)ctx;
	for (int i; (i = atomic_fetch_add(&next, 1)) < FLEET;) {
		int rc = auth_refresh(t.auth, slice_str(fleet[i].token), &s, &why, &e);
		atomic_fetch_add(rc ? &refused : &served, 1);
		if (!rc)
			memcpy(fleet[i].token, s.refresh, sizeof s.refresh);
	}
	return NULL;
}

static void t09_ten_thousand_at_once_are_served_without_a_password_hash(void **state)
{
	pthread_t thread[THREADS];
	struct err e;

	(void)state;
	assert_int_equal(auth_begin(t.auth, &e), 0);
	assert_int_equal(auth_end(t.auth, log_all_in(&e), &e), 0);
	/* Whoever needed a password hash now would wait for ever. */
	pthread_mutex_lock(&t.auth->gate.lock);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, refresh_some, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(refused, 0);
	assert_int_equal(served, FLEET);
	pthread_mutex_unlock(&t.auth->gate.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			t09_ten_thousand_at_once_are_served_without_a_password_hash, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
