/*
 * Refresh tokens (rule L1): family id (8 bytes) ‖ generation (4) ‖ random (32)
 * ‖ HMAC-SHA256 of what is before (32), as base64url. auth.db keeps SHA-256 of
 * the newest of a family and of the one before, which stays good until its
 * successor is used: a reply that got lost must not lock a device out.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "backend/auth/auth_db.h"
#include "backend/auth/base64.h"
#include "common/log.h"

enum { HASH_LEN = 32, SIGNED_LEN = 8 + 4 + 32, TOKEN_LEN = SIGNED_LEN + HASH_LEN };

_Static_assert(REFRESH_TOKEN_LEN == BASE64_LEN(TOKEN_LEN), "length of a refresh token");

struct family {
	int64_t id, generation;
	uint8_t hash[HASH_LEN], prev[HASH_LEN];
	bool has_prev, revoked;
	int64_t created_s, used_s;
	struct id user, device;
};

static void put_be(uint8_t *at, uint64_t v, unsigned bytes)
{
	while (bytes-- > 0) {
		at[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get_be(const uint8_t *at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

static int failed(struct err *e)
{
	return err_set(e, NE_INTERNAL, "the crypto library failed to make a refresh token");
}

static int mac_of(struct auth *a, const uint8_t *token, uint8_t out[static HASH_LEN], struct err *e)
{
	unsigned len = HASH_LEN;

	pthread_rwlock_rdlock(&a->keys_lock);
	bool done = HMAC(EVP_sha256(), a->keys->refresh.at, KEY_LEN, token, SIGNED_LEN, out, &len);
	pthread_rwlock_unlock(&a->keys_lock);
	return done ? 0 : failed(e);
}

static int hash_of(const uint8_t *token, uint8_t out[static HASH_LEN], struct err *e)
{
	if (EVP_Digest(token, TOKEN_LEN, out, NULL, EVP_sha256(), NULL) != 1)
		return failed(e);
	return 0;
}

static int make_token(struct auth *a, int64_t id, int64_t generation,
		      char out[static REFRESH_TOKEN_LEN + 1], uint8_t hash[static HASH_LEN],
		      struct err *e)
{
	uint8_t token[TOKEN_LEN];

	put_be(token, (uint64_t)id, 8);
	put_be(token + 8, (uint64_t)generation, 4);
	if (RAND_bytes(token + 12, 32) != 1)
		return failed(e);
	TRY(mac_of(a, token, token + SIGNED_LEN, e));
	TRY(hash_of(token, hash, e));
	int rc = base64_write(slice_of(token, sizeof token), out);
	OPENSSL_cleanse(token, sizeof token);
	return rc ? failed(e) : 0;
}

int refresh_begin(struct auth *a, const char *user, const char *device,
		  char out[static REFRESH_TOKEN_LEN + 1], struct err *e)
{
	uint8_t random[8], hash[HASH_LEN];
	int64_t now = auth_now(a);

	if (RAND_bytes(random, sizeof random) != 1)
		return failed(e);
	int64_t id = (int64_t)(get_be(random, 8) >> 1);
	TRY(make_token(a, id, 1, out, hash, e));
	TRY(sql_do(a->db, e, "DELETE FROM families WHERE user = ?1 AND device = ?2", "ss", user,
		   device));
	return sql_do(a->db, e, "INSERT INTO families VALUES(?1, ?2, ?3, 1, ?4, NULL, ?5, ?5, 0)",
		      "issbi", id, user, device, slice_of(hash, HASH_LEN), now);
}

static int read_family(struct auth *a, int64_t id, struct family *f, bool *found, struct err *e)
{
	sqlite3_stmt *st;

	memset(f, 0, sizeof *f);
	TRY(sql_bind(a->db, &st, e,
		     "SELECT user, device, generation, hash, prev, created_s, used_s, revoked"
		     " FROM families WHERE id = ?1",
		     "i", id));
	TRY(db_step(a->db, st, found, e));
	if (!*found)
		return 0;
	f->id = id;
	f->generation = sqlite3_column_int64(st, 2);
	f->created_s = sqlite3_column_int64(st, 5);
	f->used_s = sqlite3_column_int64(st, 6);
	f->revoked = sqlite3_column_int(st, 7);
	bool sound = sqlite3_column_bytes(st, 3) == HASH_LEN;
	if (sound)
		memcpy(f->hash, sqlite3_column_blob(st, 3), HASH_LEN);
	f->has_prev = sqlite3_column_bytes(st, 4) == HASH_LEN;
	if (f->has_prev)
		memcpy(f->prev, sqlite3_column_blob(st, 4), HASH_LEN);
	int rc = id_set(&f->user, slice_str((const char *)sqlite3_column_text(st, 0)), "user", e);
	if (!rc)
		rc = id_set(&f->device, slice_str((const char *)sqlite3_column_text(st, 1)),
			    "device", e);
	sqlite3_reset(st);
	if (rc || !sound)
		return err_set(e, NE_CORRUPT, "auth.db: a refresh token's row makes no sense");
	return 0;
}

/* The account and the device may still come in. */
static int check_account(struct auth *a, const struct family *f, bool *good, struct err *e)
{
	int64_t there;

	TRY(sql_int(a->db, 0, &there, e,
		    "SELECT 1 FROM users u JOIN devices d ON d.user = u.name WHERE u.name = ?1 AND"
		    " d.name = ?2 AND NOT u.disabled AND NOT d.revoked",
		    "ss", f->user.at, f->device.at));
	int64_t now = auth_now(a);
	*good = there && !f->revoked && now - f->used_s <= a->config->refresh_idle_s &&
		now - f->created_s <= a->config->refresh_total_s;
	return 0;
}

/* `before`: the hash that stays good until the successor is used. */
static int succeed(struct auth *a, struct family *f, int64_t above, const uint8_t *before,
		   char out[static REFRESH_TOKEN_LEN + 1], struct err *e)
{
	uint8_t hash[HASH_LEN];

	if (above >= UINT32_MAX)
		return err_set(e, NE_AUTH, "this login was refreshed too often; log in again");
	TRY(make_token(a, f->id, above + 1, out, hash, e));
	return sql_do(a->db, e,
		      "UPDATE families SET generation = ?2, hash = ?3, prev = ?4, used_s = ?5"
		      " WHERE id = ?1",
		      "iibbi", f->id, above + 1, slice_of(hash, HASH_LEN),
		      slice_of(before, HASH_LEN), auth_now(a));
}

static void report(const struct family *f, const char *event, const char *what)
{
	log_audit(LOG_WARN, event, f->user.at, "user=%s device=%s why=\"%s\"", f->user.at,
		  f->device.at, what);
}

/* Decides on a token whose MAC is right. *good false: refused, but the change is to be committed.
 */
static int use(struct auth *a, struct family *f, int64_t generation,
	       const uint8_t hash[static HASH_LEN], char out[static REFRESH_TOKEN_LEN + 1],
	       bool *good, struct err *e)
{
	if (!CRYPTO_memcmp(hash, f->hash, HASH_LEN))
		return succeed(a, f, f->generation, hash, out, e);
	if (f->has_prev && !CRYPTO_memcmp(hash, f->prev, HASH_LEN))
		return succeed(a, f, f->generation, hash, out, e);
	if (generation > f->generation) {
		report(f, "refresh_from_the_future",
		       "a refresh token newer than auth.db knows: auth.db was restored from a "
		       "backup; accepted");
		TRY(epoch_move_group(a, f->user.at, e));
		return succeed(a, f, generation, hash, out, e);
	}
	report(f, "refresh_reused",
	       "a refresh token was used twice: stolen or copied; the device must log in again");
	*good = false;
	return sql_do(a->db, e, "UPDATE families SET revoked = 1 WHERE id = ?1", "i", f->id);
}

static int refresh_change(struct auth *a, const uint8_t token[static TOKEN_LEN],
			  struct auth_session *out, int64_t *iat_s, bool *good, struct err *e)
{
	uint8_t hash[HASH_LEN];
	struct family f;

	TRY(hash_of(token, hash, e));
	TRY(read_family(a, (int64_t)get_be(token, 8), &f, good, e));
	if (*good)
		TRY(check_account(a, &f, good, e));
	if (*good)
		TRY(use(a, &f, (int64_t)get_be(token + 8, 4), hash, out->refresh, good, e));
	if (!*good)
		return 0;
	out->user = f.user;
	out->device = f.device;
	return session_touch(a, f.user.at, f.device.at, iat_s, e);
}

int auth_refresh(struct auth *a, struct slice text, struct auth_session *out,
		 struct auth_denial *why, struct err *e)
{
	uint8_t token[TOKEN_LEN], mac[HASH_LEN];
	bool good = false;
	int64_t iat_s = 0;

	*why = (struct auth_denial){.status = 401};
	int readable = base64_read(text, token, TOKEN_LEN);
	memset(out, 0, sizeof *out); /* `text` may be in it */
	if (readable == NE_MEMORY)
		return err_set(e, NE_MEMORY, "no memory for a refresh token");
	if (!readable) {
		TRY(mac_of(a, token, mac, e));
		good = !CRYPTO_memcmp(mac, token + SIGNED_LEN, HASH_LEN);
	}
	if (good) {
		TRY(auth_begin(a, e));
		int rc = refresh_change(a, token, out, &iat_s, &good, e);
		TRY(auth_end(a, rc, e));
	}
	OPENSSL_cleanse(token, sizeof token);
	if (!good)
		return err_set(e, NE_AUTH,
			       "this refresh token is not valid (any more); log in again");
	return session_fill(a, out, iat_s, e);
}
