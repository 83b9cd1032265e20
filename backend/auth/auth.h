/*
 * Accounts, devices, tokens and the keys that follow from them: auth.db and
 * the folder of keys, apart from the data store (rule L2). Every function may
 * be called from any thread; another process may change auth.db at any time
 * (the admin commands do) and is seen at once.
 */
#ifndef NEAP_BACKEND_AUTH_AUTH_H
#define NEAP_BACKEND_AUTH_AUTH_H

#include "backend/auth/config.h"
#include "protocol/keys.h"

struct auth;

/*
 * Opens (creates) auth.db and loads the keys. NE_USAGE if a secret may be read by others,
 * NE_NOT_FOUND (a key is missing), NE_CORRUPT, NE_DISK, NE_BUSY. The config must live as long.
 */
NEAP_CHECK int auth_open(struct auth **out, const struct config *c, struct err *e);
void auth_close(struct auth *a);

/* For tests: where the time comes from (seconds since 1970). */
void auth_set_clock(struct auth *a, int64_t (*now_s)(void *ctx), void *ctx);

/* --- accounts --- */

enum { PASSWORD_MIN = 8, PASSWORD_MAX = 1024 };

/* NE_EXISTS; NE_USAGE for a name or password that cannot be one. */
NEAP_CHECK int auth_user_add(struct auth *a, const char *user, struct slice password,
			     struct err *e);
/* New password: every device has to log in again, and epochs move on (L5). NE_NOT_FOUND. */
NEAP_CHECK int auth_user_passwd(struct auth *a, const char *user, struct slice password,
				struct err *e);
/* The account and its devices go; its data in the store stays. NE_NOT_FOUND. */
NEAP_CHECK int auth_user_remove(struct auth *a, const char *user, struct err *e);

struct auth_user {
	const char *name;
	bool disabled;
	uint32_t group_epoch;
	int64_t created_s;
	int64_t devices; /* that are not revoked */
};
typedef int (*auth_user_fn)(void *ctx, const struct auth_user *u, struct err *e);
/* Calls `fn` for each user in order of name; stops at its first error and returns it. */
NEAP_CHECK int auth_each_user(struct auth *a, auth_user_fn fn, void *ctx, struct err *e);

/* --- devices --- */

struct auth_device {
	const char *name;
	bool revoked;
	uint32_t epoch;
	int64_t first_s, last_s; /* of its logins and refreshes */
};
typedef int (*auth_device_fn)(void *ctx, const struct auth_device *d, struct err *e);
/* All devices of a user, revoked ones too, in order of name. NE_NOT_FOUND: no such user. */
NEAP_CHECK int auth_each_device(struct auth *a, const char *user, auth_device_fn fn, void *ctx,
				struct err *e);
/* Its tokens die, the group's epoch moves on. NE_NOT_FOUND. */
NEAP_CHECK int auth_device_revoke(struct auth *a, const char *user, const char *device,
				  struct err *e);
/* A revoked device may log in again. NE_NOT_FOUND. */
NEAP_CHECK int auth_device_allow(struct auth *a, const char *user, const char *device,
				 struct err *e);

enum { ENROL_CODE_LEN = 29, ENROL_VALID_MIN_S = 60, ENROL_VALID_MAX_S = 30 * 86400 };

/*
 * A one-time code that binds a database as `device` without the password: 125 random bits as text,
 * in place of the one the device may have had. It ends after `valid_s`, with the device's
 * revocation, and with a new password. NE_NOT_FOUND; NE_USAGE: no device id, a time out of bounds,
 * or the device is revoked.
 */
NEAP_CHECK int auth_device_enrol(struct auth *a, const char *user, const char *device,
				 int64_t valid_s, char out[static ENROL_CODE_LEN + 1],
				 struct err *e);

/* --- keys, for the broker link --- */

struct auth_key {
	uint32_t epoch; /* kid */
	bool ended;	/* with the store before: only to tell who still seals under it */
	struct key key;
};

/*
 * The message key of a device (up and down), or a user's group key (changes and head), at `epoch`,
 * 0 meaning the current one: seal with that. The epoch before it is still good for opening until
 * the next, unless it ended with another store (`ended`). NE_NOT_FOUND (no such user or device),
 * NE_AUTH (revoked, disabled, epoch not valid), NE_DISK.
 */
NEAP_CHECK int auth_device_key(struct auth *a, const char *user, const char *device, uint32_t epoch,
			       struct auth_key *out, struct err *e);
NEAP_CHECK int auth_group_key(struct auth *a, const char *user, uint32_t epoch,
			      struct auth_key *out, struct err *e);

/*
 * A number that rises when a user is new, gone or changed, a device revoked or allowed, or an epoch
 * moved on, by whichever process. Cheap enough to ask per message: it looks at the file at most
 * every 20 ms.
 */
uint64_t auth_revision(struct auth *a);

/* Tokens of `user` (and `device`, "" for all of them) issued at or before `iat_s` are void (L5). */
struct auth_void {
	const char *user, *device;
	int64_t iat_s;
	int64_t until_s; /* nobody can hold such a token any more after this */
};
typedef int (*auth_void_fn)(void *ctx, const struct auth_void *v, struct err *e);
NEAP_CHECK int auth_each_void(struct auth *a, auth_void_fn fn, void *ctx, struct err *e);

/*
 * To be called after the store has taken its term. `previous_term`: the newest one in it before, 0
 * if none. A store other than the last time, or one that is behind, begins a new epoch for every
 * group and device (K2): what was recorded before is no message to it. NE_DISK, NE_BUSY.
 */
NEAP_CHECK int auth_store_opened(struct auth *a, uint64_t store_id, uint64_t previous_term,
				 uint64_t term, struct err *e);

/*
 * Tells the audit trail each change of accounts, devices and codes that was not told yet, by
 * whichever process it was made, also while none served. Cheap: call it often, from one thread.
 * NE_DISK, NE_BUSY; then it is told by a later call.
 */
NEAP_CHECK int auth_trail(struct auth *a, struct err *e);

/* --- rotation of keys --- */

/*
 * Looks at the folder of keys and takes up what changed, as in a running neapd; a key that signs
 * from now on is told to the audit trail. Cheap: call it often, from one thread. On an error the
 * keys that were read before stay in use.
 */
NEAP_CHECK int auth_keys_look(struct auth *a, struct err *e);

/*
 * A new master key from *from_s on, a few seconds ahead: group keys move on then, message keys with
 * each device's next refresh. NE_EXISTS, NE_LIMIT, NE_DISK.
 */
NEAP_CHECK int auth_rotate_master(struct auth *a, int64_t *from_s, struct err *e);
/*
 * A new token key: its public half is in the broker's folder at once, it signs `after_s` later.
 * NE_EXISTS (an earlier one would sign after it), NE_LIMIT, NE_DISK.
 */
NEAP_CHECK int auth_rotate_token(struct auth *a, int64_t after_s, int64_t *from_s, struct err *e);

struct auth_key_info {
	bool master;
	const char *kid;	 /* of a token key */
	int64_t from_s, until_s; /* used from, and until the next one is; 0: there is none */
	int64_t retire_s;	 /* nothing depends on it any more from then on; 0 as until_s */
	bool used;
};
typedef int (*auth_key_fn)(void *ctx, const struct auth_key_info *k, struct err *e);
/* Masters, then token keys, the oldest first. Nothing of `a` may be called from `fn`. */
NEAP_CHECK int auth_each_key(struct auth *a, auth_key_fn fn, void *ctx, struct err *e);
/* Removes those on which nothing depends any more; `fn` is told of each. NE_DISK. */
NEAP_CHECK int auth_retire_keys(struct auth *a, auth_key_fn fn, void *ctx, struct err *e);

/* --- log in --- */

enum { REFRESH_TOKEN_LEN = 102, ACCESS_TOKEN_MAX = 4096 };

/* All that a login or a refresh hands out. Wipe with auth_session_wipe(). */
struct auth_session {
	struct id user, device;
	char access[ACCESS_TOKEN_MAX + 1];
	int64_t expires_in_s;
	char refresh[REFRESH_TOKEN_LEN + 1];
	struct auth_key message, group;
};
void auth_session_wipe(struct auth_session *s);

/* Why not, and when again. */
struct auth_denial {
	int status;	   /* HTTP: 401, 403, 429 or 503 */
	int retry_after_s; /* with 429 and 503 */
};

/*
 * NE_AUTH or NE_BUSY with `why` filled, else NE_DISK and the like (no fault of the caller). A wrong
 * password, an unknown and a disabled user are the same to the caller, in content and in work (L8).
 * `device` must be a valid id and `user` may be anything.
 */
NEAP_CHECK int auth_login(struct auth *a, struct slice user, struct slice password,
			  struct slice device, struct auth_session *out, struct auth_denial *why,
			  struct err *e);
/* The same from a refresh token (L1); never waits behind a password's work. */
NEAP_CHECK int auth_refresh(struct auth *a, struct slice token, struct auth_session *out,
			    struct auth_denial *why, struct err *e);

enum { ENROL_ATTEMPT_MIN = 16, ENROL_ATTEMPT_MAX = 64, ENROL_REPEAT_S = 600 };

/*
 * The same from a one-time code; the answer says for whom it was. `attempt` is the caller's random
 * text of ENROL_ATTEMPT_MIN to _MAX bytes: with the same one a used code is answered again for
 * ENROL_REPEAT_S, since an answer may get lost; with another it is as unknown as a wrong code.
 */
NEAP_CHECK int auth_enrol(struct auth *a, struct slice code, struct slice attempt,
			  struct auth_session *out, struct auth_denial *why, struct err *e);

#endif
