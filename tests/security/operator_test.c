/* An operator's plain SQL, also careless: what is odd is parked and shown, the rest goes out (T25).
 */
#include "backend/core/testing.h"

enum { ROWS = 40 };

static struct world *rows_of_two(void)
{
	struct world *w = world_new();
	static const char *const users[] = {"u", "v"};

	for (size_t n = 0; n < 2; n++) {
		struct builder *b = set_new(10 + n, 1, 0);
		declare_shape(w, users[n], "a", notes());
		for (int i = 1; i <= ROWS; i++)
			put_insert(b, i, 100, i, (int64_t)n);
		give_set(w, users[n], "a", b);
	}
	return w;
}

static int see_parked(void *ctx, const struct store_table_status *t)
{
	*(int64_t *)ctx += t->parked;
	return 0;
}

static int64_t parked(struct world *w)
{
	int64_t n = 0;

	ok(w, store_each_table(w->store, see_parked, &n, &w->e));
	return n;
}

/* Rows dead or alive in what is published to a user. */
static size_t told(struct world *w, const char *user, enum row_exist exist)
{
	size_t n = 0;

	for (size_t i = 0; i < w->out.n; i++) {
		struct frame f = decoded(w, &w->out.at[i]);
		assert_true(id_valid(id_slice(&w->out.at[i].user)));
		if (f.type != FRAME_CHANGE || strcmp(w->out.at[i].user.at, user) != 0)
			continue;
		struct rows rows = rows_of(w, f.change.rows);
		for (size_t r = 0; r < rows.table[0].n_row; r++)
			n += rows.table[0].row[r].exist == exist;
	}
	return n;
}

static void t25_careless_sql(void **state)
{
	static const char *const odd[] = {"'a/#'", "NULL", "'nobody'", "'+'", "''", "x'00'", "7"};
	struct world *w = rows_of_two();
	char text[200];
	(void)state;

	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		snprintf(text, sizeof text, "INSERT INTO notes VALUES(%s, %zu, 1, 1)", odd[i],
			 1000 + i);
		sql(w, text);
		tick(w);
		assert_int_equal(w->out.n, 0);
		assert_int_equal(parked(w), i + 1);
	}
	/* From one user to another, and to one that cannot be. */
	sql(w, "UPDATE notes SET user_id = 'v', id = 500 WHERE user_id = 'u' AND id = 1");
	tick(w);
	assert_int_equal(told(w, "u", EXIST_DEAD), 1);
	assert_int_equal(told(w, "v", EXIST_ALIVE), 1);
	sql(w, "UPDATE notes SET user_id = 'a/#' WHERE user_id = 'u' AND id = 2");
	tick(w);
	assert_int_equal(told(w, "u", EXIST_DEAD), 1);
	assert_int_equal(told(w, "v", EXIST_NONE) + told(w, "v", EXIST_DEAD), 0);
	assert_int_equal(parked(w), sizeof odd / sizeof odd[0] + 1);
	/* A row replaced by a shell that knows nothing of us: no second row, the new values. */
	sql(w, "REPLACE INTO notes VALUES('u', 3, 'replaced', 1)");
	tick(w);
	assert_int_equal(told(w, "u", EXIST_ALIVE), 1);
	assert_string_equal(query(w, "SELECT x FROM notes WHERE user_id = 'u' AND id = 3"),
			    "replaced");
	/* All rows of everybody: the parked ones go without a word. */
	sql(w, "DELETE FROM notes");
	tick(w);
	assert_int_equal(told(w, "u", EXIST_DEAD), ROWS - 2);
	assert_int_equal(told(w, "v", EXIST_DEAD), ROWS + 1);
	assert_int_equal(parked(w), 0);
	/* And devices go on. */
	struct builder *b = set_new(10, 2, 1);
	put_insert(b, 1, stamp_from_ms(NOW_MS) + 1000, 7, 8);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT user_id, id, x, y FROM notes"), "u,1,7,8");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(t25_careless_sql)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
