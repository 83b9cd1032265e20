/* The one source of chance in a run: splitmix64 (Steele, Lea, Flood 2014). */
#ifndef NEAP_SIM_RNG_H
#define NEAP_SIM_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t at;
};

uint64_t rng_u64(struct rng *r);
/* 0 … n−1; n > 0. */
uint32_t rng_below(struct rng *r, uint32_t n);
/* lo … hi, both included. */
uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi);
bool rng_chance(struct rng *r, uint32_t per_mille);
/* random_fn of the engine, the ingest and the sealers; `ctx` is a struct rng. */
void rng_bytes(void *ctx, void *out, size_t len);

#endif
