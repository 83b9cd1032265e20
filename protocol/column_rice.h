/*
 * Adaptive Golomb-Rice coding after LOCO-I (Weinberger, Seroussi & Sapiro 2000): the parameter of
 * each word follows from the mean of the words before it in the same phase, so several series
 * taking turns each get their own.
 */
#ifndef NEAP_PROTOCOL_COLUMN_RICE_H
#define NEAP_PROTOCOL_COLUMN_RICE_H

#include <stdint.h>

#include "protocol/column_io.h"

enum {
	RICE_PHASES = 255,
	RICE_START_MAX = 40,  /* greatest start parameter */
	RICE_QUOTIENT = 20,   /* so many ones: the value follows with its length instead */
	RICE_LENGTH_BITS = 6, /* that length, less one */
	RICE_WINDOW = 32,     /* both sums are halved when so many values are in them */
	RICE_CAP_BITS = 40,   /* a value counts for at most 2^40 in the sum */
};

struct rice_phase {
	uint64_t sum;
	uint64_t n;
};

static inline struct rice_phase rice_start(unsigned k)
{
	return (struct rice_phase){.sum = (uint64_t)1 << k, .n = 1};
}

/* The least k with n << k ≥ sum. */
static inline unsigned rice_parameter(const struct rice_phase *p)
{
	unsigned s = bit_length(p->sum), n = bit_length(p->n);
	if (s < n)
		return 0;
	unsigned k = s - n;
	return p->n << k >= p->sum ? k : k + 1;
}

/* An outlier counts for no more than the longest word without escape: the mean soon recovers. */
static inline void rice_learn(struct rice_phase *p, uint64_t u, unsigned k)
{
	const uint64_t cap = (uint64_t)1 << RICE_CAP_BITS;
	uint64_t most = (uint64_t)RICE_QUOTIENT << k;
	most = most < cap ? most : cap;
	p->sum += u < most ? u : most;
	if (++p->n == RICE_WINDOW) {
		p->sum >>= 1;
		p->n >>= 1;
	}
}

/* Bits of `u` under parameter k. */
static inline unsigned rice_bits(uint64_t u, unsigned k)
{
	uint64_t q = u >> k;
	if (q < RICE_QUOTIENT)
		return (unsigned)q + 1 + k;
	return RICE_QUOTIENT + RICE_LENGTH_BITS + bit_length(u);
}

static inline void rice_put(struct bit_writer *w, uint64_t u, unsigned k)
{
	uint64_t q = u >> k;
	if (q < RICE_QUOTIENT) {
		bits_put(w, ((uint64_t)1 << q) - 1, (unsigned)q + 1);
		bits_put_wide(w, u & (((uint64_t)1 << k) - 1), k);
		return;
	}
	unsigned len = bit_length(u);
	bits_put(w, ((uint64_t)1 << RICE_QUOTIENT) - 1, RICE_QUOTIENT);
	bits_put(w, len - 1, RICE_LENGTH_BITS);
	bits_put_wide(w, u, len);
}

static inline uint64_t rice_get(struct bit_reader *r, unsigned k)
{
	if (r->n <= RICE_QUOTIENT)
		bits_refill(r);
	unsigned q = 0;
	if (~r->acc)
		q = (unsigned)__builtin_ctzll(~r->acc);
	else
		q = RICE_QUOTIENT;
	if (q < RICE_QUOTIENT) {
		bits_skip(r, q + 1);
		return (uint64_t)q << k | bits_get_wide(r, k);
	}
	bits_skip(r, RICE_QUOTIENT);
	unsigned len = (unsigned)bits_get(r, RICE_LENGTH_BITS) + 1;
	return bits_get_wide(r, len);
}

#endif
