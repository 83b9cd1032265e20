#define _GNU_SOURCE /* strcasestr */
/* The login server over real TLS on loopback, asked byte by byte. */
#include "backend/auth/server.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "backend/auth/testing.h"
#include "protocol/topic.h"

enum { REPLY_MAX = 65536 };

static struct testing t;
static struct login_server *server;
static SSL_CTX *tls; /* trusts the login server's authority only */

static SSL_CTX *trust(const char *ca)
{
	char path[128];
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	snprintf(path, sizeof path, "%s/ca/%s", t.dir, ca);
	assert_int_equal(SSL_CTX_load_verify_locations(ctx, path, NULL), 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}

static void start(const struct login_hooks *hooks)
{
	struct err e = {0};

	t.config.listen_port = 0;
	if (login_server_start(&server, t.auth, &t.config, hooks, &e))
		fail_msg("%s", e.text);
	tls = trust("login.pem");
}

static int begin(void **state)
{
	(void)state;
	testing_begin(&t);
	start(NULL);
	return 0;
}

static int end(void **state)
{
	(void)state;
	SSL_CTX_free(tls);
	login_server_stop(server);
	testing_end(&t);
	return 0;
}

/* A connection, or NULL if the handshake fails. */
static SSL *dial(SSL_CTX *ctx, const char *host)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons(login_server_port(server))};
	struct timeval patience = {20, 0};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL *s = SSL_new(ctx);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	SSL_set_fd(s, fd);
	SSL_set_tlsext_host_name(s, host);
	SSL_set1_host(s, host);
	if (SSL_connect(s) == 1)
		return s;
	SSL_free(s);
	close(fd);
	return NULL;
}

static void hang_up(SSL *s)
{
	int fd = SSL_get_fd(s);

	SSL_free(s);
	close(fd);
}

struct reply {
	int status;
	int answers; /* status lines seen before the connection was closed */
	char text[REPLY_MAX];
	const char *body;
};

/* Reads to the end: the server has to close. */
static void read_reply(SSL *s, struct reply *r)
{
	size_t len = 0;
	int n;

	while ((n = SSL_read(s, r->text + len, (int)(REPLY_MAX - 1 - len))) > 0)
		len += (size_t)n;
	r->text[len] = 0;
	r->status = len > 12 ? atoi(r->text + 9) : 0;
	r->answers = 0;
	for (const char *at = r->text; (at = strstr(at, "HTTP/1.1 ")); at++)
		r->answers++;
	const char *blank = strstr(r->text, "\r\n\r\n");
	r->body = blank ? blank + 4 : "";
}

static void ask(const char *request, size_t len, struct reply *r)
{
	SSL *s = dial(tls, "localhost");

	assert_non_null(s);
	/* A request that is refused early may not be taken to its end. */
	SSL_write(s, request, (int)len);
	read_reply(s, r);
	hang_up(s);
}

static void post(const char *path, const char *body, struct reply *r)
{
	char request[REPLY_MAX];
	int n = snprintf(request, sizeof request,
			 "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
			 "application/json\r\nContent-Length: %zu\r\n\r\n%s",
			 path, strlen(body), body);

	ask(request, (size_t)n, r);
}

static void login_as(const char *user, const char *password, struct reply *r)
{
	char body[1024];

	snprintf(body, sizeof body, "{\"user\":\"%s\",\"password\":\"%s\",\"device\":\"d1\"}", user,
		 password);
	post("/v1/login", body, r);
}

static void assert_problem(const struct reply *r, int status)
{
	assert_int_equal(r->status, status);
	assert_int_equal(r->answers, 1);
	assert_non_null(strcasestr(r->text, "content-type: application/problem+json\r\n"));
	assert_non_null(strcasestr(r->text, "connection: close\r\n"));
	json_t *root = json_loads(r->body, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_int_equal(json_integer_value(json_object_get(root, "status")), status);
	assert_true(json_is_string(json_object_get(root, "type")));
	assert_true(json_is_string(json_object_get(root, "title")));
	assert_true(json_string_length(json_object_get(root, "detail")) > 0);
	json_decref(root);
}

static const char *text_of(json_t *root, const char *name)
{
	const char *text = json_string_value(json_object_get(root, name));

	assert_non_null(text);
	return text;
}

static void check_jwk(json_t *key)
{
	assert_string_equal(text_of(key, "kty"), "oct");
	assert_int_equal(strlen(text_of(key, "k")), 43);
	assert_true(atoll(text_of(key, "kid")) > 1700000000);
	json_t *ops = json_object_get(key, "key_ops");
	assert_int_equal(json_array_size(ops), 1);
	assert_string_equal(json_string_value(json_array_get(ops, 0)), "deriveKey");
}

/* Returns the refresh token; free it. */
static char *check_session(const struct reply *r)
{
	char topic[TOPIC_MAX];
	struct err e;

	assert_int_equal(r->status, 200);
	assert_int_equal(r->answers, 1);
	assert_non_null(strcasestr(r->text, "cache-control: no-store\r\n"));
	assert_non_null(strcasestr(r->text, "connection: close\r\n"));
	json_t *root = json_loads(r->body, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(text_of(root, "token_type"), "Bearer");
	assert_string_equal(text_of(root, "user"), "anna");
	assert_string_equal(text_of(root, "device"), "d1");
	assert_non_null(text_of(root, "access_token"));
	assert_in_range(json_integer_value(json_object_get(root, "expires_in")), 3240, 3960);
	assert_true(json_integer_value(json_object_get(root, "server_time_ms")) > 1700000000000);
	check_jwk(json_object_get(root, "message_key"));
	check_jwk(json_object_get(root, "group_key"));
	json_t *broker = json_object_get(root, "broker");
	assert_string_equal(text_of(broker, "host"), "127.0.0.1");
	assert_int_equal(json_integer_value(json_object_get(broker, "port")),
			 t.config.device_broker_port);
	assert_non_null(strstr(text_of(broker, "ca"), "BEGIN CERTIFICATE"));
	const char *prefix = text_of(root, "topic_prefix");
	assert_int_equal(topic_for(TOPIC_HEAD, "anna", NULL, topic, &e), 0);
	assert_memory_equal(topic, prefix, strlen(prefix));
	char *token = strdup(text_of(root, "refresh_token"));
	json_decref(root);
	return token;
}

static void login_then_refresh(void **state)
{
	static struct reply r;
	char body[256];

	(void)state;
	login_as("anna", TEST_PASSWORD, &r);
	char *token = check_session(&r);
	snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", token);
	free(token);
	post("/v1/refresh", body, &r);
	free(check_session(&r));
	post("/v1/refresh", "{\"refresh_token\":\"nonsense\"}", &r);
	assert_problem(&r, 401);
}

static void health(void **state)
{
	static const char request[] = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static struct reply r;

	(void)state;
	ask(request, sizeof request - 1, &r);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "{\"status\":\"ok\"}");
}

/* All that tells one refusal from another but the clock. */
static void without_date(struct reply *r)
{
	char *date = strcasestr(r->text, "date: ");

	assert_non_null(date);
	char *line_end = strstr(date, "\r\n");
	memmove(date, line_end, strlen(line_end) + 1);
}

static int64_t spent_us(const char *user, struct reply *r)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	login_as(user, "wrong password", r);
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
}

static void unknown_user_looks_like_a_wrong_password(void **state)
{
	static struct reply wrong, unknown;

	(void)state;
	int64_t wrong_us = spent_us("anna", &wrong);
	int64_t unknown_us = spent_us("nobody", &unknown);
	assert_problem(&wrong, 401);
	without_date(&wrong);
	without_date(&unknown);
	assert_string_equal(wrong.text, unknown.text);
	/* A hash costs twenty times the rest: without one this would be far off. */
	assert_true(unknown_us > wrong_us / 3);
}

#define HEAD "POST /v1/login HTTP/1.1\r\nHost: localhost\r\n"
#define JSON "Content-Type: application/json\r\n"
#define SMUGGLED "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void ambiguous_requests_are_refused(void **state)
{
	static const struct {
		const char *request;
		int status; /* 0: the library refuses it itself, with a page of its own */
	} bad[] = {
		{HEAD JSON "\r\n{}", 411},
		{HEAD JSON
		 "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
		 411},
		{HEAD JSON "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED, 411},
		{HEAD JSON "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}" SMUGGLED,
		 400},
		{HEAD JSON "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" SMUGGLED, 411},
		{HEAD JSON "Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" SMUGGLED, 411},
		{HEAD JSON "Content-Length : 2\r\n\r\n{}" SMUGGLED, 400},
		{HEAD JSON "X: a\r\n Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" SMUGGLED, 0},
		{HEAD JSON "Content-Length: 100000000000000000000000\r\n\r\n{}", 0},
		{HEAD JSON "Content-Length: -1\r\n\r\n{}", 0},
		{HEAD JSON "Content-Length: 4097\r\n\r\n{}", 413},
		{HEAD "Content-Length: 2\r\n\r\n{}", 415},
		{HEAD "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415},
		{"GET /v1/login HTTP/1.1\r\nHost: localhost\r\n\r\n" SMUGGLED, 405},
		{"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
		 400},
		{"POST /v2/login HTTP/1.1\r\nHost: localhost\r\n" JSON
		 "Content-Length: 2\r\n\r\n{}" SMUGGLED,
		 404},
		{"POST /v1/health HTTP/1.1\r\nHost: localhost\r\n" JSON
		 "Content-Length: 2\r\n\r\n{}" SMUGGLED,
		 405},
		{"nonsense\r\n\r\n", 0},
	};
	static struct reply r;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ask(bad[i].request, strlen(bad[i].request), &r);
		/* Exactly one request was seen, whatever was said to it. */
		assert_null(strstr(r.text, "{\"status\":\"ok\"}"));
		if (bad[i].status && r.status != bad[i].status)
			print_message("request %zu: %s\n", i, r.text);
		if (bad[i].status)
			assert_problem(&r, bad[i].status);
		else /* no answer at all is fine too */
			assert_true(r.status == 0 || (r.status >= 400 && r.status <= 499));
	}
}

static void a_second_request_is_not_answered(void **state)
{
	static const char two[] = SMUGGLED SMUGGLED;
	static struct reply r;

	(void)state;
	ask(two, sizeof two - 1, &r);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.answers, 1);
}

static void bad_bodies_are_refused(void **state)
{
	static const char *const bad[] = {
		"{}",
		"[]",
		"null",
		"{\"user\":\"anna\",\"password\":\"correct horse\"}",
		"{\"user\":\"anna\",\"user\":\"anna\",\"password\":\"x\",\"device\":\"d1\"}",
		"{\"user\":1,\"password\":\"correct horse\",\"device\":\"d1\"}",
		"{\"user\":\"anna\",\"password\":\"correct horse\",\"device\":\"a/b\"}",
		"{\"user\":\"anna\",\"password\":\"correct horse\",\"device\":\"\"}",
		"{\"user\":\"anna\\u0000\",\"password\":\"correct horse\",\"device\":\"d1\"}",
		"{\"user\":\"\xff\xfe\",\"password\":\"correct horse\",\"device\":\"d1\"}",
		"{\"user\":\"anna\",\"password\":\"correct horse\",\"device\":\"d1\"} x",
	};
	static struct reply r;
	char nested[4000];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		post("/v1/login", bad[i], &r);
		assert_problem(&r, 400);
		assert_null(strstr(r.text, "horse"));
	}
	memset(nested, '[', sizeof nested - 1);
	nested[sizeof nested - 1] = 0;
	post("/v1/login", nested, &r);
	assert_problem(&r, 400);
}

static int no_user(void *ctx, const char *user, struct err *e)
{
	++*(int *)ctx;
	return err_set(e, NE_DISK, "no room for %s", user);
}

static void a_login_the_store_cannot_note_is_no_login(void **state)
{
	static struct reply r;
	int calls = 0;
	struct login_hooks hooks = {no_user, &calls};

	(void)state;
	SSL_CTX_free(tls);
	login_server_stop(server);
	start(&hooks);
	login_as("anna", TEST_PASSWORD, &r);
	assert_problem(&r, 503);
	assert_non_null(strcasestr(r.text, "retry-after: "));
	assert_int_equal(calls, 1);
	login_as("anna", "wrong password", &r);
	assert_problem(&r, 401);
	assert_int_equal(calls, 1);
}

static void only_the_right_certificate_is_trusted(void **state)
{
	SSL_CTX *broker = trust("broker.pem");

	(void)state;
	assert_null(dial(broker, "localhost"));
	assert_null(dial(tls, "elsewhere.example"));
	SSL *s = dial(tls, "localhost");
	assert_non_null(s);
	hang_up(s);
	SSL_CTX_free(broker);
}

enum { CROWD = 44 };
static atomic_int done, busy, good;

static void *crowd_login(void *arg)
{
	struct reply *r = malloc(sizeof *r);

	(void)arg;
	login_as("anna", TEST_PASSWORD, r);
	if (r->status == 200)
		good++;
	else if (r->status == 503 && strcasestr(r->text, "retry-after: "))
		busy++;
	done++;
	free(r);
	return NULL;
}

static void a_crowd_is_shed_and_refreshes_pass_it(void **state)
{
	static struct reply r;
	pthread_t thread[CROWD];
	struct auth_session other;
	struct auth_denial why;
	char body[256];
	struct err e;

	(void)state;
	assert_int_equal(auth_login(t.auth, slice_str("anna"), slice_str(TEST_PASSWORD),
				    slice_str("d2"), &other, &why, &e),
			 0);
	/*
	 * OpenSSL notes what it knows of the CA in the shared certificate when it is first checked,
	 * under an atomic flag that the thread sanitizer does not see in a library built without
	 * it.
	 */
	SSL *first = dial(tls, "localhost");
	assert_non_null(first);
	hang_up(first);
	done = busy = good = 0;
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, crowd_login, NULL), 0);
	snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", other.refresh);
	post("/v1/refresh", body, &r);
	int before = good;
	assert_int_equal(r.status, 200);
	for (int i = 0; i < CROWD; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(good + busy, CROWD);
	assert_true(good >= 1);
	assert_true(before < CROWD);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(login_then_refresh),
		T(health),
		T(unknown_user_looks_like_a_wrong_password),
		T(ambiguous_requests_are_refused),
		T(a_second_request_is_not_answered),
		T(bad_bodies_are_refused),
		T(a_login_the_store_cannot_note_is_no_login),
		T(only_the_right_certificate_is_trusted),
		T(a_crowd_is_shed_and_refreshes_pass_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
