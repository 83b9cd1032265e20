/* What the files of apply give each other. */
#ifndef NEAP_DEVICE_CORE_APPLY_INTERNAL_H
#define NEAP_DEVICE_CORE_APPLY_INTERNAL_H

#include "device/core/apply.h"
#include "protocol/marks.h"
#include "protocol/merge.h"

/* Statements on one table, from the connection's cache. */
struct table_sql {
	sqlite3_stmt *find;	  /* key → its stored key columns */
	sqlite3_stmt *read;	  /* key → every column outside the key */
	sqlite3_stmt *insert;	  /* key, every column */
	sqlite3_stmt *update;	  /* per column: write?, value; then the key */
	sqlite3_stmt *spell;	  /* new key columns, then the key */
	sqlite3_stmt *remove;	  /* key */
	sqlite3_stmt *marks;	  /* key → col, stamp, gen, site */
	sqlite3_stmt *drop_mark;  /* key, col */
	sqlite3_stmt *drop_marks; /* key */
	sqlite3_stmt *put_mark;	  /* key, col, stamp, gen, site; in place of what is there */
};

/* One app table as the target of rows. */
struct target {
	struct devdb *d;
	struct tracked *t;
	struct table_sql sql;
	bool any_marks, any_parked;
	bool any_here;	/* rows that no set can hold: what the app wrote is in its table alone */
	bool refused;	/* the server refused what is pending of the row under way */
	bool note_seen; /* a full pull: remember the keys */
	bool compare; /* … of a table that lost its capture: rows are what was known before it */
	bool compare_own; /* … rows newer than that: only what this site wrote was known */
	bool compare_up;  /* … of a table that only goes up: nothing is written to it */
	bool save_lost;	  /* … that answers a reset, or a repair: keep what is overwritten (P8) */
	const char *lost_reason; /* … why it is overwritten */
	struct applied *out;
};

/* A row in the columns of the target. */
struct image {
	struct val key[LIMIT_KEY_COLUMNS];
	enum row_exist exist;
	struct reg exist_reg;
	bool has[LIMIT_COLUMNS];
	struct reg reg[LIMIT_COLUMNS];
	struct val val[LIMIT_COLUMNS];
};

/* Rows taken out because they collided, until all others of the call are written. */
struct set_aside {
	struct image *image;
	struct set_aside *next;
};

/* One table's part of a call. Large, so on the heap. */
struct work {
	struct target tg;
	int key_of[LIMIT_KEY_COLUMNS]; /* our key column → theirs */
	int col_of[LIMIT_COLUMNS];     /* our column → theirs; −1 none */
	int cell_of[LIMIT_COLUMNS];    /* their column → the row's cell; −1 none */
	uint64_t stamp_max;
	struct arena arena;		 /* of the rows set aside, and of defaults */
	bool has_default[LIMIT_COLUMNS]; /* it was looked up */
	struct val default_val[LIMIT_COLUMNS];
	struct set_aside *aside;

	/* Of the row under way. */
	struct image image;
	struct row row;
	struct cell cell[LIMIT_COLUMNS];
	struct pending pending;
	bool has_mark[LIMIT_COLUMNS];
	struct reg mark[LIMIT_COLUMNS];
	int64_t gen[LIMIT_COLUMNS], exist_gen;
	struct apply_plan plan;
	bool write[LIMIT_COLUMNS], drop[LIMIT_COLUMNS], keep[LIMIT_COLUMNS];
	bool comes[LIMIT_COLUMNS]; /* the row has a cell of our column */
	bool parked;
	struct arena row_arena;
};

/* Prepares `tg` for the tracked table `t`. */
NEAP_CHECK int target_open(struct target *tg, struct devdb *d, struct tracked *t,
			   struct applied *out, struct err *e);

/* apply_sql.c: text of the statements, and running them. */
NEAP_CHECK int table_sql_prepare(struct devdb *d, const struct tracked *t, struct table_sql *out,
				 struct err *e);
NEAP_CHECK int sql_bind_key(struct devdb *d, sqlite3_stmt *s, int at, const struct tracked *t,
			    const struct val *key, struct err *e);
/* *fits is false when the row violates a constraint; any other failure is an error. */
NEAP_CHECK int sql_write(struct devdb *d, sqlite3_stmt *s, bool *fits, struct err *e);
/* Inserts the columns an image has; the others get their defaults. */
NEAP_CHECK int sql_insert(struct target *tg, const struct image *im, bool *fits, struct err *e);
/* Reads the columns of a stored row that `im` lacks, copied into `a`. *found. */
NEAP_CHECK int sql_read(struct target *tg, struct image *im, struct arena *a, bool *found,
			struct err *e);

/* apply_key.c: one byte string for all spellings of a key that the table holds to be the same. */
NEAP_CHECK int key_put(const struct shape *s, const struct val *key, struct buf *out);
/* The same of the row now stored under `key`; *found. Clears `out` first. */
NEAP_CHECK int key_put_stored(struct target *tg, const struct val *key, struct buf *out,
			      bool *found, struct err *e);
/* A key or an image for a person: JSON, blobs as x'…'. */
NEAP_CHECK int row_text(const struct shape *s, const struct image *im, bool whole, struct buf *out);

/* apply_park.c */
NEAP_CHECK int park(struct target *tg, const struct image *im, struct err *e);
NEAP_CHECK int unpark(struct target *tg, const struct image *im, struct err *e);
/* Fills what `im` lacks from the parked image of its key, copied into `a`. *found. */
NEAP_CHECK int parked_read(struct target *tg, struct image *im, struct arena *a, bool *found,
			   struct err *e);

/* apply_full.c: rows that came; a parked one, which the table has not, by key_put of its key. */
NEAP_CHECK int seen_key(struct target *tg, struct slice key, struct err *e);
NEAP_CHECK int seen_note(struct target *tg, const struct image *im, struct err *e);
/* Keeps a settled row that is about to be lost to the server's. */
NEAP_CHECK int save_conflict(struct target *tg, const struct image *im, const char *reason,
			     struct err *e);

/* apply_conflict.c: what of the row under way is about to lose; before it is written. */
NEAP_CHECK int note_losses(struct work *w, struct err *e);
/* The pending cells of a row that goes because the server does not have it. */
NEAP_CHECK int note_swept(struct target *tg, const struct val *key, struct err *e);

/*
 * apply_refused.c: before marks are dropped, keeps own writes that the server refused. *again: they
 * are to be sent again instead, under marks that stand against what came.
 */
NEAP_CHECK int keep_refused(struct work *w, bool *again, struct err *e);

/* apply_compare.c: what the server has of a row against what the app made of it unseen (J5). */
NEAP_CHECK int compare_row(struct work *w, struct err *e);
/* The same of a row that changed since, where its registers are of our own writes. */
NEAP_CHECK int compare_own(struct work *w, struct err *e);
/* The same of a table that only goes up: what others wrote is neither known nor taken. */
NEAP_CHECK int compare_up(struct work *w, struct err *e);
/* Marks a row that the server does not have as an insert. */
NEAP_CHECK int compare_unseen(struct target *tg, const struct val *key, struct err *e);
/* … as one that gives way to any other, as if it were in the table before it was tracked. */
NEAP_CHECK int compare_unknown(struct target *tg, const struct val *key, struct err *e);

/* apply.c: the marks of the row under way, as they are now. */
NEAP_CHECK int work_read_marks(struct work *w, struct err *e);

/*
 * apply_default.c. A column without a value (cell_no_value) holds its DEFAULT here, as if the row
 * were inserted without it.
 */
NEAP_CHECK int default_no_values(struct work *w, struct err *e);
/* The DEFAULT of a column of ours, NULL without one. Memory of `a`, or of w->arena. */
NEAP_CHECK int default_of(struct devdb *d, const struct tracked *t, uint16_t col, struct arena *a,
			  struct val *out, struct err *e);
NEAP_CHECK int default_value(struct work *w, uint16_t col, struct val *out, struct err *e);
/*
 * Before the plan is made: values that only a renamed column brought have stamp 0. They give way to
 * any value that comes, but not to that there is none.
 */
void default_keep_renamed(struct work *w);
/*
 * After it: in a full pull a column of which the server knows nothing is as in a new row, also one
 * that its table lacks as yet. What was here came from a store that was lost, or went with a
 * tombstone that was collected since; what is pending stays.
 */
NEAP_CHECK int default_unnamed(struct work *w, struct err *e);

/*
 * apply_write.c: whether the key of the row under way is stored in another spelling: 'A' for 'a'
 * under NOCASE, 1.0 for 1 without a type.
 */
NEAP_CHECK int key_spelling(struct work *w, bool *differs, struct err *e);
/* The row under way, as planned. */
NEAP_CHECK int work_write(struct work *w, struct err *e);
NEAP_CHECK int work_delete(struct work *w, struct err *e);
/* Rows set aside go in now that the others made room, or are parked. */
NEAP_CHECK int work_write_aside(struct work *w, struct err *e);

#endif
