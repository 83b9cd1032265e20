/*
 * Mosquitto's callbacks (plugin interface 5): each asks the gate or the policy
 * and answers yes or no; none defers, none blocks, and what is not understood
 * is refused. Setting: plugin_opt_token_keys, the folder of the public token keys.
 */
#include <limits.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "broker-config/neap_auth_gate.h"

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

/* All else stays out of the broker's symbols. */
#define EXPORT __attribute__((visibility("default")))

static mosquitto_plugin_id_t *plugin;

struct state {
	struct gate *gate;
	time_t swept_s; /* the tables are swept once a second, or at once … */
	bool kicks;	/* … after the backend's list changed */
};

static struct state state;

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
		mosquitto_log_printf(MOSQ_LOG_NOTICE, "neap: %s must wait: %s", c.client_id,
				     why.text);
		return MOSQ_ERR_UNKNOWN;
	case GATE_REFUSE:
		break;
	}
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "neap: refused a connection: %s", why.text);
	return MOSQ_ERR_AUTH;
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
	return policy_allows(&r) ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

static int on_control(int event, void *data, void *userdata)
{
	struct mosquitto_evt_control *ev = data;
	const char *username = mosquitto_client_username(ev->client);
	struct err e = {0};

	(void)event;
	(void)userdata;
	if (!username || strcmp(username, POLICY_BACKEND) != 0)
		return MOSQ_ERR_ACL_DENIED;
	state.kicks = true;
	if (gate_control(state.gate, slice_of(ev->payload, ev->payloadlen), &e))
		mosquitto_log_printf(MOSQ_LOG_ERR, "neap: list of revoked tokens refused: %s",
				     e.text);
	return MOSQ_ERR_SUCCESS;
}

static void kick(const char *client_id)
{
	/* NOT_FOUND is usual: it left before. */
	mosquitto_kick_client_by_clientid(client_id, false);
}

static int on_tick(int event, void *data, void *userdata)
{
	time_t now = time(NULL);
	struct err e = {0};

	(void)event;
	(void)data;
	(void)userdata;
	if (now == state.swept_s && !state.kicks)
		return MOSQ_ERR_SUCCESS;
	state.swept_s = now;
	state.kicks = false;
	gate_tick(state.gate, now, kick);
	if (gate_reload(state.gate, &e))
		mosquitto_log_printf(MOSQ_LOG_ERR, "neap: the old token keys stay in use: %s",
				     e.text);
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
