#include "backend/core/rate.h"

#include <stdlib.h>

enum { WAYS = 4, MILLI = 1000 };

struct rates {
	struct rate_limit limit;
	uint64_t secret;
	size_t sets; /* a power of two */
	struct rate_bucket at[];
};

int rates_new(struct rates **out, size_t owners, const struct rate_limit *limit, uint64_t secret)
{
	size_t sets = 1;

	while (sets * WAYS < owners)
		sets *= 2;
	struct rates *r = calloc(1, sizeof *r + sets * WAYS * sizeof r->at[0]);
	if (!r)
		return NE_MEMORY;
	r->limit = *limit;
	if (!r->limit.messages_burst)
		r->limit.messages_burst = RATE_BURST_S * limit->messages_s;
	r->secret = secret;
	r->sets = sets;
	*out = r;
	return NE_OK;
}

void rates_free(struct rates *r)
{
	free(r);
}

static uint64_t mix(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	return (h ^ 0xff) * 0x100000001b3u;
}

/* The last characters, too, decide all bits (the end of splitmix64). */
static uint64_t spread(uint64_t h)
{
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
	return h ^ (h >> 31);
}

static int64_t full(uint64_t tokens)
{
	return (int64_t)tokens * MILLI;
}

/* What is there after `ms` more, of `per_s` tokens a second. */
static int64_t filled(int64_t level, uint64_t ms, uint64_t per_s, int64_t most)
{
	uint64_t room = (uint64_t)(most - level);

	if (per_s == 0 || ms >= room / per_s + 1)
		return most;
	return level + (int64_t)(ms * per_s);
}

static void fill(const struct rates *r, struct rate_bucket *b, uint64_t now_ms)
{
	/* A clock that was set back gives nothing and takes nothing. */
	uint64_t ms = now_ms > b->at_ms ? now_ms - b->at_ms : 0;

	b->messages = filled(b->messages, ms, r->limit.messages_s, full(r->limit.messages_burst));
	b->rows = filled(b->rows, ms, r->limit.rows_s, full(RATE_BURST_S * r->limit.rows_s));
	b->at_ms = now_ms;
}

struct rate_bucket *rates_find(struct rates *r, const char *user, const char *device,
			       uint64_t now_ms)
{
	uint64_t key = spread(mix(mix(r->secret, user), device));
	struct rate_bucket *set = &r->at[key % r->sets * WAYS], *oldest = set;

	key += key == 0;
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].key == key) {
			fill(r, &set[i], now_ms);
			return &set[i];
		}
		if (set[i].key == 0 || (oldest->key && set[i].at_ms < oldest->at_ms))
			oldest = &set[i];
	}
	*oldest = (struct rate_bucket){.key = key,
				       .at_ms = now_ms,
				       .messages = full(r->limit.messages_burst),
				       .rows = full(RATE_BURST_S * r->limit.rows_s)};
	return oldest;
}

/* Until there is one token. */
static uint64_t wait_ms(int64_t level, uint64_t per_s)
{
	if (per_s == 0 || level >= MILLI)
		return 0;
	uint64_t ms = ((uint64_t)(MILLI - level) + per_s - 1) / per_s;
	return ms ? ms : 1;
}

uint64_t rates_wait_ms(const struct rates *r, const struct rate_bucket *b)
{
	uint64_t messages = wait_ms(b->messages, r->limit.messages_s);
	uint64_t rows = wait_ms(b->rows, r->limit.rows_s);

	return messages > rows ? messages : rows;
}

static int64_t charged(int64_t level, uint64_t n)
{
	const int64_t least = -full(UINT32_MAX);

	if (n > UINT32_MAX)
		n = UINT32_MAX;
	level -= full(n);
	return level < least ? least : level;
}

void rates_charge(const struct rates *r, struct rate_bucket *b, uint64_t messages, uint64_t rows)
{
	if (r->limit.messages_s)
		b->messages = charged(b->messages, messages);
	if (r->limit.rows_s)
		b->rows = charged(b->rows, rows);
}
