/*
 * Random SQL by a stock connection; sets are cut, delayed, committed to a model
 * of the server, settled late or cut anew. Whatever the order, the model ends
 * equal to the table, and no register ever has two values.
 */
#include "device/core/capture.h"
#include "device/core/capture_fixture.h"

enum { SEEDS = 25, STEPS = 160, MAX_ROWS = 400, MAX_COLS = 3, MAX_QUEUE = 64, MAX_EVENTS = 2000 };

static uint64_t rng;
static unsigned below(unsigned n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)((rng >> 16) % n);
}

/* The server's row: existence and cells, each with its version. */
struct model_row {
	struct val key[LIMIT_KEY_COLUMNS];
	bool alive;
	struct reg exist;
	struct reg reg[MAX_COLS];
	bool has[MAX_COLS];
	struct val val[MAX_COLS];
};

/* A copy of a set on its way. */
struct sent {
	uint64_t number, prev;
	struct rows rows;
	struct arena arena;
};

static struct {
	struct arena arena;
	size_t n;
	struct model_row row[MAX_ROWS];
	uint64_t newest; /* number committed */
	size_t n_queue;
	struct sent queue[MAX_QUEUE];
	size_t n_event;
	struct event {
		uint64_t gen;
		int64_t n, content;
	} event[MAX_EVENTS];
} model;

static void model_reset(void)
{
	arena_free(&model.arena);
	for (size_t i = 0; i < model.n_queue; i++)
		arena_free(&model.queue[i].arena);
	memset(&model, 0, sizeof model);
	model.arena.max = 256 << 20;
}

static struct model_row *model_find(const struct shape *s, const struct val *key)
{
	struct model_row *r;

	for (size_t i = 0; i < model.n; i++) {
		if (key_same(s, model.row[i].key, key))
			return &model.row[i];
	}
	assert_true(model.n < MAX_ROWS);
	r = &model.row[model.n++];
	*r = (struct model_row){0};
	for (int i = 0; i < s->n_key; i++)
		assert_true(val_copy(&model.arena, &key[i], &r->key[i]));
	return r;
}

static void model_cell(struct model_row *m, const struct cell *c)
{
	if (reg_cmp(c->reg, m->exist) < 0)
		return;
	if (m->has[c->col]) {
		int order = reg_cmp(c->reg, m->reg[c->col]);

		if (order == 0 && !val_eq(&c->val, &m->val[c->col]))
			fail_msg("one register, two values");
		if (order <= 0)
			return;
	}
	m->has[c->col] = true;
	m->reg[c->col] = c->reg;
	assert_true(val_copy(&model.arena, &c->val, &m->val[c->col]));
}

static void model_row_take(const struct shape *s, const struct row *r)
{
	struct model_row *m = model_find(s, r->key);

	if (r->exist != EXIST_NONE) {
		int order = reg_cmp(r->exist_reg, m->exist);

		if (order == 0 && m->exist.site && m->alive != (r->exist == EXIST_ALIVE))
			fail_msg("one existence register, alive and dead");
		if (order > 0 || m->exist.site == 0) {
			m->exist = r->exist_reg;
			m->alive = r->exist == EXIST_ALIVE;
			for (int i = 0; i < s->n_key; i++)
				assert_true(val_copy(&model.arena, &r->key[i], &m->key[i]));
			for (int i = 0; i < s->n_col; i++)
				m->has[i] = m->has[i] && reg_cmp(m->reg[i], m->exist) >= 0;
		}
	}
	for (int i = 0; i < r->n_cell; i++)
		model_cell(m, &r->cell[i]);
}

/* An identity has one content for ever, and a content one identity. */
static void model_event_take(const struct row *r)
{
	struct event ev = {.gen = r->gen, .n = r->n, .content = r->cell[0].val.i};

	for (size_t i = 0; i < model.n_event; i++) {
		const struct event *had = &model.event[i];
		bool same = had->gen == ev.gen && had->n == ev.n;

		if (same != (had->content == ev.content))
			fail_msg("%lld came as %llu.%lld, %lld as %llu.%lld",
				 (long long)had->content, (unsigned long long)had->gen,
				 (long long)had->n, (long long)ev.content,
				 (unsigned long long)ev.gen, (long long)ev.n);
		if (same)
			return;
	}
	assert_true(model.n_event < MAX_EVENTS);
	model.event[model.n_event++] = ev;
}

static void model_take(const struct table_rows *t)
{
	for (size_t i = 0; i < t->n_row; i++) {
		if (t->shape->kind == SHAPE_APPEND)
			model_event_take(&t->row[i]);
		else
			model_row_take(t->shape, &t->row[i]);
	}
}

/* Commits the oldest set on its way if it is the successor of the newest committed. */
static void deliver(void)
{
	struct sent s = model.queue[0];

	memmove(model.queue, model.queue + 1, --model.n_queue * sizeof s);
	if (s.prev == model.newest) {
		for (size_t i = 0; i < s.rows.n_table; i++)
			model_take(&s.rows.table[i]);
		model.newest = s.number;
	}
	arena_free(&s.arena);
}

static bool cut_one(void)
{
	struct cut_limits limits = {
		.rows = 1 + below(8), .cells = LIMIT_CELLS, .bytes = below(2) ? 200 : LIMIT_SET};
	struct sent *s = &model.queue[model.n_queue];
	struct cut cut;
	bool any;

	if (model.n_queue == MAX_QUEUE)
		return false;
	*s = (struct sent){.arena = {.max = 8 << 20}};
	OK(cutter_next(cutter, &limits, 1 + below(1000000), &s->arena, &cut, &any, &err));
	if (!any) {
		arena_free(&s->arena);
		return false;
	}
	s->number = cut.number;
	s->prev = cut.prev;
	s->rows = cut.rows;
	model.n_queue++;
	return true;
}

/* What the engine does after a reconnect: settle what is known committed, forget the rest. */
static void restart(void)
{
	if (below(3)) {
		if (model.newest)
			settle(model.newest);
	} else { /* it learns the number only: nothing is settled, all is cut again */
		OK(devdb_set(d, "acked_number", (int64_t)model.newest, &err));
	}
	while (model.n_queue)
		arena_free(&model.queue[--model.n_queue].arena);
	OK(cutter_restart(cutter, &err));
}

static const char *const values[] = {
	"NULL",	 "1",  "1.0", "'a'",  "'A'", "x'00'", "''",
	"9e999", "-7", "'1'", "0.25", "2",   "'zz'",  "9223372036854775807"};

static const char *value(void)
{
	return values[below(sizeof values / sizeof *values)];
}

static const char *conflict(void)
{
	static const char *const c[] = {"", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ABORT"};

	return c[below(5)];
}

/* Errors of the app's own (a constraint) are part of its life. */
static void app_sql(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void app_sql(const char *fmt, ...)
{
	char sql[600];
	va_list args;
	int rc;

	va_start(args, fmt);
	vsnprintf(sql, sizeof sql, fmt, args);
	va_end(args);
	rc = sqlite3_exec(app, sql, NULL, NULL, NULL) & 0xff;
	if (rc != SQLITE_OK && rc != SQLITE_CONSTRAINT)
		fail_msg("%s: %s", sql, sqlite3_errmsg(app));
	if (!sqlite3_get_autocommit(app))
		run("ROLLBACK");
}

/* One of the tables under test. Its key is id, and key2 where it has two. */
struct kind {
	const char *create;
	const char *key2; /* second key column */
	bool text_key;
	bool append;
};

static const struct kind kinds[] = {
	{.create = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b UNIQUE, c)"},
	{.create = "CREATE TABLE t(a, id TEXT COLLATE NOCASE, b, n, c, PRIMARY KEY(id, n)) WITHOUT "
		   "ROWID",
	 .key2 = "n",
	 .text_key = true},
	{.create = "CREATE TABLE t(id TEXT PRIMARY KEY COLLATE NOCASE, a TEXT COLLATE NOCASE, "
		   "b REAL UNIQUE, c, UNIQUE(a, c))",
	 .text_key = true},
	{.create = "CREATE TABLE t(id PRIMARY KEY, a INT, b, g AS (a || b), c, UNIQUE(b, c))"},
	{.create = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)", .append = true},
	{.create = "CREATE TABLE t(id TEXT PRIMARY KEY COLLATE NOCASE, v)",
	 .text_key = true,
	 .append = true},
};

static const char *key_value(const struct kind *k)
{
	static const char *const texts[] = {"'a'", "'A'", "'b'", "'B'", "'c'", "'cc'", "'d '"};
	static const char *const numbers[] = {"1", "2", "3", "4", "5", "-1", "3.0"};

	return k->text_key ? texts[below(7)] : numbers[below(7)];
}

static int64_t contents; /* of append rows: each is written once */

static void append_something(const struct kind *k)
{
	const char *id = key_value(k);

	switch (below(6)) {
	case 0:
		app_sql("DELETE FROM t WHERE id = %s", id);
		break;
	case 1:
	case 2:
		app_sql("INSERT %s INTO t VALUES(%s, %lld)", conflict(), id, (long long)++contents);
		break;
	case 3:
		app_sql("BEGIN; INSERT INTO t VALUES(%s, 0); DELETE FROM t; ROLLBACK", id);
		break;
	case 4:
		if (k->text_key)
			app_sql("INSERT OR REPLACE INTO t VALUES('k%u', %lld)", below(1000),
				(long long)++contents);
		else
			app_sql("INSERT OR REPLACE INTO t VALUES(%u, %lld)", below(200),
				(long long)++contents);
		break;
	default:
		app_sql("INSERT INTO t(id, v) VALUES(%s, %lld)",
			k->text_key ? "hex(randomblob(4))" : "NULL", (long long)++contents);
	}
}

static void write_something(const struct kind *k)
{
	static const char *const cols[] = {"a", "b", "c"};
	const char *col = cols[below(3)];
	const char *id = key_value(k);
	char key2[40] = "", val2[40] = "";

	if (k->append) {
		append_something(k);
		return;
	}

	if (k->key2) {
		snprintf(key2, sizeof key2, ", %s", k->key2);
		snprintf(val2, sizeof val2, ", %u", below(2));
	}
	switch (below(11)) {
	case 0:
	case 1:
	case 2:
		app_sql("INSERT %s INTO t(id%s, a, b, c) VALUES(%s%s, %s, %s, %s)", conflict(),
			key2, id, val2, value(), value(), value());
		break;
	case 3:
	case 4:
		app_sql("UPDATE %s t SET %s = %s WHERE id = %s", conflict(), col, value(), id);
		break;
	case 5:
		app_sql("UPDATE t SET a = %s, c = %s", value(), value());
		break;
	case 6:
		app_sql("UPDATE %s t SET id = %s WHERE id = %s", conflict(), key_value(k), id);
		break;
	case 7:
		app_sql("DELETE FROM t WHERE id = %s", id);
		break;
	case 8:
		app_sql("INSERT INTO t(id%s, a, b, c) VALUES(%s%s, %s, %s, %s) ON CONFLICT(id%s) "
			"DO "
			"UPDATE SET %s = excluded.%s",
			key2, id, val2, value(), value(), value(), key2, col, col);
		break;
	case 9:
		app_sql("BEGIN; DELETE FROM t; ROLLBACK");
		break;
	default:
		app_sql("PRAGMA recursive_triggers = %u", below(2));
	}
}

static void compare(unsigned seed)
{
	const struct shape *s = &d->table[0].shape;
	size_t alive = 0;
	sqlite3_stmt *q;

	assert_int_equal(sqlite3_prepare_v2(app,
					    s->n_key == 2 ? "SELECT id, n, a, b, c FROM t"
							  : "SELECT id, a, b, c FROM t",
					    -1, &q, NULL),
			 SQLITE_OK);
	for (size_t i = 0; i < model.n; i++)
		alive += model.row[i].alive;
	while (sqlite3_step(q) == SQLITE_ROW) {
		struct val key[2] = {val_column(q, 0), val_column(q, 1)};
		struct model_row *m;

		if (key[0].type == VAL_NULL)
			continue;
		m = model_find(s, key);
		if (!m->alive)
			fail_msg("seed %u: row %s is dead in the model", seed,
				 (const char *)sqlite3_column_text(q, 0));
		for (int i = 0; i < s->n_key; i++)
			assert_true(val_eq(&m->key[i], &key[i]));
		for (int i = 0; i < s->n_col; i++) {
			struct val v = val_column(q, s->n_key + i);

			if (!m->has[i] || !val_eq(&v, &m->val[i]))
				fail_msg("seed %u: row %s column %d differs", seed,
					 (const char *)sqlite3_column_text(q, 0), i);
		}
		alive--;
	}
	sqlite3_finalize(q);
	if (alive)
		fail_msg("seed %u: %zu rows are alive in the model only", seed, alive);
}

/* Every row of the table was committed. */
static void compare_events(unsigned seed)
{
	sqlite3_stmt *q;

	assert_int_equal(sqlite3_prepare_v2(app, "SELECT v FROM t", -1, &q, NULL), SQLITE_OK);
	while (sqlite3_step(q) == SQLITE_ROW) {
		bool found = false;

		for (size_t i = 0; i < model.n_event && !found; i++)
			found = model.event[i].content == sqlite3_column_int64(q, 0);
		if (!found)
			fail_msg("seed %u: row with content %lld was never committed", seed,
				 (long long)sqlite3_column_int64(q, 0));
	}
	sqlite3_finalize(q);
}

/* Sends and settles all; then nothing is pending and the model is the table. */
static void quiesce(unsigned seed)
{
	bool any = true;

	for (int i = 0; any && i < 1000; i++) {
		while (cut_one())
			;
		while (model.n_queue)
			deliver();
		if (model.newest)
			settle(model.newest);
		if (below(4) == 0)
			restart();
		OK(cut_any_pending(d, &any, &err));
	}
	if (any)
		fail_msg("seed %u: marks are left", seed);
	if (d->table[0].shape.kind == SHAPE_APPEND)
		compare_events(seed);
	else
		compare(seed);
}

static void step(const struct kind *k)
{
	switch (below(10)) {
	case 0:
	case 1:
		cut_one();
		break;
	case 2:
		if (model.n_queue)
			deliver();
		break;
	case 3:
		if (model.newest && below(2))
			settle(model.newest);
		break;
	case 4:
		if (below(4) == 0) {
			if (below(2))
				reopen();
			restart();
		} else if (below(6) == 0 && model.n_queue == 0) {
			/* A clock that goes back and forth, corrected with nothing on its way. */
			OK(devdb_set_offset(d, (int64_t)below(20000) - 10000, &err));
		}
		break;
	default:
		write_something(k);
	}
}

static void torture(unsigned which)
{
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		void *state = NULL;

		assert_int_equal(make(&state), 0);
		rng = seed * 0x9e3779b97f4a7c15u + which;
		model_reset();
		contents = 0;
		run("PRAGMA synchronous = OFF");
		OK(db_exec(d->db, "PRAGMA synchronous = OFF", &err));
		run(kinds[which].create);
		for (int i = 0; i < 5; i++)
			write_something(&kinds[which]);
		track("t", kinds[which].append);
		for (int i = 0; i < STEPS; i++) {
			step(&kinds[which]);
			if (i % 50 == 49)
				quiesce(seed);
		}
		quiesce(seed);
		model_reset();
		assert_int_equal(unmake(&state), 0);
	}
}

static void test_integer_key_with_unique(void **state)
{
	(void)state;
	torture(0);
}

static void test_composite_nocase_key_without_rowid(void **state)
{
	(void)state;
	torture(1);
}

static void test_nocase_key_with_two_uniques(void **state)
{
	(void)state;
	torture(2);
}

static void test_untyped_key_with_generated_column(void **state)
{
	(void)state;
	torture(3);
}

static void test_append_by_key(void **state)
{
	(void)state;
	torture(4);
}

static void test_append_by_number(void **state)
{
	(void)state;
	torture(5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integer_key_with_unique),
		cmocka_unit_test(test_composite_nocase_key_without_rowid),
		cmocka_unit_test(test_nocase_key_with_two_uniques),
		cmocka_unit_test(test_untyped_key_with_generated_column),
		cmocka_unit_test(test_append_by_key),
		cmocka_unit_test(test_append_by_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
