#include "device/shell/pollset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/*
 * `outer` holds just `inner`, which is made anew each time: a descriptor that was closed, and its
 * number given to another file meanwhile, or that a forked child keeps open, leaves no trace.
 */
struct pollset {
	int outer, inner;
};

int pollset_new(struct pollset **out, struct err *e)
{
	struct pollset *p = calloc(1, sizeof *p);

	if (!p)
		return err_set(e, NE_MEMORY, "out of memory");
	p->inner = -1;
	p->outer = epoll_create1(EPOLL_CLOEXEC);
	if (p->outer < 0) {
		free(p);
		return err_set(e, NE_INTERNAL, "epoll: %s", strerror(errno));
	}
	*out = p;
	return NE_OK;
}

static void drop_inner(struct pollset *p)
{
	if (p->inner < 0)
		return;
	(void)epoll_ctl(p->outer, EPOLL_CTL_DEL, p->inner, NULL);
	close(p->inner);
	p->inner = -1;
}

void pollset_free(struct pollset *p)
{
	if (!p)
		return;
	drop_inner(p);
	close(p->outer);
	free(p);
}

int pollset_fd(const struct pollset *p)
{
	return p->outer;
}

static int add(int epoll, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

static int fill(int epoll, const struct pollfd *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t events = (fds[i].events & POLLIN ? EPOLLIN : 0U) |
				  (fds[i].events & POLLOUT ? EPOLLOUT : 0U);
		if (add(epoll, fds[i].fd, events) != 0)
			return -1;
	}
	return 0;
}

int pollset_watch(struct pollset *p, const struct pollfd *fds, size_t n, struct err *e)
{
	int next = epoll_create1(EPOLL_CLOEXEC);

	if (next < 0 || fill(next, fds, n) != 0 || add(p->outer, next, EPOLLIN) != 0) {
		int rc = err_set(e, NE_INTERNAL, "epoll: %s", strerror(errno));
		if (next >= 0)
			close(next);
		return rc;
	}
	drop_inner(p);
	p->inner = next;
	return NE_OK;
}
