/* Quotas: what a user's rows take is counted with the work, and bounds what is taken. */
#include "backend/core/testing.h"

static const struct store_quota none = {STORE_QUOTA_NONE, STORE_QUOTA_NONE};

static void set_quota(struct world *w, const char *user, int64_t rows, int64_t bytes)
{
	const struct store_quota q = {rows, bytes};

	ok(w, store_begin(w->store, &w->e));
	ok(w, store_set_quota(w->store, user, &q, &w->e));
	ok(w, store_commit(w->store, &w->e));
}

static const char *usage(struct world *w)
{
	return query(w, "SELECT user, tab, rows, bytes FROM neap_usage WHERE rows OR bytes"
			" ORDER BY user, tab");
}

/* What was counted is what counting it all again gives. */
static void exact(struct world *w)
{
	char counted[512];

	snprintf(counted, sizeof counted, "%s", usage(w));
	ok(w, store_begin(w->store, &w->e));
	ok(w, store_recount(w->store, NULL, &w->e));
	ok(w, store_commit(w->store, &w->e));
	assert_string_equal(counted, usage(w));
}

static struct world *begun(void)
{
	struct world *w = world_new();

	declare_shape(w, "u", "d1", notes());
	declare_shape(w, "u", "d1", logs());
	return w;
}

static void put_text(struct builder *b, int64_t key, uint64_t stamp, const char *text)
{
	struct row *r = row_add(b, notes(), key);

	cell_add(r, 0, stamp, b->set.site, (struct val){.type = VAL_TEXT, .s = slice_str(text)});
}

static enum refuse_code refused(struct world *w)
{
	struct frame f;

	if (!count_out(w, FRAME_REFUSE))
		return 0;
	find_out(w, FRAME_REFUSE, 0, &f);
	return f.refuse.code;
}

/* number = prev + 1 */
static struct builder *next(uint64_t number)
{
	return set_new(1, number, number - 1);
}

static void rows_are_bounded(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);
	struct frame f;

	(void)state;
	set_quota(w, "u", 3, STORE_QUOTA_NONE);
	put_insert(b, 1, 100, 1, 1);
	put_insert(b, 2, 100, 1, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);

	b = next(2);
	put_insert(b, 3, 200, 1, 1);
	put_insert(b, 4, 200, 1, 1);
	give_set(w, "u", "d1", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_QUOTA);
	assert_memory_equal(f.refuse.text.at, "account u has 2 of 3 rows", f.refuse.text.len);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "2");
	exact(w);

	/* Another user is not touched by it. */
	declare_shape(w, "v", "d1", notes());
	b = set_new(7, 1, 0);
	for (int64_t i = 0; i < 10; i++)
		put_insert(b, i, 100, 1, 1);
	give_set(w, "v", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);

	/* Deletes and changes go through; with room again the same set does, too. */
	b = next(2);
	put_delete(b, 1, 300);
	put_update(b, 2, 300, 0, 5);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	b = next(3);
	put_insert(b, 3, 200, 1, 1);
	put_insert(b, 4, 200, 1, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	b = next(4);
	put_insert(b, 5, 200, 1, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(refused(w), REFUSE_QUOTA);
	set_quota(w, "u", 4, STORE_QUOTA_NONE);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	exact(w);
	world_free(w);
}

/* At the bound, or above one that was lowered, deletes go through. */
static void deletes_above_the_quota(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	for (int64_t i = 0; i < 10; i++)
		put_insert(b, i, 100, 1, 1);
	give_set(w, "u", "d1", b);
	set_quota(w, "u", 2, 10);
	b = next(2);
	put_delete(b, 1, 300);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	b = next(3);
	put_delete(b, 2, 300);
	put_insert(b, 20, 300, 1, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1); /* not more than before */
	exact(w);
	world_free(w);
}

static void bytes_are_bounded(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);
	char text[200];

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = 0;
	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "d1", b);
	assert_string_equal(usage(w), "u,1,1,24");
	set_quota(w, "u", STORE_QUOTA_NONE, 216);
	b = next(2);
	put_text(b, 1, 200, text);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(usage(w), "u,1,1,215");
	b = next(3);
	cell_add(row_add(b, notes(), 1), 1, 300, 1,
		 (struct val){.type = VAL_TEXT, .s = slice_str("ten bytes.")});
	give_set(w, "u", "d1", b);
	assert_int_equal(refused(w), REFUSE_QUOTA);
	b = next(3);
	put_text(b, 1, 300, "short");
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(usage(w), "u,1,1,24");
	exact(w);
	world_free(w);
}

static void telemetry(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	set_quota(w, "u", 10, STORE_QUOTA_NONE);
	for (int64_t i = 1; i <= 10; i++)
		put_log(b, 0, i, i);
	give_set(w, "u", "d1", b);
	give_set(w, "u", "d1", b); /* a duplicate is acknowledged, and counted once */
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(usage(w), "u,2,10,160");
	b = next(2);
	put_log(b, 0, 11, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(refused(w), REFUSE_QUOTA);
	sql(w, "DELETE FROM log WHERE n < 4");
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(usage(w), "u,2,8,128");
	exact(w);
	sql(w, "DELETE FROM log");
	assert_string_equal(usage(w), "");
	world_free(w);
}

/* What an operator does with SQL counts like what devices do. */
static void operators_sql(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "d1", b);
	sql(w, "INSERT INTO notes(user_id, id, x) VALUES('u', 2, 'long enough to count'),"
	       " ('w', 3, NULL), (NULL, 4, 1)");
	tick(w);
	assert_string_equal(usage(w), "u,1,2,60 w,1,1,24");
	sql(w, "UPDATE notes SET x = 1 WHERE id = 2; UPDATE notes SET user_id = 'u' WHERE id = 3;"
	       "UPDATE notes SET user_id = 'u' WHERE id = 4; DELETE FROM notes WHERE id = 1");
	tick(w);
	assert_string_equal(usage(w), "u,1,3,72");
	exact(w);
	/* REPLACE takes a row away unseen: it is counted again before anything is refused. */
	sql(w, "INSERT OR REPLACE INTO notes(user_id, id, x) VALUES('u', 2, 'other')");
	assert_string_equal(query(w, "SELECT rows, replaced FROM neap_usage WHERE user = 'u'"),
			    "4,1");
	set_quota(w, "u", 4, STORE_QUOTA_NONE);
	b = next(2);
	put_insert(b, 9, 200, 1, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	exact(w);
	world_free(w);
}

/* With triggers of an operator's own ours count, also what his change. */
static void operators_triggers(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	sql(w, "CREATE TABLE audit(x); CREATE TRIGGER mine AFTER INSERT ON notes WHEN NEW.id > 100"
	       " BEGIN DELETE FROM notes WHERE user_id = NEW.user_id AND id < 3; END");
	put_insert(b, 1, 100, 1, 1);
	put_insert(b, 2, 100, 1, 1);
	put_insert(b, 5, 100, 1, 1);
	give_set(w, "u", "d1", b);
	assert_string_equal(usage(w), "u,1,3,72");
	b = next(2);
	put_insert(b, 101, 200, 1, 1);
	give_set(w, "u", "d1", b);
	assert_string_equal(usage(w), "u,1,2,48");
	b = next(3);
	put_update(b, 5, 300, 0, 7);
	put_delete(b, 101, 300);
	give_set(w, "u", "d1", b);
	assert_string_equal(usage(w), "u,1,1,24");
	exact(w);
	world_free(w);
}

/* Triggers that were dropped are made again, and the table is counted. */
static void without_triggers(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	for (int64_t i = 1; i <= 5; i++)
		put_log(b, 0, i, i);
	give_set(w, "u", "d1", b);
	sql(w, "DROP TRIGGER neap_m2_qdl; DELETE FROM log WHERE n > 2");
	assert_string_equal(usage(w), "u,2,5,80");
	tick(w);
	assert_string_equal(usage(w), "u,2,2,32");
	sql(w, "DELETE FROM log");
	assert_string_equal(usage(w), "");
	world_free(w);
}

/* What a refused set had written is not counted. */
static void undone_sets(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	put_insert(b, 1, 100, 1, 1);
	put_log(b, 0, 5, 1);
	give_set(w, "u", "d1", b);
	assert_string_equal(usage(w), "u,1,1,24 u,2,1,16");
	b = next(2);
	put_insert(b, 2, 200, 1, 1);
	put_log(b, 0, 5, 2); /* another row under the same identity */
	give_set(w, "u", "d1", b);
	assert_int_equal(refused(w), REFUSE_COLLISION);
	assert_string_equal(usage(w), "u,1,1,24 u,2,1,16");
	exact(w);
	world_free(w);
}

static void defaults_of_the_server(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	world_stop(w);
	w->config.rows_user = 1;
	world_start(w);
	put_insert(b, 1, 100, 1, 1);
	put_insert(b, 2, 100, 1, 1);
	give_set(w, "u", "d1", b);
	assert_int_equal(refused(w), REFUSE_QUOTA);
	set_quota(w, "u", none.rows, none.bytes);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	struct ingest_stats st;
	ingest_stats(w->in, &st);
	assert_int_equal(st.over_quota, 1);
	assert_string_equal(st.over_user.at, "u");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_bounded),	  cmocka_unit_test(deletes_above_the_quota),
		cmocka_unit_test(bytes_are_bounded),	  cmocka_unit_test(telemetry),
		cmocka_unit_test(operators_sql),	  cmocka_unit_test(operators_triggers),
		cmocka_unit_test(without_triggers),	  cmocka_unit_test(undone_sets),
		cmocka_unit_test(defaults_of_the_server),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
