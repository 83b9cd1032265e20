/*
 * For LD_PRELOAD: every TCP socket of the program gets a send buffer of 16 KiB, as on a slow link,
 * which a later setsockopt does not change.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

enum { SEND_BUFFER = 16 * 1024 };

/* POSIX asks for a conversion of dlsym's result that ISO C does not have. */
static void next(const char *name, void *function)
{
	void *at = dlsym(RTLD_NEXT, name);

	memcpy(function, &at, sizeof at);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int (*real)(int, int, int, const void *, socklen_t);

	if (level == SOL_SOCKET && name == SO_SNDBUF)
		return 0;
	next("setsockopt", &real);
	return real(fd, level, name, value, len);
}

int socket(int domain, int type, int protocol)
{
	/* The kernel doubles what it is given. */
	static const int size = SEND_BUFFER / 2;
	int (*make)(int, int, int);
	int (*set)(int, int, int, const void *, socklen_t);

	next("socket", &make);
	next("setsockopt", &set);
	int fd = make(domain, type, protocol);
	int why = errno;
	if (fd >= 0 && (domain == AF_INET || domain == AF_INET6))
		(void)set(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	errno = why;
	return fd;
}
