#include "device/core/devdb_schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/core/capture.h"
#include "device/core/coverage.h"
#include "device/core/lost.h"
#include "device/core/track.h"

enum { SQL_MAX_BYTES = 4 << 20, SHAPE_MAX_BYTES = 1 << 20 };

/* One look at one table. */
struct look {
	struct devdb *d;
	struct tracked *t;
	struct shape now;	  /* as the catalogue has it */
	struct shape_id known_as; /* as stored */
	struct shape was;	  /* as stored, under the names that its columns have by now */
	int to[LIMIT_COLUMNS];	  /* column of `was` → of `now`; −1 dropped */
	int from[LIMIT_COLUMNS];  /* column of `now` → of `was`; −1 added */
	char why[sizeof((struct tracked *)0)->reason]; /* it cannot be synced; empty: no word */
	struct buf sql;
};

static void broken(struct tracked *t, const char *reason)
{
	t->capture_ok = false;
	snprintf(t->reason, sizeof t->reason, "%s", reason);
}

static int run(struct look *l, int put_rc, struct err *e)
{
	if (put_rc)
		return err_set(e, put_rc, "the SQL for a changed table does not fit");
	return capture_exec(l->d->db, &l->sql, e);
}

static int write_shape(struct devdb *d, int64_t id, const struct shape *now, struct slice bytes,
		       struct err *e)
{
	sqlite3_stmt *s;
	int rc;

	TRY(db_prepare(d->db, "UPDATE neap_table SET shape = ?2, name = ?3 WHERE id = ?1", &s, e));
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_blob(s, 2, bytes.at, (int)bytes.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 3, (const char *)now->name.at, (int)now->name.len, SQLITE_STATIC);
	rc = db_run(d->db, s, e);
	sqlite3_clear_bindings(s);
	return rc;
}

/* Takes `now` as the table's shape, here and in neap_table, if it is another one. */
static int store_shape(struct look *l, struct err *e)
{
	struct buf bytes = {.max = SHAPE_MAX_BYTES};
	int rc = shape_encode(&l->now, &bytes, e);

	if (!rc && !slice_eq(buf_slice(&bytes), l->t->encoded_shape)) {
		rc = write_shape(l->d, l->t->id, &l->now, buf_slice(&bytes), e);
		l->t->encoded_shape = arena_copy(&l->d->schema, buf_slice(&bytes));
		if (!rc && !l->t->encoded_shape.at)
			rc = err_set(e, NE_MEMORY, "no memory for the shapes of tables");
	}
	if (!rc)
		l->t->shape = l->now;
	buf_free(&bytes);
	return rc;
}

/* ---- what became of the table ---- */

/* Reads the table under its name, or under the one to which its triggers moved. *there. */
static int read_now(struct look *l, bool *there, struct err *e)
{
	struct track_options o = {.append = l->t->shape.kind == SHAPE_APPEND,
				  .uncompressed = l->t->shape.uncompressed,
				  .direction = l->t->shape.direction};
	struct slice names[2] = {l->t->shape.name};
	struct err why;
	char name[LIMIT_NAME + 1];
	int rc = NE_NOT_FOUND;

	*there = false;
	TRY(capture_installed_table(l->d->db, l->t->marks, &l->d->schema, &names[1], e));
	for (int i = 0; i < 2 && rc == NE_NOT_FOUND; i++) {
		if (!names[i].len || names[i].len > LIMIT_NAME)
			continue;
		/* Another tracked table may have taken the name meanwhile. */
		if (i == 1 && devdb_table_by_name(l->d, names[1]) &&
		    devdb_table_by_name(l->d, names[1]) != l->t)
			continue;
		snprintf(name, sizeof name, "%.*s", (int)names[i].len, (const char *)names[i].at);
		rc = track_read_shape(l->d->db, name, &o, &l->d->schema, &l->now, &why);
	}
	if (rc == NE_USAGE)
		snprintf(l->why, sizeof l->why, "%.255s", why.text);
	if (rc == NE_NOT_FOUND || rc == NE_LIMIT || rc == NE_USAGE || rc == NE_MALFORMED)
		return NE_OK;
	if (rc)
		return err_set(e, rc, "%s", why.text);
	*there = true;
	return NE_OK;
}

static bool same_key(const struct shape *a, const struct shape *b, bool names)
{
	bool same = a->n_key == b->n_key && a->key_is_number == b->key_is_number;

	for (uint16_t i = 0; same && i < a->n_key; i++)
		same = a->key[i].affinity == b->key[i].affinity &&
		       a->key[i].collation == b->key[i].collation &&
		       (!names || devdb_name_eq(a->key[i].name, b->key[i].name));
	return same;
}

/* The stored shape under the names of now, as far as the triggers tell. */
static int read_was(struct look *l, struct err *e)
{
	const struct shape *old = &l->t->shape;
	struct shape_col *col = arena_array(&l->d->schema, old->n_col + 1u, sizeof *col);
	struct shape_col *named = arena_array(&l->d->schema, old->n_col + 1u, sizeof *col);
	bool known;

	if (!col || !named)
		return err_set(e, NE_MEMORY, "no memory for the shape of a table");
	if (old->n_col)
		memcpy(col, old->col, old->n_col * sizeof *col);
	TRY(capture_installed_columns(l->d->db, l->t->marks, old->n_col, &l->d->schema, named,
				      &known, e));
	for (uint16_t i = 0; known && i < old->n_col; i++)
		col[i].name = named[i].name;
	l->was = *old;
	l->was.name = l->now.name;
	l->was.col = col;
	if (same_key(&l->now, old, false))
		l->was.key = l->now.key;
	return NE_OK;
}

static void map_columns(struct look *l)
{
	for (int i = 0; i < l->was.n_col; i++)
		l->to[i] = -1;
	for (int i = 0; i < l->now.n_col; i++) {
		l->from[i] = -1;
		for (int k = 0; k < l->was.n_col; k++) {
			if (l->to[k] >= 0 || l->from[i] >= 0 ||
			    !devdb_name_eq(l->now.col[i].name, l->was.col[k].name))
				continue;
			l->from[i] = k;
			l->to[k] = i;
		}
	}
}

/* A collation outside the key only says how UNIQUE compares, and is not stored. */
static void collate_as_now(struct look *l)
{
	for (int i = 0; i < l->was.n_col; i++)
		if (l->to[i] >= 0)
			l->was.col[i].collation = l->now.col[l->to[i]].collation;
}

static bool is_captured(const struct look *l)
{
	return l->now.kind == SHAPE_MERGE && l->now.direction != DIR_DOWN;
}

/* True if the triggers on the table are those that SQLite has made of ours. */
static int triggers_intact(struct look *l, bool *yes, struct err *e)
{
	struct buf want = {.max = SQL_MAX_BYTES}, have = {.max = SQL_MAX_BYTES};
	int rc = capture_triggers_since_sql(&l->was, l->t->shape.col, l->t->id, l->t->marks, &want,
					    e);

	if (!rc)
		rc = capture_installed_sql(l->d->db, l->t->marks, l->now.name, false, &have, e);
	if (!rc)
		*yes = slice_eq(buf_slice(&want), buf_slice(&have));
	buf_free(&want);
	buf_free(&have);
	return rc;
}

/* Column `was` of a constraint, counted over key and others, as it counts now; LIMIT_COLUMNS gone.
 */
static int column_now(const struct look *l, uint16_t was)
{
	if (was < l->was.n_key)
		return was;
	int to = l->to[was - l->was.n_key];
	return to < 0 ? LIMIT_COLUMNS : to + l->now.n_key;
}

/*
 * The same of those for UNIQUE indexes that the shape cannot say. *lacking: one is on the table
 * through which REPLACE may have removed rows unseen.
 */
static int index_triggers_intact(struct look *l, bool *yes, bool *lacking, struct err *e)
{
	struct buf want = {.max = SQL_MAX_BYTES}, have = {.max = SQL_MAX_BYTES};
	int rc = capture_index_triggers_sql(l->d->db, &l->now, l->t->marks, &want, e);

	if (!rc)
		rc = capture_installed_sql(l->d->db, l->t->marks, l->now.name, true, &have, e);
	*yes = !rc && slice_eq(buf_slice(&want), buf_slice(&have));
	*lacking = !rc && !*yes && want.len;
	buf_free(&want);
	buf_free(&have);
	return rc;
}

/*
 * SQLite fires the trigger made last first. Where one of the app's comes before ours and ends in
 * RAISE(IGNORE) or RAISE(FAIL), or fails under OR FAIL, ours do not see a row that stays: so ours
 * are made again. *lacking: one with RAISE was there, which may have hidden rows already.
 */
static int order_intact(struct look *l, bool *yes, bool *lacking, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(l->d->db,
		       "SELECT count(*), total(sql LIKE '%raise%') FROM main.sqlite_schema WHERE "
		       "type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE AND sql LIKE '%after%' "
		       "AND name NOT GLOB 'neap_*' AND rowid > (SELECT min(rowid) FROM "
		       "main.sqlite_schema WHERE type = 'trigger' AND name GLOB ?2 || '_*')",
		       &s, e));
	sqlite3_bind_text(s, 1, (const char *)l->now.name.at, (int)l->now.name.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, l->t->marks, -1, SQLITE_STATIC);
	TRY(db_step(l->d->db, s, &row, e));
	*yes = row && sqlite3_column_int(s, 0) == 0;
	*lacking |= row && sqlite3_column_int(s, 1) && is_captured(l);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return NE_OK;
}

/* A constraint that the triggers do not know yet, of columns that were there. */
static bool unique_is_new(const struct look *l)
{
	bool any = false;

	for (uint16_t i = 0; l->now.kind == SHAPE_MERGE && i < l->now.n_unique; i++) {
		const struct shape_unique *u = &l->now.unique[i];
		bool known = false;

		for (uint16_t k = 0; !known && k < l->was.n_unique; k++) {
			const struct shape_unique *v = &l->was.unique[k];
			bool same = u->n == v->n;

			for (uint16_t c = 0; same && c < u->n; c++)
				same = u->col[c] == column_now(l, v->col[c]);
			known = same;
		}
		any |= !known;
	}
	return any;
}

/* ---- marks of a merge table ---- */

static bool renamed(const struct look *l, int was)
{
	return !devdb_name_eq(l->was.col[was].name, l->t->shape.col[was].name);
}

/*
 * Marks go with their columns. That of a renamed one belongs to a new one, of which no set in
 * flight carried anything: it gets the generation of now.
 */
static int move_marks(struct look *l, struct err *e)
{
	const char *marks = l->t->marks;
	bool same = l->was.n_col <= l->now.n_col;

	for (int i = 0; i < l->was.n_col; i++)
		same &= l->to[i] == i && !renamed(l, i);
	if (same)
		return NE_OK;
	TRY(db_execf(l->d->db, e, "UPDATE main.\"%s\" SET col = col + %d WHERE col >= 0", marks,
		     LIMIT_COLUMNS));
	for (int i = 0; i < l->was.n_col; i++) {
		if (l->to[i] < 0)
			TRY(db_execf(l->d->db, e, "DELETE FROM main.\"%s\" WHERE col = %d", marks,
				     LIMIT_COLUMNS + i));
		else
			TRY(db_execf(l->d->db, e,
				     "UPDATE main.\"%s\" SET col = %d%s WHERE col = %d", marks,
				     l->to[i],
				     renamed(l, i) ? ", gen = (SELECT gen FROM neap_clock)" : "",
				     LIMIT_COLUMNS + i));
	}
	return NE_OK;
}

/* INSERT INTO marks SELECT key, <col>, <stamp>, gen, NULL FROM the table WHERE its key is complete
 */
static int put_mark_rows(const struct look *l, int col, const char *stamp, struct buf *out)
{
	const struct shape *s = &l->now;

	TRY(buf_printf(out, "INSERT INTO main.\"%s\" SELECT ", l->t->marks));
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, ", "));
	}
	TRY(buf_printf(out, "%d, %s, (SELECT gen FROM neap_clock), NULL FROM main.", col, stamp));
	TRY(sql_put_name(out, s->name));
	TRY(buf_printf(out, " WHERE "));
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, "%s", i ? " AND " : ""));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " IS NOT NULL"));
	}
	return NE_OK;
}

int column_default_sql(struct db *db, struct slice table, struct slice col, struct buf *out,
		       struct err *e)
{
	const char *text = NULL;
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(db_prepare(
		db, "SELECT dflt_value FROM pragma_table_xinfo(?1) WHERE name = ?2 COLLATE NOCASE",
		&s, e));
	sqlite3_bind_text(s, 1, (const char *)table.at, (int)table.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, (const char *)col.at, (int)col.len, SQLITE_STATIC);
	rc = db_step(db, s, &row, e);
	if (!rc && row)
		text = (const char *)sqlite3_column_text(s, 0);
	if (!rc && buf_printf(out, "%s", text ? text : "NULL"))
		rc = err_set(e, NE_MEMORY, "no memory for a column's default");
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

/* Marks every value of a column that is not the default, where no mark is. */
static int mark_values(struct look *l, int col, const char *stamp, struct err *e)
{
	struct slice name = l->now.col[col].name;
	int rc = put_mark_rows(l, col, stamp, &l->sql);

	rc = rc ? rc : buf_printf(&l->sql, " AND ");
	rc = rc ? rc : sql_put_name(&l->sql, name);
	rc = rc ? rc : buf_printf(&l->sql, " IS NOT (");
	rc = rc ? rc : column_default_sql(l->d->db, l->now.name, name, &l->sql, e);
	rc = rc ? rc : buf_printf(&l->sql, ") COLLATE BINARY ON CONFLICT DO NOTHING");
	return run(l, rc, e);
}

/*
 * Renamed columns are new ones to the server: their values are as defaults that every device with
 * the same migration is born with: with stamp 0 they give way to whatever the table's pull
 * brings, and the cut gives those that are left a stamp. Added ones: no trigger knew them until
 * now; an insert in flight does not bring them, so it stays pending.
 */
static int mark_new_columns(struct look *l, struct err *e)
{
	for (int i = 0; i < l->now.n_col; i++) {
		if (l->from[i] < 0) {
			TRY(mark_values(l, i, capture_clock_sql, e));
			TRY(db_execf(l->d->db, e,
				     "UPDATE main.\"%s\" SET gen = (SELECT gen FROM neap_clock) "
				     "WHERE col = %d",
				     l->t->marks, MARK_EXIST));
		} else if (renamed(l, l->from[i]))
			TRY(mark_values(l, i, "0", e));
	}
	return NE_OK;
}

/* Every row as an insert, where none is pending. */
static int mark_all_rows(struct look *l, const char *stamp, struct err *e)
{
	int rc = put_mark_rows(l, MARK_EXIST, stamp, &l->sql);

	rc = rc ? rc : buf_printf(&l->sql, " ON CONFLICT DO NOTHING");
	return run(l, rc, e);
}

/*
 * What is marked may have been changed unseen since a set in flight, or one that is on its way
 * here, carried it: it is as if it were written again.
 */
static int mark_again(struct look *l, struct err *e)
{
	int rc = buf_printf(&l->sql,
			    "UPDATE main.\"%s\" SET stamp = iif(stamp < 65536, stamp + 1, max(%s, "
			    "stamp + 1)), gen = (SELECT gen FROM neap_clock), site = NULL",
			    l->t->marks, capture_clock_sql);

	return run(l, rc, e);
}

/* Rows with marks that are not here any more: they were, when they were marked. */
static int mark_missing(struct look *l, struct err *e)
{
	const struct shape *s = &l->now;
	struct buf *out = &l->sql;
	int rc = buf_printf(out, "INSERT INTO main.\"%s\" SELECT DISTINCT ", l->t->marks);

	for (unsigned i = 0; !rc && i < s->n_key; i++)
		rc = buf_printf(out, "k%u, ", i);
	rc = rc ? rc
		: buf_printf(out,
			     "%d, %s, (SELECT gen FROM neap_clock), NULL FROM main.\"%s\" AS m "
			     "WHERE col >= 0 AND NOT EXISTS(SELECT 1 FROM main.",
			     MARK_EXIST, capture_clock_sql, l->t->marks);
	rc = rc ? rc : sql_put_name(out, s->name);
	rc = rc ? rc : buf_printf(out, " AS x WHERE ");
	for (unsigned i = 0; !rc && i < s->n_key; i++) {
		rc = buf_printf(out, "%sx.", i ? " AND " : "");
		rc = rc ? rc : sql_put_name(out, s->key[i].name);
		rc = rc ? rc : buf_printf(out, " = m.k%u", i);
	}
	return run(l, rc ? rc : buf_printf(out, ") ON CONFLICT DO NOTHING"), e);
}

/* ---- taking what was found ---- */

/* Looked at before, and nothing has changed. */
static int as_stored(struct look *l, bool *yes, struct err *e)
{
	struct buf bytes = {.max = SHAPE_MAX_BYTES};
	int rc = shape_encode(&l->now, &bytes, e);

	*yes = !rc && slice_eq(buf_slice(&bytes), l->t->encoded_shape);
	buf_free(&bytes);
	return rc;
}

/* One that others may have written: also one renamed, under its new name. */
static bool any_new_column(const struct look *l)
{
	bool any = false;

	for (int i = 0; i < l->now.n_col; i++)
		any |= l->from[i] < 0 || renamed(l, l->from[i]);
	return any;
}

static int take_altered(struct look *l, struct err *e)
{
	bool moved = !devdb_name_eq(l->now.name, l->t->shape.name) ||
		     !same_key(&l->now, &l->t->shape, true);
	bool adds = any_new_column(l);

	if (is_captured(l)) {
		TRY(move_marks(l, e));
		TRY(mark_new_columns(l, e));
		if (moved)
			TRY(mark_all_rows(l, "0", e));
	}
	TRY(capture_install(l->d->db, &l->now, l->t->id, l->t->marks, e));
	TRY(store_shape(l, e));
	return moved || adds ? NE_OK : coverage_follow(l->d, l->known_as, l->t->shape.id, e);
}

static bool goes_by_number(const struct look *l)
{
	return l->now.kind == SHAPE_APPEND && !l->now.key_is_number;
}

static int take_rebuilt(struct look *l, struct err *e)
{
	if (is_captured(l)) {
		TRY(move_marks(l, e));
		TRY(mark_again(l, e));
		TRY(mark_missing(l, e));
		TRY(mark_new_columns(l, e));
	}
	TRY(capture_install(l->d->db, &l->now, l->t->id, l->t->marks, e));
	TRY(store_shape(l, e));
	if (goes_by_number(l))
		TRY(lost_begin_table(l->d, l->t, e));
	else if (l->now.kind != SHAPE_MERGE)
		return NE_OK;
	return coverage_want(l->d, l->t->id, l->known_as,
			     is_captured(l) || goes_by_number(l) ? CATCHUP_COMPARE : CATCHUP_PULL,
			     e);
}

/* Another key: other rows. What was marked of the old ones means nothing any more. */
static int take_anew(struct look *l, struct err *e)
{
	return track_replaced(l->d, l->t, &l->now, e);
}

static int gone(struct look *l, struct err *e)
{
	broken(l->t, *l->why ? l->why : "the table is gone, or is not what Neap can sync any more");
	if (l->t->shape.kind != SHAPE_MERGE || l->t->shape.direction == DIR_DOWN)
		return NE_OK;
	/* What comes meanwhile is not applied: known is how far it had come. */
	return coverage_want(l->d, l->t->id, l->known_as, CATCHUP_COMPARE, e);
}

static int look_at(struct look *l, struct err *e)
{
	bool there, intact, index_intact, first, lacking, same;

	TRY(read_now(l, &there, e));
	if (!there)
		return gone(l, e);
	l->t->capture_ok = true;
	if (!same_key(&l->now, &l->t->shape, false))
		return take_anew(l, e);
	TRY(read_was(l, e));
	map_columns(l);
	collate_as_now(l);
	TRY(triggers_intact(l, &intact, e));
	TRY(index_triggers_intact(l, &index_intact, &lacking, e));
	TRY(order_intact(l, &first, &lacking, e));
	if (!intact || lacking || unique_is_new(l))
		return same_key(&l->now, &l->t->shape, true) ? take_rebuilt(l, e) : take_anew(l, e);
	TRY(as_stored(l, &same, e));
	return same && index_intact && first ? NE_OK : take_altered(l, e);
}

int devdb_check_table(struct devdb *d, struct tracked *t, struct err *e)
{
	struct look l = {.d = d, .t = t, .known_as = t->shape.id, .sql = {.max = SQL_MAX_BYTES}};
	int rc = look_at(&l, e);

	buf_free(&l.sql);
	return rc;
}
