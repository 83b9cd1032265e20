#include "broker-config/conf.h"

#include <stdio.h>
#include <string.h>

#include "mosquitto_conf_in.h" /* made from mosquitto.conf.in by the build */

struct field {
	const char *name;
	const char *value;
};

static int put_field(struct slice name, const struct field *fields, size_t n, struct buf *out,
		     struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (!slice_eq(name, slice_str(fields[i].name)))
			continue;
		const char *value = fields[i].value;
		if (!value || strpbrk(value, "\r\n"))
			return err_set(e, NE_USAGE,
				       "mosquitto.conf: %s is missing or has a line break",
				       fields[i].name);
		return buf_put(out, value, strlen(value));
	}
	return err_set(e, NE_INTERNAL, "mosquitto.conf.in: unknown field @%.*s@", (int)name.len,
		       (const char *)name.at);
}

static int expand(const char *text, const struct field *fields, size_t n, struct buf *out,
		  struct err *e)
{
	for (const char *at; (at = strchr(text, '@')); text = at + 1) {
		TRY(buf_put(out, text, (size_t)(at - text)));
		const char *end = at + 1 + strspn(at + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
		if (*end != '@' || end == at + 1) {
			TRY(buf_put_u8(out, '@'));
			continue;
		}
		TRY(put_field(slice_of(at + 1, (size_t)(end - at - 1)), fields, n, out, e));
		at = end;
	}
	return buf_put(out, text, strlen(text));
}

int broker_conf_write(const struct broker_conf *c, struct buf *out, struct err *e)
{
	char mqtt_port[16], backend_port[16], max_connections[16], log[4200] = "stderr";

	snprintf(mqtt_port, sizeof mqtt_port, "%u", c->mqtt_port);
	snprintf(backend_port, sizeof backend_port, "%u", c->backend_port);
	snprintf(max_connections, sizeof max_connections, "%u",
		 c->max_connections ? c->max_connections : 10000);
	if (c->log_file)
		snprintf(log, sizeof log, "file %s", c->log_file);
	const struct field fields[] = {
		{"USER", c->user ? c->user : "mosquitto"},
		{"PLUGIN", c->plugin},
		{"TOKEN_KEYS", c->token_keys},
		{"LOG", log},
		{"BIND", c->bind},
		{"MQTT_PORT", mqtt_port},
		{"MAX_CONNECTIONS", max_connections},
		{"DEVICE_CERT", c->device_cert},
		{"DEVICE_KEY", c->device_key},
		{"BACKEND_BIND", c->backend_bind ? c->backend_bind : "127.0.0.1"},
		{"BACKEND_PORT", backend_port},
		{"BACKEND_CA", c->backend_ca},
		{"BACKEND_CERT", c->backend_cert},
		{"BACKEND_KEY", c->backend_key},
	};
	return expand(mosquitto_conf_in, fields, sizeof fields / sizeof fields[0], out, e);
}
