#include "broker-config/neap_auth_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct table {
	struct entry **bucket;
	size_t n_bucket, n, max;
	uint64_t seed; /* so that nobody can choose names that share a bucket */
};

int table_new(struct table **out, size_t max)
{
	struct table *t = calloc(1, sizeof *t);
	if (!t)
		return NE_MEMORY;
	t->max = max;
	t->n_bucket = 256;
	t->bucket = calloc(t->n_bucket, sizeof(struct entry *));
	if (!t->bucket || getrandom(&t->seed, sizeof t->seed, 0) != sizeof t->seed) {
		table_free(t);
		return NE_MEMORY;
	}
	*out = t;
	return NE_OK;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; t->bucket && i < t->n_bucket; i++) {
		for (struct entry *n = t->bucket[i], *next; n; n = next) {
			next = n->next;
			free(n);
		}
	}
	free(t->bucket);
	free(t);
}

size_t table_count(const struct table *t)
{
	return t->n;
}

static size_t bucket_of(const struct table *t, size_t n_bucket, const char *key)
{
	uint64_t h = t->seed;
	for (; *key; key++) {
		h = (h ^ (uint8_t)*key) * UINT64_C(0x9E3779B97F4A7C15);
		h ^= h >> 29;
	}
	return (size_t)(h % n_bucket);
}

struct entry *table_find(const struct table *t, const char *key)
{
	for (struct entry *n = t->bucket[bucket_of(t, t->n_bucket, key)]; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

/* Twice the buckets; stays as it is when memory is short. */
static void grow(struct table *t)
{
	size_t n_bucket = t->n_bucket * 2;
	struct entry **bucket = calloc(n_bucket, sizeof(struct entry *));
	if (!bucket)
		return;
	for (size_t i = 0; i < t->n_bucket; i++) {
		for (struct entry *n = t->bucket[i], *next; n; n = next) {
			size_t to = bucket_of(t, n_bucket, n->key);
			next = n->next;
			n->next = bucket[to];
			bucket[to] = n;
		}
	}
	free(t->bucket);
	t->bucket = bucket;
	t->n_bucket = n_bucket;
}

int table_put(struct table *t, const char *key, struct entry **out)
{
	struct entry *found = table_find(t, key);
	if (found) {
		*out = found;
		return NE_OK;
	}
	if (t->n >= t->max)
		return NE_LIMIT;
	size_t len = strlen(key) + 1;
	struct entry *n = calloc(1, sizeof *n + len);
	if (!n)
		return NE_MEMORY;
	memcpy(n->key, key, len);
	if (t->n >= t->n_bucket)
		grow(t);
	size_t at = bucket_of(t, t->n_bucket, key);
	n->next = t->bucket[at];
	t->bucket[at] = n;
	t->n++;
	*out = n;
	return NE_OK;
}

void table_sweep(struct table *t, bool (*fn)(void *ctx, struct entry *e), void *ctx)
{
	for (size_t i = 0; i < t->n_bucket; i++) {
		struct entry **at = &t->bucket[i];
		while (*at) {
			struct entry *n = *at;
			if (!fn(ctx, n)) {
				at = &n->next;
				continue;
			}
			*at = n->next;
			free(n);
			t->n--;
		}
	}
}
