#include "backend/shell/seals.h"

#include <stdlib.h>
#include <string.h>

#include "backend/shell/os.h"

enum { BUCKETS = 4096 };

struct seal_entry {
	struct seal_entry *next;
	enum seal_kind kind;
	struct id user, peer;
	uint32_t epoch;	   /* of an opener it is part of the key, of a sealer the current one */
	bool ended;	   /* of an opener: its key did, with the store before */
	uint64_t revision; /* of the accounts when it was last checked */
	struct sealer *sealer;
	struct opener *opener;
};

struct seals {
	struct auth *auth;
	size_t n, max;
	struct seal_entry *bucket[BUCKETS];
};

int seals_new(struct seals **out, struct auth *auth, size_t max, struct err *e)
{
	struct seals *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(e, NE_MEMORY, "out of memory");
	s->auth = auth;
	s->max = max;
	*out = s;
	return NE_OK;
}

static void entry_free(struct seal_entry *entry)
{
	sealer_free(entry->sealer);
	opener_free(entry->opener);
	free(entry);
}

void seals_clear(struct seals *s)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct seal_entry *at = s->bucket[i], *next; at; at = next) {
			next = at->next;
			entry_free(at);
		}
		s->bucket[i] = NULL;
	}
	s->n = 0;
}

void seals_free(struct seals *s)
{
	if (!s)
		return;
	seals_clear(s);
	free(s);
}

static uint32_t hash(uint32_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h * 16777619u;
}

/* Where the entry is linked in, or would be: *result is NULL then. */
static struct seal_entry **find(struct seals *s, enum seal_kind kind, const struct id *user,
				const struct id *peer, uint32_t epoch)
{
	uint32_t h = hash(hash(2166136261u ^ (uint32_t)kind, user->at), peer->at);
	struct seal_entry **at = &s->bucket[h % BUCKETS];

	for (; *at; at = &(*at)->next) {
		const struct seal_entry *entry = *at;
		if (entry->kind == kind && (kind != SEAL_UP || entry->epoch == epoch) &&
		    strcmp(entry->user.at, user->at) == 0 && strcmp(entry->peer.at, peer->at) == 0)
			break;
	}
	return at;
}

static void drop(struct seals *s, struct seal_entry **at)
{
	struct seal_entry *entry = *at;
	*at = entry->next;
	entry_free(entry);
	s->n--;
}

static int get_key(struct seals *s, enum seal_kind kind, const struct id *user,
		   const struct id *peer, uint32_t epoch, struct auth_key *out, struct err *e)
{
	if (kind == SEAL_UP || kind == SEAL_DOWN)
		return auth_device_key(s->auth, user->at, peer->at, epoch, out, e);
	return auth_group_key(s->auth, user->at, epoch, out, e);
}

/* Makes the entry of a key just got. */
static int make(struct seals *s, enum seal_kind kind, const struct id *user, const struct id *peer,
		const struct auth_key *key, struct seal_entry **out, struct err *e)
{
	int rc;

	if (s->n >= s->max)
		seals_clear(s);
	struct seal_entry *entry = calloc(1, sizeof *entry);
	if (!entry)
		return err_set(e, NE_MEMORY, "out of memory");
	entry->kind = kind;
	entry->user = *user;
	entry->peer = *peer;
	entry->epoch = key->epoch;
	if (kind == SEAL_UP)
		rc = opener_new(&entry->opener, &key->key, key->epoch, kind, id_slice(user),
				id_slice(peer), e);
	else
		rc = sealer_new(&entry->sealer, &key->key, key->epoch, kind, id_slice(user),
				id_slice(peer), os_random, NULL, e);
	if (rc) {
		free(entry);
		return rc;
	}
	struct seal_entry **at = find(s, kind, user, peer, key->epoch);
	entry->next = *at;
	*at = entry;
	s->n++;
	*out = entry;
	return NE_OK;
}

/* The entry, made or checked again where needed. `epoch` matters for SEAL_UP only. */
static int get(struct seals *s, enum seal_kind kind, const struct id *user, const struct id *peer,
	       uint32_t epoch, struct seal_entry **out, struct err *e)
{
	struct auth_key key;
	uint64_t revision = auth_revision(s->auth);
	struct seal_entry **at = find(s, kind, user, peer, epoch);

	*out = *at;
	if (*at && (*at)->revision == revision)
		return NE_OK;
	int rc = get_key(s, kind, user, peer, kind == SEAL_UP ? epoch : 0, &key, e);
	if (*at && (rc || key.epoch != (*at)->epoch)) {
		drop(s, at);
		*out = NULL;
	}
	if (!rc && !*out)
		rc = make(s, kind, user, peer, &key, out, e);
	if (!rc) {
		(*out)->revision = revision;
		(*out)->ended = key.ended;
	}
	key_wipe(&key.key);
	return rc;
}

int seals_open(struct seals *s, const struct id *user, const struct id *device, struct slice sealed,
	       struct buf *out, bool *ended, struct err *e)
{
	struct seal_entry *entry;
	size_t before = out->len;
	uint32_t epoch;

	*ended = false;
	TRY(seal_peek(sealed, &epoch, e));
	if (epoch == 0)
		return err_set(e, NE_MALFORMED, "epoch 0");
	TRY(get(s, SEAL_UP, user, device, epoch, &entry, e));
	TRY(opener_open(entry->opener, sealed, out, e));
	if (!entry->ended)
		return NE_OK;
	explicit_bzero(out->at + before, out->len - before);
	out->len = before;
	*ended = true;
	return err_set(e, NE_AUTH, "epoch %u ended with the store before", epoch);
}

int seals_seal(struct seals *s, enum seal_kind kind, const struct id *user, const struct id *peer,
	       struct slice plain, struct buf *out, struct err *e)
{
	struct seal_entry *entry;

	TRY(get(s, kind, user, peer, 0, &entry, e));
	return sealer_seal(entry->sealer, plain, out, e);
}
