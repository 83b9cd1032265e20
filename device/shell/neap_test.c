/* The public interface as far as it goes without a server. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "device/shell/control.h"
#include "device/shell/neap_fixture.h"
#include "device/shell/ops.h"

static void what_is_not_there_is_told(void **state)
{
	neap *n;

	(void)state;
	assert_int_equal(neap_open("/nowhere/x.db", &n), NEAP_NOT_FOUND);
	assert_null(n);
	assert_non_null(strstr(neap_error(NULL), "/nowhere/x.db"));
	assert_int_equal(neap_close(NULL), NEAP_OK);
	n = opened();
	assert_int_equal(neap_track(n, "absent", NULL), NEAP_NOT_FOUND);
	assert_non_null(strstr(neap_error(n), "absent"));
	assert_int_equal(neap_track(n, "nokey", NULL), NEAP_NOT_FOUND);
	assert_int_equal(neap_untrack(n, "t"), NEAP_NOT_FOUND);
	neap_close(n);
}

static void a_file_that_is_no_database_is_refused(void **state)
{
	char other[160];
	neap *n;

	(void)state;
	snprintf(other, sizeof other, "%s/text", dir);
	FILE *f = fopen(other, "w");
	assert_non_null(f);
	fputs("hello", f);
	fclose(f);
	assert_int_equal(neap_open(other, &n), NEAP_NOT_FOUND);
	assert_null(n);
}

/* Whether another process finds the lock that a connection in WAL mode holds all the time. */
static bool others_see_the_lock(void)
{
	enum { SHARED_FIRST = 0x40000002, SHARED_SIZE = 510 };
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		struct flock l = {.l_type = F_WRLCK, .l_start = SHARED_FIRST, .l_len = SHARED_SIZE};
		int fd = open(path, O_RDWR);
		_exit(fd < 0 || fcntl(fd, F_GETLK, &l) != 0 ? 2 : l.l_type != F_UNLCK);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status) == 1;
}

/*
 * The app's own connections are in this process. Whoever opens and closes the file beside SQLite
 * ends their locks: others then remove a WAL that the app goes on writing to.
 */
static void the_apps_locks_outlive_our_calls(void **state)
{
	struct neap_status s = {.size = sizeof s};
	struct db *app;
	neap *n;

	(void)state;
	assert_int_equal(db_open(&app, path, DB_KEEP_JOURNAL, NULL, 1000, NULL), NE_OK);
	assert_int_equal(db_exec(app, "PRAGMA journal_mode = WAL; SELECT * FROM t", NULL), NE_OK);
	assert_true(others_see_the_lock());
	n = opened();
	assert_true(others_see_the_lock());
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_true(others_see_the_lock());
	assert_int_equal(neap_sync(n, 50), NEAP_UNREACHABLE);
	assert_int_equal(neap_close(n), NEAP_OK);
	assert_true(others_see_the_lock());
	db_close(app);
	assert_false(others_see_the_lock());
}

static void status_shows_what_is_pending(void **state)
{
	struct neap_track_options append = NEAP_TRACK_OPTIONS;
	struct neap_status s = {.size = sizeof s};
	struct db *db;
	neap *n = opened();

	(void)state;
	append.append = 1;
	assert_int_equal(neap_track(n, "t", NULL), NEAP_OK);
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_int_equal(s.pending_rows, 0);
	assert_string_equal(s.state, "stopped");
	assert_int_equal(db_open(&db, path, DB_KEEP_JOURNAL, NULL, 1000, NULL), NE_OK);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(1, 'x'), (2, 'y')", NULL), NE_OK);
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_int_equal(s.pending_rows, 2);
	assert_int_equal(neap_untrack(n, "t"), NEAP_OK);
	assert_int_equal(neap_track(n, "t", &append), NEAP_OK);
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_int_equal(s.pending_rows, 2);
	db_close(db);
	neap_close(n);
}

static void one_engine_a_file(void **state)
{
	neap *first = opened(), *second = opened();
	struct neap_status s = {.size = sizeof s};

	(void)state;
	assert_int_equal(neap_start(first), NEAP_OK);
	assert_int_equal(neap_start(second), NEAP_LOCKED);
	assert_non_null(strstr(neap_error(second), path));
	/* The other one works through the first. */
	assert_int_equal(neap_track(second, "t", NULL), NEAP_OK);
	assert_int_equal(neap_status(second, &s), NEAP_OK);
	assert_string_not_equal(s.state, "stopped");
	assert_int_equal(neap_track(second, "absent", NULL), NEAP_NOT_FOUND);
	neap_stop(first);
	assert_int_equal(neap_start(second), NEAP_OK);
	neap_close(second);
	neap_close(first);
}

static void an_unreachable_server_is_told_and_keeps_what_is_pending(void **state)
{
	struct neap_status s = {.size = sizeof s};
	struct db *db;
	neap *n = opened();

	(void)state;
	assert_int_equal(neap_track(n, "t", NULL), NEAP_OK);
	assert_int_equal(db_open(&db, path, DB_KEEP_JOURNAL, NULL, 1000, NULL), NE_OK);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(1, 'x')", NULL), NE_OK);
	db_close(db);
	assert_int_equal(neap_sync(n, 300), NEAP_UNREACHABLE);
	assert_non_null(strstr(neap_error(n), "pending"));
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(neap_sync(n, 300), NEAP_UNREACHABLE);
	neap_stop(n);
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_int_equal(s.pending_rows, 1);
	neap_close(n);
}

static void a_comparison_waits_for_the_server(void **state)
{
	neap *n = opened();

	(void)state;
	assert_int_equal(neap_track(n, "t", NULL), NEAP_OK);
	assert_int_equal(neap_verify(n, NULL, 1, 200, NULL, NULL), NEAP_UNREACHABLE);
	assert_non_null(strstr(neap_error(n), "not done in time"));
	assert_int_equal(neap_verify(n, "nosuch", 1, 200, NULL, NULL), NEAP_NOT_FOUND);
	assert_int_equal(neap_verify(n, "\xff", 1, 200, NULL, NULL), NEAP_USAGE);
	assert_int_equal(neap_verify(NULL, NULL, 1, 200, NULL, NULL), NEAP_USAGE);
	/* Through the thread of neap_start. */
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(neap_verify(n, "t", 0, 200, NULL, NULL), NEAP_UNREACHABLE);
	assert_int_equal(neap_stop(n), NEAP_OK);
	neap_close(n);
}

static void the_control_socket_is_the_owners_and_refuses_nonsense(void **state)
{
	neap *n = opened();
	struct paths p;
	struct stat st;
	struct err e = {0};
	json_t *bad = json_pack("{s:s}", "op", "format disk"), *none = json_object();

	(void)state;
	assert_int_equal(neap_start(n), NEAP_OK);
	assert_int_equal(paths_of(path, &p, &e), NE_OK);
	assert_int_equal(stat(p.sock, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(p.lock, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(control_call(&p, bad, 5000, NULL, NULL, &e), NE_USAGE);
	assert_int_equal(control_call(&p, none, 5000, NULL, NULL, &e), NE_MALFORMED);
	json_decref(bad);
	json_decref(none);
	neap_stop(n);
	assert_int_equal(stat(p.sock, &st), -1);
	neap_close(n);
}

static void init_refuses_what_cannot_be(void **state)
{
	(void)state;
	assert_int_equal(neap_init(path, "http://h", "u", "p", "d", NULL), NEAP_USAGE);
	assert_non_null(strstr(neap_error(NULL), "http://h"));
	assert_int_equal(neap_init(path, "https://127.0.0.1:1", "u/x", "p", "d", NULL), NEAP_USAGE);
	assert_non_null(strstr(neap_error(NULL), "u/x"));
	assert_int_equal(neap_init(path, "https://127.0.0.1:1", "eve", "p", "d", NULL), NEAP_USAGE);
	assert_non_null(strstr(neap_error(NULL), "belongs to user 'u'"));
	assert_int_equal(neap_init(path, "https://127.0.0.1:1", "u", "p", "d", "/nowhere"),
			 NEAP_NOT_FOUND);
	assert_int_equal(neap_init(path, "https://127.0.0.1:1", "u", "p", "d", NULL),
			 NEAP_UNREACHABLE);
	assert_int_equal(neap_init(path, "https://127.0.0.1:1", "u", NULL, "d", NULL), NEAP_USAGE);
	assert_int_equal(neap_enrol(path, "http://h", "ABCDE", NULL), NEAP_USAGE);
	assert_int_equal(neap_enrol(path, "https://127.0.0.1:1", NULL, NULL), NEAP_USAGE);
	assert_non_null(strstr(neap_error(NULL), "neap_enrol"));
	assert_int_equal(neap_enrol(path, "https://127.0.0.1:1", "ABCDE", NULL), NEAP_UNREACHABLE);
}

/* ---- conflicts ---- */

/* What a run before this one met and nobody was told: cell v of row 1 lost 'old' to 'x'. */
static void leave_conflict(neap *n)
{
	struct db *db;

	assert_int_equal(neap_track(n, "t", NULL), NEAP_OK);
	assert_int_equal(db_open(&db, path, DB_KEEP_JOURNAL, NULL, 1000, NULL), NE_OK);
	assert_int_equal(
		db_exec(db,
			"INSERT INTO t VALUES(1, 'x'); DELETE FROM neap_m1; INSERT INTO "
			"neap_conflict(table_id, text, reason, tab, pk, row_key, col, value, "
			"incoming, won_stamp, todo) VALUES(1, '{\"id\": 1, \"v\": \"old\"}', 'a "
			"later "
			"write won', 't', X'010000000000000001', '{\"id\": 1}', 'v', 'old', 'x', "
			"(SELECT floor FROM neap_clock), 3)",
			NULL),
		NE_OK);
	db_close(db);
}

struct listener {
	neap *n;
	unsigned told, asked;
	int within; /* what a call from inside got */
	int choice;
	struct neap_value answer;
};

static void check_conflict(const struct neap_conflict *c)
{
	assert_int_equal(c->size, sizeof *c);
	assert_string_equal(c->table, "t");
	assert_string_equal(c->key, "{\"id\": 1}");
	assert_string_equal(c->column, "v");
	assert_int_equal(c->local.type, NEAP_TEXT);
	assert_int_equal(c->local.len, 3);
	assert_memory_equal(c->local.bytes, "old", 3);
	assert_memory_equal(c->incoming.bytes, "x", 1);
}

static void hear(void *ctx, const struct neap_conflict *c)
{
	struct listener *l = ctx;

	check_conflict(c);
	assert_string_equal(c->reason, l->choice == NEAP_WRITE && l->answer.type != 99
					       ? "a later write won; resolved by a new write"
					       : "a later write won");
	l->told++;
	l->within = neap_stop(l->n);
}

static int resolve(void *ctx, const struct neap_conflict *c, struct neap_value *write)
{
	struct listener *l = ctx;

	check_conflict(c);
	assert_memory_equal(write->bytes, "x", 1);
	l->asked++;
	*write = l->answer;
	return l->choice;
}

static void dispatch_until_told(neap *n, struct listener *l)
{
	int fd, wait_ms;

	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	for (int i = 0; i < 1000 && !l->told; i++)
		assert_int_equal(neap_dispatch(n, &wait_ms), NEAP_OK);
	assert_int_equal(l->told, 1);
	assert_int_equal(l->within, NEAP_USAGE);
	/* Neither is set while it runs. */
	assert_int_equal(neap_on_conflict(n, NULL, NULL), NEAP_USAGE);
	assert_int_equal(neap_set_resolver(n, "t", NULL, NULL), NEAP_USAGE);
	assert_int_equal(neap_stop(n), NEAP_OK);
}

static void value_is(const char *want)
{
	struct db *db;
	int64_t same;
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT v IS '%s' FROM t", want);
	assert_int_equal(db_open(&db, path, DB_KEEP_JOURNAL, NULL, 1000, NULL), NE_OK);
	assert_int_equal(db_int(db, sql, 0, &same, NULL), NE_OK);
	assert_int_equal(same, 1);
	db_close(db);
}

static void conflicts_are_told_and_resolved(void **state)
{
	neap *n = opened();
	struct neap_status s = {.size = sizeof s};
	struct listener l = {.n = n,
			     .choice = NEAP_WRITE,
			     .answer = {.type = NEAP_TEXT, .bytes = "both", .len = 4}};

	(void)state;
	leave_conflict(n);
	assert_int_equal(neap_on_conflict(n, hear, &l), NEAP_OK);
	assert_int_equal(neap_set_resolver(n, "T", resolve, &l), NEAP_OK);
	dispatch_until_told(n, &l);
	assert_int_equal(l.asked, 1);
	value_is("both");
	assert_int_equal(neap_status(n, &s), NEAP_OK);
	assert_int_equal(s.pending_rows, 1);
	neap_close(n);
}

static void a_resolver_may_keep_and_be_wrong(void **state)
{
	neap *n = opened();
	struct listener l = {.n = n, .choice = NEAP_WRITE, .answer = {.type = 99}};

	(void)state;
	leave_conflict(n);
	assert_int_equal(neap_set_resolver(n, NULL, resolve, &l), NEAP_USAGE);
	assert_int_equal(neap_on_conflict(n, hear, &l), NEAP_OK);
	assert_int_equal(neap_set_resolver(n, "other", resolve, &l), NEAP_OK);
	assert_int_equal(neap_set_resolver(n, "t", resolve, &l), NEAP_OK);
	dispatch_until_told(n, &l);
	assert_int_equal(l.asked, 1);
	value_is("x");
	neap_close(n);
}

static void a_removed_resolver_is_not_asked(void **state)
{
	neap *n = opened();
	struct listener l = {.n = n, .choice = NEAP_KEEP};

	(void)state;
	leave_conflict(n);
	assert_int_equal(neap_on_conflict(n, hear, &l), NEAP_OK);
	assert_int_equal(neap_set_resolver(n, "t", resolve, &l), NEAP_OK);
	assert_int_equal(neap_set_resolver(n, "t", NULL, NULL), NEAP_OK);
	assert_int_equal(neap_set_resolver(n, "t", NULL, NULL), NEAP_OK);
	dispatch_until_told(n, &l);
	assert_int_equal(l.asked, 0);
	neap_close(n);
}

/* As `neap conflicts` asks: pages, the newest first. */
static void conflicts_are_listed(void **state)
{
	neap *n = opened();
	json_t *request = json_pack("{s:s, s:i}", "op", "conflicts", "limit", 1), *answer = NULL;
	const json_t *row;
	struct err e = {0};

	(void)state;
	leave_conflict(n);
	assert_int_equal(ops_ask(path, request, &answer, &e), NE_OK);
	row = json_array_get(json_object_get(answer, "conflicts"), 0);
	assert_int_equal(json_integer_value(json_object_get(row, "id")), 1);
	assert_string_equal(json_string_value(json_object_get(row, "table")), "t");
	assert_string_equal(json_string_value(json_object_get(row, "column")), "v");
	assert_true(json_is_false(json_object_get(row, "noted")));
	json_decref(answer);
	json_object_set_new(request, "before", json_integer(1));
	assert_int_equal(ops_ask(path, request, &answer, &e), NE_OK);
	assert_int_equal(json_array_size(json_object_get(answer, "conflicts")), 0);
	json_decref(answer);
	json_object_set_new(request, "limit", json_integer(OPS_CONFLICTS + 1));
	assert_int_equal(ops_ask(path, request, NULL, &e), NE_MALFORMED);
	json_decref(request);
	neap_close(n);
}

/* A wake-up that reaches nobody ends after a few attempts; the next one comes when it is due. */
static void now_and_then(void **state)
{
	neap *n = opened();
	struct neap_status s = {.size = sizeof s};
	uint64_t began_ms = mono_ms();
	int fd, wait;

	(void)state;
	assert_int_equal(neap_every(NULL, 1000), NEAP_USAGE);
	assert_int_equal(neap_every(n, 999), NEAP_USAGE);
	assert_int_equal(neap_every(n, (int64_t)7 * 24 * 3600 * 1000 + 1), NEAP_USAGE);
	assert_int_equal(neap_every(n, 1000), NEAP_OK);
	assert_int_equal(neap_every(n, 0), NEAP_OK);
	assert_int_equal(neap_every(n, 3600 * 1000), NEAP_OK);
	assert_int_equal(neap_poll_begin(n, &fd), NEAP_OK);
	assert_int_equal(neap_every(n, 0), NEAP_USAGE);
	do {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		assert_int_equal(neap_dispatch(n, &wait), NEAP_OK);
		assert_int_equal(neap_status(n, &s), NEAP_OK);
		poll(&p, 1, wait < 100 ? wait : 100);
		assert_true(mono_ms() - began_ms < 60000);
	} while (!strstr(s.next_step, "the next try is in 3"));
	assert_string_equal(s.state, "offline");
	neap_close(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DB(what_is_not_there_is_told),
		WITH_DB(a_file_that_is_no_database_is_refused),
		WITH_DB(the_apps_locks_outlive_our_calls),
		WITH_DB(status_shows_what_is_pending),
		WITH_DB(one_engine_a_file),
		WITH_DB(an_unreachable_server_is_told_and_keeps_what_is_pending),
		WITH_DB(a_comparison_waits_for_the_server),
		WITH_DB(the_control_socket_is_the_owners_and_refuses_nonsense),
		WITH_DB(init_refuses_what_cannot_be),
		WITH_DB(now_and_then),
		WITH_DB(conflicts_are_told_and_resolved),
		WITH_DB(a_resolver_may_keep_and_be_wrong),
		WITH_DB(a_removed_resolver_is_not_asked),
		WITH_DB(conflicts_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
