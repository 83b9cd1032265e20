/*
 * neapd's settings: one JSON file. Paths in it are relative to its folder.
 * Every member and its default is described in docs/operations.md.
 */
#ifndef NEAP_BACKEND_AUTH_CONFIG_H
#define NEAP_BACKEND_AUTH_CONFIG_H

#include "common/bytes.h"

enum { CONFIG_PATH = 1024, CONFIG_HOST = 256, CONFIG_FILE_MAX = 65536 };

struct config {
	char file[CONFIG_PATH]; /* absolute; paths below are absolute too */

	/* The login server. */
	char listen_host[CONFIG_HOST]; /* address to bind ["127.0.0.1"] */
	uint16_t listen_port;	       /* [8443]; 0 takes a free one */
	char login_cert[CONFIG_PATH], login_key[CONFIG_PATH];
	int64_t token_life_s;		 /* of access tokens, ±10 % [3600], 2 … 6500 */
	int64_t refresh_idle_s;		 /* unused refresh tokens die after [90 days] */
	int64_t refresh_total_s;	 /* and all after [1 year] */
	int64_t devices_per_user;	 /* new ones are refused above [10000] */
	int64_t connections;		 /* of the login server at a time [1000] */
	int64_t connections_per_address; /* [50] */

	/* What devices are told of the broker. */
	char device_broker_host[CONFIG_HOST];
	uint16_t device_broker_port;
	char device_broker_ca[CONFIG_PATH];

	/* neapd's own way to the broker. */
	char broker_host[CONFIG_HOST];
	uint16_t broker_port;
	char broker_ca[CONFIG_PATH];
	char broker_cert[CONFIG_PATH], broker_key[CONFIG_PATH];

	char auth_db[CONFIG_PATH];    /* accounts; its folder also has revocations.log */
	char keys[CONFIG_PATH];	      /* folder of master and token keys */
	char token_keys[CONFIG_PATH]; /* folder of public token keys, for the broker */
	char store[CONFIG_PATH];      /* the data store */
	char run_dir[CONFIG_PATH];    /* sockets and status */
	/* Writes that lost: how long they are kept [90 days], and how many of a user. */
	int64_t conflict_keep_s;
	int64_t conflicts_per_user;	 /* [100000] */
	int64_t conflict_bytes_per_user; /* [64 MiB] */
	/* What a user's rows may take in the store, unless set for the user; 0: no limit. */
	int64_t rows_per_user;	/* [100000000] */
	int64_t bytes_per_user; /* [16 GiB] */
	/* Of a device, while others wait; 0: no limit. */
	int64_t device_messages_per_s; /* [1000] */
	int64_t device_rows_per_s;     /* [50000] */
	uint8_t shard_lo, shard_hi;    /* [0, 255], both included */
};

/*
 * Reads the file. NE_NOT_FOUND, NE_USAGE (with the member that is wrong and what is wrong with it),
 * NE_MEMORY; `out` is of no use then.
 */
NEAP_CHECK int config_read(const char *file, struct config *out, struct err *e);

/* "HOST:PORT" or "[ADDRESS]:PORT". NE_USAGE quoting `text`. */
NEAP_CHECK int config_host_port(const char *text, char host[static CONFIG_HOST], uint16_t *port,
				struct err *e);

#endif
