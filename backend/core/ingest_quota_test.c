/* Quotas: what a user's rows take is counted with the work, and bounds what is taken. */
#include "backend/core/store_sqlite.h"
#include "backend/core/testing.h"

enum { DAY_MS = 24 * 3600 * 1000 };

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
	return query(w, "SELECT user, tab, rows, bytes FROM neap_usage"
			" WHERE tab > 0 AND (rows OR bytes) ORDER BY user, tab");
}

/* Of keys that are no rows. */
static const char *dead(struct world *w)
{
	return query(w, "SELECT user, -tab, rows, bytes FROM neap_usage"
			" WHERE tab < 0 AND (rows OR bytes) ORDER BY user, tab");
}

static void dead_exact(struct world *w)
{
	char counted[512];

	snprintf(counted, sizeof counted, "%s", dead(w));
	sql(w, "DELETE FROM neap_meta WHERE key = 'dead'");
	ok(w, store_begin(w->store, &w->e));
	ok(w, usage_count_dead(w->store, &w->e));
	ok(w, store_commit(w->store, &w->e));
	assert_string_equal(counted, dead(w));
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
	dead_exact(w);
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
	assert_string_equal(
		query(w, "SELECT rows, replaced FROM neap_usage WHERE user = 'u' AND tab > 0"),
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
	tick(w); /* makes it again … */
	tick(w); /* … and counts */
	assert_string_equal(usage(w), "u,2,2,32");
	sql(w, "DELETE FROM log");
	assert_string_equal(usage(w), "");
	world_free(w);
}

static void count_two(struct world *w)
{
	ok(w, store_begin(w->store, &w->e));
	ok(w, store_recount_some(w->store, 2, &w->e));
	ok(w, store_commit(w->store, &w->e));
}

/* A large table is counted some rows a step, exactly, whatever is written meanwhile. */
static void counting_takes_steps(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	declare_shape(w, "v", "d1", notes());
	for (int64_t i = 1; i <= 9; i++)
		put_insert(b, i, 100, 1, 1);
	give_set(w, "u", "d1", b);
	sql(w, "DROP TRIGGER neap_m1_qdl; DELETE FROM notes WHERE id IN (2, 3)");
	tick(w);
	assert_string_equal(usage(w), "u,1,9,216");
	count_two(w);
	sql(w, "DELETE FROM notes WHERE id IN (1, 8); INSERT INTO notes(user_id, id) VALUES"
	       "('v', 1), ('u', 0), ('u', 20)");
	count_two(w);
	assert_string_equal(usage(w), "u,1,9,216 v,1,1,24");
	/* Cut short by a stop, it begins anew. */
	world_stop(w);
	world_start(w);
	count_two(w);
	sql(w, "UPDATE notes SET x = 'more than eight' WHERE id IN (4, 9)");
	for (int i = 0; i < 5; i++)
		count_two(w);
	assert_string_equal(usage(w), "u,1,7,182 v,1,1,24");
	exact(w);
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

/* Tombstones count until they are forgotten; above the bound there are no more of them. */
static void deleted_rows(void **state)
{
	struct world *w = begun();
	struct builder *b = next(1);

	(void)state;
	for (int64_t i = 1; i <= 4; i++)
		put_insert(b, i, 100, 1, 1);
	give_set(w, "u", "d1", b);
	assert_string_equal(dead(w), "");
	b = next(2);
	put_delete(b, 1, 200);
	put_delete(b, 2, 200);
	put_delete(b, 9, 200); /* unknown */
	give_set(w, "u", "d1", b);
	assert_string_equal(dead(w), "u,1,3,24");
	b = next(3);
	put_insert(b, 2, 300, 1, 1);
	give_set(w, "u", "d1", b);
	assert_string_equal(dead(w), "u,1,2,16");
	sql(w, "DELETE FROM notes WHERE id = 3");
	tick(w);
	assert_string_equal(dead(w), "u,1,3,24");
	exact(w);

	sql(w, "UPDATE neap_usage SET rows = 100000 WHERE tab = -1");
	set_quota(w, "u", 10, STORE_QUOTA_NONE);
	b = next(4);
	put_delete(b, 4, 400);
	give_set(w, "u", "d1", b);
	assert_int_equal(refused(w), REFUSE_QUOTA);
	assert_string_equal(dead(w), "u,1,100000,24");
	b = next(4);
	put_update(b, 4, 400, 0, 5);
	put_insert(b, 1, 400, 1, 1); /* one less */
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	b = next(5);
	put_delete(b, 4, 500);
	give_set(w, "u", "d1", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);

	sql(w, "UPDATE neap_usage SET rows = rows - 99997 WHERE tab = -1");
	dead_exact(w);
	w->now_ms += 91ull * DAY_MS;
	tick(w);
	w->now_ms += 91ull * DAY_MS;
	tick(w);
	assert_string_equal(dead(w), "");
	world_free(w);
}

/* What is said of rows that nobody inserted is kept, and counted. */
static void unknown_rows(void **state)
{
	enum { LONG = 3 * 1024 * 1024 };
	struct world *w = begun();
	char *text = malloc(LONG + 1);
	uint64_t n = 0;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', LONG);
	text[LONG] = 0;
	set_quota(w, "u", STORE_QUOTA_NONE, 1000);
	do {
		struct builder *b = next(++n);
		put_text(b, (int64_t)n, 100, text);
		give_set(w, "u", "d1", b);
	} while (!refused(w) && n < 10);
	assert_int_equal(refused(w), REFUSE_QUOTA);
	assert_int_equal(n, 16 / 3 + 1);
	exact(w);
	free(text);
	world_free(w);
}

static enum refuse_code new_site(struct world *w, const char *device, uint64_t site)
{
	struct builder *b = set_new(site, 1, 0);

	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", device, b);
	return refused(w);
}

/* A device cannot come as ever new databases; one long unused makes room. */
static void sites(void **state)
{
	struct world *w = begun();

	(void)state;
	for (uint64_t i = 0; i < STORE_SITES_DEVICE; i++)
		assert_int_equal(new_site(w, "d1", 1000 + i), 0);
	assert_int_equal(new_site(w, "d1", 3000), REFUSE_QUOTA);
	assert_int_equal(new_site(w, "d2", 4000), 0);
	w->now_ms += 91ull * DAY_MS;
	assert_int_equal(new_site(w, "d1", 3000), 0);
	assert_string_equal(
		query(w, "SELECT count(*), min(site) FROM neap_site WHERE device = 'd1'"),
		"256,1001");
	assert_string_equal(query(w, "SELECT count(*) FROM neap_cut WHERE site NOT IN"
				     " (SELECT id FROM neap_site)"),
			    "0");
	sql(w, "WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 16384)"
	       " INSERT INTO neap_site(uid, site, device) SELECT 1, 100000 + i, 'e' || i FROM c");
	assert_int_equal(new_site(w, "d3", 5000), REFUSE_QUOTA);
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
		cmocka_unit_test(defaults_of_the_server), cmocka_unit_test(deleted_rows),
		cmocka_unit_test(unknown_rows),		  cmocka_unit_test(sites),
		cmocka_unit_test(counting_takes_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
