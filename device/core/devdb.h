/*
 * The device's database as the engine sees it: the app's file, our tables
 * `neap_*` in it, one connection with triggers off. Every other module of the
 * device core takes a `struct devdb`.
 *
 *   neap_meta      settings and positions by name: format, user, device, site, last_number, …
 *   neap_clock     one row (offset_ms, floor, heard, gen), read by the triggers: see struct
 * dev_clock neap_table     the tracked tables: id, name, shape (encoded), priority, keep_ms
 *   neap_policy    of tables that have one: see struct policy; dropped_rows and dropped_ms count
 * what the bound on pending rows cost neap_acked     of append tables that keep rows for a while:
 * which were acknowledged when (keep.h) neap_append    of append tables: gen (numbered rows: gen +
 * 1), high (greatest key ever cut), cut_from (keys above it are not in flight), acked, numbered
 * (greatest number cut) neap_m<id>     marks of a merge table (protocol/marks.h), or numbers of an
 * append table: n, k0 … neap_inflight  the sets in flight with the ranges they carry neap_parked
 * rows from others that do not fit here yet: table_id, key, image, text, reason, at_ms
 * neap_rejected  own rows that were refused: id, table_id, key, text, reason, at_ms neap_conflict
 * values that lost: see conflict.h neap_again, neap_round  see again.h neap_seen      keys seen by
 * the full pull under way: table_id, key neap_shape     shapes of others: id, shape (encoded)
 */
#ifndef NEAP_DEVICE_CORE_DEVDB_H
#define NEAP_DEVICE_CORE_DEVDB_H

#include "common/db.h"
#include "device/core/breaks.h"
#include "protocol/frame.h"
#include "protocol/id.h"

/* What else is done with a table's rows; all zero: nothing. Limits of 0 are none. */
struct policy {
	/* append: acknowledged rows that stay: so long, so many, so many bytes of values */
	int64_t keep_ms, keep_rows, keep_bytes;
	/* how much may be pending before it shows as trouble … */
	int64_t pending_rows, pending_bytes;
	bool drop_oldest; /* … or, append, before the oldest pending rows are deleted unsent */
};
static inline bool policy_keeps(const struct policy *p)
{
	return p->keep_ms || p->keep_rows || p->keep_bytes;
}

/* What was counted of a table's pending rows; in memory only, for drop_oldest. */
struct pending_seen {
	bool valid;
	bool whole; /* the count began anew and nothing was acknowledged since: it is exact */
	bool dropping;
	uint64_t again_ms; /* mono: it may begin anew */
	int64_t key, n;	   /* counted up to here */
	int64_t rows, bytes;
};

/* A tracked table, loaded from neap_table and checked against the app's schema. */
struct tracked {
	int64_t id;
	struct shape shape; /* memory from the devdb's schema arena: valid until devdb_reload */
	struct slice encoded_shape;
	int priority; /* 0 first … 9; class of a cut */
	struct policy policy;
	bool capture_ok;  /* triggers are there and as they should be */
	char marks[32];	  /* name of the mark table (merge) or number table (append) */
	char reason[256]; /* why capture_ok is false */
	bool waits;	  /* its rows are to be pulled from 0 before any go up (coverage.h) */
	bool comparing;	  /* … and compared with those here, since its capture was lost */
	int64_t known;	  /* … the cursor when that was; -1: positions of then mean nothing */
	struct pending_seen seen;
	int64_t swept_to; /* of the numbers kept: cut_settle looks for rows that are gone after it
			   */
	bool held;	  /* the server refuses this table for now: it is not cut; in memory only */
};

/* Whether what others write is written to it. */
static inline bool tracked_receives(const struct tracked *t)
{
	return t->shape.kind == SHAPE_MERGE && t->shape.direction != DIR_UP && t->capture_ok;
}
/* Whether it is ever pulled: also one that only goes up, to be compared after a lost capture. */
static inline bool tracked_pulls(const struct tracked *t)
{
	return tracked_receives(t) ||
	       (t->shape.kind == SHAPE_MERGE && t->comparing && t->capture_ok);
}

/* Whether what is pending of it goes up now. */
static inline bool tracked_is_cut(const struct tracked *t)
{
	return t->capture_ok && !t->held && !t->waits && t->shape.direction != DIR_DOWN;
}

struct devdb {
	struct db *db;
	size_t n_table;
	struct tracked *table; /* ordered by id */
	struct id user, device;
	uint64_t site;
	struct arena schema;
	/* Of the page of one table that is being applied: seqs of its rows; 0: it is none. */
	uint64_t page_from, page_upto;
	int64_t seen_table;	/* is pulled by itself: keys that come of it are noted; 0: none */
	int64_t schema_version; /* PRAGMA schema_version at the last reload */
	struct engine_break broken;
	uint64_t begun;	   /* write transactions, since it was opened */
	int conflict_todo; /* enum conflict_todo of new records: whether anyone listens */
	/* Of the parked rows, the last one that was tried again: the next call goes on behind it.
	 */
	struct {
		int64_t table;
		struct buf key;
	} retried;
};

/*
 * Opens a database that `devdb_init` bound. `vfs` may be NULL. Errors: NE_NOT_FOUND (no such
 * file, or not initialised: the sentence names `neap init`), NE_DISK, NE_CORRUPT, NE_BUSY.
 */
NEAP_CHECK int devdb_open(struct devdb **out, const char *path, const char *vfs, struct err *e);
/* The same, waiting `busy_ms` for the lock of another writer, now and later, instead of 2 s. */
NEAP_CHECK int devdb_open_busy(struct devdb **out, const char *path, const char *vfs, int busy_ms,
			       struct err *e);
void devdb_close(struct devdb *d);

/*
 * Creates our tables in `path` (which may not exist yet) and binds it to user and device with the
 * new site id `site` (1 … 2^63−1). Bound to the same user already: changes nothing but the device
 * name. NE_EXISTS if it is bound to another user.
 */
NEAP_CHECK int devdb_init(const char *path, const char *vfs, const char *user, const char *device,
			  uint64_t site, struct err *e);

/*
 * Reads neap_table again and looks at every table and its capture triggers; after any schema
 * change. What the app's ALTER TABLE or a migration did is put in order as devdb_schema.h says.
 * Opens a transaction if none is open.
 */
NEAP_CHECK int devdb_reload(struct devdb *d, struct err *e);

NEAP_CHECK int devdb_begin(struct devdb *d, struct err *e); /* BEGIN IMMEDIATE */
NEAP_CHECK int devdb_commit(struct devdb *d, struct err *e);
void devdb_rollback(struct devdb *d);

/* Integers and text by name in neap_meta; unset reads as 0 or "". */
NEAP_CHECK int devdb_get(struct devdb *d, const char *key, int64_t *out, struct err *e);
NEAP_CHECK int devdb_set(struct devdb *d, const char *key, int64_t value, struct err *e);
NEAP_CHECK int devdb_get_text(struct devdb *d, const char *key, struct buf *out, struct err *e);
NEAP_CHECK int devdb_set_text(struct devdb *d, const char *key, struct slice value, struct err *e);

struct tracked *devdb_table_by_name(struct devdb *d, struct slice name); /* ASCII case-folded */
struct tracked *devdb_table_by_id(struct devdb *d, int64_t id);
struct tracked *devdb_table_by_shape(struct devdb *d, struct shape_id id);

/*
 * The clock row: offset of the server's clock, the floor no new stamp may be at or below, the
 * generation of writes now. The floor covers what was received or cleared (`heard`) and what was
 * cut, so that a write is later than any that others may know of.
 */
struct dev_clock {
	int64_t offset_ms;
	uint64_t floor;
	int64_t gen;
};
NEAP_CHECK int devdb_clock(struct devdb *d, struct dev_clock *out, struct err *e);
/* floor = max(floor, stamp): every stamp received or cleared passes here (M1). */
NEAP_CHECK int devdb_raise_floor(struct devdb *d, uint64_t stamp, struct err *e);
/*
 * Stores a new offset and re-stamps the marks above the floor, which were never cut, in order, in
 * one transaction (M1). If nothing is in flight and cut stamps are minutes ahead of the corrected
 * clock, the server has refused them as too far ahead: then those are re-stamped, too.
 */
NEAP_CHECK int devdb_set_offset(struct devdb *d, int64_t offset_ms, struct err *e);

#endif
