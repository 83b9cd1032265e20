#include "device/core/conflict.h"

#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/capture.h"
#include "protocol/conflict.h"
#include "protocol/row_text.h"

const char conflict_schema_sql[] =
	"CREATE TABLE neap_conflict(id INTEGER PRIMARY KEY, table_id INTEGER, key BLOB, text TEXT,"
	" reason TEXT, at_ms INTEGER, tab TEXT, pk BLOB, row_key TEXT, col TEXT, value, incoming,"
	" stamp INTEGER NOT NULL DEFAULT 0, site INTEGER NOT NULL DEFAULT 0,"
	" won_stamp INTEGER NOT NULL DEFAULT 0, won_site INTEGER NOT NULL DEFAULT 0,"
	" todo INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,"
	" upto INTEGER NOT NULL DEFAULT 0, digest BLOB UNIQUE);"
	"CREATE INDEX neap_conflict_todo ON neap_conflict(id) WHERE todo;";

enum { OVERHEAD_BYTES = 256, TEXT_MAX = 6 * LIMIT_DECODED };

/* The texts and bytes of one record. */
struct record {
	const struct conflict *c;
	struct buf key, pk, row_key, text;
	uint8_t digest[CONFLICT_DIGEST];
	bool has_digest; /* a settled row has no register to know it by */
};

static void record_free(struct record *r)
{
	buf_free(&r->key);
	buf_free(&r->pk);
	buf_free(&r->row_key);
	buf_free(&r->text);
}

static int put_text(const struct conflict *c, struct buf *out)
{
	const struct shape *s = &c->t->shape;

	if (c->text.len)
		return buf_put(out, c->text.at, c->text.len);
	for (int i = 0; i < s->n_key; i++)
		TRY(text_member(s->key[i].name, &c->key[i], i == 0, out));
	if (c->column.len)
		TRY(text_member(c->column, &c->value, false, out));
	return buf_put_u8(out, '}');
}

static int record_make(struct record *r)
{
	const struct conflict *c = r->c;
	struct lost_value l = {.table = c->t->shape.name, .column = c->column, .reg = c->reg};

	TRY(key_put(&c->t->shape, c->key, &r->key));
	TRY(key_pack(&r->pk, c->key, c->t->shape.n_key));
	TRY(conflict_key(&c->t->shape, c->key, &r->row_key));
	TRY(put_text(c, &r->text));
	l.key = buf_slice(&r->row_key);
	r->has_digest = c->reg.stamp || c->reg.site;
	return conflict_digest(&l, r->digest);
}

static int64_t record_bytes(const struct record *r)
{
	return (int64_t)(OVERHEAD_BYTES + r->key.len + r->pk.len + r->row_key.len + r->text.len +
			 val_size(&r->c->value) + val_size(&r->c->incoming));
}

static int bind_texts(struct devdb *d, sqlite3_stmt *s, const struct record *r, struct err *e)
{
	const struct slice texts[] = {
		buf_slice(&r->text), slice_str(r->c->reason),
		r->c->t->shape.name, buf_slice(&r->row_key),
		r->c->column,
	};
	const int at[] = {3, 4, 5, 7, 8};

	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
		/* No column is NULL. */
		if (texts[i].len && sqlite3_bind_text64(s, at[i], (const char *)texts[i].at,
							texts[i].len, SQLITE_STATIC, SQLITE_UTF8))
			return db_error(d->db, e, "keeping a value that lost");
	}
	return NE_OK;
}

static int bind_record(struct devdb *d, sqlite3_stmt *s, const struct record *r, struct err *e)
{
	const struct conflict *c = r->c;
	const uint64_t regs[] = {c->reg.stamp, c->reg.site, c->won.stamp, c->won.site};
	int todo = d->conflict_todo & (c->row_there && c->column.len ? -1 : ~CONFLICT_ASK);

	TRY(bind_texts(d, s, r, e));
	if (sqlite3_bind_int64(s, 1, c->t->id) ||
	    sqlite3_bind_blob64(s, 2, r->key.at, r->key.len, SQLITE_STATIC) ||
	    sqlite3_bind_blob64(s, 6, r->pk.at, r->pk.len, SQLITE_STATIC) ||
	    val_bind(s, 9, &c->value) || val_bind(s, 10, &c->incoming) ||
	    sqlite3_bind_int(s, 15, todo) || sqlite3_bind_int64(s, 16, record_bytes(r)) ||
	    (r->has_digest && sqlite3_bind_blob(s, 17, r->digest, sizeof r->digest, SQLITE_STATIC)))
		return db_error(d->db, e, "keeping a value that lost");
	for (int i = 0; i < 4; i++)
		sqlite3_bind_int64(s, 11 + i, (int64_t)regs[i]);
	return NE_OK;
}

/* Ids are above all that were noted, also where all records are gone. */
static const char insert_sql[] =
	"INSERT INTO neap_conflict(id, table_id, key, text, reason, at_ms, tab, pk, row_key, col,"
	" value, incoming, stamp, site, won_stamp, won_site, todo, bytes, upto, digest) SELECT"
	" max(ifnull((SELECT max(id) FROM neap_conflict), 0),"
	" ifnull((SELECT value FROM neap_meta WHERE key = 'conflict_noted'), 0)) + 1,"
	" ?1, ?2, ?3, ?4, CAST(julianday() * 86400000.0 - 210866759999999.5 AS INTEGER),"
	" ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
	" ifnull((SELECT upto FROM neap_conflict ORDER BY id DESC LIMIT 1), 0) + ?16, ?17"
	" WHERE true ON CONFLICT(digest) DO NOTHING";

static int insert(struct devdb *d, const struct record *r, bool *added, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db, insert_sql, &s, e));
	TRY(bind_record(d, s, r, e));
	TRY(db_run(d->db, s, e));
	sqlite3_clear_bindings(s);
	*added = sqlite3_changes(db_handle(d->db)) > 0;
	return NE_OK;
}

/* The oldest record's id if there are more than the bounds allow; 0 if not. */
static int too_old(struct devdb *d, int64_t *id, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(d->db,
		       "SELECT a.id, z.id - a.id + 1, z.upto - a.upto + a.bytes FROM"
		       " (SELECT id, upto, bytes FROM neap_conflict ORDER BY id LIMIT 1) AS a,"
		       " (SELECT id, upto FROM neap_conflict ORDER BY id DESC LIMIT 1) AS z",
		       &s, e));
	TRY(db_step(d->db, s, &row, e));
	int64_t n = row ? sqlite3_column_int64(s, 1) : 0;
	/* One is always kept. */
	bool over = n > 1 && (n > CONFLICTS_MAX || sqlite3_column_int64(s, 2) > CONFLICTS_BYTES);
	*id = over ? sqlite3_column_int64(s, 0) : 0;
	sqlite3_reset(s);
	return NE_OK;
}

static int prune(struct devdb *d, struct err *e)
{
	int64_t id, noted, dropped;

	for (;;) {
		TRY(too_old(d, &id, e));
		if (!id)
			return NE_OK;
		TRY(devdb_get(d, "conflict_noted", &noted, e));
		if (id > noted) {
			TRY(devdb_get(d, "conflict_dropped", &dropped, e));
			TRY(devdb_set(d, "conflict_dropped", dropped + 1, e));
		}
		TRY(db_execf(d->db, e, "DELETE FROM neap_conflict WHERE id = %lld", (long long)id));
	}
}

/* What no set could hold is cut to what one could. */
static void cut_value(struct val *v)
{
	if ((v->type == VAL_TEXT || v->type == VAL_BLOB) && v->s.len > LIMIT_VALUE)
		v->s = conflict_cut(v->s, LIMIT_VALUE);
}

int conflict_add(struct devdb *d, const struct conflict *conflict, bool *added, struct err *e)
{
	struct conflict c = *conflict;
	struct record r = {.c = &c,
			   .key = {.max = LIMIT_DECODED},
			   .pk = {.max = LIMIT_DECODED},
			   .row_key = {.max = CONFLICT_KEY_BYTES},
			   .text = {.max = TEXT_MAX}};
	int rc;

	cut_value(&c.value);
	rc = record_make(&r);
	rc = rc ? err_set(e, rc, "no memory to keep a value that lost") : insert(d, &r, added, e);
	record_free(&r);
	return rc || !*added ? rc : prune(d, e);
}
