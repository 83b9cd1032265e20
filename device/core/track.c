#include "device/core/track.h"

#include <inttypes.h>
#include <stdio.h>

#include "device/core/capture.h"
#include "device/core/identity.h"
#include "device/core/keep.h"
#include "device/core/lost.h"

enum { SQL_MAX_BYTES = 1 << 20, SHAPE_MAX_BYTES = 1 << 20 };

/* One call of track_table. */
struct tracking {
	struct devdb *d;
	const struct track_options *o;
	struct arena arena;
	struct shape shape;
	struct buf encoded;
	int64_t id;
	char marks[32];
};

static bool is_new_kind(const struct shape *a, const struct shape *b)
{
	bool same =
		a->kind == b->kind && a->key_is_number == b->key_is_number && a->n_key == b->n_key;

	for (uint16_t i = 0; same && i < a->n_key; i++)
		same = slice_eq(a->key[i].name, b->key[i].name) &&
		       a->key[i].affinity == b->key[i].affinity &&
		       a->key[i].collation == b->key[i].collation;
	return !same;
}

/* Names of the key's columns with commas between and after. */
static int put_key(const struct shape *s, struct buf *out)
{
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, ", "));
	}
	return NE_OK;
}

/* FROM the table, its rows with a complete key. */
static int put_from(const struct shape *s, struct buf *out)
{
	TRY(buf_printf(out, " FROM main."));
	TRY(sql_put_name(out, s->name));
	TRY(buf_printf(out, " WHERE "));
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " AND " : ""));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " IS NOT NULL"));
	}
	return NE_OK;
}

/* Every row as an insert with `stamp` (SQL), in key order so that the mark table only grows. */
static int put_mark_all(const struct tracking *t, const char *stamp, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO \"%s\" SELECT ", t->marks));
	TRY(put_key(&t->shape, out));
	TRY(buf_printf(out, "%d, %s, (SELECT gen FROM neap_clock), NULL", MARK_EXIST, stamp));
	TRY(put_from(&t->shape, out));
	TRY(buf_printf(out, " ORDER BY "));
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "%s%u", i ? ", " : "", i + 1u));
	TRY(buf_printf(out, " ON CONFLICT("));
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "k%u, ", (unsigned)i));
	return buf_printf(out, "col) DO UPDATE SET stamp = max(excluded.stamp, stamp + 1), "
			       "gen = excluded.gen, site = NULL");
}

/* Every row gets a number; of a table whose key is the number, only the one no key is below. */
static int put_number_all(const struct tracking *t, struct buf *out)
{
	TRY(buf_printf(out, "INSERT INTO \"%s\" SELECT NULL", t->marks));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, ", "));
		TRY(sql_put_name(out, t->shape.key[i].name));
	}
	TRY(put_from(&t->shape, out));
	if (!t->shape.key_is_number)
		return NE_OK;
	TRY(buf_printf(out, " AND "));
	TRY(sql_put_name(out, t->shape.key[0].name));
	return buf_printf(out, " = (-9223372036854775807 - 1)");
}

static int run(struct tracking *t, int put_rc, struct buf *sql, struct err *e)
{
	int rc = put_rc ? err_set(e, put_rc, "the SQL that marks the rows does not fit")
			: capture_exec(t->d->db, sql, e);

	buf_free(sql);
	return rc;
}

static int mark_all(struct tracking *t, const char *stamp, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};

	return run(t, put_mark_all(t, stamp, &sql), &sql, e);
}

static int number_all(struct tracking *t, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};

	return run(t, put_number_all(t, &sql), &sql, e);
}

/* Generations of append tables are never used again: each tracking takes the next two. */
static int begin_append(struct tracking *t, struct err *e)
{
	int64_t gen;

	TRY(identity_new_gen(t->d, &gen, e));
	return db_execf(t->d->db, e,
			"INSERT INTO neap_append VALUES(%" PRId64 ", %" PRId64
			", -9223372036854775807 - 1, -9223372036854775807 - 1, "
			"-9223372036854775807 - 1, 0)",
			t->id, gen);
}

static int store_policy(struct tracking *t, struct err *e)
{
	const struct policy *p = &t->o->policy;

	TRY(db_execf(t->d->db, e, "DELETE FROM neap_policy WHERE id = %" PRId64, t->id));
	return db_execf(t->d->db, e,
			"INSERT INTO neap_policy(id, keep_rows, keep_bytes, pending_rows, "
			"pending_bytes, drop_oldest) VALUES(%" PRId64 ", %" PRId64 ", %" PRId64
			", %" PRId64 ", %" PRId64 ", %d)",
			t->id, p->keep_rows, p->keep_bytes, p->pending_rows, p->pending_bytes,
			p->drop_oldest);
}

static int store_entry(struct tracking *t, struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(db_prepare(
		t->d->db,
		"INSERT INTO neap_table(id, name, shape, priority, keep_ms) VALUES(?1, ?2, ?3, "
		"?4, ?5) ON CONFLICT(id) DO UPDATE SET name = excluded.name, shape = "
		"excluded.shape, priority = excluded.priority, keep_ms = excluded.keep_ms",
		&s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_text(s, 2, (const char *)t->shape.name.at, (int)t->shape.name.len,
			  SQLITE_STATIC);
	sqlite3_bind_blob(s, 3, t->encoded.at, (int)t->encoded.len, SQLITE_STATIC);
	sqlite3_bind_int(s, 4, t->o->priority);
	sqlite3_bind_int64(s, 5, t->o->policy.keep_ms);
	rc = db_run(t->d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc ? rc : store_policy(t, e);
}

static int track_new(struct tracking *t, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	int64_t id;
	int rc;

	if (t->d->n_table >= LIMIT_TABLES)
		return err_set(e, NE_LIMIT, "%d tables are tracked already, which is the most",
			       LIMIT_TABLES);
	/* Ids are never used again: a set in flight may still name an old one. */
	TRY(devdb_get(t->d, "next_table", &id, e));
	t->id = id ? id : 1;
	TRY(devdb_set(t->d, "next_table", t->id + 1, e));
	snprintf(t->marks, sizeof t->marks, "neap_m%" PRId64, t->id);
	TRY(store_entry(t, e));
	rc = capture_table_sql(&t->shape, t->marks, &sql, e);
	if (!rc)
		rc = capture_exec(t->d->db, &sql, e);
	buf_free(&sql);
	TRY(rc);
	if (t->shape.kind == SHAPE_APPEND) {
		TRY(begin_append(t, e));
		TRY(number_all(t, e));
	} else if (t->shape.direction != DIR_DOWN) {
		TRY(mark_all(t, "0", e));
	}
	return capture_install(t->d->db, &t->shape, t->id, t->marks, e);
}

static int forget_table(struct devdb *d, const struct tracked *t, struct err *e)
{
	TRY(capture_drop_triggers(d->db, t->marks, e));
	TRY(db_execf(d->db, e, "DROP TABLE IF EXISTS main.\"%s\"", t->marks));
	TRY(lost_forget(d, t->id, e));
	TRY(db_execf(d->db, e, "DELETE FROM neap_identity WHERE table_id = %" PRId64, t->id));
	TRY(db_execf(d->db, e, "DELETE FROM neap_catchup WHERE table_id = %" PRId64, t->id));
	TRY(db_execf(d->db, e,
		     "DELETE FROM neap_again WHERE table_id = %" PRId64
		     "; DELETE FROM neap_round WHERE table_id = %" PRId64,
		     t->id, t->id));
	return db_execf(d->db, e,
			"DELETE FROM neap_table WHERE id = %" PRId64
			"; DELETE FROM neap_append WHERE id = %" PRId64
			"; DELETE FROM neap_policy WHERE id = %" PRId64
			"; DELETE FROM neap_acked WHERE table_id = %" PRId64
			"; DELETE FROM neap_parked WHERE table_id = %" PRId64
			"; DELETE FROM neap_rejected WHERE table_id = %" PRId64
			"; DELETE FROM neap_verify WHERE table_id = %" PRId64
			"; DELETE FROM neap_seen WHERE table_id = %" PRId64,
			t->id, t->id, t->id, t->id, t->id, t->id, t->id, t->id);
}

static void make(struct tracking *t, struct tracked *out)
{
	out->id = t->id;
	out->shape = t->shape;
	out->capture_ok = true;
	out->reason[0] = '\0';
	snprintf(out->marks, sizeof out->marks, "%s", t->marks);
}

int track_replaced(struct devdb *d, struct tracked *t, const struct shape *now, struct err *e)
{
	struct track_options o = {.priority = t->priority, .policy = t->policy};
	struct tracking x = {.d = d, .o = &o, .shape = *now, .encoded = {.max = SHAPE_MAX_BYTES}};
	int rc = shape_encode(&x.shape, &x.encoded, e);

	d->n_table--; /* it makes room for itself */
	if (!rc)
		rc = forget_table(d, t, e);
	if (!rc)
		rc = track_new(&x, e);
	d->n_table++;
	if (!rc)
		make(&x, t);
	if (!rc) {
		t->encoded_shape = arena_copy(&d->schema, buf_slice(&x.encoded));
		rc = t->encoded_shape.at ? NE_OK : err_set(e, NE_MEMORY, "no memory for a shape");
	}
	buf_free(&x.encoded);
	return rc;
}

/* Another kind is another table on the server: its rows would go up once more, as new ones. */
static int refuse_other_kind(const struct shape *now, const struct shape *old, struct err *e)
{
	bool append = old->kind == SHAPE_APPEND;

	if (now->kind == old->kind)
		return NE_OK;
	return err_set(
		e, NE_USAGE,
		"table %.*s is tracked as %s; track it again %s --append, or untrack it first "
		"if all its rows are to be sent anew",
		(int)(old->name.len < 80 ? old->name.len : 80), (const char *)old->name.at,
		append ? "an append table" : "a merge table", append ? "with" : "without");
}

static int track_again(struct tracking *t, const struct tracked *old, struct err *e)
{
	TRY(refuse_other_kind(&t->shape, &old->shape, e));
	if (is_new_kind(&t->shape, &old->shape)) {
		TRY(forget_table(t->d, old, e));
		return track_new(t, e);
	}
	t->id = old->id;
	snprintf(t->marks, sizeof t->marks, "%s", old->marks);
	TRY(store_entry(t, e));
	if (policy_keeps(&old->policy) && !policy_keeps(&t->o->policy))
		TRY(keep_forget(t->d, old, e));
	if (t->shape.direction == DIR_DOWN)
		TRY(db_execf(t->d->db, e, "DELETE FROM main.\"%s\"", t->marks));
	return capture_install(t->d->db, &t->shape, t->id, t->marks, e);
}

static int track_in_transaction(struct tracking *t, const char *table, struct err *e)
{
	const struct tracked *old;

	TRY(devdb_reload(t->d, e));
	TRY(track_read_shape(t->d->db, table, t->o, &t->arena, &t->shape, e));
	TRY(shape_encode(&t->shape, &t->encoded, e));
	old = devdb_table_by_name(t->d, t->shape.name);
	if (old)
		TRY(track_again(t, old, e));
	else
		TRY(track_new(t, e));
	return devdb_reload(t->d, e);
}

/* Ends a transaction begun with devdb_begin; after a failure the tables are as before. */
static int finish(struct devdb *d, int rc, struct err *e)
{
	struct err ignored;

	if (!rc)
		rc = devdb_commit(d, e);
	if (!rc)
		return NE_OK;
	devdb_rollback(d);
	if (devdb_reload(d, &ignored))
		d->n_table = 0;
	return rc;
}

static int check_options(const struct track_options *o, struct err *e)
{
	const struct policy *p = &o->policy;

	if (o->priority < 0 || o->priority > 9)
		return err_set(e, NE_USAGE, "a priority is 0 to 9");
	if (p->keep_ms < 0 || p->keep_rows < 0 || p->keep_bytes < 0 || p->pending_rows < 0 ||
	    p->pending_bytes < 0)
		return err_set(e, NE_USAGE, "an age or a number to keep is not negative");
	if (!o->append && (policy_keeps(p) || p->drop_oldest))
		return err_set(e, NE_USAGE, "only rows of append tables are ever deleted here");
	if (p->drop_oldest && !p->pending_rows && !p->pending_bytes)
		return err_set(e, NE_USAGE,
			       "the oldest rows are dropped above a bound, and none is given");
	return NE_OK;
}

int track_table(struct devdb *d, const char *table, const struct track_options *o, struct err *e)
{
	struct tracking t = {
		.d = d, .o = o, .arena = {.max = 1 << 20}, .encoded = {.max = SHAPE_MAX_BYTES}};
	int rc;

	TRY(check_options(o, e));
	TRY(devdb_begin(d, e));
	rc = finish(d, track_in_transaction(&t, table, e), e);
	arena_free(&t.arena);
	buf_free(&t.encoded);
	return rc;
}

int untrack_table(struct devdb *d, const char *table, struct err *e)
{
	const struct tracked *t;
	int rc = NE_OK;

	TRY(devdb_begin(d, e));
	t = devdb_table_by_name(d, slice_str(table));
	if (!t)
		rc = err_set(e, NE_NOT_FOUND, "table %.80s is not tracked", table);
	if (!rc)
		rc = forget_table(d, t, e);
	if (!rc)
		rc = devdb_reload(d, e);
	return finish(d, rc, e);
}
