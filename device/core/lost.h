/*
 * The server has lost append rows that it had acknowledged: its store was restored from a backup,
 * or wiped (rule P8). Which ones, it is asked, table by table: about rows whose identity is known
 * by the numbers it has received of each (site, generation); about the others, whose numbers were
 * dropped when they were settled, by hashes of the keys it has. What it lacks and is still here is
 * pending again, and nothing else.
 *
 *   neap_ask    tables that are yet to be asked about: stage and position, durable, so that no run
 *               of the engine takes itself to be in sync, nor cuts rows of such a table, before
 *   neap_hash   of the table asked about: hashes of keys that the server was not yet seen to have
 *   neap_lost   kind RANGE_KEYS: keys above lo, up to and including hi, are pending again, until
 *               they are settled. Kind RANGE_NUMBERS: some numbers in there are: n > 0. Kind
 *               RANGE_LOST: rows got these numbers as the server did not have them
 */
#ifndef NEAP_DEVICE_CORE_LOST_H
#define NEAP_DEVICE_CORE_LOST_H

#include "device/core/cut_internal.h"

/* Begins to ask about every append table, in the caller's transaction; no set is in flight. */
NEAP_CHECK int lost_begin(struct devdb *d, struct err *e);

/*
 * The same of the tables whose rows go by their INTEGER keys: another device used the file, and
 * what was left to that device to send may be this one's own.
 */
NEAP_CHECK int lost_begin_keys(struct devdb *d, struct err *e);

/*
 * The same of one table whose rows go by numbers given at capture, and whose capture was lost: a
 * row without a number was acknowledged, or is new, and only the server can tell.
 */
NEAP_CHECK int lost_begin_table(struct devdb *d, const struct tracked *t, struct err *e);

/* Whether a table is yet to be asked about; one without capture waits until it has it again. */
NEAP_CHECK int lost_any(struct devdb *d, bool *any, struct err *e);

/* What the server has of (site, gen) in (after, upto]: runs of numbers; or, salted, of keys. */
struct lost_question {
	int64_t table;
	struct shape_id shape;
	uint64_t site;
	int64_t gen;
	int64_t after, upto;
	uint64_t salt; /* 0: runs */
};

enum lost_todo {
	LOST_NOTHING, /* all was asked, or what is left waits for its capture */
	LOST_WORK,    /* some was done: call again */
	LOST_ASK,     /* `out` is to be asked */
};

/*
 * Does the next piece of what needs no answer, in a transaction of its own that writes some
 * thousand rows at most, or tells what to ask. `salt` is random, not 0. NE_BUSY, NE_DISK,
 * NE_CORRUPT, NE_MEMORY.
 */
NEAP_CHECK int lost_next(struct devdb *d, uint64_t salt, enum lost_todo *todo,
			 struct lost_question *out, struct err *e);

/*
 * Takes the answer to `q`, in a transaction of its own: the server looked at numbers up to `upto`.
 * `foreign`: the site is another device's, which sends its rows itself. Nothing is taken if the
 * table is gone or is not asked about this any more. NE_MALFORMED: not an answer to it; nothing
 * changed.
 */
struct lost_known {
	bool foreign;
	int64_t upto;
	struct slice runs, keys; /* protocol/ranges.h */
};
NEAP_CHECK int lost_answer(struct devdb *d, const struct lost_question *q,
			   const struct lost_known *known, struct err *e);

/*
 * The same questions of a table that lost nothing as far as is known (J6), with nothing remembered
 * but by the caller: its acknowledged rows, as far as their numbers are known. Begins as {0}.
 */
struct lost_compare {
	bool keys; /* done */
	bool begun;
	int64_t at;
};
/* *done: all was asked; else `out` is to be. */
NEAP_CHECK int lost_compare_next(struct devdb *d, const struct tracked *t, struct lost_compare *c,
				 struct lost_question *out, bool *done, struct err *e);
/*
 * How many rows are here of what `known` answers, and how many of them the server lacks. With
 * `repair` those are pending again, in a transaction of its own; no set is in flight then.
 * NE_MALFORMED: not an answer to it; nothing changed.
 */
NEAP_CHECK int lost_compare_answer(struct devdb *d, const struct tracked *t, struct lost_compare *c,
				   const struct lost_question *q, const struct lost_known *known,
				   bool repair, uint64_t *rows, uint64_t *lacking, struct err *e);

/* Rows of the table may be pending again, or may become so: they are not to be deleted by age. */
NEAP_CHECK int lost_holds(struct devdb *d, const struct tracked *t, bool *yes, struct err *e);

/* In the caller's transaction: keys (lo, hi] are not lost any more; the table is not tracked. */
NEAP_CHECK int lost_settle(struct devdb *d, int64_t table, int64_t lo, int64_t hi, struct err *e);
NEAP_CHECK int lost_forget(struct devdb *d, int64_t table, struct err *e);

/* ---- between lost.c and lost_keys.c ---- */

enum lost_stage {
	LOST_KEYS,    /* INTEGER keys: runs */
	LOST_NUMBERS, /* rows whose number is kept: runs */
	LOST_HASHING, /* other keys: neap_hash is filled … */
	LOST_LISTING, /* … what the server has is taken out of it … */
	LOST_GIVING,  /* … and the rows of what is left get new numbers */
	LOST_DONE,
};

/* What is remembered of the table asked about. */
struct lost_state {
	int64_t table;
	enum lost_stage stage;
	int64_t at; /* keys or numbers up to here are done with */
	uint64_t salt;
	struct slice key; /* LOST_HASHING, LOST_GIVING: the last one, packed; empty: from the first
			   */
};
NEAP_CHECK int lost_put(struct devdb *d, const struct lost_state *s, struct err *e);
NEAP_CHECK int lost_put_range(struct devdb *d, int64_t table, enum range_kind kind, int64_t lo,
			      int64_t hi, struct err *e);

/* Hashes the next keys, or gives numbers to the next rows, in a transaction; moves s->key. */
NEAP_CHECK int lost_hash_some(struct devdb *d, const struct tracked *t, struct lost_state *s,
			      struct arena *a, bool *more, struct err *e);
NEAP_CHECK int lost_give_some(struct devdb *d, const struct tracked *t, struct lost_state *s,
			      struct arena *a, bool *more, struct err *e);
/* The server has these. */
NEAP_CHECK int lost_unhash(struct devdb *d, int64_t table, struct slice keys, struct err *e);
/* *any: some key is not accounted for. */
NEAP_CHECK int lost_hashes(struct devdb *d, int64_t table, bool *any, struct err *e);

#endif
