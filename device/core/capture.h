/*
 * What devdb, track and cut share about captured tables: the SQL of their
 * mark tables and triggers, and keys as bytes for our own tables.
 */
#ifndef NEAP_DEVICE_CORE_CAPTURE_H
#define NEAP_DEVICE_CORE_CAPTURE_H

#include "device/core/devdb.h"
#include "protocol/marks.h"
#include "protocol/value.h"

/* The least stamp a write may get now, as SQL over neap_clock; the clock to the millisecond. */
extern const char capture_clock_sql[];

/* A merge table's mark table is described in protocol/marks.h; `m` borrows from `s` and `name`. */
struct marks_spec capture_marks_spec(const struct shape *s, const char *name);

/* CREATE TABLE of the mark table (merge) or number table (append: n INTEGER PRIMARY KEY, k0 …). */
NEAP_CHECK int capture_table_sql(const struct shape *s, const char *name, struct buf *out,
				 struct err *e);
/* The CREATE TRIGGER statements of table `id`, each ending in ";\n", as SQLite keeps them. */
NEAP_CHECK int capture_triggers_sql(const struct shape *s, int64_t id, const char *name,
				    struct buf *out, struct err *e);
/*
 * Those for UNIQUE indexes that the shape cannot say, from the catalogue; nothing where there are
 * none. NE_USAGE: an index through which REPLACE may remove rows that no trigger can see; the
 * sentence says which and why. NE_LIMIT: too many indexes or parts.
 */
NEAP_CHECK int capture_index_triggers_sql(struct db *db, const struct shape *s, const char *name,
					  struct buf *out, struct err *e);
/* capture_triggers_sql as SQLite keeps it after the columns of the table were renamed from
 * `fallback`. */
NEAP_CHECK int capture_triggers_since_sql(const struct shape *s, const struct shape_col *fallback,
					  int64_t id, const char *name, struct buf *out,
					  struct err *e);
/*
 * The names that the columns outside the key have by the triggers installed: `n` of them, as they
 * were captured, with what was renamed since; dropped ones still there. Memory from `a`. *known is
 * false where no trigger tells.
 */
NEAP_CHECK int capture_installed_columns(struct db *db, const char *name, uint16_t n,
					 struct arena *a, struct shape_col *out, bool *known,
					 struct err *e);
/* The table that the triggers are on; empty if there are none. Memory from `a`. */
NEAP_CHECK int capture_installed_table(struct db *db, const char *name, struct arena *a,
				       struct slice *out, struct err *e);
/*
 * The triggers installed on table `table` now; missing ones are missing from it. `index`: those
 * for indexes that the shape cannot say, instead of the others.
 */
NEAP_CHECK int capture_installed_sql(struct db *db, const char *name, struct slice table,
				     bool index, struct buf *out, struct err *e);
NEAP_CHECK int capture_drop_triggers(struct db *db, const char *name, struct err *e);
/* Drops what is there and creates the triggers of `s`. */
NEAP_CHECK int capture_install(struct db *db, const struct shape *s, int64_t id, const char *name,
			       struct err *e);

/* Runs the text of `sql` and empties it. */
NEAP_CHECK int capture_exec(struct db *db, struct buf *sql, struct err *e);

/* Keys as bytes: deterministic; two spellings of one key (NOCASE) differ. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int key_pack(struct buf *out, const struct val *key, size_t n);
/* Borrows text and blobs from `bytes`. NE_CORRUPT unless it holds exactly `n` values. */
NEAP_CHECK int key_unpack(struct slice bytes, struct val *out, size_t n);
/* One key as SQLite's index sees it: collations apply, 1 and 1.0 are the same. */
bool key_same(const struct shape *s, const struct val *a, const struct val *b);

#endif
