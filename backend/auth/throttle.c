#include "backend/auth/throttle.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

enum { FORGET_S = 3600 };

int throttle_init(struct throttle *t, struct err *e)
{
	memset(t, 0, sizeof *t);
	pthread_mutex_init(&t->lock, NULL);
	if (RAND_bytes(t->secret, sizeof t->secret) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes");
	return 0;
}

void throttle_destroy(struct throttle *t)
{
	pthread_mutex_destroy(&t->lock);
}

static struct throttle_slot *find(struct throttle *t, struct slice user, uint64_t *name)
{
	uint8_t mac[32];
	unsigned len = sizeof mac;

	HMAC(EVP_sha256(), t->secret, sizeof t->secret, user.len ? user.at : t->secret, user.len,
	     mac, &len);
	memcpy(name, mac, sizeof *name);
	return &t->slot[*name % THROTTLE_SLOTS];
}

int throttle_wait_s(struct throttle *t, struct slice user, int64_t now_s)
{
	uint64_t name;
	int64_t wait = 0;

	pthread_mutex_lock(&t->lock);
	struct throttle_slot *s = find(t, user, &name);
	if (s->name == name && s->until_s > now_s)
		wait = s->until_s - now_s;
	pthread_mutex_unlock(&t->lock);
	return wait < THROTTLE_MAX_S ? (int)wait : THROTTLE_MAX_S;
}

void throttle_failed(struct throttle *t, struct slice user, int64_t now_s)
{
	uint64_t name;

	pthread_mutex_lock(&t->lock);
	struct throttle_slot *s = find(t, user, &name);
	if (s->name != name || now_s - s->last_s > FORGET_S)
		*s = (struct throttle_slot){.name = name};
	s->last_s = now_s;
	s->failures++;
	if (s->failures >= THROTTLE_FREE) {
		unsigned doublings = s->failures - THROTTLE_FREE;
		int64_t delay = doublings < 9 ? INT64_C(1) << doublings : THROTTLE_MAX_S;
		s->until_s = now_s + (delay < THROTTLE_MAX_S ? delay : THROTTLE_MAX_S);
	}
	pthread_mutex_unlock(&t->lock);
}

void throttle_succeeded(struct throttle *t, struct slice user)
{
	uint64_t name;

	pthread_mutex_lock(&t->lock);
	struct throttle_slot *s = find(t, user, &name);
	if (s->name == name)
		memset(s, 0, sizeof *s);
	pthread_mutex_unlock(&t->lock);
}
