/*
 * Those who want to know of what lost (J7): a resolver is asked once and its answer is a new write,
 * in the transaction that says that it was asked; the callback is told at the end of a step.
 */
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/capture.h"
#include "device/core/conflict.h"
#include "device/core/engine_internal.h"

enum {
	ASK_MAX = 100, /* in one transaction */
	TELL_MAX = 100,
	TELL_BYTES = 4 << 20, /* of one step's, but for the last */
	ASK_MEMORY = 2 * LIMIT_DECODED,
	SQL_MAX_BYTES = 64 * 1024,
};

/* A record of neap_conflict that is to be dealt with, and the row it is about. */
struct asking {
	struct engine *en;
	int64_t id;
	struct engine_conflict say;
	struct tracked *t;
	uint16_t col;
	uint64_t won_stamp;
	struct slice pk;
	struct val key[LIMIT_KEY_COLUMNS];
	struct target tg;
	struct applied done;
	struct arena arena;
};

static const char todo_sql[] =
	"SELECT id, coalesce(tab, '?'), coalesce(row_key, text, '{}'), col, value, incoming,"
	" ifnull(reason, ''), pk, won_stamp, bytes FROM neap_conflict WHERE todo AND todo & ?1"
	" ORDER BY id LIMIT ?2";

static const char *text_copy(struct arena *a, sqlite3_stmt *s, int col)
{
	struct slice t =
		slice_of(sqlite3_column_text(s, col), (size_t)sqlite3_column_bytes(s, col));
	char *out = arena_alloc(a, t.len + 1);

	if (out && t.len)
		memcpy(out, t.at, t.len);
	return out;
}

static int read_record(sqlite3_stmt *s, struct arena *a, struct engine_conflict *out)
{
	struct val local = val_column(s, 4), incoming = val_column(s, 5);
	bool column = sqlite3_column_type(s, 3) != SQLITE_NULL;

	*out = (struct engine_conflict){
		.table = text_copy(a, s, 1),
		.key = text_copy(a, s, 2),
		.column = column ? text_copy(a, s, 3) : NULL,
		.reason = text_copy(a, s, 6),
	};
	if (!out->table || !out->key || (column && !out->column) || !out->reason ||
	    !val_copy(a, &local, &out->local) || !val_copy(a, &incoming, &out->incoming))
		return NE_MEMORY;
	return NE_OK;
}

/* ---- resolvers ---- */

static int find_column(struct asking *x, bool *found)
{
	const struct shape *s;

	x->t = devdb_table_by_name(x->en->d, slice_str(x->say.table));
	*found = false;
	if (!x->t || !x->t->capture_ok || x->t->shape.kind != SHAPE_MERGE || !x->say.column)
		return NE_OK;
	s = &x->t->shape;
	for (x->col = 0; x->col < s->n_col; x->col++) {
		*found = slice_eq(s->col[x->col].name, slice_str(x->say.column));
		if (*found)
			break;
	}
	/* The key may be another one since. */
	*found = *found && !key_unpack(x->pk, x->key, s->n_key);
	return NE_OK;
}

/* Whether the app has written the cell again since it lost: its newer write is the answer then. */
static int written_since(struct asking *x, bool *yes, struct err *e)
{
	sqlite3_stmt *s = x->tg.sql.marks;
	struct db *db = x->en->d->db;
	bool more = true;

	*yes = false;
	TRY(sql_bind_key(x->en->d, s, 1, x->t, x->key, e));
	while (more && !*yes) {
		TRY(db_step(db, s, &more, e));
		int64_t col = more ? sqlite3_column_int64(s, 0) : MARK_CANDIDATE;
		uint64_t stamp = more ? (uint64_t)sqlite3_column_int64(s, 1) : 0;
		*yes = col == x->col || (col == MARK_EXIST && stamp > x->won_stamp);
	}
	sqlite3_reset(s);
	return NE_OK;
}

static int put_mark(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO main.\"%s\" SELECT ", t->marks));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "?%u, ", i + 2));
	TRY(buf_printf(out,
		       "?1, %s, gen, NULL FROM neap_clock WHERE true ON CONFLICT DO UPDATE SET"
		       " stamp = max(excluded.stamp, stamp + 1), gen = excluded.gen,"
		       " site = NULL",
		       capture_clock_sql));
	return buf_terminate(out);
}

/* The mark that the table's trigger would have made. */
static int mark(struct asking *x, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	int rc = put_mark(x->t, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_prepare(x->en->d->db, (const char *)sql.at, &s, e);
	buf_free(&sql);
	TRY(rc);
	sqlite3_bind_int(s, 1, x->col);
	TRY(sql_bind_key(x->en->d, s, 2, x->t, x->key, e));
	return db_run(x->en->d->db, s, e);
}

static int write_cell(struct asking *x, const struct val *v, bool *fits, struct err *e)
{
	int n = x->t->shape.n_col;
	sqlite3_stmt *s = x->tg.sql.update;

	for (int i = 0; i < n; i++) {
		if (sqlite3_bind_int(s, 2 * i + 1, i == x->col) ||
		    (i == x->col && val_bind(s, 2 * i + 2, v)))
			return db_error(x->en->d->db, e, "writing what a resolver chose");
	}
	TRY(sql_bind_key(x->en->d, s, 2 * n + 1, x->t, x->key, e));
	TRY(sql_write(x->en->d, s, fits, e));
	if (!*fits)
		return NE_OK;
	x->en->dirty = true;
	return mark(x, e);
}

/* The cell as it stands; *found is false too where it is longer than any that syncs. */
static int read_now(struct asking *x, bool *found, struct err *e)
{
	sqlite3_stmt *s = x->tg.sql.read;
	struct db *db = x->en->d->db;
	int rc = NE_OK;

	TRY(sql_bind_key(x->en->d, s, 1, x->t, x->key, e));
	TRY(db_step(db, s, found, e));
	if (*found) {
		struct val v = val_column(s, x->col);
		*found = val_size(&v) <= LIMIT_VALUE;
		if (*found && !val_copy(&x->arena, &v, &x->say.incoming))
			rc = NE_MEMORY;
	}
	sqlite3_reset(s);
	return rc;
}

static int ask(struct asking *x, const char **outcome, struct err *e)
{
	struct engine *en = x->en;
	struct val write = {.type = VAL_NULL};
	bool found, newer, fits = true;

	*outcome = "";
	TRY(find_column(x, &found));
	if (!found)
		return NE_OK;
	TRY(target_open(&x->tg, en->d, x->t, &x->done, e));
	TRY(read_now(x, &found, e));
	if (!found)
		return NE_OK;
	TRY(written_since(x, &newer, e));
	if (newer || val_eq(&x->say.incoming, &x->say.local))
		return NE_OK;
	if (en->cfg.resolve(en->cfg.resolve_ctx, &x->say, &write) != RESOLVE_WRITE)
		return NE_OK;
	TRY(write_cell(x, &write, &fits, e));
	*outcome = fits ? "; resolved by a new write"
			: "; the resolver's value violates a constraint and was not written";
	return NE_OK;
}

static int settle_asked(struct engine *en, int64_t id, const char *outcome, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(
		en->d->db,
		"UPDATE neap_conflict SET todo = todo & ~2, reason = reason || ?2 WHERE id = "
		"?1",
		&s, e));
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_text(s, 2, outcome, -1, SQLITE_STATIC);
	return db_run(en->d->db, s, e);
}

/* Asks about the oldest record; *any is false when there is none. */
static int ask_one(struct engine *en, struct asking *x, bool *any, struct err *e)
{
	const char *outcome;
	sqlite3_stmt *s;
	int rc = NE_OK;

	_Static_assert(CONFLICT_ASK == 2, "settle_asked clears it");
	TRY(db_prepare(en->d->db, todo_sql, &s, e));
	sqlite3_bind_int(s, 1, CONFLICT_ASK);
	sqlite3_bind_int(s, 2, 1);
	TRY(db_step(en->d->db, s, any, e));
	if (*any) {
		x->id = sqlite3_column_int64(s, 0);
		x->won_stamp = (uint64_t)sqlite3_column_int64(s, 8);
		x->pk = arena_copy(&x->arena, slice_of(sqlite3_column_blob(s, 7),
						       (size_t)sqlite3_column_bytes(s, 7)));
		rc = x->pk.at ? read_record(s, &x->arena, &x->say) : NE_MEMORY;
	}
	sqlite3_reset(s);
	if (rc || !*any)
		return rc;
	TRY(ask(x, &outcome, e));
	return settle_asked(en, x->id, outcome, e);
}

int engine_resolve(struct engine *en, struct err *e)
{
	struct asking *x;
	bool any = true;
	int rc;

	if (!en->cfg.resolve || !en->ask_due)
		return NE_OK;
	x = arena_alloc(&en->tmp, sizeof(*x));
	if (!x)
		return NE_MEMORY;
	TRY(devdb_begin(en->d, e));
	for (int i = 0; any && i < ASK_MAX; i++) {
		*x = (struct asking){.en = en, .arena = {.max = ASK_MEMORY}};
		rc = ask_one(en, x, &any, e);
		arena_free(&x->arena);
		TRY(rc);
	}
	TRY(devdb_commit(en->d, e));
	en->ask_due = any;
	return NE_OK;
}

/* ---- the callback ---- */

static int add_action(struct engine *en, sqlite3_stmt *s)
{
	struct engine_conflict *c = arena_alloc(&en->out->arena, sizeof(*c));
	struct action *a;

	if (!c)
		return NE_MEMORY;
	TRY(read_record(s, &en->out->arena, c));
	a = engine_act(en, ACT_CONFLICT);
	if (!a)
		return NE_MEMORY;
	a->conflict = c;
	return NE_OK;
}

static int add_actions(struct engine *en, int64_t *last, bool *more, struct err *e)
{
	sqlite3_stmt *s;
	int rc = NE_OK, n = 0;
	int64_t bytes = 0;
	bool row = true;

	*last = 0;
	TRY(db_prepare(en->d->db, todo_sql, &s, e));
	sqlite3_bind_int(s, 1, CONFLICT_TELL);
	sqlite3_bind_int(s, 2, TELL_MAX);
	while (!rc && bytes < TELL_BYTES && !(rc = db_step(en->d->db, s, &row, e)) && row) {
		*last = sqlite3_column_int64(s, 0);
		bytes += sqlite3_column_int64(s, 9);
		rc = add_action(en, s);
		n++;
	}
	sqlite3_reset(s);
	*more = n == TELL_MAX || bytes >= TELL_BYTES;
	return rc;
}

int engine_tell(struct engine *en, struct err *e)
{
	size_t before = en->out->n;
	int64_t last;
	bool more;
	int rc;

	if (!en->cfg.conflicts || !en->tell_due)
		return NE_OK;
	TRY(add_actions(en, &last, &more, e));
	_Static_assert(CONFLICT_TELL == 1, "cleared here");
	rc = last ? db_execf(en->d->db, e,
			     "UPDATE neap_conflict SET todo = todo & ~1 WHERE todo AND id <= %lld",
			     (long long)last)
		  : NE_OK;
	if (rc == NE_BUSY) {
		/* Told when it can be written that they were: what the step did stands. */
		en->out->n = before;
		en->tell_at_ms = en->mono_ms + BUSY_MS;
		return NE_OK;
	}
	TRY(rc);
	en->tell_due = more;
	en->tell_at_ms = en->mono_ms;
	return NE_OK;
}
