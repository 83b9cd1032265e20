/*
 * The link over Eclipse Paho's asynchronous client. Paho's callbacks run in its threads
 * under a process-wide lock: they post a letter and return. Everything else, every Paho call
 * included, happens in the agent's thread.
 */
#define _GNU_SOURCE /* memfd_create */

#include <MQTTAsync.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "device/shell/link.h"
#include "device/shell/login.h"
#include "device/shell/nodelay.h"
#include "device/shell/probe.h"

enum phase { PHASE_IDLE, PHASE_CONNECTING, PHASE_CONNECTED, PHASE_CLOSING };

enum {
	CLOSE_WAIT_MS = 1000,
	N_TOPIC = 3,
	PROBE_EVERY = 8, /* of failures in a row: the first is looked into, then each of these */
};

/*
 * TLS 1.3, or 1.2 with authenticated encryption: with no older suite in the list, no older
 * version of TLS can be agreed on whatever the system's configuration says.
 */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

/* One connection to be made; texts copied from link_target. */
struct plan {
	char uri[LOGIN_HOST_MAX + 32];
	char host[LOGIN_HOST_MAX + 1];
	uint16_t port;
	char user[LIMIT_ID + 1];
	char client_id[2 * LIMIT_ID + 2];
	char token[JWT_MAX + 1];
	char up[TOPIC_MAX], presence[TOPIC_MAX];
	char sub[N_TOPIC][TOPIC_MAX];
	char ca[LOGIN_PEM_MAX + 1];
	int ca_fd; /* memfd with it, for Paho; -1 none */
};

/* A publish the broker has not acknowledged yet. */
struct sent {
	struct sent *next, **prev;
	struct paho *link;
	uint64_t attempt;
	size_t credit;
};

/* A publish that waits for the window. */
struct waiting {
	struct waiting *next;
	size_t credit, len;
	uint8_t bytes[];
};

struct paho {
	struct link link;
	struct mailbox *mailbox;
	MQTTAsync client;
	char client_id[2 * LIMIT_ID + 2]; /* the client was made for this id */
	enum phase phase;
	_Atomic uint64_t attempt;
	_Atomic int reason;  /* of the server's DISCONNECT in this attempt; 0 none */
	struct plan *plan;   /* of the current attempt */
	bool connect_after;  /* start the plan's attempt once the old connection is closed */
	unsigned failures;   /* attempts without a reason, in a row, to one place */
	struct err found;    /* found for the last of them that was looked into */
	struct probe *probe; /* what looks for the reason; NULL none */
	size_t outstanding;
	size_t n_waiting;
	struct waiting *waiting, **waiting_tail;
	pthread_mutex_t sent_lock; /* never held across a Paho call */
	struct sent *sent;
};

static void post(struct paho *p, enum letter_type type, uint64_t attempt, int code,
		 const char *text)
{
	struct letter *l = letter_new(type, attempt, 0);

	if (!l)
		return;
	l->code = code;
	snprintf(l->text, sizeof l->text, "%.255s", text ? text : "");
	mailbox_post(p->mailbox, l);
}

static int code_of_reason(int reason)
{
	switch (reason) {
	case MQTTREASONCODE_BAD_USER_NAME_OR_PASSWORD:
	case MQTTREASONCODE_NOT_AUTHORIZED:
	case MQTTREASONCODE_CLIENT_IDENTIFIER_NOT_VALID:
	case MQTTREASONCODE_ADMINISTRATIVE_ACTION:
		return NE_AUTH;
	case MQTTREASONCODE_SERVER_BUSY:
	case MQTTREASONCODE_SERVER_UNAVAILABLE:
	case MQTTREASONCODE_QUOTA_EXCEEDED:
		return NE_BUSY;
	default:
		return NE_UNREACHABLE;
	}
}

static const char *text_of_reason(int reason)
{
	if (reason == MQTTREASONCODE_SESSION_TAKEN_OVER)
		return "another connection uses the same user and device";
	return MQTTReasonCode_toString((enum MQTTReasonCodes)reason);
}

/*
 * The broker's reason for a refusal, 0 if it gave none. Paho 1.3.12 puts that of a CONNACK into
 * `code`, where its own errors are negative.
 */
static int reason_of(const MQTTAsync_failureData5 *data)
{
	if (data && (int)data->reasonCode >= 0x80)
		return (int)data->reasonCode;
	return data && data->code >= 0x80 && data->code <= 0xff ? data->code : 0;
}

/* --- callbacks, in Paho's threads --- */

static int on_message(void *ctx, char *name, int name_len, MQTTAsync_message *m)
{
	struct paho *p = ctx;
	struct topic topic;
	size_t len = name_len > 0 ? (size_t)name_len : strlen(name);

	if (m->payloadlen > 0 && !topic_parse(slice_of(name, len), &topic, NULL)) {
		struct letter *l =
			letter_new(LETTER_MESSAGE, atomic_load(&p->attempt), (size_t)m->payloadlen);
		if (l) {
			l->topic = topic;
			memcpy(l->bytes, m->payload, l->len);
		}
		mailbox_post(p->mailbox, l);
	}
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(name);
	return 1;
}

static void on_server_disconnect(void *ctx, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
	struct paho *p = ctx;

	(void)properties;
	atomic_store(&p->reason, (int)reason);
	/* Paho does not call on_lost after a DISCONNECT of the broker. */
	post(p, LETTER_LOST, atomic_load(&p->attempt), code_of_reason((int)reason),
	     text_of_reason((int)reason));
}

static void on_lost(void *ctx, char *cause)
{
	struct paho *p = ctx;
	int reason = atomic_load(&p->reason);

	(void)cause;
	post(p, LETTER_LOST, atomic_load(&p->attempt),
	     reason ? code_of_reason(reason) : NE_UNREACHABLE,
	     reason ? text_of_reason(reason) : "the connection to the broker was lost");
}

static void on_connected(void *ctx, MQTTAsync_successData5 *data)
{
	struct paho *p = ctx;

	(void)data;
	post(p, LETTER_CONNECTED, atomic_load(&p->attempt), NE_OK, "");
}

static void on_connect_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	struct paho *p = ctx;
	uint64_t attempt = atomic_load(&p->attempt);

	int reason = reason_of(data);

	if (reason)
		post(p, LETTER_LOST, attempt, code_of_reason(reason), text_of_reason(reason));
	else
		post(p, LETTER_FAILED, attempt, NE_UNREACHABLE,
		     data && data->message ? data->message : "it cannot be reached");
}

static void on_subscribed(void *ctx, MQTTAsync_successData5 *data)
{
	struct paho *p = ctx;
	uint64_t attempt = atomic_load(&p->attempt);
	bool good = data && data->alt.sub.reasonCodeCount == N_TOPIC;

	for (int i = 0; good && i < N_TOPIC; i++)
		good = (int)data->alt.sub.reasonCodes[i] < 0x80;
	if (good)
		post(p, LETTER_UP, attempt, NE_OK, "");
	else
		post(p, LETTER_LOST, attempt, NE_AUTH, "the broker refused a subscription");
}

static void on_subscribe_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	struct paho *p = ctx;
	bool refused = reason_of(data) != 0;

	post(p, LETTER_LOST, atomic_load(&p->attempt), refused ? NE_AUTH : NE_UNREACHABLE,
	     refused ? "the broker refused a subscription" : "subscribing failed");
}

static void on_closed(void *ctx, MQTTAsync_successData5 *data)
{
	struct paho *p = ctx;

	(void)data;
	post(p, LETTER_CLOSED, atomic_load(&p->attempt), NE_OK, "");
}

static void on_close_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	(void)data;
	on_closed(ctx, NULL);
}

/* Takes a publish off the list and frees it. */
static void sent_done(struct sent *s)
{
	struct paho *p = s->link;

	pthread_mutex_lock(&p->sent_lock);
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	pthread_mutex_unlock(&p->sent_lock);
	free(s);
}

static void on_sent(void *ctx, MQTTAsync_successData5 *data)
{
	struct sent *s = ctx;
	struct letter *l = letter_new(LETTER_SENT, s->attempt, 0);

	(void)data;
	if (l) {
		l->sent_bytes = s->credit;
		mailbox_post(s->link->mailbox, l);
	}
	sent_done(s);
}

static void on_send_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	struct sent *s = ctx;

	/* Without a reason code the connection is going down, which is told separately. */
	if (reason_of(data))
		post(s->link, LETTER_LOST, s->attempt, code_of_reason(reason_of(data)),
		     "the broker refused a message");
	sent_done(s);
}

/* --- the agent's thread --- */

static void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	if (plan->ca_fd >= 0)
		close(plan->ca_fd);
	explicit_bzero(plan, sizeof *plan);
	free(plan);
}

/* Paho wants the CA as a file: one without a name, so that nothing is left on disk. */
static int ca_file(const char *pem, struct err *e)
{
	size_t len = strlen(pem);
	int fd = memfd_create("neap-broker-ca", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, pem, len) == (ssize_t)len)
		return fd;
	if (fd >= 0)
		close(fd);
	(void)err_set(e, NE_INTERNAL, "no memory file for the broker's CA");
	return -1;
}

static int plan_fill(struct plan *plan, const struct link_target *t, struct err *e)
{
	bool bare_v6 = strchr(t->host, ':') && t->host[0] != '[';

	snprintf(plan->uri, sizeof plan->uri, bare_v6 ? "ssl://[%s]:%u" : "ssl://%s:%u", t->host,
		 (unsigned)t->port);
	snprintf(plan->host, sizeof plan->host, "%s", t->host);
	snprintf(plan->ca, sizeof plan->ca, "%s", t->ca_pem);
	plan->port = t->port;
	snprintf(plan->user, sizeof plan->user, "%s", t->user);
	snprintf(plan->client_id, sizeof plan->client_id, "%s/%s", t->user, t->device);
	snprintf(plan->token, sizeof plan->token, "%s", t->token);
	TRY(topic_for(TOPIC_UP, t->user, t->device, plan->up, e));
	TRY(topic_for(TOPIC_PRESENCE, t->user, t->device, plan->presence, e));
	TRY(topic_for(TOPIC_DOWN, t->user, t->device, plan->sub[0], e));
	TRY(topic_for(TOPIC_HEAD, t->user, NULL, plan->sub[2], e));
	/* <prefix>/head → <prefix>/changes/+ */
	int n = (int)(strlen(plan->sub[2]) - strlen("head"));
	snprintf(plan->sub[1], TOPIC_MAX, "%.*schanges/+", n, plan->sub[2]);
	plan->ca_fd = ca_file(t->ca_pem, e);
	return plan->ca_fd < 0 ? NE_INTERNAL : NE_OK;
}

static void forget_publishes(struct paho *p)
{
	while (p->waiting) {
		struct waiting *w = p->waiting;
		p->waiting = w->next;
		free(w);
	}
	p->waiting_tail = &p->waiting;
	p->n_waiting = 0;
	p->outstanding = 0;
}

static void client_free(struct paho *p)
{
	if (p->client)
		MQTTAsync_destroy(&p->client);
	p->client = NULL;
	p->phase = PHASE_IDLE;
	forget_publishes(p);
}

static int client_new(struct paho *p, struct err *e)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;

	snprintf(p->client_id, sizeof p->client_id, "%s", p->plan->client_id);
	int rc = MQTTAsync_createWithOptions(&p->client, p->plan->uri, p->client_id,
					     MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setCallbacks(p->client, p, on_lost, on_message, NULL);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setDisconnected(p->client, p, on_server_disconnect);
	if (rc == MQTTASYNC_SUCCESS)
		return NE_OK;
	client_free(p);
	return err_set(e, NE_INTERNAL, "the MQTT client cannot be made for %s: %s", p->plan->uri,
		       MQTTAsync_strerror(rc));
}

static MQTTAsync_SSLOptions tls_options(const char *ca_path)
{
	MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;

	tls.enableServerCertAuth = 1;
	tls.verify = 1; /* the host's name too, which is not the default */
	tls.disableDefaultTrustStore = 1;
	tls.trustStore = ca_path;
	tls.enabledCipherSuites = ciphers;
	return tls;
}

static int start_connect(struct paho *p, struct err *e)
{
	char ca_path[40];
	char *uris[1] = {p->plan->uri};
	MQTTAsync_connectOptions c = MQTTAsync_connectOptions_initializer5;
	MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
	MQTTProperties properties = MQTTProperties_initializer;
	MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};

	snprintf(ca_path, sizeof ca_path, "/proc/self/fd/%d", p->plan->ca_fd);
	MQTTAsync_SSLOptions tls = tls_options(ca_path);
	will.topicName = p->plan->presence;
	will.message = "offline";
	will.retained = 1;
	expiry.value.integer4 = 0;
	c.keepAliveInterval = LINK_KEEPALIVE_S;
	c.connectTimeout = LINK_CONNECT_S;
	c.maxInflight = LINK_WINDOW + 2; /* our own window closes first */
	c.cleanstart = 1;
	c.automaticReconnect = 0;
	c.username = p->plan->user;
	c.password = p->plan->token;
	c.ssl = &tls;
	c.will = &will;
	c.serverURIs = uris;
	c.serverURIcount = 1;
	c.onSuccess5 = on_connected;
	c.onFailure5 = on_connect_failed;
	c.context = p;
	c.connectProperties = &properties;
	if (MQTTProperties_add(&properties, &expiry))
		return err_set(e, NE_MEMORY, "out of memory");
	atomic_store(&p->reason, 0);
	int rc = MQTTAsync_connect(p->client, &c);
	MQTTProperties_free(&properties);
	if (rc != MQTTASYNC_SUCCESS)
		return err_set(e, NE_UNREACHABLE, "the connection to %s cannot be started: %s",
			       p->plan->uri, MQTTAsync_strerror(rc));
	p->phase = PHASE_CONNECTING;
	return NE_OK;
}

static int start_close(struct paho *p)
{
	MQTTAsync_disconnectOptions d = MQTTAsync_disconnectOptions_initializer5;

	d.timeout = 0;
	d.onSuccess5 = on_closed;
	d.onFailure5 = on_close_failed;
	d.context = p;
	/* The will says `offline` for us: nothing else could be sent after our last message. */
	d.reasonCode = MQTTREASONCODE_DISCONNECT_WITH_WILL_MESSAGE;
	forget_publishes(p);
	p->phase = PHASE_CLOSING;
	return MQTTAsync_disconnect(p->client, &d);
}

static int paho_connect(struct link *l, const struct link_target *t, uint64_t *attempt,
			struct err *e)
{
	struct paho *p = (struct paho *)l;
	struct plan *plan = calloc(1, sizeof *plan);

	if (!plan)
		return err_set(e, NE_MEMORY, "out of memory");
	plan->ca_fd = -1;
	int rc = plan_fill(plan, t, e);
	if (rc) {
		plan_free(plan);
		return rc;
	}
	if (!p->plan || p->plan->port != plan->port || strcmp(p->plan->host, plan->host) != 0 ||
	    strcmp(p->plan->ca, plan->ca) != 0)
		p->failures = 0;
	plan_free(p->plan);
	p->plan = plan;
	p->connect_after = false;
	*attempt = atomic_fetch_add(&p->attempt, 1) + 1;
	if (p->client && p->phase == PHASE_CONNECTED && start_close(p) == MQTTASYNC_SUCCESS) {
		p->connect_after = true;
		return NE_OK;
	}
	/* An attempt that hangs, or another identity: begin with a new client. */
	if (p->client && (p->phase != PHASE_IDLE || strcmp(p->client_id, plan->client_id) != 0))
		client_free(p);
	if (!p->client)
		TRY(client_new(p, e));
	return start_connect(p, e);
}

static void paho_disconnect(struct link *l)
{
	struct paho *p = (struct paho *)l;

	atomic_fetch_add(&p->attempt, 1);
	p->connect_after = false;
	if (p->client && p->phase == PHASE_CONNECTED && start_close(p) == MQTTASYNC_SUCCESS)
		return;
	client_free(p);
}

static int send_now(struct paho *p, struct slice sealed, size_t credit)
{
	MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
	struct sent *s = calloc(1, sizeof *s);

	if (!s)
		return NE_MEMORY;
	*s = (struct sent){.link = p, .attempt = atomic_load(&p->attempt), .credit = credit};
	pthread_mutex_lock(&p->sent_lock);
	s->next = p->sent;
	s->prev = &p->sent;
	if (s->next)
		s->next->prev = &s->next;
	p->sent = s;
	pthread_mutex_unlock(&p->sent_lock);
	r.onSuccess5 = on_sent;
	r.onFailure5 = on_send_failed;
	r.context = s;
	if (MQTTAsync_send(p->client, p->plan->up, (int)sealed.len, sealed.at, 1, 0, &r) !=
	    MQTTASYNC_SUCCESS) {
		sent_done(s);
		if (!MQTTAsync_isConnected(p->client))
			post(p, LETTER_LOST, atomic_load(&p->attempt), NE_UNREACHABLE,
			     "the connection to the broker was lost");
		return NE_UNREACHABLE;
	}
	p->outstanding++;
	return NE_OK;
}

static int paho_publish(struct link *l, struct slice sealed, size_t credit, struct err *e)
{
	struct paho *p = (struct paho *)l;

	if (sealed.len > LIMIT_MESSAGE)
		return err_set(e, NE_LIMIT, "a message of %zu bytes is larger than %d", sealed.len,
			       LIMIT_MESSAGE);
	if (!p->client || p->phase != PHASE_CONNECTED || p->n_waiting >= LINK_WAITING_MAX)
		return err_set(e, NE_UNREACHABLE, "there is no connection to the broker");
	if (p->outstanding < LINK_WINDOW && !p->waiting) {
		int rc = send_now(p, sealed, credit);
		return rc ? err_set(e, rc, "the MQTT client did not take a message") : NE_OK;
	}
	struct waiting *w = malloc(sizeof *w + sealed.len);
	if (!w)
		return err_set(e, NE_MEMORY, "out of memory");
	*w = (struct waiting){.credit = credit, .len = sealed.len};
	memcpy(w->bytes, sealed.at, sealed.len);
	*p->waiting_tail = w;
	p->waiting_tail = &w->next;
	p->n_waiting++;
	return NE_OK;
}

static void fill_window(struct paho *p)
{
	while (p->waiting && p->outstanding < LINK_WINDOW) {
		struct waiting *w = p->waiting;
		/* A failure here is the end of the connection, which is told by a letter. */
		(void)!send_now(p, slice_of(w->bytes, w->len), w->credit);
		p->waiting = w->next;
		if (!p->waiting)
			p->waiting_tail = &p->waiting;
		p->n_waiting--;
		free(w);
	}
}

/* Connected: the socket's options, the subscriptions, presence. */
static int greet(struct paho *p)
{
	MQTTAsync_callOptions call = MQTTAsync_callOptions_initializer;
	MQTTSubscribe_options each[N_TOPIC] = {MQTTSubscribe_options_initializer,
					       MQTTSubscribe_options_initializer,
					       MQTTSubscribe_options_initializer};
	MQTTAsync_responseOptions quiet = MQTTAsync_responseOptions_initializer;
	char *const topics[N_TOPIC] = {p->plan->sub[0], p->plan->sub[1], p->plan->sub[2]};
	/* QoS 0: no PUBACK of ours delays the broker, and a loss shows as a gap or a timeout. */
	const int qos[N_TOPIC] = {0, 0, 0};

	(void)nodelay_set(p->plan->port);
	call.onSuccess5 = on_subscribed;
	call.onFailure5 = on_subscribe_failed;
	call.context = p;
	call.subscribeOptionsCount = N_TOPIC;
	call.subscribeOptionsList = each;
	int rc = MQTTAsync_subscribeMany(p->client, N_TOPIC, topics, qos, &call);
	if (rc == MQTTASYNC_SUCCESS)
		(void)MQTTAsync_send(p->client, p->plan->presence, 6, "online", 0, 1, &quiet);
	return rc;
}

/* A thread that looks for the reason of a failure and posts it. */
struct probe {
	pthread_t thread;
	struct mailbox *mailbox;
	uint64_t attempt;
	char host[LOGIN_HOST_MAX + 1];
	uint16_t port;
	char ca[LOGIN_PEM_MAX + 1];
	char text[256]; /* what Paho said */
};

static void *probe_run(void *ctx)
{
	struct probe *probe = ctx;
	struct letter *l = letter_new(LETTER_LOST, probe->attempt, 0);
	struct err e = {0};
	int rc = probe_tls(probe->host, probe->port, probe->ca, &e);

	if (l) {
		/* TLS works, so it failed later, or just then. */
		l->code = rc ? rc : NE_UNREACHABLE;
		snprintf(l->text, sizeof l->text, "%.255s", rc ? e.text : probe->text);
		mailbox_post(probe->mailbox, l);
	}
	return NULL;
}

static void probe_end(struct paho *p)
{
	if (!p->probe)
		return;
	pthread_join(p->probe->thread, NULL);
	free(p->probe);
	p->probe = NULL;
}

/* False: nothing looks for the reason. */
static bool probe_start(struct paho *p, const struct letter *failed)
{
	if (p->failures++ % PROBE_EVERY != 0)
		return false;
	probe_end(p);
	struct probe *probe = calloc(1, sizeof *probe);
	if (!probe)
		return false;
	probe->mailbox = p->mailbox;
	probe->attempt = failed->attempt;
	memcpy(probe->host, p->plan->host, sizeof probe->host);
	memcpy(probe->ca, p->plan->ca, sizeof probe->ca);
	memcpy(probe->text, failed->text, sizeof probe->text);
	probe->port = p->plan->port;
	if (pthread_create(&probe->thread, NULL, probe_run, probe) != 0) {
		free(probe);
		return false;
	}
	p->probe = probe;
	return true;
}

/* The link's own part in a letter. False: the agent need not see it. */
static bool handle(struct paho *p, struct letter *l)
{
	switch (l->type) {
	case LETTER_CONNECTED:
		p->phase = PHASE_CONNECTED;
		p->failures = 0;
		if (greet(p) == MQTTASYNC_SUCCESS)
			return false;
		l->type = LETTER_LOST;
		l->code = NE_UNREACHABLE;
		snprintf(l->text, sizeof l->text, "subscribing failed");
		return true;
	case LETTER_FAILED:
		p->phase = PHASE_IDLE;
		l->type = LETTER_LOST;
		if (probe_start(p, l))
			return false;
		if (p->found.code) {
			l->code = p->found.code;
			snprintf(l->text, sizeof l->text, "%.255s", p->found.text);
		}
		return true;
	case LETTER_SENT:
		if (p->outstanding > 0)
			p->outstanding--;
		fill_window(p);
		return true;
	case LETTER_LOST:
		if (p->phase == PHASE_IDLE) /* from the probe */
			(void)err_set(&p->found, l->code, "%s", l->text);
		forget_publishes(p);
		/* A refusal leaves the connection open: close it. */
		if (p->phase == PHASE_CONNECTED && MQTTAsync_isConnected(p->client))
			(void)!start_close(p);
		else
			p->phase = PHASE_IDLE;
		return true;
	default:
		return l->type != LETTER_CLOSED;
	}
}

/* The old connection is gone: begin the planned attempt. */
static void after_close(struct paho *p)
{
	struct err e = {0};

	p->phase = PHASE_IDLE;
	if (!p->connect_after)
		return;
	p->connect_after = false;
	if (strcmp(p->client_id, p->plan->client_id) != 0)
		client_free(p);
	int rc = p->client ? NE_OK : client_new(p, &e);
	if (!rc)
		rc = start_connect(p, &e);
	if (rc)
		post(p, LETTER_LOST, atomic_load(&p->attempt), rc, e.text);
}

static struct letter *paho_take(struct link *link)
{
	struct paho *p = (struct paho *)link;
	struct letter *l;

	while ((l = mailbox_take(p->mailbox)) != NULL) {
		bool ended = l->type == LETTER_CLOSED || l->type == LETTER_FAILED ||
			     (l->type == LETTER_LOST && !MQTTAsync_isConnected(p->client));
		if (p->phase == PHASE_CLOSING && ended)
			after_close(p);
		else if (l->attempt == atomic_load(&p->attempt) && handle(p, l))
			return l;
		free(l);
	}
	return NULL;
}

/* Gives a clean end a moment to reach the broker, so that the will says `offline`. */
static void wait_closed(struct paho *p)
{
	for (int i = 0; i < CLOSE_WAIT_MS / 10 && p->phase == PHASE_CLOSING; i++) {
		const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
		nanosleep(&pause, NULL);
		free(paho_take(&p->link));
	}
}

static void paho_free(struct link *l)
{
	struct paho *p = (struct paho *)l;

	paho_disconnect(l);
	wait_closed(p);
	client_free(p);
	probe_end(p);
	while (p->sent) {
		struct sent *s = p->sent;
		p->sent = s->next;
		free(s);
	}
	plan_free(p->plan);
	mailbox_free(p->mailbox);
	pthread_mutex_destroy(&p->sent_lock);
	free(p);
}

static void global_init(void)
{
	MQTTAsync_init_options o = MQTTAsync_init_options_initializer;

	o.do_openssl_init = 0; /* OpenSSL 3 starts by itself, and is not ours alone */
	MQTTAsync_global_init(&o);
}

int link_paho_new(struct link **out, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct paho *p = calloc(1, sizeof *p);

	pthread_once(&once, global_init);
	if (!p)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = mailbox_new(&p->mailbox, e);
	if (rc) {
		free(p);
		return rc;
	}
	pthread_mutex_init(&p->sent_lock, NULL);
	p->waiting_tail = &p->waiting;
	p->link = (struct link){
		.connect = paho_connect,
		.disconnect = paho_disconnect,
		.publish = paho_publish,
		.take = paho_take,
		.free = paho_free,
		.fd = mailbox_fd(p->mailbox),
	};
	*out = &p->link;
	return NE_OK;
}
