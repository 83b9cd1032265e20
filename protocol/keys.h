/*
 * Key derivation (rules K1 to K3, K7): HKDF-SHA256 (RFC 5869) from the master
 * key, its info a deterministic CBOR array, never concatenated text.
 */
#ifndef NEAP_PROTOCOL_KEYS_H
#define NEAP_PROTOCOL_KEYS_H

#include "protocol/id.h"

enum { KEY_LEN = 32, SID_LEN = 8 };

enum key_purpose {
	KEY_MESSAGE, /* of one device: up and down */
	KEY_GROUP,   /* of a user: changes and head */
};

struct key {
	uint8_t at[KEY_LEN];
};

enum seal_kind {
	SEAL_UP,
	SEAL_DOWN,
	SEAL_CHANGES,
	SEAL_HEAD,
};

/*
 * info = ["neap/v1", "message" | "group", master id (uint), user, device | null, epoch (uint)],
 * salt empty, 32 bytes. `device` is empty for the group key.
 */
NEAP_CHECK int key_derive(const struct key *master, uint32_t master_id, enum key_purpose purpose,
			  struct slice user, struct slice device, uint32_t epoch, struct key *out,
			  struct err *e);

/*
 * The sealing subkey (K3): info = ["neap/v1", "seal", kind ("up", "down",
 * "changes", "head"), user, device or origin ("" for head), sid (bstr)].
 */
NEAP_CHECK int key_subkey(const struct key *key, enum seal_kind kind, struct slice user,
			  struct slice peer, const uint8_t sid[static SID_LEN], struct key *out,
			  struct err *e);

const char *seal_kind_name(enum seal_kind kind);
void key_wipe(struct key *key);

#endif
