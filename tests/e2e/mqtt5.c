#include "tests/e2e/mqtt5.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PACKET_MAX = 1 << 18, OUT_MAX = 1 << 26, EVENTS = 256 };

enum packet {
	CONNECT = 1,
	CONNACK = 2,
	PUBLISH = 3,
	PUBACK = 4,
	SUBSCRIBE = 8,
	SUBACK = 9,
	PINGREQ = 12,
	DISCONNECT = 14,
};

struct mqtt5 {
	struct mqtt5_loop *loop;
	struct mqtt5 *next_garbage;
	struct mqtt5_events events;
	SSL *ssl;
	int fd;
	uint32_t interest;
	bool v5, secured, over, freed;
	uint16_t last_id;
	struct buf in, out;
	size_t out_done;
};

struct mqtt5_loop {
	int epoll;
	struct mqtt5 *garbage;
};

struct mqtt5_loop *mqtt5_loop_new(void)
{
	struct mqtt5_loop *l = calloc(1, sizeof *l);
	assert(l);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	assert(l->epoll >= 0);
	return l;
}

static void reap(struct mqtt5_loop *l)
{
	while (l->garbage) {
		struct mqtt5 *c = l->garbage;
		l->garbage = c->next_garbage;
		buf_free(&c->in);
		buf_free(&c->out);
		free(c);
	}
}

void mqtt5_loop_free(struct mqtt5_loop *l)
{
	reap(l);
	close(l->epoll);
	free(l);
}

static void shut(struct mqtt5 *c)
{
	if (c->fd < 0)
		return;
	SSL_free(c->ssl);
	close(c->fd);
	c->fd = -1;
	c->over = true;
}

static void end(struct mqtt5 *c, int reason)
{
	if (c->over)
		return;
	shut(c);
	if (c->events.closed)
		c->events.closed(c->events.ctx, c, reason);
}

void mqtt5_free(struct mqtt5 *c)
{
	if (!c || c->freed)
		return;
	shut(c);
	c->freed = true;
	c->next_garbage = c->loop->garbage;
	c->loop->garbage = c;
}

/* --- packets out --- */

static void put(struct buf *b, const void *bytes, size_t len)
{
	assert(buf_put(b, bytes, len) == NE_OK);
}

static void put_u8(struct buf *b, unsigned v)
{
	uint8_t byte = (uint8_t)v;
	put(b, &byte, 1);
}

static void put_u16(struct buf *b, unsigned v)
{
	put_u8(b, v >> 8 & 0xff);
	put_u8(b, v & 0xff);
}

static void put_length(struct buf *b, size_t n)
{
	do {
		put_u8(b, (unsigned)((n & 0x7f) | (n > 0x7f ? 0x80 : 0)));
		n >>= 7;
	} while (n);
}

static void put_text(struct buf *b, const char *text)
{
	put_u16(b, (unsigned)strlen(text));
	put(b, text, strlen(text));
}

static void pump_out(struct mqtt5 *c);

static void send_packet(struct mqtt5 *c, unsigned type_flags, struct buf *body)
{
	put_u8(&c->out, type_flags);
	put_length(&c->out, body->len);
	put(&c->out, body->at, body->len);
	buf_free(body);
	if (c->secured)
		pump_out(c);
}

static void send_connect(struct mqtt5 *c, const struct mqtt5_options *o)
{
	struct buf b = {.max = PACKET_MAX};
	unsigned flags = 0x02;

	flags |= o->username ? 0x80 : 0;
	flags |= o->password ? 0x40 : 0;
	flags |= o->will_topic ? 0x04 : 0;
	flags |= o->will_topic && o->will_retain ? 0x20 : 0;
	put_text(&b, "MQTT");
	put_u8(&b, o->version ? o->version : 5);
	put_u8(&b, flags);
	put_u16(&b, o->keep_alive_s ? o->keep_alive_s : 60);
	if (c->v5)
		put_length(&b, 0);
	put_text(&b, o->client_id);
	if (o->will_topic) {
		if (c->v5)
			put_length(&b, 0);
		put_text(&b, o->will_topic);
		put_text(&b, o->will_payload);
	}
	if (o->username)
		put_text(&b, o->username);
	if (o->password)
		put_text(&b, o->password);
	send_packet(c, CONNECT << 4, &b);
}

static uint16_t next_id(struct mqtt5 *c)
{
	c->last_id = c->last_id == 65535 ? 1 : (uint16_t)(c->last_id + 1);
	return c->last_id;
}

uint16_t mqtt5_subscribe(struct mqtt5 *c, const char *const *filter, size_t n)
{
	struct buf b = {.max = PACKET_MAX};

	if (c->over)
		return 0;
	uint16_t id = next_id(c);
	put_u16(&b, id);
	if (c->v5)
		put_length(&b, 0);
	for (size_t i = 0; i < n; i++) {
		put_text(&b, filter[i]);
		put_u8(&b, 0);
	}
	send_packet(c, SUBSCRIBE << 4 | 2, &b);
	return id;
}

uint16_t mqtt5_publish(struct mqtt5 *c, const char *topic, struct slice payload, int qos,
		       bool retain)
{
	struct buf b = {.max = PACKET_MAX};

	if (c->over)
		return 0;
	uint16_t id = next_id(c);
	put_text(&b, topic);
	if (qos)
		put_u16(&b, id);
	if (c->v5)
		put_length(&b, 0);
	put(&b, payload.at, payload.len);
	send_packet(c, (unsigned)(PUBLISH << 4 | qos << 1 | (retain ? 1 : 0)), &b);
	return id;
}

void mqtt5_ping(struct mqtt5 *c)
{
	struct buf b = {.max = 16};
	if (!c->over)
		send_packet(c, PINGREQ << 4, &b);
}

void mqtt5_leave(struct mqtt5 *c)
{
	struct buf b = {.max = 16};
	if (!c->over)
		send_packet(c, DISCONNECT << 4, &b);
	mqtt5_free(c);
}

size_t mqtt5_unsent(const struct mqtt5 *c)
{
	return c->out.len - c->out_done;
}

/* --- packets in --- */

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static unsigned get_u8(struct reader *r)
{
	if (!r->left) {
		r->bad = true;
		return 0;
	}
	r->left--;
	return *r->at++;
}

static unsigned get_u16(struct reader *r)
{
	unsigned high = get_u8(r);
	return high << 8 | get_u8(r);
}

static size_t get_length(struct reader *r)
{
	size_t n = 0;
	for (unsigned shift = 0, byte = 0x80; byte & 0x80 && shift < 28; shift += 7) {
		byte = get_u8(r);
		n |= (size_t)(byte & 0x7f) << shift;
	}
	return n;
}

static struct slice get_bytes(struct reader *r, size_t n)
{
	if (n > r->left) {
		r->bad = true;
		n = r->left;
	}
	struct slice s = slice_of(r->at, n);
	r->at += n;
	r->left -= n;
	return s;
}

static void skip_properties(struct mqtt5 *c, struct reader *r)
{
	if (c->v5)
		get_bytes(r, get_length(r));
}

static void on_publish(struct mqtt5 *c, unsigned flags, struct reader *r)
{
	struct slice topic = get_bytes(r, get_u16(r));
	unsigned qos = flags >> 1 & 3, id = qos ? get_u16(r) : 0;

	skip_properties(c, r);
	if (r->bad)
		return;
	if (qos == 1) {
		struct buf b = {.max = 16};
		put_u16(&b, id);
		send_packet(c, PUBACK << 4, &b);
	}
	if (c->events.message && !c->over)
		c->events.message(c->events.ctx, c, topic, slice_of(r->at, r->left), flags & 1);
}

static void on_packet(struct mqtt5 *c, unsigned head, struct reader *r)
{
	unsigned id, reason;

	switch (head >> 4) {
	case CONNACK:
		get_u8(r);
		reason = get_u8(r);
		if (c->events.connack)
			c->events.connack(c->events.ctx, c, (int)reason);
		break;
	case PUBLISH:
		on_publish(c, head & 15, r);
		break;
	case PUBACK:
		id = get_u16(r);
		reason = r->left ? get_u8(r) : 0;
		if (c->events.puback)
			c->events.puback(c->events.ctx, c, (uint16_t)id, (int)reason);
		break;
	case SUBACK:
		id = get_u16(r);
		skip_properties(c, r);
		if (c->events.suback)
			c->events.suback(c->events.ctx, c, (uint16_t)id, slice_of(r->at, r->left));
		break;
	case DISCONNECT:
		end(c, r->left ? (int)get_u8(r) : 0);
		break;
	default:
		break;
	}
}

/* Handles the whole packets in the buffer. */
static void parse(struct mqtt5 *c)
{
	size_t used = 0;

	while (!c->over) {
		struct reader r = {c->in.at + used, c->in.len - used, false};
		unsigned head = get_u8(&r);
		size_t len = get_length(&r);
		if (r.bad || len > r.left)
			break;
		used = (size_t)(r.at - c->in.at) + len;
		r.left = len;
		on_packet(c, head, &r);
	}
	if (c->freed || !used)
		return;
	memmove(c->in.at, c->in.at + used, c->in.len - used);
	c->in.len -= used;
}

/* --- the socket --- */

static void want(struct mqtt5 *c, uint32_t interest)
{
	struct epoll_event ev = {.events = interest, .data.ptr = c};
	if (c->fd < 0 || interest == c->interest)
		return;
	c->interest = interest;
	epoll_ctl(c->loop->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void pump_out(struct mqtt5 *c)
{
	while (!c->over && c->out_done < c->out.len) {
		size_t left = c->out.len - c->out_done;
		int n = SSL_write(c->ssl, c->out.at + c->out_done,
				  (int)(left > 65536 ? 65536 : left));
		if (n <= 0) {
			int why = SSL_get_error(c->ssl, n);
			if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
				end(c, MQTT5_CLOSED);
			want(c, EPOLLIN | EPOLLOUT);
			return;
		}
		c->out_done += (size_t)n;
	}
	buf_clear(&c->out);
	c->out_done = 0;
	want(c, EPOLLIN);
}

static void pump_in(struct mqtt5 *c)
{
	while (!c->over) {
		if (buf_reserve(&c->in, 16384))
			end(c, MQTT5_CLOSED);
		else {
			int n = SSL_read(c->ssl, c->in.at + c->in.len, 16384);
			if (n > 0) {
				c->in.len += (size_t)n;
				parse(c);
				continue;
			}
			int why = SSL_get_error(c->ssl, n);
			if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
				return;
			end(c, MQTT5_CLOSED);
		}
	}
}

static void on_event(struct mqtt5 *c, uint32_t events)
{
	if (!c->secured) {
		int n = SSL_do_handshake(c->ssl);
		if (n != 1) {
			int why = SSL_get_error(c->ssl, n);
			if (why == SSL_ERROR_WANT_READ)
				want(c, EPOLLIN);
			else if (why == SSL_ERROR_WANT_WRITE)
				want(c, EPOLLIN | EPOLLOUT);
			else
				end(c, MQTT5_CLOSED);
			return;
		}
		c->secured = true;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		pump_in(c);
	if (!c->over)
		pump_out(c);
}

void mqtt5_loop_run(struct mqtt5_loop *l, int ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(l->epoll, ev, EVENTS, ms);

	for (int i = 0; i < n; i++) {
		struct mqtt5 *c = ev[i].data.ptr;
		if (!c->over && !c->freed)
			on_event(c, ev[i].events);
	}
	reap(l);
}

struct mqtt5 *mqtt5_connect(struct mqtt5_loop *l, const struct mqtt5_options *o,
			    const struct mqtt5_events *ev)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(o->port)};
	struct epoll_event watch = {.events = EPOLLIN | EPOLLOUT};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return NULL;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	connect(fd, (struct sockaddr *)&to, sizeof to); /* its failure shows in the handshake */
	struct mqtt5 *c = calloc(1, sizeof *c);
	assert(c);
	c->loop = l;
	c->events = *ev;
	c->fd = fd;
	c->v5 = !o->version || (o->version & 0x7f) == 5;
	c->in.max = PACKET_MAX;
	c->out.max = OUT_MAX;
	c->ssl = SSL_new(o->tls);
	assert(c->ssl);
	/* What is unsent moves when more is put behind it. */
	SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_set_fd(c->ssl, fd);
	SSL_set_connect_state(c->ssl);
	SSL_set_tlsext_host_name(c->ssl, "localhost");
	send_connect(c, o);
	c->interest = watch.events;
	watch.data.ptr = c;
	epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &watch);
	return c;
}
