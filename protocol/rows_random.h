/* Random rows of every kind for tests: all types, all codecs, from a seed. */
#ifndef NEAP_PROTOCOL_ROWS_RANDOM_H
#define NEAP_PROTOCOL_ROWS_RANDOM_H

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "protocol/rows.h"

struct rng {
	uint64_t at;
};

static inline uint64_t rng_next(struct rng *r)
{
	r->at += 0x9e3779b97f4a7c15u;
	uint64_t z = r->at;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

static inline struct val random_bytes(struct rng *r, struct arena *a, enum val_type type,
				      size_t len)
{
	uint8_t *at = arena_alloc(a, len);
	assert(at);
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(type == VAL_TEXT && rng_below(r, 20) ? 'a' + rng_below(r, 26)
								       : rng_next(r));
	return (struct val){.type = type, .s = slice_of(at, len)};
}

static inline double random_real(struct rng *r)
{
	static const double odd[] = {0.0,   -0.0, INFINITY,	      -INFINITY, 5e-324,
				     1e308, 0.1,  9007199254740991.0, 1e22,	 -1e-7};
	uint64_t bits;
	double d;
	if (rng_below(r, 3) == 0)
		return odd[rng_below(r, sizeof odd / sizeof odd[0])];
	bits = rng_next(r);
	memcpy(&d, &bits, sizeof d);
	return isnan(d) ? 1.5 : d;
}

static inline struct val random_any(struct rng *r, struct arena *a)
{
	static const int64_t odd[] = {INT64_MIN, INT64_MAX, 0, -1, 1, INT32_MIN, 255, 127, 128};
	switch (rng_below(r, 5)) {
	case 0:
		return (struct val){.type = VAL_NULL};
	case 1:
		if (rng_below(r, 2))
			return (struct val){.type = VAL_INT,
					    .i = odd[rng_below(r, sizeof odd / sizeof odd[0])]};
		return (struct val){.type = VAL_INT, .i = (int64_t)rng_next(r)};
	case 2:
		return (struct val){.type = VAL_REAL, .r = random_real(r)};
	case 3:
		return random_bytes(r, a, VAL_TEXT, rng_below(r, 80));
	default:
		return random_bytes(r, a, VAL_BLOB, rng_below(r, 80));
	}
}

/* How the values of one column come about; `i` counts its rows. */
enum { RANDOM_STYLES = 18 };

static inline struct val random_val(struct rng *r, struct arena *a, unsigned style, int64_t i)
{
	static const char *words[] = {"temperature", "humidity", "", "pressure", "é ü", "%"};
	char text[48];
	int64_t n = 0;
	switch (style) {
	case 0:
		return (struct val){.type = VAL_INT, .i = 1790000000000 + i * 1000};
	case 1:
		return (struct val){.type = VAL_INT, .i = (i % 8) * 100000 + i / 8};
	case 2:
		return (struct val){.type = VAL_INT,
				    .i = rng_below(r, 40) ? 192 : (int64_t)rng_below(r, 999)};
	case 3:
		return (struct val){.type = VAL_INT, .i = (int64_t)rng_next(r)};
	case 4:
		return (struct val){.type = VAL_REAL, .r = (double)rng_below(r, 100000) / 100};
	case 5:
		return (struct val){.type = VAL_REAL,
				    .r = rng_below(r, 30) ? (double)i / 8 : random_real(r)};
	case 6:
		return (struct val){.type = VAL_REAL, .r = random_real(r)};
	case 7:
		return (struct val){.type = VAL_TEXT, .s = slice_str(words[(size_t)i % 6])};
	case 8:
		n = snprintf(text, sizeof text, "asset-%06lld", (long long)i);
		break;
	case 9:
		return random_bytes(r, a, VAL_TEXT, rng_below(r, 30));
	case 10:
		return random_bytes(r, a, VAL_BLOB, 16);
	case 11:
		return random_bytes(r, a, VAL_BLOB, rng_below(r, 300));
	case 12:
		return (struct val){.type = VAL_NULL};
	case 13:
		if (rng_below(r, 4))
			return (struct val){.type = VAL_NULL};
		return (struct val){.type = VAL_TEXT, .s = slice_str(words[rng_below(r, 6)])};
	case 14:
		return (struct val){.type = VAL_INT, .i = INT64_MIN + (i % 2 ? INT64_MAX : 0)};
	case 15:
		return (struct val){.type = VAL_REAL, .r = i % 5 ? 21.5 : -0.0};
	case 16:
		return (struct val){.type = VAL_TEXT, .s = slice_str(i % 2 ? "" : "x")};
	default:
		return random_any(r, a);
	}
	struct slice s = arena_copy(a, slice_of(text, (size_t)n));
	return (struct val){.type = VAL_TEXT, .s = s};
}

static inline struct reg random_reg(struct rng *r)
{
	static const uint64_t sites[] = {77, 0, 1, INT64_MAX, 12345678901234};
	struct reg reg = {.stamp = 1790000000000u << 16, .site = sites[rng_below(r, 5)]};
	if (rng_below(r, 3) == 0)
		reg.stamp = rng_next(r) >> 1;
	else
		reg.stamp += rng_below(r, 1000) << 16;
	return reg;
}

static inline struct shape *random_shape(struct rng *r, struct arena *a, unsigned number)
{
	struct shape *s = arena_alloc(a, sizeof *s);
	char name[32];
	assert(s);
	s->kind = rng_below(r, 2) ? SHAPE_MERGE : SHAPE_APPEND;
	s->direction = s->kind == SHAPE_APPEND ? DIR_UP : DIR_BOTH;
	s->uncompressed = rng_below(r, 5) == 0;
	s->n_key = (uint16_t)(1 + rng_below(r, 3));
	s->n_col = (uint16_t)rng_below(r, rng_below(r, 8) ? 6 : 190);
	s->name = arena_copy(a, slice_of(name, (size_t)snprintf(name, sizeof name, "t%u", number)));
	s->key = arena_array(a, s->n_key, sizeof *s->key);
	s->col = arena_array(a, s->n_col, sizeof *s->col);
	assert(s->key && s->col);
	for (unsigned i = 0; i < (unsigned)s->n_key + s->n_col; i++) {
		struct shape_col *c = i < s->n_key ? &s->key[i] : &s->col[i - s->n_key];
		c->name = arena_copy(a,
				     slice_of(name, (size_t)snprintf(name, sizeof name, "c%u", i)));
	}
	struct buf b = {.max = 1 << 20};
	int rc = shape_encode(s, &b, NULL);
	assert(rc == 0);
	(void)rc;
	buf_free(&b);
	return s;
}

static inline void random_cells(struct rng *r, struct row *row, const struct shape *s,
				struct cell *cell, unsigned shape_of_rows)
{
	bool append = s->kind == SHAPE_APPEND;
	struct reg one = random_reg(r);
	for (uint16_t c = 0; c < s->n_col; c++) {
		if (!append && shape_of_rows == 1 && rng_below(r, 2))
			continue;
		if (!append && shape_of_rows == 2 && c != 1)
			continue;
		cell[row->n_cell].col = c;
		cell[row->n_cell].reg = shape_of_rows == 3 ? row->exist_reg
					: rng_below(r, 4)  ? one
							   : random_reg(r);
		row->n_cell++;
	}
}

static inline void random_table(struct rng *r, struct arena *a, unsigned number,
				struct table_rows *t)
{
	struct shape *s = random_shape(r, a, number);
	unsigned style[LIMIT_COLUMNS], kinds = (unsigned)rng_below(r, 4);
	bool bare = rng_below(r, 10) == 0;
	size_t most = s->n_col > 20 ? 60 : 400;
	t->shape = s;
	t->n_row = 1 + rng_below(r, rng_below(r, 3) ? 12 : most);
	t->row = arena_array(a, t->n_row, sizeof *t->row);
	assert(t->row);
	for (size_t c = 0; c < LIMIT_COLUMNS; c++)
		style[c] = (unsigned)rng_below(r, RANDOM_STYLES);
	for (size_t i = 0; i < t->n_row; i++) {
		struct row *row = &t->row[i];
		struct val *key = arena_array(a, s->n_key, sizeof *key);
		struct cell *cell = arena_array(a, s->n_col, sizeof *cell);
		assert(key && cell);
		*row = (struct row){.key = key, .cell = cell, .gen = 1 + i / 50, .n = (int64_t)i};
		for (size_t k = 0; k < s->n_key; k++) {
			key[k] = random_val(r, a, style[k], (int64_t)i);
			if (key[k].type == VAL_NULL)
				key[k] = (struct val){.type = VAL_INT, .i = (int64_t)i};
		}
		row->exist = (enum row_exist)(kinds == 3 ? EXIST_ALIVE : rng_below(r, 3));
		row->exist_reg = random_reg(r);
		if (s->kind == SHAPE_MERGE || !bare)
			random_cells(r, row, s, cell, kinds);
		for (size_t c = 0; c < row->n_cell; c++)
			cell[c].val = random_val(r, a, style[cell[c].col], (int64_t)i);
	}
}

static inline struct rows random_rows(uint64_t seed, struct arena *a)
{
	struct rng r = {seed};
	size_t n = 1 + rng_below(&r, 3);
	struct rows rows = {.n_table = n, .table = arena_array(a, n, sizeof *rows.table)};
	assert(rows.table);
	for (unsigned i = 0; i < n; i++)
		random_table(&r, a, i, &rows.table[i]);
	return rows;
}

#endif
