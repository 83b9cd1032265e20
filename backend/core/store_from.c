/* The operator's policy of who may write a table. */
#include <string.h>

#include "backend/core/catalogue.h"
#include "backend/core/store_sqlite.h"

enum { SQL_BYTES = 16 * 1024 };

static int record(struct store *s, const struct store_table *t, enum store_from from, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_from(tab, origin) VALUES(?1, ?2)"
		       " ON CONFLICT(tab) DO UPDATE SET origin = ?2",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)t->id, e));
	TRY(bind_int(s, st, 2, (uint64_t)from, e));
	TRY(db_run(s->db, st, e));
	/* A running neapd looks at this number when someone else has written. */
	int64_t n;
	TRY(meta_get(s, "policies", 0, &n, e));
	return meta_set(s, "policies", n + 1, e);
}

/* Refuses an operator's statement where it is run; ingest's own writes are not concerned. */
static int guard(struct store *s, const struct store_table *t, bool on, struct err *e)
{
	struct buf sql = {.max = SQL_BYTES};
	int rc = table_sql_guard(t, on, &sql);

	if (!rc)
		rc = buf_terminate(&sql);
	if (rc)
		err_set(e, rc, "no memory to guard table %s", t->name);
	else
		rc = db_exec(s->db, (const char *)sql.at, e);
	buf_free(&sql);
	return rc;
}

static struct store_table *find(struct store *s, const char *name)
{
	for (size_t i = 0; i < s->cat.n_table; i++)
		if (name_same(slice_str(s->cat.table[i]->name), slice_str(name)))
			return s->cat.table[i];
	return NULL;
}

static int set(struct store *s, const char *name, enum store_from from, struct err *e)
{
	struct store_table *t = find(s, name);

	if (!t)
		return err_set(e, NE_NOT_FOUND,
			       "there is no synced table \"%.80s\"; neapd schema show lists them",
			       name);
	if (t->shape.kind == SHAPE_APPEND && from == FROM_SERVER)
		return err_set(e, NE_USAGE,
			       "\"%.80s\" is an append table: its rows come from devices only",
			       name);
	TRY(guard(s, t, from == FROM_DEVICES, e));
	return record(s, t, from, e);
}

int store_set_from(struct store *s, const char *table, enum store_from from, struct err *e)
{
	TRY(store_begin(s, e));
	int rc = set(s, table, from, e);
	if (!rc)
		rc = store_commit(s, e);
	else
		store_rollback(s);
	return rc ? rc : catalogue_load(s, e);
}

int store_refresh(struct store *s, struct err *e)
{
	int64_t n;

	TRY(meta_get(s, "policies", 0, &n, e));
	if (n == s->policies)
		return 0;
	TRY(catalogue_load(s, e));
	s->policies = n;
	return 0;
}
