/*
 * The topics below neap/v1/<shard>/<user>/, built and parsed in one place.
 * A change of the server's own is published on changes/server.
 */
#ifndef NEAP_PROTOCOL_TOPIC_H
#define NEAP_PROTOCOL_TOPIC_H

#include "protocol/id.h"

enum topic_kind {
	TOPIC_UP,	/* <device>/up */
	TOPIC_DOWN,	/* <device>/down */
	TOPIC_CHANGES,	/* changes/<origin> */
	TOPIC_HEAD,	/* head */
	TOPIC_PRESENCE, /* <device>/presence */
};

/* Origin of the server's own changes; no device can have this id. */
#define TOPIC_ORIGIN_SERVER "server"

enum { TOPIC_MAX = 16 + 3 * (LIMIT_ID + 1) };

struct topic {
	enum topic_kind kind;
	uint8_t shard;
	struct id user;
	struct id peer; /* device or origin; empty for head */
};

/*
 * Writes the topic with its NUL. NE_MALFORMED if an id is not valid (an
 * operator's SQL must not drop the publisher), `out` is "" then.
 */
NEAP_CHECK int topic_write(const struct topic *t, char out[static TOPIC_MAX], struct err *e);
/* A topic for `user`, shard computed. `peer` NULL or "" for head. */
NEAP_CHECK int topic_for(enum topic_kind kind, const char *user, const char *peer,
			 char out[static TOPIC_MAX], struct err *e);
/* Strict inverse of topic_write; also refuses a shard that is not the user's. */
NEAP_CHECK int topic_parse(struct slice s, struct topic *out, struct err *e);

#endif
