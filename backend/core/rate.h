/*
 * Token buckets (R4): who may be served now, and when else. A bucket has tokens of two kinds, for
 * messages and for the rows in them, fills with time up to five seconds' worth, and is charged
 * after the work, into debt if it was more than expected: one piece of work is never too large. The
 * table has a fixed size; a bucket that has not been used for longest gives way, and is full by
 * then.
 */
#ifndef NEAP_BACKEND_CORE_RATE_H
#define NEAP_BACKEND_CORE_RATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum { RATE_BURST_S = 5 };

struct rate_limit {
	uint64_t messages_s, rows_s; /* 0: no limit */
	uint64_t messages_burst;     /* 0: five seconds' worth */
};

struct rate_bucket {
	uint64_t key; /* of its owner; 0: free */
	uint64_t at_ms;
	int64_t messages, rows; /* thousandths; negative: debt */
	uint64_t told_ms;	/* the owner's to use */
};

struct rates;

/* For about `owners` at a time; `secret` is random. NE_MEMORY. */
NEAP_CHECK int rates_new(struct rates **out, size_t owners, const struct rate_limit *limit,
			 uint64_t secret);
void rates_free(struct rates *r); /* NULL is allowed */

/* The bucket of a device (or of a user, with device ""), as of now; good until the next call. */
struct rate_bucket *rates_find(struct rates *r, const char *user, const char *device,
			       uint64_t now_ms);
/* 0: it may be served now; else for so long, at least 1, it may not. */
uint64_t rates_wait_ms(const struct rates *r, const struct rate_bucket *b);
void rates_charge(const struct rates *r, struct rate_bucket *b, uint64_t messages, uint64_t rows);

#endif
