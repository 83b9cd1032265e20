/*
 * The backend's data store as the ingest sees it: users and their sequence of
 * commits, sites, the catalogue of tables, rows with their registers. The
 * fleet's data is ordinary SQL tables; everything else is named neap_*.
 *
 * This header is the interface, store_sqlite*.c the implementation for SQLite;
 * one for PostgreSQL implements the same functions. All functions work on one
 * handle used by one thread at a time. Functions that read or write data take
 * the user first (rule R5). Unless said otherwise they fail with NE_DISK,
 * NE_BUSY, NE_CORRUPT or NE_MEMORY and then the transaction has to be rolled back.
 */
#ifndef NEAP_BACKEND_CORE_STORE_H
#define NEAP_BACKEND_CORE_STORE_H

#include "backend/core/breaks.h"
#include "protocol/frame.h"
#include "protocol/id.h"
#include "protocol/key_set.h"
#include "protocol/merge.h"

struct store;

/*
 * Values of a row together: what fits in a page. A set that would make a row larger is refused;
 * cells of a row that an operator's SQL made larger than that stay on the server.
 */
enum { STORE_ROW_BYTES = LIMIT_SET - 256 * 1024 };

struct store_config {
	const char *path;
	const char *vfs; /* NULL: the default */
	int busy_ms;	 /* how long a write lock is waited for [5000] */
	bool existing;	 /* do not create a missing file: NE_NOT_FOUND */
	void (*random)(void *ctx, void *out, size_t len); /* for the id of a new store */
	void *random_ctx;
	struct ingest_break broken;
};

/* Opens or creates a store. NE_NOT_FOUND, NE_CORRUPT (a later format, or no store of ours). */
NEAP_CHECK int store_open(struct store **out, const struct store_config *c, struct err *e);
void store_close(struct store *s); /* NULL is allowed; an open transaction is rolled back */

/* ---- terms and transactions ---- */

uint64_t store_id(const struct store *s);	     /* never 0 */
uint64_t store_term(const struct store *s);	     /* 0 before store_take_term */
uint64_t store_previous_term(const struct store *s); /* the newest before ours; 0 none */

/* Becomes the committer: `term` (random, never 0) is the newest from now on (P1). */
NEAP_CHECK int store_take_term(struct store *s, uint64_t term, struct err *e);

/*
 * Begins a write transaction. With a term taken: NE_LOCKED if another committer took a newer one.
 * Until commit or rollback what is read is one snapshot plus this transaction's own writes.
 */
NEAP_CHECK int store_begin(struct store *s, struct err *e);
/* Durable on return. On error nothing of the transaction remains and it is over. */
NEAP_CHECK int store_commit(struct store *s, struct err *e);
void store_rollback(struct store *s);
/* SQLite has rolled the transaction back by itself, as it may at any error: nothing goes on in it.
 */
bool store_ended(const struct store *s);
/*
 * From here on the writes of this transaction are ingest's own, hidden from the capture of
 * server-side SQL (J4). Called before the first savepoint that writes data.
 */
NEAP_CHECK int store_hide(struct store *s, struct err *e);
/* One set within the transaction: all of it, or, after store_undo, none of it. Not nested. */
NEAP_CHECK int store_savepoint(struct store *s, struct err *e);
NEAP_CHECK int store_keep(struct store *s, struct err *e);
NEAP_CHECK int store_undo(struct store *s, struct err *e);

/* ---- users ---- */

struct store_user {
	int64_t uid;
	struct id name;
	uint64_t head;	   /* newest seq; 0 none */
	uint64_t gc_seq;   /* tombstones up to here may be gone (P7) */
	int64_t last_term; /* internal: ordinal of the term of its newest commit */
};

/* Finds or creates a user. NE_MALFORMED: not a valid id. Works inside and outside a transaction. */
NEAP_CHECK int store_user_ensure(struct store *s, const char *name, struct store_user *out,
				 struct err *e);
NEAP_CHECK int store_user_get(struct store *s, const char *name, struct store_user *out,
			      bool *found, struct err *e);
/* The users with uid > after, rising, up to `max`. */
NEAP_CHECK int store_users(struct store *s, int64_t after, struct store_user *out, size_t max,
			   size_t *n, struct err *e);
/* Gives out the user's next seq: u->head + 1 is its head, here and in the store. */
NEAP_CHECK int store_user_advance(struct store *s, struct store_user *u, struct err *e);

/* For the retained head: the term before ours (0 none) and the first seq of ours for this user. */
NEAP_CHECK int store_user_term(struct store *s, const struct store_user *u, uint64_t *prev_term,
			       uint64_t *first, struct err *e);
/*
 * Whether pages and broadcasts may continue from `at` (P1, P7): its term, if it has ended, had both
 * the cursor and what pages brought beyond it.
 */
NEAP_CHECK int store_position_valid(struct store *s, const struct store_user *u,
				    const struct position *at, bool *valid, struct err *e);

/* ---- sites ---- */

struct store_site {
	int64_t id; /* small, of this store; stands in append rows */
	uint64_t site;
	struct id device;
	uint64_t number, cut; /* newest set committed; 0 none */
	uint64_t fence;	      /* sets up to this number that are not committed never will be */
	uint64_t sets;	      /* how many sets were committed */
	uint64_t noted;	      /* the newest number of a conflicts frame that was kept; 0 none */
};

NEAP_CHECK int store_site_get(struct store *s, const struct store_user *u, uint64_t site,
			      struct store_site *out, bool *found, struct err *e);
/*
 * Sites that are remembered. A device that has the most already loses the one it did not use for
 * longest, if it last did before `idle_ms`; else, and if the user has the most: NE_LIMIT.
 */
enum { STORE_SITES_DEVICE = 256, STORE_SITES_USER = 16384 };
NEAP_CHECK int store_site_add(struct store *s, const struct store_user *u, uint64_t site,
			      const char *device, uint64_t idle_ms, struct store_site *out,
			      struct err *e);
/* Records a committed set; the newest LIMIT_ACK_SETS of a site are remembered. */
NEAP_CHECK int store_site_commit(struct store *s, const struct store_user *u,
				 struct store_site *site, uint64_t number, uint64_t cut,
				 uint64_t own, uint64_t now_ms, size_t rows, struct err *e);
/* Sets of the site up to `number` that are on their way are not committed any more. */
NEAP_CHECK int store_site_fence(struct store *s, const struct store_user *u,
				struct store_site *site, uint64_t number, struct err *e);
/* What the site reported of conflicts up to `number` is kept. */
NEAP_CHECK int store_site_noted(struct store *s, const struct store_user *u,
				struct store_site *site, uint64_t number, struct err *e);
/* Whether set `number` with this cut id is remembered, and its own seq. */
NEAP_CHECK int store_site_recall(struct store *s, const struct store_user *u,
				 const struct store_site *site, uint64_t number, uint64_t cut,
				 uint64_t *own, bool *found, struct err *e);

/* ---- catalogue ---- */

/* UNIQUE constraints of one table that are enforced, of all that devices ever declared for it. */
enum { STORE_UNIQUES = 32 };

struct store_unique {
	uint16_t n;
	uint16_t col[LIMIT_KEY_COLUMNS]; /* rising; over the table's key, then its columns */
	uint8_t collation[LIMIT_KEY_COLUMNS];
};

/* Who may write a table's rows (the operator's policy). */
enum store_from {
	FROM_BOTH,
	FROM_DEVICES, /* an operator's SQL is refused where it is run */
	FROM_SERVER,  /* rows of devices are refused, by key */
};

/* A table of the store; memory of the store's, valid until the next store_declare or rollback. */
struct store_table {
	int64_t id;
	const char *name;     /* in the store: the declared name, or name__2 … */
	struct shape shape;   /* canonical: every column the table has by now; not uncompressed */
	struct slice encoded; /* its declaration */
	enum store_from from;
	/*
	 * NULL; or what an operator's DDL took away, as SQLite says it: no row can be written or
	 * read until it is put back. As of the last store_altered or store_open.
	 */
	const char *missing;
	size_t n_unique;
	const struct store_unique *unique;
	bool uncompressed;     /* a device of some user declared it so: see store_uncompressed */
	struct store_sql *sql; /* the implementation's */
};

/* How a declared shape lies in its table. */
struct store_shape {
	struct shape shape;
	struct store_table *table;
	uint16_t *col;	 /* shape's column → table's column */
	bool *has;	 /* table's columns the shape has */
	int32_t *from;	 /* table's column → shape's column, −1 none */
	bool in_order;	 /* col[] rises */
	uint32_t unique; /* which of the table's constraints it declares, by bit */
};

/* NULL if it was never declared. */
const struct store_shape *store_shape_find(struct store *s, struct shape_id id);
/* For rows_decode: finds shapes as store_shape_find does. */
struct shape_finder store_shapes(struct store *s);
size_t store_tables(struct store *s, struct store_table *const **out);

enum declare_result {
	DECLARE_OK,
	DECLARE_LOCKED,	 /* the policy is locked and this would create a table or column, or
			    something of the table is `missing` */
	DECLARE_LIMIT,	 /* columns, tables of the user, or of the server */
	DECLARE_REFUSED, /* a name the store cannot have */
};

/*
 * Takes note of a shape, creating its table or adding columns. Known shapes only join the user's
 * list of tables. Anything but DECLARE_OK changed nothing and has a sentence in `e`.
 */
NEAP_CHECK int store_declare(struct store *s, const struct store_user *u, struct slice encoded,
			     enum declare_result *result, struct err *e);
/* The user has this table from now on: pages look into it. */
NEAP_CHECK int store_user_joins(struct store *s, const struct store_user *u,
				const struct store_table *t, struct err *e);
/*
 * Who may write a table from now on, in a transaction of its own; neapd may be running.
 * NE_NOT_FOUND (no such table), NE_USAGE (an append table has no rows from the server).
 */
NEAP_CHECK int store_set_from(struct store *s, const char *table, enum store_from from,
			      struct err *e);
/* Reads the policies again if another process changed one; in a transaction. */
NEAP_CHECK int store_refresh(struct store *s, struct err *e);
NEAP_CHECK int store_schema_lock(struct store *s, bool locked, struct err *e);
NEAP_CHECK int store_schema_locked(struct store *s, bool *locked, struct err *e);

/* ---- UNIQUE constraints (J2) ---- */

/*
 * A user's rows keep the UNIQUE constraints that any of its devices declared in a hello, a
 * declaration or a set of the last STORE_DECLARED_MS; they are not compressed if one said so.
 */
#define STORE_DECLARED_MS ((uint64_t)90 * 24 * 3600 * 1000)

/* The device tracks exactly these shapes now; those unknown to the store are passed over. */
NEAP_CHECK int store_device_tracks(struct store *s, const struct store_user *u, const char *device,
				   const struct shape_id *shape, size_t n, uint64_t now_ms,
				   struct err *e);
/* … this one as well. */
NEAP_CHECK int store_device_uses(struct store *s, const struct store_user *u, const char *device,
				 const struct store_shape *sh, uint64_t now_ms, struct err *e);
/* The constraints of `t` that hold for the user, by bit. */
NEAP_CHECK int store_uniques(struct store *s, const struct store_user *u,
			     const struct store_table *t, uint64_t now_ms, uint32_t *out,
			     struct err *e);
/* Whether rows of `t` must not be compressed on their way to the user's devices. */
NEAP_CHECK int store_uncompressed(struct store *s, const struct store_user *u,
				  const struct store_table *t, uint64_t now_ms, bool *out,
				  struct err *e);
/* Whether another row of the user has the values that the row `key` has in constraint `which`. */
NEAP_CHECK int store_unique_clash(struct store *s, const struct store_user *u,
				  struct store_table *t, size_t which, const struct val *key,
				  bool *clash, struct err *e);

/* ---- rows of merge tables ---- */

/* What the store holds of a row besides its values in the table. */
struct store_row {
	struct standing st;
	uint64_t seq;	  /* newest seq that changed it; 0 none */
	struct val *kept; /* values of cells of a row that is not alive; where st.has */
	/* The seq at which others got to know a register: before it nobody had seen that write. */
	uint64_t exist_seq;
	uint64_t *cell_seq; /* where st.has */
};

/* Arrays for rows of `t`, from `a`. NE_MEMORY. */
NEAP_CHECK int store_row_init(const struct store_table *t, struct arena *a, struct store_row *row,
			      struct err *e);
/* Both of one table; kept values are shared. */
void store_row_copy(struct store_row *out, const struct store_row *from);
/* Reads the registers of `key`; kept values are copied into `a`. */
NEAP_CHECK int store_row_get(struct store *s, const struct store_user *u, struct store_table *t,
			     const struct val *key, struct arena *a, struct store_row *row,
			     struct err *e);
/* Stores the registers; `existed`: whether store_row_get found it known. */
NEAP_CHECK int store_row_put(struct store *s, const struct store_user *u, struct store_table *t,
			     const struct val *key, const struct store_row *row, bool existed,
			     struct err *e);

/*
 * The row in the table itself. Writing it, NE_ROWS: a constraint or trigger that an operator put
 * on the table refuses the row; nothing of it was written and the transaction goes on.
 *
 * The values of every column, copied into `a`.
 */
NEAP_CHECK int store_values_get(struct store *s, const struct store_user *u, struct store_table *t,
				const struct val *key, struct arena *a, struct val *out,
				bool *found, struct err *e);
/*
 * Keys that compare as the same may be written in several ways ('a' and 'A' under NOCASE, 1 and 1.0
 * without a type). `spell` gives the row and its registers the spelling `key`; `stored` tells the
 * one the row has, in `a` or as given where there is only one or no row.
 */
NEAP_CHECK int store_key_spell(struct store *s, const struct store_user *u, struct store_table *t,
			       const struct val *key, struct err *e);
NEAP_CHECK int store_key_stored(struct store *s, const struct store_user *u, struct store_table *t,
				const struct val *key, struct arena *a, const struct val **out,
				struct err *e);
NEAP_CHECK int store_values_insert(struct store *s, const struct store_user *u,
				   struct store_table *t, const struct val *key,
				   const struct val *values, struct err *e);
/* Writes the columns whose flag is set. */
NEAP_CHECK int store_values_update(struct store *s, const struct store_user *u,
				   struct store_table *t, const struct val *key,
				   const struct val *values, const bool *write, struct err *e);
NEAP_CHECK int store_values_delete(struct store *s, const struct store_user *u,
				   struct store_table *t, const struct val *key, struct err *e);

/*
 * Whether, since it was last asked, a trigger of an operator's has ended the transaction: what was
 * done then failed with NE_BUSY and is to be done again after store_rollback. The row that met the
 * trigger is refused then. It ends after at most STORE_ROLLED_TRIES times.
 */
enum { STORE_ROLLED_TRIES = 66 };
bool store_rolled_back(struct store *s);

/* ---- rows of append tables ---- */

enum { STORE_REFUSED = 64 };
struct store_appended {
	size_t added, duplicates;
	/* Rows whose identity has other content, the first ones of them: undo the savepoint. */
	size_t n_collided;
	const struct row *collided[STORE_REFUSED];
	/*
	 * Rows that a constraint or trigger of an operator's refuses, the first ones of them, and
	 * what it says of the first: undo the savepoint.
	 */
	size_t n_refused;
	const struct row *refused[STORE_REFUSED];
	struct err why;
};
/*
 * Adds rows by identity (site, gen, n); those received before are compared, never added twice (J3).
 * One that was purged since is compared with a hash of what it said; where that was forgotten it
 * counts as other content, for a row that might be lost is worse than one that may be back.
 */
NEAP_CHECK int store_append(struct store *s, const struct store_user *u,
			    const struct store_site *site, const struct store_shape *shape,
			    const struct row *rows, size_t n, uint64_t now_ms,
			    struct store_appended *out, struct err *e);
/* Forgets what rows said that came before that day, up to `max` chunks of it. */
NEAP_CHECK int store_forget_content(struct store *s, uint64_t before_ms, size_t max, struct err *e);

/* Numbers `after` < n ≤ `upto` of a generation. */
struct store_span {
	uint64_t gen;
	int64_t after, upto;
};
/* One answer's worth. Rows are looked at one by one only where numbers came with holes. */
enum { STORE_KNOWN_RUNS = 1000, STORE_KNOWN_ROWS = 20000, STORE_KNOWN_KEYS = 2000 };
struct store_known {
	int64_t upto;	       /* of the span, up to here */
	struct buf runs, keys; /* protocol/ranges.h; max set by the caller, who frees them */
};
/*
 * P8: which numbers of the site were received, among them those of rows that an operator deleted,
 * where numbers came without holes; or the hashes of the keys of the rows that are here.
 */
NEAP_CHECK int store_ranges(struct store *s, const struct store_user *u,
			    const struct store_site *site, const struct store_shape *shape,
			    const struct store_span *span, struct store_known *out, struct err *e);
NEAP_CHECK int store_keys(struct store *s, const struct store_user *u,
			  const struct store_site *site, const struct store_shape *shape,
			  const struct store_span *span, uint64_t salt, struct store_known *out,
			  struct err *e);

/* ---- what a user's rows take (R4) ---- */

/* Rows of all tables, and their values: text and blobs of 8 bytes or more their length, others 8.
 */
struct store_usage {
	int64_t rows, bytes;
	bool replaced; /* an operator's REPLACE made the count uncertain, upwards */
	/* Keys remembered that are no row: tombstones, and what was said of unknown rows. */
	int64_t dead, dead_bytes;
};
/* As of now, this transaction included. */
NEAP_CHECK int store_usage(struct store *s, const struct store_user *u, struct store_usage *out,
			   struct err *e);
/* Counts the rows of one user, or of all (NULL), one by one. In a transaction, before its writes.
 */
NEAP_CHECK int store_recount(struct store *s, const char *user, struct err *e);

/*
 * Goes on counting tables whose triggers had been gone (store_altered), by up to `max` rows, which
 * takes as long as reading them; as long as some are left, the counts are as they were. At the
 * start of a transaction.
 */
NEAP_CHECK int store_recount_some(struct store *s, size_t max, struct err *e);

enum { STORE_QUOTA_DEFAULT = -2, STORE_QUOTA_NONE = -1 }; /* … or a number, 0 and more */
struct store_quota {
	int64_t rows, bytes;
};
NEAP_CHECK int store_quota(struct store *s, const char *user, struct store_quota *out,
			   struct err *e);
NEAP_CHECK int store_set_quota(struct store *s, const char *user, const struct store_quota *q,
			       struct err *e);

struct store_user_usage {
	struct id user;
	int64_t rows, bytes;
	struct store_quota quota;
};
/* Of one user or of all (NULL), by name. Memory is good until `fn` returns; its nonzero result
 * ends. */
NEAP_CHECK int store_each_usage(struct store *s, const char *user,
				int (*fn)(void *ctx, const struct store_user_usage *u), void *ctx,
				struct err *e);

/* ---- pages ---- */

struct store_page {
	uint64_t upto;	    /* the cursor after it */
	struct slice token; /* not empty: the seq after the cursor continues */
	struct rows rows;
	size_t n_table;
	struct store_table **table; /* of rows.table[i] */
};
struct store_asked {
	uint64_t from, upto; /* seqs in (from, upto]; upto 0: all behind from */
	struct slice table;  /* of tables so named (case folded) alone; empty: of all */
	struct slice token;  /* of a page that asked the same; or empty */
	size_t bytes;
};
/*
 * Rows of a table with something `missing` are left out; store_altered gives them newer seqs later.
 * Current rows in seq order, at most about `bytes` of them (always one row), never splitting a seq
 * but by token. NE_MALFORMED: not a token of ours. Memory from `a`.
 */
NEAP_CHECK int store_page(struct store *s, const struct store_user *u,
			  const struct store_asked *asked, struct arena *a, struct store_page *out,
			  struct err *e);

/* ---- verification (J6) ---- */

struct store_range {
	const struct store_shape *shape; /* of a merge table */
	uint64_t cursor;		 /* rows as of this seq */
	const struct val *from, *to;	 /* keys: behind `from`, up to `to`; NULL: no such end */
	const struct key_set *except;	 /* left out */
	const struct val *absent; /* what the sum has of a column without a value; NULL: NULL */
	bool whole;		  /* the rows are wanted */
	size_t bytes;		  /* about so many of them, always one */
};

struct store_digest {
	struct slice upto;  /* packed key: nothing behind it was looked at; empty: all was */
	struct row_sum sum; /* of the rows alive, by the columns of the range's shape */
	struct slice above; /* packed keys left out: newer than the cursor, or not as they travel */
	struct table_rows rows;
	size_t repaired; /* rows that the table and its registers disagree about */
};

/*
 * The user's rows of a range of keys, a bounded number of them. Where a row stands in the table
 * without a register, or the other way round, someone's SQL went unseen: it is marked as touched,
 * so that the next step makes a change of it, and left out. In a transaction; memory from `a`.
 */
NEAP_CHECK int store_verify(struct store *s, const struct store_user *u,
			    const struct store_range *r, struct arena *a, struct store_digest *out,
			    struct err *e);

/* ---- server-side SQL (J4) ---- */

/* True if someone else wrote to the store since the last call that answered true. */
NEAP_CHECK int store_foreign_writes(struct store *s, bool *any, struct err *e);
/* Whether it would answer true now, outside a transaction: is a step worth it? */
NEAP_CHECK int store_foreign_pending(struct store *s, bool *any, struct err *e);

/*
 * Looks, if the schema changed since the last call, whether the tables still have all columns
 * (`missing`), and makes capture triggers again that are gone or changed, on *repaired tables.
 * What was written without them is not found. *returned tables miss nothing any more: their rows
 * have new seqs, and the heads of their users moved. In a transaction, before users are read in it;
 * memory of tables as after store_declare.
 */
NEAP_CHECK int store_altered(struct store *s, size_t *repaired, size_t *returned, struct err *e);

/* A row that someone's SQL touched. Memory valid until the callback returns. */
struct store_touched {
	struct store_table *table;
	const struct val *key;
	bool exist;	  /* inserted, replaced or deleted */
	const bool *cell; /* columns written */
};
/*
 * Calls `fn` for each touched row of a known user, and forgets the marks.
 * By table, and within it by user. Those of unknown users stay until the user exists, those of a
 * table with something `missing` until it is back. A nonzero result of `fn` ends it.
 */
NEAP_CHECK int store_touched(struct store *s,
			     int (*fn)(void *ctx, const struct store_user *u,
				       const struct store_touched *t, struct err *e),
			     void *ctx, struct err *e);
/*
 * How many rows without a whole key an operator wrote since the last call, and into which table
 * (one of them; NULL: none). No device can be told of such a row.
 */
NEAP_CHECK int store_unsent(struct store *s, uint64_t *n, const struct store_table **t,
			    struct err *e);
/* Greatest stamp the server itself issued. */
uint64_t store_issued(const struct store *s);
NEAP_CHECK int store_set_issued(struct store *s, uint64_t stamp, struct err *e);

/* ---- writes that lost (J7) ---- */

/*
 * Keeps a write of the user's `device` (or "server"; "": not known) that lost, with its value. One
 * that is kept already (the same table, key, column and register; or value and time, of a settled
 * one) is not kept again.
 */
NEAP_CHECK int store_conflict_add(struct store *s, const struct store_user *u, const char *device,
				  const struct lost_value *lost, const struct val *value,
				  uint64_t now_ms, struct err *e);
/* The user's oldest go until at most `records` of at most `bytes` in all are left. */
NEAP_CHECK int store_conflict_trim(struct store *s, const struct store_user *u, uint64_t records,
				   uint64_t bytes, struct err *e);
/* Removes up to `max` that were noted before `before_ms`, the oldest first. */
NEAP_CHECK int store_conflict_expire(struct store *s, uint64_t before_ms, size_t max,
				     struct err *e);

struct store_conflict {
	int64_t id; /* rises with time */
	struct id user, device;
	struct lost_value lost; /* value and lost_ms are not kept in it */
	struct val value;
	struct id won_device; /* "server"; "" not known */
	uint64_t at_ms;	      /* when it was noted */
};
struct store_conflict_query {
	const char *user;  /* NULL: of all */
	uint64_t since_ms; /* noted then or later */
	int64_t before_id; /* 0: from the newest on */
	size_t max;
};
/* The newest first. Memory is good until `fn` returns; its nonzero result ends it. */
NEAP_CHECK int store_each_conflict(struct store *s, const struct store_conflict_query *q,
				   int (*fn)(void *ctx, const struct store_conflict *c), void *ctx,
				   struct err *e);

/* ---- upkeep and status ---- */

/*
 * Removes tombstones stamped before `before_ms`, raising gc_seq (P7), in the next `max` pairs of
 * user and table; the next call goes on behind them. Inside a transaction.
 */
NEAP_CHECK int store_gc(struct store *s, uint64_t before_ms, size_t max, size_t *removed,
			struct err *e);

struct store_device_status {
	struct id user, device;
	uint64_t site, number, sets, rows, seen_ms, head;
};
NEAP_CHECK int store_each_device(struct store *s,
				 int (*fn)(void *ctx, const struct store_device_status *d),
				 void *ctx, struct err *e);
struct store_table_status {
	const struct store_table *table; /* the numbers are 0 while something is `missing` */
	int64_t rows, tombstones;
	/* Rows that never reach devices: user_id is no account; a key is NULL; a value too large.
	 */
	int64_t parked, no_key, too_large;
};
NEAP_CHECK int store_each_table(struct store *s,
				int (*fn)(void *ctx, const struct store_table_status *t), void *ctx,
				struct err *e);

#endif
