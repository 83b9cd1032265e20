/* Connecting: what to whom, with which TLS; and closing. */
#define _GNU_SOURCE /* memfd_create */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/shell/cert_time.h"
#include "device/shell/paho_internal.h"

/*
 * TLS 1.3, or 1.2 with authenticated encryption: with no older suite in the list, no older
 * version of TLS can be agreed on whatever the system's configuration says.
 */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

void paho_plan_free(struct plan *plan)
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

void paho_client_free(struct paho *p)
{
	if (p->client)
		MQTTAsync_destroy(&p->client);
	p->client = NULL;
	p->phase = PHASE_IDLE;
	paho_forget_publishes(p);
}

static int client_new(struct paho *p, struct err *e)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;

	snprintf(p->client_id, sizeof p->client_id, "%s", p->plan->client_id);
	int rc = MQTTAsync_createWithOptions(&p->client, p->plan->uri, p->client_id,
					     MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setCallbacks(p->client, p, paho_on_lost, paho_on_message, NULL);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setDisconnected(p->client, p, paho_on_server_disconnect);
	if (rc == MQTTASYNC_SUCCESS)
		return NE_OK;
	paho_client_free(p);
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
	c.onSuccess5 = paho_on_connected;
	c.onFailure5 = paho_on_connect_failed;
	c.context = p;
	c.connectProperties = &properties;
	if (MQTTProperties_add(&properties, &expiry))
		return err_set(e, NE_MEMORY, "out of memory");
	atomic_store(&p->reason, 0);
	(void)cert_time_update();
	int rc = MQTTAsync_connect(p->client, &c);
	MQTTProperties_free(&properties);
	if (rc != MQTTASYNC_SUCCESS)
		return err_set(e, NE_UNREACHABLE, "the connection to %s cannot be started: %s",
			       p->plan->uri, MQTTAsync_strerror(rc));
	p->phase = PHASE_CONNECTING;
	return NE_OK;
}

int paho_start(struct paho *p, struct err *e)
{
	if (p->client && strcmp(p->client_id, p->plan->client_id) != 0)
		paho_client_free(p);
	if (!p->client)
		TRY(client_new(p, e));
	return start_connect(p, e);
}

int paho_start_close(struct paho *p)
{
	MQTTAsync_disconnectOptions d = MQTTAsync_disconnectOptions_initializer5;

	d.timeout = 0;
	d.onSuccess5 = paho_on_closed;
	d.onFailure5 = paho_on_close_failed;
	d.context = p;
	/* The will says `offline` for us: nothing else could be sent after our last message. */
	d.reasonCode = MQTTREASONCODE_DISCONNECT_WITH_WILL_MESSAGE;
	paho_forget_publishes(p);
	p->phase = PHASE_CLOSING;
	return MQTTAsync_disconnect(p->client, &d);
}

int paho_connect(struct link *l, const struct link_target *t, uint64_t *attempt, struct err *e)
{
	struct paho *p = (struct paho *)l;
	struct plan *plan = calloc(1, sizeof *plan);

	if (!plan)
		return err_set(e, NE_MEMORY, "out of memory");
	plan->ca_fd = -1;
	int rc = plan_fill(plan, t, e);
	if (rc) {
		paho_plan_free(plan);
		return rc;
	}
	if (!p->plan || p->plan->port != plan->port || strcmp(p->plan->host, plan->host) != 0 ||
	    strcmp(p->plan->ca, plan->ca) != 0)
		p->failures = 0;
	paho_plan_free(p->plan);
	p->plan = plan;
	p->connect_after = false;
	*attempt = atomic_fetch_add(&p->attempt, 1) + 1;
	if (p->client && p->phase == PHASE_CONNECTED && paho_start_close(p) == MQTTASYNC_SUCCESS) {
		p->connect_after = true;
		return NE_OK;
	}
	/* An attempt that hangs: begin with a new client. */
	if (p->phase != PHASE_IDLE)
		paho_client_free(p);
	return paho_start(p, e);
}

void paho_disconnect(struct link *l)
{
	struct paho *p = (struct paho *)l;

	atomic_fetch_add(&p->attempt, 1);
	p->connect_after = false;
	if (p->client && p->phase == PHASE_CONNECTED && paho_start_close(p) == MQTTASYNC_SUCCESS)
		return;
	paho_client_free(p);
}
