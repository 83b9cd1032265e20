#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/column.h"
#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/rows_kind.h"

/* Room for working memory; far above what LIMIT_CELLS values take. */
enum { WORK_MAX = 256 * 1024 * 1024 };

struct writer {
	struct buf *out;
	uint64_t home;
	bool apart;    /* of the table being written: each value by itself */
	size_t n_site; /* other than home, ascending */
	uint64_t *site;
	struct arena keep; /* the sites */
	struct arena tmp;  /* of one column or table, then freed */
};

/* What a set adds up to, against the limits a decoder has. */
struct totals {
	size_t rows, cells, bytes;
};

static int count_value(struct totals *sum, const struct val *v)
{
	if (v->type != VAL_TEXT && v->type != VAL_BLOB)
		return 0;
	if (v->s.len > LIMIT_VALUE || v->s.len > LIMIT_SET - sum->bytes)
		return NE_LIMIT;
	sum->bytes += v->s.len;
	return 0;
}

static int check_row(const struct shape *s, const struct row *r, struct totals *sum)
{
	sum->cells += (size_t)s->n_key + r->n_cell;
	if (sum->cells > LIMIT_CELLS)
		return NE_LIMIT;
	for (size_t i = 0; i < s->n_key; i++) {
		if (r->key[i].type == VAL_NULL)
			return NE_USAGE;
		TRY(count_value(sum, &r->key[i]));
	}
	for (size_t i = 0; i < r->n_cell; i++) {
		if (r->cell[i].col >= s->n_col || (i && r->cell[i].col <= r->cell[i - 1].col))
			return NE_USAGE;
		TRY(count_value(sum, &r->cell[i].val));
	}
	return 0;
}

/* Rows of an append table carry all columns, or all of them none. */
static bool bare(const struct table_rows *t)
{
	return t->row[0].n_cell == 0;
}

static int check_table(const struct table_rows *t, struct totals *sum)
{
	if (t->n_row == 0)
		return NE_USAGE;
	if (t->n_row > LIMIT_ROWS - sum->rows)
		return NE_LIMIT;
	sum->rows += t->n_row;
	for (size_t i = 0; i < t->n_row; i++) {
		const struct row *r = &t->row[i];
		if (t->shape->kind == SHAPE_APPEND && r->n_cell != (bare(t) ? 0 : t->shape->n_col))
			return NE_USAGE;
		TRY(check_row(t->shape, r, sum));
	}
	return 0;
}

static int check(const struct rows *rows)
{
	struct totals sum = {0};
	if (rows->n_table > LIMIT_TABLES)
		return NE_LIMIT;
	for (size_t i = 0; i < rows->n_table; i++) {
		TRY(check_table(&rows->table[i], &sum));
		for (size_t k = 0; k < i; k++)
			if (shape_id_eq(rows->table[i].shape->id, rows->table[k].shape->id))
				return NE_USAGE;
	}
	return 0;
}

/* The place of a site among those listed, or where it belongs. */
static size_t site_place(const struct writer *w, uint64_t site)
{
	size_t low = 0, high = w->n_site;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (w->site[middle] < site)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int add_site(struct writer *w, uint64_t site)
{
	if (site == w->home)
		return 0;
	if (!w->site) {
		w->site = calloc(LIMIT_SITES, sizeof *w->site);
		if (!w->site)
			return NE_MEMORY;
	}
	size_t at = site_place(w, site);
	if (at < w->n_site && w->site[at] == site)
		return 0;
	if (w->n_site == LIMIT_SITES)
		return NE_LIMIT;
	memmove(&w->site[at + 1], &w->site[at], (w->n_site - at) * sizeof *w->site);
	w->site[at] = site;
	w->n_site++;
	return 0;
}

static int64_t site_index(const struct writer *w, uint64_t site)
{
	return site == w->home ? 0 : (int64_t)site_place(w, site) + 1;
}

static int check_reg(struct writer *w, struct reg r)
{
	if (r.stamp > STAMP_MAX || r.site > INT64_MAX)
		return NE_USAGE;
	return add_site(w, r.site);
}

static int find_sites(struct writer *w, const struct table_rows *t)
{
	w->n_site = 0;
	for (size_t i = 0; i < t->n_row; i++) {
		const struct row *r = &t->row[i];
		if (r->exist != EXIST_NONE)
			TRY(check_reg(w, r->exist_reg));
		for (size_t c = 0; c < r->n_cell; c++)
			TRY(check_reg(w, r->cell[c].reg));
	}
	return 0;
}

static int put_sites(struct writer *w)
{
	if (w->n_site == 0)
		return 0;
	TRY(put_varint(w->out, w->n_site));
	for (size_t i = 0; i < w->n_site; i++)
		for (unsigned k = SITE_BYTES; k-- > 0;)
			TRY(buf_put_u8(w->out, (uint8_t)(w->site[i] >> 8 * k)));
	return 0;
}

/* The registers of a table's rows in their order, as far as their kinds need them. */
static size_t gather_registers(const struct table_rows *t, const struct kinds *k, struct reg *out)
{
	size_t n = 0;
	for (size_t i = 0; i < t->n_row; i++) {
		const struct row *r = &t->row[i];
		enum kind_regs regs = (enum kind_regs)k->kind[k->index[i]].regs;
		if (r->exist != EXIST_NONE)
			out[n++] = r->exist_reg;
		if (regs == REGS_ONE)
			out[n++] = r->cell[0].reg;
		for (size_t c = 0; regs == REGS_EACH && c < r->n_cell; c++)
			out[n++] = r->cell[c].reg;
	}
	return n;
}

/* Stamps go as milliseconds and counters apart: either is often the same throughout. */
static int put_registers(struct writer *w, const struct table_rows *t, const struct kinds *k)
{
	size_t n = 0;
	for (size_t i = 0; i < t->n_row; i++)
		n += kind_registers(&k->kind[k->index[i]]);
	if (n == 0)
		return 0;
	struct reg *reg = arena_array(&w->tmp, n, sizeof *reg);
	int64_t *v = arena_array(&w->tmp, n, sizeof *v);
	if (!reg || !v)
		return NE_MEMORY;
	size_t count = gather_registers(t, k, reg);
	assert(count == n);
	for (size_t i = 0; i < n; i++)
		v[i] = (int64_t)(reg[i].stamp >> STAMP_COUNTER_BITS);
	TRY(ints_encode(v, n, w->out, &w->tmp));
	for (size_t i = 0; i < n; i++)
		v[i] = (int64_t)(reg[i].stamp & STAMP_COUNTER_MAX);
	TRY(ints_encode(v, n, w->out, &w->tmp));
	if (w->n_site == 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		v[i] = site_index(w, reg[i].site);
	return ints_encode(v, n, w->out, &w->tmp);
}

static int put_column(struct writer *w, const struct val *v, size_t n)
{
	int rc = w->apart ? column_encode_apart(v, n, w->out, &w->tmp)
			  : column_encode(v, n, w->out, &w->tmp);
	arena_free(&w->tmp);
	return rc;
}

static bool keys_are_numbers(const struct table_rows *t)
{
	if (t->shape->kind != SHAPE_APPEND || t->shape->n_key != 1)
		return false;
	for (size_t i = 0; i < t->n_row; i++) {
		const struct val *key = &t->row[i].key[0];
		if (key->type != VAL_INT || key->i != t->row[i].n)
			return false;
	}
	return true;
}

static int put_keys(struct writer *w, const struct table_rows *t, struct val *v)
{
	for (size_t k = 0; k < t->shape->n_key; k++) {
		for (size_t i = 0; i < t->n_row; i++)
			v[i] = t->row[i].key[k];
		TRY(put_column(w, v, t->n_row));
	}
	return 0;
}

/* Each column over the rows that have it; `next` is where each row's cells continue. */
static int put_cells(struct writer *w, const struct table_rows *t, struct val *v, uint16_t *next)
{
	for (size_t c = 0; c < t->shape->n_col; c++) {
		size_t n = 0;
		for (size_t i = 0; i < t->n_row; i++) {
			const struct row *r = &t->row[i];
			if (next[i] < r->n_cell && r->cell[next[i]].col == c)
				v[n++] = r->cell[next[i]++].val;
		}
		if (n)
			TRY(put_column(w, v, n));
	}
	return 0;
}

static int put_merge_head(struct writer *w, const struct table_rows *t)
{
	struct kinds kinds;
	TRY(put_sites(w));
	TRY(kinds_make(t, &kinds, &w->tmp));
	TRY(kinds_put(&kinds, t->n_row, t->shape->n_col, w->out, &w->tmp));
	return put_registers(w, t, &kinds);
}

static int put_append_head(struct writer *w, const struct table_rows *t)
{
	int64_t *v = arena_array(&w->tmp, t->n_row, sizeof *v);
	if (!v)
		return NE_MEMORY;
	for (size_t i = 0; i < t->n_row; i++) {
		if (t->row[i].gen > INT64_MAX)
			return NE_USAGE;
		v[i] = (int64_t)t->row[i].gen;
	}
	TRY(ints_encode(v, t->n_row, w->out, &w->tmp));
	for (size_t i = 0; i < t->n_row; i++)
		v[i] = t->row[i].n;
	return ints_encode(v, t->n_row, w->out, &w->tmp);
}

static bool uncompressed(const struct table_rows *t)
{
	return t->uncompressed || t->shape->uncompressed;
}

bool rows_uncompressed(const struct rows *rows)
{
	for (size_t i = 0; i < rows->n_table; i++)
		if (uncompressed(&rows->table[i]))
			return true;
	return false;
}

static int put_table(struct writer *w, const struct table_rows *t, struct val *v, uint16_t *next)
{
	bool append = t->shape->kind == SHAPE_APPEND;
	bool keys = !append || !keys_are_numbers(t);
	unsigned flags = 0;
	w->apart = uncompressed(t);
	if (append) {
		flags = (bare(t) ? TABLE_BARE : 0) | (keys ? TABLE_KEYS : 0);
	} else {
		TRY(find_sites(w, t));
		flags = w->n_site ? TABLE_SITES : 0;
	}
	TRY(buf_put(w->out, t->shape->id.at, sizeof t->shape->id.at));
	TRY(put_varint(w->out, (uint64_t)t->n_row << TABLE_FLAGS | flags));
	int rc = append ? put_append_head(w, t) : put_merge_head(w, t);
	arena_free(&w->tmp);
	TRY(rc);
	if (keys)
		TRY(put_keys(w, t, v));
	return put_cells(w, t, v, next);
}

static int put_tables(struct writer *w, const struct rows *rows)
{
	for (size_t i = 0; i < rows->n_table; i++) {
		const struct table_rows *t = &rows->table[i];
		struct val one;
		uint16_t start = 0;
		struct val *v = t->n_row > 1 ? calloc(t->n_row, sizeof *v) : &one;
		uint16_t *next = t->n_row > 1 ? calloc(t->n_row, sizeof *next) : &start;
		int rc = v && next ? put_table(w, t, v, next) : NE_MEMORY;
		if (t->n_row > 1) {
			free(v);
			free(next);
		}
		TRY(rc);
	}
	return 0;
}

static int put_rows(struct writer *w, const struct rows *rows)
{
	size_t start = w->out->len;
	TRY(check(rows));
	TRY(put_tables(w, rows));
	return w->out->len - start > LIMIT_SET ? NE_LIMIT : 0;
}

int rows_encode(const struct rows *rows, uint64_t home, struct buf *out, struct err *e)
{
	struct writer w = {
		.out = out,
		.home = home,
		.tmp = {.max = WORK_MAX},
	};
	size_t start = out->len;
	int rc = rows->n_table ? put_rows(&w, rows) : 0;
	free(w.site);
	arena_free(&w.tmp);
	if (!rc)
		return 0;
	out->len = start;
	return err_set(e, rc, "a set of rows in %zu tables cannot be encoded: %s", rows->n_table,
		       ne_name(rc));
}
