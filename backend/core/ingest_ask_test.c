/* P8: what a device is told about the append rows that are here. */
#include "backend/core/testing.h"
#include "protocol/ranges.h"

enum { SITE_A = 11, SITE_B = 12 };

static void commit(struct world *w, const char *user, const char *device, uint64_t site,
		   uint64_t number, uint64_t gen, int64_t from, int64_t step, int n)
{
	struct builder *b = set_new(site, number, number - 1);

	for (int i = 0; i < n; i++)
		put_log(b, gen, from + i * step, 5);
	give_set(w, user, device, b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
}

static struct f_ask question(void)
{
	return (struct f_ask){.nonce = 9,
			      .shape = logs()->id,
			      .site = SITE_A,
			      .gen = 1,
			      .after = INT64_MIN,
			      .upto = INT64_MAX};
}

static struct f_ranges answer(struct world *w, const char *user, const char *device,
			      struct f_ask ask)
{
	struct frame f = {.type = FRAME_ASK, .ask = ask};

	give(w, user, device, &f);
	assert_int_equal(w->out.n, 1);
	assert_string_equal(w->out.at[0].peer.at, device);
	f = decoded(w, &w->out.at[0]);
	assert_int_equal(f.type, FRAME_RANGES);
	assert_int_equal(f.ranges.nonce, ask.nonce);
	assert_int_equal(f.ranges.store, store_id(w->store));
	assert_int_equal(f.ranges.term, store_term(w->store));
	return f.ranges;
}

/* Its runs as text. */
static const char *runs(struct f_ask ask, const struct f_ranges *r)
{
	static char text[400];
	struct slice left = r->runs;
	int64_t at = ask.after, lo, hi;
	size_t len = 0;
	bool any;

	text[0] = 0;
	for (;;) {
		assert_int_equal(run_take(&left, &at, r->upto, &lo, &hi, &any), 0);
		if (!any)
			return text;
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%lld-%lld",
					len ? " " : "", (long long)lo, (long long)hi);
		assert_true(len < sizeof text);
	}
}

static void runs_are(struct world *w, struct f_ask ask, const char *what)
{
	struct f_ranges r = answer(w, "u", "a", ask);

	assert_int_equal(r.upto, ask.upto);
	assert_false(r.foreign);
	assert_int_equal(r.keys.len, 0);
	assert_string_equal(runs(ask, &r), what);
}

static void numbers_received(void **state)
{
	struct world *w = world_new();
	struct f_ask ask = question();
	(void)state;

	declare_shape(w, "u", "a", logs());
	runs_are(w, ask, "");
	commit(w, "u", "a", SITE_A, 1, 1, 1, 1, 10);
	commit(w, "u", "a", SITE_A, 2, 1, 21, 1, 5);
	commit(w, "u", "a", SITE_A, 3, 2, 15, 1, 1);
	runs_are(w, ask, "1-10 21-25");
	/* What an operator deleted was received all the same. */
	sql(w, "DELETE FROM log WHERE n < 8");
	runs_are(w, ask, "1-10 21-25");
	ask.after = 4;
	ask.upto = 22;
	runs_are(w, ask, "5-10 21-22");
	ask.after = 10;
	ask.upto = 20;
	runs_are(w, ask, "");
	ask.gen = 2;
	runs_are(w, ask, "15-15");
	ask.site = 99;
	runs_are(w, ask, "");
	world_free(w);
}

/* Where numbers came with holes only the rows themselves tell. */
static void numbers_with_holes(void **state)
{
	struct world *w = world_new();
	struct f_ask ask = question();
	(void)state;

	declare_shape(w, "u", "a", logs());
	commit(w, "u", "a", SITE_A, 1, 1, -40, 20, 7);
	commit(w, "u", "a", SITE_A, 2, 1, 41, 1, 2);
	runs_are(w, ask, "-40--40 -20--20 0-0 20-20 40-42 60-60 80-80");
	sql(w, "DELETE FROM log WHERE n = 20");
	ask.after = -20;
	ask.upto = 79;
	runs_are(w, ask, "0-0 40-42 60-60");
	world_free(w);
}

/* Neither another user's rows, nor those of tables that this one has not. */
static void only_what_is_the_users_own(void **state)
{
	struct world *w = world_new();
	struct f_ask ask = question();
	struct f_ranges r;
	(void)state;

	declare_shape(w, "u", "a", logs());
	declare_shape(w, "v", "a", logs());
	commit(w, "v", "a", SITE_A, 1, 1, 1, 1, 3);
	runs_are(w, ask, "");
	commit(w, "u", "b", SITE_B, 1, 1, 1, 1, 4);
	ask.site = SITE_B;
	r = answer(w, "u", "a", ask);
	assert_true(r.foreign);
	assert_string_equal(runs(ask, &r), "1-4");
	r = answer(w, "u", "b", ask);
	assert_false(r.foreign);
	ask.shape.at[0] ^= 1; /* not declared: nothing of it is here */
	r = answer(w, "u", "b", ask);
	assert_int_equal(r.runs.len, 0);
	assert_int_equal(r.upto, ask.upto);
	world_free(w);
}

static void nonsense_is_not_answered(void **state)
{
	struct world *w = world_new();
	struct frame f = {.type = FRAME_ASK, .ask = question()};
	struct ingest_stats s;
	(void)state;

	declare_shape(w, "u", "a", notes());
	f.ask.shape = notes()->id;
	give(w, "u", "a", &f);
	assert_int_equal(w->out.n, 0);
	f.ask = question();
	f.ask.after = f.ask.upto;
	give(w, "u", "a", &f);
	assert_int_equal(w->out.n, 0);
	ingest_stats(w->in, &s);
	assert_int_equal(s.malformed, 2);
	world_free(w);
}

static void fill(struct world *w, int64_t step, int64_t sets, int n)
{
	for (int64_t i = 0; i < sets; i++)
		commit(w, "u", "a", SITE_A, (uint64_t)i + 1, 1, 1 + i * n * step, step, n);
}

/* A question costs so much and no more: the rest is asked for. */
static void an_answer_is_bounded(void **state)
{
	struct world *w = world_new();
	struct f_ask ask = question();
	int64_t seen = 0, lo, hi;
	int answers = 0;
	bool any;
	(void)state;

	declare_shape(w, "u", "a", logs());
	fill(w, 3, 3, 2000);
	ask.after = 0;
	ask.upto = 3 * 6000;
	while (ask.after < ask.upto) {
		struct f_ranges r = answer(w, "u", "a", ask);
		struct slice left = r.runs;
		int64_t at = ask.after;

		assert_true(r.runs.len <= LIMIT_MESSAGE / 2);
		for (;;) {
			assert_int_equal(run_take(&left, &at, r.upto, &lo, &hi, &any), 0);
			if (!any)
				break;
			assert_int_equal(lo, 1 + 3 * seen);
			assert_int_equal(hi, lo);
			seen++;
		}
		assert_true(r.upto > ask.after);
		ask.after = r.upto;
		answers++;
	}
	assert_int_equal(seen, 6000);
	assert_in_range(answers, 6, 7);
	world_free(w);
}

static bool has(struct slice keys, uint64_t salt, int64_t key)
{
	struct buf scratch = {.max = 64};
	struct val v = int_val(key);
	uint64_t hash;
	bool found = false;

	assert_int_equal(key_hash(salt, logs(), &v, &scratch, &hash), 0);
	for (size_t i = 0; i < keys.len; i += KEY_HASH_BYTES)
		found |= key_hash_read(keys.at + i) == hash;
	buf_free(&scratch);
	return found;
}

static void keys_that_are_here(void **state)
{
	struct world *w = world_new();
	struct f_ask ask = question();
	struct f_ranges r;
	(void)state;

	declare_shape(w, "u", "a", logs());
	fill(w, 1, 2, 1500);
	sql(w, "DELETE FROM log WHERE n = 7");
	ask.salt = 4711;
	ask.after = 5;
	r = answer(w, "u", "a", ask);
	assert_int_equal(r.keys.len, 2000 * KEY_HASH_BYTES);
	assert_int_equal(r.runs.len, 0);
	assert_int_equal(r.upto, 5 + 2000 + 1);
	assert_true(has(r.keys, 4711, 6));
	assert_false(has(r.keys, 4711, 7));
	assert_false(has(r.keys, 4712, 6));
	assert_false(has(r.keys, 4711, 5));
	ask.after = r.upto;
	r = answer(w, "u", "a", ask);
	assert_int_equal(r.keys.len, (3000 - 2006) * KEY_HASH_BYTES);
	assert_int_equal(r.upto, INT64_MAX);
	assert_true(has(r.keys, 4711, 3000));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_received),
		cmocka_unit_test(numbers_with_holes),
		cmocka_unit_test(only_what_is_the_users_own),
		cmocka_unit_test(nonsense_is_not_answered),
		cmocka_unit_test(an_answer_is_bounded),
		cmocka_unit_test(keys_that_are_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
