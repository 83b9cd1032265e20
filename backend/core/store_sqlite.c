#include "backend/core/store_sqlite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { STORE_FORMAT = 3 };

static const char schema_sql[] =
	"CREATE TABLE neap_meta(key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;"
	/* busy: what the transaction under way writes is ingest's own, not an operator's. */
	"CREATE TABLE neap_flag(id INTEGER PRIMARY KEY CHECK(id = 1), busy INTEGER NOT NULL);"
	"INSERT INTO neap_flag VALUES(1, 0);"
	/* Rows that an operator wrote without a key, since they were last counted. */
	"CREATE TABLE neap_unsent(tab INTEGER PRIMARY KEY, n INTEGER NOT NULL);"
	"CREATE TABLE neap_term(ord INTEGER PRIMARY KEY, term INTEGER NOT NULL UNIQUE);"
	"CREATE TABLE neap_user(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
	" head INTEGER NOT NULL DEFAULT 0, gc_seq INTEGER NOT NULL DEFAULT 0,"
	" last_term INTEGER NOT NULL DEFAULT 0);"
	/* The user's first seq in a term; no row: it committed nothing in that term. */
	"CREATE TABLE neap_term_first(uid INTEGER, ord INTEGER, first INTEGER NOT NULL,"
	" PRIMARY KEY(uid, ord)) WITHOUT ROWID;"
	"CREATE TABLE neap_site(id INTEGER PRIMARY KEY, uid INTEGER NOT NULL,"
	" site INTEGER NOT NULL, device TEXT NOT NULL, number INTEGER NOT NULL DEFAULT 0,"
	" cut INTEGER NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0,"
	" sets INTEGER NOT NULL DEFAULT 0, noted INTEGER NOT NULL DEFAULT 0,"
	" rows INTEGER NOT NULL DEFAULT 0, seen_ms INTEGER NOT NULL DEFAULT 0,"
	" UNIQUE(uid, site));"
	/* A ring of the newest sets of each site. */
	"CREATE TABLE neap_cut(site INTEGER, slot INTEGER, number INTEGER NOT NULL,"
	" cut INTEGER NOT NULL, own INTEGER NOT NULL, PRIMARY KEY(site, slot)) WITHOUT ROWID;"
	"CREATE TABLE neap_table(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE,"
	" shape BLOB NOT NULL);"
	"CREATE TABLE neap_shape(id BLOB PRIMARY KEY, tab INTEGER NOT NULL, shape BLOB NOT NULL)"
	" WITHOUT ROWID;"
	"CREATE TABLE neap_user_table(uid INTEGER, tab INTEGER, PRIMARY KEY(uid, tab))"
	" WITHOUT ROWID;"
	/* The table's UNIQUE constraints: pairs of column and collation, a byte each. */
	"CREATE TABLE neap_unique(tab INTEGER, n INTEGER, def BLOB NOT NULL, PRIMARY KEY(tab, n))"
	" WITHOUT ROWID;"
	/* Which devices of a user declare a shape that has any. */
	"CREATE TABLE neap_declares(uid INTEGER, tab INTEGER, shape BLOB, device TEXT,"
	" seen_ms INTEGER NOT NULL, PRIMARY KEY(uid, tab, shape, device)) WITHOUT ROWID;"
	"CREATE INDEX neap_declares_device ON neap_declares(uid, device);"
	/* Who may write a table; no row: both. */
	"CREATE TABLE neap_from(tab INTEGER PRIMARY KEY, origin INTEGER NOT NULL);"
	/* Identities of append rows received: lo … hi, n of them. */
	"CREATE TABLE neap_range(tab INTEGER, site INTEGER, gen INTEGER, lo INTEGER,"
	" hi INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(tab, site, gen, lo)) WITHOUT ROWID;"
	/* What those with numbers from lo on said: 4 bytes a row. */
	"CREATE TABLE neap_content(tab INTEGER, site INTEGER, gen INTEGER, lo INTEGER,"
	" day INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(tab, site, gen, lo)) WITHOUT ROWID;"
	"CREATE INDEX neap_content_day ON neap_content(day);";

int meta_get(struct store *s, const char *key, int64_t none, int64_t *out, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	TRY(db_prepare(s->db, "SELECT value FROM neap_meta WHERE key = ?", &st, e));
	TRY(bind_text(s, st, 1, key, e));
	TRY(db_step(s->db, st, &row, e));
	*out = row ? sqlite3_column_int64(st, 0) : none;
	sqlite3_reset(st);
	return 0;
}

int meta_set(struct store *s, const char *key, int64_t value, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_meta(key, value) VALUES(?1, ?2)"
		       " ON CONFLICT(key) DO UPDATE SET value = ?2",
		       &st, e));
	TRY(bind_text(s, st, 1, key, e));
	TRY(bind_int(s, st, 2, (uint64_t)value, e));
	return db_run(s->db, st, e);
}

int bind_int(struct store *s, sqlite3_stmt *st, int at, uint64_t v, struct err *e)
{
	return sqlite3_bind_int64(st, at, (int64_t)v) ? db_error(s->db, e, "binding a number") : 0;
}

int bind_text(struct store *s, sqlite3_stmt *st, int at, const char *v, struct err *e)
{
	return sqlite3_bind_text(st, at, v, -1, SQLITE_STATIC)
		       ? db_error(s->db, e, "binding a text")
		       : 0;
}

int bind_vals(struct store *s, sqlite3_stmt *st, int at, const struct val *v, size_t n,
	      struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (val_bind(st, at + (int)i, &v[i]))
			return db_error(s->db, e, "binding a value");
	return 0;
}

struct id column_id(sqlite3_stmt *st, int col)
{
	struct id id = {""};
	const unsigned char *text = sqlite3_column_text(st, col);
	size_t len = (size_t)sqlite3_column_bytes(st, col);

	if (text && len <= LIMIT_ID)
		memcpy(id.at, text, len);
	return id;
}

static int random_id(const struct store_config *c, uint64_t *out, struct err *e)
{
	if (!c->random)
		return err_set(e, NE_USAGE, "a new store needs a source of random numbers");
	do {
		c->random(c->random_ctx, out, sizeof *out);
		*out >>= 1;
	} while (*out == 0);
	return 0;
}

static int create(struct store *s, const struct store_config *c, struct err *e)
{
	uint64_t id;

	TRY(random_id(c, &id, e));
	TRY(db_exec(s->db, schema_sql, e));
	TRY(db_exec(s->db, store_conflict_sql, e));
	TRY(db_exec(s->db, store_usage_sql, e));
	TRY(meta_set(s, "store", (int64_t)id, e));
	return meta_set(s, "format", STORE_FORMAT, e);
}

/* Whether the file has anything in it, and whether it is ours. */
static int create_if_new(struct store *s, const struct store_config *c, struct err *e)
{
	int64_t tables, ours;
	int rc;

	TRY(db_int(s->db, "SELECT count(*) FROM sqlite_master", 0, &tables, e));
	TRY(db_int(s->db, "SELECT count(*) FROM sqlite_master WHERE name = 'neap_meta'", 0, &ours,
		   e));
	if (ours)
		return 0;
	if (tables)
		return err_set(e, NE_CORRUPT, "%s is a database but not a store of neapd", c->path);
	if (c->existing)
		return err_set(e, NE_NOT_FOUND, "%s is empty: start neapd on it first", c->path);
	TRY(db_exec(s->db, "BEGIN IMMEDIATE", e));
	TRY(db_int(s->db, "SELECT count(*) FROM sqlite_master WHERE name = 'neap_meta'", 0, &ours,
		   e));
	rc = ours ? 0 : create(s, c, e);
	if (!rc)
		rc = db_exec(s->db, "COMMIT", e);
	if (rc)
		store_rollback(s);
	return rc;
}

/*
 * Savepoints and triggers keep a journal of each statement: in memory, as files they took a third
 * of the time. The cache holds what one step touches, so that pages are written once.
 */
static const char tuning_sql[] = "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384";

static int load(struct store *s, const struct store_config *c, struct err *e)
{
	int64_t format, id, issued;

	TRY(db_exec(s->db, tuning_sql, e));
	TRY(usage_functions(s, e));
	TRY(create_if_new(s, c, e));
	TRY(meta_get(s, "format", 0, &format, e));
	if (format != STORE_FORMAT)
		return err_set(e, NE_CORRUPT,
			       "%s has store format %lld, this neapd knows %d: use a newer neapd",
			       c->path, (long long)format, STORE_FORMAT);
	TRY(meta_get(s, "store", 0, &id, e));
	TRY(meta_get(s, "issued", 0, &issued, e));
	s->id = (uint64_t)id;
	s->issued = (uint64_t)issued;
	TRY(meta_get(s, "policies", 0, &s->policies, e));
	TRY(catalogue_load(s, e));
	return catalogue_find_missing(s, e);
}

int store_open(struct store **out, const struct store_config *c, struct err *e)
{
	struct store *s = calloc(1, sizeof *s);
	unsigned flags = DB_SYNC_FULL | (c->existing ? 0 : DB_CREATE);
	int rc;

	if (!s)
		return err_set(e, NE_MEMORY, "no memory to open %s", c->path);
	s->broken = c->broken;
	s->look = s->recount.look = true;
	s->triggers_version = s->schema_version = -1;
	rc = db_open(&s->db, c->path, flags, c->vfs, c->busy_ms ? c->busy_ms : 5000, e);
	if (!rc)
		rc = load(s, c, e);
	if (!rc && s->broken.ack_unsynced)
		rc = db_exec(s->db, "PRAGMA synchronous = OFF", e);
	if (rc) {
		store_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->in_tx)
		store_rollback(s);
	recount_stop(s);
	catalogue_free(&s->cat);
	db_close(s->db);
	free(s->usage.at);
	free(s);
}

uint64_t store_id(const struct store *s)
{
	return s->id;
}

uint64_t store_term(const struct store *s)
{
	return s->term;
}

uint64_t store_issued(const struct store *s)
{
	return s->issued;
}

int store_set_issued(struct store *s, uint64_t stamp, struct err *e)
{
	if (stamp <= s->issued)
		return 0;
	TRY(meta_set(s, "issued", (int64_t)stamp, e));
	s->issued = stamp;
	return 0;
}

static int add_term(struct store *s, uint64_t term, int64_t *ord, int64_t *prev, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_int(s->db, "SELECT term FROM neap_term ORDER BY ord DESC LIMIT 1", 0, prev, e));
	TRY(db_prepare(s->db, "INSERT INTO neap_term(term) VALUES(?)", &st, e));
	TRY(bind_int(s, st, 1, term, e));
	TRY(db_run(s->db, st, e));
	*ord = sqlite3_last_insert_rowid(db_handle(s->db));
	return 0;
}

uint64_t store_previous_term(const struct store *s)
{
	return s->prev_term;
}

int store_take_term(struct store *s, uint64_t term, struct err *e)
{
	int64_t ord = 0, prev = 0;

	assert(term && term <= INT64_MAX && !s->in_tx);
	TRY(db_exec(s->db, "BEGIN IMMEDIATE", e));
	s->in_tx = true;
	int rc = add_term(s, term, &ord, &prev, e);
	if (!rc)
		rc = usage_count_dead(s, e);
	if (!rc)
		rc = db_exec(s->db, store_site_sql, e);
	if (rc) {
		store_rollback(s);
		return rc;
	}
	TRY(store_commit(s, e));
	s->term = term;
	s->term_ord = ord;
	s->prev_term = (uint64_t)prev;
	return 0;
}

static int still_ours(struct store *s, struct err *e)
{
	int64_t newest;

	TRY(db_int(s->db, "SELECT max(ord) FROM neap_term", 0, &newest, e));
	if (newest != s->term_ord)
		return err_set(e, NE_LOCKED,
			       "another neapd has taken over this store: only one may run on it");
	return 0;
}

int store_begin(struct store *s, struct err *e)
{
	assert(!s->in_tx);
	TRY(db_exec(s->db, "BEGIN IMMEDIATE", e));
	s->in_tx = true;
	s->hidden = false;
	int rc = s->term ? still_ours(s, e) : 0;
	if (rc)
		store_rollback(s);
	return rc;
}

/*
 * Our capture need not run for ingest's own writes, which is a third of their cost; an operator's
 * own triggers must. So triggers are off on this connection while only ours exist.
 */
static int choose_triggers(struct store *s, struct err *e)
{
	int64_t version, others;

	TRY(db_int(s->db, "PRAGMA schema_version", 0, &version, e));
	if (version == s->triggers_version)
		return 0;
	TRY(db_int(s->db,
		   "SELECT count(*) FROM sqlite_master"
		   " WHERE type = 'trigger' AND name NOT GLOB 'neap_m[0-9]*'",
		   0, &others, e));
	s->triggers_off = others == 0;
	sqlite3_db_config(db_handle(s->db), SQLITE_DBCONFIG_ENABLE_TRIGGER, !s->triggers_off, NULL);
	s->triggers_version = version;
	return 0;
}

int store_hide(struct store *s, struct err *e)
{
	assert(s->in_tx);
	TRY(choose_triggers(s, e));
	if (s->hidden || s->triggers_off)
		return 0;
	TRY(db_exec(s->db, "UPDATE neap_flag SET busy = 1", e));
	s->hidden = true;
	return 0;
}

int store_commit(struct store *s, struct err *e)
{
	int rc = 0;

	assert(s->in_tx);
	rc = usage_flush(s, e);
	if (!rc && s->hidden)
		rc = db_exec(s->db, "UPDATE neap_flag SET busy = 0", e);
	if (!rc)
		rc = db_exec(s->db, "COMMIT", e);
	if (rc) {
		store_rollback(s);
		return rc;
	}
	s->in_tx = s->hidden = s->catalogue_stale = false;
	s->rolled = (struct rolled){.n = 0};
	return 0;
}

static void reread(struct store *s)
{
	int64_t issued;

	if (!meta_get(s, "issued", 0, &issued, NULL))
		s->issued = (uint64_t)issued;
	if (s->catalogue_stale && !catalogue_load(s, NULL))
		s->catalogue_stale = false;
}

void store_rollback(struct store *s)
{
	/* SQLite may have rolled back by itself (disk full, I/O error). */
	if (!sqlite3_get_autocommit(db_handle(s->db)))
		sqlite3_exec(db_handle(s->db), "ROLLBACK", NULL, NULL, NULL);
	s->in_tx = s->hidden = false;
	s->usage.n = s->usage.mark = 0;
	s->look = s->recount.look = true;
	/* Triggers made in this transaction are gone again, and its versions come anew. */
	s->schema_version = s->triggers_version = -1;
	reread(s);
}

bool store_ended(const struct store *s)
{
	return s->in_tx && sqlite3_get_autocommit(db_handle(s->db));
}

int store_savepoint(struct store *s, struct err *e)
{
	sqlite3_stmt *st;

	assert(s->in_tx);
	s->usage.mark = s->usage.n;
	TRY(db_prepare(s->db, "SAVEPOINT one", &st, e));
	return db_run(s->db, st, e);
}

int store_keep(struct store *s, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "RELEASE one", &st, e));
	return db_run(s->db, st, e);
}

int store_undo(struct store *s, struct err *e)
{
	sqlite3_stmt *st;

	s->usage.n = s->usage.mark;
	TRY(db_prepare(s->db, "ROLLBACK TO one", &st, e));
	TRY(db_run(s->db, st, e));
	TRY(store_keep(s, e));
	if (s->catalogue_stale)
		TRY(catalogue_load(s, e));
	return 0;
}

static int look_for_writes(struct store *s, int64_t *version, bool *any, struct err *e)
{
	TRY(db_int(s->db, "PRAGMA data_version", 0, version, e));
	*any = s->look || *version != s->data_version;
	return 0;
}

int store_foreign_pending(struct store *s, bool *any, struct err *e)
{
	int64_t version;

	return look_for_writes(s, &version, any, e);
}

int store_foreign_writes(struct store *s, bool *any, struct err *e)
{
	int64_t version;

	TRY(look_for_writes(s, &version, any, e));
	s->data_version = version;
	s->look = false;
	return 0;
}
