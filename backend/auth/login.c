/* Log in by password: the only way in that costs a password hash. */
#include <openssl/crypto.h>
#include <string.h>

#include "backend/auth/auth_db.h"

/* The stored hash, or the dummy's: an unknown user costs the same work (L8). */
static int find_hash(struct auth *a, struct slice user, char out[static PASSWORD_HASH_MAX],
		     bool *known, struct err *e)
{
	sqlite3_stmt *st = NULL;
	bool row = false;

	memcpy(out, a->dummy_hash, PASSWORD_HASH_MAX);
	*known = false;
	pthread_mutex_lock(&a->read_lock);
	int rc = sql_bind(a->read, &st, e, "SELECT hash, disabled FROM users WHERE name = ?1", "t",
			  user);
	if (!rc)
		rc = db_step(a->read, st, &row, e);
	if (!rc && row && sqlite3_column_bytes(st, 0) < PASSWORD_HASH_MAX) {
		memcpy(out, sqlite3_column_text(st, 0), (size_t)sqlite3_column_bytes(st, 0) + 1);
		*known = !sqlite3_column_int(st, 1);
	}
	sqlite3_reset(st); /* NULL is allowed */
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}

/* 0, NE_AUTH with 401, NE_BUSY with 429 or 503. */
static int check_password(struct auth *a, struct slice user, struct slice password,
			  char hash[static PASSWORD_HASH_MAX], struct auth_denial *why,
			  struct err *e)
{
	bool known;

	why->retry_after_s = throttle_wait_s(&a->throttle, user, auth_now(a));
	if (why->retry_after_s) {
		why->status = 429;
		return err_set(e, NE_BUSY, "too many failed logins; try again in %d s",
			       why->retry_after_s);
	}
	TRY(find_hash(a, user, hash, &known, e));
	if (hash_gate_enter(&a->gate)) {
		*why = (struct auth_denial){.status = 503, .retry_after_s = 2};
		return err_set(e, NE_BUSY, "too many logins at once; try again in 2 s");
	}
	int rc = password_verify(password, hash, e);
	hash_gate_leave(&a->gate);
	if (rc == NE_MEMORY)
		return rc;
	if (rc || !known) {
		throttle_failed(&a->throttle, user, auth_now(a));
		why->status = 401;
		return err_set(e, NE_AUTH, "wrong user or password: check both and try again");
	}
	throttle_succeeded(&a->throttle, user);
	return 0;
}

static int login_change(struct auth *a, struct auth_session *s, const char *hash,
			struct auth_denial *why, int64_t *iat_s, struct err *e)
{
	int64_t still;

	/* The password may have changed while this one was checked. */
	TRY(sql_int(a->db, 0, &still, e,
		    "SELECT 1 FROM users WHERE name = ?1 AND hash = ?2 AND NOT disabled", "ss",
		    s->user.at, hash));
	if (!still) {
		why->status = 401;
		return err_set(e, NE_AUTH, "wrong user or password: check both and try again");
	}
	return session_begin(a, s, why, iat_s, e);
}

int auth_login(struct auth *a, struct slice user, struct slice password, struct slice device,
	       struct auth_session *out, struct auth_denial *why, struct err *e)
{
	char hash[PASSWORD_HASH_MAX];
	int64_t iat_s;

	memset(out, 0, sizeof *out);
	memset(why, 0, sizeof *why);
	TRY(check_password(a, user, password, hash, why, e));
	TRY(id_set(&out->user, user, "user", e));
	TRY(id_set(&out->device, device, "device", e));
	TRY(auth_begin(a, e));
	int rc = login_change(a, out, hash, why, &iat_s, e);
	TRY(auth_end(a, rc, e));
	return session_fill(a, out, iat_s, e);
}
