/*
 * What a server tells a device about the append rows it has (P8): runs of numbers, and hashes of
 * keys where the key is not the number.
 *
 * Runs are bytes: for each run above the one before it two varints, the count of numbers between
 * them and the count of its own less one. The first run comes above a number that both ends know.
 */
#ifndef NEAP_PROTOCOL_RANGES_H
#define NEAP_PROTOCOL_RANGES_H

#include "protocol/shape.h"
#include "protocol/value.h"

/* Appends lo … hi, where *at < lo ≤ hi, and moves *at to hi. NE_LIMIT (out->max), NE_MEMORY. */
NEAP_CHECK int run_put(struct buf *out, int64_t *at, int64_t lo, int64_t hi);

/*
 * Takes the next run above *at from the front of `in`, moving *at to its hi; *any is false at the
 * end. NE_MALFORMED: cut short, or not within *at < lo ≤ hi ≤ upto.
 */
NEAP_CHECK int run_take(struct slice *in, int64_t *at, int64_t upto, int64_t *lo, int64_t *hi,
			bool *any);

enum { KEY_HASH_BYTES = 8 };

/* One hash as it is on the wire: big-endian. */
uint64_t key_hash_read(const uint8_t at[static KEY_HASH_BYTES]);
NEAP_CHECK int key_hash_put(struct buf *out, uint64_t hash);

/*
 * The first bytes of SHA-256 over `salt`, big-endian, and the key in canonical form, as a
 * big-endian number: equal for all spellings that the table holds to be one key. With a salt of
 * the asking device's nobody can make keys in advance that look like one another. `scratch` holds
 * the key meanwhile: NE_LIMIT, NE_MEMORY.
 */
NEAP_CHECK int key_hash(uint64_t salt, const struct shape *s, const struct val *key,
			struct buf *scratch, uint64_t *out);

#endif
