/* Writes that lost, kept for a person (J7): the oldest of a user go at a bound or an age. */
#include <string.h>

#include "backend/core/store_sqlite.h"
#include "protocol/conflict.h"
#include "protocol/topic.h"

/*
 * n counts a user's records, upto their bytes, both rising: so what a user has is known from the
 * first and the last one. The columns up to at_ms are for people.
 */
const char store_conflict_sql[] =
	"CREATE TABLE neap_conflict(id INTEGER PRIMARY KEY, user_id TEXT NOT NULL,"
	" device_id TEXT NOT NULL, table_name TEXT NOT NULL, row_key TEXT NOT NULL,"
	" column_name TEXT, value, stamp INTEGER NOT NULL, site INTEGER NOT NULL,"
	" won_stamp INTEGER NOT NULL, won_site INTEGER NOT NULL, won_device TEXT,"
	" why TEXT NOT NULL, at_ms INTEGER NOT NULL, uid INTEGER NOT NULL, n INTEGER NOT NULL,"
	" upto INTEGER NOT NULL, bytes INTEGER NOT NULL, digest BLOB NOT NULL,"
	" UNIQUE(uid, n), UNIQUE(uid, digest));";

enum { OVERHEAD_BYTES = 256 /* of a record, beside its texts and value */ };

/* The first (or last) record's n, upto and bytes; all 0 if there is none. */
struct edge {
	int64_t n, upto, bytes;
};

static int edge_of(struct store *s, const struct store_user *u, bool last, struct edge *out,
		   struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	TRY(db_prepare(s->db,
		       last ? "SELECT n, upto, bytes FROM neap_conflict WHERE uid = ? ORDER BY n "
			      "DESC LIMIT 1"
			    : "SELECT n, upto, bytes FROM neap_conflict WHERE uid = ? ORDER BY n "
			      "LIMIT 1",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(db_step(s->db, st, &row, e));
	*out = (struct edge){0};
	if (row)
		*out = (struct edge){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
				     sqlite3_column_int64(st, 2)};
	sqlite3_reset(st);
	return 0;
}

/* Whose write won; empty where that is not known. */
static int winner(struct store *s, const struct store_user *u, const struct lost_value *l,
		  struct id *out, struct err *e)
{
	struct store_site site;
	bool found = false;

	*out = (struct id){""};
	if (l->won.site == SITE_SERVER && l->won.stamp)
		*out = (struct id){TOPIC_ORIGIN_SERVER};
	if (l->won.site == SITE_SERVER)
		return 0;
	TRY(store_site_get(s, u, l->won.site, &site, &found, e));
	if (found)
		*out = site.device;
	return 0;
}

static int bind_slice(struct store *s, sqlite3_stmt *st, int at, struct slice v, struct err *e)
{
	return sqlite3_bind_text64(st, at, v.len ? (const char *)v.at : "", v.len, SQLITE_STATIC,
				   SQLITE_UTF8)
		       ? db_error(s->db, e, "binding a text")
		       : 0;
}

static int bind_optional(struct store *s, sqlite3_stmt *st, int at, struct slice v, struct err *e)
{
	return v.len ? bind_slice(s, st, at, v, e) : 0; /* unbound is NULL */
}

static int bind_lost(struct store *s, sqlite3_stmt *st, const struct lost_value *l,
		     const struct val *value, struct err *e)
{
	TRY(bind_slice(s, st, 3, l->table, e));
	TRY(bind_slice(s, st, 4, l->key, e));
	TRY(bind_optional(s, st, 5, l->column, e));
	TRY(bind_vals(s, st, 6, value, 1, e));
	TRY(bind_int(s, st, 7, l->reg.stamp, e));
	TRY(bind_int(s, st, 8, l->reg.site, e));
	TRY(bind_int(s, st, 9, l->won.stamp, e));
	TRY(bind_int(s, st, 10, l->won.site, e));
	return bind_slice(s, st, 12, l->why, e);
}

static int64_t bytes_of(const struct lost_value *l, const struct val *value)
{
	return (int64_t)(OVERHEAD_BYTES + l->table.len + l->key.len + l->column.len + l->why.len +
			 val_size(value));
}

int store_conflict_add(struct store *s, const struct store_user *u, const char *device,
		       const struct lost_value *l, const struct val *value, uint64_t now_ms,
		       struct err *e)
{
	uint8_t digest[CONFLICT_DIGEST];
	struct edge last;
	struct id won;
	sqlite3_stmt *st;

	int rc = conflict_digest(l, digest);
	if (rc)
		return err_set(e, rc, "no memory to note a conflict");
	TRY(edge_of(s, u, true, &last, e));
	TRY(winner(s, u, l, &won, e));
	TRY(db_prepare(s->db,
		       "INSERT INTO neap_conflict(user_id, device_id, table_name, row_key,"
		       " column_name, value, stamp, site, won_stamp, won_site, won_device, why,"
		       " at_ms, uid, n, upto, bytes, digest)"
		       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,"
		       " ?16, ?17, ?18) ON CONFLICT(uid, digest) DO NOTHING",
		       &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_text(s, st, 2, device, e));
	TRY(bind_lost(s, st, l, value, e));
	TRY(bind_optional(s, st, 11, slice_str(won.at), e));
	TRY(bind_int(s, st, 13, now_ms, e));
	TRY(bind_int(s, st, 14, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 15, (uint64_t)(last.n + 1), e));
	TRY(bind_int(s, st, 16, (uint64_t)(last.upto + bytes_of(l, value)), e));
	TRY(bind_int(s, st, 17, (uint64_t)bytes_of(l, value), e));
	if (sqlite3_bind_blob(st, 18, digest, sizeof digest, SQLITE_STATIC))
		return db_error(s->db, e, "binding a digest");
	return db_run(s->db, st, e);
}

static int drop_first(struct store *s, const struct store_user *u, int64_t n, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "DELETE FROM neap_conflict WHERE uid = ? AND n = ?", &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)n, e));
	return db_run(s->db, st, e);
}

int store_conflict_trim(struct store *s, const struct store_user *u, uint64_t records,
			uint64_t bytes, struct err *e)
{
	struct edge first, last;

	TRY(edge_of(s, u, true, &last, e));
	for (;;) {
		TRY(edge_of(s, u, false, &first, e));
		uint64_t n = (uint64_t)(last.n - first.n) + 1;
		uint64_t held = (uint64_t)(last.upto - first.upto + first.bytes);
		if (first.n == 0 || (n <= records && held <= bytes))
			return 0;
		TRY(drop_first(s, u, first.n, e));
	}
}

int store_conflict_expire(struct store *s, uint64_t before_ms, size_t max, struct err *e)
{
	sqlite3_stmt *st;
	bool row = true;

	for (size_t i = 0; i < max; i++) {
		TRY(db_prepare(s->db, "SELECT id, at_ms FROM neap_conflict ORDER BY id LIMIT 1",
			       &st, e));
		TRY(db_step(s->db, st, &row, e));
		uint64_t id = row ? column_u64(st, 0) : 0;
		bool old = row && column_u64(st, 1) < before_ms;
		sqlite3_reset(st);
		if (!old)
			return 0;
		TRY(db_prepare(s->db, "DELETE FROM neap_conflict WHERE id = ?", &st, e));
		TRY(bind_int(s, st, 1, id, e));
		TRY(db_run(s->db, st, e));
	}
	return 0;
}

static struct slice text_of(sqlite3_stmt *st, int col)
{
	const void *at = sqlite3_column_text(st, col);

	return slice_of(at, at ? (size_t)sqlite3_column_bytes(st, col) : 0);
}

static struct store_conflict read_conflict(sqlite3_stmt *st)
{
	return (struct store_conflict){
		.id = sqlite3_column_int64(st, 0),
		.user = column_id(st, 1),
		.device = column_id(st, 2),
		.lost = {.table = text_of(st, 3),
			 .key = text_of(st, 4),
			 .column = text_of(st, 5),
			 .reg = {column_u64(st, 7), column_u64(st, 8)},
			 .won = {column_u64(st, 9), column_u64(st, 10)},
			 .why = text_of(st, 12)},
		.value = val_column(st, 6),
		.won_device = column_id(st, 11),
		.at_ms = column_u64(st, 13),
	};
}

int store_each_conflict(struct store *s, const struct store_conflict_query *q,
			int (*fn)(void *ctx, const struct store_conflict *c), void *ctx,
			struct err *e)
{
	sqlite3_stmt *st;
	bool row;
	int rc = 0;

	TRY(db_prepare(s->db,
		       q->user ? "SELECT id, user_id, device_id, table_name, row_key, column_name,"
				 " value, stamp, site, won_stamp, won_site, won_device, why, at_ms"
				 " FROM neap_conflict WHERE id < ?1 AND at_ms >= ?2"
				 " AND uid = (SELECT uid FROM neap_user WHERE name = ?4)"
				 " ORDER BY n DESC LIMIT ?3"
			       : "SELECT id, user_id, device_id, table_name, row_key, column_name,"
				 " value, stamp, site, won_stamp, won_site, won_device, why, at_ms"
				 " FROM neap_conflict WHERE id < ?1 AND at_ms >= ?2"
				 " ORDER BY id DESC LIMIT ?3",
		       &st, e));
	TRY(bind_int(s, st, 1, q->before_id ? (uint64_t)q->before_id : INT64_MAX, e));
	TRY(bind_int(s, st, 2, q->since_ms, e));
	TRY(bind_int(s, st, 3, q->max, e));
	if (q->user)
		TRY(bind_text(s, st, 4, q->user, e));
	while (!rc) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		struct store_conflict c = read_conflict(st);
		rc = fn(ctx, &c);
	}
	sqlite3_reset(st);
	return rc;
}
