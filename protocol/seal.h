/*
 * COSE_Encrypt0 (RFC 9052) in one pinned shape (rule K4), A256GCM:
 *
 *   16([ << {1: 3, 4: kid, "sid": sid} >>, {5: iv}, ciphertext ‖ tag ])
 *
 * kid is the epoch, 4 bytes big-endian; sid 8 bytes; iv 12. Anything else is
 * refused. External AAD: ["neap/v1", kind, user, device or origin] inside the
 * Enc_structure of RFC 9052 section 5.3.
 */
#ifndef NEAP_PROTOCOL_SEAL_H
#define NEAP_PROTOCOL_SEAL_H

#include "protocol/keys.h"

/* Bytes a sealed message is longer than its plaintext, at most. */
enum { SEAL_OVERHEAD = 72 };

struct sealer;
struct opener;

typedef void (*random_fn)(void *ctx, void *out, size_t len);

/*
 * Seals under one key, kind, user and peer. Draws a sid at once and a new one after 2^28 seals
 * or at sealer_renew; IVs are a random start plus a counter, so none repeats under a subkey.
 */
NEAP_CHECK int sealer_new(struct sealer **out, const struct key *key, uint32_t epoch,
			  enum seal_kind kind, struct slice user, struct slice peer,
			  random_fn random, void *random_ctx, struct err *e);
void sealer_free(struct sealer *s); /* wipes; NULL allowed */
/* A new sid from now on: called at every connect. */
NEAP_CHECK int sealer_renew(struct sealer *s, struct err *e);
/* Lowers the number of seals per sid, for tests. */
void sealer_set_limit(struct sealer *s, uint64_t seals);
/* Appends the sealed message. NE_LIMIT (out->max), NE_INTERNAL (fails closed). */
NEAP_CHECK int sealer_seal(struct sealer *s, struct slice plain, struct buf *out, struct err *e);

/* The kid of a message in the pinned shape, without opening it. NE_MALFORMED. */
NEAP_CHECK int seal_peek(struct slice sealed, uint32_t *epoch, struct err *e);

/* Opens messages of one key, kind, user and peer; keeps the subkeys of the last few sids. */
NEAP_CHECK int opener_new(struct opener **out, const struct key *key, uint32_t epoch,
			  enum seal_kind kind, struct slice user, struct slice peer, struct err *e);
void opener_free(struct opener *o);
/*
 * Appends the plaintext. Nothing is appended unless the tag verified.
 * NE_MALFORMED (not the pinned shape), NE_AUTH (another epoch, or the tag is wrong).
 */
NEAP_CHECK int opener_open(struct opener *o, struct slice sealed, struct buf *out, struct err *e);

#endif
