/*
 * A broker that keeps what passes and sends it again (T16), stores that went back (T18), sets out
 * of turn (T20) and late acknowledgements (T21): both ends as they are, in one process.
 */
#include "tests/pair/pair.h"

enum { RECORDED = 4096, DAY_MS = 24 * 3600 * 1000 };

static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
			     "CREATE TABLE log(id INTEGER PRIMARY KEY, v)";
static const char rows[] = "SELECT id, v FROM t ORDER BY id";

static struct record {
	int from, to;
	enum event_type type;
	struct buf frame;
} kept[RECORDED];
static size_t n_kept;

static void keep(const struct pair_message *m)
{
	struct record *r = &kept[n_kept++];

	assert_true(n_kept < RECORDED);
	*r = (struct record){m->from, m->to, m->type, {.max = LIMIT_FRAME}};
	assert_int_equal(buf_put(&r->frame, m->frame.at, m->frame.len), 0);
}

static void forget(void)
{
	while (n_kept)
		buf_free(&kept[--n_kept].frame);
}

/* A sync during which all that passes is kept. */
static void sync_kept(struct pair *p, int i)
{
	static uint64_t id = 1000000;

	if (!p->dev[i].link)
		pair_link(p, i, true);
	pair_step(p, i, (struct event){.type = EV_SYNC, .sync_id = ++id});
	while (p->dev[i].synced != id) {
		if (p->head == p->tail) {
			pair_wait(p);
			continue;
		}
		keep(&p->queue[p->head % PAIR_QUEUE]);
		pair_deliver(p);
	}
}

static void replay(struct pair *p, const struct record *r)
{
	pair_send(p, r->from, r->to, r->type, buf_slice(&r->frame));
}

/* All of it in its order, then backwards; where the server does not hear, its part is dropped. */
static void replay_all(struct pair *p, bool server_hears)
{
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < n_kept; i++)
			replay(p, &kept[round ? n_kept - 1 - i : i]);
		while (p->head != p->tail) {
			if (p->queue[p->head % PAIR_QUEUE].to < 0 && !server_hears)
				buf_free(&p->queue[p->head++ % PAIR_QUEUE].frame);
			else
				pair_deliver(p);
		}
	}
}

static int device(struct pair *p)
{
	int i = pair_device(p, schema);

	pair_track(p, i, "t", false);
	pair_track(p, i, "log", true);
	return i;
}

/* Rows made, changed and deleted by two devices, all of it recorded. */
static void history(struct pair *p, int a, int b)
{
	pair_app(p, a,
		 "INSERT INTO t VALUES(1, 'one'), (2, 'two'), (3, 'three');"
		 "INSERT INTO log VALUES(1, 'l1'), (2, 'l2')");
	sync_kept(p, a);
	sync_kept(p, b);
	pair_app(p, b, "UPDATE t SET v = 'changed' WHERE id = 1; DELETE FROM t WHERE id = 2");
	sync_kept(p, b);
	sync_kept(p, a);
	pair_app(p, a,
		 "DELETE FROM t WHERE id = 3; INSERT INTO t VALUES(4, 'four');"
		 "INSERT INTO log VALUES(3, 'l3')");
	sync_kept(p, a);
	sync_kept(p, b);
	assert_true(n_kept > 20);
}

static void all_hold(struct pair *p, int a, int b, const char *want)
{
	pair_sync_all(p);
	assert_string_equal(pair_show(p, a, rows), want);
	assert_string_equal(pair_show(p, b, rows), want);
	assert_string_equal(pair_server(p, rows), want);
	assert_int_equal(pair_status(p, a).pending_rows, 0);
	assert_int_equal(pair_status(p, b).pending_rows, 0);
}

/* A write that no server has seen stays pending, whatever old acknowledgements come. */
static void t16_old_messages_clear_no_mark(void **state)
{
	struct pair *p = pair_new();
	int a = device(p), b = device(p);
	(void)state;

	history(p, a, b);
	pair_app(p, a,
		 "INSERT INTO t VALUES(5, 'pending'); UPDATE t SET v = 'mine' WHERE id = 1;"
		 "INSERT INTO log VALUES(4, 'l4')");
	pair_step(p, a, (struct event){.type = EV_TICK});
	replay_all(p, false);
	assert_int_equal(pair_status(p, a).pending_rows, 3);
	assert_string_equal(pair_server(p, rows), "1|changed,4|four");
	pair_link(p, a, false);
	all_hold(p, a, b, "1|mine,4|four,5|pending");
	assert_string_equal(pair_server(p, "SELECT id, v FROM log ORDER BY id"),
			    "1|l1,2|l2,3|l3,4|l4");
	forget();
	pair_free(p);
}

static void t16_old_messages_bring_no_row_back(void **state)
{
	(void)state;
	for (int later = 0; later < 2; later++) {
		struct pair *p = pair_new();
		int a = device(p), b = device(p);

		history(p, a, b);
		if (later) { /* the tombstones are forgotten meanwhile */
			p->mono_ms += (uint64_t)100 * DAY_MS;
			pair_serve(p, (struct in_event){.type = IN_TICK});
			assert_string_equal(pair_server(p, "SELECT gc_seq > 0 FROM neap_user"),
					    "1");
		}
		replay_all(p, true);
		all_hold(p, a, b, "1|changed,4|four");
		pair_app(p, b, "UPDATE t SET v = 'later' WHERE id = 4");
		replay_all(p, true);
		all_hold(p, a, b, "1|changed,4|later");
		assert_string_equal(pair_server(p, "SELECT id, v FROM log ORDER BY id"),
				    "1|l1,2|l2,3|l3");
		forget();
		pair_free(p);
	}
}

/*
 * After a restore or a wipe what a broker still has for devices of the time before changes nothing.
 */
static void t16_old_messages_after_a_restore(void **state)
{
	(void)state;
	for (int copy = 0; copy < 2; copy++) {
		struct pair *p = pair_new(), *q = pair_new();

		/* Twice the same, once with the old messages: both end alike. */
		for (int with = 0; with < 2; with++) {
			struct pair *w = with ? p : q;
			int a = device(w), b = device(w);
			forget();
			pair_back_up(w);
			history(w, a, b);
			if (copy)
				pair_restore(w);
			else
				pair_wipe(w);
			pair_app(w, a, "INSERT INTO t VALUES(9, 'after')");
			if (with) {
				replay_all(w, false);
				assert_true(strstr(pair_show(w, a, rows), "9|after") != NULL);
			}
			pair_sync_all(w);
			if (with)
				replay_all(w, false);
			pair_sync_all(w);
			assert_string_equal(pair_show(w, a, rows), pair_server(w, rows));
			assert_string_equal(pair_show(w, b, rows), pair_server(w, rows));
			assert_int_equal(pair_status(w, a).pending_rows, 0);
			assert_string_equal(pair_server(w, "SELECT id, v FROM log ORDER BY id"),
					    "1|l1,2|l2,3|l3");
		}
		assert_string_equal(pair_server(p, rows), pair_server(q, rows));
		forget();
		pair_free(p);
		pair_free(q);
	}
}

static void writes(struct pair *p, int a, int from, int n, const char *v)
{
	char sql[120];

	for (int i = from; i < from + n; i++) {
		snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, '%s')", i, v);
		pair_app(p, a, sql);
		pair_sync(p, a);
	}
}

static int64_t number(const char *text)
{
	return strtoll(text, NULL, 10);
}

static void t18_a_sleeper_meets_a_restored_store(void **state)
{
	static const char head[] = "SELECT head FROM neap_user";
	struct pair *p = pair_new();
	int a = device(p), sleeper = device(p);
	struct ingest_stats before, after;
	(void)state;

	writes(p, a, 1, 10, "kept");
	pair_back_up(p);
	int64_t at_backup = number(pair_server(p, head));
	writes(p, a, 100, 50, "lost");
	pair_sync(p, sleeper);
	assert_int_equal(number(pair_server(p, head)), at_backup + 50);
	pair_link(p, sleeper, false);
	pair_restore(p);
	assert_int_equal(number(pair_server(p, head)), at_backup);
	writes(p, a, 200, 60, "new");
	/* By number alone it would be behind by ten, and told only of these. */
	assert_true(number(pair_server(p, head)) >= at_backup + 60);
	ingest_stats(p->in, &before);
	pair_sync(p, sleeper);
	ingest_stats(p->in, &after);
	assert_true(after.resets > before.resets);
	assert_string_equal(pair_show(p, sleeper, rows), pair_server(p, rows));
	assert_string_equal(pair_show(p, a, rows), pair_server(p, rows));
	assert_string_equal(
		pair_server(p, "SELECT v, count(*) FROM t WHERE v <> 'lost' GROUP BY v"),
		"kept|10,new|60");
	pair_free(p);
}

/* The next message of that type to the server or a device, taken out of what is on its way. */
static struct record take(struct pair *p, enum frame_type type)
{
	for (;;) {
		struct arena a = {.max = LIMIT_DECODED};
		struct frame f;

		if (p->head == p->tail) {
			pair_wait(p);
			continue;
		}
		const struct pair_message *m = &p->queue[p->head % PAIR_QUEUE];
		int rc = frame_decode(buf_slice(&m->frame), &a, &f, &p->e);
		assert_int_equal(rc, 0);
		enum frame_type is = f.type;
		arena_free(&a);
		if (is == type) {
			p->head++;
			return (struct record){m->from, m->to, m->type, m->frame};
		}
		pair_deliver(p);
	}
}

/* The site of device B is B's, whatever A says under its own key. */
static void t20_sets_out_of_turn_and_of_others(void **state)
{
	struct pair *p = pair_new();
	int a = device(p), b = device(p);
	(void)state;

	pair_app(p, a, "INSERT INTO t VALUES(0, 'known')");
	pair_sync(p, a);
	pair_sync(p, b);
	pair_app(p, a, "INSERT INTO t VALUES(1, 'first')");
	pair_step(p, a, (struct event){.type = EV_TICK});
	struct record first = take(p, FRAME_SET);
	pair_app(p, a, "INSERT INTO t VALUES(2, 'second')");
	pair_step(p, a, (struct event){.type = EV_TICK});
	struct record second = take(p, FRAME_SET);
	/* n + 1 before n: not committed; what was expected is said, and both come after all. */
	replay(p, &second);
	struct record expect = take(p, FRAME_EXPECT);
	buf_free(&expect.frame);
	assert_string_equal(pair_server(p, rows), "0|known");
	/* As another device's: its site is A's. */
	pair_link(p, a, false);
	first.from = b;
	replay(p, &first);
	struct record refused = take(p, FRAME_REFUSE);
	assert_int_equal(refused.to, b);
	assert_string_equal(pair_server(p, rows), "0|known");
	buf_free(&refused.frame);
	all_hold(p, a, b, "0|known,1|first,2|second");
	buf_free(&first.frame);
	buf_free(&second.frame);
	pair_free(p);
}

static void t21_a_late_ack_moves_no_stamp(void **state)
{
	static const char clock[] = "SELECT offset_ms FROM neap_clock";
	static const char stamps[] = "SELECT stamp FROM neap_r1 ORDER BY k0";
	struct pair *p = pair_new();
	int a = device(p), b = device(p);
	char offset[40], before[200];
	(void)state;

	pair_sync(p, a);
	pair_sync(p, b);
	pair_app(p, a, "INSERT INTO t VALUES(1, 'x')");
	pair_step(p, a, (struct event){.type = EV_TICK});
	struct record ack = take(p, FRAME_ACK);
	snprintf(offset, sizeof offset, "%s", pair_show(p, a, clock));
	snprintf(before, sizeof before, "%s", pair_server(p, stamps));
	p->mono_ms += 600 * 1000;
	replay(p, &ack);
	pair_run(p, PAIR_STEPS);
	assert_string_equal(pair_show(p, a, clock), offset);
	pair_sync(p, a);
	assert_string_equal(pair_show(p, a, clock), offset);
	assert_string_equal(pair_server(p, stamps), before);
	/* What is written then is neither ahead nor behind: the other's later write wins. */
	pair_app(p, a, "UPDATE t SET v = 'y' WHERE id = 1");
	pair_sync(p, a);
	pair_sync(p, b);
	pair_app(p, b, "UPDATE t SET v = 'z' WHERE id = 1");
	all_hold(p, a, b, "1|z");
	buf_free(&ack.frame);
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t16_old_messages_clear_no_mark),
		cmocka_unit_test(t16_old_messages_bring_no_row_back),
		cmocka_unit_test(t16_old_messages_after_a_restore),
		cmocka_unit_test(t18_a_sleeper_meets_a_restored_store),
		cmocka_unit_test(t20_sets_out_of_turn_and_of_others),
		cmocka_unit_test(t21_a_late_ack_moves_no_stamp),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
