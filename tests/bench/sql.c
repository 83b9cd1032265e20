/* SQLite for the benchmark's own connections: a failure ends the program. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/bench/bench.h"

sqlite3 *bench_open(const char *path, bool full)
{
	sqlite3 *db;

	if (sqlite3_open(path, &db) != SQLITE_OK)
		bench_die("%s: %s", path, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 30000);
	bench_sql(db, "PRAGMA journal_mode = WAL");
	bench_sql(db, "PRAGMA synchronous = %s", full ? "FULL" : "NORMAL");
	return db;
}

void bench_sql(sqlite3 *db, const char *fmt, ...)
{
	va_list ap;
	char *sql;

	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	if (!sql || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		bench_die("%.200s: %s", sql ? sql : fmt, sqlite3_errmsg(db));
	sqlite3_free(sql);
}

sqlite3_stmt *bench_prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		bench_die("%.200s: %s", sql, sqlite3_errmsg(db));
	return s;
}

void bench_step(sqlite3 *db, sqlite3_stmt *s)
{
	if (sqlite3_step(s) != SQLITE_DONE)
		bench_die("%.200s: %s", sqlite3_sql(s), sqlite3_errmsg(db));
	sqlite3_reset(s);
}

long long bench_int(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = bench_prepare(db, sql);
	long long n;

	if (sqlite3_step(s) != SQLITE_ROW)
		bench_die("%.200s: %s", sql, sqlite3_errmsg(db));
	n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return n;
}

void bench_remove_db(const char *path)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	char name[400];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "%s%s", path, ends[i]);
		unlink(name);
	}
}
