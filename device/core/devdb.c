#include "device/core/devdb.h"

#include <inttypes.h>
#include <stdlib.h>

#include "device/core/conflict.h"

/* Raised when our tables change; an older program refuses a newer file. */
enum { DEVDB_FORMAT = 1, BUSY_MS = 2000, SCHEMA_BYTES = 64 << 20 };

/* A stamp further ahead of the corrected clock than this cannot have been let in by the server. */
enum { AHEAD_MS = 240000 };

static const char schema_sql[] =
	"CREATE TABLE neap_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"CREATE TABLE neap_clock(id INTEGER PRIMARY KEY CHECK(id = 1), offset_ms INTEGER NOT NULL,"
	" floor INTEGER NOT NULL, heard INTEGER NOT NULL, gen INTEGER NOT NULL);"
	"INSERT INTO neap_clock VALUES(1, 0, 0, 0, 1);"
	"CREATE TABLE neap_table(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE,"
	" shape BLOB NOT NULL, priority INTEGER NOT NULL, keep_ms INTEGER NOT NULL);"
	"CREATE TABLE neap_policy(id INTEGER PRIMARY KEY, keep_rows INTEGER NOT NULL,"
	" keep_bytes INTEGER NOT NULL, pending_rows INTEGER NOT NULL,"
	" pending_bytes INTEGER NOT NULL, drop_oldest INTEGER NOT NULL,"
	" dropped_rows INTEGER NOT NULL DEFAULT 0, dropped_ms INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE neap_acked(table_id INTEGER NOT NULL, by INTEGER NOT NULL,"
	" upto INTEGER NOT NULL, lo INTEGER NOT NULL, first_ms INTEGER NOT NULL,"
	" last_ms INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,"
	" PRIMARY KEY(table_id, by, upto)) WITHOUT ROWID;"
	"CREATE TABLE neap_again(table_id INTEGER NOT NULL, key BLOB NOT NULL,"
	" round INTEGER NOT NULL, PRIMARY KEY(table_id, key)) WITHOUT ROWID;"
	"CREATE TABLE neap_append(id INTEGER PRIMARY KEY, gen INTEGER NOT NULL,"
	" high INTEGER NOT NULL, cut_from INTEGER NOT NULL, acked INTEGER NOT NULL,"
	" numbered INTEGER NOT NULL);"
	"CREATE TABLE neap_ask(table_id INTEGER PRIMARY KEY, stage INTEGER NOT NULL,"
	" at INTEGER NOT NULL, salt INTEGER NOT NULL, key BLOB NOT NULL);"
	"CREATE TABLE neap_catchup(table_id INTEGER PRIMARY KEY, mode INTEGER NOT NULL,"
	" known INTEGER NOT NULL, begun INTEGER NOT NULL, cursor INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE neap_hash(table_id INTEGER NOT NULL, hash INTEGER NOT NULL,"
	" PRIMARY KEY(table_id, hash)) WITHOUT ROWID;"
	"CREATE TABLE neap_identity(table_id INTEGER NOT NULL, kind INTEGER NOT NULL,"
	" hi INTEGER NOT NULL, site INTEGER NOT NULL, gen INTEGER NOT NULL,"
	" PRIMARY KEY(table_id, kind, hi)) WITHOUT ROWID;"
	"CREATE TABLE neap_inflight(number INTEGER PRIMARY KEY, cut INTEGER NOT NULL,"
	" prev INTEGER NOT NULL, site INTEGER NOT NULL, gen_hi INTEGER NOT NULL,"
	" stamp INTEGER NOT NULL, ranges BLOB NOT NULL);"
	"CREATE TABLE neap_lost(table_id INTEGER NOT NULL, kind INTEGER NOT NULL,"
	" lo INTEGER NOT NULL, hi INTEGER NOT NULL, PRIMARY KEY(table_id, kind, lo)) WITHOUT ROWID;"
	"CREATE TABLE neap_parked(table_id INTEGER NOT NULL, key BLOB NOT NULL, image BLOB,"
	" text TEXT, reason TEXT, at_ms INTEGER, PRIMARY KEY(table_id, key)) WITHOUT ROWID;"
	"CREATE TABLE neap_rejected(id INTEGER PRIMARY KEY, table_id INTEGER NOT NULL,"
	" key BLOB NOT NULL, text TEXT, reason TEXT, at_ms INTEGER, image BLOB,"
	" UNIQUE(table_id, key));"
	/* Reasons of refusals that are still to come, by the set's number. */
	"CREATE TABLE neap_reason(table_id INTEGER NOT NULL, key BLOB NOT NULL, reason TEXT,"
	" number INTEGER, PRIMARY KEY(table_id, key)) WITHOUT ROWID;"
	"CREATE TABLE neap_round(table_id INTEGER NOT NULL, round INTEGER NOT NULL,"
	" n INTEGER NOT NULL, PRIMARY KEY(table_id, round)) WITHOUT ROWID;"
	"CREATE TABLE neap_seen(table_id INTEGER NOT NULL, key BLOB NOT NULL,"
	" PRIMARY KEY(table_id, key)) WITHOUT ROWID;"
	"CREATE TABLE neap_shape(id BLOB PRIMARY KEY, shape BLOB NOT NULL) WITHOUT ROWID;"
	/* When a table was last compared with the server's, and how that ended. */
	"CREATE TABLE neap_verify(table_id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,"
	" rows INTEGER NOT NULL, differed INTEGER NOT NULL, repaired INTEGER NOT NULL);";

int devdb_begin(struct devdb *d, struct err *e)
{
	TRY(db_exec(d->db, "BEGIN IMMEDIATE", e));
	d->begun++;
	return NE_OK;
}

int devdb_commit(struct devdb *d, struct err *e)
{
	return db_exec(d->db, "COMMIT", e);
}

void devdb_rollback(struct devdb *d)
{
	if (!sqlite3_get_autocommit(db_handle(d->db)))
		sqlite3_exec(db_handle(d->db), "ROLLBACK", NULL, NULL, NULL);
}

/* A statement reading or writing neap_meta with ?1 = key. */
static int meta(struct devdb *d, const char *sql, const char *key, sqlite3_stmt **out,
		struct err *e)
{
	TRY(db_prepare(d->db, sql, out, e));
	if (sqlite3_bind_text(*out, 1, key, -1, SQLITE_STATIC) != SQLITE_OK)
		return db_error(d->db, e, key);
	return NE_OK;
}

static const char get_sql[] = "SELECT value FROM neap_meta WHERE key = ?1";
static const char set_sql[] = "INSERT INTO neap_meta(key, value) VALUES(?1, ?2) "
			      "ON CONFLICT(key) DO UPDATE SET value = excluded.value";

int devdb_get(struct devdb *d, const char *key, int64_t *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(meta(d, get_sql, key, &s, e));
	TRY(db_step(d->db, s, &row, e));
	*out = row ? sqlite3_column_int64(s, 0) : 0;
	sqlite3_reset(s);
	return NE_OK;
}

int devdb_set(struct devdb *d, const char *key, int64_t value, struct err *e)
{
	sqlite3_stmt *s;

	TRY(meta(d, set_sql, key, &s, e));
	sqlite3_bind_int64(s, 2, value);
	return db_run(d->db, s, e);
}

int devdb_get_text(struct devdb *d, const char *key, struct buf *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc = NE_OK;

	TRY(meta(d, get_sql, key, &s, e));
	TRY(db_step(d->db, s, &row, e));
	if (row && sqlite3_column_type(s, 0) != SQLITE_NULL) {
		const void *text = sqlite3_column_text(s, 0);

		rc = text ? buf_put(out, text, (size_t)sqlite3_column_bytes(s, 0)) : NE_MEMORY;
	}
	sqlite3_reset(s);
	return rc ? err_set(e, rc, "no room for the setting %s", key) : NE_OK;
}

int devdb_set_text(struct devdb *d, const char *key, struct slice value, struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(meta(d, set_sql, key, &s, e));
	rc = sqlite3_bind_text64(s, 2, value.len ? (const char *)value.at : "", value.len,
				 SQLITE_STATIC, SQLITE_UTF8);
	if (rc != SQLITE_OK)
		return db_error(d->db, e, key);
	rc = db_run(d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc;
}

static int get_id(struct devdb *d, const char *key, struct id *out, struct err *e)
{
	struct buf text = {.max = 4096};
	int rc = devdb_get_text(d, key, &text, e);

	if (!rc)
		rc = id_set(out, buf_slice(&text), key, e);
	buf_free(&text);
	return rc;
}

/* The app may have made such tables broken by its own PRAGMAs: ours hold whatever it says. */
static int configure(struct devdb *d, struct err *e)
{
	return db_exec(d->db,
		       "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; "
		       "PRAGMA recursive_triggers = OFF",
		       e);
}

static int connect(struct devdb **out, const char *path, unsigned flags, const char *vfs,
		   int busy_ms, struct err *e)
{
	struct devdb *d = calloc(1, sizeof *d);
	int rc;

	if (!d)
		return err_set(e, NE_MEMORY, "no memory to open %s", path);
	d->schema.max = SCHEMA_BYTES;
	rc = db_open(&d->db, path, DB_KEEP_JOURNAL | DB_TRIGGERS_OFF | DB_SYNC_FULL | flags, vfs,
		     busy_ms, e);
	if (!rc)
		rc = configure(d, e);
	if (rc) {
		devdb_close(d);
		return rc;
	}
	*out = d;
	return NE_OK;
}

static int is_initialised(struct devdb *d, bool *out, struct err *e)
{
	int64_t n;

	TRY(db_int(d->db,
		   "SELECT count(*) FROM main.sqlite_schema WHERE name = 'neap_meta' AND type = "
		   "'table'",
		   0, &n, e));
	*out = n > 0;
	return NE_OK;
}

static int load(struct devdb *d, const char *path, struct err *e)
{
	int64_t format, site;
	bool ours;

	TRY(is_initialised(d, &ours, e));
	if (!ours)
		return err_set(e, NE_NOT_FOUND,
			       "%s is not bound to a user yet: run `neap init` on it first", path);
	TRY(devdb_get(d, "format", &format, e));
	if (format > DEVDB_FORMAT)
		return err_set(e, NE_USAGE,
			       "%s was written by a newer Neap (format %" PRId64
			       ", this one knows %d): use the newer program",
			       path, format, DEVDB_FORMAT);
	TRY(devdb_get(d, "site", &site, e));
	if (format < 1 || site < 1)
		return err_set(e, NE_CORRUPT, "%s: its table neap_meta is damaged", path);
	d->site = (uint64_t)site;
	TRY(get_id(d, "user", &d->user, e));
	TRY(get_id(d, "device", &d->device, e));
	return devdb_reload(d, e);
}

int devdb_open(struct devdb **out, const char *path, const char *vfs, struct err *e)
{
	return devdb_open_busy(out, path, vfs, BUSY_MS, e);
}

int devdb_open_busy(struct devdb **out, const char *path, const char *vfs, int busy_ms,
		    struct err *e)
{
	struct devdb *d = NULL;
	int rc;

	TRY(connect(&d, path, 0, vfs, busy_ms, e));
	rc = load(d, path, e);
	if (rc) {
		devdb_close(d);
		return rc;
	}
	*out = d;
	return NE_OK;
}

void devdb_close(struct devdb *d)
{
	if (!d)
		return;
	db_close(d->db);
	arena_free(&d->schema);
	buf_free(&d->retried.key);
	free(d->table);
	free(d);
}

static int same_user(struct devdb *d, const char *path, const struct id *user, struct err *e)
{
	struct id bound;

	TRY(get_id(d, "user", &bound, e));
	if (!slice_eq(id_slice(&bound), id_slice(user)))
		return err_set(e, NE_EXISTS, "%s is bound to user %s: use another file for user %s",
			       path, bound.at, user->at);
	return NE_OK;
}

static int bind_new(struct devdb *d, const struct id *user, uint64_t site, struct err *e)
{
	TRY(db_exec(d->db, schema_sql, e));
	TRY(db_exec(d->db, conflict_schema_sql, e));
	TRY(devdb_set(d, "format", DEVDB_FORMAT, e));
	TRY(devdb_set(d, "site", (int64_t)site, e));
	return devdb_set_text(d, "user", id_slice(user), e);
}

static int bind(struct devdb *d, const char *path, const struct id *user, const struct id *device,
		uint64_t site, struct err *e)
{
	bool ours;

	TRY(is_initialised(d, &ours, e));
	if (ours)
		TRY(same_user(d, path, user, e));
	else
		TRY(bind_new(d, user, site, e));
	return devdb_set_text(d, "device", id_slice(device), e);
}

/* A file that is new gets the journal that lets the app read while we write. */
static int suggest_wal(struct devdb *d, struct err *e)
{
	int64_t pages;

	TRY(db_int(d->db, "PRAGMA page_count", 0, &pages, e));
	return pages ? NE_OK : db_exec(d->db, "PRAGMA journal_mode = WAL", e);
}

int devdb_init(const char *path, const char *vfs, const char *user, const char *device,
	       uint64_t site, struct err *e)
{
	struct id user_id, device_id;
	struct devdb *d = NULL;
	int rc;

	if (site < 1 || site > INT64_MAX)
		return err_set(e, NE_USAGE, "a site id is 1 to 2^63-1");
	TRY(id_set(&user_id, slice_str(user), "user", e));
	TRY(id_set(&device_id, slice_str(device), "device", e));
	TRY(connect(&d, path, DB_CREATE, vfs, BUSY_MS, e));
	rc = suggest_wal(d, e);
	if (!rc)
		rc = devdb_begin(d, e);
	if (!rc)
		rc = bind(d, path, &user_id, &device_id, site, e);
	if (!rc)
		rc = devdb_commit(d, e);
	if (rc)
		devdb_rollback(d);
	devdb_close(d);
	return rc;
}

int devdb_clock(struct devdb *d, struct dev_clock *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(d->db, "SELECT offset_ms, floor, gen FROM neap_clock", &s, e));
	TRY(db_step(d->db, s, &row, e));
	if (row)
		*out = (struct dev_clock){.offset_ms = sqlite3_column_int64(s, 0),
					  .floor = (uint64_t)sqlite3_column_int64(s, 1),
					  .gen = sqlite3_column_int64(s, 2)};
	sqlite3_reset(s);
	return row ? NE_OK : err_set(e, NE_CORRUPT, "the table neap_clock is empty");
}

int devdb_raise_floor(struct devdb *d, uint64_t stamp, struct err *e)
{
	sqlite3_stmt *s;

	if (d->broken.no_floor)
		return NE_OK;
	if (stamp > INT64_MAX)
		stamp = INT64_MAX;
	TRY(db_prepare(d->db,
		       "UPDATE neap_clock SET heard = max(heard, ?1), floor = max(floor, ?1) "
		       "WHERE heard < ?1",
		       &s, e));
	sqlite3_bind_int64(s, 1, (int64_t)stamp);
	return db_run(d->db, s, e);
}

/* True if stamps were cut that the corrected clock says the server cannot have let in. */
static int was_ahead(struct devdb *d, int64_t offset_ms, bool *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(
		d->db,
		"SELECT floor > heard AND floor >> 16 > ?1 + CAST((julianday('now') - 2440587.5)"
		" * 86400000.0 + 0.5 AS INTEGER) AND NOT EXISTS(SELECT 1 FROM neap_inflight) "
		"FROM neap_clock",
		&s, e));
	sqlite3_bind_int64(s, 1, offset_ms + AHEAD_MS);
	TRY(db_step(d->db, s, &row, e));
	*out = row && sqlite3_column_int(s, 0);
	sqlite3_reset(s);
	return NE_OK;
}

/* Moves every mark above the floor by the clock's correction, not above now nor to the floor. */
static int restamp(struct devdb *d, int64_t by_ms, struct err *e)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (d->table[i].shape.kind != SHAPE_MERGE)
			continue;
		TRY(db_execf(
			d->db, e,
			"UPDATE \"%s\" AS m SET stamp = max(c.floor + 1, min(m.stamp + %" PRId64
			", max(c.floor + 1, (CAST((julianday('now') - 2440587.5) * 86400000.0 + "
			"0.5 AS INTEGER) + c.offset_ms) << 16))) FROM neap_clock AS c WHERE "
			"m.stamp > c.floor OR %d",
			d->table[i].marks, by_ms * 65536, d->broken.restamp_cut));
	}
	return NE_OK;
}

static int set_offset(struct devdb *d, int64_t offset_ms, struct err *e)
{
	struct dev_clock clock;
	bool ahead;

	TRY(devdb_clock(d, &clock, e));
	TRY(was_ahead(d, offset_ms, &ahead, e));
	if (ahead)
		TRY(db_exec(d->db, "UPDATE neap_clock SET floor = heard", e));
	TRY(db_execf(d->db, e, "UPDATE neap_clock SET offset_ms = %" PRId64, offset_ms));
	return restamp(d, offset_ms - clock.offset_ms, e);
}

int devdb_set_offset(struct devdb *d, int64_t offset_ms, struct err *e)
{
	const int64_t bound = (int64_t)1
			      << 46; /* differences of two and their stamps fit 64 bits */
	int rc;

	if (offset_ms > bound || offset_ms < -bound)
		return err_set(e, NE_USAGE, "a clock offset of %" PRId64 " ms cannot be",
			       offset_ms);
	if (!sqlite3_get_autocommit(db_handle(d->db)))
		return set_offset(d, offset_ms, e);
	TRY(devdb_begin(d, e));
	rc = set_offset(d, offset_ms, e);
	if (!rc)
		rc = devdb_commit(d, e);
	if (rc)
		devdb_rollback(d);
	return rc;
}
