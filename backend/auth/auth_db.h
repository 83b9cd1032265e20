/*
 * Inside of backend/auth: auth.db's connections, transactions and tables.
 * Nobody outside this folder includes this.
 */
#ifndef NEAP_BACKEND_AUTH_AUTH_DB_H
#define NEAP_BACKEND_AUTH_AUTH_DB_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend/auth/auth.h"
#include "backend/auth/keyring.h"
#include "backend/auth/password.h"
#include "backend/auth/throttle.h"
#include "common/db.h"

/* A derived key, good as long as the revision has not moved. */
struct cached_key {
	uint64_t revision; /* 0: empty */
	uint32_t asked;	   /* epoch, 0 = current */
	struct id user, device;
	struct auth_key key;
};
enum { KEY_CACHE = 4096 };

struct auth {
	const struct config *config;
	/* Replaced when the folder changed: used under keys_lock, which is taken last. */
	struct keyring *keys;
	pthread_rwlock_t keys_lock;
	char signs[64]; /* kid: what the trail was told last */
	int64_t (*now_s)(void *ctx);
	void *now_ctx;

	/* Changes go one at a time; `db` is used under `lock` only. */
	pthread_mutex_t lock;
	struct db *db;
	int log_fd;   /* revocations.log */
	int64_t told; /* its size when auth_trail looked last */

	/* Look-ups do not wait for a commit: `read` and what follows are under `read_lock`. */
	pthread_mutex_t read_lock;
	struct db *read;
	int64_t data_version, looked_ms;
	uint64_t revision, unread;
	struct cached_key *cache; /* KEY_CACHE of them */
	atomic_bool changed;	  /* by ourselves: look at once */

	struct hash_gate gate;
	struct throttle throttle;
	char dummy_hash[PASSWORD_HASH_MAX]; /* what unknown users are checked against */
};

int64_t auth_now(const struct auth *a);

/*
 * A change of auth.db: takes `lock` and the write lock of SQLite. End it with auth_end(), which
 * commits if `rc` is 0, else rolls back, and returns the error that stands.
 */
NEAP_CHECK int auth_begin(struct auth *a, struct err *e);
NEAP_CHECK int auth_end(struct auth *a, int rc, struct err *e);
/* In a change: what others cached of accounts, epochs or revocations is out of date. */
NEAP_CHECK int auth_touch(struct auth *a, struct err *e);

/*
 * `sql` with its parameters bound: one letter of `types` each, s = const char *, i = int64_t,
 * b = struct slice (a blob), t = struct slice (text).
 */
NEAP_CHECK int sql_bind(struct db *db, sqlite3_stmt **out, struct err *e, const char *sql,
			const char *types, ...);
/* The same, run to its end; no row is wanted. */
NEAP_CHECK int sql_do(struct db *db, struct err *e, const char *sql, const char *types, ...);
/* The same, for one integer; `none` if there is no row or it is NULL. */
NEAP_CHECK int sql_int(struct db *db, int64_t none, int64_t *out, struct err *e, const char *sql,
		       const char *types, ...);

/* --- epochs (epoch.c), in a change --- */

/* max(now, last + 1): epochs rise strictly, also within a second (K2). */
NEAP_CHECK int epoch_next(struct auth *a, int64_t last, int64_t *out, struct err *e);
NEAP_CHECK int epoch_move_group(struct auth *a, const char *user, struct err *e);
/* `keep` leaves the epoch before good for opening, for a device that has not heard yet. */
NEAP_CHECK int epoch_move_device(struct auth *a, const char *user, const char *device, bool keep,
				 struct err *e);
/* Moves on what is older than 30 days or than the newest master key. */
NEAP_CHECK int epoch_refresh(struct auth *a, const char *user, const char *device, struct err *e);
/*
 * All groups: after a master key was added, or the store was replaced. Devices get their new epoch
 * with their next refresh, so that a running fleet needs none at once.
 */
NEAP_CHECK int epoch_move_groups(struct auth *a, struct err *e);
/* Ends what is left of epochs from before `master`, of devices that have not been here since. */
NEAP_CHECK int epoch_end_before(struct auth *a, uint32_t master, struct err *e);

/* --- keys (keys.c) --- */

/* Reads the folder for the first time. */
NEAP_CHECK int keys_open(struct auth *a, struct err *e);
void keys_close(struct auth *a);
/*
 * Reads it again, and tells the audit trail what changed; on an error what was read before stays.
 * Under any lock but keys_lock.
 */
NEAP_CHECK int keys_reload(struct auth *a, bool tell, struct err *e);
/* A newer master key begins new epochs for all groups (K7). */
NEAP_CHECK int keys_notice_master(struct auth *a, struct err *e);
/* Id of the newest master key. */
uint32_t keys_newest_master(struct auth *a);

/* --- refresh tokens (refresh.c), in a change --- */

/* A new family for the device, in place of the one it had. */
NEAP_CHECK int refresh_begin(struct auth *a, const char *user, const char *device,
			     char out[static REFRESH_TOKEN_LEN + 1], struct err *e);

/* --- revocations (revoke.c) --- */

/* Opens revocations.log and does again what auth.db, restored from a backup, has forgotten. */
NEAP_CHECK int revoke_replay(struct auth *a, struct err *e);
/* The change of a password, with all that it makes void. */
NEAP_CHECK int account_set_hash(struct auth *a, const char *user, const char *hash, struct err *e);

/* What is taken from an enrolment code of the device at this moment, for good (also after a restore
 * of auth.db). In a change. */
NEAP_CHECK int revoke_code(struct auth *a, const char *user, const char *device, struct err *e);

/* For the audit trail. In a change. */
NEAP_CHECK int record_user_added(struct auth *a, const char *user, struct err *e);
NEAP_CHECK int record_code_made(struct auth *a, const char *user, const char *device,
				struct err *e);

/* --- sessions (session.c) --- */

/* In a change: epochs that are over move on; the device was seen. `*iat_s` for the token. */
NEAP_CHECK int session_touch(struct auth *a, const char *user, const char *device, int64_t *iat_s,
			     struct err *e);
/*
 * In a change: a login of `s->user` and `s->device` begins, in place of the one the device had.
 * NE_AUTH with 403: the device was revoked, or is one too many.
 */
NEAP_CHECK int session_begin(struct auth *a, struct auth_session *s, struct auth_denial *why,
			     int64_t *iat_s, struct err *e);
/* After it: derives the keys and signs the token. */
NEAP_CHECK int session_fill(struct auth *a, struct auth_session *s, int64_t iat_s, struct err *e);

#endif
