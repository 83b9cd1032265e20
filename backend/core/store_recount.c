/*
 * Counting a table anew while it is written: some rows a step. A second connection reads one
 * snapshot, both the rows and what neap_usage says of them; what differs there differs for good, as
 * every write since is counted by triggers or by ingest. So it is added at the end, whenever that
 * is. Which tables are due is durable (neap_meta, recount:<id>).
 */
#include <stdio.h>
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 256 * 1024 };

static void key_of(int64_t table, char key[40])
{
	snprintf(key, 40, "recount:%lld", (long long)table);
}

int recount_due(struct store *s, const struct store_table *t, struct err *e)
{
	char key[40];

	key_of(t->id, key);
	if (s->recount.table == t->id)
		recount_stop(s); /* the snapshot is older than the triggers */
	s->recount.look = true;
	return meta_set(s, key, 1, e);
}

void recount_stop(struct store *s)
{
	db_close(s->recount.db);
	s->recount = (struct recount){.look = true};
}

static int next_table(struct store *s, struct store_table **out, struct err *e)
{
	*out = NULL;
	for (size_t i = 0; i < s->cat.n_table; i++) {
		char key[40];
		int64_t due;
		key_of(s->cat.table[i]->id, key);
		TRY(meta_get(s, key, 0, &due, e));
		if (!due || s->cat.table[i]->missing)
			continue;
		*out = s->cat.table[i];
		return 0;
	}
	s->recount.look = false;
	return 0;
}

static int rows_sql(const struct store_table *t, struct buf *out)
{
	TRY(buf_printf(out, "SELECT user_id, "));
	TRY(table_sql_size(t, "", out));
	TRY(buf_printf(out, " FROM "));
	TRY(sql_put_name(out, slice_str(t->name)));
	TRY(buf_printf(out, " WHERE typeof(user_id) = 'text'"));
	return buf_terminate(out);
}

static int open_rows(struct store *s, const struct store_table *t, struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};
	int rc = rows_sql(t, &sql);

	rc = rc ? err_set(e, rc, "no memory to count table %s", t->name)
		: db_prepare(s->recount.db, (const char *)sql.at, &s->recount.rows, e);
	buf_free(&sql);
	return rc;
}

static int begin(struct store *s, const struct store_table *t, struct err *e)
{
	sqlite3 *db = db_handle(s->db);
	sqlite3_vfs *vfs = NULL;

	sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
	TRY(db_open(&s->recount.db, sqlite3_db_filename(db, "main"), DB_READONLY,
		    vfs ? vfs->zName : NULL, 0, e));
	s->recount.table = t->id;
	TRY(db_exec(s->recount.db,
		    "PRAGMA temp_store = MEMORY; BEGIN;"
		    "CREATE TEMP TABLE counted(user TEXT PRIMARY KEY, rows INTEGER, bytes INTEGER)"
		    " WITHOUT ROWID",
		    e));
	return open_rows(s, t, e);
}

/* What was counted of one user's rows that stand one behind another. */
struct run {
	struct id user;
	int64_t rows, bytes;
};

static int keep_run(struct store *s, struct run *r, struct err *e)
{
	sqlite3_stmt *st;

	if (!r->rows)
		return 0;
	TRY(db_prepare(s->recount.db,
		       "INSERT INTO temp.counted VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE"
		       " SET rows = rows + ?2, bytes = bytes + ?3",
		       &st, e));
	TRY(bind_text(s, st, 1, r->user.at, e));
	TRY(bind_int(s, st, 2, (uint64_t)r->rows, e));
	TRY(bind_int(s, st, 3, (uint64_t)r->bytes, e));
	r->rows = r->bytes = 0;
	return db_run(s->recount.db, st, e);
}

/* *more: rows are left. Those of what is no user's name count for nobody. */
static int read_rows(struct store *s, size_t max, bool *more, struct err *e)
{
	struct run r = {.rows = 0};

	*more = true;
	for (size_t i = 0; *more && i < max; i++) {
		TRY(db_step(s->recount.db, s->recount.rows, more, e));
		struct id user = *more ? column_id(s->recount.rows, 0) : (struct id){""};
		if (!user.at[0])
			continue;
		if (strcmp(user.at, r.user.at) != 0)
			TRY(keep_run(s, &r, e));
		r.user = user;
		r.rows++;
		r.bytes += sqlite3_column_int64(s->recount.rows, 1);
	}
	return keep_run(s, &r, e);
}

static int correct(struct store *s, sqlite3_stmt *found, struct err *e)
{
	struct id user = column_id(found, 0);
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_usage(user, tab, rows, bytes) VALUES(?1, ?2, ?3, ?4)"
		       " ON CONFLICT DO UPDATE SET rows = rows + ?3, bytes = bytes + ?4",
		       &st, e));
	TRY(bind_text(s, st, 1, user.at, e));
	TRY(bind_int(s, st, 2, (uint64_t)s->recount.table, e));
	TRY(bind_int(s, st, 3, column_u64(found, 1), e));
	TRY(bind_int(s, st, 4, column_u64(found, 2), e));
	return db_run(s->db, st, e);
}

static int finish(struct store *s, struct err *e)
{
	sqlite3_stmt *found;
	char key[40];
	bool row;

	TRY(db_prepare(s->recount.db,
		       "SELECT user, sum(rows), sum(bytes) FROM"
		       " (SELECT user, rows, bytes FROM temp.counted UNION ALL"
		       "  SELECT user, -rows, -bytes FROM main.neap_usage WHERE tab = ?1)"
		       " GROUP BY user HAVING sum(rows) OR sum(bytes)",
		       &found, e));
	TRY(bind_int(s, found, 1, (uint64_t)s->recount.table, e));
	for (;;) {
		TRY(db_step(s->recount.db, found, &row, e));
		if (!row)
			break;
		TRY(correct(s, found, e));
	}
	key_of(s->recount.table, key);
	return meta_set(s, key, 0, e);
}

static int count_some(struct store *s, size_t max, struct err *e)
{
	struct store_table *t;
	bool more;

	if (!s->recount.db) {
		TRY(next_table(s, &t, e));
		if (!t)
			return 0;
		TRY(begin(s, t, e));
	}
	TRY(read_rows(s, max, &more, e));
	if (more)
		return 0;
	TRY(finish(s, e));
	recount_stop(s);
	return 0;
}

int store_recount_some(struct store *s, size_t max, struct err *e)
{
	if (!s->recount.look)
		return 0;
	int rc = count_some(s, max, e);
	if (rc)
		recount_stop(s);
	return rc;
}
