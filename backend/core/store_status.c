/* What an administrator asks, and upkeep. */
#include <stdio.h>
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 256 * 1024, NAME_BYTES = LIMIT_NAME + 64 };

int store_each_device(struct store *s, int (*fn)(void *ctx, const struct store_device_status *d),
		      void *ctx, struct err *e)
{
	sqlite3_stmt *st;
	bool row;
	int rc = 0;

	TRY(db_prepare(
		s->db,
		"SELECT u.name, s.device, s.site, s.number, s.sets, s.rows, s.seen_ms, u.head"
		" FROM neap_user u JOIN neap_site s ON s.uid = u.uid"
		" ORDER BY u.name, s.device, s.id",
		&st, e));
	while (!rc) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		struct store_device_status d = {
			.user = column_id(st, 0),
			.device = column_id(st, 1),
			.site = column_u64(st, 2),
			.number = column_u64(st, 3),
			.sets = column_u64(st, 4),
			.rows = column_u64(st, 5),
			.seen_ms = column_u64(st, 6),
			.head = column_u64(st, 7),
		};
		rc = fn(ctx, &d);
	}
	sqlite3_reset(st);
	return rc;
}

/* " WHERE <test>" or " OR <test>", %s in it being the column. */
static int put_where(struct buf *out, int i, const struct shape_col *c, const char *test)
{
	const char *mid = strstr(test, "%s");
	struct buf name = {.max = NAME_BYTES};
	int rc = column_name(c->name, &name);

	_Static_assert(LIMIT_VALUE == 3670016, "as in the text below");
	if (!rc)
		rc = buf_printf(out, "%s%.*s", i ? " OR " : " WHERE ", (int)(mid - test), test);
	if (!rc)
		rc = sql_put_name(out, buf_slice(&name));
	if (!rc)
		rc = buf_printf(out, "%s", mid + 2);
	if (!rc)
		rc = buf_terminate(out);
	buf_free(&name);
	return rc;
}

static int count(struct store *s, const char *fmt_head, const struct store_table *t,
		 const char *tail, int64_t *out, struct err *e)
{
	struct buf sql = {.max = SQL_BYTES + 4096};
	int rc = buf_printf(&sql, "%s", fmt_head);

	if (!rc)
		rc = sql_put_name(&sql, slice_str(t->name));
	if (!rc)
		rc = buf_printf(&sql, "%s", tail);
	if (!rc)
		rc = buf_terminate(&sql);
	if (rc)
		err_set(e, rc, "no memory to count table %s", t->name);
	else
		rc = db_int(s->db, (const char *)sql.at, 0, out, e);
	buf_free(&sql);
	return rc;
}

/* An operator may write what devices cannot be sent. */
static int count_unsendable(struct store *s, struct store_table_status *t, struct err *e)
{
	const struct shape *sh = &t->table->shape;
	struct buf key = {.max = SQL_BYTES}, large = {.max = SQL_BYTES};
	int rc = 0;

	for (uint16_t i = 0; !rc && i < sh->n_key; i++)
		rc = put_where(&key, i, &sh->key[i], "%s IS NULL");
	for (uint16_t i = 0; !rc && i < sh->n_col; i++)
		rc = put_where(&large, i, &sh->col[i], "length(CAST(%s AS BLOB)) > 3670016");
	if (rc)
		err_set(e, rc, "no memory to count table %s", t->table->name);
	if (!rc)
		rc = count(s, "SELECT count(*) FROM ", t->table, (const char *)key.at, &t->no_key,
			   e);
	if (!rc && sh->n_col)
		rc = count(s, "SELECT count(*) FROM ", t->table, (const char *)large.at,
			   &t->too_large, e);
	buf_free(&key);
	buf_free(&large);
	return rc;
}

static int count_tombstones(struct store *s, const struct store_table *t, int64_t *out,
			    struct err *e)
{
	char sql[96];

	snprintf(sql, sizeof sql, "SELECT count(*) FROM neap_r%lld WHERE state & 1 = 0",
		 (long long)t->id);
	return db_int(s->db, sql, 0, out, e);
}

int store_each_table(struct store *s, int (*fn)(void *ctx, const struct store_table_status *t),
		     void *ctx, struct err *e)
{
	for (size_t i = 0; i < s->cat.n_table; i++) {
		struct store_table_status t = {.table = s->cat.table[i]};
		if (t.table->missing) {
			TRY(fn(ctx, &t));
			continue;
		}
		TRY(count(s, "SELECT count(*) FROM ", t.table, "", &t.rows, e));
		TRY(count(s, "SELECT count(*) FROM ", t.table,
			  " WHERE user_id IS NULL OR user_id NOT IN (SELECT name FROM neap_user)",
			  &t.parked, e));
		if (t.table->shape.kind == SHAPE_MERGE)
			TRY(count_tombstones(s, t.table, &t.tombstones, e));
		if (t.table->shape.kind == SHAPE_MERGE)
			TRY(count_unsendable(s, &t, e));
		TRY(fn(ctx, &t));
	}
	return 0;
}

/* Removes the old tombstones of one user in one table; *newest: the greatest seq among them. */
static int gc_table(struct store *s, int64_t uid, struct store_table *t, uint64_t before_ms,
		    size_t *removed, uint64_t *newest, struct err *e)
{
	int64_t keys = 0, bytes = 0;
	sqlite3_stmt *st;
	bool row;

	TRY(table_stmt(s, t, TQ_GC, &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)uid, e));
	TRY(bind_int(s, st, 2, stamp_from_ms(before_ms), e));
	for (;;) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		(*removed)++;
		keys++;
		bytes += sqlite3_column_int64(st, 1);
		if (column_u64(st, 0) > *newest)
			*newest = column_u64(st, 0);
	}
	sqlite3_reset(st);
	return usage_dead(s, uid, t, -keys, -bytes, e);
}

static int raise_gc_seq(struct store *s, int64_t uid, uint64_t seq, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "UPDATE neap_user SET gc_seq = max(gc_seq, ?2) WHERE uid = ?1", &st,
		       e));
	TRY(bind_int(s, st, 1, (uint64_t)uid, e));
	TRY(bind_int(s, st, 2, seq, e));
	return db_run(s->db, st, e);
}

/* The next (user, table) after where the last call ended; the end wraps around. */
static int next_pair(struct store *s, int64_t *uid, int64_t *tab, bool *found, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT uid, tab FROM neap_user_table WHERE (uid, tab) > (?, ?)"
		       " ORDER BY uid, tab LIMIT 1",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)s->gc_uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)s->gc_table, e));
	TRY(db_step(s->db, st, found, e));
	*uid = s->gc_uid = *found ? sqlite3_column_int64(st, 0) : 0;
	*tab = s->gc_table = *found ? sqlite3_column_int64(st, 1) : 0;
	sqlite3_reset(st);
	return 0;
}

int store_gc(struct store *s, uint64_t before_ms, size_t max, size_t *removed, struct err *e)
{
	int64_t uid, tab;
	bool found = true;

	*removed = 0;
	for (size_t i = 0; i < max && found; i++) {
		uint64_t newest = 0;
		TRY(next_pair(s, &uid, &tab, &found, e));
		struct store_table *t = found ? catalogue_table(s, tab) : NULL;
		if (!t || t->shape.kind != SHAPE_MERGE)
			continue;
		TRY(gc_table(s, uid, t, before_ms, removed, &newest, e));
		if (newest)
			TRY(raise_gc_seq(s, uid, newest, e));
	}
	return 0;
}
