/* The loop of the app's own, callbacks, and what is refused. */
#define _GNU_SOURCE /* pthread_tryjoin_np */
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

#include "device/shell/neap_fixture.h"
#include "device/shell/neap_internal.h"

enum { PATIENCE_MS = 20 * 1000 };

/* Runs the loop until the status shows `state`. */
static void loop_until(neap *n, int fd, const char *state)
{
	const uint64_t until_ms = mono_ms() + PATIENCE_MS;
	struct neap_status s = {.size = sizeof s};

	while (strcmp(s.state, state) != 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int wait_ms = -1;

		assert_true(mono_ms() < until_ms);
		assert_int_equal(neap_dispatch(n, &wait_ms), NEAP_OK);
		assert_in_range(wait_ms, 0, 60000);
		assert_int_equal(neap_status(n, &s), NEAP_OK);
		if (strcmp(s.state, state) != 0)
			assert_true(poll(&p, 1, wait_ms) >= 0);
	}
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Until nothing is left that could be done at once. */
static int settle(neap *n, int fd)
{
	int wait_ms;

	do
		assert_int_equal(neap_dispatch(n, &wait_ms), NEAP_OK);
	while (readable(fd) || wait_ms == 0);
	return wait_ms;
}

static void the_apps_loop_does_all_the_work(void **state)
{
	neap *n = opened(), *other = opened();
	int fd;

	(void)state;
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	loop_until(n, fd, "offline");
	/* What is asked directly wakes the loop, so that it looks at the new table. */
	settle(n, fd);
	assert_int_equal(neap_track(n, "t", NULL), NEAP_OK);
	assert_true(readable(fd));
	settle(n, fd);
	/* So does a write by anyone. */
	write_row(1);
	assert_true(readable(fd));
	settle(n, fd);
	/* A sync in the loop's thread dispatches by itself. */
	assert_int_equal(neap_sync(n, 200), NEAP_UNREACHABLE);
	assert_non_null(strstr(neap_error(n), "1 rows are pending"));
	assert_int_equal(neap_dispatch(n, NULL), NEAP_OK);
	assert_int_equal(neap_start(other), NEAP_LOCKED);
	assert_int_equal(neap_stop(n), NEAP_OK);
	assert_int_equal(neap_stop(n), NEAP_OK);
	/* The file is free for another engine, and the handle for another mode. */
	assert_int_equal(neap_start(other), NEAP_OK);
	assert_int_equal(neap_stop(other), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
	assert_int_equal(neap_start(other), NEAP_OK);
	assert_int_equal(neap_close(other), NEAP_OK);
}

static void the_wrong_order_is_refused(void **state)
{
	neap *n = opened();
	int fd = -7;

	(void)state;
	assert_int_equal(neap_stop(n), NEAP_OK);
	assert_int_equal(neap_dispatch(n, NULL), NEAP_USAGE);
	assert_int_equal(neap_poll_begin(n, NULL), NEAP_USAGE);
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_USAGE);
	assert_int_equal(neap_dispatch(n, NULL), NEAP_USAGE);
	assert_int_equal(fd, -7);
	assert_int_equal(neap_stop(n), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_USAGE);
	assert_int_equal(neap_start(n), NEAP_USAGE);
	assert_non_null(strstr(neap_error(n), "neap_stop"));
	assert_int_equal(neap_close(n), NEAP_OK);
}

/* What the options say is in the declaration of the table. */
static void options_of_a_table(void **state)
{
	struct neap_track_options o = NEAP_TRACK_OPTIONS;
	neap *n = opened();
	struct devdb *d;

	(void)state;
	o.uncompressed = 1;
	o.priority = 2;
	o.direction = NEAP_UP;
	assert_int_equal(neap_track(n, "t", &o), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
	assert_int_equal(devdb_open(&d, path, NULL, NULL), 0);
	assert_int_equal(d->n_table, 1);
	assert_true(d->table[0].shape.uncompressed);
	assert_int_equal(d->table[0].shape.direction, DIR_UP);
	assert_int_equal(d->table[0].priority, 2);
	devdb_close(d);
}

static void nulls_are_refused(void **state)
{
	struct neap_track_options small = NEAP_TRACK_OPTIONS;
	struct neap_status s = {.size = sizeof s - 1};
	neap *n = opened(), *none = NULL;

	(void)state;
	assert_int_equal(neap_start(NULL), NEAP_USAGE);
	assert_non_null(strstr(neap_error(NULL), "neap_start"));
	assert_int_equal(neap_stop(NULL), NEAP_USAGE);
	assert_int_equal(neap_sync(NULL, 1), NEAP_USAGE);
	assert_int_equal(neap_status(NULL, &s), NEAP_USAGE);
	assert_int_equal(neap_dispatch(NULL, NULL), NEAP_USAGE);
	assert_int_equal(neap_on_change(NULL, NULL, NULL, NULL), NEAP_USAGE);
	assert_int_equal(neap_track(NULL, "t", NULL), NEAP_USAGE);
	assert_int_equal(neap_track(n, NULL, NULL), NEAP_USAGE);
	assert_int_equal(neap_untrack(n, NULL), NEAP_USAGE);
	assert_int_equal(neap_open(NULL, &none), NEAP_USAGE);
	assert_int_equal(neap_open(path, NULL), NEAP_USAGE);
	assert_int_equal(neap_status(n, NULL), NEAP_USAGE);
	assert_int_equal(neap_status(n, &s), NEAP_USAGE);
	assert_non_null(strstr(neap_error(n), "size"));
	small.size = 0;
	assert_int_equal(neap_track(n, "t", &small), NEAP_USAGE);
	small.size = sizeof small;
	small.direction = 3;
	assert_int_equal(neap_track(n, "t", &small), NEAP_USAGE);
	assert_int_equal(neap_track(n, "\xff", NULL), NEAP_USAGE);
	assert_string_equal(neap_strerror(-1), "unknown error");
	assert_int_equal(neap_close(n), NEAP_OK);
}

/* A program of a later release has a larger struct: what this one knows is filled, no more. */
static void a_larger_struct_is_filled_as_far_as_known(void **state)
{
	struct {
		struct neap_status known;
		int64_t later;
	} s = {.known.size = sizeof s, .later = 77};
	neap *n = opened();

	(void)state;
	assert_int_equal(neap_status(n, &s.known), NEAP_OK);
	assert_int_equal(s.known.size, sizeof s.known);
	assert_string_equal(s.known.state, "stopped");
	assert_int_equal(s.later, 77);
	assert_int_equal(neap_close(n), NEAP_OK);
}

/* --- callbacks: the node's own way to them, with no server to send a change --- */

struct heard {
	neap *n;
	unsigned calls;
	char table[32];
};

static void hear(void *ctx, const char *table)
{
	struct heard *h = ctx;

	h->calls++;
	snprintf(h->table, sizeof h->table, "%s", table);
}

static void tell(neap *n, const char *table)
{
	const struct node_owner owner = api_owner(n);

	owner.changed(owner.ctx, n->paths.db, table);
}

static void a_function_per_table_and_one_for_all(void **state)
{
	struct heard t = {0}, again = {0}, all = {0};
	neap *n = opened();
	int fd;

	(void)state;
	assert_int_equal(neap_on_change(n, "T", hear, &t), NEAP_OK);
	assert_int_equal(neap_on_change(n, NULL, hear, &all), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	assert_int_equal(neap_on_change(n, "t", hear, &again), NEAP_USAGE);
	tell(n, "t");
	tell(n, "u");
	assert_int_equal(t.calls, 1);
	assert_string_equal(t.table, "t");
	assert_int_equal(all.calls, 2);
	assert_string_equal(all.table, "u");
	assert_int_equal(neap_stop(n), NEAP_OK);
	assert_int_equal(neap_on_change(n, "t", hear, &again), NEAP_OK);
	assert_int_equal(neap_on_change(n, NULL, NULL, NULL), NEAP_OK);
	assert_int_equal(neap_on_change(n, "unknown", NULL, NULL), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	tell(n, "t");
	assert_int_equal(t.calls, 1);
	assert_int_equal(again.calls, 1);
	assert_int_equal(all.calls, 2);
	assert_int_equal(neap_close(n), NEAP_OK);
}

static void functions_have_a_bound(void **state)
{
	neap *n = opened();
	char name[16];

	(void)state;
	for (int i = 0; i < NEAP_CHANGE_FUNCTIONS; i++) {
		snprintf(name, sizeof name, "t%d", i);
		assert_int_equal(neap_on_change(n, name, hear, NULL), NEAP_OK);
	}
	assert_int_equal(neap_on_change(n, "one more", hear, NULL), NEAP_USAGE);
	assert_int_equal(neap_on_change(n, "t7", NULL, NULL), NEAP_OK);
	assert_int_equal(neap_on_change(n, "one more", hear, NULL), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
}

static void misuse(void *ctx, const char *table)
{
	struct heard *h = ctx;
	struct neap_status s = {.size = sizeof s};
	neap *other = NULL;
	int fd;

	(void)table;
	h->calls++;
	assert_int_equal(neap_close(h->n), NEAP_USAGE);
	assert_non_null(strstr(neap_error(h->n), "callback"));
	assert_int_equal(neap_stop(h->n), NEAP_USAGE);
	assert_int_equal(neap_start(h->n), NEAP_USAGE);
	assert_int_equal(neap_poll_begin(h->n, &fd), NEAP_USAGE);
	assert_int_equal(neap_dispatch(h->n, NULL), NEAP_USAGE);
	assert_int_equal(neap_sync(h->n, 1), NEAP_USAGE);
	assert_int_equal(neap_status(h->n, &s), NEAP_USAGE);
	assert_int_equal(neap_track(h->n, "t", NULL), NEAP_USAGE);
	assert_int_equal(neap_untrack(h->n, "t"), NEAP_USAGE);
	assert_int_equal(neap_on_change(h->n, NULL, NULL, NULL), NEAP_USAGE);
	/* Another handle would wait for this very thread. */
	assert_int_equal(neap_open(path, &other), NEAP_OK);
	assert_int_equal(neap_status(other, &s), NEAP_USAGE);
	assert_int_equal(neap_close(other), NEAP_USAGE);

	free(other);
}

static void nothing_works_from_inside_a_callback(void **state)
{
	neap *n = opened();
	struct heard h = {.n = n};
	int fd;

	(void)state;
	assert_int_equal(neap_on_change(n, "t", misuse, &h), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	tell(n, "t");
	assert_int_equal(h.calls, 1);
	assert_int_equal(neap_dispatch(n, NULL), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
}

/* --- other threads, other processes, other files --- */

struct outsider {
	neap *n;
	int dispatch, stop, close, status, track;
	char state[32];
	char text[400];
};

static void *try_from_outside(void *ctx)
{
	struct outsider *o = ctx;
	struct neap_status s = {.size = sizeof s};

	o->dispatch = neap_dispatch(o->n, NULL);
	o->close = neap_close(o->n);
	o->stop = neap_stop(o->n);
	snprintf(o->text, sizeof o->text, "%s", neap_error(o->n));
	o->status = neap_status(o->n, &s);
	o->track = neap_track(o->n, "t", NULL);
	snprintf(o->state, sizeof o->state, "%s", s.state);
	return NULL;
}

static void the_loop_belongs_to_its_thread(void **state)
{
	struct outsider o = {.n = opened(), .track = -1};
	pthread_t thread;
	int fd, wait_ms;

	(void)state;
	assert_int_equal(neap_poll_begin(o.n, &fd), NEAP_OK);
	assert_int_equal(pthread_create(&thread, NULL, try_from_outside, &o), 0);
	/* Its requests are answered while the loop runs. */
	while (pthread_tryjoin_np(thread, NULL) != 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		assert_int_equal(neap_dispatch(o.n, &wait_ms), NEAP_OK);
		assert_true(poll(&p, 1, wait_ms < 5 ? wait_ms : 5) >= 0);
	}
	assert_int_equal(o.dispatch, NEAP_USAGE);
	assert_int_equal(o.close, NEAP_USAGE);
	assert_int_equal(o.stop, NEAP_USAGE);
	assert_non_null(strstr(o.text, "neap_poll_begin"));
	assert_int_equal(o.status, NEAP_OK);
	assert_string_not_equal(o.state, "stopped");
	assert_int_equal(o.track, NEAP_OK);
	assert_string_equal(neap_error(o.n), "");
	assert_int_equal(neap_close(o.n), NEAP_OK);
}

static void another_handle_of_the_loops_thread_is_refused(void **state)
{
	neap *n = opened(), *second = opened();
	struct neap_status s = {.size = sizeof s};
	int fd;

	(void)state;
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	/* It would ask the loop, that is this thread, and wait. */
	assert_int_equal(neap_status(second, &s), NEAP_USAGE);
	assert_non_null(strstr(neap_error(second), path));
	assert_int_equal(neap_track(second, "t", NULL), NEAP_USAGE);
	assert_int_equal(neap_sync(second, 1), NEAP_USAGE);
	assert_int_equal(neap_stop(second), NEAP_OK);
	assert_int_equal(neap_close(second), NEAP_OK);
	assert_int_equal(neap_stop(n), NEAP_OK);
	second = opened();
	assert_int_equal(neap_status(second, &s), NEAP_OK);
	assert_int_equal(neap_close(second), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
}

static void a_forked_child_is_refused(void **state)
{
	struct neap_status s = {.size = sizeof s};
	neap *n = opened();
	int fd, how;

	(void)state;
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	pid_t child = fork();
	if (child == 0)
		_exit(neap_status(n, &s) == NEAP_USAGE && neap_dispatch(n, NULL) == NEAP_USAGE &&
				      neap_close(n) == NEAP_USAGE && strstr(neap_error(n), "fork")
			      ? 0
			      : 1);
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_int_equal(how, 0);
	/* The parent's goes on. */
	assert_int_equal(neap_dispatch(n, NULL), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
}

static void replace_file(void)
{
	char other[160];

	snprintf(other, sizeof other, "%s/other.db", dir);
	assert_int_equal(make_db_at(other), 0);
	assert_int_equal(rename(other, path), 0);
}

static void a_replaced_file_ends_the_loop(void **state)
{
	struct neap_status s = {.size = sizeof s};
	neap *n = opened();
	int fd;

	(void)state;
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	replace_file();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(neap_dispatch(n, NULL), NEAP_NOT_FOUND);
		assert_non_null(strstr(neap_error(n), "replaced"));
		assert_int_equal(neap_sync(n, 1), NEAP_NOT_FOUND);
	}
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_string_equal(s.state, "stopped");
	assert_non_null(strstr(s.reason, "replaced"));
	assert_int_equal(neap_stop(n), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	assert_int_equal(neap_dispatch(n, NULL), NEAP_OK);
	assert_int_equal(neap_close(n), NEAP_OK);
}

static void a_thread_that_ended_is_told_and_can_be_started_again(void **state)
{
	const uint64_t until_ms = mono_ms() + PATIENCE_MS;
	struct neap_status s = {.size = sizeof s};
	neap *n = opened();

	(void)state;
	assert_int_equal(neap_start(n), NEAP_OK);
	replace_file();
	do {
		write_row((int)(mono_ms() & 0x7fffffff)); /* it looks when something happens */
		int code = neap_status(n, &s);
		assert_true(code == NEAP_OK || code == NEAP_UNREACHABLE);
		assert_true(mono_ms() < until_ms);
	} while (strcmp(s.state, "stopped") != 0);
	assert_non_null(strstr(s.reason, "replaced"));
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_string_not_equal(s.state, "stopped");
	assert_int_equal(neap_close(n), NEAP_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DB(the_apps_loop_does_all_the_work),
		WITH_DB(the_wrong_order_is_refused),
		WITH_DB(options_of_a_table),
		WITH_DB(nulls_are_refused),
		WITH_DB(a_larger_struct_is_filled_as_far_as_known),
		WITH_DB(a_function_per_table_and_one_for_all),
		WITH_DB(functions_have_a_bound),
		WITH_DB(nothing_works_from_inside_a_callback),
		WITH_DB(the_loop_belongs_to_its_thread),
		WITH_DB(another_handle_of_the_loops_thread_is_refused),
		WITH_DB(a_forked_child_is_refused),
		WITH_DB(a_replaced_file_ends_the_loop),
		WITH_DB(a_thread_that_ended_is_told_and_can_be_started_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
