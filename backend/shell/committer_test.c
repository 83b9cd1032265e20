/* The committer with many givers, a locked store, and stopped while givers wait; to be run under
 * the thread sanitizer, too. */
#include "backend/shell/committer.h"

#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/auth/setup.h"
#include "backend/core/store_sqlite.h"
#include "backend/shell/os.h"
#include "common/testing_dir.h"

enum { GIVERS = 3, FRAMES = 2000 };

static struct world {
	char dir[64], store[96];
	struct config config;
	struct auth *auth;
	struct serve_stats stats;
	struct publisher *publisher;
	struct store_config store_config;
	struct ingest_config ingest_config;
	struct committer_config committer_config;
	struct committer *committer;
} w;

static void must(int rc, const struct err *e)
{
	if (rc)
		fail_msg("%s: %s", ne_name(rc), e->text);
}

static void on_fatal(void *ctx, const struct err *e)
{
	(void)ctx;
	fprintf(stderr, "fatal: %s\n", e->text);
	abort();
}

static int set_up(void **unused)
{
	struct setup s = {.bind = "127.0.0.1",
			  .broker_host = "127.0.0.1",
			  .login_port = 1,
			  .mqtt_port = 2,
			  .backend_port = 3,
			  .token_life_s = 60,
			  .plugin = "/x.so"};
	char file[96];
	struct err e = {0};

	(void)unused;
	memset(&w, 0, sizeof w);
	testing_dir("neap-committer", w.dir, sizeof w.dir);
	s.dir = w.dir;
	snprintf(file, sizeof file, "%s/neapd.conf", w.dir);
	snprintf(w.store, sizeof w.store, "%s/store.db", w.dir);
	must(setup_write(&s, &e), &e);
	must(config_read(file, &w.config, &e), &e);
	must(auth_open(&w.auth, &w.config, &e), &e);
	must(publisher_start(&w.publisher, w.auth, &w.stats, &e), &e);
	w.store_config = (struct store_config){.path = w.store, .busy_ms = 50, .random = os_random};
	must(store_open(&w.committer_config.store, &w.store_config, &e), &e);
	w.ingest_config.store = w.committer_config.store;
	w.ingest_config.random = os_random;
	must(ingest_open(&w.committer_config.ingest, &w.ingest_config, wall_ms(), &e), &e);
	w.committer_config.publisher = w.publisher;
	w.committer_config.stats = &w.stats;
	w.committer_config.fatal = on_fatal;
	must(committer_start(&w.committer, &w.committer_config, &e), &e);
	return 0;
}

static int tear_down(void **unused)
{
	char command[96];

	(void)unused;
	committer_stop(w.committer);
	publisher_stop(w.publisher);
	committer_free(w.committer);
	publisher_free(w.publisher);
	ingest_close(w.committer_config.ingest);
	store_close(w.committer_config.store);
	auth_close(w.auth);
	snprintf(command, sizeof command, "rm -rf '%s'", w.dir);
	return system(command);
}

/* A hello is answered, so that the publisher has work, too. */
static struct up_message *hello(unsigned giver, uint64_t nonce)
{
	struct frame f = {.type = FRAME_HELLO};
	struct buf b = {.max = 256};

	f.hello.nonce = nonce;
	f.hello.site = giver + 1;
	if (frame_encode(&f, &b, NULL))
		abort();
	struct up_message *p = calloc(1, sizeof *p + b.len);
	if (!p)
		abort();
	snprintf(p->user.at, sizeof p->user.at, "u%u", giver);
	strcpy(p->device.at, "d");
	p->len = b.len;
	memcpy(p->bytes, b.at, b.len);
	buf_free(&b);
	return p;
}

static void *giver_thread(void *arg)
{
	unsigned giver = *(unsigned *)arg;

	for (uint64_t i = 1; i <= FRAMES; i++) {
		struct committer_look look;
		committer_give(w.committer, hello(giver, i));
		if (i % 100 == 0) {
			committer_tick(w.committer);
			committer_broker(w.committer);
			committer_look(w.committer, &look);
			assert(look.waiting <= 1024);
		}
	}
	return NULL;
}

static void give_all(void)
{
	pthread_t thread[GIVERS];
	unsigned number[GIVERS];

	for (unsigned i = 0; i < GIVERS; i++) {
		number[i] = i;
		assert_int_equal(pthread_create(&thread[i], NULL, giver_thread, &number[i]), 0);
	}
	for (unsigned i = 0; i < GIVERS; i++)
		pthread_join(thread[i], NULL);
}

static void every_frame_is_handled_once(void **unused)
{
	struct committer_look look;

	(void)unused;
	give_all();
	committer_stop(w.committer);
	committer_look(w.committer, &look);
	struct ingest_stats stats;
	ingest_stats(w.committer_config.ingest, &stats);
	assert_int_equal(stats.hellos, GIVERS * FRAMES);
	assert_int_equal(look.waiting, 0);
	assert_int_equal(look.waiting_bytes, 0);
	assert_string_equal(look.trouble, "");
	/* Group commit: far fewer transactions than frames. */
	assert_true(w.stats.steps < GIVERS * FRAMES);
	/* Without a link every answer is dropped, and counted. */
	publisher_stop(w.publisher);
	assert_true(w.stats.unpublished >= GIVERS * FRAMES);
	publisher_free(w.publisher);
	w.publisher = NULL;
	committer_free(w.committer);
	w.committer = NULL;
}

static void a_locked_store_is_waited_for(void **unused)
{
	struct committer_look look;
	sqlite3 *lock;

	(void)unused;
	assert_int_equal(sqlite3_open(w.store, &lock), SQLITE_OK);
	assert_int_equal(sqlite3_exec(lock, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	committer_give(w.committer, hello(0, 1));
	do
		committer_look(w.committer, &look);
	while (!look.trouble[0]);
	assert_int_equal(w.stats.steps, 0);
	assert_int_equal(sqlite3_exec(lock, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(lock);
	do
		committer_look(w.committer, &look);
	while (look.trouble[0] || look.ingest.hellos == 0);
	assert_int_equal(look.ingest.hellos, 1);
}

/* A giver that waits at the bound, or comes later, is let go and its frame is freed. */
static void stopping_lets_givers_go(void **unused)
{
	sqlite3 *lock;
	pthread_t thread;
	unsigned number = 0;
	struct committer_look look;

	(void)unused;
	assert_int_equal(sqlite3_open(w.store, &lock), SQLITE_OK);
	assert_int_equal(sqlite3_exec(lock, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(pthread_create(&thread, NULL, giver_thread, &number), 0);
	do
		committer_look(w.committer, &look);
	while (look.waiting < 1024);
	committer_stop(w.committer);
	pthread_join(thread, NULL);
	sqlite3_exec(lock, "ROLLBACK", NULL, NULL, NULL);
	sqlite3_close(lock);
	committer_free(w.committer);
	w.committer = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_frame_is_handled_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_locked_store_is_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stopping_lets_givers_go, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
