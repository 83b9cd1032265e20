/* R3: which shape lies in which table, on a real store. */
#include "backend/core/testing.h"

static struct shape_col key[2], col[LIMIT_COLUMNS + 1];

static struct shape shape(const char *name)
{
	memset(col, 0, sizeof col);
	key[0] = (struct shape_col){slice_str("id"), AFF_INTEGER, COLL_BINARY};
	col[0] = (struct shape_col){slice_str("x"), AFF_TEXT, COLL_BINARY};
	return (struct shape){
		.name = slice_str(name), .n_key = 1, .n_col = 1, .key = key, .col = col};
}

static struct f_refuse refused(struct world *w)
{
	struct frame f;

	find_out(w, FRAME_REFUSE, 0, &f);
	return f.refuse;
}

static void tables_are_shared_by_shape(void **state)
{
	struct world *w = world_new();
	struct shape s = shape("t");
	(void)state;

	declare_shape(w, "u", "a", &s);
	declare_shape(w, "v", "b", &s);
	s.name = slice_str("T"); /* names compare as SQLite does */
	declare_shape(w, "w", "c", &s);
	assert_string_equal(query(w, "SELECT name FROM neap_table"), "t");
	s = shape("t");
	key[0].affinity = AFF_TEXT;
	declare_shape(w, "v", "b", &s);
	s = shape("t");
	col[0].affinity = AFF_REAL;
	declare_shape(w, "v", "b", &s);
	assert_string_equal(query(w, "SELECT name FROM neap_table"), "t t__2 t__3");
	assert_int_equal(w->out.n, 0);
	world_free(w);
}

static void columns_are_added(void **state)
{
	struct world *w = world_new();
	struct shape s = shape("t");
	struct shape_id old;
	(void)state;

	declare_shape(w, "u", "a", &s);
	old = s.id;
	s = shape("t");
	col[1] = (struct shape_col){slice_str("User_Id"), AFF_NUMERIC, COLL_BINARY};
	col[2] = (struct shape_col){slice_str("se\"lect"), AFF_BLOB, COLL_BINARY};
	s.n_col = 3;
	declare_shape(w, "u", "b", &s);
	assert_string_equal(query(w, "SELECT name, type FROM pragma_table_info('t')"),
			    "user_id,TEXT id,INTEGER x,TEXT app_User_Id,NUMERIC se\"lect,BLOB");
	const struct store_shape *a = store_shape_find(w->store, old);
	const struct store_shape *b = store_shape_find(w->store, s.id);
	assert_ptr_equal(a->table, b->table);
	assert_int_equal(a->table->shape.n_col, 3);
	assert_true(a->has[0] && !a->has[1] && b->has[1]);
	/* Capture covers the new columns. */
	sql(w, "INSERT INTO t VALUES('u', 1, 'a', 2, 3)");
	tick(w);
	sql(w, "UPDATE t SET \"se\"\"lect\" = 4");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	world_free(w);
}

/* Columns in another order lie in the same table, and values come to the right ones. */
static void column_order_does_not_matter(void **state)
{
	struct world *w = world_new();
	struct shape swapped = *notes();
	struct shape_col cols[2] = {notes()->col[1], notes()->col[0]};
	struct builder *b = set_new(11, 1, 0);
	(void)state;

	swapped.col = cols;
	declare_shape(w, "u", "a", notes());
	declare_shape(w, "u", "b", &swapped);
	struct row *r = row_add(b, &swapped, 1);
	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){9, 11};
	cell_add(r, 0, 9, 11, int_val(222)); /* y */
	cell_add(r, 1, 9, 11, int_val(111)); /* x */
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT x, y FROM notes"), "111,222");
	struct frame f;
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	assert_true(shape_id_eq(rows.table[0].shape->id, swapped.id));
	assert_int_equal(rows.table[0].row[0].cell[0].val.i, 222);
	world_free(w);
}

/* An insert by an old schema voids only what it knows; the whole row then goes out in the table's.
 */
static void old_and_new_schemas_together(void **state)
{
	struct world *w = world_new();
	struct shape narrow = *notes();
	struct builder *b = set_new(11, 1, 0);
	struct frame f;
	(void)state;

	narrow.n_col = 1;
	declare_shape(w, "u", "a", &narrow);
	declare_shape(w, "u", "b", notes());
	put_insert(b, 1, 100, 1, 2);
	give_set(w, "u", "b", b);
	b = set_new(22, 1, 0);
	struct row *r = row_add(b, &narrow, 1);
	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){200, 22};
	cell_add(r, 0, 200, 22, int_val(7));
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT x, y FROM notes"), "7,2");
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].shape->n_col, 2);
	assert_int_equal(rows.table[0].row[0].n_cell, 2);
	assert_int_equal(rows.table[0].row[0].cell[1].reg.stamp, 100);
	world_free(w);
}

static void a_locked_schema_refuses_news(void **state)
{
	struct world *w = world_new();
	struct shape s = shape("t");
	(void)state;

	declare_shape(w, "u", "a", &s);
	ok(w, store_schema_lock(w->store, true, &w->e));
	declare_shape(w, "v", "b", &s);
	assert_int_equal(w->out.n, 0);
	s.n_col = 2;
	col[1] = (struct shape_col){slice_str("y"), AFF_TEXT, COLL_BINARY};
	declare_shape(w, "u", "a", &s);
	assert_int_equal(refused(w).code, REFUSE_SCHEMA);
	assert_true(shape_id_eq(refused(w).shape[0], s.id));
	s = shape("other");
	declare_shape(w, "u", "a", &s);
	assert_int_equal(refused(w).code, REFUSE_SCHEMA);
	assert_string_equal(query(w, "SELECT name FROM neap_table"), "t");
	world_free(w);
}

/* A name that an operator's own table has stays the operator's. */
static void operators_tables_are_left_alone(void **state)
{
	struct world *w = world_new();
	struct shape s = shape("T");
	(void)state;

	sql(w, "CREATE TABLE t(mine)");
	declare_shape(w, "u", "a", &s);
	assert_string_equal(query(w, "SELECT name FROM neap_table"), "T__2");
	world_free(w);
}

static void limits(void **state)
{
	struct world *w = world_new();
	char name[LIMIT_TABLES + 1][16];
	struct shape s;
	(void)state;

	for (int i = 0; i <= LIMIT_TABLES; i++) {
		snprintf(name[i], sizeof name[i], "t%d", i);
		s = shape(name[i]);
		declare_shape(w, "u", "a", &s);
		assert_int_equal(count_out(w, FRAME_REFUSE), i == LIMIT_TABLES);
		w->now_ms += 1000;
	}
	assert_int_equal(refused(w).code, REFUSE_QUOTA);
	/* Another user may still have it. */
	declare_shape(w, "v", "a", &s);
	assert_int_equal(w->out.n, 0);
	/* The forms of tables that one user brought are bounded, too; known ones stay good. */
	sql(w, "REPLACE INTO neap_meta SELECT 'shapes:' || uid, 4096 FROM neap_user"
	       " WHERE name = 'v'");
	w->now_ms += 1000;
	declare_shape(w, "v", "a", &s);
	assert_int_equal(w->out.n, 0);
	s = shape("another");
	declare_shape(w, "v", "a", &s);
	assert_int_equal(refused(w).code, REFUSE_QUOTA);
	declare_shape(w, "x", "a", &s);
	assert_int_equal(w->out.n, 0);
	/* Two shapes of 150 columns each do not fit in one table of 200. */
	s = shape("wide");
	for (int half = 0; half < 2; half++) {
		char names[150][16];
		for (int i = 0; i < 150; i++) {
			snprintf(names[i], sizeof names[i], "c%d_%d", half, i);
			col[i] = (struct shape_col){slice_str(names[i]), AFF_TEXT, COLL_BINARY};
		}
		s.n_col = 150;
		declare_shape(w, "w", "a", &s);
		assert_int_equal(w->out.n, half);
	}
	assert_int_equal(refused(w).code, REFUSE_QUOTA);
	world_free(w);
}

/* A store opened again has the same catalogue. */
static void outlives_a_restart(void **state)
{
	struct world *w = world_new();
	(void)state;

	declare_shape(w, "u", "a", notes());
	uint64_t id = store_id(w->store), term = store_term(w->store);
	world_stop(w);
	world_start(w);
	assert_int_equal(store_id(w->store), id);
	assert_true(store_term(w->store) != term);
	assert_non_null(store_shape_find(w->store, notes()->id));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_shared_by_shape),
		cmocka_unit_test(columns_are_added),
		cmocka_unit_test(column_order_does_not_matter),
		cmocka_unit_test(old_and_new_schemas_together),
		cmocka_unit_test(a_locked_schema_refuses_news),
		cmocka_unit_test(operators_tables_are_left_alone),
		cmocka_unit_test(limits),
		cmocka_unit_test(outlives_a_restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
