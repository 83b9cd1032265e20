/* What the files of keep give each other. */
#ifndef NEAP_DEVICE_CORE_KEEP_INTERNAL_H
#define NEAP_DEVICE_CORE_KEEP_INTERNAL_H

#include "device/core/cut_internal.h"
#include "device/core/keep.h"

enum keep_by { BY_KEY, BY_NUMBER };

enum {
	SWEEP_ROWS = 250,	   /* deleted under one lock … */
	SWEEP_BYTES = 1024 * 1024, /* … or about so much */
};

/* Rows to delete, lowest first: above `lo`, up to and including `upto`. */
struct sweep {
	enum keep_by by;
	bool pending;	     /* rows never cut (numbers n), not acknowledged ones (−n) */
	int64_t lo, upto;    /* keys or numbers */
	int64_t rows, bytes; /* stop once both are reached */
};

struct doomed {
	int64_t at; /* key or number */
	int64_t bytes;
	bool gone; /* the app has deleted the row itself */
	struct val *key;
};

/* The rows found, and what is known of the range. */
struct candidates {
	const struct sweep *s;
	size_t n;
	struct doomed row[SWEEP_ROWS];
	int64_t upto; /* of the range, all up to here is in `row` or is not to be deleted */
	bool end;     /* … and that is the whole range */
};

struct swept {
	int64_t rows, bytes;
	int64_t last; /* of sweep_measure: the greatest key or number seen */
};

/* Reads without a lock what a sweep would delete next; memory from `a`. */
NEAP_CHECK int sweep_find(struct devdb *d, const struct tracked *t, const struct sweep *s,
			  struct arena *a, struct candidates *out, struct err *e);
/* Deletes them in the caller's transaction, but for those that changed their state meanwhile. */
NEAP_CHECK int sweep_delete(struct devdb *d, const struct tracked *t, const struct candidates *c,
			    struct swept *out, struct err *e);

/* What there is above `lo`, up to *upto, at most `max` rows of it: then *upto is less. */
NEAP_CHECK int sweep_measure(struct devdb *d, const struct tracked *t, enum keep_by by,
			     bool pending, int64_t lo, int max, int64_t *upto, struct swept *out,
			     struct err *e);

#endif
