/* The HTTPS client as far as it goes without a TLS server; tests/e2e has one. */
#include "device/shell/http.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/shell/clock.h"

struct end {
	unsigned calls;
	int code;
	char text[400];
};

static void on_end(void *ctx, const struct http_answer *a)
{
	struct end *end = ctx;

	end->calls++;
	end->code = a->code;
	snprintf(end->text, sizeof end->text, "%s", a->text);
}

static struct end post(const char *url, const char *ca)
{
	struct http *h;
	struct end end = {0};

	assert_int_equal(http_new(&h, NULL), NE_OK);
	assert_int_equal(http_post(h, url, ca, "{}", on_end, &end, NULL), NE_OK);
	while (!end.calls)
		assert_int_equal(http_wait(h, 1000, NULL), NE_OK);
	http_free(h);
	assert_int_equal(end.calls, 1);
	return end;
}

/* A listener on a free loopback port; closed it becomes a port where nobody listens. */
static int listen_at(uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static void nobody_there_is_unreachable(void **state)
{
	char url[64];
	uint16_t port;

	(void)state;
	close(listen_at(&port));
	snprintf(url, sizeof url, "https://127.0.0.1:%u/x", port);
	struct end end = post(url, NULL);
	assert_int_equal(end.code, NE_UNREACHABLE);
	assert_non_null(strstr(end.text, url));
}

static void *answer_in_clear(void *ctx)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
	char hello[512];
	int fd = accept(*(int *)ctx, NULL, NULL);

	if (fd >= 0) {
		if (read(fd, hello, sizeof hello) > 0)
			(void)!write(fd, text, sizeof text - 1);
		close(fd);
	}
	return NULL;
}

static void an_answer_without_tls_is_no_answer(void **state)
{
	pthread_t thread;
	char url[64];
	uint16_t port;
	int fd = listen_at(&port);

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, answer_in_clear, &fd), 0);
	snprintf(url, sizeof url, "https://127.0.0.1:%u/x", port);
	assert_int_equal(post(url, NULL).code, NE_UNREACHABLE);
	pthread_join(thread, NULL);
	close(fd);
}

static void plain_http_is_refused(void **state)
{
	(void)state;
	assert_int_equal(post("http://127.0.0.1:1/x", NULL).code, NE_USAGE);
	assert_int_equal(post("ftp://127.0.0.1:1/x", NULL).code, NE_USAGE);
	assert_int_equal(post("file:///etc/passwd", NULL).code, NE_USAGE);
}

static void a_ca_that_is_none_is_told(void **state)
{
	char url[64];
	uint16_t port;
	int fd = listen_at(&port); /* connects, so that the handshake begins */

	(void)state;
	snprintf(url, sizeof url, "https://127.0.0.1:%u/x", port);
	struct end end = post(url, "no certificate");
	assert_int_equal(end.code, NE_CERT);
	close(fd);
}

static void cancelled_is_silent(void **state)
{
	struct http *h;
	struct end end = {0};
	char url[64];
	uint16_t port;
	int fd = listen_at(&port); /* accepts and never says anything */

	(void)state;
	snprintf(url, sizeof url, "https://127.0.0.1:%u/x", port);
	assert_int_equal(http_new(&h, NULL), NE_OK);
	assert_int_equal(http_post(h, url, NULL, "{}", on_end, &end, NULL), NE_OK);
	assert_int_equal(http_wait(h, 10, NULL), NE_OK);
	http_cancel(h, &end);
	assert_int_equal(http_wait(h, 10, NULL), NE_OK);
	assert_int_equal(http_post(h, url, NULL, "{}", on_end, &end, NULL), NE_OK);
	http_free(h); /* with one under way */
	assert_int_equal(end.calls, 0);
	close(fd);
}

static void a_loop_needs_only_the_descriptor_and_the_deadline(void **state)
{
	pthread_t thread;
	struct http *h;
	struct end end = {0};
	char url[64];
	uint16_t port;
	int fd = listen_at(&port);
	const uint64_t until_ms = mono_ms() + 20 * 1000;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, answer_in_clear, &fd), 0);
	snprintf(url, sizeof url, "https://127.0.0.1:%u/x", port);
	assert_int_equal(http_new(&h, NULL), NE_OK);
	assert_true(http_deadline_ms(h) == UINT64_MAX);
	assert_int_equal(http_post(h, url, NULL, "{}", on_end, &end, NULL), NE_OK);
	while (!end.calls && mono_ms() < until_ms) {
		struct pollfd p = {.fd = http_fd(h), .events = POLLIN};
		uint64_t now = mono_ms(), at = http_deadline_ms(h);
		/* Never longer than the request's own bound: neither may be missing. */
		assert_true(at <= now + 60 * 1000);
		assert_true(poll(&p, 1, at > now ? (int)(at - now) : 0) >= 0);
		http_step(h);
	}
	assert_int_equal(end.calls, 1);
	assert_int_equal(end.code, NE_UNREACHABLE);
	assert_true(http_deadline_ms(h) == UINT64_MAX);
	http_free(h);
	pthread_join(thread, NULL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_there_is_unreachable),
		cmocka_unit_test(an_answer_without_tls_is_no_answer),
		cmocka_unit_test(plain_http_is_refused),
		cmocka_unit_test(a_ca_that_is_none_is_told),
		cmocka_unit_test(cancelled_is_silent),
		cmocka_unit_test(a_loop_needs_only_the_descriptor_and_the_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
