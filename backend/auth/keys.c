/*
 * Keys of a running neapd: read again when their folder changed, so that they
 * are rotated without a restart, and told to the audit trail.
 */
#include <stdio.h>
#include <string.h>

#include "backend/auth/auth_db.h"
#include "common/log.h"

enum {
	MASTER_LEAD_S = 5, /* a running neapd has read a new one by then */
	/* No token of an older key, and no message under an older device key, is good any more. */
	RETIRE_S = JWT_LIFE_MAX_S + JWT_LEEWAY_S,
};

int keys_open(struct auth *a, struct err *e)
{
	return keyring_open(&a->keys, a->config->keys, e);
}

void keys_close(struct auth *a)
{
	keyring_close(a->keys);
	a->keys = NULL;
}

uint32_t keys_newest_master(struct auth *a)
{
	pthread_rwlock_rdlock(&a->keys_lock);
	uint32_t id = keyring_newest(a->keys);
	pthread_rwlock_unlock(&a->keys_lock);
	return id;
}

static bool has_master(const struct keyring *k, uint32_t id)
{
	for (size_t i = 0; i < k->masters; i++)
		if (k->master[i].id == id)
			return true;
	return false;
}

static bool has_token(const struct keyring *k, const char *kid)
{
	for (size_t i = 0; i < k->tokens; i++)
		if (!strcmp(jwt_signer_kid(k->token[i].signer), kid))
			return true;
	return false;
}

/* What `a` has and `b` has not. */
static void tell_difference(const struct keyring *a, const struct keyring *b, const char *what)
{
	char event[64];

	snprintf(event, sizeof event, "master_key_%s", what);
	for (size_t i = 0; i < a->masters; i++)
		if (!has_master(b, a->master[i].id))
			log_line(LOG_INFO, event, "id=%u", a->master[i].id);
	snprintf(event, sizeof event, "token_key_%s", what);
	for (size_t i = 0; i < a->tokens; i++)
		if (!has_token(b, jwt_signer_kid(a->token[i].signer)))
			log_line(LOG_INFO, event, "kid=%s signs_from=%lld",
				 jwt_signer_kid(a->token[i].signer), (long long)a->token[i].from_s);
}

int keys_reload(struct auth *a, bool tell, struct err *e)
{
	struct keyring *fresh, *old;

	TRY(keyring_open(&fresh, a->config->keys, e));
	pthread_rwlock_wrlock(&a->keys_lock);
	old = a->keys;
	if (tell) {
		tell_difference(fresh, old, "added");
		tell_difference(old, fresh, "removed");
	}
	a->keys = fresh;
	pthread_rwlock_unlock(&a->keys_lock);
	keyring_close(old);
	return 0;
}

int keys_notice_master(struct auth *a, struct err *e)
{
	int64_t newest = keys_newest_master(a), known;

	TRY(auth_begin(a, e));
	int rc = db_int(a->db, "SELECT master_id FROM meta", 0, &known, e);
	if (!rc && known != 0 && known != newest)
		rc = epoch_move_groups(a, e);
	if (!rc && known != newest)
		rc = sql_do(a->db, e, "UPDATE meta SET master_id = ?1", "i", newest);
	return auth_end(a, rc, e);
}

/* A change of the key that signs comes with time alone. */
static void tell_signer(struct auth *a)
{
	pthread_rwlock_wrlock(&a->keys_lock);
	size_t i = keyring_signs(a->keys, auth_now(a));
	const char *kid = jwt_signer_kid(a->keys->token[i].signer);
	if (strcmp(a->signs, kid) != 0)
		log_line(LOG_INFO, "token_key_signs", "kid=%s", kid);
	snprintf(a->signs, sizeof a->signs, "%s", kid);
	pthread_rwlock_unlock(&a->keys_lock);
}

int auth_keys_look(struct auth *a, struct err *e)
{
	int rc = 0;

	pthread_rwlock_rdlock(&a->keys_lock);
	bool changed = keyring_changed(a->keys, a->config->keys);
	pthread_rwlock_unlock(&a->keys_lock);
	if (changed) {
		rc = keys_reload(a, true, e);
		if (!rc)
			rc = keys_notice_master(a, e);
	}
	tell_signer(a);
	return rc;
}

int auth_rotate_master(struct auth *a, int64_t *from_s, struct err *e)
{
	*from_s = auth_now(a) + MASTER_LEAD_S;
	if (*from_s <= keys_newest_master(a))
		return err_set(e, NE_EXISTS,
			       "a master key was made just now, or this machine's clock was set "
			       "back");
	if (a->keys->masters == KEYRING_MASTERS)
		return err_set(e, NE_LIMIT, "there are %d master keys: neapd key retire first",
			       (int)KEYRING_MASTERS);
	TRY(keyring_add_master(a->config->keys, *from_s, e));
	TRY(keys_reload(a, false, e));
	return keys_notice_master(a, e);
}

int auth_rotate_token(struct auth *a, int64_t after_s, int64_t *from_s, struct err *e)
{
	*from_s = auth_now(a) + after_s;
	if (a->keys->tokens == KEYRING_SIGNERS)
		return err_set(e, NE_LIMIT, "there are %d token keys: neapd key retire first",
			       (int)KEYRING_SIGNERS);
	if (*from_s <= a->keys->token[a->keys->tokens - 1].from_s)
		return err_set(e, NE_EXISTS,
			       "a token key made before begins later than this one would: give a "
			       "longer --after");
	TRY(keyring_add_token(a->config->keys, a->config->token_keys, *from_s, e));
	return keys_reload(a, false, e);
}

static void describe_master(const struct keyring *k, size_t i, int64_t now_s,
			    struct auth_key_info *out)
{
	*out = (struct auth_key_info){.master = true, .from_s = k->master[i].id};
	if (i + 1 < k->masters)
		out->until_s = k->master[i + 1].id;
	out->used = out->from_s <= now_s && (!out->until_s || out->until_s > now_s);
}

static void describe_token(const struct keyring *k, size_t i, int64_t now_s,
			   struct auth_key_info *out)
{
	*out = (struct auth_key_info){.kid = jwt_signer_kid(k->token[i].signer),
				      .from_s = k->token[i].from_s,
				      .used = i == keyring_signs(k, now_s)};
	if (i + 1 < k->tokens)
		out->until_s = k->token[i + 1].from_s;
}

int auth_each_key(struct auth *a, auth_key_fn fn, void *ctx, struct err *e)
{
	struct auth_key_info info;
	int64_t now = auth_now(a);
	int rc = 0;

	pthread_rwlock_rdlock(&a->keys_lock);
	for (size_t i = 0; !rc && i < a->keys->masters + a->keys->tokens; i++) {
		if (i < a->keys->masters)
			describe_master(a->keys, i, now, &info);
		else
			describe_token(a->keys, i - a->keys->masters, now, &info);
		info.retire_s = info.until_s ? info.until_s + RETIRE_S : 0;
		rc = fn(ctx, &info, e);
	}
	pthread_rwlock_unlock(&a->keys_lock);
	return rc;
}

struct retire {
	struct auth *auth;
	int64_t now_s;
	auth_key_fn fn;
	void *ctx;
};

static int retire_one(void *ctx, const struct auth_key_info *k, struct err *e)
{
	struct retire *r = ctx;
	const struct config *c = r->auth->config;

	if (!k->retire_s || k->retire_s > r->now_s)
		return 0;
	if (k->master)
		TRY(keyring_remove_master(c->keys, (uint32_t)k->from_s, e));
	else
		TRY(keyring_remove_token(c->keys, c->token_keys, k->from_s, k->kid, e));
	return r->fn(r->ctx, k, e);
}

int auth_retire_keys(struct auth *a, auth_key_fn fn, void *ctx, struct err *e)
{
	struct retire r = {a, auth_now(a), fn, ctx};
	uint32_t kept = 0;

	for (size_t i = 1; i < a->keys->masters; i++)
		if ((int64_t)a->keys->master[i].id + RETIRE_S <= r.now_s)
			kept = a->keys->master[i].id;
	if (kept) { /* before its files go: nothing refers to them any more */
		TRY(auth_begin(a, e));
		TRY(auth_end(a, epoch_end_before(a, kept, e), e));
	}
	TRY(auth_each_key(a, retire_one, &r, e));
	return keys_reload(a, false, e);
}
