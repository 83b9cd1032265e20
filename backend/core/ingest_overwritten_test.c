/* J7: writes that the server had taken, and that another overwrote whose writer had not seen them.
 */
#include "backend/core/testing.h"

enum { SITE_A = 11, SITE_B = 22, SITE_A2 = 33 };

static const char all[] = "SELECT device_id, row_key, ifnull(column_name, '-'), "
			  "ifnull(value, '-'), stamp, site, won_stamp, won_site, "
			  "ifnull(won_device, '-'), why FROM neap_conflict ORDER BY id";

/* Device a made row 1 at stamp 100, seq 1, and wrote x at 300, seq 2. */
static struct world *one_row(void)
{
	struct world *w = world_new();
	struct builder *b;

	declare_shape(w, "u", "a", notes());
	b = set_new(SITE_A, 1, 0);
	put_insert(b, 1, 100, 5, 6);
	give_set(w, "u", "a", b);
	b = set_new(SITE_A, 2, 1);
	put_update(b, 1, 300, 0, 7);
	give_set(w, "u", "a", b);
	return w;
}

static struct builder *set_seen(uint64_t site, uint64_t number, uint64_t seen)
{
	struct builder *b = set_new(site, number, number - 1);

	b->set.seen = seen;
	return b;
}

static void a_cell(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 1);
	(void)state;

	put_update(b, 1, 400, 0, 8);
	for (int i = 0; i < 2; i++) /* the set once more changes nothing */
		give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "a,{\"id\": 1},x,7,300,11,400,22,b,a later write won");
	/* Device a had not seen that either. */
	b = set_seen(SITE_A, 3, 2);
	put_update(b, 1, 500, 0, 9);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT device_id, value, won_device FROM neap_conflict"),
			    "a,7,b b,8,a");
	world_free(w);
}

static void what_was_seen(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 2);
	(void)state;

	put_update(b, 1, 400, 0, 8);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "");
	world_free(w);
}

/* Row 1 is newer than the writer knows, the cell that it overwrites is not. */
static void another_cell_of_the_row(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 1);
	(void)state;

	put_update(b, 1, 400, 1, 66);
	give_set(w, "u", "b", b);
	b = set_seen(SITE_A, 3, 2);
	put_update(b, 1, 401, 0, 77);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, all), "");
	world_free(w);
}

static void the_same_value(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 1);
	(void)state;

	put_update(b, 1, 400, 0, 7);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "");
	world_free(w);
}

/* Sets follow each other faster than their seqs come back; a new site is the same device. */
static void own_writes(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_A, 3, 0);
	(void)state;

	put_update(b, 1, 400, 0, 8);
	give_set(w, "u", "a", b);
	b = set_seen(SITE_A2, 1, 0);
	put_delete(b, 1, 500);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, all), "");
	world_free(w);
}

static void a_row_deleted(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 1);
	(void)state;

	put_delete(b, 1, 400);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all),
			    "a,{\"id\": 1},x,7,300,11,400,22,b,the row was deleted later");
	world_free(w);
}

static void a_row_deleted_that_was_not_known(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 0);
	(void)state;

	put_delete(b, 1, 400);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all),
			    "a,{\"id\": 1},-,-,100,11,400,22,b,the row was deleted later "
			    "a,{\"id\": 1},x,7,300,11,400,22,b,the row was deleted later "
			    "a,{\"id\": 1},y,6,100,11,400,22,b,the row was deleted later");
	world_free(w);
}

static void a_delete_undone(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 2);
	(void)state;

	put_delete(b, 1, 400); /* seq 3 */
	give_set(w, "u", "b", b);
	b = set_seen(SITE_A, 3, 2);
	put_insert(b, 1, 500, 1, 2);
	give_set(w, "u", "a", b);
	assert_string_equal(
		query(w, all),
		"b,{\"id\": 1},-,-,400,22,500,11,a,a delete: the row was written anew later");
	world_free(w);
}

/* Two devices make the same row; an insert carries every column. */
static void a_row_made_twice(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 0);
	(void)state;

	put_insert(b, 1, 400, 7, 66);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "a,{\"id\": 1},y,6,100,11,400,22,b,a later write won");
	world_free(w);
}

/* What was kept of a deleted row is seen by nobody before an insert brings it back. */
static void a_cell_that_came_back(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 2);
	(void)state;

	put_delete(b, 1, 400); /* seq 3 */
	give_set(w, "u", "b", b);
	b = set_seen(SITE_A, 3, 3);
	put_update(b, 1, 600, 0, 8); /* no seq */
	give_set(w, "u", "a", b);
	b = set_seen(SITE_A, 4, 3);
	put_insert(b, 1, 500, 1, 2); /* seq 4 */
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT x, y FROM notes"), "8,2");
	b = set_seen(SITE_B, 2, 3);
	put_update(b, 1, 700, 0, 9);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT device_id, column_name, value, stamp"
				     " FROM neap_conflict ORDER BY id DESC LIMIT 1"),
			    "a,x,8,600");
	world_free(w);
}

static void an_operators_write(void **state)
{
	struct world *w = one_row();
	struct builder *b;
	struct reg reg;
	(void)state;

	sql(w, "UPDATE notes SET x = 70"); /* seq 3 */
	tick(w);
	reg.stamp = (uint64_t)NOW_MS << 16;
	b = set_seen(SITE_B, 1, 2);
	put_update(b, 1, reg.stamp + 9, 0, 8);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT device_id, column_name, value, won_device"
				     " FROM neap_conflict"),
			    "server,x,70,b");
	world_free(w);
}

/* Devices of a table that only goes up never look at what others write. */
static void a_table_that_goes_up(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_seen(SITE_B, 1, 99);
	struct shape up = *notes();
	struct buf bytes = {.max = 4096};
	(void)state;

	up.direction = DIR_UP;
	ok(w, shape_encode(&up, &bytes, &w->e));
	buf_free(&bytes);
	declare_shape(w, "u", "b", &up);
	struct row *r = row_add(b, &up, 1);
	cell_add(r, 0, 400, SITE_B, int_val(8));
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT device_id, value, won_device FROM neap_conflict"),
			    "a,7,b");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cell),
		cmocka_unit_test(what_was_seen),
		cmocka_unit_test(another_cell_of_the_row),
		cmocka_unit_test(the_same_value),
		cmocka_unit_test(own_writes),
		cmocka_unit_test(a_row_deleted),
		cmocka_unit_test(a_row_deleted_that_was_not_known),
		cmocka_unit_test(a_delete_undone),
		cmocka_unit_test(a_row_made_twice),
		cmocka_unit_test(a_cell_that_came_back),
		cmocka_unit_test(an_operators_write),
		cmocka_unit_test(a_table_that_goes_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
