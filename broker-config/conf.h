/*
 * Fills in broker-config/mosquitto.conf.in (built into the library), for
 * `neapd init`. All files are absolute paths.
 */
#ifndef NEAP_BROKER_CONF_H
#define NEAP_BROKER_CONF_H

#include "common/bytes.h"

struct broker_conf {
	const char *bind;	  /* address of the devices' listener */
	const char *backend_bind; /* NULL: 127.0.0.1 */
	unsigned mqtt_port, backend_port;
	unsigned max_connections; /* of devices; 0: 10000 */
	const char *user;	  /* it runs as, if started as root; NULL: mosquitto */
	const char *plugin;	  /* neap_auth.so */
	const char *token_keys;	  /* folder with the public token keys, *.pem */
	const char *device_cert, *device_key;
	const char *backend_ca; /* signs the backend's client certificate */
	const char *backend_cert, *backend_key;
	const char *log_file; /* NULL: stderr */
};

/* Appends the text. NE_USAGE for a path with a line break, NE_LIMIT (out->max), NE_MEMORY. */
NEAP_CHECK int broker_conf_write(const struct broker_conf *c, struct buf *out, struct err *e);

#endif
