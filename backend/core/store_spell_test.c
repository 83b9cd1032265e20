/* A key that is written in another way: the row, what others hear of it, and pages. */
#include "backend/core/testing.h"

/* names(k, v): k is one key in any case; or numbers(k, v): 1 and 1.0 are one key. */
static struct shape *table(bool text)
{
	static struct shape_col key[1], col[1];
	static struct shape s;
	struct buf b = {.max = 4096};
	struct err e;

	key[0] = (struct shape_col){slice_str("k"), text ? AFF_TEXT : AFF_BLOB,
				    text ? COLL_NOCASE : COLL_BINARY};
	col[0] = (struct shape_col){slice_str("v"), AFF_BLOB, COLL_BINARY};
	s = (struct shape){.kind = SHAPE_MERGE, .n_key = 1, .n_col = 1, .key = key, .col = col};
	s.name = slice_str(text ? "names" : "numbers");
	assert_int_equal(shape_encode(&s, &b, &e), 0);
	buf_free(&b);
	return &s;
}

static struct val text_val(const char *text)
{
	return (struct val){.type = VAL_TEXT, .s = slice_str(text)};
}

static void give_row(struct world *w, struct shape *s, uint64_t number, struct val key,
		     uint64_t exist, uint64_t stamp, int64_t v)
{
	struct builder *b = set_new(7, number, number - 1);
	struct row *r = row_add(b, s, 0);

	b->key[0][0] = key;
	if (exist) {
		r->exist = EXIST_ALIVE;
		r->exist_reg = (struct reg){exist, 7};
	}
	cell_add(r, 0, stamp, 7, int_val(v));
	give_set(w, "u", "d", b);
}

/* The key in what was last published to all. */
static struct val published_key(struct world *w)
{
	struct frame f;

	find_out(w, FRAME_CHANGE, 0, &f);
	return rows_of(w, f.change.rows).table[0].row[0].key[0];
}

static void begin(struct world *w, struct shape *s)
{
	struct frame hello = {.type = FRAME_HELLO};

	hello.hello.site = 7;
	declare_shape(w, "u", "d", s);
	give(w, "u", "d", &hello);
}

static void test_insert_brings_its_spelling(void **state)
{
	struct world *w = world_new();
	struct shape *s = table(true);

	(void)state;
	begin(w, s);
	give_row(w, s, 1, text_val("a"), 100, 100, 1);
	assert_string_equal(query(w, "SELECT k, v FROM names"), "a,1");
	give_row(w, s, 2, text_val("A"), 200, 200, 2);
	assert_string_equal(query(w, "SELECT k, v FROM names"), "A,2");
	assert_string_equal(query(w, "SELECT k0 FROM neap_r1"), "A");
	world_free(w);
}

static void test_number_brings_its_type(void **state)
{
	struct world *w = world_new();
	struct shape *s = table(false);

	(void)state;
	begin(w, s);
	give_row(w, s, 1, int_val(1), 100, 100, 1);
	give_row(w, s, 2, (struct val){.type = VAL_REAL, .r = 1}, 200, 200, 2);
	assert_string_equal(query(w, "SELECT typeof(k), v FROM numbers"), "real,2");
	assert_string_equal(query(w, "SELECT typeof(k0) FROM neap_r1"), "real");
	world_free(w);
}

/* An update under an old spelling changes no key; the row that corrects it has the present one. */
static void test_correction_has_the_present_spelling(void **state)
{
	struct world *w = world_new();
	struct shape *s = table(true);
	struct val key;

	(void)state;
	begin(w, s);
	give_row(w, s, 1, text_val("A"), 200, 200, 2);
	give_row(w, s, 2, text_val("a"), 0, 100, 1);
	assert_string_equal(query(w, "SELECT k, v FROM names"), "A,2");
	key = published_key(w);
	assert_true(slice_eq(key.s, slice_str("A")));
	world_free(w);
}

static void test_operator_changes_the_spelling(void **state)
{
	struct world *w = world_new();
	struct shape *s = table(true);
	const struct in_event look = {.type = IN_SQL};
	struct val key;

	(void)state;
	begin(w, s);
	give_row(w, s, 1, text_val("a"), 100, 100, 1);
	sql(w, "UPDATE names SET k = 'A'");
	step_n(w, &look, 1);
	key = published_key(w);
	assert_true(slice_eq(key.s, slice_str("A")));
	assert_string_equal(query(w, "SELECT k0 FROM neap_r1"), "A");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_insert_brings_its_spelling),
		cmocka_unit_test(test_number_brings_its_type),
		cmocka_unit_test(test_correction_has_the_present_spelling),
		cmocka_unit_test(test_operator_changes_the_spelling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
