/*
 * Stamps: a hybrid logical clock in 64 bits, 48 bits of milliseconds since
 * 1970 and a 16-bit counter (Kulkarni et al. 2014, "Logical Physical Clocks").
 * A register's version is a stamp and the site that wrote it; sites break ties.
 */
#ifndef NEAP_PROTOCOL_STAMP_H
#define NEAP_PROTOCOL_STAMP_H

#include <stdbool.h>
#include <stdint.h>

/* Largest stamp: fits SQLite's signed 64-bit integer. */
#define STAMP_MAX INT64_MAX

/* Site ids: 1 … 2^63−1, random; 0 is the server. */
#define SITE_SERVER 0

/*
 * In a register the server gives out: the write under this very stamp was refused, and what stands
 * instead counts as written just after it. No site has this id, and no device may send it.
 */
#define SITE_REFUSED INT64_MAX

struct reg {
	uint64_t stamp;
	uint64_t site;
};

/* The first stamp of a millisecond; clamps at the largest. */
uint64_t stamp_from_ms(uint64_t ms);
uint64_t stamp_ms(uint64_t stamp);

/* The next stamp of a clock whose last one was `last`, at wall time `now_ms`: later than both. */
uint64_t stamp_next(uint64_t last, uint64_t now_ms);

/* <0, 0, >0 as version `a` is older than, the same as, or newer than `b`. */
int reg_cmp(struct reg a, struct reg b);

#endif
