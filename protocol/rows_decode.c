#include <string.h>

#include "protocol/column.h"
#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/rows_kind.h"

/* Working memory of one column at its worst: LIMIT_ROWS values, nested to the full depth. */
enum { WORK_MAX = 8 * 1024 * 1024 };

struct reader {
	struct column_in in;
	uint64_t home;
	size_t n_site;	     /* of a table */
	const uint8_t *site; /* SITE_BYTES each, ascending */
	struct shape_finder shapes;
	struct shape_id *unknown;
	size_t rows, cells; /* so far */
	struct arena keep;  /* of one table */
	struct arena tmp;   /* of one column */
};

static uint64_t site_at(const struct reader *r, size_t i)
{
	uint64_t v = 0;
	for (size_t k = 0; k < SITE_BYTES; k++)
		v = v << 8 | r->site[i * SITE_BYTES + k];
	return v;
}

static int get_sites(struct reader *r)
{
	uint64_t n;
	TRY(get_varint(&r->in.left, &n));
	if (n == 0)
		return NE_MALFORMED;
	if (n > LIMIT_SITES)
		return NE_LIMIT;
	r->n_site = (size_t)n;
	TRY(get_bytes(&r->in.left, r->n_site * SITE_BYTES, &r->site));
	for (size_t i = 0; i < r->n_site; i++) {
		uint64_t site = site_at(r, i);
		if (site > INT64_MAX || site == r->home || (i && site <= site_at(r, i - 1)))
			return NE_MALFORMED;
	}
	return 0;
}

/*
 * Makes the rows with their keys and cells, after comparing what they take in all with the limits
 * and with what the arena has left.
 */
static int make_rows(struct reader *r, struct table_rows *t, size_t n_cell, struct val **key,
		     struct cell **cell)
{
	const struct shape *s = t->shape;
	struct arena *a = r->in.a;
	size_t n_key = t->n_row * s->n_key;
	if (n_key > LIMIT_CELLS - r->cells || n_cell > LIMIT_CELLS - r->cells - n_key)
		return NE_LIMIT;
	r->cells += n_key + n_cell;
	/* All three are bounded by now: the sum is far from overflowing. */
	size_t need = t->n_row * sizeof *t->row + n_key * sizeof **key + n_cell * sizeof **cell;
	if (a->used > a->max || need > a->max - a->used)
		return NE_LIMIT;
	t->row = arena_array(a, t->n_row, sizeof *t->row);
	*key = arena_array(a, n_key, sizeof **key);
	*cell = arena_array(a, n_cell, sizeof **cell);
	if (!t->row || !*key || !*cell)
		return NE_MEMORY;
	for (size_t i = 0; i < t->n_row; i++)
		t->row[i].key = *key + i * s->n_key;
	return 0;
}

/* The sum of cells over all rows, bounded while it grows. */
static int count_cells(const struct kinds *k, size_t n_row, size_t *sum)
{
	size_t n = 0;
	for (size_t i = 0; i < n_row; i++) {
		n += k->kind[k->index[i]].n_cell;
		if (n > LIMIT_CELLS)
			return NE_LIMIT;
	}
	*sum = n;
	return 0;
}

static void shape_rows(const struct kinds *k, struct table_rows *t, struct cell *cell)
{
	for (size_t i = 0; i < t->n_row; i++) {
		const struct kind *kind = &k->kind[k->index[i]];
		t->row[i].exist = (enum row_exist)kind->exist;
		t->row[i].n_cell = kind->n_cell;
		t->row[i].cell = cell;
		for (uint16_t c = 0; c < t->shape->n_col; c++)
			if (kind_has(kind, c))
				(cell++)->col = c;
	}
}

/* The next register of the streams, checked. */
struct registers {
	const int64_t *ms, *counter, *site;
	size_t next;
};

static int next_register(const struct reader *r, struct registers *s, struct reg *out)
{
	size_t i = s->next++;
	int64_t site = s->site ? s->site[i] : 0;
	if (s->ms[i] < 0 || s->ms[i] > STAMP_MAX >> STAMP_COUNTER_BITS || s->counter[i] < 0 ||
	    s->counter[i] > STAMP_COUNTER_MAX || site < 0 || (uint64_t)site > r->n_site)
		return NE_MALFORMED;
	out->stamp = (uint64_t)s->ms[i] << STAMP_COUNTER_BITS | (uint64_t)s->counter[i];
	out->site = site ? site_at(r, (size_t)site - 1) : r->home;
	return 0;
}

static int set_registers(const struct reader *r, const struct kinds *k, struct table_rows *t,
			 struct cell *cell, struct registers *s)
{
	for (size_t i = 0; i < t->n_row; i++) {
		const struct kind *kind = &k->kind[k->index[i]];
		struct reg reg = {0};
		if (kind->exist != EXIST_NONE) {
			TRY(next_register(r, s, &reg));
			t->row[i].exist_reg = reg;
		}
		for (size_t c = 0; c < kind->n_cell; c++) {
			if (kind->regs == REGS_EACH || (kind->regs == REGS_ONE && c == 0))
				TRY(next_register(r, s, &reg));
			(cell++)->reg = reg;
		}
	}
	return 0;
}

static int take_ints(struct reader *r, size_t n, const int64_t **out)
{
	int64_t *v = arena_array(&r->keep, n, sizeof *v);
	if (!v)
		return NE_MEMORY;
	int rc = ints_decode(&r->in.left, n, v, &r->tmp);
	arena_free(&r->tmp);
	*out = v;
	return rc;
}

static int get_registers(struct reader *r, const struct kinds *k, struct table_rows *t,
			 struct cell *cell)
{
	struct registers s = {0};
	size_t n = 0;
	for (size_t i = 0; i < t->n_row; i++)
		n += kind_registers(&k->kind[k->index[i]]);
	if (n == 0)
		return 0;
	TRY(take_ints(r, n, &s.ms));
	TRY(take_ints(r, n, &s.counter));
	if (r->n_site)
		TRY(take_ints(r, n, &s.site));
	return set_registers(r, k, t, cell, &s);
}

static int take_column(struct reader *r, size_t n, struct val *v)
{
	int rc = column_decode(&r->in, n, v);
	arena_free(&r->tmp);
	return rc;
}

static int get_keys(struct reader *r, const struct table_rows *t, struct val *key, struct val *v)
{
	size_t n_key = t->shape->n_key;
	for (size_t k = 0; k < n_key; k++) {
		TRY(take_column(r, t->n_row, v));
		for (size_t i = 0; i < t->n_row; i++) {
			if (v[i].type == VAL_NULL)
				return NE_MALFORMED;
			key[i * n_key + k] = v[i];
		}
	}
	return 0;
}

/* Each column over the rows that have it; `next` is where each row's cells continue. */
static int get_cells(struct reader *r, const struct table_rows *t, struct cell *first,
		     struct val *v)
{
	struct cell **next = arena_array(&r->keep, t->n_row, sizeof *next);
	struct cell **into = arena_array(&r->keep, t->n_row, sizeof *into);
	if (!next || !into)
		return NE_MEMORY;
	for (size_t i = 0; i < t->n_row; i++)
		next[i] = first + (t->row[i].cell - first);
	for (size_t c = 0; c < t->shape->n_col; c++) {
		size_t n = 0;
		for (size_t i = 0; i < t->n_row; i++)
			if (next[i] < t->row[i].cell + t->row[i].n_cell && next[i]->col == c)
				into[n++] = next[i]++;
		if (n == 0)
			continue;
		TRY(take_column(r, n, v));
		for (size_t i = 0; i < n; i++)
			into[i]->val = v[i];
	}
	return 0;
}

static int get_merge(struct reader *r, struct table_rows *t, unsigned flags, struct val *v)
{
	struct kinds k;
	size_t n_cell;
	struct val *key;
	struct cell *cell;
	r->n_site = 0;
	if (flags & ~(unsigned)TABLE_SITES)
		return NE_MALFORMED;
	if (flags & TABLE_SITES)
		TRY(get_sites(r));
	TRY(kinds_get(&r->in.left, t->n_row, t->shape->n_col, &k, &r->keep));
	TRY(count_cells(&k, t->n_row, &n_cell));
	TRY(make_rows(r, t, n_cell, &key, &cell));
	shape_rows(&k, t, cell);
	TRY(get_registers(r, &k, t, cell));
	TRY(get_keys(r, t, key, v));
	return get_cells(r, t, cell, v);
}

/* Without key columns a row's key is its number. */
static int number_keys(const struct table_rows *t, struct val *key)
{
	if (t->shape->n_key != 1)
		return NE_MALFORMED;
	for (size_t i = 0; i < t->n_row; i++)
		key[i] = (struct val){.type = VAL_INT, .i = t->row[i].n};
	return 0;
}

static int get_append(struct reader *r, struct table_rows *t, unsigned flags, struct val *v)
{
	const int64_t *gen, *number;
	uint16_t n_col = flags & TABLE_BARE ? 0 : t->shape->n_col;
	struct val *key;
	struct cell *cell;
	TRY(make_rows(r, t, t->n_row * n_col, &key, &cell));
	TRY(take_ints(r, t->n_row, &gen));
	TRY(take_ints(r, t->n_row, &number));
	for (size_t i = 0; i < t->n_row; i++) {
		if (gen[i] < 0)
			return NE_MALFORMED;
		t->row[i].gen = (uint64_t)gen[i];
		t->row[i].n = number[i];
		t->row[i].n_cell = n_col;
		t->row[i].cell = cell + i * n_col;
		for (uint16_t c = 0; c < n_col; c++)
			cell[i * n_col + c].col = c;
	}
	if (flags & TABLE_KEYS)
		TRY(get_keys(r, t, key, v));
	else
		TRY(number_keys(t, key));
	return n_col ? get_cells(r, t, cell, v) : 0;
}

/* The shape and the number of rows; NE_MALFORMED if an earlier table has the same shape. */
static int get_table_head(struct reader *r, const struct rows *before, struct table_rows *t,
			  unsigned *flags)
{
	const uint8_t *at;
	struct shape_id id;
	uint64_t n;
	TRY(get_bytes(&r->in.left, sizeof id.at, &at));
	memcpy(id.at, at, sizeof id.at);
	TRY(get_varint(&r->in.left, &n));
	*flags = n & ((1 << TABLE_FLAGS) - 1);
	n >>= TABLE_FLAGS;
	if (n == 0)
		return NE_MALFORMED;
	if (n > LIMIT_ROWS - r->rows)
		return NE_LIMIT;
	r->rows += (size_t)n;
	t->n_row = (size_t)n;
	for (size_t i = 0; i < before->n_table; i++)
		if (shape_id_eq(before->table[i].shape->id, id))
			return NE_MALFORMED;
	t->shape = r->shapes.find(r->shapes.ctx, id);
	if (!t->shape) {
		if (r->unknown)
			*r->unknown = id;
		return NE_UNKNOWN_SHAPE;
	}
	return 0;
}

static int get_table(struct reader *r, const struct rows *before, struct table_rows *t)
{
	unsigned flags;
	TRY(get_table_head(r, before, t, &flags));
	struct val *v = arena_array(&r->keep, t->n_row, sizeof *v);
	if (!v)
		return NE_MEMORY;
	return t->shape->kind == SHAPE_APPEND ? get_append(r, t, flags, v)
					      : get_merge(r, t, flags, v);
}

static int get_rows(struct reader *r, struct rows *rows)
{
	/* The shortest table: its shape and a few bytes. Far fewer than LIMIT_TABLES is usual. */
	size_t most = r->in.left.len / sizeof(struct shape_id);
	most = most < LIMIT_TABLES ? most : LIMIT_TABLES;
	rows->table = arena_array(r->in.a, most, sizeof *rows->table);
	if (!rows->table)
		return NE_MEMORY;
	while (r->in.left.len) {
		if (rows->n_table == most)
			return most < LIMIT_TABLES ? NE_MALFORMED : NE_LIMIT;
		int rc = get_table(r, rows, &rows->table[rows->n_table]);
		arena_free(&r->keep);
		TRY(rc);
		rows->n_table++;
	}
	return 0;
}

int rows_decode(struct slice bytes, uint64_t home, struct shape_finder shapes, struct arena *a,
		struct rows *out, struct shape_id *unknown, struct err *e)
{
	struct reader r = {
		.in = {.left = bytes, .a = a, .room = LIMIT_SET, .pool_room = LIMIT_SET},
		.home = home,
		.shapes = shapes,
		.unknown = unknown,
		.keep = {.max = WORK_MAX},
		.tmp = {.max = WORK_MAX},
	};
	struct rows rows = {0};
	r.in.tmp = &r.tmp;
	int rc = bytes.len > LIMIT_SET ? NE_LIMIT : 0;
	if (!rc && bytes.len)
		rc = get_rows(&r, &rows);
	arena_free(&r.keep);
	arena_free(&r.tmp);
	if (rc)
		return err_set(e, rc, "%zu bytes of rows are refused at table %zu: %s", bytes.len,
			       rows.n_table + 1, ne_name(rc));
	*out = rows;
	return 0;
}
