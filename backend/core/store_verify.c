/* Verification (J6): a range of a table's rows in key order, summed, or whole. */
#include <string.h>

#include "backend/core/registers.h"
#include "backend/core/store_sqlite.h"
#include "protocol/value_bytes.h"

enum {
	VERIFY_ROWS = 2000,	   /* looked at for one answer */
	VERIFY_BYTES = 1 << 20,	   /* … of so many bytes of values */
	ABOVE_BYTES = 16 * 1024,   /* of keys that are left out; at the least one */
	WHOLE_ROWS = 1000,	   /* given out */
	FIRST_KEY = 5,		   /* column of the statement */
	ROW_BYTES = 2 * LIMIT_SET, /* of a row being hashed */
};

struct verifier {
	struct store *s;
	const struct store_user *u;
	const struct store_range *r;
	struct store_table *t;
	struct arena *a;
	struct store_digest *out;
	struct store_row scratch;
	struct buf above, row, key_bytes;
	size_t n, bytes; /* looked at */
	bool full;
	struct val key[LIMIT_KEY_COLUMNS], col[LIMIT_COLUMNS];
};

static int no_memory(const struct verifier *v, struct err *e)
{
	return err_set(e, NE_MEMORY, "no memory to verify table %s", v->t->name);
}

static int bind_range(struct verifier *v, sqlite3_stmt *st, const struct val *to, struct err *e)
{
	uint16_t n = v->t->shape.n_key;

	TRY(bind_int(v->s, st, 1, (uint64_t)v->u->uid, e));
	TRY(bind_text(v->s, st, 2, v->u->name.at, e));
	if (v->r->from)
		TRY(bind_vals(v->s, st, 3, v->r->from, n, e));
	return to ? bind_vals(v->s, st, 3 + n, to, n, e) : 0;
}

static int leave_out(struct verifier *v, const struct val *key, struct err *e)
{
	if (values_put(&v->above, key, v->t->shape.n_key))
		return no_memory(v, e);
	v->full |= v->above.len >= ABOVE_BYTES;
	return 0;
}

/* Someone's SQL went unseen: the next step makes a change of it. */
static int touch(struct verifier *v, const struct val *key, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt(v->s, v->t, TQ_TOUCH, &st, e));
	TRY(bind_text(v->s, st, 1, v->u->name.at, e));
	TRY(bind_vals(v->s, st, 2, key, v->t->shape.n_key, e));
	TRY(db_run(v->s->db, st, e));
	v->s->look = true;
	v->out->repaired++;
	return leave_out(v, key, e);
}

/* The range's columns of the row at hand. False: it is too large to travel as it is. */
static bool read_values(struct verifier *v, sqlite3_stmt *st)
{
	const struct store_shape *sh = v->r->shape;
	size_t bytes = 0;
	bool travels = true;

	for (uint16_t i = 0; i < v->t->shape.n_key; i++)
		bytes += val_size(&v->key[i]);
	for (uint16_t i = 0; i < sh->shape.n_col; i++) {
		v->col[i] = val_column(st, FIRST_KEY + sh->shape.n_key + sh->col[i]);
		size_t size = val_size(&v->col[i]);
		travels &= size <= LIMIT_VALUE && bytes <= STORE_ROW_BYTES &&
			   size <= STORE_ROW_BYTES - bytes;
		bytes += travels ? size : 0;
	}
	v->bytes += bytes;
	return travels;
}

static int copy_vals(struct verifier *v, const struct val *from, size_t n, struct val *to,
		     struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (!val_copy(v->a, &from[i], &to[i]))
			return no_memory(v, e);
	return 0;
}

static int read_registers(struct verifier *v, sqlite3_stmt *st, struct reg *exist, struct err *e)
{
	struct slice regs =
		slice_of(sqlite3_column_blob(st, 4), (size_t)sqlite3_column_bytes(st, 4));

	*exist = (struct reg){column_u64(st, 2), column_u64(st, 3)};
	if (registers_decode(sqlite3_column_int64(st, 1), *exist, regs, v->a, &v->scratch))
		return err_set(e, NE_CORRUPT, "registers of table %s cannot be read", v->t->name);
	return 0;
}

/*
 * Columns that nobody wrote, or that an older app's insert ended, are NULL here and hold their
 * DEFAULT on devices: the sum has what the asking one says.
 */
static int put_absent(struct verifier *v, sqlite3_stmt *st, struct err *e)
{
	const struct store_shape *sh = v->r->shape;
	const struct standing *have = &v->scratch.st;
	bool read = false;
	struct reg exist;

	for (uint16_t i = 0; v->r->absent && i < sh->shape.n_col; i++) {
		uint16_t col = sh->col[i];

		if (v->col[i].type != VAL_NULL || v->r->absent[i].type == VAL_NULL)
			continue;
		if (!read)
			TRY(read_registers(v, st, &exist, e));
		read = true;
		if (!have->has[col] || reg_cmp(have->cell[col], exist) < 0)
			v->col[i] = v->r->absent[i];
	}
	return 0;
}

static int put_cells(struct verifier *v, struct row *row, struct err *e)
{
	const struct store_shape *sh = v->r->shape;
	const struct standing *have = &v->scratch.st;
	struct cell *cell = arena_array(v->a, (size_t)sh->shape.n_col + 1, sizeof *cell);

	if (!cell)
		return no_memory(v, e);
	row->cell = cell;
	for (uint16_t i = 0; i < sh->shape.n_col; i++) {
		if (!have->has[sh->col[i]])
			continue;
		cell[row->n_cell].col = i;
		cell[row->n_cell].reg = have->cell[sh->col[i]];
		TRY(copy_vals(v, &v->col[i], 1, &cell[row->n_cell++].val, e));
	}
	return 0;
}

static int give_row(struct verifier *v, sqlite3_stmt *st, bool alive, struct err *e)
{
	struct table_rows *rows = &v->out->rows;
	struct val *key = arena_array(v->a, v->t->shape.n_key, sizeof *key);
	struct row *row = &rows->row[rows->n_row];
	struct reg exist;

	if (!key)
		return no_memory(v, e);
	TRY(read_registers(v, st, &exist, e));
	TRY(copy_vals(v, v->key, v->t->shape.n_key, key, e));
	*row = (struct row){
		.key = key, .exist = alive ? EXIST_ALIVE : EXIST_DEAD, .exist_reg = exist};
	if (alive)
		TRY(put_cells(v, row, e));
	rows->n_row++;
	v->full |= v->bytes >= v->r->bytes || rows->n_row == WHOLE_ROWS;
	return 0;
}

static int look_at(struct verifier *v, sqlite3_stmt *st, struct err *e)
{
	const struct shape *s = &v->r->shape->shape;
	bool alive = sqlite3_column_int64(st, 1) & 1;
	bool there = sqlite3_column_int(st, FIRST_KEY + s->n_key + v->t->shape.n_col) != 0;
	bool except;

	v->n++;
	v->bytes += 16;
	v->full = v->n == VERIFY_ROWS || v->bytes >= VERIFY_BYTES;
	if (key_set_has(v->r->except, v->key, &v->key_bytes, &except))
		return no_memory(v, e);
	if (except)
		return 0;
	if (alive != there)
		return touch(v, v->key, e);
	if (column_u64(st, 0) > v->r->cursor)
		return leave_out(v, v->key, e);
	if (alive && !read_values(v, st))
		return leave_out(v, v->key, e);
	if (alive && !v->r->whole)
		TRY(put_absent(v, st, e));
	if (alive && row_sum_add(&v->out->sum, s, v->key, v->col, &v->row))
		return no_memory(v, e);
	return v->r->whole ? give_row(v, st, alive, e) : 0;
}

static int put_upto(struct verifier *v, struct err *e)
{
	buf_clear(&v->key_bytes);
	if (values_put(&v->key_bytes, v->key, v->t->shape.n_key))
		return no_memory(v, e);
	v->out->upto = arena_copy(v->a, buf_slice(&v->key_bytes));
	return v->out->upto.at ? 0 : no_memory(v, e);
}

/* The row's key, and whether it is within the range. */
static bool within(struct verifier *v, sqlite3_stmt *st, int first, int flag)
{
	for (uint16_t i = 0; i < v->t->shape.n_key; i++)
		v->key[i] = val_column(st, first + i);
	return sqlite3_column_type(st, flag) == SQLITE_NULL || sqlite3_column_int(st, flag) != 0;
}

static int walk(struct verifier *v, sqlite3_stmt *st, struct err *e)
{
	int flag = FIRST_KEY + v->t->shape.n_key + v->t->shape.n_col + 1;
	bool row;

	for (;;) {
		TRY(db_step(v->s->db, st, &row, e));
		if (!row || !within(v, st, FIRST_KEY, flag))
			return 0;
		TRY(look_at(v, st, e));
		if (v->full)
			return put_upto(v, e);
	}
}

/* Rows of the table that no register stands for: nobody was told of them. */
static int walk_strays(struct verifier *v, sqlite3_stmt *st, struct err *e)
{
	uint16_t n = v->t->shape.n_key;
	bool row, except;

	for (size_t i = 0; i < 2 * VERIFY_ROWS && v->above.len < 2 * ABOVE_BYTES; i++) {
		TRY(db_step(v->s->db, st, &row, e));
		if (!row || !within(v, st, 0, n + 1))
			return 0;
		if (!sqlite3_column_int(st, n))
			continue;
		if (key_set_has(v->r->except, v->key, &v->key_bytes, &except))
			return no_memory(v, e);
		TRY(except ? 0 : touch(v, v->key, e));
	}
	return 0;
}

static int read_range(struct verifier *v, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	TRY(table_stmt(v->s, v->t, v->r->from ? TQ_VERIFY_AFTER : TQ_VERIFY, &st, e));
	rc = bind_range(v, st, v->r->to, e);
	rc = rc ? rc : walk(v, st, e);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

static int read_strays(struct verifier *v, struct err *e)
{
	struct val upto[LIMIT_KEY_COLUMNS];
	struct slice bytes = v->out->upto;
	sqlite3_stmt *st;
	int rc;

	if (bytes.len && values_take(&bytes, upto, v->t->shape.n_key))
		return err_set(e, NE_INTERNAL, "a key of table %s cannot be read", v->t->name);
	TRY(table_stmt(v->s, v->t, v->r->from ? TQ_STRAYS_AFTER : TQ_STRAYS, &st, e));
	rc = bind_range(v, st, v->out->upto.len ? upto : v->r->to, e);
	rc = rc ? rc : walk_strays(v, st, e);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

static int run(struct verifier *v, struct err *e)
{
	struct store_digest *out = v->out;

	TRY(store_row_init(v->t, v->a, &v->scratch, e));
	out->rows.shape = &v->r->shape->shape;
	out->rows.row = arena_array(v->a, WHOLE_ROWS, sizeof *out->rows.row);
	if (!out->rows.row)
		return no_memory(v, e);
	TRY(read_range(v, e));
	TRY(read_strays(v, e));
	out->above = arena_copy(v->a, buf_slice(&v->above));
	return out->above.at ? 0 : no_memory(v, e);
}

int store_verify(struct store *s, const struct store_user *u, const struct store_range *r,
		 struct arena *a, struct store_digest *out, struct err *e)
{
	struct verifier *v = arena_alloc(a, sizeof *v);

	if (!v)
		return err_set(e, NE_MEMORY, "no memory to verify a table");
	*out = (struct store_digest){.sum = {0}};
	*v = (struct verifier){.s = s,
			       .u = u,
			       .r = r,
			       .t = r->shape->table,
			       .a = a,
			       .out = out,
			       .above = {.max = ROW_BYTES},
			       .row = {.max = ROW_BYTES},
			       .key_bytes = {.max = ROW_BYTES}};
	int rc = run(v, e);
	buf_free(&v->above);
	buf_free(&v->row);
	buf_free(&v->key_bytes);
	return rc;
}
