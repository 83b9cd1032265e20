/* Rates: one that floods is told to wait, others do not notice, and nothing is lost. */
#include "backend/core/store_sqlite.h"
#include "backend/core/testing.h"

enum { FRAMES = 250 };

static struct shape named(const char *name)
{
	static struct shape_col key[1] = {{.affinity = AFF_INTEGER}};
	struct shape s = {.kind = SHAPE_MERGE, .n_key = 1};
	struct buf b = {.max = 4096};

	key[0].name = slice_str("id");
	s.key = key;
	s.name = slice_str(name);
	assert_int_equal(shape_encode(&s, &b, NULL), 0);
	buf_free(&b);
	return s;
}

static struct in_event event(struct world *w, const char *user, const char *device, struct frame *f)
{
	return (struct in_event){IN_FRAME, user, device, encoded(w, f)};
}

static struct in_event hello(struct world *w, const char *user, const char *device)
{
	struct frame f = {.type = FRAME_HELLO, .hello = {.nonce = 1, .site = 5}};

	return event(w, user, device, &f);
}

/* An append set of `rows` rows, of site 7. */
static struct slice log_set(struct world *w, uint64_t number, size_t rows)
{
	struct builder *b = set_new(7, number, number - 1);

	for (size_t i = 0; i < rows; i++)
		put_log(b, 0, (int64_t)(number * MAX_ROWS + i), 1);
	return set_bytes(w, b);
}

static size_t to_user(struct world *w, const char *user, enum frame_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < w->out.n; i++)
		n += !strcmp(w->out.at[i].user.at, user) && decoded(w, &w->out.at[i]).type == type;
	return n;
}

static struct world *begun(uint64_t messages_s, uint64_t rows_s)
{
	struct world *w = world_new();

	world_stop(w);
	w->config.device_messages_s = messages_s;
	w->config.device_rows_s = rows_s;
	world_start(w);
	declare_shape(w, "u", "d", logs());
	declare_shape(w, "v", "d", logs());
	return w;
}

/* A backlog goes as fast as it can while nobody else is there. */
static void alone(void **state)
{
	struct world *w = begun(1, 1);
	struct in_event ev[FRAMES];

	(void)state;
	for (size_t i = 0; i < FRAMES; i++)
		ev[i] = (struct in_event){IN_FRAME, "u", "d", log_set(w, i + 1, 10)};
	step_n(w, ev, FRAMES);
	assert_int_equal(count_out(w, FRAME_BUSY), 0);
	assert_string_equal(query(w, "SELECT count(*) FROM log"), "2500");
	world_free(w);
}

/* With others in the step it has its rate, is told once when to come again, and can then. */
static void messages_beside_others(void **state)
{
	struct world *w = begun(20, 1000000);
	struct in_event ev[FRAMES];
	struct ingest_stats st;
	struct frame f;

	(void)state;
	for (size_t i = 0; i < FRAMES; i++)
		ev[i] = hello(w, "u", "flood");
	ev[FRAMES - 1] = hello(w, "u", "quiet");
	step_n(w, ev, FRAMES);
	assert_int_equal(count_out(w, FRAME_WELCOME), 100 + 1);
	assert_int_equal(count_out(w, FRAME_BUSY), 1);
	assert_string_equal(find_out(w, FRAME_BUSY, 0, &f)->peer.at, "flood");
	assert_int_equal(f.busy.retry_ms, 50);
	ingest_stats(w->in, &st);
	assert_int_equal(st.slowed, FRAMES - 1 - 100);
	w->now_ms += 500;
	step_n(w, ev, FRAMES);
	assert_int_equal(count_out(w, FRAME_WELCOME), 10 + 1);
	world_free(w);
}

static void pages_at_most(struct world *w, const char *n)
{
	char text[80];

	snprintf(text, sizeof text, "PRAGMA max_page_count = %s", n);
	ok(w, db_exec(w->store->db, text, &w->e));
}

/* A step that failed (here: the disk is full) is done again, and costs nobody twice. */
static void a_failed_step_costs_nothing(void **state)
{
	struct world *w = begun(20, 1000000);
	struct in_event ev[FRAMES];

	(void)state;
	for (size_t i = 0; i < FRAMES; i++)
		ev[i] = hello(w, "u", "flood");
	ev[FRAMES - 1] = (struct in_event){IN_FRAME, "v", "d", log_set(w, 1, MAX_ROWS)};
	pages_at_most(w, "1");
	for (int i = 0; i < 3; i++)
		assert_int_equal(ingest_step(w->in, w->now_ms, ev, FRAMES, &w->out, &w->e),
				 NE_DISK);
	pages_at_most(w, "1000000");
	step_n(w, ev, FRAMES);
	assert_int_equal(count_out(w, FRAME_WELCOME), 100);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_int_equal(count_out(w, FRAME_BUSY), 1);
	world_free(w);
}

/* A set is never too large; it is paid for afterwards. */
static void rows_beside_others(void **state)
{
	struct world *w = begun(1000, 100);
	struct in_event ev[2];
	struct frame f;

	(void)state;
	ev[1] = hello(w, "v", "d");
	ev[0] = (struct in_event){IN_FRAME, "u", "d", log_set(w, 1, 2000)};
	step_n(w, ev, 2);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	ev[0].frame = log_set(w, 2, 1);
	step_n(w, ev, 2);
	assert_int_equal(count_out(w, FRAME_ACK), 0);
	assert_string_equal(find_out(w, FRAME_BUSY, 0, &f)->user.at, "u");
	assert_int_equal(f.busy.retry_ms, 15010);
	assert_int_equal(to_user(w, "v", FRAME_WELCOME), 1);
	w->now_ms += f.busy.retry_ms;
	step_n(w, ev, 2);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT count(*) FROM log"), "2001");
	world_free(w);
}

/*
 * Many devices of one user, each within its rate, with sets that are small on the wire: the step,
 * and so the others' wait, stays short.
 */
static void a_users_share_of_a_step(void **state)
{
	struct world *w = begun(1000000, 1000000);
	struct in_event ev[100];
	char device[100][8];
	struct ingest_stats before, after;

	(void)state;
	for (size_t i = 0; i < 99; i++) {
		struct builder *b = set_new(100 + i, 1, 0);
		for (int64_t k = 0; k < 2000; k++)
			put_log(b, 0, k, 1);
		snprintf(device[i], sizeof device[i], "d%zu", i);
		ev[i] = (struct in_event){IN_FRAME, "u", device[i], set_bytes(w, b)};
	}
	ev[99] = hello(w, "v", "d");
	ingest_stats(w->in, &before);
	step_n(w, ev, 100);
	ingest_stats(w->in, &after);
	assert_int_equal(after.rows - before.rows, 20000);
	assert_int_equal(to_user(w, "v", FRAME_WELCOME), 1);
	assert_int_equal(to_user(w, "u", FRAME_BUSY), 89);
	world_free(w);
}

/* Questions cost their sender what answering them costs. */
static void pulls_cost_rows(void **state)
{
	struct world *w = begun(1000000, 100);
	struct builder *b;
	struct in_event ev[2];
	struct frame f = {.type = FRAME_PULL};

	(void)state;
	declare_shape(w, "u", "d", notes());
	b = set_new(7, 1, 0);
	for (int64_t i = 0; i < 600; i++)
		put_insert(b, i, 100, i, i);
	give_set(w, "u", "d", b);
	f.pull = (struct f_pull){.nonce = 3, .number = 1, .credit = 1 << 20};
	f.pull.at = (struct position){
		.store = store_id(w->store), .term = store_term(w->store), .full = 1, .base = 1};
	ev[0] = event(w, "u", "reader", &f);
	ev[1] = hello(w, "v", "d");
	step_n(w, ev, 2);
	assert_int_equal(count_out(w, FRAME_PAGE), 1);
	step_n(w, ev, 2);
	assert_int_equal(count_out(w, FRAME_PAGE), 0);
	assert_int_equal(to_user(w, "u", FRAME_BUSY), 1);
	world_free(w);
}

/* ---- declarations ---- */

static void declare_named(struct world *w, const char *user, const char *name)
{
	struct shape s = named(name);

	declare_shape(w, user, "d", &s);
}

static void declarations(void **state)
{
	struct world *w = world_new();
	struct builder *b;
	struct frame f;
	char name[16];

	(void)state;
	for (int i = 0; i < 16; i++) {
		snprintf(name, sizeof name, "t%d", i);
		declare_named(w, "u", name);
		assert_int_equal(count_out(w, FRAME_BUSY), 0);
	}
	declare_shape(w, "u", "d", notes());
	find_out(w, FRAME_BUSY, 0, &f);
	assert_int_equal(f.busy.retry_ms, 1000);
	assert_null(store_shape_find(w->store, notes()->id));
	/* Its sets wait as well, and are not refused. */
	b = set_new(7, 1, 0);
	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "d", b);
	assert_int_equal(count_out(w, FRAME_BUSY), 1);
	assert_int_equal(count_out(w, FRAME_REFUSE), 0);
	/* What is known is no news, and others are not kept. */
	declare_named(w, "u", "t3");
	assert_int_equal(count_out(w, FRAME_BUSY), 0);
	declare_shape(w, "v", "d", logs());
	assert_int_equal(count_out(w, FRAME_BUSY), 0);
	assert_non_null(store_shape_find(w->store, logs()->id));

	w->now_ms += 1000;
	give_set(w, "u", "d", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_UNKNOWN_SHAPE);
	declare_shape(w, "u", "d", notes());
	assert_int_equal(count_out(w, FRAME_BUSY), 0);
	give_set(w, "u", "d", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	world_free(w);
}

/* A flood of them, an hour long: one a second, and the server's tables stay bounded. */
static void a_flood_of_declarations(void **state)
{
	struct world *w = world_new();
	struct ingest_stats st;
	char name[16];
	int made = 0;

	(void)state;
	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof name, "t%d", i);
		declare_named(w, "u", name);
		made += count_out(w, FRAME_BUSY) == 0;
		w->now_ms += 100;
	}
	assert_in_range(made, 60, 16 + 60);
	ingest_stats(w->in, &st);
	assert_int_equal(st.declarations_delayed, 600 - made);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alone),
		cmocka_unit_test(messages_beside_others),
		cmocka_unit_test(a_failed_step_costs_nothing),
		cmocka_unit_test(rows_beside_others),
		cmocka_unit_test(a_users_share_of_a_step),
		cmocka_unit_test(pulls_cost_rows),
		cmocka_unit_test(declarations),
		cmocka_unit_test(a_flood_of_declarations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
