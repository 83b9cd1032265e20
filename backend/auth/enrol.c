/*
 * One-time codes: a device is bound without anybody typing the account's password on it. A code is
 * 25 characters of Crockford's base 32 (125 bits), kept as its SHA-256 only: nothing to guess, so
 * no slow hash and no delay is needed.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "backend/auth/auth_db.h"

enum { SYMBOLS = 25, GROUP = 5, HASH_LEN = 32 };

_Static_assert(ENROL_CODE_LEN == SYMBOLS + SYMBOLS / GROUP - 1, "symbols and the dashes between");

/* No I, L, O, U: what is read aloud or off a screen stays what it was. */
static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int failed(struct err *e)
{
	return err_set(e, NE_INTERNAL, "the crypto library failed at an enrolment code");
}

static int hash_of(const void *at, size_t len, uint8_t out[static HASH_LEN], struct err *e)
{
	return EVP_Digest(at, len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : failed(e);
}

static int make_code(char symbols[static SYMBOLS], char out[static ENROL_CODE_LEN + 1],
		     struct err *e)
{
	uint8_t random[SYMBOLS];
	size_t n = 0;

	if (RAND_bytes(random, sizeof random) != 1)
		return failed(e);
	for (size_t i = 0; i < SYMBOLS; i++) {
		symbols[i] = digits[random[i] & 31];
		if (i && i % GROUP == 0)
			out[n++] = '-';
		out[n++] = symbols[i];
	}
	out[n] = 0;
	OPENSSL_cleanse(random, sizeof random);
	return 0;
}

/* The symbol a person meant; 0: none. */
static char symbol(uint8_t c)
{
	if (c >= 'a' && c <= 'z')
		c = (uint8_t)(c - 'a' + 'A');
	if (c == 'O')
		c = '0';
	if (c == 'I' || c == 'L')
		c = '1';
	return c && strchr(digits, c) ? (char)c : 0;
}

/* As it was made, from as it was typed: any case, dashes and blanks anywhere. */
static bool read_code(struct slice text, char out[static SYMBOLS])
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = ((const uint8_t *)text.at)[i];
		char s = symbol(c);

		if (c == '-' || c == ' ')
			continue;
		if (!s || n == SYMBOLS)
			return false;
		out[n++] = s;
	}
	return n == SYMBOLS;
}

static int check_request(struct auth *a, const char *user, const char *device, int64_t valid_s,
			 struct err *e)
{
	int64_t there, revoked;

	if (valid_s < ENROL_VALID_MIN_S || valid_s > ENROL_VALID_MAX_S)
		return err_set(e, NE_USAGE, "a code is good for 1 minute to 30 days, not %lld s",
			       (long long)valid_s);
	if (!id_valid(slice_str(device)))
		return err_set(
			e, NE_USAGE,
			"\"%.80s\" is no device name: letters, digits, '.', '_', '-', at most "
			"%d, a letter or digit first; neapd and server are taken",
			device, (int)LIMIT_ID);
	TRY(sql_int(a->db, 0, &there, e, "SELECT 1 FROM users WHERE name = ?1", "s", user));
	if (!there)
		return err_set(e, NE_NOT_FOUND, "no user \"%.64s\"; see neapd user list", user);
	TRY(sql_int(a->db, 0, &revoked, e,
		    "SELECT revoked FROM devices WHERE user = ?1 AND name = ?2", "ss", user,
		    device));
	if (revoked)
		return err_set(
			e, NE_USAGE,
			"device \"%s\" is revoked; let it in again first: neapd device allow "
			"%s %s",
			device, user, device);
	return 0;
}

static int put_code(struct auth *a, const char *user, const char *device, int64_t valid_s,
		    const uint8_t hash[static HASH_LEN], struct err *e)
{
	int64_t now = auth_now(a);

	TRY(check_request(a, user, device, valid_s, e));
	TRY(sql_do(a->db, e, "DELETE FROM codes WHERE until_s < ?3 OR (user = ?1 AND device = ?2)",
		   "ssi", user, device, now));
	/* Later than any use of the one before: the log of uses names the device only (do_enrol).
	 */
	TRY(sql_do(a->db, e, "INSERT INTO codes VALUES(?1, ?2, ?3, ?4, ?5, 0, NULL)", "bssii",
		   slice_of(hash, HASH_LEN), user, device, now, now + valid_s));
	return record_code_made(a, user, device, e);
}

int auth_device_enrol(struct auth *a, const char *user, const char *device, int64_t valid_s,
		      char out[static ENROL_CODE_LEN + 1], struct err *e)
{
	uint8_t hash[HASH_LEN];
	char symbols[SYMBOLS];

	TRY(make_code(symbols, out, e));
	int rc = hash_of(symbols, SYMBOLS, hash, e);
	OPENSSL_cleanse(symbols, sizeof symbols);
	TRY(rc);
	TRY(auth_begin(a, e));
	return auth_end(a, put_code(a, user, device, valid_s, hash, e), e);
}

/* Every code that is not good is refused alike. */
static int refused(struct auth_denial *why, struct err *e)
{
	why->status = 401;
	return err_set(e, NE_AUTH,
		       "this code is not good (any more): ask for another, neapd device enrol");
}

/* What stands behind a code, if it may be used now. */
static int look_up(struct auth *a, struct db *db, const uint8_t code[static HASH_LEN],
		   const uint8_t attempt[static HASH_LEN], struct auth_session *s, bool *good,
		   bool *again, struct err *e)
{
	int64_t now = auth_now(a);
	sqlite3_stmt *st;

	TRY(sql_bind(db, &st, e,
		     "SELECT user, device, used_s <> 0 FROM codes WHERE hash = ?1 AND until_s >= ?2"
		     " AND (used_s = 0 OR (attempt = ?3 AND used_s >= ?4)) AND user IN (SELECT name"
		     " FROM users WHERE NOT disabled)",
		     "bibi", slice_of(code, HASH_LEN), now, slice_of(attempt, HASH_LEN),
		     now - ENROL_REPEAT_S));
	TRY(db_step(db, st, good, e));
	*good = *good &&
		!id_set(&s->user, slice_str((const char *)sqlite3_column_text(st, 0)), "user", e) &&
		!id_set(&s->device, slice_str((const char *)sqlite3_column_text(st, 1)), "device",
			e);
	*again = *good && sqlite3_column_int(st, 2);
	sqlite3_reset(st);
	return 0;
}

static int enrol_change(struct auth *a, const uint8_t code[static HASH_LEN],
			const uint8_t attempt[static HASH_LEN], struct auth_session *s,
			struct auth_denial *why, int64_t *iat_s, struct err *e)
{
	bool good, again;

	TRY(look_up(a, a->db, code, attempt, s, &good, &again, e));
	if (!good)
		return refused(why, e);
	TRY(session_begin(a, s, why, iat_s, e));
	if (again)
		return 0;
	TRY(sql_do(a->db, e, "UPDATE codes SET attempt = ?2 WHERE hash = ?1", "bb",
		   slice_of(code, HASH_LEN), slice_of(attempt, HASH_LEN)));
	return revoke_code(a, s->user.at, s->device.at, e);
}

/* Strangers' guesses end here and wait for no other's change. */
static int look_first(struct auth *a, const uint8_t code[static HASH_LEN],
		      const uint8_t attempt[static HASH_LEN], struct auth_session *s, bool *good,
		      struct err *e)
{
	bool again;

	pthread_mutex_lock(&a->read_lock);
	int rc = look_up(a, a->read, code, attempt, s, good, &again, e);
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}

int auth_enrol(struct auth *a, struct slice code, struct slice attempt, struct auth_session *out,
	       struct auth_denial *why, struct err *e)
{
	uint8_t hash[HASH_LEN], again[HASH_LEN];
	char symbols[SYMBOLS];
	int64_t iat_s;
	bool good;

	memset(out, 0, sizeof *out);
	memset(why, 0, sizeof *why);
	if (attempt.len < ENROL_ATTEMPT_MIN || attempt.len > ENROL_ATTEMPT_MAX)
		return err_set(e, NE_MALFORMED, "\"attempt\" must have %d to %d bytes",
			       (int)ENROL_ATTEMPT_MIN, (int)ENROL_ATTEMPT_MAX);
	if (!read_code(code, symbols))
		return refused(why, e);
	TRY(hash_of(symbols, SYMBOLS, hash, e));
	OPENSSL_cleanse(symbols, sizeof symbols);
	TRY(hash_of(attempt.at, attempt.len, again, e));
	TRY(look_first(a, hash, again, out, &good, e));
	if (!good)
		return refused(why, e);
	TRY(auth_begin(a, e));
	int rc = enrol_change(a, hash, again, out, why, &iat_s, e);
	TRY(auth_end(a, rc, e));
	return session_fill(a, out, iat_s, e);
}
