/*
 * This end of a verification (J6): a range of a merge table's keys as it is here, against what the
 * server has of it. Only settled rows are compared: those with a pending write, parked and rejected
 * ones are left out, as are those that the server says are newer.
 *
 * Keys that end a range are packed (values_put); an empty one is no end.
 */
#ifndef NEAP_DEVICE_CORE_VERIFY_H
#define NEAP_DEVICE_CORE_VERIFY_H

#include "device/core/apply.h"
#include "protocol/key_set.h"
#include "protocol/row_sum.h"

struct verify_range {
	struct devdb *d;
	struct tracked *t;
	struct slice from; /* behind it */
	struct slice to;   /* up to it */
};

/* Of rows, as counted so far. */
struct verify_counts {
	uint64_t rows;	   /* compared */
	uint64_t left_out; /* pending, refused, or changing meanwhile */
	uint64_t differed; /* other values here */
	uint64_t missing;  /* the server has them, we did not */
	uint64_t extra;	   /* we had them, the server not */
	uint64_t repaired; /* of the three */
};

/*
 * What can be asked about at once, at most up to r->to: `to` is the key of the `rows`-th row, or of
 * the LIMIT_EXCEPT-th pending one if that comes first; empty where r->to is and fewer are left.
 * `except`: the keys of pending rows up to there, packed.
 */
NEAP_CHECK int verify_bounds(const struct verify_range *r, size_t rows, struct buf *to,
			     struct buf *except, struct err *e);

/* Whether key `a` comes behind key `b`, as the table's index has it. NE_MALFORMED: not keys. */
NEAP_CHECK int verify_behind(struct devdb *d, const struct tracked *t, struct slice a,
			     struct slice b, bool *yes, struct err *e);

enum verify_found {
	VERIFY_EQUAL,
	VERIFY_DIFFERS,
	VERIFY_MOVED, /* a row became pending that was not left out: ask again */
};

/* Our sum of the range, less the keys left out, against `theirs`. Adds to `out` if equal. */
NEAP_CHECK int verify_sum(const struct verify_range *r, const struct key_set *except,
			  const struct key_set *above, const struct row_sum *theirs,
			  enum verify_found *found, struct verify_counts *out, struct err *e);

/*
 * Row by row: `theirs` are all rows that the server has of the range, tombstones as well, but for
 * `above`. With `repair`, in one transaction: the server's rows overwrite ours, which are kept as
 * conflicts; a row that the server knows nothing of becomes a pending insert, or goes where the
 * table only receives. Another writer's lock: NE_BUSY; the schema changed since the last
 * devdb_reload: NE_CAPTURE; nothing was done then.
 */
NEAP_CHECK int verify_rows(const struct verify_range *r, const struct table_rows *theirs,
			   const struct key_set *above, bool repair, struct verify_counts *out,
			   struct applied *done, struct err *e);

/*
 * The DEFAULTs of the table's columns, packed: what its rows hold where the server has no value.
 * Empty where all are NULL, or too long to be sent with each question.
 */
NEAP_CHECK int verify_absent(struct devdb *d, const struct tracked *t, struct arena *a,
			     struct buf *out, struct err *e);

/* What is remembered of the last time that a table was compared to its end. */
struct verify_last {
	int64_t at_ms;			  /* by this device's clock; 0: never */
	int64_t rows, differed, repaired; /* differed: in any way */
};
NEAP_CHECK int verify_note(struct devdb *d, int64_t table, uint64_t now_ms,
			   const struct verify_counts *n, struct err *e);
NEAP_CHECK int verify_last(struct devdb *d, int64_t table, struct verify_last *out, struct err *e);

/* Rows of the table, counted up to `max`. */
NEAP_CHECK int verify_total(const struct verify_range *r, int64_t max, int64_t *out, struct err *e);

#endif
