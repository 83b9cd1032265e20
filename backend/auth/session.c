/* What a login or a refresh hands out: keys of the current epochs and a signed access token. */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "backend/auth/auth_db.h"
#include "backend/auth/base64.h"
#include "protocol/jwt.h"

void auth_session_wipe(struct auth_session *s)
{
	OPENSSL_cleanse(s, sizeof *s);
}

int session_touch(struct auth *a, const char *user, const char *device, int64_t *iat_s,
		  struct err *e)
{
	int64_t now = auth_now(a), voided;

	TRY(epoch_refresh(a, user, device, e));
	TRY(sql_do(a->db, e, "UPDATE devices SET last_s = ?3 WHERE user = ?1 AND name = ?2", "ssi",
		   user, device, now));
	/* Tokens up to that second are void at the broker; this one is of after it. */
	TRY(sql_int(a->db, 0, &voided, e,
		    "SELECT max(iat_s) FROM voids WHERE user = ?1 AND device IN ('', ?2)", "ss",
		    user, device));
	*iat_s = now > voided ? now : voided + 1;
	return 0;
}

static int add_device(struct auth *a, const char *user, const char *device, struct auth_denial *why,
		      struct err *e)
{
	int64_t count, epoch, last;

	TRY(sql_int(a->db, 0, &count, e, "SELECT count(*) FROM devices WHERE user = ?1", "s",
		    user));
	if (count >= a->config->devices_per_user) {
		why->status = 403;
		return err_set(e, NE_AUTH,
			       "user \"%s\" has %lld devices, the limit; ask the operator", user,
			       (long long)count);
	}
	TRY(db_int(a->db, "SELECT epoch_floor FROM meta", 0, &last, e));
	TRY(epoch_next(a, last, &epoch, e));
	return sql_do(a->db, e, "INSERT INTO devices VALUES(?1, ?2, ?3, 0, 0, ?4, ?4)", "ssii",
		      user, device, epoch, auth_now(a));
}

int session_begin(struct auth *a, struct auth_session *s, struct auth_denial *why, int64_t *iat_s,
		  struct err *e)
{
	const char *user = s->user.at, *device = s->device.at;
	int64_t revoked;

	TRY(sql_int(a->db, -1, &revoked, e,
		    "SELECT revoked FROM devices WHERE user = ?1 AND name = ?2", "ss", user,
		    device));
	if (revoked > 0) {
		why->status = 403;
		return err_set(e, NE_AUTH,
			       "device \"%s\" was revoked; the operator can let it in again: neapd "
			       "device allow %s %s",
			       device, user, device);
	}
	if (revoked < 0)
		TRY(add_device(a, user, device, why, e));
	TRY(refresh_begin(a, user, device, s->refresh, e));
	return session_touch(a, user, device, iat_s, e);
}

/* ±10 %, so that a fleet that started at once does not come back at once. */
static int jittered_life(int64_t life_s, int64_t *out, struct err *e)
{
	uint16_t random;

	if (RAND_bytes((unsigned char *)&random, sizeof random) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes");
	int64_t tenth = life_s / 10;
	*out = life_s - tenth + (2 * tenth * random + 32767) / 65535;
	return 0;
}

static int sign(struct auth *a, struct auth_session *s, int64_t iat_s, struct err *e)
{
	struct jwt_claims claims = {
		.user = s->user, .device = s->device, .iat = iat_s, .nbf = iat_s};
	struct buf token = {.max = sizeof s->access};
	uint8_t random[12];
	char jti[BASE64_LEN(sizeof random) + 1];

	TRY(jittered_life(a->config->token_life_s, &s->expires_in_s, e));
	claims.exp = iat_s + s->expires_in_s;
	if (RAND_bytes(random, sizeof random) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes");
	if (base64_write(slice_of(random, sizeof random), jti))
		return err_set(e, NE_MEMORY, "no memory for a token");
	pthread_rwlock_rdlock(&a->keys_lock);
	size_t key = keyring_signs(a->keys, auth_now(a));
	int rc = jwt_sign(a->keys->token[key].signer, &claims, slice_str(jti), &token, e);
	pthread_rwlock_unlock(&a->keys_lock);
	if (!rc)
		rc = buf_terminate(&token);
	if (!rc)
		memcpy(s->access, token.at, token.len + 1);
	buf_free(&token);
	return rc;
}

int session_fill(struct auth *a, struct auth_session *s, int64_t iat_s, struct err *e)
{
	TRY(auth_device_key(a, s->user.at, s->device.at, 0, &s->message, e));
	TRY(auth_group_key(a, s->user.at, 0, &s->group, e));
	return sign(a, s, iat_s, e);
}
