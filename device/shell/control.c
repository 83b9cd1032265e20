#define _GNU_SOURCE /* accept4, struct ucred */
#include "device/shell/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/bytes.h"
#include "device/shell/clock.h"

struct client {
	uint64_t id; /* 0: free */
	int fd;
	struct buf in, out;
};

struct control {
	struct paths paths;
	int fd;
	control_fn fn;
	void *ctx;
	uint64_t last_id;
	struct client client[CONTROL_CLIENTS];
};

/*
 * sun_path holds 108 bytes, a database's path may be longer: the folder goes through /proc.
 * *dir stays open while the address is used.
 */
static int address(const struct paths *p, int *dir, struct sockaddr_un *out, struct err *e)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	*dir = open(p->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dir < 0)
		return err_set(e, NE_DISK, "%s cannot be opened: %s", p->dir, strerror(errno));
	int n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s.neap-sock", *dir,
			 p->name);
	if (n < (int)sizeof out->sun_path)
		return NE_OK;
	close(*dir);
	return err_set(e, NE_USAGE, "the name of '%s' is too long for its control socket", p->name);
}

static int bind_socket(int fd, const struct paths *p, struct err *e)
{
	struct sockaddr_un at;
	int dir;

	TRY(address(p, &dir, &at, e));
	(void)unlink(p->sock);
	/* On Linux the mode of an unbound socket is the mode of the file it becomes. */
	int rc = fchmod(fd, 0600) || bind(fd, (struct sockaddr *)&at, sizeof at) ||
		 listen(fd, CONTROL_CLIENTS);
	int why = errno;
	close(dir);
	return rc ? err_set(e, NE_DISK, "the control socket %s cannot be made: %s", p->sock,
			    strerror(why))
		  : NE_OK;
}

int control_new(struct control **out, const struct paths *p, control_fn fn, void *ctx,
		struct err *e)
{
	struct control *c = calloc(1, sizeof *c);

	if (!c)
		return err_set(e, NE_MEMORY, "out of memory");
	c->paths = *p;
	c->fn = fn;
	c->ctx = ctx;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = c->fd < 0 ? err_set(e, NE_INTERNAL, "socket: %s", strerror(errno))
			   : bind_socket(c->fd, p, e);
	if (rc) {
		if (c->fd >= 0)
			close(c->fd);
		free(c);
		return rc;
	}
	*out = c;
	return NE_OK;
}

static void hang_up(struct client *k)
{
	close(k->fd);
	buf_free(&k->in);
	buf_free(&k->out);
	*k = (struct client){0};
}

void control_free(struct control *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (c->client[i].id)
			hang_up(&c->client[i]);
	(void)unlink(c->paths.sock);
	close(c->fd);
	free(c);
}

size_t control_fds(const struct control *c, struct pollfd *out)
{
	size_t n = 0;

	out[n++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		const struct client *k = &c->client[i];
		if (k->id)
			out[n++] = (struct pollfd){
				.fd = k->fd,
				.events = (short)(POLLIN | (k->out.len ? POLLOUT : 0))};
	}
	return n;
}

/* The file's mode says it already; this says it for a socket someone widened. */
static bool same_user(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static void accept_all(struct control *c)
{
	int fd;

	while ((fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct client *k = NULL;

		for (size_t i = 0; i < CONTROL_CLIENTS && !k; i++)
			if (!c->client[i].id)
				k = &c->client[i];
		if (!k || !same_user(fd)) {
			close(fd);
			continue;
		}
		*k = (struct client){.id = ++c->last_id,
				     .fd = fd,
				     .in = {.max = CONTROL_LINE},
				     .out = {.max = CONTROL_OUT}};
	}
}

static void flush(struct client *k)
{
	while (k->out.len > 0) {
		ssize_t n = send(k->fd, k->out.at, k->out.len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			hang_up(k);
			return;
		}
		memmove(k->out.at, k->out.at + n, k->out.len - (size_t)n);
		k->out.len -= (size_t)n;
	}
}

bool control_send(struct control *c, uint64_t client, json_t *line)
{
	struct client *k = NULL;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (client && c->client[i].id == client)
			k = &c->client[i];
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	json_decref(line);
	if (!k) {
		free(text);
		return false;
	}
	if (!text || buf_printf(&k->out, "%s\n", text))
		hang_up(k);
	else
		flush(k);
	free(text);
	return true;
}

static void request(struct control *c, struct client *k, size_t len)
{
	uint64_t id = k->id;
	json_t *doc = json_loadb((const char *)k->in.at, len, JSON_REJECT_DUPLICATES, NULL);

	memmove(k->in.at, k->in.at + len + 1, k->in.len - len - 1);
	k->in.len -= len + 1;
	if (doc)
		c->fn(c->ctx, id, doc);
	else
		control_send(c, id,
			     json_pack("{s:i, s:s}", "code", NE_MALFORMED, "text",
				       "the request is not a JSON object"));
	json_decref(doc);
}

static void serve(struct control *c, struct client *k)
{
	char bytes[4096];
	ssize_t n;
	uint64_t id = k->id;

	while ((n = recv(k->fd, bytes, sizeof bytes, 0)) > 0)
		if (buf_put(&k->in, bytes, (size_t)n)) {
			hang_up(k);
			return;
		}
	bool ended = n == 0 || (errno != EAGAIN && errno != EINTR);
	const void *end;
	/* A callback may hang up: look again at each turn. */
	while (k->id == id && k->in.len > 0 && (end = memchr(k->in.at, '\n', k->in.len)) != NULL)
		request(c, k, (size_t)((const uint8_t *)end - k->in.at));
	if (k->id != id)
		return;
	if (ended)
		hang_up(k);
	else
		flush(k);
}

void control_step(struct control *c)
{
	accept_all(c);
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (c->client[i].id)
			serve(c, &c->client[i]);
}

/* --- the caller's side --- */

static int dial(const struct paths *p, int *fd, struct err *e)
{
	struct sockaddr_un at;
	int dir;

	TRY(address(p, &dir, &at, e));
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = *fd >= 0 && connect(*fd, (struct sockaddr *)&at, sizeof at) == 0;
	int why = errno;
	close(dir);
	if (good)
		return NE_OK;
	if (*fd >= 0)
		close(*fd);
	return err_set(e, NE_UNREACHABLE, "no agent answers on %s: %s", p->sock, strerror(why));
}

static int send_line(int fd, const json_t *request_doc, struct err *e)
{
	char *text = json_dumps(request_doc, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return err_set(e, NE_MEMORY, "out of memory");
	text[len] = '\n'; /* in place of the NUL: the length is known */
	ssize_t n = send(fd, text, len + 1, MSG_NOSIGNAL);
	free(text);
	return n == (ssize_t)(len + 1) ? NE_OK : err_set(e, NE_UNREACHABLE, "the agent hung up");
}

static int line_code(const json_t *line, struct err *e)
{
	int code = (int)json_integer_value(json_object_get(line, "code"));
	const char *text = json_string_value(json_object_get(line, "text"));

	return code ? err_set(e, code, "%s", text ? text : ne_name(code)) : NE_OK;
}

struct caller {
	int fd;
	uint64_t until_ms; /* mono; 0 never */
	struct buf in;
};

/* Waits for more bytes. */
static int receive(struct caller *k, struct err *e)
{
	char bytes[8192];
	struct pollfd p = {.fd = k->fd, .events = POLLIN};
	uint64_t now = mono_ms();

	if (k->until_ms && now >= k->until_ms)
		return err_set(e, NE_TIMEOUT, "the agent did not finish in time");
	int n = poll(&p, 1, k->until_ms ? (int)(k->until_ms - now) : -1);
	if (n < 0 && errno != EINTR)
		return err_set(e, NE_INTERNAL, "poll: %s", strerror(errno));
	if (n <= 0)
		return NE_OK;
	ssize_t got = recv(k->fd, bytes, sizeof bytes, 0);
	if (got <= 0)
		return err_set(e, NE_UNREACHABLE, "the agent hung up; is it stopping?");
	return buf_put(&k->in, bytes, (size_t)got);
}

static int converse(struct caller *k, void (*on_line)(void *ctx, const json_t *line), void *ctx,
		    struct err *e)
{
	for (;;) {
		const void *end = k->in.len ? memchr(k->in.at, '\n', k->in.len) : NULL;
		if (!end) {
			TRY(receive(k, e));
			continue;
		}
		size_t len = (size_t)((const uint8_t *)end - k->in.at);
		json_t *line = json_loadb((const char *)k->in.at, len, 0, NULL);
		memmove(k->in.at, k->in.at + len + 1, k->in.len - len - 1);
		k->in.len -= len + 1;
		if (!line)
			return err_set(e, NE_MALFORMED, "the agent's answer is not JSON");
		bool last = json_object_get(line, "code") != NULL;
		int rc = last ? line_code(line, e) : NE_OK;
		if (on_line)
			on_line(ctx, line);
		json_decref(line);
		if (last)
			return rc;
	}
}

int control_call(const struct paths *p, const json_t *request_doc, uint64_t timeout_ms,
		 void (*on_line)(void *ctx, const json_t *line), void *ctx, struct err *e)
{
	struct caller k = {.in = {.max = CONTROL_OUT}};

	TRY(dial(p, &k.fd, e));
	k.until_ms = timeout_ms ? mono_ms() + timeout_ms : 0;
	int rc = send_line(k.fd, request_doc, e);
	if (!rc)
		rc = converse(&k, on_line, ctx, e);
	buf_free(&k.in);
	close(k.fd);
	return rc;
}
