/* P8 at the device: what is asked, and what an answer makes pending. */
#include "device/core/lost.h"

#include "device/core/capture_fixture.h"
#include "device/core/identity.h"
#include "protocol/ranges.h"

static struct cut cut;

static bool cut_some(size_t rows)
{
	struct cut_limits limits = {.rows = rows, .cells = LIMIT_CELLS, .bytes = 1 << 20};
	bool any;

	arena_free(&arena);
	arena.max = 64 << 20;
	OK(cutter_next(cutter, &limits, 5, &arena, &cut, &any, &err));
	return any;
}

/* "gen.n gen.n …" of the next set; "" for none. */
static const char *next_set(size_t rows)
{
	static char text[400];
	size_t len = 0;

	text[0] = 0;
	if (!cut_some(rows))
		return text;
	for (size_t i = 0; i < cut.rows.table[0].n_row; i++) {
		const struct row *r = &cut.rows.table[0].row[i];

		len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu.%lld",
					len ? " " : "", (unsigned long long)r->gen,
					(long long)r->n);
		assert_true(len < sizeof text);
	}
	return text;
}

static void send_all(void)
{
	while (cut_some(1000))
		settle(cut.number);
}

static void lose(void)
{
	OK(devdb_begin(d, &err));
	OK(lost_begin(d, &err));
	OK(cutter_restart(cutter, &err));
	OK(devdb_commit(d, &err));
}

/* The next question; false if there is none. */
static bool ask(struct lost_question *q)
{
	enum lost_todo todo;

	do
		OK(lost_next(d, 7, &todo, q, &err));
	while (todo == LOST_WORK);
	return todo == LOST_ASK;
}

/* The server has lo … hi of what was asked, and nothing else. */
static void has(const struct lost_question *q, int64_t lo, int64_t hi)
{
	struct buf runs = {.max = 64};
	int64_t at = q->after;

	assert_int_equal(run_put(&runs, &at, lo, hi), 0);
	OK(lost_answer(d, q, &(struct lost_known){.upto = q->upto, .runs = buf_slice(&runs)},
		       &err));
	buf_free(&runs);
}

static void has_nothing(const struct lost_question *q)
{
	OK(lost_answer(d, q, &(struct lost_known){.upto = q->upto}, &err));
}

static bool pending(void)
{
	bool any;

	OK(cut_any_pending(d, &any, &err));
	return any;
}

static void log_table(void)
{
	run("CREATE TABLE a(id INTEGER PRIMARY KEY, v)");
	track("a", true);
	run("INSERT INTO a VALUES(10, 1), (20, 2), (30, 3), (40, 4)");
	send_all();
	run("INSERT INTO a VALUES(1, 1), (2, 2), (3, 3)");
	send_all();
	assert_false(pending());
}

static void test_nothing_is_cut_before_the_answer(void **state)
{
	struct lost_question q;

	(void)state;
	log_table();
	lose();
	run("INSERT INTO a VALUES(50, 5), (4, 4)");
	assert_true(pending());
	assert_string_equal(next_set(10), "");
	reopen();
	assert_true(pending());
	assert_true(ask(&q));
	assert_int_equal(q.gen, 1);
	assert_int_equal(q.site, d->site);
	assert_int_equal(q.after, 0); /* the least key here is 1 */
	assert_int_equal(q.upto, 40);
	has(&q, 15, 30);
	assert_string_equal(next_set(10), "");
	assert_true(ask(&q));
	assert_int_equal(q.gen, 2);
	assert_int_equal(q.after, 0);
	assert_int_equal(q.upto, 3);
	has(&q, 2, 2);
	assert_false(ask(&q));
	/* 10 and 40, the numbers 1 and 3, and what is new, each under the identity it has. */
	assert_string_equal(next_set(10), "2.1 2.3 2.4 1.10 1.40 1.50");
	settle(cut.number);
	assert_string_equal(next_set(10), "");
	assert_false(pending());
	assert_string_equal(one("SELECT count(*) FROM neap_lost WHERE kind = 1"), "0");
}

static void test_lost_keys_in_several_sets(void **state)
{
	struct lost_question q;
	uint64_t first;

	(void)state;
	log_table();
	lose();
	while (ask(&q))
		has_nothing(&q);
	assert_string_equal(next_set(4), "2.1 2.2 2.3 1.10");
	first = cut.number;
	assert_string_equal(next_set(2), "1.20 1.30");
	settle(first);
	/* What was not settled is cut once more, what was is not. */
	OK(cutter_restart(cutter, &err));
	run("DELETE FROM a WHERE id = 30");
	assert_string_equal(next_set(10), "1.20 1.40");
	settle(cut.number);
	assert_false(pending());
}

/* Ranges whose rows the app deletes meanwhile do not stay pending, also between sets in flight. */
static void test_rows_that_are_gone(void **state)
{
	struct lost_question q;
	uint64_t first;

	(void)state;
	log_table();
	lose();
	while (ask(&q))
		has_nothing(&q);
	assert_string_equal(next_set(4), "2.1 2.2 2.3 1.10");
	first = cut.number;
	run("DELETE FROM a WHERE id >= 20");
	assert_string_equal(next_set(10), "");
	settle(first);
	assert_false(pending());
}

static void test_pending_counts_what_was_lost(void **state)
{
	struct pending_stats s;
	struct lost_question q;

	(void)state;
	log_table();
	lose();
	OK(cut_pending(d, &d->table[0], &s, &err));
	assert_int_equal(s.rows, 0);
	while (ask(&q))
		has_nothing(&q);
	OK(cut_pending(d, &d->table[0], &s, &err));
	assert_int_equal(s.rows, 7);
	assert_int_equal(s.bytes, 7 * 16);
}

static void refuse(const struct lost_question *q, int64_t upto, const char *runs, size_t n_runs,
		   const char *keys, size_t n_keys)
{
	const struct lost_known k = {
		.upto = upto, .runs = slice_of(runs, n_runs), .keys = slice_of(keys, n_keys)};

	assert_int_equal(lost_answer(d, q, &k, &err), NE_MALFORMED);
}

/* What fits no question changes nothing; what comes too late neither. */
static void test_answers_that_are_none(void **state)
{
	struct lost_question q, old;

	(void)state;
	log_table();
	lose();
	assert_true(ask(&q));
	refuse(&q, q.after, NULL, 0, NULL, 0);
	refuse(&q, q.upto + 1, NULL, 0, NULL, 0);
	refuse(&q, 20, "\x00\x14", 2, NULL, 0); /* 1 … 21 */
	refuse(&q, 20, "\x00", 1, NULL, 0);
	refuse(&q, 20, NULL, 0, "12345678", 8);
	old = q;
	OK(lost_answer(d, &q, &(struct lost_known){.upto = 20}, &err));
	assert_string_equal(one("SELECT group_concat(lo || '-' || hi) FROM neap_lost"), "0-20");
	assert_string_equal(one("SELECT at FROM neap_ask"), "20");
	OK(lost_answer(d, &old, &(struct lost_known){.upto = 40}, &err));
	assert_string_equal(one("SELECT at FROM neap_ask"), "20");
	assert_true(ask(&q));
	assert_int_equal(q.after, 29);
	OK(untrack_table(d, "a", &err));
	OK(lost_answer(d, &q, &(struct lost_known){.upto = 40}, &err));
	assert_string_equal(one("SELECT (SELECT count(*) FROM neap_ask) + (SELECT count(*) FROM "
				"neap_lost)"),
			    "0");
}

/* Another device has the site: its rows are not ours to send. */
static void test_a_site_of_another_device(void **state)
{
	struct lost_question q;

	(void)state;
	log_table();
	lose();
	while (ask(&q))
		OK(lost_answer(d, &q, &(struct lost_known){.upto = q.upto, .foreign = true}, &err));
	assert_false(pending());
	/* It became another's only after the answer. */
	OK(devdb_begin(d, &err));
	OK(identity_sign(d, &err));
	OK(devdb_commit(d, &err));
	lose();
	assert_true(ask(&q));
	has_nothing(&q);
	assert_true(pending());
	OK(devdb_begin(d, &err));
	OK(identity_disown(d, d->site, &err));
	OK(devdb_commit(d, &err));
	assert_string_equal(one("SELECT count(*) FROM neap_lost"), "0");
}

/* The server has the identity all the same, with other content: the row gets another. */
static void test_a_lost_key_that_collides(void **state)
{
	struct lost_question q;

	(void)state;
	log_table();
	lose();
	while (ask(&q))
		has_nothing(&q);
	assert_string_equal(next_set(3), "2.1 2.2 2.3");
	settle(cut.number);
	assert_string_equal(next_set(1), "1.10");
	OK(devdb_begin(d, &err));
	struct val key = {.type = VAL_INT, .i = 10};
	bool there;

	OK(identity_renumber(d, &d->table[0], &key, &there, &err));
	assert_true(there);
	OK(cutter_restart(cutter, &err));
	OK(devdb_commit(d, &err));
	assert_string_equal(next_set(10), "2.4 1.20 1.30 1.40");
	settle(cut.number);
	assert_false(pending());
}

static void list(const struct lost_question *q, const char *const *key, size_t n)
{
	struct buf keys = {.max = 200}, scratch = {.max = 64};
	uint64_t hash;

	for (size_t i = 0; i < n; i++) {
		struct val v = {.type = VAL_TEXT, .s = slice_str(key[i])};

		assert_int_equal(key_hash(q->salt, &d->table[0].shape, &v, &scratch, &hash), 0);
		assert_int_equal(key_hash_put(&keys, hash), 0);
	}
	OK(lost_answer(d, q, &(struct lost_known){.upto = q->upto, .keys = buf_slice(&keys)},
		       &err));
	buf_free(&keys);
	buf_free(&scratch);
}

static void test_keys_that_are_no_numbers(void **state)
{
	struct lost_question q;

	(void)state;
	run("CREATE TABLE a(k TEXT PRIMARY KEY COLLATE NOCASE, v)");
	track("a", true);
	run("INSERT INTO a VALUES('x', 1), ('y', 2), ('z', 3), ('gone', 4)");
	send_all();
	lose();
	run("INSERT INTO a VALUES('new', 5)");
	assert_true(ask(&q));
	assert_int_equal(q.salt, 7);
	assert_int_equal(q.gen, 2);
	assert_int_equal(q.after, 0);
	assert_int_equal(q.upto, 4);
	run("DELETE FROM a WHERE k = 'gone'");
	reopen();
	list(&q, (const char *const[]){"Y", "nobody's"}, 2);
	assert_string_equal(next_set(10), "");
	assert_false(ask(&q));
	assert_string_equal(one("SELECT group_concat(k0) FROM (SELECT k0 FROM neap_m1 ORDER BY n)"),
			    "new,x,z");
	assert_string_equal(next_set(10), "2.5 2.6 2.7");
	settle(cut.number);
	assert_false(pending());
	assert_string_equal(one("SELECT (SELECT count(*) FROM neap_hash) + (SELECT count(*) FROM "
				"neap_ask)"),
			    "0");
}

/* A server that has all ends it early; an empty table is not asked about. */
static void test_as_little_as_possible_is_asked(void **state)
{
	struct lost_question q;

	(void)state;
	run("CREATE TABLE a(k TEXT PRIMARY KEY, v)");
	track("a", true);
	lose();
	assert_false(ask(&q));
	run("INSERT INTO a VALUES('x', 1), ('y', 2), ('z', 3)");
	send_all();
	run("DELETE FROM a WHERE k <> 'x'");
	lose();
	assert_true(ask(&q));
	q.upto = 2;
	list(&q, (const char *const[]){"x"}, 1);
	assert_false(ask(&q));
	assert_false(pending());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_nothing_is_cut_before_the_answer),
		T(test_lost_keys_in_several_sets),
		T(test_rows_that_are_gone),
		T(test_pending_counts_what_was_lost),
		T(test_answers_that_are_none),
		T(test_a_site_of_another_device),
		T(test_a_lost_key_that_collides),
		T(test_keys_that_are_no_numbers),
		T(test_as_little_as_possible_is_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
