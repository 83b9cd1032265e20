/* Append rows that an operator's constraint or trigger refuses: alone, kept, and put back (J2). */
#include "device/core/rejected.h"
#include "tests/pair/pair.h"

static const char by_number[] = "CREATE TABLE log(id INTEGER PRIMARY KEY, v)";
static const char by_name[] = "CREATE TABLE log(id TEXT PRIMARY KEY, v)";

static int setup(void **state)
{
	*state = pair_new();
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	return 0;
}

static int device(struct pair *p, const char *schema)
{
	int i = pair_device(p, schema);

	pair_track(p, i, "log", true);
	pair_app(p, i, "INSERT INTO log VALUES(1, 0)");
	pair_sync(p, i);
	return i;
}

/* The operator's trigger lets only v >= 0 in. */
static void forbid(struct pair *p, const char *how)
{
	char sql[200];

	snprintf(sql, sizeof sql,
		 "CREATE TRIGGER low BEFORE INSERT ON log WHEN NEW.v < 0"
		 " BEGIN SELECT RAISE(%s, 'v is below 0'); END",
		 how);
	pair_exec(p->sql, sql);
}

static const char *server(struct pair *p)
{
	return pair_server(p, "SELECT count(*), count(DISTINCT id), sum(v < 0) FROM log");
}

static void retry_all(struct pair *p, int i)
{
	struct rejected_done done;

	PAIR_OK(p, rejected_retry(engine_devdb(p->dev[i].en), 0, &done, &p->e));
	assert_int_equal(done.failed, 0);
	pair_step(p, i, (struct event){.type = EV_LOCAL});
	pair_pass(p, 5000);
}

/* Bad ones at the start, within and at the end of 200 rows, twice; the others are there. */
static void refused(struct pair *p, const char *schema, const char *how)
{
	int i = device(p, schema);

	forbid(p, how);
	pair_app(p, i,
		 "WITH c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < 200)"
		 " INSERT INTO log SELECT n, iif(n IN (2, 100, 101, 200), -1, 1) FROM c");
	pair_step(p, i, (struct event){.type = EV_LOCAL});
	pair_pass(p, 5000);
	assert_string_equal(server(p), "196|196|0");
	assert_string_equal(pair_show(p, i,
				      "SELECT count(*), count(DISTINCT key), min(reason LIKE"
				      " '%v is below 0%') FROM neap_rejected"),
			    "4|4|1");
	assert_string_equal(pair_show(p, i,
				      "SELECT text FROM neap_rejected WHERE text LIKE"
				      " '%101%'"),
			    strstr(schema, "TEXT") ? "{\"id\": \"101\", \"v\": -1}"
						   : "{\"id\": 101, \"v\": -1}");
	struct engine_status s = pair_status(p, i);
	assert_int_equal(s.pending_rows, 0);
	assert_int_equal(s.rejected_rows, 4);
	/* They do not go up again by themselves, also not after a restart. */
	pair_close_engine(p, i);
	pair_open_engine(p, i);
	pair_link(p, i, true);
	pair_app(p, i, "INSERT INTO log VALUES(300, 1)");
	uint64_t refusals = p->refusals;
	pair_sync(p, i);
	assert_string_equal(server(p), "197|197|0");
	assert_int_equal(p->refusals, refusals);
	/* Put back too early, they are refused anew; then they are let in, once. */
	retry_all(p, i);
	assert_string_equal(server(p), "197|197|0");
	assert_string_equal(pair_show(p, i, "SELECT count(*) FROM neap_rejected"), "4");
	pair_exec(p->sql, "DROP TRIGGER low");
	retry_all(p, i);
	assert_string_equal(server(p), "201|201|4");
	assert_string_equal(pair_show(p, i, "SELECT count(*) FROM neap_rejected"), "0");
	pair_sync(p, i);
}

static void by_the_key(void **state)
{
	refused(*state, by_number, "ABORT");
}

static void by_a_number(void **state)
{
	refused(*state, by_name, "ABORT");
}

/* The trigger ends the server's transaction: no other row, and no other device, notices. */
static void by_a_trigger_that_rolls_back(void **state)
{
	refused(*state, by_number, "ROLLBACK");
}

/* Another row under the key of a refused one is another row. */
static void another_row_under_its_key(void **state)
{
	struct pair *p = *state;
	int i = device(p, by_number);

	forbid(p, "ABORT");
	pair_app(p, i, "INSERT INTO log VALUES(2, -1), (3, 3)");
	pair_step(p, i, (struct event){.type = EV_LOCAL});
	pair_pass(p, 5000);
	assert_string_equal(pair_show(p, i, "SELECT count(*) FROM neap_rejected"), "1");
	pair_app(p, i, "DELETE FROM log WHERE id = 2");
	pair_app(p, i, "INSERT INTO log VALUES(2, 22)");
	pair_sync(p, i);
	assert_string_equal(pair_server(p, "SELECT id, v FROM log ORDER BY id"), "1|0,2|22,3|3");
	assert_string_equal(pair_show(p, i, "SELECT count(*) FROM neap_rejected"), "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(by_the_key, setup, teardown),
		cmocka_unit_test_setup_teardown(by_a_number, setup, teardown),
		cmocka_unit_test_setup_teardown(by_a_trigger_that_rolls_back, setup, teardown),
		cmocka_unit_test_setup_teardown(another_row_under_its_key, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
