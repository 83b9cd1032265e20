/* What the files of the SQLite store share. Not for others: see store.h. */
#ifndef NEAP_BACKEND_CORE_STORE_SQLITE_H
#define NEAP_BACKEND_CORE_STORE_SQLITE_H

#include "backend/core/store.h"
#include "common/db.h"

/* The catalogue in memory: tables and shapes, read anew after every change of it. */
struct catalogue {
	struct arena arena;
	size_t n_table, n_shape;
	struct store_table **table; /* by id */
	struct store_shape **shape; /* by shape id */
};

/* Rows whose write ended the transaction (store_rolled.c), until the step is done. */
enum { ROLLED_MAX = 64, ROLLED_DIGEST = 16 };
struct rolled_row {
	int64_t uid, table;
	bool whole; /* all rows of the table */
	uint8_t digest[ROLLED_DIGEST];
};
struct rolled {
	bool ended; /* since store_rolled_back was asked */
	bool all;   /* there are too many: every row */
	size_t n;
	struct rolled_row row[ROLLED_MAX];
	char why[320];
};

/* What the transaction under way changed of neap_usage; since `mark` the set at hand. */
struct usage_change {
	int64_t uid, table, rows, bytes;
};
struct usage {
	size_t n, cap, mark;
	struct usage_change *at;
	int64_t value; /* what neap_change and neap_gone counted of the statement at hand */
	/* What neap_was and neap_spelt counted: keys that are no row, their bytes, the key's own.
	 */
	int64_t dead, dead_bytes, key_bytes;
};

/* A table being counted (store_recount.c). */
struct recount {
	bool look;     /* one may be due */
	struct db *db; /* NULL: none at the moment */
	int64_t table;
	sqlite3_stmt *rows; /* of `db` */
};

struct store {
	struct db *db;
	struct ingest_break broken;
	uint64_t id, term, prev_term;
	int64_t term_ord;
	uint64_t issued;
	int64_t data_version; /* of SQLite, when foreign writes were last looked for */
	bool look;	      /* look for touched rows whatever data_version says */
	bool in_tx;
	bool hidden;		  /* neap_flag is set in this transaction */
	bool triggers_off;	  /* on this connection: nobody but us has any */
	int64_t triggers_version; /* schema_version when that was decided; −1 not yet */
	int64_t schema_version;	  /* when the tables were last compared with it; −1 not yet */
	bool catalogue_stale; /* changed in the transaction under way: reread after a rollback */
	int64_t policies;     /* of neap_meta, when the catalogue was read */
	int64_t gc_uid, gc_table; /* where store_gc goes on */
	struct catalogue cat;
	struct rolled rolled;
	struct usage usage;
	struct recount recount;
};

/* The statements of one table, prepared when first used. */
enum table_query {
	TQ_REG_GET,
	TQ_REG_ADD,
	TQ_REG_SET,
	TQ_ROW_GET,
	TQ_ROW_PUT,
	TQ_ROW_CHANGE,
	TQ_ROW_DELETE,
	TQ_APPEND,
	TQ_APPEND_GET,
	TQ_APPEND_NUMBERS,
	TQ_APPEND_KEYS,
	TQ_PAGE,
	TQ_PAGE_AFTER,
	TQ_VERIFY,
	TQ_VERIFY_AFTER,
	TQ_STRAYS,
	TQ_STRAYS_AFTER,
	TQ_TOUCH,
	TQ_TOUCHED,
	TQ_TOUCHED_ANY,
	TQ_TOUCHED_FORGET,
	TQ_GC,
	TQ_SPELL,
	TQ_SPELL_REGS,
	TQ_KEY_STORED,
	TQ_N,
};

struct store_sql {
	sqlite3_stmt *stmt[TQ_N];
	sqlite3_stmt **set_col; /* UPDATE of one column, by column */
	sqlite3_stmt *clash[STORE_UNIQUES];
};

/* A table's statement, reset; its bindings are those of its last use. */
NEAP_CHECK int table_stmt(struct store *s, struct store_table *t, enum table_query q,
			  sqlite3_stmt **out, struct err *e);
NEAP_CHECK int table_stmt_col(struct store *s, struct store_table *t, uint16_t col,
			      sqlite3_stmt **out, struct err *e);

/* The texts behind them; pure, so that a test can read every one (R5). */
NEAP_CHECK int table_sql(const struct store_table *t, enum table_query q, struct buf *out);
/* Of table_sql(), for TQ_SPELL and what follows it. */
NEAP_CHECK int table_sql_spell(const struct store_table *t, enum table_query q, struct buf *out);
NEAP_CHECK int table_sql_col(const struct store_table *t, uint16_t col, struct buf *out);
NEAP_CHECK int table_sql_create(const struct store_table *t, struct buf *out);
/* The triggers that keep an operator's SQL out of a table of devices; without `on` they go. */
NEAP_CHECK int table_sql_guard(const struct store_table *t, bool on, struct buf *out);
/* CREATE INDEX IF NOT EXISTS for a constraint, and whether a row breaks it. */
NEAP_CHECK int table_sql_unique(const struct store_table *t, const struct store_unique *u,
				struct buf *out);
NEAP_CHECK int table_sql_clash(const struct store_table *t, const struct store_unique *u,
			       struct buf *out);
/* ALTER TABLE … ADD COLUMN for column `col`. */
NEAP_CHECK int table_sql_add_column(const struct store_table *t, uint16_t col, struct buf *out);
NEAP_CHECK int table_stmt_clash(struct store *s, struct store_table *t, size_t which,
				sqlite3_stmt **out, struct err *e);
/* An app's column name as the store has it: names the store keeps for itself get "app_" in front.
 */
NEAP_CHECK int column_name(struct slice name, struct buf *out);

/* CREATE and DROP TRIGGER of a merge table's capture; with `table` also its mark table. */
NEAP_CHECK int table_sql_capture(const struct store_table *t, bool table, struct buf *out,
				 struct err *e);
NEAP_CHECK int table_sql_uncapture(const struct store_table *t, struct buf *out, struct err *e);

/*
 * store_rolled.c. The row is named by `id`. Before it is written: NE_ROWS if a trigger ended the
 * transaction over it when the step was done before. After a write that failed and left no
 * transaction: remembers it; always an error, NE_BUSY.
 */
NEAP_CHECK int rolled_refuses(struct store *s, const struct store_user *u,
			      const struct store_table *t, const struct val *id, size_t n,
			      struct err *e);
NEAP_CHECK int rolled_note(struct store *s, const struct store_user *u, const struct store_table *t,
			   const struct val *id, size_t n, struct err *e);

/*
 * store_row.c. Runs `st`, which writes the row of `key` in the table itself. NE_ROWS: an operator's
 * constraint or trigger refuses it, which is no fault of the store's; it is not written.
 */
NEAP_CHECK int row_write(struct store *s, const struct store_user *u, const struct store_table *t,
			 const struct val *key, sqlite3_stmt *st, struct err *e);

/* store_usage.c: neap_usage and neap_quota; SQL functions that count what an UPDATE or DELETE does.
 */
extern const char store_usage_sql[];
NEAP_CHECK int usage_functions(struct store *s, struct err *e);
/* What a value counts. */
size_t usage_size(const struct val *v);
/* This transaction's own writes changed so much; nothing while triggers count. */
NEAP_CHECK int usage_add(struct store *s, const struct store_user *u, const struct store_table *t,
			 int64_t rows, int64_t bytes, struct err *e);
/*
 * Keys in the shadow that are no row (any more) changed by so much: tombstones, and what devices
 * said of rows nobody knows. Nobody but us writes there, so this counts whatever triggers do. They
 * stand in neap_usage under the negative id of their table.
 */
NEAP_CHECK int usage_dead(struct store *s, int64_t uid, const struct store_table *t, int64_t keys,
			  int64_t bytes, struct err *e);
/* Counts them one by one, once, where an older neapd has not. In a transaction. */
NEAP_CHECK int usage_count_dead(struct store *s, struct err *e);
NEAP_CHECK int usage_flush(struct store *s, struct err *e);
/* Counts the rows of a table, of one user or of all (NULL). */
NEAP_CHECK int usage_recount(struct store *s, const struct store_table *t, const char *user,
			     struct err *e);
/* store_recount.c: the table's rows are to be counted from the next step on; and not at the moment.
 */
NEAP_CHECK int recount_due(struct store *s, const struct store_table *t, struct err *e);
void recount_stop(struct store *s);
/* SQL for what the values of row `of` ("NEW.", "") count. */
NEAP_CHECK int table_sql_size(const struct store_table *t, const char *of, struct buf *out);
/* store_site.c: what an older neapd has not made. */
extern const char store_site_sql[];
/* store_conflict.c */
extern const char store_conflict_sql[];

NEAP_CHECK int catalogue_load(struct store *s, struct err *e);
/* store_altered.c: sets `missing` of each table anew; catalogue_load keeps it. */
NEAP_CHECK int catalogue_find_missing(struct store *s, struct err *e);
void catalogue_free(struct catalogue *c);
struct store_table *catalogue_table(struct store *s, int64_t id); /* NULL: none */
/* The user has rows of this table from now on. */
NEAP_CHECK int catalogue_user_table(struct store *s, int64_t uid, int64_t table, struct err *e);

/* store_unique.c: constraint `i` of `sh`, by the table's columns. */
void unique_of(const struct shape *s, size_t i, const uint16_t *to_table, struct store_unique *out);
bool unique_eq(const struct store_unique *a, const struct store_unique *b);
/* Records and indexes the constraints of `sh` that its table lacks, as far as there is room. */
NEAP_CHECK int uniques_add(struct store *s, const struct store_shape *sh, struct err *e);
/* Reads the tables' constraints into a catalogue being loaded. */
NEAP_CHECK int uniques_load(struct store *s, struct catalogue *c, struct err *e);

/* Append rows captured under (site, gen), received now. */
struct store_captured {
	const struct store_site *site;
	const struct store_shape *shape;
	uint64_t gen, now_ms;
};
/* What rows with rising numbers say is remembered. */
NEAP_CHECK int content_note(struct store *s, const struct store_captured *of,
			    const struct row *rows, size_t n, struct err *e);
/* *same: it said what `r` says when it came; false also where that is not known. */
NEAP_CHECK int content_same(struct store *s, const struct store_captured *of, const struct row *r,
			    bool *same, struct err *e);

NEAP_CHECK int meta_get(struct store *s, const char *key, int64_t none, int64_t *out,
			struct err *e);
NEAP_CHECK int meta_set(struct store *s, const char *key, int64_t value, struct err *e);

/* Binding with the project's errors. */
NEAP_CHECK int bind_int(struct store *s, sqlite3_stmt *st, int at, uint64_t v, struct err *e);
NEAP_CHECK int bind_text(struct store *s, sqlite3_stmt *st, int at, const char *v, struct err *e);
/* Values from `at` on; they must outlive the next step. */
NEAP_CHECK int bind_vals(struct store *s, sqlite3_stmt *st, int at, const struct val *v, size_t n,
			 struct err *e);
static inline uint64_t column_u64(sqlite3_stmt *st, int col)
{
	return (uint64_t)sqlite3_column_int64(st, col);
}
/* A column's text as an id; empty when it is none. */
struct id column_id(sqlite3_stmt *st, int col);

#endif
