/* Ranges row by row, and their repair. */
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/verify_sql.h"
#include "protocol/value_bytes.h"

enum {
	KEY_BYTES = 2 * LIMIT_SET,
	ROWS_MEMORY = 2 * LIMIT_DECODED,
	ROW_MEMORY = LIMIT_DECODED,
	UNKNOWN_MAX = 4000, /* rows of ours gone through at once */
};

/* Rows to be repaired are gathered first: applying them changes what is being read. */
struct comparing {
	const struct verify_range *r;
	const struct table_rows *theirs;
	const struct key_set *above;
	struct key_set known; /* keys the server told something of */
	struct target tg;
	struct verify_counts n;
	struct arena arena, row_arena;
	struct buf scratch;
	struct row *fix; /* the server's rows that are to stand here */
	size_t n_fix, max_fix;
	struct val **unknown; /* keys that the server knows nothing of */
	size_t n_unknown;
};

static int no_memory(const struct comparing *c, struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory to verify table %.*s", (int)c->r->t->shape.name.len,
		       (const char *)c->r->t->shape.name.at);
}

static int has_key(const struct comparing *c, const char *sql, const struct buf *key, bool *yes,
		   struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(c->r->d->db, sql, &s, e));
	if (sqlite3_bind_int64(s, 1, c->r->t->id) ||
	    sqlite3_bind_blob64(s, 2, key->at, key->len, SQLITE_STATIC))
		return db_error(c->r->d->db, e, "verifying a table");
	TRY(db_step(c->r->d->db, s, yes, e));
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return NE_OK;
}

static int is_pending(struct comparing *c, const struct val *key, bool *yes, struct err *e)
{
	sqlite3_stmt *s = c->tg.sql.marks;

	TRY(sql_bind_key(c->r->d, s, 1, c->r->t, key, e));
	TRY(db_step(c->r->d->db, s, yes, e));
	sqlite3_reset(s);
	*yes = *yes && !c->r->d->broken.sum_marked;
	return NE_OK;
}

/* Rows that differ by right, or may do so at the moment. */
static int is_left_out(struct comparing *c, const struct val *key, bool *yes, struct err *e)
{
	if (key_set_has(c->above, key, &c->scratch, yes))
		return no_memory(c, e);
	if (!*yes)
		TRY(is_pending(c, key, yes, e));
	buf_clear(&c->scratch);
	if (!*yes && key_put(&c->r->t->shape, key, &c->scratch))
		return no_memory(c, e);
	if (!*yes)
		TRY(has_key(c, "SELECT 1 FROM neap_parked WHERE table_id = ?1 AND key = ?2",
			    &c->scratch, yes, e));
	if (!*yes)
		TRY(has_key(c, "SELECT 1 FROM neap_rejected WHERE table_id = ?1 AND key = ?2",
			    &c->scratch, yes, e));
	c->n.left_out += *yes;
	return NE_OK;
}

static bool value_same(const struct val *a, const struct val *b)
{
	struct val x = val_canonical(a), y = val_canonical(b);

	return val_eq(&x, &y);
}

static void fix(struct comparing *c, const struct row *row)
{
	if (c->n_fix < c->max_fix)
		c->fix[c->n_fix++] = *row;
}

/* Columns that the server has no value of: whatever is here stands, the default most likely. */
static int compare_one(struct comparing *c, const struct row *row, struct err *e)
{
	struct image own = {0};
	bool found, same = true;

	memcpy(own.key, row->key, (size_t)c->r->t->shape.n_key * sizeof *row->key);
	TRY(sql_read(&c->tg, &own, &c->row_arena, &found, e));
	if (row->exist == EXIST_DEAD) {
		c->n.extra += found;
		c->n.rows += found;
		if (found)
			fix(c, row);
		return NE_OK;
	}
	for (uint16_t i = 0; found && i < row->n_cell; i++)
		same &= cell_no_value(row, &row->cell[i]) ||
			value_same(&row->cell[i].val, &own.val[row->cell[i].col]);
	c->n.rows++;
	c->n.missing += !found;
	c->n.differed += found && !same;
	if (!found || !same)
		fix(c, row);
	return NE_OK;
}

static int compare_theirs(struct comparing *c, struct err *e)
{
	for (size_t i = 0; i < c->theirs->n_row; i++) {
		bool out;

		TRY(is_left_out(c, c->theirs->row[i].key, &out, e));
		if (out)
			continue;
		int rc = compare_one(c, &c->theirs->row[i], e);
		arena_free(&c->row_arena);
		TRY(rc);
	}
	return NE_OK;
}

/* The keys the server told something of, to be looked up. */
static int know_theirs(struct comparing *c, struct err *e)
{
	struct buf keys = {.max = ROWS_MEMORY};
	int rc = NE_OK;

	for (size_t i = 0; !rc && i < c->theirs->n_row; i++)
		rc = values_put(&keys, c->theirs->row[i].key, c->r->t->shape.n_key);
	if (!rc)
		rc = key_set_read(&c->r->t->shape, buf_slice(&keys), SIZE_MAX, &c->arena,
				  &c->known);
	buf_free(&keys);
	return rc ? no_memory(c, e) : NE_OK;
}

static int note_unknown(struct comparing *c, const struct val *key, struct err *e)
{
	int n = c->r->t->shape.n_key;
	struct val *copy = arena_array(&c->arena, (size_t)n, sizeof *copy);

	if (!copy)
		return no_memory(c, e);
	for (int i = 0; i < n; i++)
		if (!val_copy(&c->arena, &key[i], &copy[i]))
			return no_memory(c, e);
	c->unknown[c->n_unknown++] = copy;
	c->n.extra++;
	c->n.rows++;
	return NE_OK;
}

static int look_at_ours(struct comparing *c, sqlite3_stmt *s, struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];
	bool yes;

	if (!range_values(s, 0, c->r->t->shape.n_key, key))
		return NE_OK;
	if (key_set_has(&c->known, key, &c->scratch, &yes))
		return no_memory(c, e);
	if (!yes)
		TRY(is_left_out(c, key, &yes, e));
	return yes ? NE_OK : note_unknown(c, key, e);
}

static int compare_ours(struct comparing *c, struct err *e)
{
	sqlite3_stmt *s;
	bool row = true;
	int rc = NE_OK;

	TRY(know_theirs(c, e));
	c->unknown = arena_array(&c->arena, UNKNOWN_MAX, sizeof *c->unknown);
	if (!c->unknown)
		return no_memory(c, e);
	TRY(range_query(c->r, RANGE_KEYS, 0, &s, e));
	while (!rc && row && c->n_unknown < UNKNOWN_MAX) {
		rc = db_step(c->r->d->db, s, &row, e);
		if (!rc && row)
			rc = look_at_ours(c, s, e);
	}
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc;
}

/* In a table that only receives, a row of our own has nowhere to go. */
static int repair_unknown(struct comparing *c, struct err *e)
{
	for (size_t i = 0; i < c->n_unknown; i++) {
		const struct row gone = {.key = c->unknown[i], .exist = EXIST_DEAD};

		if (c->r->t->shape.direction == DIR_DOWN)
			fix(c, &gone);
		else
			TRY(compare_unknown(&c->tg, c->unknown[i], e));
	}
	return NE_OK;
}

static int repair(struct comparing *c, struct applied *done, struct err *e)
{
	struct table_rows table = {.shape = &c->r->t->shape, .row = c->fix};
	const struct rows rows = {.n_table = 1, .table = &table};

	TRY(repair_unknown(c, e));
	table.n_row = c->n_fix;
	TRY(apply_repair(c->r->d, &rows, done, e));
	c->n.repaired = c->n.differed + c->n.missing + c->n.extra - done->parked;
	return NE_OK;
}

static int run(struct comparing *c, bool repairs, struct applied *done, struct err *e)
{
	TRY(target_open(&c->tg, c->r->d, c->r->t, done, e));
	c->max_fix = c->theirs->n_row + UNKNOWN_MAX;
	c->fix = arena_array(&c->arena, c->max_fix, sizeof *c->fix);
	if (!c->fix)
		return no_memory(c, e);
	TRY(compare_theirs(c, e));
	TRY(compare_ours(c, e));
	return repairs && (c->n_fix || c->n_unknown) ? repair(c, done, e) : NE_OK;
}

/*
 * After an ALTER TABLE or a rebuild that we have not looked at yet, what is here may have been
 * written while nothing captured it.
 */
static int check_schema(struct devdb *d, struct err *e)
{
	int64_t version;

	TRY(db_int(d->db, "PRAGMA schema_version", 0, &version, e));
	return version == d->schema_version
		       ? NE_OK
		       : err_set(e, NE_CAPTURE, "the schema changed since it was looked at");
}

static void add(struct verify_counts *out, const struct verify_counts *n)
{
	out->rows += n->rows;
	out->left_out += n->left_out;
	out->differed += n->differed;
	out->missing += n->missing;
	out->extra += n->extra;
	out->repaired += n->repaired;
}

int verify_rows(const struct verify_range *r, const struct table_rows *theirs,
		const struct key_set *above, bool repairs, struct verify_counts *out,
		struct applied *done, struct err *e)
{
	struct comparing c = {.r = r,
			      .theirs = theirs,
			      .above = above,
			      .arena = {.max = ROWS_MEMORY},
			      .row_arena = {.max = ROW_MEMORY},
			      .scratch = {.max = KEY_BYTES}};
	int rc;

	*done = (struct applied){0};
	TRY(repairs ? devdb_begin(r->d, e) : db_exec(r->d->db, "BEGIN", e));
	rc = check_schema(r->d, e);
	if (!rc)
		rc = run(&c, repairs, done, e);
	if (!rc && repairs)
		rc = devdb_commit(r->d, e);
	devdb_rollback(r->d);
	if (!rc)
		add(out, &c.n);
	arena_free(&c.arena);
	arena_free(&c.row_arena);
	buf_free(&c.scratch);
	return rc;
}
