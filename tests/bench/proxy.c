#include "tests/bench/proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { PAIRS_MAX = 16, TLS_HEADER = 5, TLS_DATA = 23, TLS_OVERHEAD = 17 };

/* One direction: where in the stream of TLS records it is. */
struct flow {
	int from, to;
	uint8_t header[TLS_HEADER];
	unsigned n_header;
	unsigned left; /* of a record's body */
	atomic_ullong *bytes, *plain;
};

static atomic_ullong up, down, up_plain, down_plain, records;
static atomic_uint target;
static int listener;
static struct flow flows[2 * PAIRS_MAX]; /* even ones go up; from −1 unused */

static void count_records(struct flow *f, const uint8_t *at, size_t len)
{
	while (len) {
		if (f->left) {
			size_t n = len < f->left ? len : f->left;

			f->left -= (unsigned)n;
			at += n;
			len -= n;
			continue;
		}
		f->header[f->n_header++] = *at++;
		len--;
		if (f->n_header < TLS_HEADER)
			continue;
		f->n_header = 0;
		records++;
		f->left = (unsigned)f->header[3] << 8 | f->header[4];
		if (f->header[0] == TLS_DATA && f->left > TLS_OVERHEAD)
			*f->plain += f->left - TLS_OVERHEAD;
	}
}

static void end(struct flow *f)
{
	size_t pair = (size_t)(f - flows) & ~(size_t)1;

	close(flows[pair].from);
	close(flows[pair].to);
	flows[pair].from = flows[pair + 1].from = -1;
}

static void carry(struct flow *f)
{
	static uint8_t data[65536];
	ssize_t n = recv(f->from, data, sizeof data, 0);

	if (n <= 0) {
		end(f);
		return;
	}
	*f->bytes += (unsigned long long)n;
	count_records(f, data, (size_t)n);
	for (ssize_t done = 0, sent; done < n; done += sent) {
		sent = send(f->to, data + done, (size_t)(n - done), MSG_NOSIGNAL);
		if (sent <= 0) {
			end(f);
			return;
		}
	}
}

static struct sockaddr_in loopback(unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void take_connection(void)
{
	struct sockaddr_in to = loopback(target);
	int near = accept(listener, NULL, NULL),
	    far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;
	size_t i = 0;

	while (i < 2 * PAIRS_MAX && flows[i].from >= 0)
		i += 2;
	if (near < 0 || far < 0 || i == 2 * PAIRS_MAX ||
	    connect(far, (struct sockaddr *)&to, sizeof to)) {
		close(near);
		close(far);
		return;
	}
	setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	flows[i] = (struct flow){.from = near, .to = far, .bytes = &up, .plain = &up_plain};
	flows[i + 1] = (struct flow){.from = far, .to = near, .bytes = &down, .plain = &down_plain};
}

static void *serve(void *unused)
{
	(void)unused;
	for (;;) {
		struct pollfd p[2 * PAIRS_MAX + 1];

		for (size_t i = 0; i < 2 * PAIRS_MAX; i++)
			p[i] = (struct pollfd){.fd = flows[i].from, .events = POLLIN};
		p[2 * PAIRS_MAX] = (struct pollfd){.fd = listener, .events = POLLIN};
		if (poll(p, 2 * PAIRS_MAX + 1, -1) <= 0)
			continue;
		for (size_t i = 0; i < 2 * PAIRS_MAX; i++) {
			if (p[i].revents && flows[i].from == p[i].fd)
				carry(&flows[i]);
		}
		if (p[2 * PAIRS_MAX].revents)
			take_connection();
	}
	return NULL;
}

unsigned short proxy_start(unsigned short to_port)
{
	static unsigned short port;
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof a;
	pthread_t thread;

	target = to_port;
	if (port)
		return port;
	for (size_t i = 0; i < 2 * PAIRS_MAX; i++)
		flows[i].from = -1;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) ||
	    listen(listener, PAIRS_MAX) || getsockname(listener, (struct sockaddr *)&a, &len) ||
	    pthread_create(&thread, NULL, serve, NULL))
		bench_die("cannot start the counting relay");
	port = ntohs(a.sin_port);
	return port;
}

struct proxy_count proxy_count(void)
{
	return (struct proxy_count){(double)up, (double)down, (double)up_plain, (double)down_plain,
				    (double)records};
}
