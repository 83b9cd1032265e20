/* J4: what an operator's plain SQL does to the store reaches the devices. */
#include "backend/core/testing.h"

enum { SITE_A = 11 };

static struct world *three_rows(void)
{
	struct world *w = world_new();
	struct builder *b = set_new(SITE_A, 1, 0);

	declare_shape(w, "u", "a", notes());
	for (int i = 1; i <= 3; i++)
		put_insert(b, i, 100, i * 10, i * 100);
	give_set(w, "u", "a", b);
	return w;
}

static struct rows change_of(struct world *w, size_t index, const char *user)
{
	struct frame f;
	const struct out_message *m = find_out(w, FRAME_CHANGE, index, &f);

	assert_string_equal(m->peer.at, TOPIC_ORIGIN_SERVER);
	assert_string_equal(m->user.at, user);
	return rows_of(w, f.change.rows);
}

static void an_update_goes_out_as_cells(void **state)
{
	struct world *w = three_rows();
	(void)state;

	sql(w, "UPDATE notes SET x = 'text' WHERE id = 2");
	tick(w);
	struct rows rows = change_of(w, 0, "u");
	assert_int_equal(rows.n_table, 1);
	assert_int_equal(rows.table[0].n_row, 1);
	const struct row *r = &rows.table[0].row[0];
	assert_int_equal(r->key[0].i, 2);
	assert_int_equal(r->exist, EXIST_NONE);
	assert_int_equal(r->n_cell, 1);
	assert_int_equal(r->cell[0].val.type, VAL_TEXT);
	assert_int_equal(r->cell[0].reg.site, SITE_SERVER);
	assert_true(r->cell[0].reg.stamp >= stamp_from_ms(NOW_MS));
	assert_int_equal(count_out(w, FRAME_HEAD), 1);
	tick(w);
	assert_int_equal(w->out.n, 0);
	world_free(w);
}

static void insert_and_delete(void **state)
{
	struct world *w = three_rows();
	(void)state;

	sql(w, "INSERT INTO notes VALUES('u', 9, NULL, x'00ff'); DELETE FROM notes WHERE id = 1;"
	       "INSERT OR REPLACE INTO notes VALUES('u', 3, 1.5, 'y')");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	struct rows rows = change_of(w, 0, "u");
	assert_int_equal(rows.table[0].n_row, 3);
	const struct row *r = rows.table[0].row;
	assert_int_equal(r[0].key[0].i, 1);
	assert_int_equal(r[0].exist, EXIST_DEAD);
	assert_int_equal(r[1].key[0].i, 3);
	assert_int_equal(r[1].exist, EXIST_ALIVE);
	assert_int_equal(r[1].cell[0].val.type, VAL_REAL);
	assert_int_equal(r[2].key[0].i, 9);
	assert_int_equal(r[2].exist, EXIST_ALIVE);
	assert_int_equal(r[2].n_cell, 2);
	assert_int_equal(r[2].cell[1].val.s.len, 2);
	world_free(w);
}

/* An operator's write is later than what stands there, also when that is ahead of the clock. */
static void stamps_are_later_than_what_stands(void **state)
{
	struct world *w = three_rows();
	struct builder *b = set_new(SITE_A, 2, 1);
	uint64_t ahead = stamp_from_ms(NOW_MS + 200000);
	(void)state;

	put_update(b, 1, ahead, 0, 5);
	give_set(w, "u", "a", b);
	sql(w, "UPDATE notes SET x = 6, y = 7 WHERE id = 1");
	tick(w);
	struct rows rows = change_of(w, 0, "u");
	assert_true(rows.table[0].row[0].cell[0].reg.stamp > ahead);
	/* And the limit for devices moves with what the server itself issued. */
	b = set_new(SITE_A, 3, 2);
	put_update(b, 1, ahead + (250000ull << 16), 0, 8);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	world_free(w);
}

/* In the step in which a device's set arrives, the operator's write comes first. */
static void before_the_sets_of_its_step(void **state)
{
	struct world *w = three_rows();
	struct builder *b = set_new(SITE_A, 2, 1);
	struct frame f;
	(void)state;

	sql(w, "UPDATE notes SET x = 'op' WHERE id = 1");
	put_update(b, 1, 200, 0, 5); /* older than the operator's */
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_CHANGE), 2);
	find_out(w, FRAME_CHANGE, 0, &f);
	assert_int_equal(f.change.seq, 2);
	find_out(w, FRAME_CHANGE, 1, &f);
	assert_int_equal(f.change.seq, 3);
	assert_string_equal(query(w, "SELECT x FROM notes WHERE id = 1"), "op");
	world_free(w);
}

static void a_changed_user_moves_the_row(void **state)
{
	struct world *w = three_rows();
	struct store_user u;
	(void)state;

	ok(w, store_user_ensure(w->store, "v", &u, &w->e));
	sql(w, "UPDATE notes SET user_id = 'v' WHERE id = 1");
	tick(w);
	for (size_t i = 0; i < 2; i++) {
		struct frame f;
		const char *user = find_out(w, FRAME_CHANGE, i, &f)->user.at;
		struct rows rows = change_of(w, i, user);
		assert_int_equal(rows.table[0].row[0].exist,
				 strcmp(user, "u") == 0 ? EXIST_DEAD : EXIST_ALIVE);
	}
	assert_int_equal(count_out(w, FRAME_CHANGE), 2);
	assert_string_equal(
		query(w, "SELECT uid, state & 1 FROM neap_r1 WHERE k0 = 1 ORDER BY uid"),
		"1,0 2,1");
	world_free(w);
}

static int parked(void *ctx, const struct store_table_status *t)
{
	*(int64_t *)ctx += t->parked;
	return 0;
}

/* Rows without a known user are parked: kept, counted, never published, until the user exists. */
static void parks_rows_without_a_user(void **state)
{
	struct world *w = three_rows();
	struct store_user u;
	int64_t n = 0;
	(void)state;

	sql(w,
	    "INSERT INTO notes VALUES(NULL, 50, 1, 1); INSERT INTO notes VALUES('a/#', 51, 1, 1);"
	    "INSERT INTO notes VALUES('later', 52, 1, 1); UPDATE notes SET user_id = NULL"
	    " WHERE id = 1; INSERT INTO notes VALUES(x'00', 53, 1, 1);");
	tick(w);
	assert_int_equal(count_out(w, FRAME_CHANGE), 1);
	struct rows rows = change_of(w, 0, "u");
	assert_int_equal(rows.table[0].n_row, 1);
	assert_int_equal(rows.table[0].row[0].exist, EXIST_DEAD);
	ok(w, store_each_table(w->store, parked, &n, &w->e));
	assert_int_equal(n, 5);
	tick(w);
	assert_int_equal(w->out.n, 0);
	ok(w, store_user_ensure(w->store, "later", &u, &w->e));
	tick(w);
	rows = change_of(w, 0, "later");
	assert_int_equal(rows.table[0].row[0].key[0].i, 52);
	n = 0;
	ok(w, store_each_table(w->store, parked, &n, &w->e));
	assert_int_equal(n, 4);
	world_free(w);
}

/* Ingest's own writes leave no marks, an operator's own triggers do fire for them. */
static void own_writes_are_hidden(void **state)
{
	struct world *w = three_rows();
	struct builder *b = set_new(SITE_A, 2, 1);
	(void)state;

	assert_string_equal(query(w, "SELECT count(*) FROM neap_m1"), "0");
	sql(w, "CREATE TABLE audit(id); CREATE TRIGGER operators AFTER UPDATE ON notes"
	       " BEGIN INSERT INTO audit VALUES(NEW.id); END");
	put_update(b, 2, 300, 1, 5);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT id FROM audit"), "2");
	assert_string_equal(query(w, "SELECT busy FROM neap_flag"), "0");
	tick(w);
	assert_int_equal(w->out.n, 0);
	world_free(w);
}

/* One statement over many rows becomes messages that fit, each with its own seq. */
static void large_statements_are_split(void **state)
{
	struct world *w = three_rows();
	struct frame f;
	(void)state;

	sql(w, "WITH RECURSIVE c(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM c WHERE i < 2099)"
	       " INSERT INTO notes SELECT 'u', i, hex(randomblob(20)), i FROM c");
	tick(w);
	size_t n = count_out(w, FRAME_CHANGE);
	assert_true(n >= 4);
	for (size_t i = 0; i < n; i++) {
		find_out(w, FRAME_CHANGE, i, &f);
		assert_int_equal(f.change.seq, 2 + i);
	}
	assert_int_equal(count_out(w, FRAME_HEAD), 1);
	world_free(w);
}

static uint64_t not_sent(struct world *w, const char *last)
{
	struct ingest_stats s;

	ingest_stats(w->in, &s);
	assert_string_equal(s.not_sent_last, last);
	return s.not_sent;
}

/* What no device can get is counted when it is written, not only when somebody looks. */
static void what_is_not_sent_is_counted(void **state)
{
	struct world *w = three_rows();
	(void)state;

	assert_int_equal(not_sent(w, ""), 0);
	sql(w, "INSERT INTO notes(user_id, id, x) VALUES('u', NULL, 1), (NULL, 8, 1), ('u', 8, 1)");
	tick(w);
	assert_int_equal(not_sent(w, "notes: user_id or a column of the key is NULL"), 2);
	tick(w);
	sql(w, "UPDATE notes SET id = NULL WHERE user_id = 'u' AND id = 8");
	tick(w);
	assert_int_equal(not_sent(w, "notes: user_id or a column of the key is NULL"), 3);
	sql(w, "UPDATE notes SET x = zeroblob(3670017) WHERE user_id = 'u' AND id = 1");
	tick(w);
	assert_int_equal(not_sent(w, "notes: a value is above 3.5 MiB"), 4);
	sql(w, "UPDATE notes SET y = 5 WHERE user_id = 'u' AND id = 1");
	tick(w);
	assert_int_equal(not_sent(w, "notes: a value is above 3.5 MiB"), 4);
	/* What devices send is none of it. */
	struct builder *b = set_new(SITE_A, 2, 1);
	put_insert(b, 77, 400, 5, 6);
	give_set(w, "u", "a", b);
	assert_int_equal(not_sent(w, "notes: a value is above 3.5 MiB"), 4);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_update_goes_out_as_cells),
		cmocka_unit_test(insert_and_delete),
		cmocka_unit_test(stamps_are_later_than_what_stands),
		cmocka_unit_test(before_the_sets_of_its_step),
		cmocka_unit_test(a_changed_user_moves_the_row),
		cmocka_unit_test(parks_rows_without_a_user),
		cmocka_unit_test(own_writes_are_hidden),
		cmocka_unit_test(large_statements_are_split),
		cmocka_unit_test(what_is_not_sent_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
