#include "device/shell/crypt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct origin {
	struct id id;
	struct opener *opener;
	uint64_t used;
};

struct crypt {
	struct id user, device;
	struct key group;
	uint32_t message_epoch, group_epoch;
	struct sealer *up;
	struct opener *down, *head;
	struct origin origin[CRYPT_ORIGINS];
	uint64_t uses;
};

void crypt_random(void *ctx, void *out, size_t len)
{
	uint8_t *at = out;

	(void)ctx;
	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0) {
			perror("neap: getrandom");
			abort(); /* nothing may be sealed with guessable bytes */
		}
		at += n;
		len -= (size_t)n;
	}
}

static void drop_group(struct crypt *c)
{
	opener_free(c->head);
	c->head = NULL;
	for (size_t i = 0; i < CRYPT_ORIGINS; i++) {
		opener_free(c->origin[i].opener);
		c->origin[i] = (struct origin){0};
	}
}

void crypt_free(struct crypt *c)
{
	if (!c)
		return;
	drop_group(c);
	sealer_free(c->up);
	opener_free(c->down);
	key_wipe(&c->group);
	free(c);
}

static int set_group(struct crypt *c, const struct key *key, uint32_t epoch, struct err *e)
{
	drop_group(c);
	c->group = *key;
	c->group_epoch = epoch;
	return opener_new(&c->head, key, epoch, SEAL_HEAD, id_slice(&c->user), slice_str(""), e);
}

static int fill(struct crypt *c, const struct grant *g, struct err *e)
{
	struct slice user = id_slice(&c->user), device = id_slice(&c->device);

	TRY(sealer_new(&c->up, &g->message, g->message_epoch, SEAL_UP, user, device, crypt_random,
		       NULL, e));
	TRY(opener_new(&c->down, &g->message, g->message_epoch, SEAL_DOWN, user, device, e));
	return set_group(c, &g->group, g->group_epoch, e);
}

int crypt_new(struct crypt **out, const struct grant *g, struct err *e)
{
	struct crypt *c = calloc(1, sizeof *c);

	if (!c)
		return err_set(e, NE_MEMORY, "out of memory");
	c->user = g->user;
	c->device = g->device;
	c->message_epoch = g->message_epoch;
	int rc = fill(c, g, e);
	if (rc) {
		crypt_free(c);
		return rc;
	}
	*out = c;
	return NE_OK;
}

int crypt_renew(struct crypt *c, struct err *e)
{
	return sealer_renew(c->up, e);
}

int crypt_set_group(struct crypt *c, const struct key *key, uint32_t epoch, struct err *e)
{
	return epoch > c->group_epoch ? set_group(c, key, epoch, e) : NE_OK;
}

int crypt_seal(struct crypt *c, struct slice plain, struct buf *out, struct err *e)
{
	buf_clear(out);
	return sealer_seal(c->up, plain, out, e);
}

static int origin_opener(struct crypt *c, const struct id *id, struct opener **out, struct err *e)
{
	struct origin *oldest = &c->origin[0];

	for (size_t i = 0; i < CRYPT_ORIGINS; i++) {
		struct origin *o = &c->origin[i];
		if (o->opener && !strcmp(o->id.at, id->at)) {
			o->used = ++c->uses;
			*out = o->opener;
			return NE_OK;
		}
		if (o->used < oldest->used)
			oldest = o;
	}
	opener_free(oldest->opener);
	*oldest = (struct origin){.id = *id, .used = ++c->uses};
	TRY(opener_new(&oldest->opener, &c->group, c->group_epoch, SEAL_CHANGES, id_slice(&c->user),
		       id_slice(id), e));
	*out = oldest->opener;
	return NE_OK;
}

static enum crypt_epoch compare(uint32_t epoch, uint32_t known)
{
	return epoch == known ? CRYPT_SAME : epoch > known ? CRYPT_NEWER : CRYPT_OLDER;
}

int crypt_open(struct crypt *c, const struct topic *topic, struct slice sealed, struct buf *out,
	       enum crypt_epoch *epoch, struct err *e)
{
	struct opener *opener;
	uint32_t named;

	buf_clear(out);
	*epoch = CRYPT_SAME;
	TRY(seal_peek(sealed, &named, e));
	if (strcmp(topic->user.at, c->user.at) != 0)
		return err_set(e, NE_AUTH, "a message of another user");
	switch (topic->kind) {
	case TOPIC_DOWN:
		if (strcmp(topic->peer.at, c->device.at) != 0)
			return err_set(e, NE_AUTH, "a message of another device");
		*epoch = compare(named, c->message_epoch);
		opener = c->down;
		break;
	case TOPIC_HEAD:
		*epoch = compare(named, c->group_epoch);
		opener = c->head;
		break;
	case TOPIC_CHANGES:
		*epoch = compare(named, c->group_epoch);
		TRY(origin_opener(c, &topic->peer, &opener, e));
		break;
	default:
		return err_set(e, NE_PROTOCOL, "a message on a topic not subscribed to");
	}
	return opener_open(opener, sealed, out, e);
}
