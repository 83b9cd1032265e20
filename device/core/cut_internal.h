/* What the files of cut give each other. */
#ifndef NEAP_DEVICE_CORE_CUT_INTERNAL_H
#define NEAP_DEVICE_CORE_CUT_INTERNAL_H

#include "device/core/capture.h"
#include "device/core/cut.h"

enum range_kind {
	RANGE_MARKS,   /* keys of a mark table */
	RANGE_KEYS,    /* INTEGER PRIMARY KEYs of an append table */
	RANGE_NUMBERS, /* numbers of an append table's number table */
	RANGE_LOST,    /* keys that the server had and lost (lost.h) */
};

/* What a set carries of one table: above `lo`, up to and including `hi`; empty: no bound. */
struct range {
	int64_t table;
	enum range_kind kind;
	struct slice lo, hi; /* key_pack; of keys and numbers: one integer */
};

/* neap_inflight.ranges. range_next borrows; *any is false at the end; NE_CORRUPT. */
NEAP_CHECK int range_put(struct buf *out, const struct range *r);
NEAP_CHECK int range_next(struct slice *left, struct range *out, bool *any);

/* Up to `gen` the marks of keys up to and including `hi` have been cut; empty `hi`: of all keys. */
struct segment {
	struct buf hi;
	int64_t gen;
};
struct segments {
	size_t n, cap;
	struct segment *at;
};

/* One table's pass over its marks: what the pass before covered, and this one so far. */
struct pass {
	int64_t table;
	struct segments before, now;
	size_t at;	   /* the segment of `before` that this pass stands in */
	int64_t number_at; /* append: numbers up to here are in flight, */
	int64_t lost_at;   /* … and of the keys that were lost, those up to here */
	bool begun;	   /* merge: it is under way */
	bool searched;	   /* merge: all of it was looked at for deletes */
	int64_t round;	   /* … and sends refused rows again: see again.h */
};

/* Marks are pending below the bound of each segment with a gen above its own. */
NEAP_CHECK int segments_add(struct segments *s, struct slice hi, int64_t gen);
void segments_free(struct segments *s);

/* One set being cut. */
struct cutting {
	struct devdb *d;
	const struct cut_limits *limits;
	struct arena *arena;
	struct dev_clock clock;
	struct cut *out;
	struct buf ranges;
	uint64_t stamp;	     /* the greatest one in it */
	size_t cells, bytes; /* so far */
	bool full;	     /* a limit was reached: more is pending */
	size_t n_passed;     /* rows passed over while only deletes are wanted */
	bool rejects;	     /* neap_rejected is not empty */
	bool parked;	     /* … nor is neap_parked */
	bool wrote;	     /* marks that mean nothing were dropped */

	bool any_append; /* it has append rows, captured under `captured` */
	uint64_t captured;

	struct row *row; /* of the table being cut, LIMIT_ROWS of them */
	size_t n_row;
};

/* Room for one more row of `cells` and `bytes`? The first row always has it. */
bool cutting_fits(const struct cutting *c, size_t cells, size_t bytes);
/* Takes the row just filled in at c->row[c->n_row]. */
void cutting_take(struct cutting *c, size_t cells, size_t bytes);
/* Moves the rows gathered to the cut as those of table `t`. */
NEAP_CHECK int cutting_table(struct cutting *c, const struct tracked *t, struct err *e);

/* Cut what is pending of one table; rows, ranges and the pass's position move. */
NEAP_CHECK int cut_merge_table(struct cutting *c, const struct tracked *t, struct pass *p,
			       struct err *e);
NEAP_CHECK int cut_append_table(struct cutting *c, const struct tracked *t, struct pass *p,
				struct err *e);

/* cut_reject.c: whether any set can hold a row; keeping it where none can. */
bool cut_fits_a_set(size_t largest, size_t bytes);
NEAP_CHECK int cut_reject(struct cutting *c, const struct tracked *t, const struct val *key,
			  struct err *e);
NEAP_CHECK int cut_look_for_rejects(struct cutting *c, struct err *e);

/* ` AND (k0, k1) > (?n, …)` over columns named by `name` ("k%u" or the key's); moves *param. */
NEAP_CHECK int cut_put_bound(struct buf *out, uint16_t n_key, const char *op, int *param);
NEAP_CHECK int cut_bind_bound(struct db *db, sqlite3_stmt *s, struct slice bound, uint16_t n_key,
			      int *param, struct err *e);

/* SQL for the bytes of the values of row `of`: text and blobs have their length, others 8. */
NEAP_CHECK int cut_put_row_size(const struct shape *s, const char *of, struct buf *out);

/* Prepares what `sql` holds. */
NEAP_CHECK int cut_prepare(struct db *db, struct buf *sql, sqlite3_stmt **out, struct err *e);

#endif
