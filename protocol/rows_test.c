#include "protocol/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/column.h"
#include "protocol/column_io.h"
#include "protocol/rows_random.h"
#include "protocol/rows_workload.h"
#include "protocol/testing.h"
#include "protocol/vector_text.h"

enum { HOME = 77 };

static const struct shape *find(void *ctx, struct shape_id id)
{
	const struct rows *rows = ctx;
	for (size_t i = 0; i < rows->n_table; i++)
		if (shape_id_eq(rows->table[i].shape->id, id))
			return rows->table[i].shape;
	return NULL;
}

static void assert_same_row(const struct shape *s, const struct row *a, const struct row *b)
{
	for (size_t k = 0; k < s->n_key; k++)
		assert_true(val_eq(&a->key[k], &b->key[k]));
	assert_int_equal(a->n_cell, b->n_cell);
	for (size_t c = 0; c < a->n_cell; c++) {
		assert_int_equal(a->cell[c].col, b->cell[c].col);
		assert_true(val_eq(&a->cell[c].val, &b->cell[c].val));
		if (s->kind == SHAPE_MERGE)
			assert_int_equal(reg_cmp(a->cell[c].reg, b->cell[c].reg), 0);
	}
	if (s->kind == SHAPE_APPEND) {
		assert_int_equal(a->gen, b->gen);
		assert_int_equal(a->n, b->n);
		return;
	}
	assert_int_equal(a->exist, b->exist);
	if (a->exist != EXIST_NONE)
		assert_int_equal(reg_cmp(a->exist_reg, b->exist_reg), 0);
}

/* Encodes, decodes, compares; returns the bytes taken. */
static size_t round_trip(const struct rows *rows, uint64_t home)
{
	struct buf b = {.max = LIMIT_SET};
	struct arena a = {.max = LIMIT_DECODED};
	struct rows out;
	struct err e = {0};
	if (rows_encode(rows, home, &b, &e))
		fail_msg("encode: %s", e.text);
	size_t len = b.len;
	struct shape_finder shapes = {find, (void *)(uintptr_t)rows};
	if (rows_decode(buf_slice(&b), home, shapes, &a, &out, NULL, &e))
		fail_msg("decode: %s", e.text);
	/* Nothing may point into the bytes. */
	if (b.len)
		memset(b.at, 0xaa, b.len);
	buf_free(&b);
	assert_int_equal(out.n_table, rows->n_table);
	for (size_t t = 0; t < rows->n_table; t++) {
		assert_ptr_equal(out.table[t].shape, rows->table[t].shape);
		assert_int_equal(out.table[t].n_row, rows->table[t].n_row);
		for (size_t i = 0; i < out.table[t].n_row; i++)
			assert_same_row(out.table[t].shape, &rows->table[t].row[i],
					&out.table[t].row[i]);
	}
	arena_free(&a);
	return len;
}

static void test_random_rows_come_back_as_they_were(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 600; seed++) {
		struct arena a = {.max = 64 << 20};
		struct rows rows = random_rows(seed, &a);
		round_trip(&rows, seed % 3 ? HOME : SITE_SERVER);
		arena_free(&a);
	}
}

static void test_no_rows_are_no_bytes(void **state)
{
	(void)state;
	struct rows rows = {0};
	assert_int_equal(round_trip(&rows, HOME), 0);
}

static struct rows w1_rows(struct arena *a, struct shape *s, size_t n, bool append)
{
	struct w1 w = w1_start(1);
	struct table_rows *t = arena_array(a, 1, sizeof *t);
	assert_non_null(t);
	*s = w1_shape(append);
	t->shape = s;
	t->n_row = n;
	t->row = arena_array(a, n, sizeof *t->row);
	assert_non_null(t->row);
	for (size_t i = 0; i < 1024; i++)
		w1_row(&w, a, !append);
	for (size_t i = 0; i < n; i++) {
		t->row[i] = w1_row(&w, a, !append);
		if (append)
			continue;
		struct reg reg = {stamp_from_ms((uint64_t)w.ts + 3), HOME};
		t->row[i].exist = EXIST_ALIVE;
		t->row[i].exist_reg = reg;
		for (size_t c = 0; c < W1_COLUMNS; c++)
			((struct cell *)(uintptr_t)t->row[i].cell)[c].reg = reg;
	}
	return (struct rows){.n_table = 1, .table = t};
}

/* Bounds well above today's figures: they are there so that a codec that stops choosing is seen. */
static void test_telemetry_is_small(void **state)
{
	static const struct {
		size_t n;
		bool append;
		size_t most;
	} cases[] = {
		{1, true, 56},	{100, true, 420},   {1000, true, 1800},	  {10000, true, 17000},
		{1, false, 80}, {100, false, 1650}, {1000, false, 13600},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct arena a = {.max = 64 << 20};
		struct shape s;
		struct rows rows = w1_rows(&a, &s, cases[i].n, cases[i].append);
		size_t len = round_trip(&rows, HOME);
		print_message("%5zu telemetry rows, %s: %zu bytes, %.2f a row\n", cases[i].n,
			      cases[i].append ? "append" : "merge with UUIDv7", len,
			      (double)len / (double)cases[i].n);
		assert_in_range(len, 1, cases[i].most);
		arena_free(&a);
	}
}

/* The vectors: rows.json names shapes of shapes.json. */
enum { VECTOR_MAX = 2048 };

struct vector {
	uint8_t bytes[VECTOR_MAX];
	size_t len;
	uint64_t home;
	struct shape shape;
	struct table_rows table; /* for find() */
	struct rows shapes;
};

static void load_shape(const char *name, struct arena *a, struct shape *out)
{
	json_t *v = load_vectors("shapes.json"), *one;
	size_t i;
	bool found = false;
	json_array_foreach(json_object_get(v, "shapes"), i, one)
	{
		uint8_t bytes[VECTOR_MAX];
		if (strcmp(text_of(one, "name"), name) != 0)
			continue;
		size_t len = hex_of(one, "hex", bytes, sizeof bytes);
		assert_int_equal(shape_decode(slice_of(bytes, len), a, out, NULL), 0);
		found = true;
	}
	assert_true(found);
	json_decref(v);
}

static void load_vector(const json_t *one, struct arena *a, struct vector *v)
{
	v->len = hex_of(one, "hex", v->bytes, sizeof v->bytes);
	v->home = uint_of(one, "home");
	load_shape(text_of(one, "shape"), a, &v->shape);
	v->table.shape = &v->shape;
	v->shapes = (struct rows){.n_table = 1, .table = &v->table};
}

static int decode_vector(struct vector *v, size_t len, struct arena *a, struct rows *out)
{
	/* On the heap and no longer than it is: a sanitizer sees a byte too far. */
	uint8_t *bytes = malloc(len + 1);
	assert_non_null(bytes);
	memcpy(bytes, v->bytes, len);
	struct shape_finder shapes = {find, &v->shapes};
	int rc = rows_decode(slice_of(bytes, len), v->home, shapes, a, out, NULL, NULL);
	free(bytes);
	return rc;
}

static void test_vectors(void **state)
{
	json_t *file = load_vectors("rows.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(file, "rows"), i, one)
	{
		struct arena a = {.max = LIMIT_DECODED};
		static struct vector v;
		struct buf b = {.max = LIMIT_SET};
		struct rows rows;
		print_message("rows: %s\n", text_of(one, "name"));
		load_vector(one, &a, &v);
		assert_int_equal(decode_vector(&v, v.len, &a, &rows), 0);
		assert_int_equal(rows.n_table, 1);
		const json_t *says = json_object_get(one, "says");
		assert_int_equal(rows.table[0].n_row, json_array_size(says));
		for (size_t k = 0; k < rows.table[0].n_row; k++) {
			struct buf text = {.max = 65536};
			say_row(&text, &v.shape, &rows.table[0].row[k]);
			assert_int_equal(buf_terminate(&text), 0);
			assert_string_equal((const char *)text.at,
					    json_string_value(json_array_get(says, k)));
			buf_free(&text);
		}
		/* Other encoders may choose otherwise; this one chooses so. */
		assert_int_equal(rows_encode(&rows, v.home, &b, NULL), 0);
		assert_true(slice_eq(buf_slice(&b), slice_of(v.bytes, v.len)));
		buf_free(&b);
		arena_free(&a);
	}
	assert_in_range(i, 9, 50);
	json_decref(file);
}

static void test_every_truncation_and_change_is_refused_or_valid(void **state)
{
	json_t *file = load_vectors("rows.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(file, "rows"), i, one)
	{
		static struct vector v;
		struct arena shape = {.max = 1 << 20}, a = {.max = LIMIT_DECODED};
		struct rows rows;
		load_vector(one, &shape, &v);
		for (size_t n = 1; n < v.len; n++) {
			assert_int_not_equal(decode_vector(&v, n, &a, &rows), 0);
			arena_free(&a);
		}
		for (size_t k = 0; k < v.len * 64; k++) {
			uint8_t was = v.bytes[k / 64];
			/* Every other value of its low six bits, then some of all. */
			v.bytes[k / 64] = (uint8_t)(was ^ (k % 2 ? k % 64 : (k % 64) << 2 | 0x81));
			if (!decode_vector(&v, v.len, &a, &rows) && rows.n_table) {
				struct buf b = {.max = LIMIT_SET};
				assert_int_equal(rows_encode(&rows, v.home, &b, NULL), 0);
				buf_free(&b);
			}
			arena_free(&a);
			v.bytes[k / 64] = was;
		}
		arena_free(&shape);
	}
	json_decref(file);
}

/* A table of one key and `n_col` columns, and the head of `n_row` of its rows. */
struct bomb {
	struct shape shape;
	struct table_rows table;
	struct rows shapes;
	struct buf b;
};

static void bomb_start(struct bomb *x, enum shape_kind kind, uint16_t n_col, uint64_t n_row)
{
	static struct shape_col col[LIMIT_COLUMNS];
	*x = (struct bomb){
		.shape = {.kind = kind, .n_key = 1, .n_col = n_col, .key = col, .col = col + 1},
		.b = {.max = LIMIT_SET},
	};
	x->table.shape = &x->shape;
	x->shapes = (struct rows){.n_table = 1, .table = &x->table};
	assert_int_equal(buf_put(&x->b, x->shape.id.at, 8), 0);
	assert_int_equal(put_varint(&x->b, n_row << 2), 0);
}

static void bomb_put(struct bomb *x, const void *bytes, size_t len)
{
	assert_int_equal(buf_put(&x->b, bytes, len), 0);
}

static int bomb_end(struct bomb *x, size_t arena_max)
{
	struct arena a = {.max = arena_max};
	struct rows rows;
	struct shape_finder shapes = {find, &x->shapes};
	int rc = rows_decode(buf_slice(&x->b), HOME, shapes, &a, &rows, NULL, NULL);
	/* Refused before room was made for what it claims: at most for LIMIT_ROWS short rows. */
	size_t used = a.used;
	arena_free(&a);
	if (rc)
		assert_in_range(used, 0, 2 << 20);
	buf_free(&x->b);
	return rc;
}

static void test_bombs(void **state)
{
	struct bomb x;
	(void)state;
	/* 10^9 rows of an append table, all constant */
	bomb_start(&x, SHAPE_APPEND, 1, 1000000000);
	bomb_put(&x, "\x81\x81\xf0\xf0", 4);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_LIMIT);
	bomb_start(&x, SHAPE_APPEND, 1, LIMIT_ROWS + 1);
	bomb_put(&x, "\x81\x81\xf0\xf0", 4);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_LIMIT);
	/* as many as are allowed */
	bomb_start(&x, SHAPE_APPEND, 1, LIMIT_ROWS);
	bomb_put(&x, "\x81\x81\xf0", 3);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), 0);
	/* … in an arena too small for them */
	bomb_start(&x, SHAPE_APPEND, 1, LIMIT_ROWS);
	bomb_put(&x, "\x81\x81\xf0", 3);
	assert_int_equal(bomb_end(&x, 1 << 20), NE_LIMIT);
	/* 10,000 rows of 100 columns */
	bomb_start(&x, SHAPE_APPEND, 100, LIMIT_ROWS);
	bomb_put(&x, "\x81\x81", 2);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_LIMIT);
	/* the same in a merge table: one kind, all columns */
	bomb_start(&x, SHAPE_MERGE, 100, LIMIT_ROWS);
	bomb_put(&x, "\x01\x11\x80\x80", 4);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_LIMIT);
}

static void test_texts_that_grow(void **state)
{
	struct bomb x;
	uint8_t text[1000] = {0};
	(void)state;
	/* a constant text of 1,000 bytes in 10,000 rows: ten megabytes of values */
	bomb_start(&x, SHAPE_APPEND, 1, LIMIT_ROWS);
	bomb_put(&x, "\x81\x00\x00", 3);
	bomb_put(&x, "\x7f\xa9\x07", 3); /* 63 + 937 */
	bomb_put(&x, text, sizeof text);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_LIMIT);
	/* the same in 4,000 rows is within the limit */
	bomb_start(&x, SHAPE_APPEND, 1, 4000);
	bomb_put(&x, "\x81\x00\x00", 3);
	bomb_put(&x, "\x7f\xa9\x07", 3);
	bomb_put(&x, text, sizeof text);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), 0);
	/* texts that each begin with the whole one before: 1, 2, 3 … 10,000 bytes */
	bomb_start(&x, SHAPE_APPEND, 1, LIMIT_ROWS);
	bomb_put(&x, "\x81\x00\x00", 3);
	/* mode, shared = 0, 1, 2 …, own = 1 each */
	bomb_put(&x, (uint8_t[]){COLUMN_TEXTS_FRONT, 0x08, 0x00, 0x02, 0x81}, 5);
	for (size_t i = 0; i < LIMIT_ROWS; i += sizeof text)
		bomb_put(&x, text, sizeof text);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_LIMIT);
}

static void test_what_rows_may_not_be(void **state)
{
	struct bomb x;
	(void)state;
	/* no rows */
	bomb_start(&x, SHAPE_APPEND, 1, 0);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_MALFORMED);
	/* a key that is NULL */
	bomb_start(&x, SHAPE_MERGE, 1, 1);
	bomb_put(&x, "\x01\x00\x00", 3);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_MALFORMED);
	bomb_start(&x, SHAPE_MERGE, 1, 1);
	bomb_put(&x, "\x01\x00\xf0", 3);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), 0);
	/* cells with the register of an existence that is not there */
	bomb_start(&x, SHAPE_MERGE, 1, 1);
	bomb_put(&x, "\x01\x10\xf0\xf0", 4);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_MALFORMED);
	/* a shape nobody knows */
	bomb_start(&x, SHAPE_MERGE, 1, 1);
	x.b.at[0] ^= 1;
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_UNKNOWN_SHAPE);
	/* the same table twice */
	bomb_start(&x, SHAPE_MERGE, 1, 1);
	bomb_put(&x, "\x01\x00\xf0", 3);
	bomb_put(&x, x.shape.id.at, 8);
	bomb_put(&x, "\x04\x01\x00\xf1", 4);
	assert_int_equal(bomb_end(&x, LIMIT_DECODED), NE_MALFORMED);
}

static void test_limits_when_encoding(void **state)
{
	struct arena a = {.max = 64 << 20};
	struct buf small = {.max = 100}, b = {.max = LIMIT_SET};
	struct shape s;
	struct rows rows = w1_rows(&a, &s, 200, true);
	struct err e;
	(void)state;
	assert_int_equal(buf_put(&small, "before", 6), 0);
	assert_int_equal(rows_encode(&rows, HOME, &small, &e), NE_LIMIT);
	assert_int_equal(small.len, 6);
	buf_free(&small);
	/* NaN cannot be sent: SQLite has none. */
	struct cell *cell = (struct cell *)(uintptr_t)rows.table[0].row[7].cell;
	cell[3].val.r = NAN;
	assert_int_equal(rows_encode(&rows, HOME, &b, &e), NE_MALFORMED);
	cell[3].val.r = 1;
	/* Nor may a value be larger than a value may be. */
	cell[0].val.s.len = (size_t)LIMIT_VALUE + 1;
	assert_int_equal(rows_encode(&rows, HOME, &b, &e), NE_LIMIT);
	buf_free(&b);
	arena_free(&a);
	rows = w1_rows(&a, &s, LIMIT_ROWS + 1, true);
	assert_int_equal(rows_encode(&rows, HOME, &b, &e), NE_LIMIT);
	buf_free(&b);
	arena_free(&a);
}

/* Readings whose texts are all alike, or all noise: the same number of bytes, if they are not
 * packed.
 */
static size_t size_of_texts(bool noise, bool in_shape, bool in_rows)
{
	struct arena a = {.max = 64 << 20};
	struct shape s;
	struct rows rows = w1_rows(&a, &s, 200, false);
	struct rng r = {5};
	s.uncompressed = in_shape;
	rows.table[0].uncompressed = in_rows;
	assert_int_equal(rows_uncompressed(&rows), in_shape || in_rows);
	for (size_t i = 0; i < rows.table[0].n_row; i++) {
		struct cell *cell = (struct cell *)(uintptr_t)rows.table[0].row[i].cell;
		for (size_t c = 0; c < rows.table[0].row[i].n_cell; c++)
			if (cell[c].val.type == VAL_TEXT)
				cell[c].val = noise ? random_bytes(&r, &a, VAL_TEXT, 24)
						    : (struct val){.type = VAL_TEXT,
								   .s = slice_str("aaaaaaaaaaaaaaaa"
										  "aaaaaaaa")};
			else if (cell[c].val.type == VAL_INT)
				cell[c].val.i = noise ? (int64_t)rng_next(&r) : 5;
			else if (cell[c].val.type == VAL_REAL)
				cell[c].val.r = noise ? random_real(&r) : 0.5;
	}
	size_t len = round_trip(&rows, HOME);
	arena_free(&a);
	return len;
}

static void test_rows_that_are_not_compressed(void **state)
{
	(void)state;
	size_t len = size_of_texts(true, true, false);
	assert_int_equal(size_of_texts(false, true, false), len);
	assert_int_equal(size_of_texts(true, false, true), len);
	assert_int_equal(size_of_texts(false, false, true), len);
	assert_in_range(size_of_texts(false, false, false), 1, len / 3);
}

static void test_unknown_shape_is_named(void **state)
{
	struct arena a = {.max = 64 << 20};
	struct buf b = {.max = LIMIT_SET};
	struct shape s;
	struct rows rows = w1_rows(&a, &s, 2, true), none = {0}, out;
	struct shape_id unknown = {{0}};
	struct shape_finder shapes = {find, &none};
	(void)state;
	assert_int_equal(rows_encode(&rows, HOME, &b, NULL), 0);
	assert_int_equal(rows_decode(buf_slice(&b), HOME, shapes, &a, &out, &unknown, NULL),
			 NE_UNKNOWN_SHAPE);
	assert_true(shape_id_eq(unknown, s.id));
	buf_free(&b);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_rows_come_back_as_they_were),
		cmocka_unit_test(test_no_rows_are_no_bytes),
		cmocka_unit_test(test_telemetry_is_small),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_truncation_and_change_is_refused_or_valid),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_texts_that_grow),
		cmocka_unit_test(test_what_rows_may_not_be),
		cmocka_unit_test(test_limits_when_encoding),
		cmocka_unit_test(test_rows_that_are_not_compressed),
		cmocka_unit_test(test_unknown_shape_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
