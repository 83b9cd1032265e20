/*
 * SQLite with the project's errors: opening with safe settings, statements
 * prepared once, and SQLITE_* turned into `enum ne` with a sentence.
 */
#ifndef NEAP_COMMON_DB_H
#define NEAP_COMMON_DB_H

#include <sqlite3.h>

#include "common/bytes.h"

/*
 * A connection and its cache of prepared statements. Not for more than one
 * thread at a time. The cache is bounded by the number of distinct SQL texts
 * given to db_prepare; texts come from code and catalogue, not from a peer.
 */
struct db;

enum db_flags {
	DB_CREATE = 1, /* create the file if it is missing; else a missing one is NE_NOT_FOUND */
	DB_READONLY = 2,
	DB_TRIGGERS_OFF = 4,  /* SQLITE_DBCONFIG_ENABLE_TRIGGER 0 on this connection */
	DB_SYNC_FULL = 8,     /* synchronous=FULL; otherwise NORMAL */
	DB_KEEP_JOURNAL = 16, /* leave the journal mode as found (the app's file); otherwise WAL */
};

/*
 * Opens `path` with DEFENSIVE on, TRUSTED_SCHEMA off and double-quoted strings off. `vfs` may be
 * NULL. Errors: NE_NOT_FOUND, NE_DISK, NE_CORRUPT (not a database), NE_BUSY, NE_MEMORY.
 */
NEAP_CHECK int db_open(struct db **out, const char *path, unsigned flags, const char *vfs,
		       int busy_ms, struct err *e);
/*
 * Whether `path` begins as a database does, or is empty; true also where it cannot be read, as
 * db_open has the better sentence. Not to be asked of the file itself: a process that closes a file
 * of its own loses all its locks on it, those of the app's connections as well.
 */
bool db_is_database(const char *path);
void db_close(struct db *db); /* NULL is allowed; finalises every cached statement */
sqlite3 *db_handle(struct db *db);

/*
 * A statement for `sql`, prepared at the first call and reset and unbound at each. It belongs to
 * the connection; it is valid until db_close or db_forget. Do not use one text twice at a time.
 */
NEAP_CHECK int db_prepare(struct db *db, const char *sql, sqlite3_stmt **out, struct err *e);
/* Finalises all cached statements (before DDL on tables they use, or after a schema change). */
void db_forget(struct db *db);

/* Runs SQL that returns no rows, possibly several statements. */
NEAP_CHECK int db_exec(struct db *db, const char *sql, struct err *e);
NEAP_CHECK int db_execf(struct db *db, struct err *e, const char *fmt, ...) NEAP_PRINTF(3, 4);

/* Steps once: *row is true for SQLITE_ROW, false for SQLITE_DONE. */
NEAP_CHECK int db_step(struct db *db, sqlite3_stmt *stmt, bool *row, struct err *e);
/* Steps a statement that returns no row, then resets it. */
NEAP_CHECK int db_run(struct db *db, sqlite3_stmt *stmt, struct err *e);
/* One integer of the first row; `none` where there is no row or NULL. */
NEAP_CHECK int db_int(struct db *db, const char *sql, int64_t none, int64_t *out, struct err *e);

/* The project's error for the connection's last failure, e.g. SQLITE_FULL → NE_DISK. */
int db_error(struct db *db, struct err *e, const char *doing);
int ne_from_sqlite(int rc);

/* "name" with quotes doubled, the only way a name gets into SQL. NE_USAGE on NUL inside. */
NEAP_CHECK int sql_put_name(struct buf *out, struct slice name);

#endif
