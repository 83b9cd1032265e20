#include "backend/shell/keeper.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "backend/shell/seals.h"
#include "broker-config/neap_auth_policy.h"
#include "common/log.h"
#include "protocol/frame.h"

enum { VOIDS_A_MESSAGE = 200, SEALERS_MAX = 1000 };

struct epoch {
	struct id user;
	uint32_t at;
};

struct epochs {
	size_t n, cap;
	struct epoch *at; /* in order of user */
};

struct keeper {
	struct auth *auth;
	uint8_t shard_lo, shard_hi;
	struct seals *seals;
	uint64_t revision;
	struct epochs epochs;
};

static int epochs_add(struct epochs *es, const char *user, uint32_t epoch, struct err *e)
{
	if (es->n == es->cap) {
		size_t cap = es->cap ? es->cap * 2 : 64;
		struct epoch *at = realloc(es->at, cap * sizeof *at);
		if (!at)
			return err_set(e, NE_MEMORY, "out of memory");
		es->at = at;
		es->cap = cap;
	}
	struct epoch *to = &es->at[es->n];
	TRY(id_set(&to->user, slice_str(user), "user", e));
	to->at = epoch;
	es->n++;
	return NE_OK;
}

static int add_user(void *ctx, const struct auth_user *u, struct err *e)
{
	return epochs_add(ctx, u->name, u->group_epoch, e);
}

static int by_user(const void *a, const void *b)
{
	const struct epoch *x = a, *y = b;
	return strcmp(x->user.at, y->user.at);
}

static int epochs_read(struct auth *auth, struct epochs *out, struct err *e)
{
	int rc = auth_each_user(auth, add_user, out, e);
	if (rc)
		free(out->at);
	else if (out->n)
		qsort(out->at, out->n, sizeof *out->at, by_user);
	return rc;
}

int keeper_new(struct keeper **out, struct auth *auth, const struct config *c, struct err *e)
{
	struct keeper *k = calloc(1, sizeof *k);
	if (!k)
		return err_set(e, NE_MEMORY, "out of memory");
	k->auth = auth;
	k->shard_lo = c->shard_lo;
	k->shard_hi = c->shard_hi;
	k->revision = auth_revision(auth);
	int rc = seals_new(&k->seals, auth, SEALERS_MAX, e);
	if (!rc)
		rc = epochs_read(auth, &k->epochs, e);
	if (rc) {
		k->epochs.at = NULL;
		keeper_free(k);
		return rc;
	}
	*out = k;
	return NE_OK;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	seals_free(k->seals);
	free(k->epochs.at);
	free(k);
}

struct voids {
	const struct keeper *keeper;
	struct link *link;
	json_t *list;
};

/* Sends what was collected; the last message declares the list complete. */
static int voids_send(struct voids *v, bool last, struct err *e)
{
	json_t *message = json_pack("{s:[i,i],s:b,s:O}", "shards", v->keeper->shard_lo,
				    v->keeper->shard_hi, "last", last, "void", v->list);
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	int rc = text ? link_publish(v->link, POLICY_CONTROL, slice_str(text), false) : NE_MEMORY;

	free(text);
	json_decref(message);
	json_array_clear(v->list);
	return rc ? err_set(e, rc, "the list of revoked tokens was not sent") : NE_OK;
}

static int add_void(void *ctx, const struct auth_void *a, struct err *e)
{
	struct voids *v = ctx;
	json_t *item = json_pack("{s:s,s:I,s:I}", "user", a->user, "iat", (json_int_t)a->iat_s,
				 "until", (json_int_t)a->until_s);

	if (item && a->device && a->device[0])
		json_object_set_new(item, "device", json_string(a->device));
	if (json_array_append_new(v->list, item))
		return err_set(e, NE_MEMORY, "out of memory");
	if (json_array_size(v->list) < VOIDS_A_MESSAGE)
		return NE_OK;
	return voids_send(v, false, e);
}

int keeper_send_voids(struct keeper *k, struct link *l, struct err *e)
{
	struct voids v = {k, l, json_array()};

	if (!v.list)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = auth_each_void(k->auth, add_void, &v, e);
	if (!rc)
		rc = voids_send(&v, true, e);
	json_decref(v.list);
	return rc;
}

struct handout {
	struct keeper *keeper;
	struct link *link;
	const struct id *user;
	struct slice frame;
};

static int hand_out(void *ctx, const struct auth_device *d, struct err *e)
{
	struct handout *h = ctx;
	struct buf sealed = {.max = LIMIT_MESSAGE};
	char topic[TOPIC_MAX];
	struct id device;

	if (d->revoked)
		return NE_OK;
	TRY(id_set(&device, slice_str(d->name), "device", e));
	TRY(topic_for(TOPIC_DOWN, h->user->at, d->name, topic, e));
	int rc = seals_seal(h->keeper->seals, SEAL_DOWN, h->user, &device, h->frame, &sealed, e);
	if (!rc && link_publish(h->link, topic, buf_slice(&sealed), false))
		rc = err_set(e, NE_UNREACHABLE, "a group key was not sent");
	buf_free(&sealed);
	/* Revoked or gone since: it gets no key. */
	return rc == NE_AUTH || rc == NE_NOT_FOUND ? NE_OK : rc;
}

static int hand_out_key(struct keeper *k, struct link *l, const struct id *user, struct err *e)
{
	struct frame f = {.type = FRAME_KEY};
	struct buf frame = {.max = 256};
	struct auth_key key;

	int rc = auth_group_key(k->auth, user->at, 0, &key, e);
	if (rc == NE_AUTH || rc == NE_NOT_FOUND)
		return NE_OK; /* disabled or removed: nobody gets the key */
	if (rc)
		return rc;
	f.key.epoch = key.epoch;
	memcpy(f.key.key, key.key.at, sizeof f.key.key);
	key_wipe(&key.key);
	rc = frame_encode(&f, &frame, e);
	if (!rc) {
		struct handout h = {k, l, user, buf_slice(&frame)};
		rc = auth_each_device(k->auth, user->at, hand_out, &h, e);
		rc = rc == NE_NOT_FOUND ? NE_OK : rc;
	}
	OPENSSL_cleanse(f.key.key, sizeof f.key.key);
	if (frame.at)
		OPENSSL_cleanse(frame.at, frame.len);
	buf_free(&frame);
	if (!rc)
		log_line(LOG_INFO, "group_key_sent", "user=%s epoch=%u", user->at,
			 (unsigned)f.key.epoch);
	return rc;
}

/* Hands out keys of users whose epoch moved; both lists are in order of user. */
static int send_moved(struct keeper *k, struct link *l, const struct epochs *now, bool *moved,
		      struct err *e)
{
	for (size_t i = 0, old = 0; i < now->n; i++) {
		const struct epoch *u = &now->at[i];
		while (old < k->epochs.n && strcmp(k->epochs.at[old].user.at, u->user.at) < 0)
			old++;
		if (old == k->epochs.n || strcmp(k->epochs.at[old].user.at, u->user.at) != 0 ||
		    k->epochs.at[old].at == u->at)
			continue;
		TRY(hand_out_key(k, l, &u->user, e));
		*moved = true;
	}
	return NE_OK;
}

int keeper_look(struct keeper *k, struct link *l, bool *epoch_moved, struct err *e)
{
	uint64_t revision = auth_revision(k->auth);
	struct epochs now = {0};

	*epoch_moved = false;
	if (revision == k->revision)
		return NE_OK;
	TRY(keeper_send_voids(k, l, e));
	TRY(epochs_read(k->auth, &now, e));
	int rc = send_moved(k, l, &now, epoch_moved, e);
	if (rc) {
		free(now.at);
		return rc;
	}
	free(k->epochs.at);
	k->epochs = now;
	k->revision = revision;
	return NE_OK;
}
