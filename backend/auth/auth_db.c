#include "backend/auth/auth_db.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"

enum { BUSY_MS = 5000, VERSION = 1 };

/*
 * devices.prev: the epoch before, still good for opening; 0 none. families: one a device. voids:
 * what the broker must refuse until the tokens in question have run out. meta.log_bytes: how much
 * of revocations.log this file has in it. meta.epoch_floor: above every epoch of removed users.
 * codes: one-time codes by hash, one a device; used_s 0: not used yet, else `attempt` is the hash
 * of the attempt that may still ask again. trail: how much of revocations.log was told to the audit
 * trail.
 */
static const char schema[] =
	"CREATE TABLE IF NOT EXISTS meta(one INTEGER PRIMARY KEY CHECK(one = 1), version INTEGER"
	" NOT NULL, revision INTEGER NOT NULL, store_id INTEGER NOT NULL, term INTEGER NOT NULL,"
	" master_id INTEGER NOT NULL, log_bytes INTEGER NOT NULL, epoch_floor INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS users(name TEXT PRIMARY KEY, hash TEXT NOT NULL, disabled"
	" INTEGER NOT NULL, group_epoch INTEGER NOT NULL, created_s INTEGER NOT NULL) WITHOUT"
	" ROWID;"
	"CREATE TABLE IF NOT EXISTS devices(user TEXT NOT NULL, name TEXT NOT NULL, epoch INTEGER"
	" NOT NULL, prev INTEGER NOT NULL, revoked INTEGER NOT NULL, first_s INTEGER NOT NULL,"
	" last_s INTEGER NOT NULL, PRIMARY KEY(user, name)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS families(id INTEGER PRIMARY KEY, user TEXT NOT NULL, device"
	" TEXT NOT NULL, generation INTEGER NOT NULL, hash BLOB NOT NULL, prev BLOB, created_s"
	" INTEGER NOT NULL, used_s INTEGER NOT NULL, revoked INTEGER NOT NULL, UNIQUE(user,"
	" device));"
	"CREATE TABLE IF NOT EXISTS voids(user TEXT NOT NULL, device TEXT NOT NULL, iat_s INTEGER"
	" NOT NULL, until_s INTEGER NOT NULL, PRIMARY KEY(user, device)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS codes(hash BLOB PRIMARY KEY, user TEXT NOT NULL, device TEXT "
	"NOT"
	" NULL, made_s INTEGER NOT NULL, until_s INTEGER NOT NULL, used_s INTEGER NOT NULL, attempt"
	" BLOB, UNIQUE(user, device)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS trail(one INTEGER PRIMARY KEY CHECK(one = 1), log_bytes"
	" INTEGER NOT NULL);"
	"INSERT OR IGNORE INTO trail VALUES(1, 0);"
	"INSERT OR IGNORE INTO meta VALUES(1, 1, 1, 0, 0, 0, 0, 0);";

static int64_t system_now_s(void *ctx)
{
	(void)ctx;
	return (int64_t)time(NULL);
}

int64_t auth_now(const struct auth *a)
{
	return a->now_s(a->now_ctx);
}

void auth_set_clock(struct auth *a, int64_t (*now_s)(void *ctx), void *ctx)
{
	a->now_s = now_s;
	a->now_ctx = ctx;
}

static int bind_all(struct db *db, sqlite3_stmt *st, const char *types, va_list args, struct err *e)
{
	int rc = SQLITE_OK;
	struct slice s;

	for (int i = 0; types[i] && rc == SQLITE_OK; i++) {
		switch (types[i]) {
		case 'i':
			rc = sqlite3_bind_int64(st, i + 1, va_arg(args, int64_t));
			break;
		case 's':
			rc = sqlite3_bind_text(st, i + 1, va_arg(args, const char *), -1,
					       SQLITE_TRANSIENT);
			break;
		case 't':
			s = va_arg(args, struct slice);
			rc = sqlite3_bind_text64(st, i + 1, s.at ? (const char *)s.at : "", s.len,
						 SQLITE_TRANSIENT, SQLITE_UTF8);
			break;
		default:
			assert(types[i] == 'b');
			s = va_arg(args, struct slice);
			rc = sqlite3_bind_blob64(st, i + 1, s.at ? (const void *)s.at : "", s.len,
						 SQLITE_TRANSIENT);
			break;
		}
	}
	return rc == SQLITE_OK ? 0 : db_error(db, e, "auth.db");
}

static int bind_list(struct db *db, sqlite3_stmt **out, struct err *e, const char *sql,
		     const char *types, va_list args)
{
	TRY(db_prepare(db, sql, out, e));
	return bind_all(db, *out, types, args, e);
}

int sql_bind(struct db *db, sqlite3_stmt **out, struct err *e, const char *sql, const char *types,
	     ...)
{
	va_list args;

	va_start(args, types);
	int rc = bind_list(db, out, e, sql, types, args);
	va_end(args);
	return rc;
}

int sql_do(struct db *db, struct err *e, const char *sql, const char *types, ...)
{
	sqlite3_stmt *st;
	va_list args;

	va_start(args, types);
	int rc = bind_list(db, &st, e, sql, types, args);
	va_end(args);
	return rc ? rc : db_run(db, st, e);
}

int sql_int(struct db *db, int64_t none, int64_t *out, struct err *e, const char *sql,
	    const char *types, ...)
{
	sqlite3_stmt *st;
	va_list args;
	bool row = false;

	va_start(args, types);
	int rc = bind_list(db, &st, e, sql, types, args);
	va_end(args);
	TRY(rc);
	TRY(db_step(db, st, &row, e));
	*out = row && sqlite3_column_type(st, 0) != SQLITE_NULL ? sqlite3_column_int64(st, 0)
								: none;
	sqlite3_reset(st);
	return 0;
}

int auth_begin(struct auth *a, struct err *e)
{
	pthread_mutex_lock(&a->lock);
	int rc = db_exec(a->db, "BEGIN IMMEDIATE", e);
	if (rc)
		pthread_mutex_unlock(&a->lock);
	return rc;
}

int auth_end(struct auth *a, int rc, struct err *e)
{
	struct err ignored;

	if (!rc)
		rc = db_exec(a->db, "COMMIT", e);
	if (rc && !sqlite3_get_autocommit(db_handle(a->db)) && db_exec(a->db, "ROLLBACK", &ignored))
		rc = rc ? rc : NE_INTERNAL;
	atomic_store(&a->changed, true);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

int auth_touch(struct auth *a, struct err *e)
{
	return db_exec(a->db, "UPDATE meta SET revision = revision + 1", e);
}

/* Created by us first, so that SQLite's own files beside it get its mode. */
static int create_file(const char *path, struct err *e)
{
	int rc = file_create(path, slice_of(NULL, 0), FILE_SECRET, e);

	return rc == NE_EXISTS ? file_check_secret(path, e) : rc ? rc : file_follow_folder(path, e);
}

static int check_version(struct auth *a, struct err *e)
{
	int64_t version;

	TRY(db_int(a->db, "SELECT version FROM meta", 0, &version, e));
	if (version != VERSION)
		return err_set(e, NE_USAGE, "\"%s\" was written by another version of neapd (%lld)",
			       a->config->auth_db, (long long)version);
	return 0;
}

static int open_files(struct auth *a, struct err *e)
{
	const char *path = a->config->auth_db;

	TRY(create_file(path, e));
	TRY(db_open(&a->db, path, DB_SYNC_FULL, NULL, BUSY_MS, e));
	TRY(auth_begin(a, e));
	TRY(auth_end(a, db_exec(a->db, schema, e), e));
	TRY(check_version(a, e));
	TRY(db_open(&a->read, path, 0, NULL, BUSY_MS, e));
	return revoke_replay(a, e);
}

static int open_rest(struct auth *a, struct err *e)
{
	uint8_t random[16];
	char text[2 * sizeof random + 1];

	TRY(keys_open(a, e));
	TRY(open_files(a, e));
	TRY(keys_notice_master(a, e));
	if (RAND_bytes(random, sizeof random) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes");
	slice_hex(slice_of(random, sizeof random), text);
	return password_hash(slice_of(text, 2 * sizeof random), a->dummy_hash, e);
}

int auth_open(struct auth **out, const struct config *c, struct err *e)
{
	struct auth *a = calloc(1, sizeof *a);

	if (!a || !(a->cache = calloc(KEY_CACHE, sizeof *a->cache))) {
		free(a);
		return err_set(e, NE_MEMORY, "no memory for the accounts");
	}
	a->config = c;
	a->log_fd = -1;
	a->told = -1;
	a->data_version = -1;
	a->looked_ms = -1;
	auth_set_clock(a, system_now_s, NULL);
	pthread_mutex_init(&a->lock, NULL);
	pthread_rwlock_init(&a->keys_lock, NULL);
	/* The callbacks of auth_each_…() may ask for keys. */
	pthread_mutexattr_t recursive;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&a->read_lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	hash_gate_init(&a->gate);
	int rc = throttle_init(&a->throttle, e);
	if (!rc)
		rc = open_rest(a, e);
	if (rc) {
		auth_close(a);
		return rc;
	}
	*out = a;
	return 0;
}

void auth_close(struct auth *a)
{
	if (!a)
		return;
	db_close(a->db);
	db_close(a->read);
	if (a->log_fd >= 0)
		close(a->log_fd);
	keys_close(a);
	hash_gate_destroy(&a->gate);
	throttle_destroy(&a->throttle);
	pthread_mutex_destroy(&a->lock);
	pthread_rwlock_destroy(&a->keys_lock);
	pthread_mutex_destroy(&a->read_lock);
	OPENSSL_cleanse(a->cache, KEY_CACHE * sizeof *a->cache);
	free(a->cache);
	free(a);
}
