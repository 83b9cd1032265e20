/*
 * User and device ids. They stand in topics, keys and file names, so they are
 * validated where they enter and where a topic is built (rules K5, Q3).
 */
#ifndef NEAP_PROTOCOL_ID_H
#define NEAP_PROTOCOL_ID_H

#include "common/bytes.h"
#include "protocol/limits.h"

/* An id with its NUL. */
struct id {
	char at[LIMIT_ID + 1];
};

/*
 * [A-Za-z0-9._-]{1,64}, first character alphanumeric; "neapd", "server" and "changes" are reserved:
 * a device of the last name would have its `up` where changes of a device named "up" belong.
 */
bool id_valid(struct slice s);
/* Copies a valid id; NE_MALFORMED (with a sentence naming `what`) otherwise. */
NEAP_CHECK int id_set(struct id *out, struct slice s, const char *what, struct err *e);
static inline struct slice id_slice(const struct id *id)
{
	return slice_str(id->at);
}

/* The user's shard: the first byte of SHA-256(user). */
uint8_t id_shard(struct slice user);

#endif
