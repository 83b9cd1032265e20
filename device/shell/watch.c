#include "device/shell/watch.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

int watch_open(const struct paths *p)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	/* The folder, not the files: the WAL and the secret come and go. */
	if (fd >= 0 &&
	    inotify_add_watch(fd, p->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static unsigned meaning(const struct paths *p, const char *name)
{
	size_t n = strlen(p->name);

	if (strncmp(name, p->name, n) != 0)
		return 0;
	if (!name[n] || !strcmp(name + n, "-wal"))
		return WATCH_DB;
	return strcmp(name + n, ".neap-secret") ? 0 : WATCH_SECRET;
}

unsigned watch_read(int fd, const struct paths *p)
{
	_Alignas(struct inotify_event) char bytes[4096];
	unsigned seen = 0;
	ssize_t n;

	while ((n = read(fd, bytes, sizeof bytes)) > 0) {
		for (char *at = bytes; at < bytes + n;) {
			const struct inotify_event *ev = (const struct inotify_event *)(void *)at;
			if (ev->mask & IN_Q_OVERFLOW)
				seen |= WATCH_DB | WATCH_SECRET;
			else if (ev->len > 0)
				seen |= meaning(p, ev->name);
			at += sizeof *ev + ev->len;
		}
	}
	return seen;
}
