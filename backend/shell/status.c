#define _GNU_SOURCE /* struct ucred */
#include "backend/shell/status.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/shell/os.h"

enum { ANSWER_MS = 2000, JSON_MAX = 65536 };

static int address(const struct config *c, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(a->sun_path, sizeof a->sun_path, "%s/neapd.sock", c->run_dir);
	if (n < 0 || (size_t)n >= sizeof a->sun_path)
		return err_set(e, NE_USAGE, "the path of run_dir is too long for a socket: %s",
			       c->run_dir);
	return NE_OK;
}

int status_listen(const struct config *c, int *out, struct err *e)
{
	struct sockaddr_un a;

	TRY(address(c, &a, e));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, NE_INTERNAL, "no socket: %s", strerror(errno));
	/* A neapd that was killed leaves its socket; one that runs is fenced by the store's term.
	 */
	unlink(a.sun_path);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || chmod(a.sun_path, 0600) ||
	    listen(fd, 16)) {
		int why = errno;
		close(fd);
		return err_set(e, NE_DISK, "%s cannot be made: %s", a.sun_path, strerror(why));
	}
	*out = fd;
	return NE_OK;
}

void status_answer(int fd, struct slice json)
{
	struct ucred peer = {0};
	socklen_t len = sizeof peer;
	int size = JSON_MAX;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (client < 0)
		return;
	if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    (peer.uid == 0 || peer.uid == geteuid())) {
		setsockopt(client, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
		/* Fits into the socket's buffer; a reader that went away is its own loss. */
		ssize_t n = send(client, json.at, json.len, MSG_NOSIGNAL);
		(void)n;
	}
	close(client);
}

static int read_all(int fd, struct buf *out, struct err *e)
{
	uint64_t until = mono_ms() + ANSWER_MS;
	uint8_t bytes[4096];

	for (;;) {
		uint64_t now = mono_ms();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
			return err_set(e, NE_UNREACHABLE, "neapd does not answer on its socket");
		ssize_t n = read(fd, bytes, sizeof bytes);
		if (n < 0)
			return err_set(e, NE_UNREACHABLE, "neapd's socket: %s", strerror(errno));
		if (n == 0)
			return NE_OK;
		TRY(buf_put(out, bytes, (size_t)n));
	}
}

int serve_status(const struct config *c, struct buf *json, struct err *e)
{
	struct sockaddr_un a;

	TRY(address(c, &a, e));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, NE_INTERNAL, "no socket: %s", strerror(errno));
	int rc = NE_OK;
	if (connect(fd, (struct sockaddr *)&a, sizeof a))
		rc = err_set(e, NE_UNREACHABLE, "no neapd runs with this configuration (%s: %s)",
			     a.sun_path, strerror(errno));
	size_t before = json->len;
	if (!rc)
		rc = read_all(fd, json, e);
	if (!rc && json->len == before)
		rc = err_set(e, NE_UNREACHABLE, "neapd gave no answer; is it another user's?");
	close(fd);
	return rc;
}
