/* The thread rules of neap.h, for the thread sanitizer above all. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "device/shell/neap_fixture.h"

enum { RESTARTS = 100, CROWDED_RESTARTS = 25, THREADS = 4, OWN_RESTARTS = 10 };

struct busy {
	neap *n;
	atomic_bool stop;
	atomic_uint calls, bad;
	atomic_int worst;
};

/* What may happen to a call while someone else starts and stops. */
static void note(struct busy *b, int code)
{
	atomic_fetch_add(&b->calls, 1);
	if (code != NEAP_OK && code != NEAP_UNREACHABLE && code != NEAP_LOCKED) {
		atomic_fetch_add(&b->bad, 1);
		atomic_store(&b->worst, code);
	}
}

static void *ask_status(void *ctx)
{
	struct busy *b = ctx;
	struct neap_status s = {.size = sizeof s};

	while (!atomic_load(&b->stop)) {
		int code = neap_status(b->n, &s);
		/* The sentence is this thread's, whatever the others do. */
		if ((code == NEAP_OK) != (*neap_error(b->n) == '\0'))
			code = NEAP_INTERNAL;
		note(b, code);
	}
	return NULL;
}

static void *ask_sync(void *ctx)
{
	struct busy *b = ctx;

	while (!atomic_load(&b->stop)) {
		int code = neap_sync(b->n, 20);
		if (!strstr(neap_error(b->n), code == NEAP_OK ? "" : " "))
			code = NEAP_INTERNAL;
		note(b, code);
	}
	return NULL;
}

static void *ask_track(void *ctx)
{
	struct busy *b = ctx;

	while (!atomic_load(&b->stop)) {
		note(b, neap_track(b->n, "t", NULL));
		note(b, neap_on_change(b->n, "t", NULL, NULL) == NEAP_INTERNAL ? NEAP_INTERNAL
									       : NEAP_OK);
	}
	return NULL;
}

static void restart(neap *n, bool others_sync)
{
	int code = neap_start(n);

	/* A neap_sync of another thread may have an engine of its own just then. */
	if (!others_sync)
		assert_int_equal(code, NEAP_OK);
	else
		assert_true(code == NEAP_OK || code == NEAP_LOCKED);
	assert_int_equal(neap_stop(n), NEAP_OK);
}

static void started_and_stopped_a_hundred_times(void **state)
{
	neap *n = opened();
	struct neap_status s = {.size = sizeof s};

	(void)state;
	for (int i = 0; i < RESTARTS; i++)
		restart(n, false);
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_string_equal(s.state, "stopped");
	assert_int_equal(neap_close(n), NEAP_OK);
}

static void all_from_many_threads_while_it_starts_and_stops(void **state)
{
	void *(*const work[THREADS])(void *) = {ask_status, ask_status, ask_sync, ask_track};
	struct busy b = {.n = opened()};
	pthread_t thread[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work[i], &b), 0);
	for (int i = 0; i < CROWDED_RESTARTS || atomic_load(&b.calls) < 4 * THREADS; i++)
		restart(b.n, true);
	atomic_store(&b.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&b.worst), 0);
	assert_int_equal(atomic_load(&b.bad), 0);
	assert_int_equal(neap_close(b.n), NEAP_OK);
}

static void *sync_long(void *ctx)
{
	struct busy *b = ctx;

	atomic_fetch_add(&b->calls, 1);
	atomic_store(&b->worst, neap_sync(b->n, 3000));
	return NULL;
}

/* Whoever waits in a sync hears of the stop, or goes on with an engine of its own until its time.
 */
static void stopped_while_others_sync(void **state)
{
	struct busy b = {.n = opened()};
	pthread_t thread[THREADS];

	(void)state;
	assert_int_equal(neap_start(b.n), NEAP_OK);
	assert_int_equal(neap_track(b.n, "t", NULL), NEAP_OK);
	write_row(1);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, sync_long, &b), 0);
	while (atomic_load(&b.calls) < THREADS)
		;
	assert_int_equal(neap_stop(b.n), NEAP_OK);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&b.worst), NEAP_UNREACHABLE);
	assert_int_equal(neap_close(b.n), NEAP_OK);
}

struct own {
	char path[160];
	int wrong;
};

static void *own_handle(void *ctx)
{
	struct own *o = ctx;
	struct neap_status s = {.size = sizeof s};
	neap *n;

	for (int i = 0; i < OWN_RESTARTS; i++) {
		o->wrong += neap_open(o->path, &n) != NEAP_OK;
		o->wrong += neap_track(n, "t", NULL) != NEAP_OK;
		o->wrong += neap_track(n, "absent", NULL) != NEAP_NOT_FOUND;
		o->wrong += !strstr(neap_error(n), "absent");
		o->wrong += neap_start(n) != NEAP_OK;
		o->wrong += neap_status(n, &s) != NEAP_OK;
		o->wrong += neap_sync(n, 30) != NEAP_UNREACHABLE;
		o->wrong += neap_close(n) != NEAP_OK;
	}
	return NULL;
}

static void a_handle_per_thread(void **state)
{
	struct own o[THREADS];
	pthread_t thread[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		o[i].wrong = 0;
		snprintf(o[i].path, sizeof o[i].path, "%s/own%d.db", dir, i);
		assert_int_equal(make_db_at(o[i].path), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, own_handle, &o[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(o[i].wrong, 0);
	}
}

static pthread_t handled_by;
static atomic_uint handled;

static void on_signal(int sig)
{
	(void)sig;
	handled_by = pthread_self();
	atomic_fetch_add(&handled, 1);
}

/* With the app's only thread blocking it, a signal waits: none of ours takes it. */
static void signals_are_the_apps(void **state)
{
	struct sigaction act = {.sa_handler = on_signal}, before;
	sigset_t usr1, old;
	neap *n = opened();
	struct neap_status s = {.size = sizeof s};

	(void)state;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigaction(SIGUSR1, &act, &before);
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(neap_sync(n, 300), NEAP_UNREACHABLE); /* the client's threads run */
	pthread_sigmask(SIG_BLOCK, &usr1, &old);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(neap_status(n, &s), NEAP_OK); /* the loop goes round */
	assert_int_equal(atomic_load(&handled), 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	assert_int_equal(atomic_load(&handled), 1);
	assert_true(pthread_equal(handled_by, pthread_self()));
	sigaction(SIGUSR1, &before, NULL);
	assert_int_equal(neap_close(n), NEAP_OK);
}

int main(void)
{
	/* The signals first: the client's threads are made once a process. */
	const struct CMUnitTest tests[] = {
		WITH_DB(signals_are_the_apps),
		WITH_DB(started_and_stopped_a_hundred_times),
		WITH_DB(all_from_many_threads_while_it_starts_and_stops),
		WITH_DB(stopped_while_others_sync),
		WITH_DB(a_handle_per_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
