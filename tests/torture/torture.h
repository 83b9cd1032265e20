/*
 * The capture torture test: random SQL of a grammar runs on a device's file, by
 * stock connections, and at the same time on a plain copy of it without Neap.
 * Every statement must end alike on both; after a sync the other devices and
 * the server must hold the same rows, and nothing may be left of capture.
 *
 *   twin.c    one statement on both databases, and what it must have in common
 *   tables.c  random tables, indexes, the app's own triggers and views
 *   value.c   random literals
 *   rows.c    statements that write rows; session.c: transactions, settings, files; schema.c:
 * schema changes, which the other devices follow later fabric.c  real engines and the real ingest,
 * joined by a network without faults check.c   what must hold after a sync
 */
#ifndef NEAP_TORTURE_H
#define NEAP_TORTURE_H

#include "backend/core/ingest.h"
#include "common/bytes.h"
#include "device/core/engine.h"
#include "tests/sim/rng.h"

enum torture_bounds {
	DEVICES = 3,
	TABLES = 10,
	COLUMNS = 200,
	CONNECTIONS = 2, /* of the app to its file */
	PATH_BYTES = 96,
	MIGRATIONS = 64,
};

/* ---- what statements there are: each must have run, and have worked ---- */

/* clang-format off */
#define STATEMENTS(X) \
	X(insert) X(insert_rows) X(insert_or_replace) X(insert_or_ignore) X(insert_or_fail) \
	X(insert_or_abort) X(insert_or_rollback) X(replace_into) X(insert_default) \
	X(insert_select) X(insert_select_twin) X(upsert_nothing) X(upsert_update) \
	X(upsert_where) X(upsert_chain) X(update_one) X(update_some) X(update_all) \
	X(update_or_replace) X(update_or_ignore) X(update_or_fail) X(update_or_abort) \
	X(update_or_rollback) X(update_key) X(update_keys) X(update_from) X(update_swap) \
	X(update_limit) X(delete_one) X(delete_some) X(delete_all) X(delete_limit) \
	X(returning_insert) X(returning_update) X(returning_delete) X(with_insert) \
	X(view_insert) X(view_update) X(view_delete) X(big_value) X(append_insert) \
	X(append_replace) X(append_delete) X(append_update) X(append_key) X(untracked_write) \
	X(begin) X(begin_immediate) X(begin_exclusive) X(commit) X(rollback) X(savepoint) \
	X(rollback_to) X(release) X(other_connection) X(recursive_triggers) X(foreign_keys) \
	X(defer_foreign_keys) X(ignore_checks) X(trusted_schema) X(vacuum) X(attach) \
	X(attach_copy_out) X(attach_copy_in) X(attach_both) X(detach) X(temp_trigger) \
	X(temp_trigger_drop) X(temp_table) X(temp_table_drop) X(reindex) X(analyze) \
	X(journal_rollback) X(journal_wal) X(reconnect) X(agent_restart) X(agent_away) \
	X(writer_moves) X(unique_shift) X(unique_swap) X(add_column) X(rename_column) \
	X(drop_column) X(rename_table) X(rebuild_table) X(create_index) X(drop_index) X(create_trigger) \
	X(device_migrates)
/* clang-format on */

#define STATEMENT_ENUM(name) S_##name,
enum statement { STATEMENTS(STATEMENT_ENUM) S_COUNT };
extern const char *const statement_name[S_COUNT];

/* Kinds of tables, reported in the same way. */
/* clang-format off */
#define FEATURES(X) \
	X(key_rowid) X(key_autoincrement) X(key_desc) X(key_int) X(key_text) X(key_nocase) \
	X(key_rtrim) X(key_blob) X(key_any) X(key_real) X(key_numeric) X(key_pair) \
	X(key_triple) X(key_index_collation) X(key_conflict_clause) X(without_rowid) X(strict) \
	X(wide) X(not_null) X(not_null_replace) X(check) X(default_value) X(unique) \
	X(unique_clause) X(unique_pair) X(unique_nocase) X(unique_generated) X(index_plain) \
	X(index_partial_unique) X(index_expression_unique) X(index_collation_unique) X(index_refused) \
	X(generated_virtual) X(generated_stored) X(odd_names) X(foreign_key) \
	X(foreign_key_deferred) X(foreign_key_self) X(trigger_audit) X(trigger_own_row) \
	X(trigger_other_table) X(trigger_raise) X(trigger_ignore) X(trigger_before) X(view) \
	X(append_by_key) X(append_by_number) X(utf16) X(journal_delete) X(auto_vacuum) \
	X(rows_before_track)
/* clang-format on */

#define FEATURE_ENUM(name) F_##name,
enum feature { FEATURES(FEATURE_ENUM) F_COUNT };
extern const char *const feature_name[F_COUNT];

struct totals {
	uint64_t statements, run[S_COUNT], worked[S_COUNT], feature[F_COUNT];
	uint64_t unordered; /* updates whose outcome hung on the order of rows */
	uint64_t syncs, constraint, busy, other_errors;
};

/* ---- tables ---- */

struct column {
	char name[24];
	const char *type; /* as declared */
	bool key, generated, not_null, has_default;
	/* Added, with a default: the server has no value where nobody wrote one. */
	bool late;
};

struct table {
	char name[24], old_name[24];
	unsigned renamed_at; /* the migration that did it; 0 none */
	bool append, strict, without_rowid, twin, untracked;
	unsigned n_col, n_key;
	struct column col[COLUMNS];
};

/* ---- devices and server ---- */

struct device {
	unsigned index;
	char name[8], path[PATH_BYTES];
	struct engine *en; /* NULL: the agent is away */
	struct actions out;
	uint64_t synced;
	bool joined;	    /* C comes later */
	unsigned schema_at; /* migrations that its app has made */
	bool followed;	    /* … one of them with rows of others on their way */
};

struct message; /* on its way */

struct world {
	uint64_t seed;
	struct totals *totals;
	struct rng chance, ids;
	uint64_t now_ms;
	char dir[64];
	bool verbose, careful;
	bool utf16; /* files of devices; their text is well-formed then, as it is converted */

	unsigned n_table;
	struct table table[TABLES];
	struct buf schema; /* all CREATE statements of the app, for every device */
	unsigned n_migration, n_name;
	unsigned relaxed_at; /* the newest that dropped a constraint, which others may still have */
	struct buf migration[MIGRATIONS];
	bool has_view, has_unique, append_touched, append_rekeyed;
	uint64_t tokens; /* of append rows */

	struct device device[DEVICES];
	char store_path[PATH_BYTES];
	struct store *store;
	struct ingest *in;
	struct out_messages out;
	struct message *first, **last;
	uint64_t sync_id;

	unsigned writer; /* device whose app writes */
	char plain_path[PATH_BYTES], aux_path[2][PATH_BYTES];
	sqlite3 *app[CONNECTIONS], *plain[CONNECTIONS];
	bool attached[CONNECTIONS]; /* the file aux */
	bool pages_copied;	    /* row numbers that nobody sees may differ */

	struct buf log; /* the statements so far, as a script */
	bool failed;
	struct buf why;
};

void torture_fail(struct world *w, const char *fmt, ...) NEAP_PRINTF(2, 3);
/* Appends; memory is the only thing that can go wrong. */
void put(struct buf *b, const char *fmt, ...) NEAP_PRINTF(2, 3);
void put_name(struct buf *b, const char *name);
const char *text_of(struct buf *b); /* NUL-terminated */
void note_feature(struct world *w, enum feature f);

/* value.c: a literal for a column, and for one of its key's few values. */
void put_value(struct world *w, struct buf *b, const struct column *c);
void put_key_value(struct world *w, struct buf *b, const struct column *c);

/* tables.c */
void tables_make(struct world *w);

/* rows.c: the text of a statement of this kind; false: there is no table for it. */
bool rows_statement(struct world *w, enum statement s, struct buf *out);

/* session.c: transactions, settings, other files, the agent; false: not possible now. */
bool session_statement(struct world *w, enum statement s);
/* schema.c: the app's schema changes, likewise. */
bool schema_statement(struct world *w, enum statement s);
/* The app of `d` makes the migrations that it has not made yet; false: its rows forbid one so far.
 */
bool schema_catch_up(struct world *w, struct device *d);

/* The connection that holds a transaction, or any. */
unsigned session_connection(struct world *w);
/* Ends what transaction is open. */
void session_end(struct world *w);

/* twin.c */
void twin_open(struct world *w); /* a plain copy of the writer's file, connections to both */
void twin_close(struct world *w);
void twin_connect(struct world *w);
/* Runs `sql` on both; compares. True: it worked. */
bool twin_run(struct world *w, unsigned connection, enum statement s, const char *sql);
/* The same where the two must be told apart, by file names. */
bool twin_run_two(struct world *w, unsigned connection, enum statement s, const char *app_sql,
		  const char *plain_sql);
bool twin_in_transaction(const struct world *w);
void twin_compare(struct world *w);

/* fabric.c */
void fabric_open(struct world *w);
void fabric_close(struct world *w);
void fabric_clock(uint64_t now_ms); /* what SQLite takes for the time */
void device_start(struct world *w, struct device *d);
void device_stop(struct device *d);
void device_init(struct world *w, struct device *d);
/* The agent of `d`, if it is there, looks at its file. */
void fabric_look(struct world *w, struct device *d);
/* A few messages at most; the writer may hold a transaction. */
void fabric_some(struct world *w);
/* Until every device is in sync. */
void fabric_sync(struct world *w);

/* check.c */
void check_synced(struct world *w);
/* Rows of a query, as text that is equal only for equal types and bits. */
void put_rows(struct world *w, sqlite3 *db, const char *sql, struct buf *out);
void fail_difference(struct world *w, const char *what, const char *who, struct buf *a,
		     const char *other, struct buf *b);

#endif
