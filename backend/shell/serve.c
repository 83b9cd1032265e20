#define _GNU_SOURCE /* signalfd and eventfd are Linux */
#include "backend/shell/serve.h"

#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "backend/auth/server.h"
#include "backend/shell/keeper.h"
#include "backend/shell/openers.h"
#include "backend/shell/os.h"
#include "backend/shell/runlock.h"
#include "backend/shell/status.h"
#include "common/log.h"

enum {
	LOOK_MS = 100, /* how often accounts are looked at */
	TICK_MS = 1000,
	FAR_AHEAD_MS = 300000,
	PAGE_BYTES = 32768,
	PARTS_BYTES_USER = 8 * 1024 * 1024,
	PARTS_BYTES = 64 * 1024 * 1024,
	PARTS_MS = 60000,
	MAP_BYTES = 4 * 1024 * 1024, /* blocks from here on are mapped by themselves */
};

struct serve {
	const struct config *config;
	struct auth *auth;
	struct store *store; /* the committer's */
	struct ingest *ingest;
	struct publisher *publisher;
	struct committer *committer;
	struct openers *openers;
	struct keeper *keeper;
	struct link *link;
	struct login_server *login;
	struct login_hooks hooks;
	int status_fd, signal_fd, fatal_fd, lock_fd;
	uint64_t started_ms;
	struct serve_stats stats;

	pthread_mutex_t users_lock;
	struct store *users; /* a second handle, for login's threads */

	pthread_mutex_t fatal_lock;
	struct err fatal; /* why the committer ended */
};

/* --- what the parts call --- */

static void on_up(void *ctx, struct slice topic, struct slice payload, bool retained)
{
	struct serve *s = ctx;
	openers_take(s->openers, topic, payload, retained);
}

static void on_connected(void *ctx)
{
	struct serve *s = ctx;
	struct err e = {0};

	publisher_reconnected(s->publisher);
	if (keeper_send_voids(s->keeper, s->link, &e))
		log_err(LOG_WARN, "revoked_tokens_not_sent", &e);
	committer_broker(s->committer);
}

static void on_fatal(void *ctx, const struct err *why)
{
	struct serve *s = ctx;
	uint64_t one = 1;

	pthread_mutex_lock(&s->fatal_lock);
	s->fatal = *why;
	pthread_mutex_unlock(&s->fatal_lock);
	ssize_t rc = write(s->fatal_fd, &one, sizeof one);
	(void)rc;
}

/* A user that logs in exists in the store, so that rows an operator wrote for it find it. */
static int on_login(void *ctx, const char *user, struct err *e)
{
	struct serve *s = ctx;
	struct store_user u;
	bool found;

	pthread_mutex_lock(&s->users_lock);
	int rc = store_user_get(s->users, user, &u, &found, e);
	if (!rc && !found)
		rc = store_user_ensure(s->users, user, &u, e);
	pthread_mutex_unlock(&s->users_lock);
	return rc;
}

/* --- start --- */

/* No limit is one that nobody reaches. */
static uint64_t rate(int64_t per_s)
{
	return per_s ? (uint64_t)per_s : 1000000000;
}

static int open_store(struct serve *s, struct err *e)
{
	struct store_config store = {
		.path = s->config->store,
		.busy_ms = 5000,
		.random = os_random,
	};
	struct ingest_config ingest = {
		.random = os_random,
		.far_ahead_ms = FAR_AHEAD_MS,
		.page_bytes = PAGE_BYTES,
		.parts_bytes_user = PARTS_BYTES_USER,
		.parts_bytes = PARTS_BYTES,
		.parts_ms = PARTS_MS,
		.conflict_keep_ms = 1000 * (uint64_t)s->config->conflict_keep_s,
		.conflicts_user = (uint64_t)s->config->conflicts_per_user,
		.conflict_bytes_user = (uint64_t)s->config->conflict_bytes_per_user,
		.rows_user = (uint64_t)s->config->rows_per_user,
		.bytes_user = (uint64_t)s->config->bytes_per_user,
		.device_messages_s = rate(s->config->device_messages_per_s),
		.device_rows_s = rate(s->config->device_rows_per_s),
	};

	TRY(store_open(&s->store, &store, e));
	ingest.store = s->store;
	TRY(ingest_open(&s->ingest, &ingest, wall_ms(), e));
	store.existing = true;
	TRY(store_open(&s->users, &store, e));
	return auth_store_opened(s->auth, store_id(s->store), store_previous_term(s->store),
				 store_term(s->store), e);
}

static int start_threads(struct serve *s, struct err *e)
{
	struct committer_config committer = {
		.store = s->store,
		.ingest = s->ingest,
		.stats = &s->stats,
		.fatal = on_fatal,
		.ctx = s,
	};

	TRY(keeper_new(&s->keeper, s->auth, s->config, e));
	TRY(publisher_start(&s->publisher, s->auth, &s->stats, e));
	committer.publisher = s->publisher;
	TRY(committer_start(&s->committer, &committer, e));
	return openers_start(&s->openers, s->auth, s->committer, s->publisher, &s->stats, e);
}

static int start_link(struct serve *s, struct err *e)
{
	const struct config *c = s->config;
	struct link_config link = {
		.host = c->broker_host,
		.port = c->broker_port,
		.ca = c->broker_ca,
		.cert = c->broker_cert,
		.key = c->broker_key,
		.shard_lo = c->shard_lo,
		.shard_hi = c->shard_hi,
	};
	struct link_events events = {on_up, on_connected, s};

	TRY(link_new(&s->link, &link, &events, e));
	publisher_use(s->publisher, s->link);
	return link_start(s->link, e);
}

static int start(struct serve *s, struct err *e)
{
	sigset_t set;

	/* Before any thread is made: all of them inherit it. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error like a full disk */
	/* Keys are in this process: no core file, no reading by another process of the user. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	/*
	 * The 19 MiB of a password hash go back to the system after it. By itself glibc takes large
	 * blocks from the heap of the thread once it has seen one, and keeps as many of them as it
	 * has heaps, eight for each core.
	 */
	(void)mallopt(M_MMAP_THRESHOLD, MAP_BYTES);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->fatal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->signal_fd < 0 || s->fatal_fd < 0)
		return err_set(e, NE_INTERNAL, "no descriptor for signals");

	TRY(runlock_take(s->config, &s->lock_fd, e));
	TRY(auth_open(&s->auth, s->config, e));
	TRY(open_store(s, e));
	TRY(status_listen(s->config, &s->status_fd, e));
	TRY(start_threads(s, e));
	TRY(start_link(s, e));
	s->hooks = (struct login_hooks){on_login, s};
	return login_server_start(&s->login, s->auth, s->config, &s->hooks, e);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* The reverse of start, and of any part of it. What waits is finished, then the link goes. */
static void stop(struct serve *s)
{
	login_server_stop(s->login);
	openers_stop(s->openers);
	committer_stop(s->committer);
	publisher_stop(s->publisher);
	link_stop(s->link);
	openers_free(s->openers);
	committer_free(s->committer);
	publisher_free(s->publisher);
	keeper_free(s->keeper);
	ingest_close(s->ingest);
	store_close(s->store);
	store_close(s->users);
	auth_close(s->auth);
	close_fd(s->status_fd);
	close_fd(s->signal_fd);
	close_fd(s->fatal_fd);
	close_fd(s->lock_fd);
}

/* --- status --- */

static json_t *count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *status_object(struct serve *s)
{
	struct link_state link;
	struct queue_depth queue;
	struct committer_look c;
	struct serve_stats *t = &s->stats;

	link_look(s->link, &link);
	openers_look(s->openers, &queue);
	committer_look(s->committer, &c);
	return json_pack("{s:i, s:o, s:{s:b,s:o,s:o}, s:{s:o,s:o,s:o}, s:{s:o,s:o,s:s,s:o,s:s},"
			 " s:{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o},"
			 " s:{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o,s:o,s:o}}",
			 "pid", (int)getpid(), "up_ms", count(mono_ms() - s->started_ms), "broker",
			 "connected", link.connected, "connects", count(link.connects), "failures",
			 count(link.failures), "queue", "messages", count(queue.messages), "bytes",
			 count(queue.bytes), "users", count(queue.users), "committer", "waiting",
			 count(c.waiting), "waiting_bytes", count(c.waiting_bytes), "trouble",
			 c.trouble, "tables_missing", count(c.tables_missing), "missing", c.missing,
			 "messages", "received", count(t->received), "bad_topic",
			 count(t->bad_topic), "shed", count(t->shed), "opened", count(t->opened),
			 "refused", count(t->refused), "transactions", count(t->steps), "events",
			 count(t->step_events), "retries", count(t->step_retries), "published",
			 count(t->published), "unpublished", count(t->unpublished), "bytes_in",
			 count(t->bytes_in), "ingest", "sets", count(c.ingest.sets), "rows",
			 count(c.ingest.rows), "duplicates", count(c.ingest.duplicates), "refused",
			 count(c.ingest.refused), "malformed", count(c.ingest.malformed), "pages",
			 count(c.ingest.pages), "resets", count(c.ingest.resets), "hellos",
			 count(c.ingest.hellos), "server_changes", count(c.ingest.server_changes),
			 "captures_reinstalled", count(c.ingest.captures_repaired), "not_sent",
			 count(c.ingest.not_sent), "not_sent_last", c.ingest.not_sent_last,
			 "over_quota", count(c.ingest.over_quota), "slowed", count(c.ingest.slowed),
			 "declarations_delayed", count(c.ingest.declarations_delayed));
}

static void answer_status(struct serve *s)
{
	json_t *object = status_object(s);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	status_answer(s->status_fd, slice_str(text ? text : ""));
	free(text);
	json_decref(object);
}

/* --- run --- */

/* Errors of the files under auth/, which come again each time; bounded. */
static void tell(const char *event, const struct err *e)
{
	char text[4 * sizeof e->text];

	log_audit(LOG_ERROR, event, "", "error=\"%s\" text=%s", ne_name(e->code),
		  log_quote(e->text, text, sizeof text));
}

static void look_at_accounts(struct serve *s)
{
	struct link_state link;
	struct err e = {0};
	bool moved;

	if (auth_keys_look(s->auth, &e))
		tell("keys_not_read", &e);
	if (auth_trail(s->auth, &e))
		tell("trail_not_written", &e);

	link_look(s->link, &link);
	if (!link.connected)
		return; /* the next connect sends all, and what changed is still found then */
	if (keeper_look(s->keeper, s->link, &moved, &e))
		log_err(LOG_WARN, "accounts_not_passed_on", &e);
	else if (moved)
		committer_broker(s->committer);
}

static int loop(struct serve *s, struct err *e)
{
	uint64_t next_tick = mono_ms();
	struct pollfd fds[] = {
		{.fd = s->signal_fd, .events = POLLIN},
		{.fd = s->fatal_fd, .events = POLLIN},
		{.fd = s->status_fd, .events = POLLIN},
	};

	for (;;) {
		poll(fds, sizeof fds / sizeof fds[0], LOOK_MS);
		if (fds[0].revents)
			return NE_OK;
		if (fds[1].revents) {
			pthread_mutex_lock(&s->fatal_lock);
			*e = s->fatal;
			pthread_mutex_unlock(&s->fatal_lock);
			return e->code;
		}
		if (fds[2].revents)
			answer_status(s);
		look_at_accounts(s);
		if (mono_ms() >= next_tick) {
			next_tick = mono_ms() + TICK_MS;
			committer_tick(s->committer);
		}
	}
}

int serve_run(const struct config *c, struct err *e)
{
	struct serve *s = calloc(1, sizeof *s);

	if (!s)
		return err_set(e, NE_MEMORY, "out of memory");
	s->config = c;
	s->status_fd = s->signal_fd = s->fatal_fd = s->lock_fd = -1;
	s->started_ms = mono_ms();
	pthread_mutex_init(&s->users_lock, NULL);
	pthread_mutex_init(&s->fatal_lock, NULL);
	int rc = start(s, e);
	if (!rc) {
		log_line(LOG_INFO, "serving", "version=%s login_port=%u broker=%s:%u shards=%u-%u",
			 NEAP_VERSION, login_server_port(s->login), c->broker_host, c->broker_port,
			 c->shard_lo, c->shard_hi);
		rc = loop(s, e);
		log_line(rc ? LOG_ERROR : LOG_INFO, "stopping", "reason=\"%s\"",
			 rc ? ne_name(rc) : "signal");
	}
	stop(s);
	pthread_mutex_destroy(&s->users_lock);
	pthread_mutex_destroy(&s->fatal_lock);
	free(s);
	return rc;
}
