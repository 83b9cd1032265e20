/* Broken, hostile and unlucky input: the step goes on, and the other user's rows stay as they are.
 */
#include "backend/core/store_sqlite.h"
#include "backend/core/testing.h"

enum { SITE_A = 11, SITE_V = 33, MUTATIONS = 6000 };

static struct world *two_users(void)
{
	struct world *w = world_new();
	struct builder *b = set_new(SITE_V, 1, 0);

	declare_shape(w, "v", "x", notes());
	declare_shape(w, "v", "x", logs());
	declare_shape(w, "u", "a", notes());
	declare_shape(w, "u", "a", logs());
	put_insert(b, 1, 100, 11, 12);
	put_log(b, 1, 1, 13);
	give_set(w, "v", "x", b);
	return w;
}

static size_t seeds(struct world *w, struct slice *out)
{
	struct builder *b = set_new(SITE_A, 1, 0);
	struct frame f = {.type = FRAME_HELLO};
	struct buf shape = {.max = 4096};
	struct slice declared;
	size_t n = 0;

	for (int i = 0; i < 5; i++)
		put_insert(b, i, 100, i, i);
	put_delete(b, 9, 100);
	put_log(b, 1, 5, 5);
	out[n++] = set_bytes(w, b);
	f.hello = (struct f_hello){.nonce = 7, .site = SITE_A, .n_shape = 1, .shape = &notes()->id};
	out[n++] = encoded(w, &f);
	f = (struct frame){.type = FRAME_PULL};
	f.pull = (struct f_pull){.nonce = 7,
				 .number = 1,
				 .at = {store_id(w->store), store_term(w->store), 0, 0, false, 0},
				 .credit = 1000};
	out[n++] = encoded(w, &f);
	f = (struct frame){.type = FRAME_DECLARE};
	ok(w, shape_encode(notes(), &shape, &w->e));
	declared = buf_slice(&shape);
	f.declare.n = 1;
	f.declare.shape = &declared;
	out[n++] = encoded(w, &f);
	buf_free(&shape);
	f = (struct frame){.type = FRAME_PART};
	f.part = (struct f_part){.cut = 5, .index = 0, .count = 2, .size = 60};
	f.part.bytes = slice_of("0123456789012345678901234567890123456789", 30);
	out[n++] = encoded(w, &f);
	f = (struct frame){.type = FRAME_VERIFY};
	f.verify =
		(struct f_verify){.nonce = 7,
				  .at = {store_id(w->store), store_term(w->store), 0, 0, false, 0},
				  .shape = notes()->id,
				  .from = slice_of("\1\0\0\0\0\0\0\0\1", 9),
				  .except = slice_of("\1\0\0\0\0\0\0\0\2", 9)};
	out[n++] = encoded(w, &f);
	return n;
}

static size_t mutate(struct world *w, struct slice in, uint8_t *out, size_t max)
{
	uint8_t r[4];
	size_t len = in.len < max ? in.len : max;

	memcpy(out, in.at, len);
	world_random(&w->random, r, sizeof r);
	for (int i = 0; i < 1 + r[0] % 4; i++) {
		uint8_t at[3];
		world_random(&w->random, at, sizeof at);
		out[(size_t)(at[0] << 8 | at[1]) % len] = at[2];
	}
	return r[1] % 8 ? len : len - r[2] % len;
}

static void mutated_frames_harm_nobody(void **state)
{
	struct world *w = two_users();
	struct slice seed[8];
	size_t n = seeds(w, seed);
	uint8_t bytes[4096];
	(void)state;

	for (int i = 0; i < MUTATIONS; i++) {
		size_t len = mutate(w, seed[(size_t)i % n], bytes, sizeof bytes);
		struct in_event ev = {.type = IN_FRAME,
				      .user = "u",
				      .device = i % 3 ? "a" : "b",
				      .frame = slice_of(bytes, len)};
		step_n(w, &ev, 1);
		for (size_t m = 0; m < w->out.n; m++)
			if (w->out.at[m].kind != TOPIC_HEAD)
				assert_string_equal(w->out.at[m].user.at, "u");
	}
	assert_string_equal(query(w, "SELECT user_id, id, x, y FROM notes WHERE user_id = 'v'"),
			    "v,1,11,12");
	assert_string_equal(query(w, "SELECT head FROM neap_user WHERE name = 'v'"), "1");
	assert_string_equal(query(w, "SELECT v FROM log WHERE user_id = 'v'"), "13");
	assert_string_equal(query(w, "PRAGMA integrity_check"), "ok");
	world_free(w);
}

/* A topic that is no user's or device's is dropped before it reaches SQL or a topic. */
static void names_are_checked(void **state)
{
	static const char *const bad[] = {"", "a/b", "#", "..", "server", "neapd", "x y"};
	struct world *w = two_users();
	struct frame f = {.type = FRAME_HELLO};
	(void)state;

	f.hello = (struct f_hello){.nonce = 7, .site = SITE_A};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		give(w, bad[i], "a", &f);
		assert_int_equal(w->out.n, 0);
		give(w, "u", bad[i], &f);
		assert_int_equal(w->out.n, 0);
	}
	assert_string_equal(query(w, "SELECT count(*) FROM neap_user"), "2");
	world_free(w);
}

/* A full disk: nothing is committed or published, and the same events succeed once there is room.
 */
static void a_full_disk_loses_nothing(void **state)
{
	struct world *w = two_users();
	struct builder *b = set_new(SITE_A, 1, 0);
	int64_t pages;
	(void)state;

	for (int i = 0; i < 2000; i++) {
		put_insert(b, i, 100, i, i);
		put_log(b, 1, i, i);
	}
	struct in_event ev = {
		.type = IN_FRAME, .user = "u", .device = "a", .frame = set_bytes(w, b)};
	ok(w, db_int(w->store->db, "PRAGMA page_count", 0, &pages, &w->e));
	ok(w, db_execf(w->store->db, &w->e, "PRAGMA max_page_count = %lld", (long long)pages + 3));
	assert_int_equal(ingest_step(w->in, NOW_MS, &ev, 1, &w->out, &w->e), NE_DISK);
	assert_int_equal(w->out.n, 0);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "1");
	ok(w, db_exec(w->store->db, "PRAGMA max_page_count = 1000000", &w->e));
	step_n(w, &ev, 1);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "2001");
	world_free(w);
}

/* An operator who holds the write lock makes the step wait its turn, not fail for good. */
static void a_locked_store_is_busy(void **state)
{
	struct world *w = two_users();
	struct in_event ev = {.type = IN_TICK};
	sqlite3 *db;
	(void)state;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(ingest_step(w->in, NOW_MS, &ev, 1, &w->out, &w->e), NE_BUSY);
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	tick(w);
	world_free(w);
}

/* An operator's trigger that refuses a row refuses that set, with its words, and no other. */
static void an_operators_trigger_may_refuse(void **state)
{
	struct world *w = two_users();
	struct builder *b = set_new(SITE_A, 1, 0);
	(void)state;

	sql(w, "CREATE TRIGGER positive BEFORE INSERT ON notes WHEN NEW.x < 0"
	       " BEGIN SELECT raise(ABORT, 'x must not be negative'); END");
	put_insert(b, 1, 100, -5, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	b = set_new(SITE_A, 2, 1);
	put_insert(b, 1, 101, 5, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	world_free(w);
}

static void a_file_that_is_no_store(void **state)
{
	struct world *w = world_new();
	struct store_config c = {.path = w->path, .existing = true};
	struct store *s;
	struct err e;
	(void)state;

	world_stop(w);
	sql(w, "UPDATE neap_meta SET value = 99 WHERE key = 'format'");
	assert_int_equal(store_open(&s, &c, &e), NE_CORRUPT);
	sql(w, "DROP TABLE neap_meta");
	assert_int_equal(store_open(&s, &c, &e), NE_CORRUPT);
	world_remove(w, "");
	assert_int_equal(store_open(&s, &c, &e), NE_NOT_FOUND);
	world_start(w);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutated_frames_harm_nobody),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(a_full_disk_loses_nothing),
		cmocka_unit_test(a_locked_store_is_busy),
		cmocka_unit_test(an_operators_trigger_may_refuse),
		cmocka_unit_test(a_file_that_is_no_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
