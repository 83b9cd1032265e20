#include "device/core/lost.h"

#include <string.h>

#include "device/core/coverage.h"
#include "device/core/identity.h"
#include "protocol/ranges.h"

enum { SQL_MAX_BYTES = 1 << 20, NUMBERS_A_QUESTION = 2000 };

static int prepare(struct devdb *d, int rc, struct buf *sql, sqlite3_stmt **out, struct err *e)
{
	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, sql, out, e);
	buf_free(sql);
	return rc;
}

/* One integer; *found is false where it is NULL. */
static int one(struct devdb *d, sqlite3_stmt *s, int64_t *out, bool *found, struct err *e)
{
	bool row;

	TRY(db_step(d->db, s, &row, e));
	*found = row && sqlite3_column_type(s, 0) != SQLITE_NULL;
	*out = sqlite3_column_int64(s, 0);
	sqlite3_reset(s);
	return NE_OK;
}

/* ---- beginning, and what is remembered ---- */

/*
 * Rows that got a number because the server did not have them, and are still pending: the store
 * that is there now may have them under the one they had before. They are asked about like others.
 */
static int take_back_numbers(struct devdb *d, const struct tracked *t, struct err *e)
{
	return db_execf(
		d->db, e,
		"DELETE FROM main.\"%s\" WHERE n IN (SELECT m.n FROM neap_lost AS l CROSS "
		"JOIN main.\"%s\" AS m ON m.n > l.lo AND m.n <= l.hi WHERE l.table_id = "
		"%lld AND l.kind = %d); DELETE FROM neap_lost WHERE table_id = %lld AND kind "
		"= %d",
		t->marks, t->marks, (long long)t->id, RANGE_LOST, (long long)t->id, RANGE_LOST);
}

int lost_begin_table(struct devdb *d, const struct tracked *t, struct err *e)
{
	struct lost_state s = {.table = t->id, .stage = LOST_NUMBERS};

	if (t->shape.key_is_number)
		s = (struct lost_state){.table = t->id, .stage = LOST_KEYS, .at = INT64_MIN};
	TRY(take_back_numbers(d, t, e));
	TRY(db_execf(d->db, e, "DELETE FROM neap_hash WHERE table_id = %lld", (long long)t->id));
	TRY(lost_put(d, &s, e));
	/* When it was acknowledged says nothing any more: what the server has is noted anew. */
	return policy_keeps(&t->policy)
		       ? db_execf(d->db, e, "DELETE FROM neap_acked WHERE table_id = %lld",
				  (long long)t->id)
		       : NE_OK;
}

int lost_begin(struct devdb *d, struct err *e)
{
	if (d->broken.no_ask)
		return NE_OK;
	TRY(db_execf(d->db, e, "DELETE FROM neap_lost WHERE kind = %d", RANGE_KEYS));
	for (size_t i = 0; i < d->n_table; i++) {
		if (d->table[i].shape.kind == SHAPE_APPEND)
			TRY(lost_begin_table(d, &d->table[i], e));
	}
	return NE_OK;
}

int lost_begin_keys(struct devdb *d, struct err *e)
{
	if (d->broken.no_ask)
		return NE_OK;
	for (size_t i = 0; i < d->n_table; i++) {
		const struct tracked *t = &d->table[i];

		if (t->shape.kind == SHAPE_APPEND && t->shape.key_is_number)
			TRY(lost_begin_table(d, t, e));
	}
	return NE_OK;
}

int lost_put(struct devdb *d, const struct lost_state *x, struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	if (x->stage == LOST_DONE) {
		TRY(db_execf(d->db, e, "DELETE FROM neap_hash WHERE table_id = %lld",
			     (long long)x->table));
		TRY(db_execf(d->db, e, "DELETE FROM neap_ask WHERE table_id = %lld",
			     (long long)x->table));
		/* If its capture was lost, it was compared by that. */
		TRY(db_execf(d->db, e, "DELETE FROM neap_catchup WHERE table_id = %lld",
			     (long long)x->table));
		return coverage_look(d, e);
	}
	TRY(db_prepare(d->db,
		       "INSERT OR REPLACE INTO neap_ask(table_id, stage, at, salt, key) "
		       "VALUES(?1, ?2, ?3, ?4, ?5)",
		       &s, e));
	sqlite3_bind_int64(s, 1, x->table);
	sqlite3_bind_int(s, 2, (int)x->stage);
	sqlite3_bind_int64(s, 3, x->at);
	sqlite3_bind_int64(s, 4, (int64_t)x->salt);
	sqlite3_bind_blob64(s, 5, x->key.at ? x->key.at : (const uint8_t *)"", x->key.len,
			    SQLITE_STATIC);
	rc = db_run(d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc;
}

int lost_put_range(struct devdb *d, int64_t table, enum range_kind kind, int64_t lo, int64_t hi,
		   struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "INSERT INTO neap_lost(table_id, kind, lo, hi) VALUES(?1, ?2, ?3, ?4) ON "
		       "CONFLICT(table_id, kind, lo) DO UPDATE SET hi = max(hi, excluded.hi)",
		       &s, e));
	sqlite3_bind_int64(s, 1, table);
	sqlite3_bind_int(s, 2, (int)kind);
	sqlite3_bind_int64(s, 3, lo);
	sqlite3_bind_int64(s, 4, hi);
	return db_run(d->db, s, e);
}

/* The key in it is from `a`. */
static int load(struct devdb *d, int64_t table, struct arena *a, struct lost_state *out, bool *any,
		struct err *e)
{
	sqlite3_stmt *s;
	int rc = NE_OK;

	TRY(db_prepare(d->db, "SELECT stage, at, salt, key FROM neap_ask WHERE table_id = ?1", &s,
		       e));
	sqlite3_bind_int64(s, 1, table);
	TRY(db_step(d->db, s, any, e));
	if (*any) {
		struct slice key =
			slice_of(sqlite3_column_blob(s, 3), (size_t)sqlite3_column_bytes(s, 3));

		*out = (struct lost_state){.table = table,
					   .stage = (enum lost_stage)sqlite3_column_int(s, 0),
					   .at = sqlite3_column_int64(s, 1),
					   .salt = (uint64_t)sqlite3_column_int64(s, 2),
					   .key = arena_copy(a, key)};
		if (key.len && !out->key.at)
			rc = err_set(e, NE_MEMORY, "no memory for a key");
	}
	sqlite3_reset(s);
	return rc;
}

int lost_any(struct devdb *d, bool *any, struct err *e)
{
	int64_t n;

	TRY(db_int(d->db, "SELECT EXISTS(SELECT 1 FROM neap_ask)", 0, &n, e));
	*any = n != 0;
	return NE_OK;
}

int lost_forget(struct devdb *d, int64_t table, struct err *e)
{
	return db_execf(d->db, e,
			"DELETE FROM neap_ask WHERE table_id = %lld; DELETE FROM neap_hash WHERE "
			"table_id = %lld; DELETE FROM neap_lost WHERE table_id = %lld",
			(long long)table, (long long)table, (long long)table);
}

static int holds_keys(struct devdb *d, int64_t table, bool *yes, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "SELECT 1 FROM neap_ask WHERE table_id = ?1 UNION ALL SELECT 1 FROM "
		       "neap_lost WHERE table_id = ?1 AND kind = ?2 LIMIT 1",
		       &s, e));
	sqlite3_bind_int64(s, 1, table);
	sqlite3_bind_int(s, 2, RANGE_KEYS);
	TRY(db_step(d->db, s, yes, e));
	sqlite3_reset(s);
	return NE_OK;
}

int lost_holds(struct devdb *d, const struct tracked *t, bool *yes, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;

	TRY(holds_keys(d, t->id, yes, e));
	if (*yes)
		return NE_OK;
	TRY(prepare(d,
		    buf_printf(&sql,
			       "SELECT 1 FROM neap_lost WHERE table_id = ?1 AND kind = ?2 AND "
			       "EXISTS(SELECT 1 FROM main.\"%s\" WHERE n > 0 AND n <= hi)",
			       t->marks),
		    &sql, &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, RANGE_NUMBERS);
	TRY(db_step(d->db, s, yes, e));
	sqlite3_reset(s);
	return NE_OK;
}

int lost_settle(struct devdb *d, int64_t table, int64_t lo, int64_t hi, struct err *e)
{
	static const char *const sql[] = {
		"INSERT INTO neap_lost SELECT table_id, kind, ?4, hi FROM neap_lost WHERE table_id "
		"= ?1 AND kind = ?2 AND lo < ?3 AND hi > ?4",
		"UPDATE neap_lost SET hi = ?3 WHERE table_id = ?1 AND kind = ?2 AND lo < ?3 AND hi "
		"> ?3",
		"DELETE FROM neap_lost WHERE table_id = ?1 AND kind = ?2 AND lo >= ?3 AND hi <= ?4",
		"UPDATE neap_lost SET lo = ?4 WHERE table_id = ?1 AND kind = ?2 AND lo >= ?3 AND "
		"lo "
		"< ?4"};

	for (size_t i = 0; i < sizeof sql / sizeof *sql && lo < hi; i++) {
		sqlite3_stmt *s;

		TRY(db_prepare(d->db, sql[i], &s, e));
		sqlite3_bind_int64(s, 1, table);
		sqlite3_bind_int(s, 2, RANGE_KEYS);
		sqlite3_bind_int64(s, 3, lo);
		sqlite3_bind_int64(s, 4, hi);
		TRY(db_run(d->db, s, e));
	}
	return NE_OK;
}

/* ---- what to ask ---- */

static int column(struct devdb *d, const struct tracked *t, const char *name, int64_t *out,
		  struct err *e)
{
	struct buf sql = {.max = 200};
	sqlite3_stmt *s;
	bool found;

	TRY(prepare(d, buf_printf(&sql, "SELECT %s FROM neap_append WHERE id = ?1", name), &sql, &s,
		    e));
	sqlite3_bind_int64(s, 1, t->id);
	return one(d, s, out, &found, e);
}

/* The least key above `after`, up to and including `upto`. */
static int next_key(struct devdb *d, const struct tracked *t, int64_t after, int64_t upto,
		    int64_t *out, bool *found, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	struct slice key = t->shape.key[0].name;
	sqlite3_stmt *s;
	int rc = buf_printf(&sql, "SELECT min(x.");

	rc = rc ? rc : sql_put_name(&sql, key);
	rc = rc ? rc : buf_printf(&sql, ") FROM main.");
	rc = rc ? rc : sql_put_name(&sql, t->shape.name);
	rc = rc ? rc : buf_printf(&sql, " AS x WHERE x.");
	rc = rc ? rc : sql_put_name(&sql, key);
	rc = rc ? rc : buf_printf(&sql, " > ?1 AND x.");
	rc = rc ? rc : sql_put_name(&sql, key);
	rc = rc ? rc : buf_printf(&sql, " <= ?2");
	TRY(prepare(d, rc, &sql, &s, e));
	sqlite3_bind_int64(s, 1, after);
	sqlite3_bind_int64(s, 2, upto);
	return one(d, s, out, found, e);
}

/* Of the numbers kept above `after`, the first and the last of as many as one question is about. */
static int next_numbers(struct devdb *d, const struct tracked *t, int64_t after, int64_t *first,
			int64_t *last, bool *found, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;

	TRY(prepare(d,
		    buf_printf(&sql,
			       "SELECT -max(n), -min(n) FROM (SELECT n FROM main.\"%s\" WHERE n < "
			       "-?1 ORDER BY n DESC LIMIT %d)",
			       t->marks, NUMBERS_A_QUESTION),
		    &sql, &s, e));
	sqlite3_bind_int64(s, 1, after);
	TRY(db_step(d->db, s, found, e));
	*found = *found && sqlite3_column_type(s, 0) != SQLITE_NULL;
	*first = sqlite3_column_int64(s, 0);
	*last = sqlite3_column_int64(s, 1);
	sqlite3_reset(s);
	return NE_OK;
}

/* About the numbers `first` to `last`, as far as they have one identity. */
static int ask(struct devdb *d, const struct tracked *t, enum range_kind kind, int64_t first,
	       int64_t last, uint64_t salt, struct lost_question *out, struct err *e)
{
	struct identity who;

	TRY(identity_of(d, t, kind, first, &who, e));
	*out = (struct lost_question){.table = t->id,
				      .shape = t->shape.id,
				      .site = who.site,
				      .gen = who.gen,
				      .after = first - 1,
				      .upto = who.hi < last ? who.hi : last,
				      .salt = salt};
	return NE_OK;
}

/* Where `s` stands: a question, or, *none, nothing more of its stage. */
static int ask_stage(struct devdb *d, const struct tracked *t, const struct lost_state *s,
		     struct lost_question *out, bool *none, struct err *e)
{
	int64_t first, last;
	bool found;

	switch (s->stage) {
	case LOST_KEYS:
		TRY(column(d, t, "acked", &last, e));
		TRY(next_key(d, t, s->at, last, &first, &found, e));
		*none = !found;
		return *none ? NE_OK : ask(d, t, RANGE_KEYS, first, last, 0, out, e);
	case LOST_NUMBERS:
		TRY(next_numbers(d, t, s->at, &first, &last, &found, e));
		*none = !found;
		return *none ? NE_OK : ask(d, t, RANGE_NUMBERS, first, last, 0, out, e);
	case LOST_LISTING:
		TRY(lost_hashes(d, t->id, &found, e));
		TRY(column(d, t, "numbered", &last, e));
		*none = !found || s->at >= last;
		return *none ? NE_OK : ask(d, t, RANGE_NUMBERS, s->at + 1, last, s->salt, out, e);
	default:
		*none = true;
		return NE_OK;
	}
}

static void next_stage(struct lost_state *s, const struct tracked *t, uint64_t salt)
{
	s->at = 0;
	s->key = (struct slice){0};
	if (s->stage == LOST_NUMBERS && t->shape.key_is_number)
		s->stage = LOST_DONE;
	else
		s->stage++;
	if (s->stage == LOST_HASHING)
		s->salt = salt;
}

/* The server has all that is here. */
static int skip_giving(struct devdb *d, const struct tracked *t, struct lost_state *s,
		       struct err *e)
{
	bool any;

	TRY(lost_hashes(d, t->id, &any, e));
	if (!any)
		s->stage = LOST_DONE;
	return NE_OK;
}

/* A piece of what the device does by itself; `s` moves. */
static int work(struct devdb *d, const struct tracked *t, struct lost_state *s, uint64_t salt,
		struct arena *a, struct err *e)
{
	bool more = false;

	if (s->stage == LOST_HASHING)
		TRY(lost_hash_some(d, t, s, a, &more, e));
	else if (s->stage == LOST_GIVING)
		TRY(lost_give_some(d, t, s, a, &more, e));
	if (!more)
		next_stage(s, t, salt);
	if (s->stage == LOST_GIVING && !more)
		TRY(skip_giving(d, t, s, e));
	return lost_put(d, s, e);
}

static int work_in_transaction(struct devdb *d, const struct tracked *t, struct lost_state *s,
			       uint64_t salt, struct arena *a, struct err *e)
{
	int rc;

	TRY(devdb_begin(d, e));
	rc = work(d, t, s, salt, a, e);
	rc = rc ? rc : devdb_commit(d, e);
	if (rc)
		devdb_rollback(d);
	return rc;
}

static int next_of(struct devdb *d, const struct tracked *t, uint64_t salt, struct arena *a,
		   enum lost_todo *todo, struct lost_question *out, struct err *e)
{
	struct lost_state s;
	bool any, none;

	TRY(load(d, t->id, a, &s, &any, e));
	if (!any)
		return NE_OK;
	TRY(ask_stage(d, t, &s, out, &none, e));
	*todo = none ? LOST_WORK : LOST_ASK;
	return none ? work_in_transaction(d, t, &s, salt, a, e) : NE_OK;
}

int lost_next(struct devdb *d, uint64_t salt, enum lost_todo *todo, struct lost_question *out,
	      struct err *e)
{
	struct arena a = {.max = LIMIT_DECODED};
	int rc = NE_OK;

	*todo = LOST_NOTHING;
	for (size_t i = 0; !rc && *todo == LOST_NOTHING && i < d->n_table; i++) {
		const struct tracked *t = &d->table[i];

		if (t->shape.kind == SHAPE_APPEND && t->capture_ok)
			rc = next_of(d, t, salt, &a, todo, out, e);
	}
	arena_free(&a);
	return rc;
}

/* ---- the answer ---- */

/* Checked whole before anything of it is taken. */
static bool sound(const struct lost_question *q, const struct lost_known *k)
{
	struct slice left = k->runs;
	int64_t at = q->after, lo, hi;
	bool any = true;

	if (k->upto <= q->after || k->upto > q->upto || k->keys.len % KEY_HASH_BYTES ||
	    (q->salt ? k->runs.len : k->keys.len))
		return false;
	while (any) {
		if (run_take(&left, &at, k->upto, &lo, &hi, &any))
			return false;
	}
	return true;
}

/* The server lacks keys above lo, up to and including hi. */
static int lack_keys(struct devdb *d, const struct tracked *t, int64_t lo, int64_t hi,
		     struct err *e)
{
	int64_t first;
	bool found;

	TRY(next_key(d, t, lo, hi, &first, &found, e));
	return found ? lost_put_range(d, t->id, RANGE_KEYS, first - 1, hi, e) : NE_OK;
}

static int lack_numbers(struct devdb *d, const struct tracked *t, int64_t lo, int64_t hi,
			struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;

	TRY(prepare(d,
		    buf_printf(&sql, "UPDATE main.\"%s\" SET n = -n WHERE n >= -?2 AND n < -?1",
			       t->marks),
		    &sql, &s, e));
	sqlite3_bind_int64(s, 1, lo);
	sqlite3_bind_int64(s, 2, hi);
	TRY(db_run(d->db, s, e));
	return sqlite3_changes64(db_handle(d->db))
		       ? lost_put_range(d, t->id, RANGE_NUMBERS, 0, hi, e)
		       : NE_OK;
}

/* What is between the runs. */
static int take_runs(struct devdb *d, const struct tracked *t, enum lost_stage stage,
		     const struct lost_question *q, const struct lost_known *k, struct err *e)
{
	struct slice left = k->runs;
	int64_t at = q->after, lo, hi;
	bool any = true;

	while (any) {
		int64_t before = at;

		TRY(run_take(&left, &at, k->upto, &lo, &hi, &any));
		if (!any)
			lo = k->upto;
		else
			lo--;
		if (lo <= before)
			continue;
		TRY(stage == LOST_KEYS ? lack_keys(d, t, before, lo, e)
				       : lack_numbers(d, t, before, lo, e));
	}
	return NE_OK;
}

static int take(struct devdb *d, const struct tracked *t, const struct lost_question *q,
		const struct lost_known *k, struct arena *a, struct err *e)
{
	struct lost_state s;
	bool any;

	TRY(load(d, t->id, a, &s, &any, e));
	if (!any || s.at > q->after ||
	    (q->salt ? s.stage != LOST_LISTING || s.salt != q->salt : s.stage > LOST_NUMBERS))
		return NE_OK;
	if (q->salt)
		TRY(lost_unhash(d, t->id, k->keys, e));
	else if (!k->foreign)
		TRY(take_runs(d, t, s.stage, q, k, e));
	s.at = k->upto;
	return lost_put(d, &s, e);
}

static const struct tracked *table_of(const struct devdb *d, const struct lost_question *q)
{
	for (size_t i = 0; i < d->n_table; i++) {
		const struct tracked *t = &d->table[i];

		if (t->id == q->table && t->capture_ok && shape_id_eq(t->shape.id, q->shape))
			return t;
	}
	return NULL;
}

int lost_answer(struct devdb *d, const struct lost_question *q, const struct lost_known *known,
		struct err *e)
{
	const struct tracked *t = table_of(d, q);
	struct arena a = {.max = LIMIT_DECODED};
	int rc;

	if (!sound(q, known))
		return err_set(e, NE_MALFORMED, "an answer about lost rows fits no question");
	if (!t)
		return NE_OK;
	TRY(devdb_begin(d, e));
	rc = take(d, t, q, known, &a, e);
	rc = rc ? rc : devdb_commit(d, e);
	if (rc)
		devdb_rollback(d);
	arena_free(&a);
	return rc;
}

/* ---- comparing ---- */

int lost_compare_next(struct devdb *d, const struct tracked *t, struct lost_compare *c,
		      struct lost_question *out, bool *done, struct err *e)
{
	struct lost_state s = {.table = t->id, .stage = LOST_NUMBERS};
	bool none = true;

	if (!c->begun)
		*c = (struct lost_compare){.begun = true,
					   .keys = !t->shape.key_is_number,
					   .at = t->shape.key_is_number ? INT64_MIN : 0};
	if (!c->keys) {
		s.stage = LOST_KEYS;
		s.at = c->at;
		TRY(ask_stage(d, t, &s, out, &none, e));
		*c = none ? (struct lost_compare){.begun = true, .keys = true} : *c;
	}
	if (c->keys) {
		s.stage = LOST_NUMBERS;
		s.at = c->at;
		TRY(ask_stage(d, t, &s, out, &none, e));
	}
	*done = none;
	return NE_OK;
}

static int put_count(const struct tracked *t, bool keys, struct buf *out)
{
	if (!keys)
		return buf_printf(out,
				  "SELECT count(*) FROM main.\"%s\" WHERE n >= -?2 AND n < -?1",
				  t->marks);
	TRY(buf_printf(out, "SELECT count(*) FROM main."));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x WHERE x."));
	TRY(sql_put_name(out, t->shape.key[0].name));
	TRY(buf_printf(out, " > ?1 AND x."));
	TRY(sql_put_name(out, t->shape.key[0].name));
	TRY(buf_printf(out, " <= ?2 AND NOT EXISTS(SELECT 1 FROM main.\"%s\" WHERE k0 = x.",
		       t->marks));
	TRY(sql_put_name(out, t->shape.key[0].name));
	return buf_printf(out, ")");
}

/* Rows here with numbers above lo, up to and including hi. */
static int count_rows(struct devdb *d, const struct tracked *t, bool keys, int64_t lo, int64_t hi,
		      uint64_t *n, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	int64_t found;
	bool any;

	TRY(prepare(d, put_count(t, keys, &sql), &sql, &s, e));
	sqlite3_bind_int64(s, 1, lo);
	sqlite3_bind_int64(s, 2, hi);
	TRY(one(d, s, &found, &any, e));
	*n += (uint64_t)found;
	return NE_OK;
}

static int count_lacking(struct devdb *d, const struct tracked *t, bool keys,
			 const struct lost_question *q, const struct lost_known *k, uint64_t *n,
			 struct err *e)
{
	struct slice left = k->runs;
	int64_t at = q->after, lo, hi;
	bool any = true;

	*n = 0;
	while (any) {
		int64_t before = at;

		TRY(run_take(&left, &at, k->upto, &lo, &hi, &any));
		lo = any ? lo - 1 : k->upto;
		if (lo > before)
			TRY(count_rows(d, t, keys, before, lo, n, e));
	}
	return NE_OK;
}

int lost_compare_answer(struct devdb *d, const struct tracked *t, struct lost_compare *c,
			const struct lost_question *q, const struct lost_known *known, bool repair,
			uint64_t *rows, uint64_t *lacking, struct err *e)
{
	enum lost_stage stage = c->keys ? LOST_NUMBERS : LOST_KEYS;
	int rc;

	*rows = *lacking = 0;
	if (q->salt || !sound(q, known))
		return err_set(e, NE_MALFORMED, "an answer about rows fits no question");
	/* Those of another device's site it sends itself. */
	if (!known->foreign) {
		TRY(count_rows(d, t, !c->keys, q->after, known->upto, rows, e));
		TRY(count_lacking(d, t, !c->keys, q, known, lacking, e));
	}
	if (*lacking && repair) {
		TRY(devdb_begin(d, e));
		rc = take_runs(d, t, stage, q, known, e);
		rc = rc ? rc : devdb_commit(d, e);
		if (rc)
			devdb_rollback(d);
		TRY(rc);
	}
	c->at = known->upto;
	return NE_OK;
}
