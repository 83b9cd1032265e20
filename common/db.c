#include "common/db.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One cached statement; buckets are chained. */
struct cached {
	struct cached *next;
	sqlite3_stmt *stmt;
	uint32_t hash;
	char sql[];
};

enum { BUCKETS = 256, SQL_MAX = 1024 * 1024 };

struct db {
	sqlite3 *handle;
	struct cached *bucket[BUCKETS];
};

int ne_from_sqlite(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return NE_OK;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return NE_BUSY;
	case SQLITE_NOMEM:
		return NE_MEMORY;
	case SQLITE_READONLY:
	case SQLITE_IOERR:
	case SQLITE_FULL:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return NE_DISK;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return NE_CORRUPT;
	case SQLITE_TOOBIG:
		return NE_LIMIT;
	default:
		return NE_INTERNAL;
	}
}

int db_error(struct db *db, struct err *e, const char *doing)
{
	int code = ne_from_sqlite(sqlite3_extended_errcode(db->handle));
	const char *file = sqlite3_db_filename(db->handle, "main");

	/* Whatever was to be done, the cause is outside. */
	if (code == NE_BUSY)
		return err_set(e, code,
			       "%s is locked by another program; try again when its "
			       "transaction has ended",
			       file && *file ? file : "the database");
	return err_set(e, code ? code : NE_INTERNAL, "%s: %s", doing, sqlite3_errmsg(db->handle));
}

static int file_exists(const char *path, const char *vfs_name)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(vfs_name);
	int there = 1;

	if (!vfs || vfs->xAccess(vfs, path, SQLITE_ACCESS_EXISTS, &there) != SQLITE_OK)
		return 1;
	return there;
}

static int configure(struct db *db, unsigned flags, int busy_ms, struct err *e)
{
	sqlite3 *h = db->handle;

	sqlite3_extended_result_codes(h, 1);
	sqlite3_busy_timeout(h, busy_ms);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	if (flags & DB_TRIGGERS_OFF)
		sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	/* SQLite opens lazily: reading the header now finds what is not a database. */
	int64_t ignored;
	TRY(db_int(db, "PRAGMA schema_version", 0, &ignored, e));
	if (!(flags & (DB_KEEP_JOURNAL | DB_READONLY)))
		TRY(db_exec(db, "PRAGMA journal_mode=WAL", e));
	return db_exec(
		db, flags & DB_SYNC_FULL ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
		e);
}

int db_open(struct db **out, const char *path, unsigned flags, const char *vfs, int busy_ms,
	    struct err *e)
{
	struct db *db = calloc(1, sizeof *db);
	int mode = flags & DB_READONLY ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int rc;

	if (!db)
		return err_set(e, NE_MEMORY, "no memory to open %s", path);
	if (flags & DB_CREATE)
		mode |= SQLITE_OPEN_CREATE;
	rc = sqlite3_open_v2(path, &db->handle, mode | SQLITE_OPEN_NOMUTEX, vfs);
	if (rc == SQLITE_OK)
		rc = configure(db, flags, busy_ms, e);
	else if (!db->handle)
		rc = err_set(e, NE_MEMORY, "no memory to open %s", path);
	else if (!(flags & DB_CREATE) && !file_exists(path, vfs))
		rc = err_set(e, NE_NOT_FOUND, "%s: no such file", path);
	else
		rc = db_error(db, e, path);
	if (rc) {
		db_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

static bool has_magic(sqlite3_file *f)
{
	static const char magic[16] = "SQLite format 3";
	char head[sizeof magic];
	sqlite3_int64 size;

	if (f->pMethods->xFileSize(f, &size) != SQLITE_OK || size == 0)
		return true;
	return size >= (sqlite3_int64)sizeof head &&
	       f->pMethods->xRead(f, head, sizeof head, 0) == SQLITE_OK &&
	       !memcmp(head, magic, sizeof head);
}

bool db_is_database(const char *path)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	/* SQLite keeps a descriptor open while the process has locks on the file. */
	const char *name = vfs ? sqlite3_create_filename(path, "", "", 0, NULL) : NULL;
	sqlite3_file *f = name ? calloc(1, (size_t)vfs->szOsFile) : NULL;
	bool is = true;

	if (f &&
	    vfs->xOpen(vfs, name, f, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB, NULL) == SQLITE_OK)
		is = has_magic(f);
	if (f && f->pMethods)
		f->pMethods->xClose(f);
	free(f);
	sqlite3_free_filename((char *)(uintptr_t)name);
	return is;
}

void db_forget(struct db *db)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (db->bucket[i]) {
			struct cached *c = db->bucket[i];
			db->bucket[i] = c->next;
			sqlite3_finalize(c->stmt);
			free(c);
		}
	}
}

void db_close(struct db *db)
{
	if (!db)
		return;
	db_forget(db);
	sqlite3_close_v2(db->handle);
	free(db);
}

sqlite3 *db_handle(struct db *db)
{
	return db->handle;
}

static uint32_t hash_of(const char *s)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **out, struct err *e)
{
	uint32_t hash = hash_of(sql);
	struct cached **head = &db->bucket[hash % BUCKETS];
	struct cached *c;

	for (c = *head; c; c = c->next) {
		if (c->hash == hash && strcmp(c->sql, sql) == 0) {
			sqlite3_reset(c->stmt);
			sqlite3_clear_bindings(c->stmt);
			*out = c->stmt;
			return 0;
		}
	}
	size_t len = strlen(sql);
	c = malloc(sizeof *c + len + 1);
	if (!c)
		return err_set(e, NE_MEMORY, "no memory for a statement");
	memcpy(c->sql, sql, len + 1);
	c->hash = hash;
	if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->stmt, NULL)) {
		free(c);
		char doing[200];
		snprintf(doing, sizeof doing, "preparing \"%.160s\"", sql);
		return db_error(db, e, doing);
	}
	assert(c->stmt); /* an empty text is a defect of the caller */
	c->next = *head;
	*head = c;
	*out = c->stmt;
	return 0;
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
	if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	char doing[200];
	snprintf(doing, sizeof doing, "running \"%.160s\"", sql);
	return db_error(db, e, doing);
}

int db_execf(struct db *db, struct err *e, const char *fmt, ...)
{
	struct buf sql = {.max = SQL_MAX};
	va_list args;
	int rc;

	va_start(args, fmt);
	int n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0 || n >= SQL_MAX)
		return err_set(e, NE_LIMIT, "an SQL text is longer than %d bytes", SQL_MAX);
	rc = buf_reserve(&sql, (size_t)n + 1);
	if (rc)
		return err_set(e, rc, "no memory for an SQL text");
	va_start(args, fmt);
	vsnprintf((char *)sql.at, (size_t)n + 1, fmt, args);
	va_end(args);
	rc = db_exec(db, (const char *)sql.at, e);
	buf_free(&sql);
	return rc;
}

int db_step(struct db *db, sqlite3_stmt *stmt, bool *row, struct err *e)
{
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
		*row = rc == SQLITE_ROW;
		return 0;
	}
	char doing[200];
	snprintf(doing, sizeof doing, "running \"%.160s\"", sqlite3_sql(stmt));
	rc = db_error(db, e, doing);
	sqlite3_reset(stmt);
	return rc;
}

int db_run(struct db *db, sqlite3_stmt *stmt, struct err *e)
{
	bool row = true;
	int rc = 0;

	while (row && !rc)
		rc = db_step(db, stmt, &row, e);
	sqlite3_reset(stmt);
	return rc;
}

int db_int(struct db *db, const char *sql, int64_t none, int64_t *out, struct err *e)
{
	sqlite3_stmt *stmt;
	bool row;

	TRY(db_prepare(db, sql, &stmt, e));
	TRY(db_step(db, stmt, &row, e));
	*out = row && sqlite3_column_type(stmt, 0) != SQLITE_NULL ? sqlite3_column_int64(stmt, 0)
								  : none;
	sqlite3_reset(stmt);
	return 0;
}

int sql_put_name(struct buf *out, struct slice name)
{
	size_t before = out->len;
	int rc = buf_put_u8(out, '"');

	for (size_t i = 0; i < name.len && !rc; i++) {
		if (name.at[i] == 0)
			rc = NE_USAGE;
		else if (name.at[i] == '"')
			rc = buf_put(out, "\"\"", 2);
		else
			rc = buf_put_u8(out, name.at[i]);
	}
	if (!rc)
		rc = buf_put_u8(out, '"');
	if (rc)
		out->len = before;
	return rc;
}
