/*
 * Who may do what on the broker (rule Q1), decided from names alone: no broker
 * calls, no state. Everything not listed here is refused.
 *
 *   device   WRITE      own up; own presence (the only one that may be retained, ≤ 64 bytes)
 *            SUBSCRIBE  own down, changes/+ and head of its user, literally
 *            READ       those, less changes/<self>
 *   backend  WRITE      any down, changes/<origin>, head (the only one that may be retained),
 * $CONTROL SUBSCRIBE  neap/v1/<shard>/+/+/up, literally READ       any up
 */
#ifndef NEAP_BROKER_POLICY_H
#define NEAP_BROKER_POLICY_H

#include "protocol/topic.h"

/* The backend's user name and the common name of its certificate: no user can have this id. */
#define POLICY_BACKEND "$neapd"
#define POLICY_CONTROL "$CONTROL/neap/v1"

enum { POLICY_PRESENCE_MAX = 64 };

enum policy_access {
	POLICY_READ,
	POLICY_WRITE,
	POLICY_SUBSCRIBE,
};

struct policy_request {
	const char *username,
		*client_id; /* of the connection, or of a message's source; NULL: none */
	enum policy_access access;
	const char *topic; /* a filter for POLICY_SUBSCRIBE */
	bool retain;	   /* for POLICY_WRITE */
	size_t len;	   /* payload bytes, for POLICY_WRITE */
};

bool policy_allows(const struct policy_request *r);

/*
 * Splits the client id of a device, "user/device". False unless both are valid ids and the first
 * is `username`.
 */
bool policy_device(const char *username, const char *client_id, struct id *user, struct id *device);

/* Whether a connection with this certificate's common name (NULL: none) is the backend. */
bool policy_is_backend(const char *common_name, const char *username, const char *client_id);

#endif
