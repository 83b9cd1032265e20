#include "backend/core/testing.h"

/* Stamps of these tests: small ones are long past. */
enum { SITE_A = 11, SITE_B = 22 };

static struct world *two_tables(void)
{
	struct world *w = world_new();

	declare_shape(w, "u", "a", notes());
	declare_shape(w, "u", "b", notes());
	declare_shape(w, "u", "a", logs());
	return w;
}

static struct f_ack ack_of(struct world *w)
{
	struct frame f;

	find_out(w, FRAME_ACK, 0, &f);
	return f.ack;
}

static struct f_refuse refuse_of(struct world *w)
{
	struct frame f;

	find_out(w, FRAME_REFUSE, 0, &f);
	return f.refuse;
}

static struct f_hello hello(uint64_t site, uint64_t number, uint64_t cut)
{
	return (struct f_hello){.nonce = 77, .site = site, .last_number = number, .last_cut = cut};
}

/* A set is committed, then broadcast, head and ack go out in that order (P4, P6). */
static void commits_and_answers(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct frame f;
	(void)state;

	put_insert(b, 5, 100, 1, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(w->out.n, 3);
	assert_int_equal(w->out.at[0].kind, TOPIC_CHANGES);
	assert_string_equal(w->out.at[0].peer.at, "a");
	assert_int_equal(w->out.at[1].kind, TOPIC_HEAD);
	assert_true(w->out.at[1].retain);
	assert_int_equal(w->out.at[2].kind, TOPIC_DOWN);
	assert_string_equal(w->out.at[2].peer.at, "a");
	f = decoded(w, &w->out.at[0]);
	assert_int_equal(f.change.seq, 1);
	f = decoded(w, &w->out.at[1]);
	assert_int_equal(f.head.head, 1);
	assert_int_equal(f.head.first, 1);
	f = decoded(w, &w->out.at[2]);
	assert_int_equal(f.ack.number, 1);
	assert_int_equal(f.ack.head, 1);
	assert_int_equal(f.ack.n, 1);
	assert_int_equal(f.ack.set[0].own, 1);
	assert_string_equal(query(w, "SELECT * FROM notes"), "u,5,1,2");
	world_free(w);
}

/* Acks of one step are one message, though its sets are several. */
static void one_ack_a_step(void **state)
{
	struct world *w = two_tables();
	struct in_event ev[3];
	(void)state;

	for (uint64_t i = 0; i < 3; i++) {
		struct builder *b = set_new(SITE_A, i + 1, i);
		put_insert(b, (int64_t)i, 100, 1, 2);
		ev[i] = (struct in_event){
			.type = IN_FRAME, .user = "u", .device = "a", .frame = set_bytes(w, b)};
	}
	step_n(w, ev, 3);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_int_equal(count_out(w, FRAME_HEAD), 1);
	assert_int_equal(count_out(w, FRAME_CHANGE), 3);
	struct f_ack ack = ack_of(w);
	assert_int_equal(ack.number, 3);
	assert_int_equal(ack.head, 3);
	assert_int_equal(ack.n, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ack.set[i].own, i + 1);
	world_free(w);
}

/* M3: only the successor is committed; what was committed is acknowledged, never done, again. */
static void only_the_successor(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 3, 2);
	struct frame f;
	(void)state;

	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_EXPECT, 0, &f);
	assert_int_equal(f.expect.after, 0);
	assert_int_equal(f.expect.number, 3);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "0");

	b = set_new(SITE_A, 2, 0);
	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 2);
	b = set_new(SITE_B, 1, 0);
	put_update(b, 1, 200, 0, 9);
	give_set(w, "u", "b", b);
	assert_int_equal(ack_of(w).head, 2);

	/* Again: the head of now, its own seq of then, and the head is published again. */
	b = set_new(SITE_A, 2, 0);
	put_insert(b, 1, 300, 7, 7);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).head, 2);
	assert_int_equal(ack_of(w).set[0].own, 1);
	assert_int_equal(count_out(w, FRAME_HEAD), 1);
	assert_int_equal(count_out(w, FRAME_CHANGE), 0);
	assert_string_equal(query(w, "SELECT x FROM notes"), "9");

	/* The number with another cut id is another set: stale. */
	b->set.cut++;
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_STALE);
	assert_int_equal(count_out(w, FRAME_ACK), 0);
	world_free(w);
}

/* The newest 256 cut ids are remembered, older ones are not. */
static void forgets_old_cuts(void **state)
{
	struct world *w = two_tables();
	(void)state;

	for (uint64_t i = 1; i <= LIMIT_ACK_SETS + 1; i++) {
		struct builder *b = set_new(SITE_A, i, i - 1);
		put_log(b, 1, (int64_t)i, 0);
		give_set(w, "u", "a", b);
	}
	struct builder *b = set_new(SITE_A, 2, 1);
	put_log(b, 1, 2, 0);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, LIMIT_ACK_SETS + 1);
	b = set_new(SITE_A, 1, 0);
	put_log(b, 1, 1, 0);
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_STALE);
	world_free(w);
}

/* A hello ends what was given out before it and is still on its way: the device cuts it anew. */
static void hello_ends_sets_on_their_way(void **state)
{
	struct world *w = two_tables();
	struct frame f = {.type = FRAME_HELLO}, got;
	struct builder *b;
	(void)state;

	f.hello = hello(SITE_A, 3, 999); /* of a site never heard of */
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.last_number, 0);
	b = set_new(SITE_A, 3, 0);
	put_log(b, 1, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_STALE);
	b = set_new(SITE_A, 4, 0);
	put_log(b, 1, 1, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 4);
	/* A hello that says less than another before it opens nothing again. */
	f.hello = hello(SITE_A, 7, 999);
	give(w, "u", "a", &f);
	f.hello = hello(SITE_A, 5, 999);
	give(w, "u", "a", &f);
	b = set_new(SITE_A, 6, 4);
	put_log(b, 1, 2, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_STALE);
	b = set_new(SITE_A, 8, 4);
	put_log(b, 1, 2, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 8);
	world_free(w);
}

/* M5: a site is one device's; a number or cut id from another life is noticed. */
static void knows_sites(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 4, 0);
	struct frame f = {.type = FRAME_HELLO}, got;
	(void)state;

	put_log(b, 1, 1, 1);
	give_set(w, "u", "a", b);
	uint64_t cut = b->set.cut;
	f.hello = hello(SITE_A, 4, cut);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_OK);
	assert_int_equal(got.welcome.last_number, 4);
	assert_int_equal(got.welcome.last_cut, cut);
	assert_int_equal(got.welcome.nonce, 77);
	f.hello = hello(SITE_A, 6, 999);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_OK);
	f.hello = hello(SITE_A, 3, 999);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_BEHIND);
	f.hello = hello(SITE_A, 4, cut + 1);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_BEHIND);
	f.hello = hello(SITE_A, 4, cut);
	give(w, "u", "b", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_CLASH);
	b = set_new(SITE_A, 5, 4);
	put_log(b, 1, 2, 1);
	give_set(w, "u", "b", b);
	assert_int_equal(refuse_of(w).code, REFUSE_SITE_CLASH);
	/* Another user's site of the same number is another site. */
	declare_shape(w, "v", "x", logs());
	b = set_new(SITE_A, 1, 0);
	put_log(b, 1, 1, 1);
	give_set(w, "v", "x", b);
	assert_int_equal(ack_of(w).number, 1);
	world_free(w);
}

/*
 * A hello ends what was given out before it: the device cuts anew what the welcome says is not
 * committed, so a set still on its way must not be, or its rows would stand under two identities.
 */
static void a_hello_fences_older_sets(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 2, 0);
	struct frame f = {.type = FRAME_HELLO}, got;
	(void)state;

	f.hello = hello(SITE_A, 2, b->set.cut);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.last_number, 0);
	/* One that tells an older number is of a copy, whose sets would all be refused. */
	f.hello = hello(SITE_A, 1, 0);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_BEHIND);
	put_log(b, 1, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_STALE);
	b = set_new(SITE_A, 3, 0);
	put_log(b, 1, 1, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 3);
	/* An old hello played again undoes and fences nothing. */
	f.hello = hello(SITE_A, 2, b->set.cut);
	give(w, "u", "a", &f);
	b = set_new(SITE_A, 4, 3);
	put_log(b, 1, 2, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 4);
	assert_string_equal(query(w, "SELECT v FROM log ORDER BY n"), "2 2");
	world_free(w);
}

/* A file from before its first committed set: its numbers are fenced by those it gave out later. */
static void an_older_copy_that_sent_nothing(void **state)
{
	struct world *w = two_tables();
	struct frame f = {.type = FRAME_HELLO}, got;
	(void)state;

	f.hello = hello(SITE_A, 9, 99);
	give(w, "u", "a", &f);
	f.hello = hello(SITE_A, 7, 77);
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.site_status, SITE_BEHIND);
	assert_int_equal(got.welcome.last_number, 0);
	world_free(w);
}

/* P4, P5: a write that lost is answered by the standing row, whole, from the server's origin. */
static void corrects_the_sender(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct frame f;
	(void)state;

	put_insert(b, 1, 500, 1, 2);
	put_insert(b, 2, 500, 3, 4);
	give_set(w, "u", "a", b);
	b = set_new(SITE_B, 1, 0);
	put_update(b, 1, 400, 0, 99); /* void: older than the insert */
	put_update(b, 2, 600, 1, 44);
	give_set(w, "u", "b", b);
	const struct out_message *m = find_out(w, FRAME_CHANGE, 0, &f);
	assert_string_equal(m->peer.at, TOPIC_ORIGIN_SERVER);
	assert_int_equal(f.change.seq, 2);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.n_table, 1);
	assert_int_equal(rows.table[0].n_row, 2);
	const struct row *r = &rows.table[0].row[0];
	assert_int_equal(r->key[0].i, 1);
	assert_int_equal(r->exist, EXIST_ALIVE);
	assert_int_equal(r->exist_reg.stamp, 500);
	assert_int_equal(r->n_cell, 2);
	assert_int_equal(r->cell[0].val.i, 1);
	r = &rows.table[0].row[1];
	assert_int_equal(r->exist, EXIST_NONE);
	assert_int_equal(r->n_cell, 1);
	assert_int_equal(r->cell[0].val.i, 44);
	assert_int_equal(ack_of(w).set[0].own, 0);
	assert_int_equal(ack_of(w).head, 2);
	assert_string_equal(query(w, "SELECT x, y FROM notes ORDER BY id"), "1,2 3,44");
	world_free(w);
}

/* P4: nothing taken and nothing to correct gives no seq. */
static void nothing_new_no_seq(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	(void)state;

	put_insert(b, 1, 500, 1, 2);
	give_set(w, "u", "a", b);
	b = set_new(SITE_A, 2, 1);
	put_insert(b, 1, 500, 1, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_CHANGE), 0);
	assert_int_equal(ack_of(w).head, 1);
	assert_int_equal(ack_of(w).set[0].own, 0);
	world_free(w);
}

/* J1: cells later than a delete outlive it in the shadow and come back with the next insert. */
static void a_tombstone_keeps_later_cells(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct frame f;
	(void)state;

	put_insert(b, 1, 100, 1, 2);
	give_set(w, "u", "a", b);
	b = set_new(SITE_B, 1, 0);
	put_update(b, 1, 900, 0, 77);
	give_set(w, "u", "b", b);
	b = set_new(SITE_A, 2, 1);
	put_delete(b, 1, 500);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "0");
	b = set_new(SITE_B, 2, 1);
	put_update(b, 1, 950, 1, 88); /* arrives after the delete, is later than it */
	give_set(w, "u", "b", b);
	assert_int_equal(count_out(w, FRAME_CHANGE), 0);
	b = set_new(SITE_A, 3, 2);
	put_insert(b, 1, 600, 5, 6);
	give_set(w, "u", "a", b);
	find_out(w, FRAME_CHANGE, 0, &f);
	struct rows rows = rows_of(w, f.change.rows);
	assert_int_equal(rows.table[0].row[0].exist, EXIST_ALIVE);
	assert_int_equal(rows.table[0].row[0].n_cell, 2);
	assert_int_equal(rows.table[0].row[0].cell[0].reg.stamp, 900);
	assert_string_equal(query(w, "SELECT * FROM notes"), "u,1,77,88");
	world_free(w);
}

/* J1: a delete of an unknown key is stored; an update never creates a row. */
static void unknown_keys(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	(void)state;

	put_delete(b, 1, 500);
	put_update(b, 2, 500, 0, 1);
	give_set(w, "u", "a", b);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "0");
	b = set_new(SITE_B, 1, 0);
	put_insert(b, 1, 400, 1, 1);
	put_insert(b, 2, 400, 1, 1);
	give_set(w, "u", "b", b);
	assert_string_equal(query(w, "SELECT id, x, y FROM notes"), "2,1,1");
	assert_string_equal(query(w, "SELECT stamp FROM neap_r1 ORDER BY k0"), "500 400");
	world_free(w);
}

/* A refused set leaves nothing behind, and the others of its step are not affected. */
static void a_bad_set_stands_alone(void **state)
{
	struct world *w = two_tables();
	struct in_event ev[4];
	struct builder *b = set_new(SITE_A, 1, 0);
	(void)state;

	put_insert(b, 1, 100, 1, 1);
	put_log(b, 1, 1, 5);
	ev[0] = (struct in_event){
		.type = IN_FRAME, .user = "u", .device = "a", .frame = set_bytes(w, b)};
	b = set_new(SITE_A, 2, 1);
	put_insert(b, 2, 100, 2, 2);
	put_log(b, 1, 1, 6); /* the identity is taken by other content */
	ev[1] = (struct in_event){
		.type = IN_FRAME, .user = "u", .device = "a", .frame = set_bytes(w, b)};
	ev[2] = (struct in_event){
		.type = IN_FRAME, .user = "u", .device = "a", .frame = slice_str("\x00garbage")};
	b = set_new(SITE_B, 1, 0);
	put_insert(b, 3, 100, 3, 3);
	ev[3] = (struct in_event){
		.type = IN_FRAME, .user = "u", .device = "b", .frame = set_bytes(w, b)};
	step_n(w, ev, 4);
	assert_int_equal(refuse_of(w).code, REFUSE_COLLISION);
	assert_int_equal(refuse_of(w).number, 2);
	assert_int_equal(count_out(w, FRAME_CHANGE), 2);
	assert_int_equal(count_out(w, FRAME_ACK), 2);
	assert_string_equal(query(w, "SELECT id FROM notes ORDER BY id"), "1 3");
	assert_string_equal(query(w, "SELECT head FROM neap_user"), "2");
	struct ingest_stats stats;
	ingest_stats(w->in, &stats);
	assert_int_equal(stats.malformed, 1);
	assert_int_equal(stats.refused, 1);
	/* The number is still free. */
	b = set_new(SITE_A, 2, 1);
	put_insert(b, 2, 100, 2, 2);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 2);
	world_free(w);
}

/* Taking a set back loads the catalogue anew if the same step had changed it. */
static void names_rows_by_a_catalogue_loaded_anew(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct shape another = *notes();
	struct in_event ev[2];
	(void)state;

	put_log(b, 1, 1, 5);
	give_set(w, "u", "a", b);
	another.name = slice_str("another");
	ev[0] = (struct in_event){
		.type = IN_FRAME, .user = "u", .device = "b", .frame = declare_frame(w, &another)};
	b = set_new(SITE_A, 2, 1);
	put_log(b, 1, 1, 6);
	put_log(b, 1, 2, 7);
	ev[1] = (struct in_event){
		.type = IN_FRAME, .user = "u", .device = "a", .frame = set_bytes(w, b)};
	step_n(w, ev, 2);
	assert_int_equal(refuse_of(w).code, REFUSE_COLLISION);
	struct rows named = rows_of(w, refuse_of(w).rows);
	assert_int_equal(named.n_table, 1);
	assert_int_equal(named.table[0].n_row, 1);
	assert_int_equal(named.table[0].row[0].n, 1);
	world_free(w);
}

static void refuses_far_ahead_stamps(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	uint64_t limit = stamp_from_ms(NOW_MS + 300000);
	(void)state;

	put_insert(b, 1, limit + 70000, 1, 1);
	give_set(w, "u", "a", b);
	struct f_refuse r = refuse_of(w);
	assert_int_equal(r.code, REFUSE_FAR_AHEAD);
	assert_int_equal(r.server_ms, NOW_MS);
	assert_int_equal(r.limit_ms, 300000);
	b = set_new(SITE_A, 1, 0);
	put_insert(b, 1, limit, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(ack_of(w).number, 1);
	world_free(w);
}

static void refuses_unknown_shapes_and_directions(void **state)
{
	struct world *w = world_new();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct shape down = *notes();
	struct frame f = {.type = FRAME_HELLO}, got;
	(void)state;

	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_UNKNOWN_SHAPE);
	assert_true(shape_id_eq(refuse_of(w).shape[0], notes()->id));
	f.hello = hello(SITE_A, 0, 0);
	f.hello.n_shape = 1;
	f.hello.shape = &notes()->id;
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.n_unknown, 1);
	declare_shape(w, "u", "a", notes());
	give(w, "u", "a", &f);
	find_out(w, FRAME_WELCOME, 0, &got);
	assert_int_equal(got.welcome.n_unknown, 0);
	down.direction = DIR_DOWN;
	declare_shape(w, "u", "a", &down);
	b = set_new(SITE_A, 1, 0);
	struct row *r = row_add(b, &down, 1);
	r->exist = EXIST_DEAD;
	r->exist_reg = (struct reg){5, SITE_A};
	give_set(w, "u", "a", b);
	assert_int_equal(refuse_of(w).code, REFUSE_DIRECTION);
	world_free(w);
}

/* An effect too large for a message is not broadcast; head and ack tell of it. */
static void large_effects_are_pulled(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	uint8_t *noise = malloc(100000);
	(void)state;

	assert_non_null(noise);
	world_random(&w->random, noise, 100000);
	struct row *r = row_add(b, notes(), 1);
	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){100, SITE_A};
	cell_add(r, 0, 100, SITE_A, (struct val){.type = VAL_BLOB, .s = slice_of(noise, 100000)});
	give_set(w, "u", "a", b);
	free(noise);
	assert_int_equal(count_out(w, FRAME_CHANGE), 0);
	assert_int_equal(count_out(w, FRAME_HEAD), 1);
	assert_int_equal(ack_of(w).set[0].own, 1);
	/* The page that has it comes in parts. */
	struct frame f = {.type = FRAME_PULL}, got;
	f.pull = (struct f_pull){.nonce = 4711,
				 .number = 1,
				 .at = {store_id(w->store), store_term(w->store), 0, 0, false, 0},
				 .credit = 4096};
	give(w, "u", "b", &f);
	assert_true(count_out(w, FRAME_PART) >= 2);
	find_out(w, FRAME_PART, 0, &got);
	assert_int_equal(got.part.cut, 4711);
	world_free(w);
}

/* Heads are published after a start and when the broker lost our session, in batches. */
static void publishes_heads_again(void **state)
{
	struct world *w = two_tables();
	struct in_event ev = {.type = IN_BROKER};
	(void)state;

	step_n(w, &ev, 1);
	assert_int_equal(count_out(w, FRAME_HEAD), 1);
	ok(w, store_begin(w->store, &w->e));
	for (int i = 0; i < 700; i++) {
		char name[16];
		struct store_user u;
		snprintf(name, sizeof name, "user%d", i);
		ok(w, store_user_ensure(w->store, name, &u, &w->e));
	}
	ok(w, store_commit(w->store, &w->e));
	step_n(w, &ev, 1);
	assert_int_equal(count_out(w, FRAME_HEAD), 500);
	tick(w);
	assert_int_equal(count_out(w, FRAME_HEAD), 201);
	tick(w);
	assert_int_equal(count_out(w, FRAME_HEAD), 0);
	world_free(w);
}

/* P1: two committers on one store are fenced. */
static void an_older_committer_stops(void **state)
{
	struct world *w = two_tables();
	struct world other = {.random = 99, .now_ms = NOW_MS, .arena = {.max = 1 << 20}};
	struct in_event ev = {.type = IN_TICK};
	(void)state;

	memcpy(other.path, w->path, sizeof other.path);
	world_start(&other);
	assert_int_equal(ingest_step(w->in, NOW_MS, &ev, 1, &w->out, &w->e), NE_LOCKED);
	assert_int_equal(w->out.n, 0);
	ok(&other, ingest_step(other.in, NOW_MS, &ev, 1, &other.out, &other.e));
	out_messages_free(&other.out);
	world_stop(&other);
	world_free(w);
}

/* A number that does not compress. */
static int64_t noise(struct world *w)
{
	int64_t v;

	world_random(&w->random, &v, sizeof v);
	return v;
}

/* Parts up: any order, twice; a receipt says what is missing. */
static void puts_parts_together(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct frame part, got;
	uint8_t digest[32];
	(void)state;

	for (int i = 0; i < 2000; i++)
		put_insert(b, i, 100, noise(w), noise(w));
	struct slice whole = set_bytes(w, b);
	size_t n = parts_count(whole.len, 1000);
	assert_true(n > 3);
	parts_digest(whole, digest);
	for (size_t i = n; i-- > 1;) {
		parts_get(whole, 1000, b->set.cut, i, digest, &part);
		give(w, "u", "a", &part);
		assert_int_equal(count_out(w, FRAME_RECEIPT), i == n - 1);
	}
	parts_get(whole, 1000, b->set.cut, 1, digest, &part);
	give(w, "u", "a", &part);
	find_out(w, FRAME_RECEIPT, 0, &got);
	assert_int_equal(got.receipt.n_missing, 1);
	assert_int_equal(got.receipt.missing[0], 0);
	parts_get(whole, 1000, b->set.cut, 0, digest, &part);
	/* Another device's part of the same name does not complete it. */
	give(w, "u", "b", &part);
	assert_int_equal(count_out(w, FRAME_ACK), 0);
	give(w, "u", "a", &part);
	assert_int_equal(ack_of(w).number, 1);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "2000");
	world_free(w);
}

/* Parts that never complete are dropped after a while. */
static void parts_expire_by_age(void **state)
{
	struct world *w = two_tables();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct frame part;
	uint8_t digest[32];
	(void)state;

	for (int i = 0; i < 100; i++)
		put_insert(b, i, 100, noise(w), noise(w));
	struct slice whole = set_bytes(w, b);
	size_t n = parts_count(whole.len, 100);
	parts_digest(whole, digest);
	for (size_t i = 0; i < n; i++) {
		if (i == n - 1)
			w->now_ms += 61 * 1000;
		parts_get(whole, 100, b->set.cut, i, digest, &part);
		give(w, "u", "a", &part);
	}
	assert_int_equal(count_out(w, FRAME_ACK), 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_and_answers),
		cmocka_unit_test(one_ack_a_step),
		cmocka_unit_test(only_the_successor),
		cmocka_unit_test(forgets_old_cuts),
		cmocka_unit_test(hello_ends_sets_on_their_way),
		cmocka_unit_test(knows_sites),
		cmocka_unit_test(a_hello_fences_older_sets),
		cmocka_unit_test(an_older_copy_that_sent_nothing),
		cmocka_unit_test(corrects_the_sender),
		cmocka_unit_test(nothing_new_no_seq),
		cmocka_unit_test(a_tombstone_keeps_later_cells),
		cmocka_unit_test(unknown_keys),
		cmocka_unit_test(a_bad_set_stands_alone),
		cmocka_unit_test(names_rows_by_a_catalogue_loaded_anew),
		cmocka_unit_test(refuses_far_ahead_stamps),
		cmocka_unit_test(refuses_unknown_shapes_and_directions),
		cmocka_unit_test(large_effects_are_pulled),
		cmocka_unit_test(publishes_heads_again),
		cmocka_unit_test(an_older_committer_stops),
		cmocka_unit_test(puts_parts_together),
		cmocka_unit_test(parts_expire_by_age),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
