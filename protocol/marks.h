/*
 * Marks: which cells and rows of a table were written, kept by triggers of
 * built-in SQL only, so that any process with a stock SQLite is captured. The
 * device marks what is pending; the server marks what an operator's SQL wrote.
 *
 * A mark table `<prefix>` is WITHOUT ROWID, its primary key (k0, k1, …, col):
 *   k0 …   the table's key columns in key order, same affinity and collation
 *   col    index of a column outside the key, or MARK_EXIST, MARK_CANDIDATE
 *   stamp  version of the newest write of it: at least what clock_sql says, and rising with
 *          every write of the same mark. Whoever reads marks and tells others raises the clock
 *          above what it read (the device: floor), so later writes are later in every mark
 *   gen    the value of `gen` when it was last written
 *   site   NULL for this database's own current site
 *
 * MARK_CANDIDATE: a row that REPLACE may have displaced through a UNIQUE index;
 * a delete if the row is gone when the mark is read, nothing otherwise.
 * MARK_EXIST: an insert if the row is there when the mark is read, else a delete.
 * Cell marks older than the row's MARK_EXIST may remain; an insert covers every column.
 * A key that changes only in spelling ('a' to 'A' under NOCASE) is MARK_EXIST: the row in the table
 * has the new spelling, the mark may have the old one.
 *
 * What struct shape_unique can say of a UNIQUE index is columns, compared as the columns are. What
 * REPLACE displaces through any other one (partial, on an expression or a generated column, of
 * another collation, or with a NOT NULL column whose DEFAULT takes the place of a NULL) is seen
 * with the triggers of marks_create_index_triggers_sql. A DEFAULT drawn at random is taken to hit
 * no row that is there.
 *
 * Of triggers on one event SQLite fires TEMP ones first, then the one made last. What ends a
 * statement with the row in place before the triggers here ran (RAISE(IGNORE), RAISE(FAIL), or any
 * failure under OR FAIL, in an AFTER trigger) hides that row from them: they are to be made last,
 * and cannot be before a TEMP trigger.
 *
 * ALTER TABLE … RENAME COLUMN, RENAME TO and, with clock_from, DROP COLUMN work with the triggers
 * in place, and go on marking by the column's index as it was. A column added or renamed since the
 * triggers were made is not covered yet: writes to the added one are not marked, the renamed one
 * cannot be dropped.
 */
#ifndef NEAP_PROTOCOL_MARKS_H
#define NEAP_PROTOCOL_MARKS_H

#include "protocol/shape.h"

enum mark_col {
	MARK_EXIST = -1,
	MARK_CANDIDATE = -2,
};

struct marks_spec {
	struct slice table; /* the captured table */
	const char *prefix; /* mark table; triggers are <prefix>_<suffix> */
	uint16_t n_key, n_col, n_unique;
	const struct shape_col *key, *col;
	const struct shape_unique *unique;
	const char
		*clock_sql; /* scalar SQL: the least stamp a write may get now; "0" on the server */
	const char *gen_sql; /* scalar SQL: the current generation; "0" on the server */
	/*
	 * If not NULL: a table of one row, its key `id` = 1, that clock_sql and gen_sql are
	 * expressions over.
	 */
	const char *clock_from;
	/* n_col names of columns when the triggers were made; NULL: as `col`. See marks.c. */
	const struct shape_col *fallback;
	const char *guard_sql; /* capture only while this holds; NULL: always */
};

/*
 * SQL of one UNIQUE index that struct shape_unique cannot say. In `values` and `where`, and in
 * `match` for the row in the way, the table's columns stand by their names.
 */
struct marks_index {
	struct slice columns; /* of the new row, what the index is over: NEW."a" AS "a", … */
	struct slice values;  /* its parts: (a) AS neap_0, (lower(b)) AS neap_1, … */
	struct slice when;    /* new rows that may displace another; empty: all */
	struct slice match;   /* (a) = neap_n.neap_0 COLLATE "BINARY" AND … */
};

/* CREATE TABLE of the mark table. */
NEAP_CHECK int marks_create_table_sql(const struct marks_spec *m, struct buf *out, struct err *e);
/*
 * CREATE TRIGGER statements, each ending in ";\n". They survive the app's own conflict clauses,
 * and capture insert, update, delete, upsert, REPLACE (also through a UNIQUE index, with
 * recursive_triggers on or off) and changes of the key. Rows with NULL in the key are not captured.
 */
NEAP_CHECK int marks_create_triggers_sql(const struct marks_spec *m, struct buf *out,
					 struct err *e);
/* The candidates of such indexes: two triggers more, or none for none. */
NEAP_CHECK int marks_create_index_triggers_sql(const struct marks_spec *m,
					       const struct marks_index *index, size_t n,
					       struct buf *out, struct err *e);
/* DROP TRIGGER IF EXISTS for each of all these. */
NEAP_CHECK int marks_drop_triggers_sql(const struct marks_spec *m, struct buf *out, struct err *e);

#endif
