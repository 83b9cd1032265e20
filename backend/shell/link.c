#include "backend/shell/link.h"

#include <MQTTAsync.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/shell/os.h"
#include "broker-config/neap_auth_policy.h"
#include "common/log.h"
#include "net/probe.h"
#include "protocol/limits.h"

enum {
	WINDOW_MESSAGES = 128, /* given to Paho and not yet written */
	WINDOW_BYTES = 512 * 1024,
	BUFFERED_MAX = 1024, /* Paho's own bound, above the window: never met */
	SEND_BUFFER =
		1024 * 1024, /* of the socket: a write that does not fit stalls Paho for a second */
	RETRY_MIN_MS = 200,
	RETRY_MAX_MS = 10000,
	LOOK_WITHIN_MS =
		3000, /* a connection that failed later was not answered: no use to ask why */
	ANSWER_MS = 15000,
	KEEP_ALIVE_S = 20,
	DESCRIPTORS = 8192, /* the lowest free one is taken: ours is among these */
};

enum state {
	DOWN,
	WAITING, /* for the answer to connect or subscribe */
	ANSWERED,
	UP,
};

struct link {
	struct link_config config;
	struct link_events events;
	char uri[300], client_id[32];
	pthread_t thread;
	bool started;

	/* Held across Paho calls that use the handle. No callback takes it. */
	pthread_mutex_t sending;
	MQTTAsync handle;
	int fd; /* Paho's socket, −1 unknown */

	/* Taken by callbacks; never held across a Paho call. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum state state;
	bool stop;
	size_t window_messages, window_bytes;
	struct link_state look;
	char why[256];	  /* the last failure, for the log */
	bool in_the_dark; /* Paho said no more than that connecting failed */
};

static void set_state(struct link *l, enum state to, const char *why)
{
	pthread_mutex_lock(&l->lock);
	l->state = to;
	if (why)
		snprintf(l->why, sizeof l->why, "%s", why);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* Ends the wait for an answer; one that comes after the connection was given up changes nothing. */
static void answer(struct link *l, enum state to, const char *why)
{
	pthread_mutex_lock(&l->lock);
	if (l->state == WAITING) {
		l->state = to;
		if (why)
			snprintf(l->why, sizeof l->why, "%s", why);
		pthread_cond_broadcast(&l->changed);
	}
	pthread_mutex_unlock(&l->lock);
}

static void on_success(void *ctx, MQTTAsync_successData5 *data)
{
	(void)data;
	answer(ctx, ANSWERED, NULL);
}

static void on_subscribed(void *ctx, MQTTAsync_successData5 *data)
{
	struct link *l = ctx;
	bool refused = data->reasonCode >= 0x80;

	if (data->alt.sub.reasonCodeCount > 1)
		for (int i = 0; i < data->alt.sub.reasonCodeCount; i++)
			refused = refused || data->alt.sub.reasonCodes[i] >= 0x80;
	answer(l, refused ? DOWN : ANSWERED, refused ? "the broker refused a subscription" : NULL);
}

static void on_failure(void *ctx, MQTTAsync_failureData5 *data)
{
	struct link *l = ctx;
	/* Paho 1.3.12 puts the reason of a CONNACK into `code`, where its own errors are negative.
	 */
	int reason = (int)data->reasonCode >= 0x80		     ? (int)data->reasonCode
		     : data->code >= 0x80 && data->code <= UINT8_MAX ? data->code
								     : 0;
	char why[160];

	if (reason)
		snprintf(why, sizeof why, "the broker refuses neapd: %s (reason %d)",
			 MQTTReasonCode_toString((enum MQTTReasonCodes)reason), reason);
	else
		snprintf(why, sizeof why, "%s (code %d)",
			 data->message ? data->message : "connecting failed", data->code);
	pthread_mutex_lock(&l->lock);
	l->in_the_dark = l->state == WAITING && !reason;
	pthread_mutex_unlock(&l->lock);
	answer(l, DOWN, why);
}

static void on_lost(void *ctx, char *cause)
{
	(void)cause;
	set_state(ctx, DOWN, "connection lost");
}

static void on_disconnected(void *ctx, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
	char why[64];

	(void)properties;
	snprintf(why, sizeof why, "the broker disconnected us (reason %d)", (int)reason);
	set_state(ctx, DOWN, why);
}

static int on_message(void *ctx, char *topic, int topic_len, MQTTAsync_message *m)
{
	struct link *l = ctx;
	size_t len = topic_len > 0 ? (size_t)topic_len : strlen(topic);

	l->events.up(l->events.ctx, slice_of(topic, len),
		     slice_of(m->payload, (size_t)m->payloadlen), m->retained != 0);
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(topic);
	return 1;
}

/*
 * Paho makes no setsockopt call: without these an acknowledgement waits 40 ms for the peer's. Its
 * descriptor is found by its peer (not by /proc/self/fd, which a process without core dumps may not
 * read).
 */
static int tune_socket(uint16_t port)
{
	int found = -1, on = 1, size = SEND_BUFFER;

	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof peer;

		if (getpeername(fd, (struct sockaddr *)&peer, &len))
			continue;
		in_port_t to = peer.ss_family == AF_INET ? ((struct sockaddr_in *)&peer)->sin_port
			       : peer.ss_family == AF_INET6
				       ? ((struct sockaddr_in6 *)&peer)->sin6_port
				       : 0;
		if (ntohs(to) != port)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
		if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0)
			found = fd;
	}
	return found;
}

static void drop_handle(struct link *l)
{
	pthread_mutex_lock(&l->sending);
	if (l->handle)
		MQTTAsync_destroy(&l->handle);
	l->handle = NULL;
	l->fd = -1;
	pthread_mutex_unlock(&l->sending);

	pthread_mutex_lock(&l->lock);
	l->window_messages = l->window_bytes = 0;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static bool make_handle(struct link *l)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;

	options.maxBufferedMessages = BUFFERED_MAX;
	if (MQTTAsync_createWithOptions(&l->handle, l->uri, l->client_id,
					MQTTCLIENT_PERSISTENCE_NONE, NULL, &options))
		return false;
	return !MQTTAsync_setCallbacks(l->handle, l, on_lost, on_message, NULL) &&
	       !MQTTAsync_setDisconnected(l->handle, l, on_disconnected);
}

static int begin_connect(struct link *l)
{
	MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
	MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer5;

	ssl.trustStore = l->config.ca;
	ssl.keyStore = l->config.cert;
	ssl.privateKey = l->config.key;
	ssl.enableServerCertAuth = 1;
	ssl.verify = 1;
	ssl.disableDefaultTrustStore = 1;
	ssl.sslVersion = MQTT_SSL_VERSION_TLS_1_2;
	options.ssl = &ssl;
	options.username = POLICY_BACKEND;
	options.cleanstart = 1;
	options.keepAliveInterval = KEEP_ALIVE_S;
	options.connectTimeout = 10;
	options.onSuccess5 = on_success;
	options.onFailure5 = on_failure;
	options.context = l;
	return MQTTAsync_connect(l->handle, &options);
}

static int begin_subscribe(struct link *l)
{
	static int qos[256];
	char text[256][20];
	char *filter[256];
	MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
	MQTTSubscribe_options each[256];
	int n = 0;

	for (unsigned s = l->config.shard_lo; s <= l->config.shard_hi; s++, n++) {
		snprintf(text[n], sizeof text[n], "neap/v1/%02x/+/+/up", s);
		filter[n] = text[n];
		each[n] = (MQTTSubscribe_options)MQTTSubscribe_options_initializer;
		qos[n] = 0; /* a PUBACK of ours would prove nothing and cost as much as all else */
	}
	options.onSuccess5 = on_subscribed;
	options.onFailure5 = on_failure;
	options.context = l;
	options.subscribeOptionsList = each;
	options.subscribeOptionsCount = n;
	options.subscribeOptions = each[0];
	return MQTTAsync_subscribeMany(l->handle, n, filter, qos, &options);
}

/* Starts a request and waits for its answer. */
static bool request(struct link *l, int (*begin)(struct link *l))
{
	struct timespec until = mono_after_ms(ANSWER_MS);

	set_state(l, WAITING, NULL);
	pthread_mutex_lock(&l->sending);
	int rc = begin(l);
	pthread_mutex_unlock(&l->sending);
	if (rc) {
		set_state(l, DOWN, MQTTAsync_strerror(rc));
		return false;
	}
	pthread_mutex_lock(&l->lock);
	while (l->state == WAITING && !l->stop)
		if (pthread_cond_timedwait(&l->changed, &l->lock, &until))
			break;
	bool ok = l->state == ANSWERED;
	if (l->state == WAITING)
		snprintf(l->why, sizeof l->why, "no answer in time");
	pthread_mutex_unlock(&l->lock);
	return ok;
}

/* Paho says no more than "TCP/TLS connect failure": finds out what it was. */
static void look_into(struct link *l)
{
	const struct probe_target t = {.host = l->config.host,
				       .port = l->config.port,
				       .ca_file = l->config.ca,
				       .cert_file = l->config.cert,
				       .key_file = l->config.key};
	struct err e = {0};
	int rc = probe_tls(&t, &e);

	if (!rc) /* TLS works now: what Paho said stands */
		return;
	pthread_mutex_lock(&l->lock);
	snprintf(l->why, sizeof l->why, "%s%.200s",
		 rc == NE_CERT ? "the broker's certificate is refused: " : "", e.text);
	pthread_mutex_unlock(&l->lock);
}

static bool connect_or_say_why(struct link *l)
{
	uint64_t began_ms = mono_ms();

	pthread_mutex_lock(&l->lock);
	l->in_the_dark = false;
	pthread_mutex_unlock(&l->lock);
	if (request(l, begin_connect))
		return true;
	pthread_mutex_lock(&l->lock);
	bool ask = l->in_the_dark && !l->stop && mono_ms() - began_ms < LOOK_WITHIN_MS;
	pthread_mutex_unlock(&l->lock);
	if (ask)
		look_into(l);
	return false;
}

static bool come_up(struct link *l)
{
	pthread_mutex_lock(&l->sending);
	bool ok = make_handle(l);
	pthread_mutex_unlock(&l->sending);
	if (!ok || !connect_or_say_why(l))
		return false;
	l->fd = tune_socket(l->config.port);
	if (!request(l, begin_subscribe))
		return false;
	pthread_mutex_lock(&l->lock);
	ok = l->state == ANSWERED;
	if (ok) {
		l->state = UP;
		l->look.connected = true;
		l->look.connects++;
	}
	pthread_mutex_unlock(&l->lock);
	return ok;
}

/* Waits until the connection is lost or the link is stopped. */
static void stay_up(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->state == UP && !l->stop)
		pthread_cond_wait(&l->changed, &l->lock);
	l->look.connected = false;
	pthread_mutex_unlock(&l->lock);
}

/* Full jitter: anything between nothing and the bound, which doubles. False: stopped. */
static bool back_off(struct link *l, uint64_t *bound_ms)
{
	struct timespec until = mono_after_ms(os_random_upto(*bound_ms));

	*bound_ms = *bound_ms * 2 < RETRY_MAX_MS ? *bound_ms * 2 : RETRY_MAX_MS;
	pthread_mutex_lock(&l->lock);
	while (!l->stop && pthread_cond_timedwait(&l->changed, &l->lock, &until) == 0)
		continue;
	bool stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return !stop;
}

static void *link_thread(void *arg)
{
	struct link *l = arg;
	uint64_t bound_ms = RETRY_MIN_MS;
	char quoted[300];

	do {
		if (come_up(l)) {
			log_line(LOG_INFO, "broker_connected", "host=%s port=%u nodelay=%d",
				 l->config.host, l->config.port, l->fd >= 0);
			bound_ms = RETRY_MIN_MS;
			l->events.connected(l->events.ctx);
			stay_up(l);
		}
		pthread_mutex_lock(&l->lock);
		bool stop = l->stop;
		l->look.failures += !stop;
		log_quote(l->why, quoted, sizeof quoted);
		pthread_mutex_unlock(&l->lock);
		if (stop)
			break;
		log_line(LOG_WARN, "broker_unreachable", "host=%s port=%u why=%s", l->config.host,
			 l->config.port, quoted);
		drop_handle(l);
	} while (back_off(l, &bound_ms));
	return NULL;
}

static int check_file(const char *path, struct err *e)
{
	if (access(path, R_OK))
		return err_set(e, NE_NOT_FOUND, "broker link: %s cannot be read", path);
	return NE_OK;
}

int link_new(struct link **out, const struct link_config *c, const struct link_events *ev,
	     struct err *e)
{
	pthread_condattr_t attr;

	TRY(check_file(c->ca, e));
	TRY(check_file(c->cert, e));
	TRY(check_file(c->key, e));
	struct link *l = calloc(1, sizeof *l);
	if (!l)
		return err_set(e, NE_MEMORY, "out of memory");
	l->config = *c;
	l->events = *ev;
	l->fd = -1;
	bool v6 = strchr(c->host, ':') != NULL;
	snprintf(l->uri, sizeof l->uri, v6 ? "ssl://[%s]:%u" : "ssl://%s:%u", c->host, c->port);
	snprintf(l->client_id, sizeof l->client_id, POLICY_BACKEND "/%u-%u", c->shard_lo,
		 c->shard_hi);
	pthread_mutex_init(&l->sending, NULL);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	*out = l;
	return NE_OK;
}

int link_start(struct link *l, struct err *e)
{
	if (pthread_create(&l->thread, NULL, link_thread, l))
		return err_set(e, NE_MEMORY, "no thread for the broker link");
	l->started = true;
	return NE_OK;
}

void link_stop(struct link *l)
{
	MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer5;

	if (!l)
		return;
	struct timespec until = mono_after_ms(1000);
	pthread_mutex_lock(&l->lock);
	while (l->state == UP && l->window_messages)
		if (pthread_cond_timedwait(&l->changed, &l->lock, &until))
			break;
	l->stop = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (l->started)
		pthread_join(l->thread, NULL);
	options.timeout = 200;
	if (l->handle)
		MQTTAsync_disconnect(l->handle, &options);
	drop_handle(l);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->sending);
	free(l);
}

static void on_written(struct link *l, size_t bytes)
{
	pthread_mutex_lock(&l->lock);
	if (l->window_messages) { /* else the handle was dropped meanwhile */
		l->window_messages--;
		l->window_bytes -= bytes < l->window_bytes ? bytes : l->window_bytes;
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void on_sent(void *ctx, MQTTAsync_successData5 *data)
{
	on_written(ctx, (size_t)data->alt.pub.message.payloadlen);
}

static void on_unsent(void *ctx, MQTTAsync_failureData5 *data)
{
	(void)data;
	on_written(ctx, 0);
}

/* Takes `bytes` of the window; false when the link is or goes down. */
static bool take_window(struct link *l, size_t bytes)
{
	pthread_mutex_lock(&l->lock);
	while (l->state == UP && !l->stop &&
	       (l->window_messages >= WINDOW_MESSAGES || l->window_bytes >= WINDOW_BYTES))
		pthread_cond_wait(&l->changed, &l->lock);
	bool ok = l->state == UP;
	if (ok) {
		l->window_messages++;
		l->window_bytes += bytes;
	}
	pthread_mutex_unlock(&l->lock);
	return ok;
}

int link_publish(struct link *l, const char *topic, struct slice payload, bool retain)
{
	MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
	int rc = MQTTASYNC_DISCONNECTED;

	if (payload.len > LIMIT_MESSAGE)
		return NE_LIMIT;
	if (!take_window(l, payload.len))
		return NE_UNREACHABLE;
	options.onSuccess5 = on_sent;
	options.onFailure5 = on_unsent;
	options.context = l;
	pthread_mutex_lock(&l->sending);
	if (l->handle) {
		/* A write that does not fit into the socket's buffer would stall Paho for up to a
		 * second. */
		struct pollfd room = {.fd = l->fd, .events = POLLOUT};
		if (l->fd >= 0)
			poll(&room, 1, 1000);
		rc = MQTTAsync_send(l->handle, topic, (int)payload.len, payload.at, 0, retain,
				    &options);
	}
	pthread_mutex_unlock(&l->sending);
	if (!rc)
		return NE_OK;
	on_written(l, payload.len);
	return NE_UNREACHABLE;
}

void link_look(struct link *l, struct link_state *out)
{
	pthread_mutex_lock(&l->lock);
	*out = l->look;
	pthread_mutex_unlock(&l->lock);
}
