/* The link as the agent sees it: letters taken, the steps between them, its birth and end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/shell/nodelay.h"
#include "device/shell/paho_internal.h"
#include "net/probe.h"

enum {
	CLOSE_WAIT_MS = 1000,
	PROBE_EVERY = 8, /* of failures in a row: the first is looked into, then each of these */
};

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
	call.onSuccess5 = paho_on_subscribed;
	call.onFailure5 = paho_on_subscribe_failed;
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
	const struct probe_target target = {
		.host = probe->host, .port = probe->port, .ca_pem = probe->ca};
	int rc = probe_tls(&target, &e);

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
		paho_fill_window(p);
		return true;
	case LETTER_LOST:
		if (p->phase == PHASE_IDLE) /* from the probe */
			(void)err_set(&p->found, l->code, "%s", l->text);
		paho_forget_publishes(p);
		/* A refusal leaves the connection open: close it. */
		if (p->phase == PHASE_CONNECTED && MQTTAsync_isConnected(p->client))
			(void)!paho_start_close(p);
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
	int rc = paho_start(p, &e);
	if (rc)
		paho_post(p, LETTER_LOST, atomic_load(&p->attempt), rc, e.text);
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
	paho_client_free(p);
	probe_end(p);
	paho_sent_free(p);
	paho_plan_free(p->plan);
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
