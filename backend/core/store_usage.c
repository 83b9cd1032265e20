/*
 * What a user's rows take: counted by (user, table) in neap_usage, with the cost of the writes, not
 * of the rows. While only our triggers exist they are off on this connection, and what a
 * transaction changes is added up here and stored at its end; where an operator has triggers of his
 * own, and for his SQL, triggers (neap_m<id>_q…) count. What these cannot see, a row that REPLACE
 * displaces, is noted, and counted anew before anything is refused for it.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 256 * 1024 };

const char store_usage_sql[] =
	"CREATE TABLE neap_usage(user TEXT, tab INTEGER, rows INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, replaced INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(user, tab))"
	" WITHOUT ROWID;"
	/* NULL: as configured; -1: no limit. */
	"CREATE TABLE neap_quota(user TEXT PRIMARY KEY, rows INTEGER, bytes INTEGER)"
	" WITHOUT ROWID;";

size_t usage_size(const struct val *v)
{
	size_t size = val_size(v);

	return size < 8 ? 8 : size;
}

static int64_t sql_size(sqlite3_value *v)
{
	int type = sqlite3_value_type(v);
	int len = type == SQLITE_TEXT || type == SQLITE_BLOB ? sqlite3_value_bytes(v) : 0;

	return len < 8 ? 8 : len;
}

/* neap_change(old, new): new, and counts the difference. */
static void sql_change(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	struct store *s = sqlite3_user_data(ctx);

	(void)n;
	s->usage.value += sql_size(v[1]) - sql_size(v[0]);
	sqlite3_result_value(ctx, v[1]);
}

/* neap_gone(size): counts a row less. */
static void sql_gone(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	struct store *s = sqlite3_user_data(ctx);

	(void)n;
	s->usage.value -= sqlite3_value_int64(v[0]);
	sqlite3_result_null(ctx);
}

/* neap_was(state, regs, new state, key…): the new state; counts what a key took that was no row. */
static void sql_was(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	struct store *s = sqlite3_user_data(ctx);

	s->usage.key_bytes = 0;
	for (int i = 3; i < n; i++)
		s->usage.key_bytes += sql_size(v[i]);
	if (!(sqlite3_value_int64(v[0]) & 1)) {
		s->usage.dead--;
		s->usage.dead_bytes -= s->usage.key_bytes + sqlite3_value_bytes(v[1]);
	}
	sqlite3_result_value(ctx, v[2]);
}

/* neap_spelt(state, old, new): new, part of a key; counts the difference where it is no row. */
static void sql_spelt(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	struct store *s = sqlite3_user_data(ctx);

	(void)n;
	if (!(sqlite3_value_int64(v[0]) & 1))
		s->usage.dead_bytes += sql_size(v[2]) - sql_size(v[1]);
	sqlite3_result_value(ctx, v[2]);
}

/* neap_size(value): what it counts. */
static void sql_size_of(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	(void)n;
	sqlite3_result_int64(ctx, sql_size(v[0]));
}

int usage_functions(struct store *s, struct err *e)
{
	const int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
	sqlite3 *db = db_handle(s->db);

	if (sqlite3_create_function(db, "neap_change", 2, flags, s, sql_change, NULL, NULL) ||
	    sqlite3_create_function(db, "neap_gone", 1, flags, s, sql_gone, NULL, NULL) ||
	    sqlite3_create_function(db, "neap_was", -1, flags, s, sql_was, NULL, NULL) ||
	    sqlite3_create_function(db, "neap_spelt", 3, flags, s, sql_spelt, NULL, NULL) ||
	    sqlite3_create_function(db, "neap_size", 1, flags, s, sql_size_of, NULL, NULL))
		return db_error(s->db, e, "preparing to count rows");
	return 0;
}

/* A delete changes two counts, of the table and of its tombstones: the last two are looked at. */
static int note(struct store *s, int64_t uid, int64_t table, int64_t rows, int64_t bytes,
		struct err *e)
{
	struct usage *c = &s->usage;

	for (size_t i = c->n; i > c->mark && i + 2 > c->n; i--) {
		struct usage_change *last = &c->at[i - 1];
		if (last->uid == uid && last->table == table) {
			last->rows += rows;
			last->bytes += bytes;
			return 0;
		}
	}
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 256;
		struct usage_change *at = realloc(c->at, cap * sizeof *at);
		if (!at)
			return err_set(e, NE_MEMORY, "no memory to count rows");
		c->at = at;
		c->cap = cap;
	}
	c->at[c->n++] = (struct usage_change){uid, table, rows, bytes};
	return 0;
}

int usage_add(struct store *s, const struct store_user *u, const struct store_table *t,
	      int64_t rows, int64_t bytes, struct err *e)
{
	return s->triggers_off ? note(s, u->uid, t->id, rows, bytes, e) : 0; /* else they count */
}

int usage_dead(struct store *s, int64_t uid, const struct store_table *t, int64_t keys,
	       int64_t bytes, struct err *e)
{
	return keys || bytes ? note(s, uid, -t->id, keys, bytes, e) : 0;
}

static int flush_one(struct store *s, const struct usage_change *c, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_usage(user, tab, rows, bytes)"
		       " SELECT name, ?2, ?3, ?4 FROM neap_user WHERE uid = ?1"
		       " ON CONFLICT(user, tab) DO UPDATE"
		       " SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)c->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)c->table, e));
	TRY(bind_int(s, st, 3, (uint64_t)c->rows, e));
	TRY(bind_int(s, st, 4, (uint64_t)c->bytes, e));
	return db_run(s->db, st, e);
}

int usage_flush(struct store *s, struct err *e)
{
	struct usage *c = &s->usage;

	for (size_t i = 0; i < c->n; i++) {
		struct usage_change sum = c->at[i];
		while (i + 1 < c->n && c->at[i + 1].uid == sum.uid &&
		       c->at[i + 1].table == sum.table) {
			sum.rows += c->at[++i].rows;
			sum.bytes += c->at[i].bytes;
		}
		if (sum.rows || sum.bytes)
			TRY(flush_one(s, &sum, e));
	}
	c->n = c->mark = 0;
	return 0;
}

static int read_usage(struct store *s, const char *user, struct store_usage *out, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	*out = (struct store_usage){0};
	TRY(db_prepare(s->db,
		       "SELECT sum(iif(tab > 0, rows, 0)), sum(iif(tab > 0, bytes, 0)),"
		       " max(replaced), sum(iif(tab < 0, rows, 0)), sum(iif(tab < 0, bytes, 0))"
		       " FROM neap_usage WHERE user = ?",
		       &st, e));
	TRY(bind_text(s, st, 1, user, e));
	TRY(db_step(s->db, st, &row, e));
	if (row)
		*out = (struct store_usage){.rows = sqlite3_column_int64(st, 0),
					    .bytes = sqlite3_column_int64(st, 1),
					    .replaced = sqlite3_column_int(st, 2) != 0,
					    .dead = sqlite3_column_int64(st, 3),
					    .dead_bytes = sqlite3_column_int64(st, 4)};
	sqlite3_reset(st);
	return 0;
}

int store_usage(struct store *s, const struct store_user *u, struct store_usage *out, struct err *e)
{
	TRY(read_usage(s, u->name.at, out, e));
	for (size_t i = 0; i < s->usage.n; i++) {
		const struct usage_change *c = &s->usage.at[i];
		if (c->uid != u->uid)
			continue;
		*(c->table > 0 ? &out->rows : &out->dead) += c->rows;
		*(c->table > 0 ? &out->bytes : &out->dead_bytes) += c->bytes;
	}
	return 0;
}

/* ---- quotas ---- */

static int64_t column_limit(sqlite3_stmt *st, int col)
{
	return sqlite3_column_type(st, col) == SQLITE_NULL ? STORE_QUOTA_DEFAULT
							   : sqlite3_column_int64(st, col);
}

int store_quota(struct store *s, const char *user, struct store_quota *out, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	*out = (struct store_quota){STORE_QUOTA_DEFAULT, STORE_QUOTA_DEFAULT};
	TRY(db_prepare(s->db, "SELECT rows, bytes FROM neap_quota WHERE user = ?", &st, e));
	TRY(bind_text(s, st, 1, user, e));
	TRY(db_step(s->db, st, &row, e));
	if (row)
		*out = (struct store_quota){column_limit(st, 0), column_limit(st, 1)};
	sqlite3_reset(st);
	return 0;
}

static int bind_limit(struct store *s, sqlite3_stmt *st, int at, int64_t limit, struct err *e)
{
	return limit == STORE_QUOTA_DEFAULT ? 0 : bind_int(s, st, at, (uint64_t)limit, e);
}

int store_set_quota(struct store *s, const char *user, const struct store_quota *q, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_quota(user, rows, bytes) VALUES(?1, ?2, ?3)"
		       " ON CONFLICT(user) DO UPDATE SET rows = ?2, bytes = ?3",
		       &st, e));
	sqlite3_clear_bindings(st);
	TRY(bind_text(s, st, 1, user, e));
	TRY(bind_limit(s, st, 2, q->rows, e));
	TRY(bind_limit(s, st, 3, q->bytes, e));
	return db_run(s->db, st, e);
}

int store_each_usage(struct store *s, const char *user,
		     int (*fn)(void *ctx, const struct store_user_usage *u), void *ctx,
		     struct err *e)
{
	sqlite3_stmt *st;
	bool row;
	int rc = 0;

	TRY(db_prepare(s->db,
		       "SELECT u.name, (SELECT sum(rows) FROM neap_usage WHERE user = u.name"
		       " AND tab > 0), (SELECT sum(bytes) FROM neap_usage WHERE user = u.name"
		       " AND tab > 0), q.rows, q.bytes"
		       " FROM neap_user u LEFT JOIN neap_quota q ON q.user = u.name"
		       " WHERE ?1 IS NULL OR u.name = ?1 ORDER BY u.name",
		       &st, e));
	sqlite3_clear_bindings(st);
	if (user)
		TRY(bind_text(s, st, 1, user, e));
	while (!rc) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		const struct store_user_usage u = {
			.user = column_id(st, 0),
			.rows = sqlite3_column_int64(st, 1),
			.bytes = sqlite3_column_int64(st, 2),
			.quota = {column_limit(st, 3), column_limit(st, 4)},
		};
		rc = fn(ctx, &u);
	}
	sqlite3_reset(st);
	return rc;
}

/* ---- counting anew ---- */

static int recount_sql(const struct store_table *t, bool one, struct buf *out)
{
	TRY(buf_printf(out,
		       "INSERT INTO neap_usage(user, tab, rows, bytes)"
		       " SELECT user_id, %lld, count(*), sum(",
		       (long long)t->id));
	TRY(table_sql_size(t, "", out));
	TRY(buf_printf(out, ") FROM "));
	TRY(sql_put_name(out, slice_str(t->name)));
	TRY(buf_printf(out, " WHERE %s GROUP BY user_id",
		       one ? "user_id = ?1" : "typeof(user_id) = 'text'"));
	return buf_terminate(out);
}

int usage_recount(struct store *s, const struct store_table *t, const char *user, struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "DELETE FROM neap_usage WHERE tab = ?1 AND (?2 IS NULL OR user = ?2)",
		       &st, e));
	sqlite3_clear_bindings(st);
	TRY(bind_int(s, st, 1, (uint64_t)t->id, e));
	if (user)
		TRY(bind_text(s, st, 2, user, e));
	TRY(db_run(s->db, st, e));
	int rc = recount_sql(t, user != NULL, &sql);
	if (rc)
		rc = err_set(e, rc, "no memory to count table %s", t->name);
	else
		rc = db_prepare(s->db, (const char *)sql.at, &st, e);
	buf_free(&sql);
	TRY(rc);
	if (user)
		TRY(bind_text(s, st, 1, user, e));
	return db_run(s->db, st, e);
}

int store_recount(struct store *s, const char *user, struct err *e)
{
	for (size_t i = 0; i < s->cat.n_table; i++)
		if (!s->cat.table[i]->missing)
			TRY(usage_recount(s, s->cat.table[i], user, e));
	return 0;
}

static int dead_sql(const struct store_table *t, struct buf *out)
{
	long long id = (long long)t->id;

	TRY(buf_printf(out,
		       "DELETE FROM neap_usage WHERE tab = -%lld;"
		       "INSERT INTO neap_usage(user, tab, rows, bytes)"
		       " SELECT u.name, -%lld, count(*), sum(ifnull(length(r.regs), 0)",
		       id, id));
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, " + neap_size(r.k%d)", i));
	TRY(buf_printf(out,
		       ") FROM neap_r%lld r JOIN neap_user u ON u.uid = r.uid"
		       " WHERE r.state & 1 = 0 GROUP BY r.uid;",
		       id));
	return buf_terminate(out);
}

int usage_count_dead(struct store *s, struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};
	int64_t done;
	int rc = 0;

	TRY(meta_get(s, "dead", 0, &done, e));
	for (size_t i = 0; !done && !rc && i < s->cat.n_table; i++) {
		const struct store_table *t = s->cat.table[i];
		if (t->shape.kind != SHAPE_MERGE)
			continue;
		buf_clear(&sql);
		rc = dead_sql(t, &sql);
		rc = rc ? err_set(e, rc, "no memory to count table %s", t->name)
			: db_exec(s->db, (const char *)sql.at, e);
	}
	buf_free(&sql);
	TRY(rc);
	return done ? 0 : meta_set(s, "dead", 1, e);
}
