/*
 * Own writes that were refused: kept in neap_rejected with their values and the reason until they
 * are put back as new writes (retry), replaced by a newer write that goes up, or forgotten. One
 * entry a row: the newest refusal replaces what was kept before.
 */
#ifndef NEAP_DEVICE_CORE_REJECTED_H
#define NEAP_DEVICE_CORE_REJECTED_H

#include "device/core/devdb.h"

struct image;
struct row;

/*
 * Keeps a write of `im`'s row: im->exist says what it was (EXIST_ALIVE an insert, EXIST_NONE an
 * update of the columns the image has, EXIST_DEAD a delete). `values` false: the row is still in
 * the app's table and too large to be kept twice. `reason` NULL: the server's reject tells it, or
 * has told it already. In the caller's transaction.
 */
NEAP_CHECK int rejected_keep(struct devdb *d, const struct tracked *t, const struct image *im,
			     bool values, const char *reason, struct err *e);

/*
 * The same of a row as it went up in a set that was not committed. One of an append table is passed
 * by when sets are cut, until it is put back: rejected_sent.
 */
NEAP_CHECK int rejected_keep_sent(struct devdb *d, const struct tracked *t, const struct row *row,
				  const char *reason, struct err *e);
/* *yes: the row of append table `t` under this number of this generation is kept as refused. */
NEAP_CHECK int rejected_sent(struct devdb *d, const struct tracked *t, const struct val *key,
			     uint64_t gen, int64_t n, bool *yes, struct err *e);

/*
 * *yes: an entry was kept without values, so what the app wrote to the row is in its table alone.
 * `any`: whether that is so of any row.
 */
NEAP_CHECK int rejected_any_here(struct devdb *d, bool *any, struct err *e);
NEAP_CHECK int rejected_here(struct devdb *d, const struct tracked *t, const struct val *key,
			     bool *yes, struct err *e);

/* The server's reason for refusing `key` in set `number`, which may come before the refusal. */
NEAP_CHECK int rejected_reason(struct devdb *d, const struct tracked *t, const struct val *key,
			       struct slice reason, uint64_t number, struct err *e);

/*
 * A write of the row goes up: what was kept of it is forgotten if that write has every column of
 * it (`col` of n_col), or is an insert or delete (`whole`).
 */
NEAP_CHECK int rejected_replaced(struct devdb *d, const struct tracked *t, const struct val *key,
				 bool whole, const uint16_t *col, uint16_t n_col, struct err *e);

struct rejected_done {
	size_t done, failed;
	struct err first; /* why the first of those that failed did */
};
/*
 * Puts the entry `id` (0: all, up to a bound) back as a new write of this device; a row of an
 * append table, which is still in it, goes up as it is there, under a new number. What does not fit
 * the table stays an entry. Own transaction. NE_NOT_FOUND: no entry `id`.
 */
NEAP_CHECK int rejected_retry(struct devdb *d, int64_t id, struct rejected_done *out,
			      struct err *e);
/* Drops entries for good. */
NEAP_CHECK int rejected_forget(struct devdb *d, int64_t id, struct rejected_done *out,
			       struct err *e);

#endif
