/*
 * Mosquitto's callbacks (plugin interface 5): each asks the gate or the policy
 * and answers yes or no; none defers, none blocks, and what is not understood
 * is refused. Setting: plugin_opt_token_keys, the folder of the public token keys.
 */
#include <limits.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "broker-config/neap_auth_gate.h"
#include "common/log.h"

/* From mosquitto.h, which Debian ships with the client library only. */
enum mosq_err {
	MOSQ_ERR_SUCCESS = 0,
	MOSQ_ERR_INVAL = 3,
	MOSQ_ERR_AUTH = 11,
	MOSQ_ERR_ACL_DENIED = 12,
	MOSQ_ERR_UNKNOWN = 13,
};

enum mosq_log {
	MOSQ_LOG_NOTICE = 2,
	MOSQ_LOG_ERR = 8,
};

enum { NAME_QUOTED = 2 * LIMIT_ID + 64, TOPIC_QUOTED = 200, WHY_QUOTED = 300 };

/* All else stays out of the broker's symbols. */
#define EXPORT __attribute__((visibility("default")))

static mosquitto_plugin_id_t *plugin;

struct state {
	struct gate *gate;
	time_t swept_s; /* the tables are swept once a second, or at once … */
	bool kicks;	/* … after the backend's list changed */
	struct log_limit limit;
};

static struct state state;

/*
 * A line of the audit trail in the broker's log, `pairs` already quoted; bounded as in
 * common/log.h.
 */
static void note(int level, const char *event, const char *source, const char *pairs)
{
	char tail[32] = "";
	uint32_t held = 0;

	if (!log_limit_take(&state.limit, event, source, (uint64_t)time(NULL) * 1000, &held))
		return;
	if (held)
		snprintf(tail, sizeof tail, " held_back=%u", held);
	mosquitto_log_printf(level, "neap: event=%s%s%s%s", event, *pairs ? " " : "", pairs, tail);
}

static void note_err(const char *event, const struct err *e)
{
	char pairs[WHY_QUOTED + 8], why[WHY_QUOTED];

	snprintf(pairs, sizeof pairs, "why=%s", log_quote(e->text, why, sizeof why));
	note(MOSQ_LOG_ERR, event, "", pairs);
}

static const char *text_or_empty(const char *text)
{
	return text ? text : "";
}

/* The common name of the connection's verified certificate; false where there is none. */
static bool certificate_name(const struct mosquitto *client, char *out, size_t size)
{
	X509 *cert = mosquitto_client_certificate(client);
	if (!cert)
		return false;
	int n = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out,
					  (int)size);
	if (n < 0 || strlen(out) != (size_t)n)
		out[0] = '\0';
	X509_free(cert);
	return true;
}

static void note_connect(const struct mosquitto *client, const struct gate_connect *c,
			 const char *event, const struct err *e)
{
	const char *from = text_or_empty(mosquitto_client_address(client));
	char user[NAME_QUOTED], id[NAME_QUOTED], address[NAME_QUOTED], why[WHY_QUOTED];
	char pairs[3 * NAME_QUOTED + WHY_QUOTED + 32];

	snprintf(pairs, sizeof pairs, "from=%s user=%s client=%s why=%s",
		 log_quote(from, address, sizeof address),
		 log_quote(text_or_empty(c->username), user, sizeof user),
		 log_quote(text_or_empty(c->client_id), id, sizeof id),
		 log_quote(e->text, why, sizeof why));
	note(MOSQ_LOG_NOTICE, event, from, pairs);
}

static int on_auth(int event, void *data, void *userdata)
{
	struct mosquitto_evt_basic_auth *ev = data;
	struct err why = {0};
	char name[128];

	(void)event;
	(void)userdata;
	struct gate_connect c = {
		.mqtt_version = mosquitto_client_protocol_version(ev->client),
		.client_id = mosquitto_client_id(ev->client),
		.username = ev->username,
		.password = ev->password,
		.common_name = certificate_name(ev->client, name, sizeof name) ? name : NULL,
	};
	switch (gate_connect(state.gate, &c, time(NULL), &why)) {
	case GATE_ALLOW:
		return MOSQ_ERR_SUCCESS;
	case GATE_NOT_READY:
		/* Not MOSQ_ERR_AUTH: the broker then closes without a verdict and the device
		 * retries. */
		note_connect(ev->client, &c, "connect_must_wait", &why);
		return MOSQ_ERR_UNKNOWN;
	case GATE_REFUSE:
		break;
	}
	note_connect(ev->client, &c, "connect_refused", &why);
	return MOSQ_ERR_AUTH;
}

/*
 * A refused read is no news: the broker asks for each message a subscription matches, a device's
 * own echo among them.
 */
static void note_access(const struct policy_request *r)
{
	const char *id = text_or_empty(r->client_id);
	char quoted[NAME_QUOTED], topic[TOPIC_QUOTED];
	char pairs[NAME_QUOTED + TOPIC_QUOTED + 32];

	if (r->access == POLICY_READ)
		return;
	snprintf(pairs, sizeof pairs, "client=%s topic=%s", log_quote(id, quoted, sizeof quoted),
		 log_quote(text_or_empty(r->topic), topic, sizeof topic));
	note(MOSQ_LOG_NOTICE, r->access == POLICY_WRITE ? "publish_refused" : "subscribe_refused",
	     id, pairs);
}

static int on_acl(int event, void *data, void *userdata)
{
	const struct mosquitto_evt_acl_check *ev = data;
	struct policy_request r = {
		.username = mosquitto_client_username(ev->client),
		.client_id = mosquitto_client_id(ev->client),
		.topic = ev->topic,
		.retain = ev->retain,
		.len = ev->payloadlen,
	};

	(void)event;
	(void)userdata;
	switch (ev->access) {
	case MOSQ_ACL_READ:
		r.access = POLICY_READ;
		break;
	case MOSQ_ACL_WRITE:
		r.access = POLICY_WRITE;
		break;
	case MOSQ_ACL_SUBSCRIBE:
	case MOSQ_ACL_UNSUBSCRIBE:
		r.access = POLICY_SUBSCRIBE;
		break;
	default:
		return MOSQ_ERR_ACL_DENIED;
	}
	if (policy_allows(&r))
		return MOSQ_ERR_SUCCESS;
	note_access(&r);
	return MOSQ_ERR_ACL_DENIED;
}

static int on_control(int event, void *data, void *userdata)
{
	struct mosquitto_evt_control *ev = data;
	const char *username = mosquitto_client_username(ev->client);
	struct err e = {0};

	(void)event;
	(void)userdata;
	if (!username || strcmp(username, POLICY_BACKEND) != 0) {
		const struct policy_request r = {.client_id = mosquitto_client_id(ev->client),
						 .access = POLICY_WRITE,
						 .topic = ev->topic};
		note_access(&r);
		return MOSQ_ERR_ACL_DENIED;
	}
	state.kicks = true;
	if (gate_control(state.gate, slice_of(ev->payload, ev->payloadlen), &e))
		note_err("revoked_tokens_refused", &e);
	return MOSQ_ERR_SUCCESS;
}

static void kick(const char *client_id, const char *why)
{
	char pairs[2 * LIMIT_ID + 64];

	/* NOT_FOUND is usual: it left before. */
	if (mosquitto_kick_client_by_clientid(client_id, false))
		return;
	snprintf(pairs, sizeof pairs, "client=%s why=%s", client_id, why);
	note(MOSQ_LOG_NOTICE, "disconnected", client_id, pairs);
}

static void reload(bool now)
{
	struct err e = {0};
	char pairs[32];
	size_t keys;

	if (gate_reload(state.gate, now, &keys, &e))
		note_err("token_key_unusable", &e);
	else if (keys) {
		snprintf(pairs, sizeof pairs, "keys=%zu", keys);
		note(MOSQ_LOG_NOTICE, "token_keys_loaded", "", pairs);
	}
}

static int on_tick(int event, void *data, void *userdata)
{
	time_t now = time(NULL);

	(void)event;
	(void)data;
	(void)userdata;
	if (now == state.swept_s && !state.kicks)
		return MOSQ_ERR_SUCCESS;
	state.swept_s = now;
	state.kicks = false;
	gate_tick(state.gate, now, kick);
	reload(false);
	return MOSQ_ERR_SUCCESS;
}

/* SIGHUP */
static int on_reload(int event, void *data, void *userdata)
{
	(void)event;
	(void)data;
	(void)userdata;
	reload(true);
	return MOSQ_ERR_SUCCESS;
}

static const struct {
	int event;
	MOSQ_FUNC_generic_callback fn;
	const char *data;
} callbacks[] = {
	{MOSQ_EVT_BASIC_AUTH, on_auth, NULL},
	{MOSQ_EVT_ACL_CHECK, on_acl, NULL},
	{MOSQ_EVT_CONTROL, on_control, POLICY_CONTROL},
	{MOSQ_EVT_TICK, on_tick, NULL},
	{MOSQ_EVT_RELOAD, on_reload, NULL},
};

EXPORT int mosquitto_plugin_version(int count, const int *versions)
{
	for (int i = 0; i < count; i++)
		if (versions[i] == MOSQ_PLUGIN_VERSION)
			return MOSQ_PLUGIN_VERSION;
	return -1;
}

EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **userdata,
				 struct mosquitto_opt *opts, int n_opt)
{
	const char *folder = NULL;
	struct err e = {0};

	(void)userdata;
	plugin = id;
	if (getrandom(&state.limit.seed, sizeof state.limit.seed, 0) < 0)
		return MOSQ_ERR_UNKNOWN;
	for (int i = 0; i < n_opt; i++)
		if (strcmp(opts[i].key, "token_keys") == 0)
			folder = opts[i].value;
	if (!folder) {
		mosquitto_log_printf(MOSQ_LOG_ERR, "neap: plugin_opt_token_keys is missing");
		return MOSQ_ERR_INVAL;
	}
	if (gate_new(&state.gate, folder, &e)) {
		mosquitto_log_printf(MOSQ_LOG_ERR, "neap: %s", e.text);
		return MOSQ_ERR_INVAL;
	}
	for (size_t i = 0; i < sizeof callbacks / sizeof callbacks[0]; i++) {
		int rc = mosquitto_callback_register(plugin, callbacks[i].event, callbacks[i].fn,
						     callbacks[i].data, NULL);
		if (rc)
			return rc;
	}
	return MOSQ_ERR_SUCCESS;
}

EXPORT int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *opts, int n_opt)
{
	(void)userdata;
	(void)opts;
	(void)n_opt;
	for (size_t i = 0; i < sizeof callbacks / sizeof callbacks[0]; i++)
		mosquitto_callback_unregister(plugin, callbacks[i].event, callbacks[i].fn,
					      callbacks[i].data);
	gate_free(state.gate);
	state.gate = NULL;
	return MOSQ_ERR_SUCCESS;
}
