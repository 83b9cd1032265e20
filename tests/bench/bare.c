#include "tests/bench/bare.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { AT_A_TIME = 64 }; /* fleet_device.c's */

struct connection {
	int fd;
	SSL *ssl;
};

static struct connection begin(unsigned short port, SSL_CTX *tls)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct connection c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
			       .ssl = SSL_new(tls)};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (c.fd < 0 || !c.ssl || connect(c.fd, (struct sockaddr *)&to, sizeof to) ||
	    fcntl(c.fd, F_SETFL, O_NONBLOCK) || SSL_set_fd(c.ssl, c.fd) != 1)
		bench_die("a bare connection to the broker failed");
	SSL_set_connect_state(c.ssl);
	return c;
}

/* Goes on with those of `open` that have something to read; true for each that is through. */
static size_t go_on(struct connection *open, struct pollfd *p, size_t n, bool *through)
{
	size_t done = 0;

	for (size_t i = 0; i < n; i++) {
		int rc;

		through[i] = false;
		if (!p[i].revents)
			continue;
		rc = SSL_do_handshake(open[i].ssl);
		if (rc == 1)
			through[i] = true;
		else if (SSL_get_error(open[i].ssl, rc) != SSL_ERROR_WANT_READ)
			bench_die("a bare TLS handshake failed");
		done += through[i];
	}
	return done;
}

double bare_connects(unsigned short port, SSL_CTX *tls, size_t n)
{
	struct connection *all = calloc(n, sizeof *all), open[AT_A_TIME];
	struct pollfd p[AT_A_TIME];
	bool through[AT_A_TIME];
	size_t begun = 0, done = 0, n_open = 0;
	double start = bench_now();

	if (!all)
		bench_die("no memory for %zu connections", n);
	while (done < n) {
		size_t left = 0;

		while (n_open < AT_A_TIME && begun < n) {
			open[n_open] = begin(port, tls);
			p[n_open] = (struct pollfd){.fd = open[n_open].fd, .events = POLLIN};
			p[n_open].revents = POLLIN; /* the first step is ours */
			through[n_open] = false;
			go_on(open + n_open, p + n_open, 1, through + n_open);
			n_open++;
			begun++;
		}
		if (poll(p, n_open, 10000) <= 0)
			bench_die("the broker does not answer");
		go_on(open, p, n_open, through);
		for (size_t i = 0; i < n_open; i++) {
			if (through[i]) {
				all[done++] = open[i];
			} else {
				open[left] = open[i];
				p[left++] = p[i];
			}
		}
		n_open = left;
	}
	start = bench_now() - start;
	for (size_t i = 0; i < n; i++) {
		SSL_free(all[i].ssl);
		close(all[i].fd);
	}
	free(all);
	return start;
}
