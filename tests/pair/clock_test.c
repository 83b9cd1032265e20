/* Devices whose clock is wrong or steps (M1): their writes neither win nor lose by it. */
#include "tests/pair/pair.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE };
#define YEAR (365 * 24 * INT64_C(3600000))

static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, a)";
static const char all_rows[] = "SELECT id, a FROM t ORDER BY id";

static struct pair *world;
static sqlite3_vfs clocks[PAIR_DEVICES]; /* one for each device: julianday() is its clock */
static const char *const names[PAIR_DEVICES] = {"clock0", "clock1", "clock2", "clock3"};

static uint64_t true_ms(void)
{
	return world->wall_ms + world->mono_ms;
}

static int device_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	const int64_t epoch = 24405875 * INT64_C(8640000);

	*out = epoch + (int64_t)true_ms() + world->dev[vfs - clocks].wrong_ms;
	return SQLITE_OK;
}

static int setup(void **state)
{
	world = pair_new();
	*state = world;
	for (int i = 0; i < PAIR_DEVICES; i++) {
		clocks[i] = *sqlite3_vfs_find(NULL);
		clocks[i].zName = names[i];
		clocks[i].xCurrentTimeInt64 = device_time;
		assert_int_equal(sqlite3_vfs_register(&clocks[i], 0), SQLITE_OK);
	}
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	for (int i = 0; i < PAIR_DEVICES; i++)
		assert_int_equal(sqlite3_vfs_unregister(&clocks[i]), SQLITE_OK);
	return 0;
}

/* A device whose clock is off by `wrong_ms`, with table t tracked. */
static int device(struct pair *p, int64_t wrong_ms)
{
	int n = 0;

	while (p->dev[n].used)
		n++;
	p->dev[n].wrong_ms = wrong_ms;
	assert_int_equal(pair_device_on(p, names[n], schema), n);
	pair_track(p, n, "t", false);
	return n;
}

static int64_t since_1970(void)
{
	return -(int64_t)true_ms();
}

static int64_t offset(struct pair *p, int i)
{
	return strtoll(pair_show(p, i, "SELECT offset_ms FROM neap_clock"), NULL, 10);
}

/* The offset of device `i` makes up for its clock. */
static void assert_right(struct pair *p, int i)
{
	assert_true(llabs(offset(p, i) + p->dev[i].wrong_ms) <= 2000);
}

/* The stamp of the newest pending write of a row; 0 if there is none. */
static uint64_t stamp(struct pair *p, int i, int id)
{
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT max(stamp) FROM neap_m1 WHERE k0 = %d", id);
	return strtoull(pair_show(p, i, sql), NULL, 10);
}

/* A running engine whose clock was not set asks nothing after a reconnect: a new one does. */
static void start_again(struct pair *p, int i)
{
	pair_close_engine(p, i);
	pair_open_engine(p, i);
	pair_link(p, i, true);
}

static void unlink_device(struct pair *p, int i)
{
	pair_link(p, i, false);
	pair_run(p, PAIR_STEPS);
}

/* Lets the device measure its clock, and no more happen than that takes. */
static void measure(struct pair *p, int i)
{
	int64_t was = offset(p, i);

	start_again(p, i);
	for (int k = 0; offset(p, i) == was; k++) {
		assert_true(k < 1000);
		if (!pair_deliver(p))
			pair_wait(p);
	}
	assert_right(p, i);
}

static void assert_everywhere(struct pair *p, const char *rows)
{
	pair_sync_all(p);
	assert_string_equal(pair_server(p, all_rows), rows);
	for (int i = 0; i < PAIR_DEVICES; i++) {
		if (p->dev[i].used)
			assert_string_equal(pair_show(p, i, all_rows), rows);
	}
}

/*
 * Device `a` writes a minute after, then a minute before the one with the right clock. Its engine
 * is not running, or runs without a link.
 */
static void the_later_write_wins(struct pair *p, int a, int right, bool running)
{
	static int n;
	char sql[120], rows[80];

	n++;
	unlink_device(p, a);
	if (!running)
		pair_close_engine(p, a);
	pair_app(p, right, "INSERT OR REPLACE INTO t VALUES(1, 'early'), (3, 'right')");
	pair_sync(p, right);
	pair_pass(p, MINUTE);
	for (int id = 1; id <= 2; id++) {
		snprintf(sql, sizeof sql,
			 "INSERT INTO t VALUES(%d, 'a%d') ON CONFLICT(id) DO UPDATE SET a = 'a%d'",
			 id, n, n);
		pair_app(p, a, sql);
		assert_true(stamp(p, a, id) > 0);
	}
	pair_pass(p, MINUTE);
	pair_app(p, right, "INSERT OR REPLACE INTO t VALUES(2, 'late')");
	pair_sync(p, right);
	pair_pass(p, MINUTE);
	if (!running)
		pair_open_engine(p, a);
	pair_sync(p, a);
	assert_right(p, a);
	snprintf(rows, sizeof rows, "1|a%d,2|late,3|right", n);
	assert_everywhere(p, rows);
	assert_int_equal(p->refusals, 0);
}

static void neither_wins_nor_loses(struct pair *p, int64_t wrong_ms)
{
	int right = device(p, 0), a = device(p, wrong_ms);

	assert_int_equal(offset(p, a), 0);
	the_later_write_wins(p, a, right, true);
	/* The offset is known from now on, also after a restart. */
	the_later_write_wins(p, a, right, true);
	the_later_write_wins(p, a, right, false);
}

static void test_1970(void **state)
{
	neither_wins_nor_loses(*state, since_1970());
}

static void test_a_year_ahead(void **state)
{
	neither_wins_nor_loses(*state, YEAR);
}

static void test_a_day_behind(void **state)
{
	neither_wins_nor_loses(*state, -24 * HOUR);
}

/* Marks never cut move together: their order stays, from the floor to now. */
static void test_order_is_kept(void **state)
{
	struct pair *p = *state;
	const int64_t wrong[] = {since_1970(), YEAR};

	for (int k = 0; k < 2; k++) {
		int a = device(p, wrong[k]);
		uint64_t was[5];

		for (int id = 1; id < 5; id++) {
			char sql[80];

			snprintf(sql, sizeof sql, "REPLACE INTO t VALUES(%d, 'x')", 10 * k + id);
			pair_app(p, a, sql);
			was[id] = stamp(p, a, 10 * k + id);
			pair_pass(p, 1500);
		}
		measure(p, a);
		for (int id = 1; id < 5; id++) {
			assert_int_equal(stamp(p, a, 10 * k + id) - was[id], (uint64_t)offset(p, a)
										     << 16);
			assert_true(stamp(p, a, 10 * k + id) >> 16 <= true_ms());
		}
		pair_sync(p, a);
	}
	assert_int_equal(p->refusals, 0);
}

/*
 * The clock fell back after the last stamp was heard. When the writes were made is not known: they
 * count after all that was heard, not after now, and in their order.
 */
static void test_fallen_back_since_the_last_sync(void **state)
{
	struct pair *p = *state;
	int right = device(p, 0), a = device(p, 0);

	pair_app(p, right, "INSERT INTO t VALUES(1, 'heard'), (2, 'heard')");
	pair_sync_all(p);
	unlink_device(p, a);
	uint64_t heard = strtoull(pair_show(p, a, "SELECT heard FROM neap_clock"), NULL, 10);
	assert_true(heard > 0);
	p->dev[a].wrong_ms = since_1970();
	pair_app(p, a, "UPDATE t SET a = 'a' WHERE id = 1");
	pair_app(p, a, "UPDATE t SET a = 'a' WHERE id = 2");
	assert_true(stamp(p, a, 1) > heard);
	pair_pass(p, MINUTE);
	measure(p, a);
	assert_true(stamp(p, a, 1) > heard);
	assert_true(stamp(p, a, 2) >= stamp(p, a, 1));
	assert_true(stamp(p, a, 2) >> 16 <= true_ms());
	assert_everywhere(p, "1|a,2|a");
}

/* Back and forth between writes, with restarts: a register's stamps rise, the last write stands. */
static void test_steps(void **state)
{
	struct pair *p = *state;
	const int64_t steps[] = {0,    YEAR,  since_1970(), -HOUR,	  10 * YEAR,
				 HOUR, -YEAR, -1,	    since_1970(), 0};
	int right = device(p, 0), a = device(p, 0);
	uint64_t before = 0;

	pair_app(p, right, "INSERT INTO t VALUES(1, 0)");
	pair_sync_all(p);
	unlink_device(p, a);
	for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
		p->dev[a].wrong_ms = steps[k];
		if (k % 2)
			pair_close_engine(p, a);
		pair_app(p, a, "UPDATE t SET a = a + 1");
		assert_true(stamp(p, a, 1) > before);
		before = stamp(p, a, 1);
		pair_pass(p, 1500);
		if (k % 2)
			pair_open_engine(p, a);
	}
	/* Ten years ahead, by a clock that is right again: bounced, stamped anew, let in. */
	assert_true(before >> 16 > true_ms() + 9 * (uint64_t)YEAR);
	assert_everywhere(p, "1|10");
	assert_true(p->refusals > 0);
	/* And no harm to who writes later. */
	pair_pass(p, MINUTE);
	pair_app(p, right, "UPDATE t SET a = 'later'");
	assert_everywhere(p, "1|later");
}

/*
 * The clock is set while the engine runs, without a link and with one: it is measured anew before
 * anything is cut, so nothing is bounced and writes count from when they were made.
 */
static void test_set_while_running(void **state)
{
	struct pair *p = *state;
	const int64_t steps[] = {HOUR, -HOUR, YEAR, 0};
	int right = device(p, 0), a = device(p, 0);
	char rows[60];

	pair_app(p, right, "INSERT INTO t VALUES(1, ''), (2, '')");
	pair_sync_all(p);
	for (int k = 0; k < 8; k++) {
		if (k < 4)
			unlink_device(p, a);
		p->dev[a].wrong_ms = steps[k % 4];
		snprintf(rows, sizeof rows, "UPDATE t SET a = 'a%d'", k);
		pair_app(p, a, rows);
		if (k < 4)
			pair_pass(p, MINUTE);
		else
			pair_sync(p, a);
		snprintf(rows, sizeof rows, "UPDATE t SET a = 'right%d' WHERE id = 1", k);
		pair_app(p, right, rows);
		pair_sync(p, right);
		pair_pass(p, MINUTE);
		pair_sync(p, a);
		assert_right(p, a);
		assert_int_equal(p->refusals, 0);
		/* Set back, its writes are later than all it had heard; how much is not known. */
		snprintf(rows, sizeof rows, "1|right%d,2|a%d", k, k);
		if (k >= 4 || steps[k] > 0)
			assert_everywhere(p, rows);
		pair_sync_all(p);
	}
}

/* The device's hello is answered after `ms`; nothing after that answer has happened yet. */
static void welcome_after(struct pair *p, int i, uint64_t ms)
{
	uint64_t seen = p->welcomes;

	start_again(p, i);
	assert_int_equal(pair_status(p, i).state, ENGINE_HELLO);
	p->mono_ms += ms;
	while (p->welcomes == seen)
		assert_true(pair_deliver(p));
}

static void test_a_slow_round_trip_measures_nothing(void **state)
{
	struct pair *p = *state;
	int a = device(p, 0);

	pair_sync(p, a);
	p->dev[a].wrong_ms = -HOUR;
	welcome_after(p, a, 5001);
	assert_int_equal(offset(p, a), 0);
	unlink_device(p, a);
	assert_int_equal(offset(p, a), 0);
	welcome_after(p, a, 5000);
	/* Half the round trip is what the answer may be wrong by. */
	assert_true(llabs(offset(p, a) - HOUR) <= 2500);
}

/* Not measured, so cut as they are: the server sends them back, and they go through anew. */
static void test_bounced_stamps_are_made_anew(void **state)
{
	struct pair *p = *state;
	int right = device(p, 0), a = device(p, 0);

	pair_sync(p, a);
	unlink_device(p, a);
	p->dev[a].wrong_ms = YEAR;
	pair_app(p, a, "INSERT INTO t VALUES(1, 'a'), (2, 'a')");
	uint64_t was = stamp(p, a, 1);
	welcome_after(p, a, 6000);
	while (!p->refusals) {
		assert_int_equal(stamp(p, a, 1), was);
		if (!pair_deliver(p))
			pair_wait(p);
	}
	assert_int_equal(offset(p, a), 0);
	pair_app(p, a, "UPDATE t SET a = 'a again' WHERE id = 2");
	pair_sync(p, a);
	assert_right(p, a);
	assert_string_equal(pair_server(p, all_rows), "1|a,2|a again");
	uint64_t refusals = p->refusals;
	pair_pass(p, MINUTE);
	pair_app(p, right, "INSERT INTO t VALUES(1, 'later')");
	pair_app(p, a, "UPDATE t SET a = 'last' WHERE id = 2");
	assert_everywhere(p, "1|later,2|last");
	assert_int_equal(p->refusals, refusals);
}

/* What is on its way is dropped, as by a network. */
static void lose_messages(struct pair *p)
{
	while (p->head != p->tail)
		buf_free(&p->queue[p->head++ % PAIR_QUEUE].frame);
}

/* A set in flight may be let in at any moment: its stamps stay, what was never cut moves. */
static void test_marks_in_flight_keep_their_stamps(void **state)
{
	struct pair *p = *state;
	int a = device(p, 0);

	pair_app(p, a, "INSERT INTO t VALUES(1, 0), (2, 0)");
	pair_sync(p, a);
	pair_app(p, a, "UPDATE t SET a = 'flying' WHERE id = 1");
	pair_step(p, a, (struct event){.type = EV_LOCAL});
	while (pair_status(p, a).inflight_sets == 0)
		pair_wait(p);
	lose_messages(p);
	p->dev[a].wrong_ms = 2 * HOUR;
	pair_app(p, a, "UPDATE t SET a = 'new' WHERE id = 2");
	uint64_t flying = stamp(p, a, 1), fresh = stamp(p, a, 2);
	assert_true(flying && fresh - flying > (uint64_t)HOUR << 16);
	measure(p, a);
	assert_int_equal(stamp(p, a, 1), flying);
	assert_true(stamp(p, a, 2) > flying && stamp(p, a, 2) >> 16 <= true_ms());
	assert_everywhere(p, "1|flying,2|new");
	assert_int_equal(p->refusals, 0);
}

/* Takes what is on its way to devices out of the queue; delivers the rest. */
static void hold_back(struct pair *p, struct pair_message *held, size_t max, size_t *n)
{
	while (p->head != p->tail) {
		if (p->queue[p->head % PAIR_QUEUE].to < 0) {
			pair_deliver(p);
			continue;
		}
		assert_true(*n < max);
		held[(*n)++] = p->queue[p->head++ % PAIR_QUEUE];
	}
}

/* An acknowledgement is no measurement, nor is an answer that late. */
static void test_an_ack_delayed_ten_minutes(void **state)
{
	struct pair *p = *state;
	int a = device(p, 0);
	static struct pair_message held[1000];
	size_t n = 0;

	pair_app(p, a, "INSERT INTO t VALUES(1, 0), (2, 0)");
	pair_sync(p, a);
	pair_app(p, a, "UPDATE t SET a = 'sent' WHERE id = 1");
	pair_step(p, a, (struct event){.type = EV_LOCAL});
	for (uint64_t end = p->mono_ms + 10 * MINUTE; p->mono_ms < end; pair_wait(p))
		hold_back(p, held, 1000, &n);
	assert_true(n > 0);
	assert_string_equal(pair_server(p, all_rows), "1|sent,2|0");
	int64_t offset_was = offset(p, a);
	pair_app(p, a, "UPDATE t SET a = 'not sent' WHERE id = 2");
	uint64_t sent = stamp(p, a, 1), fresh = stamp(p, a, 2);
	assert_true(sent && fresh);
	for (size_t k = 0; k < n; k++) {
		pair_step(p, a,
			  (struct event){.type = held[k].type, .frame = buf_slice(&held[k].frame)});
		buf_free(&held[k].frame);
		assert_true(stamp(p, a, 1) == sent || stamp(p, a, 1) == 0);
		assert_int_equal(stamp(p, a, 2), fresh);
		assert_int_equal(offset(p, a), offset_was);
	}
	assert_everywhere(p, "1|sent,2|not sent");
	assert_int_equal(p->refusals, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_1970),
		T(test_a_year_ahead),
		T(test_a_day_behind),
		T(test_order_is_kept),
		T(test_fallen_back_since_the_last_sync),
		T(test_steps),
		T(test_set_while_running),
		T(test_a_slow_round_trip_measures_nothing),
		T(test_bounced_stamps_are_made_anew),
		T(test_marks_in_flight_keep_their_stamps),
		T(test_an_ack_delayed_ten_minutes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
