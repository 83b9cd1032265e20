/*
 * T27: one user floods with sets, pulls, frames in parts that are never finished, conflicts and
 * questions, from many devices. In virtual time: another user's set is taken in every step, the
 * step stays short, and what the flood makes the server keep is bounded.
 */
#include "backend/core/ingest_step.h"
#include "backend/core/testing.h"
#include "protocol/conflict.h"

enum { EVENTS = 256, STEPS = 30, DEVICES = 40, SET_ROWS = 2000, SHARE = 20000 };

struct flood {
	struct world *w;
	struct in_event ev[EVENTS];
	char device[DEVICES][8];
	uint64_t number[DEVICES];
	uint64_t unique;
};

static const char big[65536]; /* sent in parts, but for the last */

static struct slice frame(struct flood *x, const struct frame *f)
{
	return encoded(x->w, f);
}

static struct slice set(struct flood *x, size_t d)
{
	uint64_t number = ++x->number[d];
	struct builder *b = set_new(100 + d, number, number - 1);

	for (size_t i = 0; i < SET_ROWS; i++)
		put_log(b, 0, (int64_t)(number * SET_ROWS + i), 7);
	return set_bytes(x->w, b);
}

static struct slice pull(struct flood *x)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull = (struct f_pull){.nonce = ++x->unique, .number = x->unique, .credit = 1 << 20};
	f.pull.at = (struct position){.store = store_id(x->w->store),
				      .term = store_term(x->w->store),
				      .full = 1,
				      .base = 1};
	return frame(x, &f);
}

static struct slice part(struct flood *x)
{
	static const uint8_t digest[32];
	struct frame f;

	x->unique++;
	parts_get(slice_of(big, sizeof big), 4000, x->unique, x->unique % 15, digest, &f);
	return frame(x, &f);
}

static struct slice conflicts(struct flood *x)
{
	struct buf value = {.max = 64};
	const struct val v = {.type = VAL_INT, .i = 1};
	struct lost_value lost[50];
	struct frame f = {.type = FRAME_CONFLICTS, .conflicts = {.site = 9, .n = 50, .lost = lost}};

	assert_int_equal(conflict_put_value(&v, &value), 0);
	for (size_t i = 0; i < 50; i++)
		lost[i] = (struct lost_value){.table = slice_str("notes"),
					      .key = slice_str("{\"id\": 1}"),
					      .column = slice_str("x"),
					      .value = buf_slice(&value),
					      .reg = {++x->unique, 9},
					      .lost_ms = x->w->now_ms,
					      .why = slice_str("why")};
	f.conflicts.number = x->unique;
	struct slice s = frame(x, &f);
	buf_free(&value);
	return s;
}

static struct slice verify(struct flood *x)
{
	struct frame f = {.type = FRAME_VERIFY};

	f.verify = (struct f_verify){.nonce = ++x->unique, .shape = notes()->id};
	f.verify.at = (struct position){
		.store = store_id(x->w->store), .term = store_term(x->w->store), .cursor = 1};
	return frame(x, &f);
}

/* What a batch holds when one user floods and another sends one set: last of all. */
static void fill(struct flood *x, uint64_t victims)
{
	struct builder *b;

	for (size_t i = 0; i < EVENTS - 1; i++) {
		size_t d = i % DEVICES;
		struct slice s = i % 5 == 0   ? pull(x)
				 : i % 5 == 1 ? part(x)
				 : i % 5 == 2 ? conflicts(x)
				 : i % 5 == 3 ? verify(x)
					      : set(x, d);
		x->ev[i] = (struct in_event){IN_FRAME, "flood", x->device[d], s};
	}
	b = set_new(5, victims, victims - 1);
	put_log(b, 0, (int64_t)victims, 1);
	x->ev[EVENTS - 1] = (struct in_event){IN_FRAME, "victim", "d", set_bytes(x->w, b)};
}

static bool acked(struct world *w, const char *user)
{
	bool yes = false;

	for (size_t i = 0; i < w->out.n; i++)
		yes = yes || (!strcmp(w->out.at[i].user.at, user) &&
			      decoded(w, &w->out.at[i]).type == FRAME_ACK);
	return yes;
}

static size_t bytes_out(const struct world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->out.n; i++)
		n += w->out.at[i].frame.len;
	return n;
}

static void begin(struct flood *x)
{
	struct world *w = x->w;
	struct builder *b;

	world_stop(w);
	w->config.conflicts_user = 1000;
	world_start(w);
	declare_shape(w, "flood", "d0", logs());
	declare_shape(w, "flood", "d0", notes());
	declare_shape(w, "victim", "d", logs());
	b = set_new(9, 1, 0);
	for (int64_t i = 0; i < 2000; i++)
		put_insert(b, i, 100, i, i);
	give_set(w, "flood", "d0", b);
	for (size_t d = 0; d < DEVICES; d++)
		snprintf(x->device[d], sizeof x->device[d], "d%zu", d);
}

static void test_t27_one_users_flood(void **state)
{
	static struct flood x;
	struct ingest_stats before, after;
	(void)state;

	x.w = world_new();
	begin(&x);
	for (uint64_t i = 1; i <= STEPS; i++) {
		ingest_stats(x.w->in, &before);
		fill(&x, i);
		step_n(x.w, x.ev, EVENTS);
		ingest_stats(x.w->in, &after);
		assert_true(acked(x.w, "victim"));
		assert_in_range(after.rows - before.rows, 1, SHARE + SET_ROWS + 1);
		assert_in_range(after.verifies - before.verifies, 0, 2);
		assert_in_range(bytes_out(x.w), 1, 4 << 20);
		assert_in_range(x.w->in->parts_bytes, 0, 8 << 20);
		assert_true(after.slowed > before.slowed);
		x.w->now_ms += 20;
		arena_free(&x.w->arena);
	}
	assert_in_range(strtoll(query(x.w, "SELECT count(*) FROM neap_conflict"), NULL, 10), 1,
			1000);
	assert_string_equal(query(x.w, "SELECT count(*) FROM log WHERE user_id = 'victim'"), "30");
	world_free(x.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_t27_one_users_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
