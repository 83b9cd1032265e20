/*
 * Writes that lost (rule J7), as both ends name them: one record for each register that lost, a
 * cell's or the row's existence. What the server finds at a merge and what a device reports of its
 * own are the same record then, kept once.
 */
#ifndef NEAP_PROTOCOL_CONFLICT_H
#define NEAP_PROTOCOL_CONFLICT_H

#include "protocol/frame.h"

/* Why a write lost, for a person. */
#define CONFLICT_LATER "a later write won"
#define CONFLICT_DELETED "the row was deleted later"
#define CONFLICT_INSERTED "a delete: the row was written anew later"
#define CONFLICT_GONE "the server does not have this row any more"
#define CONFLICT_OTHER_STORE "overwritten after the server's store changed"
#define CONFLICT_REPAIRED "repaired by verify"

enum {
	CONFLICT_KEY_BYTES = 4096,    /* of a key's text; longer ones are cut and hashed */
	CONFLICT_WHY_BYTES = 256,     /* of the reason */
	CONFLICT_ROW_BYTES = 1 << 20, /* of a whole row's text; longer ones are cut */
	CONFLICT_DIGEST = 16,
};

/* The key as text that names it for sure: a long one ends in a hash of all. NE_MEMORY. */
NEAP_CHECK int conflict_key(const struct shape *s, const struct val *key, struct buf *out);
/* `text` up to `max` bytes, never within a character. */
struct slice conflict_cut(struct slice text, size_t max);

/* A value as f_conflicts carries it, and back; texts and blobs from `a`. NE_MALFORMED, NE_LIMIT,
 * NE_MEMORY. */
NEAP_CHECK int conflict_put_value(const struct val *v, struct buf *out);
NEAP_CHECK int conflict_get_value(struct slice bytes, struct arena *a, struct val *out);

/*
 * What makes a record one and the same: table, key, column and the register that lost; for a
 * settled value, which has none, the value and when it was lost.
 */
NEAP_CHECK int conflict_digest(const struct lost_value *l, uint8_t out[static CONFLICT_DIGEST]);

#endif
