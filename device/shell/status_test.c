/* What `neap status` says of the connection and the file; docs/states.md has the list. */
#include "device/core/engine.h"
#include "device/shell/crypt.h"
#include "device/shell/neap_fixture.h"
#include "device/shell/ops.h"

static json_t *status_of(const struct link_view *view)
{
	const struct engine_config config = {.path = path, .random = crypt_random};
	struct engine *en;
	struct err e;
	json_t *status;

	assert_int_equal(engine_open(&en, &config, &e), 0);
	assert_int_equal(ops_status(en, path, view, &status, &e), 0);
	engine_close(en);
	return status;
}

static const char *text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	assert_non_null(s);
	return s;
}

/* The worst trouble is `state`, and the status as a whole says the same. */
static void expect(const struct link_view *view, const char *state, int exit_code,
		   const char *reason, const char *next_step)
{
	json_t *s = status_of(view);
	const json_t *t = json_array_get(json_object_get(s, "troubles"), 0);

	assert_non_null(t);
	assert_string_equal(text(t, "state"), state);
	assert_string_equal(text(s, "state"), state);
	assert_int_equal(json_integer_value(json_object_get(t, "exit_code")), exit_code);
	if (!strstr(text(t, "reason"), reason))
		fail_msg("%s: '%s' is not in: %s", state, reason, text(t, "reason"));
	if (!strstr(text(t, "next_step"), next_step))
		fail_msg("%s: '%s' is not in: %s", state, next_step, text(t, "next_step"));
	assert_string_equal(text(s, "reason"), text(t, "reason"));
	assert_string_equal(text(s, "next_step"), text(t, "next_step"));
	json_decref(s);
}

static void test_no_agent(void **state)
{
	(void)state;
	expect(NULL, "stopped", 0, "no agent runs", "neap run");
}

static void test_what_is_in_the_way_of_the_connection(void **state)
{
	struct link_view v = {.state = CONN_LOGIN, .problem = NE_AUTH, .text = "token not valid"};
	(void)state;

	expect(&v, "login-required", 4, "token not valid", "neap init");
	v = (struct link_view){.state = CONN_WAITING, .problem = NE_CERT, .text = "/CN=x: expired"};
	expect(&v, "certificate", 5, "/CN=x: expired", "--ca");
	v = (struct link_view){.state = CONN_WAITING,
			       .problem = NE_UNREACHABLE,
			       .text = "Connection refused",
			       .retry_in_ms = 6500};
	expect(&v, "offline", 3, "Connection refused", "the next try is in 7 s");
	v = (struct link_view){
		.state = CONN_CONNECTING, .problem = NE_TIMEOUT, .text = "did not answer in time"};
	expect(&v, "offline", 3, "did not answer in time", "tried again now");
	v = (struct link_view){.state = CONN_ASLEEP,
			       .problem = NE_UNREACHABLE,
			       .text = "Connection refused",
			       .retry_in_ms = 240000};
	expect(&v, "offline", 3, "Connection refused", "the next try is in 240 s");
	v = (struct link_view){.state = CONN_UP, .rival = true, .rival_ms = 3000};
	expect(&v, "session-taken", 3, "3 s ago", "device id of its own");
}

/* By choice: nothing is in the way. */
static void test_asleep(void **state)
{
	const struct link_view v = {.state = CONN_ASLEEP, .text = "", .retry_in_ms = 299500};
	(void)state;

	expect(&v, "asleep", 0, "--every", "it connects in 300 s");
	json_t *s = status_of(&v);
	assert_int_equal(json_integer_value(json_object_get(s, "wake_in_ms")), 299500);
	json_decref(s);
}

static void test_what_is_in_the_way_of_the_file(void **state)
{
	struct link_view v = {.state = CONN_UP, .blocked = NE_DISK, .blocked_text = "disk is full"};
	(void)state;

	expect(&v, "disk", 9, "cannot be written: disk is full", "make room");
	v.blocked = NE_CORRUPT;
	v.blocked_text = "malformed";
	expect(&v, "database-failed", 1, "cannot be used: malformed", "integrity_check");
	v.blocked = NE_MEMORY;
	expect(&v, "database-failed", 1, "malformed", "integrity_check");
	/* A lock is told by the engine, once it lasts. */
	v.blocked = NE_BUSY;
	json_t *s = status_of(&v);
	assert_int_equal(json_array_size(json_object_get(s, "troubles")), 0);
	json_decref(s);
}

/* With nothing in the way the state is where the connection stands. */
static void test_nothing_in_the_way(void **state)
{
	static const struct {
		enum conn_state state;
		const char *says;
	} cases[] = {{CONN_CONNECTING, "connecting"}, {CONN_UP, "connecting"}};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct link_view v = {.state = cases[i].state, .text = ""};
		json_t *s = status_of(&v);
		assert_string_equal(text(s, "state"), cases[i].says);
		assert_string_equal(text(s, "connection"), cases[i].says);
		assert_string_equal(text(s, "reason"), "");
		assert_string_equal(text(s, "next_step"), "");
		json_decref(s);
	}
}

/* The file before rows, rows before the connection. */
static void test_the_worst_comes_first(void **state)
{
	static const char *const order[] = {"disk", "rows-rejected", "session-taken", "offline",
					    "conflicts"};
	struct link_view v = {.state = CONN_WAITING,
			      .problem = NE_UNREACHABLE,
			      .text = "",
			      .rival = true,
			      .blocked = NE_DISK,
			      .blocked_text = ""};
	struct db *db;
	struct err e;
	(void)state;

	assert_int_equal(db_open(&db, path, DB_KEEP_JOURNAL, NULL, 1000, &e), 0);
	assert_int_equal(db_exec(db,
				 "INSERT INTO neap_conflict(table_id, text) VALUES(1, 'c');"
				 "INSERT INTO neap_rejected(table_id, key) VALUES(1, x'00')",
				 &e),
			 0);
	db_close(db);
	json_t *s = status_of(&v);
	const json_t *list = json_object_get(s, "troubles");
	assert_int_equal(json_array_size(list), sizeof order / sizeof order[0]);
	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
		assert_string_equal(text(json_array_get(list, i), "state"), order[i]);
	assert_string_equal(text(s, "state"), "disk");
	json_decref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_agent, make_db, drop_db),
		cmocka_unit_test_setup_teardown(test_what_is_in_the_way_of_the_connection, make_db,
						drop_db),
		cmocka_unit_test_setup_teardown(test_asleep, make_db, drop_db),
		cmocka_unit_test_setup_teardown(test_what_is_in_the_way_of_the_file, make_db,
						drop_db),
		cmocka_unit_test_setup_teardown(test_nothing_in_the_way, make_db, drop_db),
		cmocka_unit_test_setup_teardown(test_the_worst_comes_first, make_db, drop_db),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
