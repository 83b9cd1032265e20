/* J2 at the server: UNIQUE per user at commit, rows refused one by one, the sender corrected. */
#include "backend/core/testing.h"

/* people(id PRIMARY KEY, email UNIQUE COLLATE NOCASE, room, seat, UNIQUE(room, seat)). */
static struct shape *people(void)
{
	static uint16_t one[1] = {1}, two[2] = {2, 3};
	static struct shape_unique unique[2] = {{1, one}, {2, two}};
	static struct shape_col key[1], col[3];
	static struct shape s;
	struct buf b = {.max = 4096};
	struct err e;

	key[0] = (struct shape_col){slice_str("id"), AFF_INTEGER, COLL_BINARY};
	col[0] = (struct shape_col){slice_str("email"), AFF_TEXT, COLL_NOCASE};
	col[1] = (struct shape_col){slice_str("room"), AFF_INTEGER, COLL_BINARY};
	col[2] = (struct shape_col){slice_str("seat"), AFF_INTEGER, COLL_BINARY};
	s = (struct shape){.name = slice_str("people"),
			   .n_key = 1,
			   .n_col = 3,
			   .n_unique = 2,
			   .key = key,
			   .col = col,
			   .unique = unique};
	assert_int_equal(shape_encode(&s, &b, &e), 0);
	buf_free(&b);
	return &s;
}

static struct val text(const char *t)
{
	return t ? (struct val){.type = VAL_TEXT, .s = slice_str(t)}
		 : (struct val){.type = VAL_NULL};
}

static void person(struct builder *b, int64_t id, uint64_t stamp, const char *email, int64_t room,
		   int64_t seat)
{
	struct row *r = row_add(b, people(), id);

	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){stamp, b->set.site};
	cell_add(r, 0, stamp, b->set.site, text(email));
	cell_add(r, 1, stamp, b->set.site, int_val(room));
	cell_add(r, 2, stamp, b->set.site, int_val(seat));
}

static void email(struct builder *b, int64_t id, uint64_t stamp, const char *to)
{
	cell_add(row_add(b, people(), id), 0, stamp, b->set.site, text(to));
}

static void gone(struct builder *b, int64_t id, uint64_t stamp)
{
	struct row *r = row_add(b, people(), id);

	r->exist = EXIST_DEAD;
	r->exist_reg = (struct reg){stamp, b->set.site};
}

static const char *all(struct world *w)
{
	return query(w, "SELECT id, email, room, seat FROM people WHERE user_id = 'u' ORDER BY id");
}

static struct world *begin(void)
{
	struct world *w = world_new();
	struct builder *b = set_new(1, 1, 0);

	declare_shape(w, "u", "a", people());
	declare_shape(w, "u", "b", people());
	person(b, 1, 100, "ann@x", 1, 1);
	person(b, 2, 100, "bob@x", 1, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	return w;
}

static const struct row *rejected_row(struct world *w, size_t index, const char *reason)
{
	struct frame f;

	find_out(w, FRAME_REJECT, index, &f);
	assert_string_equal((const char *)arena_copy(&w->arena, f.reject.text).at, reason);
	struct rows rows = rows_of(w, f.reject.rows);
	assert_int_equal(rows.n_table, 1);
	assert_int_equal(rows.table[0].n_row, 1);
	return &rows.table[0].row[0];
}

static void later_insert_is_refused(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	struct frame f;
	(void)state;

	person(b, 3, 200, "ANN@X", 2, 1); /* NOCASE */
	person(b, 4, 200, "dan@x", 2, 2);
	give_set(w, "u", "b", b);
	assert_string_equal(all(w), "1,ann@x,1,1 2,bob@x,1,2 4,dan@x,2,2");
	const struct row *r =
		rejected_row(w, 0, "another row has the same value of UNIQUE (email)");
	assert_int_equal(r->key[0].i, 3);
	/* The rest commits; the refused row is a tombstone just after the insert, for all. */
	find_out(w, FRAME_ACK, 0, &f);
	assert_int_equal(f.ack.number, 1);
	assert_int_equal(f.ack.set[0].own, 0);
	assert_string_equal(find_out(w, FRAME_CHANGE, 0, &f)->peer.at, TOPIC_ORIGIN_SERVER);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].n_row, 2);
	for (size_t i = 0; i < 2; i++) {
		r = &rows.table[0].row[i];
		if (r->key[0].i != 3)
			continue;
		assert_int_equal(r->exist, EXIST_DEAD);
		assert_int_equal(r->exist_reg.stamp, 200);
		assert_int_equal(r->exist_reg.site, SITE_REFUSED);
	}
	/* Before the ack: a device that settles knows why. */
	size_t ack = 0, reject = 0;
	for (size_t i = 0; i < w->out.n; i++) {
		enum frame_type t = decoded(w, &w->out.at[i]).type;
		ack = t == FRAME_ACK ? i : ack;
		reject = t == FRAME_REJECT ? i : reject;
	}
	assert_true(reject < ack);
	world_free(w);
}

static void refused_update_restores_the_row(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	struct frame f;
	(void)state;

	email(b, 2, 200, "ann@x");
	give_set(w, "u", "b", b);
	assert_string_equal(all(w), "1,ann@x,1,1 2,bob@x,1,2");
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	const struct row *r = &rows.table[0].row[0];
	assert_int_equal(r->exist, EXIST_ALIVE);
	assert_int_equal(r->exist_reg.stamp, 100);
	assert_int_equal(r->n_cell, 3);
	assert_int_equal(r->cell[0].reg.stamp, 200);
	assert_int_equal(r->cell[0].reg.site, SITE_REFUSED);
	assert_int_equal(r->cell[1].reg.stamp, 100);
	/* What is written next is later, and taken. */
	b = set_new(2, 2, 1);
	email(b, 2, 201, "bea@x");
	give_set(w, "u", "b", b);
	assert_string_equal(all(w), "1,ann@x,1,1 2,bea@x,1,2");
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	world_free(w);
}

static void swaps_within_a_set(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	(void)state;

	email(b, 1, 200, "bob@x");
	email(b, 2, 200, "ann@x");
	give_set(w, "u", "a", b);
	assert_string_equal(all(w), "1,bob@x,1,1 2,ann@x,1,2");
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	/* One takes what another gives up: by a delete, or by moving on. */
	b = set_new(1, 3, 2);
	email(b, 1, 300, "ann@x");
	gone(b, 2, 300);
	person(b, 3, 300, "bob@x", 1, 2);
	give_set(w, "u", "a", b);
	assert_string_equal(all(w), "1,ann@x,1,1 3,bob@x,1,2");
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	world_free(w);
}

/* A chain of 60 rows moves up by one place; its head meets a row of another device. */
static void refusals_cascade(void **state)
{
	enum { N = 60 };
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	(void)state;

	for (int64_t i = 0; i < N; i++)
		person(b, 10 + i, 200, NULL, 5, i);
	give_set(w, "u", "a", b);
	b = set_new(2, 1, 0);
	person(b, 9, 200, NULL, 5, N);
	give_set(w, "u", "b", b);
	b = set_new(1, 3, 2);
	for (int64_t i = 0; i < N; i++) /* an order in which each pass helps little */
		cell_add(row_add(b, people(), 10 + (i * 37) % N), 2, 300, 1,
			 int_val((i * 37) % N + 1));
	person(b, 8, 300, "new@x", 5, 0); /* takes what the first gives up */
	person(b, 7, 300, "free@x", 6, 0);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT count(*), sum(seat) FROM people WHERE room = 5"),
			    "61,1830");
	assert_string_equal(query(w, "SELECT count(*) FROM (SELECT 1 FROM people WHERE room = 5"
				     " GROUP BY seat HAVING count(*) > 1)"),
			    "0");
	assert_string_equal(query(w, "SELECT id FROM people WHERE id < 9 ORDER BY id"), "1 2 7");
	world_free(w);
}

static void nulls_are_distinct(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	(void)state;

	person(b, 3, 200, NULL, 3, 1);
	person(b, 4, 200, NULL, 3, 2);
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	world_free(w);
}

static void users_do_not_meet(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(7, 1, 0);
	struct shape plain = *people();
	(void)state;

	declare_shape(w, "v", "c", people());
	person(b, 1, 200, "ann@x", 1, 1);
	give_set(w, "v", "c", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	/* A user none of whose devices declares the constraint does not have it. */
	plain.n_unique = 0;
	declare_shape(w, "x", "d", &plain);
	b = set_new(8, 1, 0);
	for (int64_t id = 1; id <= 2; id++)
		person(b, id, 200, "same@x", 1, 1);
	b->table[0].shape = &plain;
	give_set(w, "x", "d", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	world_free(w);
}

static void hello(struct world *w, const char *device, uint64_t site, const struct shape *s)
{
	struct frame f = {.type = FRAME_HELLO};

	f.hello = (struct f_hello){.nonce = 5, .site = site, .n_shape = 1, .shape = &s->id};
	give(w, "u", device, &f);
}

/* Of devices with old and new schemas side by side the union holds, until the last has let go. */
static void the_union_of_a_users_devices(void **state)
{
	struct world *w = begin();
	struct shape plain = *people();
	struct builder *b;
	(void)state;

	plain.n_unique = 0;
	declare_shape(w, "u", "b", &plain);
	hello(w, "b", 2, &plain);
	b = set_new(2, 1, 0);
	person(b, 3, 200, "ann@x", 3, 1);
	b->table[0].shape = &plain;
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	hello(w, "a", 9, &plain);
	b = set_new(2, 2, 1);
	person(b, 4, 200, "ann@x", 3, 1);
	b->table[0].shape = &plain;
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	/* Rows that break it already stand; an unrelated change of one is taken. */
	hello(w, "a", 9, people());
	b = set_new(2, 3, 2);
	cell_add(row_add(b, people(), 4), 1, 300, 2, int_val(9));
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	b = set_new(2, 4, 3);
	email(b, 2, 300, "ann@x");
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	world_free(w);
}

/* A device that nobody has seen for 90 days holds nobody to its constraints. */
static void constraints_age(void **state)
{
	struct world *w = begin();
	struct shape plain = *people();
	struct builder *b = set_new(2, 1, 0);
	(void)state;

	plain.n_unique = 0;
	declare_shape(w, "u", "b", &plain);
	hello(w, "b", 2, &plain);
	w->now_ms += STORE_DECLARED_MS + 1;
	person(b, 3, 200, "ann@x", 3, 1);
	b->table[0].shape = &plain;
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	world_free(w);
}

static void the_reserved_site_is_not_for_devices(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	struct frame f;
	(void)state;

	cell_add(row_add(b, people(), 1), 0, 200, SITE_REFUSED, text("x"));
	give_set(w, "u", "b", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_MALFORMED);
	world_free(w);
}

/* What an operator put on the table refuses one row, not the set. */
static void an_operators_constraint_refuses_a_row(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	(void)state;

	sql(w, "CREATE TRIGGER odd BEFORE INSERT ON people WHEN NEW.room = 13"
	       " BEGIN SELECT RAISE(ABORT, 'no room 13'); END;"
	       "CREATE TRIGGER keep BEFORE DELETE ON people WHEN OLD.id = 1"
	       " BEGIN SELECT RAISE(ABORT, 'ann stays'); END");
	person(b, 3, 200, "c@x", 13, 1);
	person(b, 4, 200, "d@x", 14, 1);
	gone(b, 1, 200);
	gone(b, 2, 200);
	give_set(w, "u", "b", b);
	assert_string_equal(all(w), "1,ann@x,1,1 4,d@x,14,1");
	assert_int_equal(rejected_row(w, 0, "ann stays")->key[0].i, 1);
	assert_int_equal(rejected_row(w, 1, "no room 13")->key[0].i, 3);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	world_free(w);
}

/* Rows from before tracking come at stamp 0: what refuses them has to outlast who has not heard. */
static void refusals_outlast_the_collection(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	size_t removed;
	(void)state;

	person(b, 3, 0, "ann@x", 2, 1);
	gone(b, 2, 200);
	give_set(w, "u", "b", b);
	ok(w, store_begin(w->store, &w->e));
	ok(w, store_gc(w->store, w->now_ms, 100, &removed, &w->e));
	ok(w, store_commit(w->store, &w->e));
	assert_int_equal(removed, 1);
	assert_string_equal(query(w, "SELECT k0 FROM neap_r1 WHERE state & 1 = 0"), "3");
	world_free(w);
}

/* What an operator put on an append table holds up that table only, and says why. */
/* Not committed: the device leaves those rows out, and sends the others again. */
static void append_rows_refused(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	(void)state;

	declare_shape(w, "u", "a", logs());
	sql(w, "CREATE TRIGGER low BEFORE INSERT ON log WHEN NEW.v > 9"
	       " BEGIN SELECT RAISE(ABORT, 'v is at most 9'); END");
	put_log(b, 1, 1, 5);
	put_log(b, 1, 2, 10);
	put_log(b, 1, 3, 6);
	put_log(b, 1, 4, 11);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_ROWS);
	assert_int_equal(f.refuse.n_shape, 0);
	assert_non_null(strstr((const char *)arena_copy(&w->arena, f.refuse.text).at, "at most 9"));
	struct rows rows = rows_of(w, f.refuse.rows);
	assert_int_equal(rows.n_table, 1);
	assert_int_equal(rows.table[0].n_row, 2);
	assert_int_equal(rows.table[0].row[0].n, 2);
	assert_int_equal(rows.table[0].row[1].n, 4);
	assert_string_equal(query(w, "SELECT count(*) FROM log"), "0");
	b = set_new(1, 3, 1);
	put_log(b, 1, 1, 5);
	put_log(b, 1, 3, 6);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT neap_n, v FROM log"), "1,5 3,6");
	world_free(w);
}

/* No more in one answer than a message holds; the rest is in the next. */
static void many_append_rows_refused(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	(void)state;

	declare_shape(w, "u", "a", logs());
	sql(w, "CREATE TRIGGER low BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'no'); END");
	for (int i = 1; i <= 2000; i++)
		put_log(b, 1, i, 5);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(rows_of(w, f.refuse.rows).table[0].n_row, STORE_REFUSED);
	world_free(w);
}

/* ---- triggers that end the whole transaction ---- */

/* Its row is refused as with RAISE(ABORT), the others of the step are committed. */
static void a_row_that_rolls_back(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	const char *why =
		"no z (table people: a trigger rolls back: zed; RAISE(ABORT) would refuse "
		"the row alone)";
	(void)state;

	sql(w, "CREATE TRIGGER zed BEFORE INSERT ON people WHEN NEW.email LIKE 'z%'"
	       " BEGIN SELECT RAISE(ROLLBACK, 'no z'); END");
	person(b, 3, 200, "carl@x", 2, 1);
	person(b, 4, 200, "zoe@x", 2, 2);
	person(b, 5, 200, "dora@x", 2, 3);
	person(b, 6, 200, "zack@x", 2, 4);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REJECT, 0, &f);
	assert_string_equal((const char *)arena_copy(&w->arena, f.reject.text).at, why);
	assert_int_equal(rows_of(w, f.reject.rows).table[0].n_row, 2);
	assert_string_equal(query(w, "SELECT id FROM people ORDER BY id"), "1 2 3 5");
	/* The next write of such a row is looked at anew. */
	sql(w, "DROP TRIGGER zed");
	b = set_new(1, 3, 2);
	person(b, 4, 300, "zoe@x", 2, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 0);
	assert_string_equal(query(w, "SELECT id FROM people ORDER BY id"), "1 2 3 4 5");
	world_free(w);
}

/* Each time another row of them is left out; past a bound all of the table are. */
static void every_row_rolls_back(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	(void)state;

	declare_shape(w, "u", "a", logs());
	sql(w,
	    "CREATE TRIGGER never BEFORE INSERT ON people BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
	for (int i = 10; i < 200; i++)
		person(b, i, 200, NULL, i, i);
	put_log(b, 1, 1, 5);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT id FROM people ORDER BY id"), "1 2");
	assert_string_equal(query(w, "SELECT v FROM log"), "5");
	assert_true(count_out(w, FRAME_REJECT) > 0);
	world_free(w);
}

/* It would leave the row in the table though it is refused: the set is undone. */
static void a_trigger_that_fails_after_the_write(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	(void)state;

	sql(w, "CREATE TRIGGER zed AFTER INSERT ON people WHEN NEW.email LIKE 'z%'"
	       " BEGIN SELECT RAISE(FAIL, 'no z'); END");
	person(b, 3, 200, "carl@x", 2, 1);
	person(b, 4, 200, "zoe@x", 2, 2);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_MALFORMED);
	assert_non_null(
		strstr((const char *)arena_copy(&w->arena, f.refuse.text).at, "RAISE(FAIL)"));
	assert_string_equal(query(w, "SELECT id FROM people ORDER BY id"), "1 2");
	/* Before the write nothing stands. */
	sql(w, "DROP TRIGGER zed");
	sql(w, "CREATE TRIGGER zed BEFORE INSERT ON people WHEN NEW.email LIKE 'z%'"
	       " BEGIN SELECT RAISE(FAIL, 'no z'); END");
	b = set_new(1, 3, 1);
	person(b, 3, 200, "carl@x", 2, 1);
	person(b, 4, 200, "zoe@x", 2, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(rejected_row(w, 0, "no z")->key[0].i, 4);
	assert_string_equal(query(w, "SELECT id FROM people ORDER BY id"), "1 2 3");
	world_free(w);
}

static void an_append_row_that_rolls_back(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(1, 2, 1);
	struct frame f;
	(void)state;

	declare_shape(w, "u", "a", logs());
	sql(w, "CREATE TRIGGER low BEFORE INSERT ON log WHEN NEW.v > 9"
	       " BEGIN SELECT RAISE(ROLLBACK, 'v is at most 9'); END");
	put_log(b, 1, 1, 5);
	put_log(b, 1, 2, 10);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_REFUSE, 0, &f);
	assert_int_equal(f.refuse.code, REFUSE_ROWS);
	assert_int_equal(rows_of(w, f.refuse.rows).table[0].row[0].n, 2);
	world_free(w);
}

/* The index is made once, also for a shape with the constraint written another way. */
static void one_index_a_constraint(void **state)
{
	struct world *w = begin();
	(void)state;

	assert_string_equal(query(w, "SELECT name FROM sqlite_master WHERE type = 'index' AND name"
				     " GLOB 'neap_u*' ORDER BY name"),
			    "neap_u1_1N neap_u1_2B_3B");
	assert_non_null(strstr(query(w, "EXPLAIN QUERY PLAN SELECT 1 FROM people WHERE user_id ="
					" 'u' AND email = 'x' COLLATE NOCASE"),
			       "neap_u1_1N"));
	world_stop(w);
	world_start(w);
	struct builder *b = set_new(2, 1, 0);
	email(b, 2, 300, "ann@x");
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	world_free(w);
}

static const char conflicts[] = "SELECT device_id, row_key, column_name, value, won_device"
				" FROM neap_conflict ORDER BY id";

/* J7: a value that is overwritten unseen, in a column with a constraint; not if that is refused. */
static void what_is_refused_overwrites_nothing(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(2, 1, 0);
	(void)state;

	b->set.seen = 0;
	email(b, 1, 200, "bob@x");
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	assert_string_equal(query(w, conflicts), "");
	b = set_new(2, 2, 1);
	b->set.seen = 0;
	email(b, 2, 200, "carl@x");
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, conflicts), "a,{\"id\": 2},email,bob@x,b");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(later_insert_is_refused),
		cmocka_unit_test(refused_update_restores_the_row),
		cmocka_unit_test(swaps_within_a_set),
		cmocka_unit_test(refusals_cascade),
		cmocka_unit_test(nulls_are_distinct),
		cmocka_unit_test(users_do_not_meet),
		cmocka_unit_test(the_union_of_a_users_devices),
		cmocka_unit_test(constraints_age),
		cmocka_unit_test(the_reserved_site_is_not_for_devices),
		cmocka_unit_test(an_operators_constraint_refuses_a_row),
		cmocka_unit_test(refusals_outlast_the_collection),
		cmocka_unit_test(append_rows_refused),
		cmocka_unit_test(many_append_rows_refused),
		cmocka_unit_test(a_row_that_rolls_back),
		cmocka_unit_test(every_row_rolls_back),
		cmocka_unit_test(a_trigger_that_fails_after_the_write),
		cmocka_unit_test(an_append_row_that_rolls_back),
		cmocka_unit_test(one_index_a_constraint),
		cmocka_unit_test(what_is_refused_overwrites_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
