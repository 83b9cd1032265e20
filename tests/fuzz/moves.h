/*
 * A fuzzer's input as a sequence of things that happen to a store: frames of a device, most of them
 * well formed and some then changed, what an operator writes, time, and restarts.
 */
#ifndef NEAP_TESTS_FUZZ_MOVES_H
#define NEAP_TESTS_FUZZ_MOVES_H

#include "protocol/frame.h"

enum { MOVES_MAX = 40, MOVES_SHAPES = 5 };

enum move_type { MOVE_FRAME, MOVE_OPERATOR, MOVE_TIME, MOVE_RESTART };

struct move {
	enum move_type type;
	uint8_t device;	    /* of a frame: 0 or 1 */
	struct slice frame; /* as it was opened */
	const char *sql;    /* on rows of the attacker's alone */
	uint64_t ms;
};

struct moves {
	struct slice left;     /* of the input */
	uint64_t store, term;  /* of the store as it is now: positions name them */
	uint64_t foreign_site; /* one of the other user's */
	unsigned n;
	struct shape shape[MOVES_SHAPES]; /* the last is the one that was declared last */
	struct arena a;
	struct slice last; /* the frame before, for parts of it */
};

/* `m` zeroed but for input, store, term and foreign_site. */
void moves_begin(struct moves *m);
/* The next one; false at the end of the input. What it points to lives until moves_end. */
bool moves_next(struct moves *m, struct move *out);
void moves_end(struct moves *m);

#endif
