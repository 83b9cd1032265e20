#include "backend/core/testing.h"
#include "protocol/conflict.h"

enum { SITE_A = 11, SITE_B = 22 };

static const char all[] = "SELECT device_id, row_key, ifnull(column_name, '-'), "
			  "ifnull(value, '-'), stamp, site, won_stamp, won_site, "
			  "ifnull(won_device, '-'), why FROM neap_conflict ORDER BY id";

/* Device a made row 1 at stamp 100 and wrote x at 300. */
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
	assert_string_equal(query(w, all), "");
	return w;
}

static const char *count(struct world *w)
{
	return query(w, "SELECT count(*) FROM neap_conflict");
}

static void a_cell_loses(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	put_update(b, 1, 200, 0, 8);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "b,{\"id\": 1},x,8,200,22,300,11,a,a later write won");
	assert_string_equal(query(w, "SELECT user_id, table_name, typeof(value), at_ms"
				     " FROM neap_conflict"),
			    "u,notes,integer,1790000000000");
	/* What beats what stands is no conflict. */
	b = set_new(SITE_B, 2, 1);
	put_update(b, 1, 400, 0, 9);
	give_set(w, "u", "b", b);
	assert_string_equal(count(w), "1");
	world_free(w);
}

/* Two copies of a database under one site: the first to come stands, and the other is told. */
static void one_version_with_two_values(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	struct frame f;
	(void)state;

	cell_add(row_add(b, notes(), 1), 0, 300, SITE_A, int_val(8));
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "b,{\"id\": 1},x,8,300,11,300,11,a,a later write won");
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].row[0].cell[0].val.i, 7);
	find_out(w, FRAME_ACK, 0, &f);
	assert_int_equal(f.ack.set[0].own, 0);
	/* The same once more is nothing new. */
	b = set_new(SITE_B, 2, 1);
	cell_add(row_add(b, notes(), 1), 0, 300, SITE_A, int_val(7));
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_CHANGE), 0);
	world_free(w);
}

static void the_same_value_loses_nothing(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	put_update(b, 1, 200, 0, 7);
	give_set(w, "u", "b", b);
	/* Device b made the same row: one value differs. */
	b = set_new(SITE_B, 2, 1);
	put_insert(b, 1, 50, 7, 66);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, all), "b,{\"id\": 1},y,66,50,22,100,11,a,a later write won");
	world_free(w);
}

static void the_operator_wins(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	sql(w, "UPDATE notes SET x = 70");
	put_update(b, 1, 400, 0, 8);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT value, won_site, won_device, won_stamp > 400"
				     " FROM neap_conflict"),
			    "8,0,server,1");
	world_free(w);
}

static void a_delete_beats_an_update(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	put_delete(b, 1, 500);
	give_set(w, "u", "b", b);
	assert_string_equal(count(w), "0");
	b = set_new(SITE_A, 3, 2);
	put_update(b, 1, 400, 0, 8);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, all),
			    "a,{\"id\": 1},x,8,400,11,500,22,b,the row was deleted later");
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "0");
	world_free(w);
}

static void an_insert_loses_to_a_delete(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	put_delete(b, 1, 500);
	give_set(w, "u", "b", b);
	b = set_new(SITE_A, 3, 2);
	put_insert(b, 1, 400, 8, 9);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, all),
			    "a,{\"id\": 1},-,-,400,11,500,22,b,the row was deleted later "
			    "a,{\"id\": 1},x,8,400,11,500,22,b,the row was deleted later "
			    "a,{\"id\": 1},y,9,400,11,500,22,b,the row was deleted later");
	world_free(w);
}

static void a_delete_loses_to_an_insert(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	put_insert(b, 1, 600, 1, 2);
	give_set(w, "u", "b", b);
	b = set_new(SITE_A, 3, 2);
	put_delete(b, 1, 500);
	give_set(w, "u", "a", b);
	assert_string_equal(
		query(w, all),
		"a,{\"id\": 1},-,-,500,11,600,22,b,a delete: the row was written anew later");
	/* Two deletes agree. */
	b = set_new(SITE_B, 2, 1);
	put_delete(b, 1, 700);
	give_set(w, "u", "b", b);
	b = set_new(SITE_A, 4, 3);
	put_delete(b, 1, 650);
	give_set(w, "u", "a", b);
	assert_string_equal(count(w), "1");
	world_free(w);
}

/* The same set again, and the same write in another set. */
static void a_write_loses_once(void **state)
{
	struct world *w = one_row();
	(void)state;

	for (int i = 0; i < 3; i++) {
		struct builder *b = set_new(SITE_B, 1, 0);
		put_update(b, 1, 200, 0, 8);
		give_set(w, "u", "b", b);
	}
	struct builder *b = set_new(SITE_B, 2, 1);
	put_update(b, 1, 200, 0, 8);
	put_update(b, 1, 201, 0, 9);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT value, stamp FROM neap_conflict"), "8,200 9,201");
	world_free(w);
}

static struct lost_value report(struct world *w, const char *column, int64_t v, struct reg reg,
				uint64_t lost_ms)
{
	struct buf value = {.max = 4096};
	struct val one = int_val(v);
	struct lost_value l = {
		.table = slice_str("notes"),
		.key = slice_str("{\"id\": 1}"),
		.column = slice_str(column),
		.reg = reg,
		.lost_ms = lost_ms,
		.why = slice_str("why"),
	};

	assert_int_equal(conflict_put_value(&one, &value), 0);
	l.value = arena_copy(&w->arena, buf_slice(&value));
	buf_free(&value);
	return l;
}

static void give_report(struct world *w, const struct lost_value *l, size_t n, uint64_t number)
{
	struct frame f = {
		.type = FRAME_CONFLICTS,
		.conflicts = {
			.nonce = 70 + number, .site = SITE_B, .number = number, .n = n, .lost = l}};
	struct frame noted;

	give(w, "u", "b", &f);
	find_out(w, FRAME_NOTED, 0, &noted);
	assert_int_equal(noted.noted.nonce, 70 + number);
	assert_int_equal(noted.noted.site, SITE_B);
	assert_int_equal(noted.noted.number, number);
	assert_int_equal(noted.noted.term, store_term(w->store));
}

/* A device reports what lost there: noted, once, also what the server had found itself. */
static void devices_report(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	struct lost_value l[] = {
		report(w, "x", 8, (struct reg){200, SITE_B}, 1),
		report(w, "x", 8, (struct reg){201, SITE_B}, 1),
		report(w, "", 9, (struct reg){0, 0}, 1),
		report(w, "", 9, (struct reg){0, 0}, 2),
	};
	(void)state;

	put_update(b, 1, 200, 0, 8);
	give_set(w, "u", "b", b);
	give_report(w, l, 4, 4);
	give_report(w, l, 4, 4);
	give_report(w, l + 1, 3, 7);
	assert_string_equal(query(w, "SELECT ifnull(column_name, '-'), stamp, why"
				     " FROM neap_conflict ORDER BY id"),
			    "x,200,a later write won x,201,why -,0,why -,0,why");
	world_free(w);
}

static uint64_t welcome_noted(struct world *w, const char *device)
{
	struct frame f = {.type = FRAME_HELLO, .hello = {.nonce = 5, .site = SITE_B}}, got;

	give(w, "u", device, &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	return got.welcome.noted;
}

/* What is kept of a site's reports is told to it, and moves by its own device only. */
static void a_welcome_says_what_was_noted(void **state)
{
	struct world *w = one_row();
	struct lost_value l = report(w, "x", 8, (struct reg){200, SITE_B}, 1);
	(void)state;

	assert_int_equal(welcome_noted(w, "b"), 0);
	give_report(w, &l, 1, 4);
	assert_int_equal(welcome_noted(w, "b"), 4);
	give_report(w, &l, 1, 3);
	assert_int_equal(welcome_noted(w, "b"), 4);
	struct frame f = {.type = FRAME_CONFLICTS,
			  .conflicts = {.site = SITE_B, .number = 9, .n = 1, .lost = &l}};
	give(w, "u", "c", &f);
	assert_int_equal(welcome_noted(w, "b"), 4);
	world_free(w);
}

static void an_unsound_report_is_left_out(void **state)
{
	struct world *w = one_row();
	static char name[200];
	struct lost_value l[4] = {
		report(w, "x", 1, (struct reg){1, SITE_B}, 1),
		report(w, "x", 2, (struct reg){2, SITE_B}, 1),
		report(w, "x", 3, (struct reg){3, SITE_B}, 1),
		report(w, "x", 4, (struct reg){4, SITE_B}, 1),
	};
	(void)state;

	memset(name, 'n', sizeof name - 1);
	l[0].table = slice_str(name);
	l[1].value = slice_str("\x01junk");
	l[3].key = slice_str("\x1b[2J");
	give_report(w, l, 4, 4);
	assert_string_equal(query(w, "SELECT value FROM neap_conflict"), "3");
	world_free(w);
}

/* A set that is refused has noted nothing. */
static void a_refused_set_leaves_none(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	struct frame f;
	(void)state;

	declare_shape(w, "u", "b", logs());
	put_log(b, 1, 1, 1);
	give_set(w, "u", "b", b);
	b = set_new(SITE_B, 2, 1);
	put_update(b, 1, 200, 0, 8);
	put_log(b, 1, 1, 2); /* another row under the same identity */
	give_set(w, "u", "b", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_string_equal(count(w), "0");
	world_free(w);
}

static void restart(struct world *w)
{
	world_stop(w);
	world_start(w);
}

static void the_oldest_go_at_the_bounds(void **state)
{
	struct world *w = one_row();
	struct builder *b;
	(void)state;

	w->config.conflicts_user = 3;
	restart(w);
	for (uint64_t i = 0; i < 5; i++) {
		b = set_new(SITE_B, i + 1, i);
		put_update(b, 1, 200 + i, 0, (int64_t)i);
		give_set(w, "u", "b", b);
	}
	assert_string_equal(query(w, "SELECT value FROM neap_conflict ORDER BY id"), "2 3 4");
	/* Another user's stay. */
	declare_shape(w, "v", "c", notes());
	b = set_new(33, 1, 0);
	put_insert(b, 1, 100, 5, 6);
	put_update(b, 1, 50, 0, 7);
	give_set(w, "v", "c", b);
	w->config.conflicts_user = 0;
	w->config.conflict_bytes_user = 1000;
	restart(w);
	b = set_new(SITE_B, 6, 5);
	put_update(b, 1, 206, 0, 6);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT user_id, value FROM neap_conflict ORDER BY id"),
			    "u,3 u,4 v,7 u,6");
	world_free(w);
}

static void they_go_at_their_age(void **state)
{
	struct world *w = one_row();
	struct builder *b = set_new(SITE_B, 1, 0);
	(void)state;

	w->config.conflict_keep_ms = 10 * 60 * 1000;
	restart(w);
	put_update(b, 1, 200, 0, 8);
	give_set(w, "u", "b", b);
	w->now_ms += 9 * 60 * 1000;
	b = set_new(SITE_B, 2, 1);
	put_update(b, 1, 201, 0, 9);
	give_set(w, "u", "b", b);
	tick(w);
	assert_string_equal(count(w), "2");
	w->now_ms += 2 * 60 * 1000;
	tick(w);
	assert_string_equal(query(w, "SELECT value FROM neap_conflict"), "9");
	world_free(w);
}

struct seen {
	size_t n;
	int64_t last_id, values[8];
};

static int see(void *ctx, const struct store_conflict *c)
{
	struct seen *s = ctx;

	assert_true(s->n < 8 && c->value.type == VAL_INT);
	s->values[s->n++] = c->value.i;
	s->last_id = c->id;
	return 0;
}

static void listed_in_pages(void **state)
{
	struct world *w = one_row();
	struct store_conflict_query q = {.user = "u", .max = 2};
	struct seen s = {0};
	(void)state;

	for (uint64_t i = 0; i < 3; i++) {
		struct builder *b = set_new(SITE_B, i + 1, i);
		w->now_ms += 1000;
		put_update(b, 1, 200 + i, 0, (int64_t)i);
		give_set(w, "u", "b", b);
	}
	ok(w, store_each_conflict(w->store, &q, see, &s, &w->e));
	assert_int_equal(s.n, 2);
	assert_int_equal(s.values[0], 2);
	q.before_id = s.last_id;
	ok(w, store_each_conflict(w->store, &q, see, &s, &w->e));
	assert_int_equal(s.n, 3);
	assert_int_equal(s.values[2], 0);
	q = (struct store_conflict_query){.since_ms = w->now_ms, .max = 9};
	s.n = 0;
	ok(w, store_each_conflict(w->store, &q, see, &s, &w->e));
	assert_int_equal(s.n, 1);
	q.user = "nobody";
	ok(w, store_each_conflict(w->store, &q, see, &s, &w->e));
	assert_int_equal(s.n, 1);
	world_free(w);
}

/*
 * However often, in whatever order and under whatever numbers two sites' writes arrive: one record
 * for each register that lost to another value, none for those that stand.
 */
static void never_doubled(void **state)
{
	enum { WRITES = 40, STEPS = 400 };
	struct world *w = one_row();
	uint64_t number = 0, x = 7;
	(void)state;

	for (int i = 0; i < STEPS; i++) {
		struct builder *b = set_new(SITE_B, number + 1, number);
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		uint64_t write = (x >> 33) % WRITES;
		put_update(b, 1, 260 + write, 0, (int64_t)write);
		/* Half of them are the set before once more. */
		if (number && x >> 63)
			b->set.number = number, b->set.prev = number - 1, b->set.cut -= 1;
		else
			number++;
		give_set(w, "u", "b", b);
		if ((x >> 40) % 4 == 0) {
			struct lost_value l = report(w, "x", (int64_t)write,
						     (struct reg){260 + write, SITE_B}, x >> 50);
			/* A device reports no value that the winner's equals. */
			if (write != 7)
				give_report(w, &l, 1, (uint64_t)i + 1);
		}
	}
	assert_string_equal(query(w, "SELECT count(*) - count(DISTINCT stamp), max(stamp) < 300"
				     " FROM neap_conflict"),
			    "0,1");
	assert_string_equal(count(w), "39"); /* not that of 7, which is what won */
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cell_loses),
		cmocka_unit_test(one_version_with_two_values),
		cmocka_unit_test(the_same_value_loses_nothing),
		cmocka_unit_test(the_operator_wins),
		cmocka_unit_test(a_delete_beats_an_update),
		cmocka_unit_test(an_insert_loses_to_a_delete),
		cmocka_unit_test(a_delete_loses_to_an_insert),
		cmocka_unit_test(a_write_loses_once),
		cmocka_unit_test(devices_report),
		cmocka_unit_test(a_welcome_says_what_was_noted),
		cmocka_unit_test(an_unsound_report_is_left_out),
		cmocka_unit_test(a_refused_set_leaves_none),
		cmocka_unit_test(the_oldest_go_at_the_bounds),
		cmocka_unit_test(they_go_at_their_age),
		cmocka_unit_test(listed_in_pages),
		cmocka_unit_test(never_doubled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
