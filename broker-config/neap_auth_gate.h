/*
 * The plugin's state: token keys, connections and their tokens' ends, tokens
 * declared void. Everything the broker's callbacks decide is decided here, from
 * names and the time given, so that it is tested without a broker.
 *
 * A broker that was just started knows of no revocation. Until a backend has
 * sent its list for a user's shard, devices of that shard are not let in
 * (GATE_NOT_READY): a revoked token must not come to life by killing the broker.
 */
#ifndef NEAP_BROKER_GATE_H
#define NEAP_BROKER_GATE_H

#include "broker-config/neap_auth_policy.h"

enum {
	GATE_CLIENTS_MAX = 1000000,
	GATE_VOIDS_MAX = 100000, /* above it every token issued until then is void */
};

struct gate;

struct gate_connect {
	int mqtt_version;
	const char *client_id, *username, *password; /* NULL: absent */
	const char *common_name; /* of a verified client certificate; NULL: none */
};

enum gate_verdict {
	GATE_ALLOW,
	GATE_REFUSE,	/* identity, token or protocol are wrong */
	GATE_NOT_READY, /* nothing wrong with it: try again */
};

/* Loads every *.pem of `key_folder`. NE_NOT_FOUND (none), NE_MALFORMED (one is no key), NE_MEMORY.
 */
NEAP_CHECK int gate_new(struct gate **out, const char *key_folder, struct err *e);
void gate_free(struct gate *g);

/*
 * Reads the keys again if the folder changed, or in any case (`now`). *keys: how many there are,
 * 0 if nothing was read. From then on exactly the files that are there and can be read are trusted,
 * also on an error, of which `e` names the first; with none left nobody is let in.
 */
NEAP_CHECK int gate_reload(struct gate *g, bool now, size_t *keys, struct err *e);

/* `why` (not NULL) says what was wrong; never a token's content. */
enum gate_verdict gate_connect(struct gate *g, const struct gate_connect *c, int64_t now_s,
			       struct err *why);

/*
 * Takes the backend's list:
 *   {"shards": [lo, hi], "last": true, "void": [{"user": u, "device": d, "iat": s, "until": s}, …]}
 * "device" absent: all devices of the user. "last": the list of those shards is complete.
 * NE_MALFORMED; what was taken before the fault stays.
 */
NEAP_CHECK int gate_control(struct gate *g, struct slice json, struct err *e);

/* `why`: token_ended or revoked. */
typedef void (*gate_kick_fn)(const char *client_id, const char *why);
/* Forgets what ended; calls `kick` for each connection whose token ended or became void. */
void gate_tick(struct gate *g, int64_t now_s, gate_kick_fn kick);

#endif
