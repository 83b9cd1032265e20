#include "tests/sim/rng.h"

uint64_t rng_u64(struct rng *r)
{
	uint64_t z = r->at += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(rng_u64(r) >> 32) % n;
}

uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi)
{
	return lo + rng_u64(r) % (hi - lo + 1);
}

bool rng_chance(struct rng *r, uint32_t per_mille)
{
	return rng_below(r, 1000) < per_mille;
}

void rng_bytes(void *ctx, void *out, size_t len)
{
	uint8_t *at = out;

	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(rng_u64(ctx) >> 56);
}
