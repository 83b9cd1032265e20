/* One statement on two databases: the device's, with capture, and a plain one. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/torture/torture.h"

/* What an app can see of a statement. */
struct outcome {
	int rc;
	sqlite3_int64 changes, rowid;
	uint64_t rows, n_row;
	int autocommit;
	char message[200];
};

static bool compare(struct world *w, bool fail);

static uint64_t mix(uint64_t h, const void *at, size_t len)
{
	const uint8_t *p = at;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

static uint64_t row_hash(sqlite3_stmt *s)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (int i = 0; i < sqlite3_column_count(s); i++) {
		int type = sqlite3_column_type(s, i);
		double r = sqlite3_column_double(s, i);

		h = mix(h, &type, sizeof type);
		if (type == SQLITE_FLOAT)
			h = mix(h, &r, sizeof r);
		else if (type != SQLITE_NULL)
			h = mix(h, sqlite3_column_blob(s, i), (size_t)sqlite3_column_bytes(s, i));
	}
	return h;
}

/* The order of rows is not a promise of SQL: their hashes are added. */
static struct outcome run(sqlite3 *db, const char *sql)
{
	struct outcome o = {0};
	sqlite3_stmt *s = NULL;

	sqlite3_set_last_insert_rowid(db, 0); /* VACUUM leaves anything in it */
	o.rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
	if (o.rc == SQLITE_OK) {
		while ((o.rc = sqlite3_step(s)) == SQLITE_ROW) {
			o.rows += row_hash(s);
			o.n_row++;
		}
		o.rc = o.rc == SQLITE_DONE ? SQLITE_OK : sqlite3_extended_errcode(db);
	}
	/* Where nothing failed, what was overcome may stand there. */
	snprintf(o.message, sizeof o.message, "%s", o.rc == SQLITE_OK ? "ok" : sqlite3_errmsg(db));
	sqlite3_finalize(s);
	o.changes = sqlite3_changes64(db);
	o.rowid = sqlite3_last_insert_rowid(db);
	o.autocommit = sqlite3_get_autocommit(db);
	return o;
}

/* Copied page by page, an INSERT … SELECT may keep row numbers that no one was promised. */
static bool same(const struct outcome *a, const struct outcome *b, bool rowid_matters)
{
	return a->rc == b->rc && a->changes == b->changes && a->rows == b->rows &&
	       a->n_row == b->n_row && a->autocommit == b->autocommit &&
	       (!rowid_matters || a->rowid == b->rowid) && strcmp(a->message, b->message) == 0;
}

static void put_outcome(char *out, size_t size, const struct outcome *o)
{
	snprintf(out, size,
		 "code %d, %lld changes, last rowid %lld, %llu rows (%016llx), %s transaction: %s",
		 o->rc, (long long)o->changes, (long long)o->rowid, (unsigned long long)o->n_row,
		 (unsigned long long)o->rows, o->autocommit ? "no" : "in a", o->message);
}

static void count(struct world *w, enum statement s, const struct outcome *o)
{
	struct totals *t = w->totals;

	t->statements++;
	t->run[s]++;
	if (o->rc == SQLITE_OK)
		t->worked[s]++;
	else if ((o->rc & 0xff) == SQLITE_CONSTRAINT || o->rc == SQLITE_MISMATCH)
		t->constraint++;
	else if ((o->rc & 0xff) == SQLITE_BUSY)
		t->busy++;
	else
		t->other_errors++;
	if ((o->rc & 0xff) == SQLITE_ERROR && w->verbose)
		fprintf(stderr, "seed %llu: %s: %s\n", (unsigned long long)w->seed,
			statement_name[s], o->message);
}

/*
 * SQLite tells of a wrong type where no constraint clause holds. A row may have two faults then, of
 * which triggers change the first to be found; and without triggers there may be no statement
 * journal, so that a statement of several rows is half done when it fails in a transaction.
 */
static bool is_type_fault(int rc)
{
	return rc == SQLITE_MISMATCH || rc == SQLITE_CONSTRAINT_DATATYPE;
}

static bool same_but_fault(struct outcome a, const struct outcome *b)
{
	bool full = a.rc == SQLITE_FULL && b->rc == SQLITE_FULL; /* AUTOINCREMENT is at its end */

	bool two = (a.rc & 0xff) == SQLITE_CONSTRAINT && (b->rc & 0xff) == SQLITE_CONSTRAINT;

	if (a.rc == SQLITE_OK || b->rc == SQLITE_OK ||
	    !(full || two || is_type_fault(a.rc) || is_type_fault(b->rc)))
		return false;
	a.rc = b->rc;
	a.autocommit = b->autocommit;
	snprintf(a.message, sizeof a.message, "%s", b->message);
	return same(&a, b, false);
}

static bool any_row(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;
	bool any = sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
		   sqlite3_step(s) == SQLITE_ROW;

	sqlite3_finalize(s);
	return any;
}

/*
 * Where rows break a foreign key from a time when it was not enforced: with triggers SQLite counts,
 * and what a statement mends makes up for what it breaks; without, a row may be refused at once.
 * And a BEFORE trigger has a STRICT table's types looked at before a conflict that would have ended
 * in nothing.
 */
static bool one_fails(struct world *w, unsigned connection, const struct outcome *a,
		      const struct outcome *b)
{
	bool key = (a->rc == SQLITE_OK && b->rc == SQLITE_CONSTRAINT_FOREIGNKEY) ||
		   (b->rc == SQLITE_OK && a->rc == SQLITE_CONSTRAINT_FOREIGNKEY);

	return (key && any_row(w->plain[connection], "PRAGMA main.foreign_key_check")) ||
	       (b->rc == SQLITE_OK && is_type_fault(a->rc));
}

/* What is left is the one's own affair: neither keeps it. */
static void roll_back(struct world *w, unsigned connection)
{
	if (sqlite3_get_autocommit(w->app[connection]) &&
	    sqlite3_get_autocommit(w->plain[connection]))
		return;
	put(&w->log, "/* device %u, connection %u */ ROLLBACK;\n", w->writer, connection);
	sqlite3_exec(w->app[connection], "ROLLBACK", NULL, NULL, NULL);
	sqlite3_exec(w->plain[connection], "ROLLBACK", NULL, NULL, NULL);
}

/*
 * SQL says not in which order the rows of a statement are visited, and SQLite's choice depends on
 * whether the table has triggers. Where rows compete for a UNIQUE value that order tells who gets
 * it.
 */
static bool order_matters(const struct world *w, enum statement s)
{
	switch (s) {
	case S_update_some:
	case S_update_all:
	case S_update_or_replace:
	case S_update_or_ignore:
	case S_update_or_fail:
	case S_update_or_abort:
	case S_update_or_rollback:
	case S_update_keys:
	case S_update_from:
	case S_update_swap:
	case S_unique_shift:
	case S_unique_swap:
		return true;
	case S_insert_select: /* in the order of another table, that pages were copied into */
		return w->pages_copied;
	default:
		return false;
	}
}

static bool is_of_schema(enum statement s)
{
	return s == S_add_column || s == S_rename_column || s == S_drop_column ||
	       s == S_rename_table || s == S_rebuild_table || s == S_create_index ||
	       s == S_drop_index || s == S_create_trigger;
}

/* Both go on from what the app's has. */
static bool start_over(struct world *w, unsigned connection)
{
	w->totals->unordered++;
	roll_back(w, connection);
	put(&w->log, "/* copied anew */\n");
	twin_close(w);
	twin_open(w);
	return true;
}

bool twin_run(struct world *w, unsigned connection, enum statement s, const char *sql)
{
	return twin_run_two(w, connection, s, sql, sql);
}

bool twin_run_two(struct world *w, unsigned connection, enum statement s, const char *app_sql,
		  const char *plain_sql)
{
	struct outcome a, b;

	if (w->failed)
		return false;
	put(&w->log, "/* device %u, connection %u */ %s;\n", w->writer, connection, app_sql);
	/* A row number may be drawn at random: both draw alike. */
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SAVE);
	a = run(w->app[connection], app_sql);
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESTORE);
	b = run(w->plain[connection], plain_sql);
	count(w, s, &b);
	w->pages_copied |= s == S_insert_select_twin;
	if (order_matters(w, s) && (!same(&a, &b, false) || !compare(w, false)))
		return start_over(w, connection);
	if (is_of_schema(s) && a.rc != SQLITE_OK && b.rc != SQLITE_OK)
		return false; /* SQLite names the first trigger in the way */
	if (one_fails(w, connection, &a, &b))
		return start_over(w, connection);
	if (!same(&a, &b, b.rc == SQLITE_OK && !w->pages_copied && s != S_vacuum) &&
	    !same_but_fault(a, &b)) {
		char x[400], y[400];

		put_outcome(x, sizeof x, &a);
		put_outcome(y, sizeof y, &b);
		torture_fail(w,
			     "%s: a statement ends otherwise with capture:\n  with    %s\n"
			     "  without %s",
			     statement_name[s], x, y);
	}
	if (is_type_fault(b.rc) || b.rc == SQLITE_FULL)
		roll_back(w, connection);
	return b.rc == SQLITE_OK;
}

bool twin_in_transaction(const struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (w->plain[i] && !sqlite3_get_autocommit(w->plain[i]))
			return true;
	return false;
}

/* ---- connections ---- */

static sqlite3 *connect(struct world *w, const char *path)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(path, &db) != SQLITE_OK) {
		torture_fail(w, "%s: %s", path, sqlite3_errmsg(db));
		return db;
	}
	sqlite3_extended_result_codes(db, 1);
	/* tmpfs has no disk to wait for; where there is none, nothing is proven by waiting. */
	sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
	return db;
}

void twin_connect(struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS && !w->failed; i++) {
		w->app[i] = connect(w, w->device[w->writer].path);
		w->plain[i] = connect(w, w->plain_path);
	}
	put(&w->log, "/* device %u: both connections opened */\n", w->writer);
	memset(w->attached, 0, sizeof w->attached);
}

void twin_close(struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		sqlite3_close(w->app[i]);
		sqlite3_close(w->plain[i]);
		w->app[i] = w->plain[i] = NULL;
	}
}

static void exec(struct world *w, sqlite3 *db, const char *sql)
{
	char *why = NULL;

	if (!w->failed && sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		torture_fail(w, "%s: %s", sql, why ? why : sqlite3_errmsg(db));
	sqlite3_free(why);
}

/* Drops what is ours, triggers first. */
static void drop_ours(struct world *w, sqlite3 *db)
{
	static const char *const kinds[] = {"TRIGGER", "TABLE"};
	struct buf sql = {.max = 1 << 20};

	for (int i = 0; i < 2; i++) {
		char query[200];
		sqlite3_stmt *s = NULL;

		buf_clear(&sql);
		snprintf(query, sizeof query,
			 "SELECT name FROM sqlite_schema WHERE type = lower('%s') AND name LIKE "
			 "'neap\\_%%' ESCAPE '\\'",
			 kinds[i]);
		if (sqlite3_prepare_v2(db, query, -1, &s, NULL) != SQLITE_OK)
			torture_fail(w, "%s: %s", query, sqlite3_errmsg(db));
		while (s && sqlite3_step(s) == SQLITE_ROW)
			put(&sql, "DROP %s \"%s\";", kinds[i], sqlite3_column_text(s, 0));
		sqlite3_finalize(s);
		exec(w, db, text_of(&sql));
	}
	buf_free(&sql);
}

static void remove_database(const char *path)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-journal"};
	char name[PATH_BYTES + 16];

	for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
		snprintf(name, sizeof name, "%s%s", path, tails[i]);
		unlink(name);
	}
}

/* A page by page copy keeps row numbers, so that both databases visit rows in one order. */
void twin_open(struct world *w)
{
	sqlite3 *from = connect(w, w->device[w->writer].path), *to;
	sqlite3_backup *copy;

	remove_database(w->plain_path);
	to = connect(w, w->plain_path);
	copy = sqlite3_backup_init(to, "main", from, "main");
	if (!copy || sqlite3_backup_step(copy, -1) != SQLITE_DONE)
		torture_fail(w, "the copy: %s", sqlite3_errmsg(to));
	sqlite3_backup_finish(copy);
	w->pages_copied = false;
	drop_ours(w, to);
	sqlite3_close(to);
	sqlite3_close(from);
	twin_connect(w);
}

/* ---- content ---- */

static void put_select_all(struct buf *sql, const struct table *t)
{
	buf_clear(sql);
	put(sql, "SELECT * FROM main.");
	put_name(sql, t->name);
	put(sql, " ORDER BY ");
	for (unsigned i = 0; i < t->n_col; i++) {
		put(sql, "%s", i ? ", " : "");
		put_name(sql, t->col[i].name);
		put(sql, " COLLATE BINARY");
	}
}

static bool compare(struct world *w, bool fail)
{
	struct buf sql = {.max = 1 << 16}, a = {.max = 64 << 20}, b = {.max = 64 << 20};
	unsigned c = 0; /* the one that sees what is not committed */
	bool same_rows = true;

	while (c + 1 < CONNECTIONS && sqlite3_get_autocommit(w->plain[c]))
		c++;
	for (unsigned i = 0; i < w->n_table && same_rows && !w->failed; i++) {
		put_select_all(&sql, &w->table[i]);
		buf_clear(&a);
		buf_clear(&b);
		put_rows(w, w->app[c], text_of(&sql), &a);
		put_rows(w, w->plain[c], text_of(&sql), &b);
		same_rows = slice_eq(buf_slice(&a), buf_slice(&b));
		if (!same_rows && fail)
			fail_difference(w, w->table[i].name, "with capture", &a, "without", &b);
	}
	buf_free(&sql);
	buf_free(&a);
	buf_free(&b);
	return same_rows;
}

void twin_compare(struct world *w)
{
	compare(w, true);
}
