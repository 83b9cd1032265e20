/*
 * neap_torture --seeds A..B --statements N: one world a seed. --careful compares after every
 * statement, which shows where a difference began. Prints how many of each kind of
 * statement ran; a kind that never worked fails a long run, as it tests nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/testing_dir.h"
#include "tests/torture/torture.h"

enum { ALL_KINDS_FROM = 20000, LOG_MAX = 256 << 20, SYNC_EVERY = 40, TRIES = 50 };

#define NAME(name) #name,
const char *const statement_name[S_COUNT] = {STATEMENTS(NAME)};
const char *const feature_name[F_COUNT] = {FEATURES(NAME)};

/* How often, against the others; 10 where nothing stands. */
static const unsigned char weights[S_COUNT] = {[S_insert] = 20,
					       [S_insert_rows] = 20,
					       [S_insert_or_replace] = 25,
					       [S_replace_into] = 25,
					       [S_delete_all] = 3,
					       [S_update_all] = 5,
					       [S_big_value] = 2,
					       [S_append_insert] = 25,
					       [S_append_delete] = 3,
					       [S_append_update] = 2,
					       [S_append_key] = 2,
					       [S_update_or_replace] = 20,
					       [S_update_key] = 20,
					       [S_update_keys] = 20,
					       [S_begin] = 16,
					       [S_begin_immediate] = 8,
					       [S_begin_exclusive] = 4,
					       [S_commit] = 12,
					       [S_rollback] = 4,
					       [S_recursive_triggers] = 5,
					       [S_foreign_keys] = 6,
					       [S_defer_foreign_keys] = 4,
					       [S_ignore_checks] = 2,
					       [S_trusted_schema] = 2,
					       [S_vacuum] = 2,
					       [S_attach] = 4,
					       [S_detach] = 2,
					       [S_temp_trigger] = 2,
					       [S_temp_trigger_drop] = 2,
					       [S_temp_table] = 1,
					       [S_temp_table_drop] = 4,
					       [S_reindex] = 1,
					       [S_analyze] = 1,
					       [S_journal_rollback] = 2,
					       [S_journal_wal] = 2,
					       [S_reconnect] = 3,
					       [S_agent_restart] = 3,
					       [S_agent_away] = 3,
					       [S_writer_moves] = 4,
					       [S_other_connection] = 4,
					       [S_unique_shift] = 4,
					       [S_unique_swap] = 4,
					       [S_add_column] = 4,
					       [S_rename_column] = 4,
					       [S_drop_column] = 5,
					       [S_rename_table] = 4,
					       [S_rebuild_table] = 4,
					       [S_create_index] = 6,
					       [S_drop_index] = 2,
					       [S_create_trigger] = 3,
					       [S_device_migrates] = 30};

struct options {
	uint64_t first, last, statements;
	bool verbose, careful, keep;
};

void torture_fail(struct world *w, const char *fmt, ...)
{
	char text[4096];
	va_list args;

	if (w->failed)
		return;
	w->failed = true;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	put(&w->why, "%s", text);
}

void put(struct buf *b, const char *fmt, ...)
{
	va_list args, again;
	char text[512];
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof text) {
		if (buf_put(b, text, (size_t)n))
			abort();
	} else {
		char *long_text = malloc((size_t)n + 1);

		if (!long_text || vsnprintf(long_text, (size_t)n + 1, fmt, again) != n ||
		    buf_put(b, long_text, (size_t)n))
			abort();
		free(long_text);
	}
	va_end(again);
}

void put_name(struct buf *b, const char *name)
{
	if (sql_put_name(b, slice_str(name)))
		abort();
}

const char *text_of(struct buf *b)
{
	if (buf_terminate(b))
		abort();
	return (const char *)b->at;
}

void note_feature(struct world *w, enum feature f)
{
	w->totals->feature[f]++;
}

/* ---- one seed ---- */

static enum statement draw(struct world *w)
{
	static unsigned sum;
	unsigned at;

	for (int i = 0; i < S_COUNT && i == 0 && sum == 0; i++)
		for (int k = 0; k < S_COUNT; k++)
			sum += weights[k] ? weights[k] : 10;
	at = rng_below(&w->chance, sum);
	for (int i = 0; i < S_COUNT; i++) {
		unsigned weight = weights[i] ? weights[i] : 10;

		if (at < weight)
			return (enum statement)i;
		at -= weight;
	}
	return S_insert;
}

static bool run_one(struct world *w, enum statement s)
{
	struct buf b = {.max = 8 << 20};
	bool done = rows_statement(w, s, &b);

	if (done)
		twin_run(w, session_connection(w), s, text_of(&b));
	buf_free(&b);
	return done || session_statement(w, s) || schema_statement(w, s);
}

/* Finds the statement that begins a trouble: slow. */
static void check_now(struct world *w)
{
	if (!w->failed)
		twin_compare(w);
	if (w->failed || twin_in_transaction(w))
		return;
	fabric_sync(w);
	if (!w->failed)
		check_synced(w);
}

static void statements(struct world *w, uint64_t n)
{
	for (uint64_t i = 0; i < n && !w->failed; i++) {
		for (int k = 0; k < TRIES && !run_one(w, draw(w)); k++)
			;
		if (w->careful)
			check_now(w);
		if (!w->failed && rng_chance(&w->chance, 250))
			fabric_some(w);
	}
}

static void file_settings(struct world *w, sqlite3 *db)
{
	if (w->utf16) {
		note_feature(w, F_utf16);
		sqlite3_exec(db, "PRAGMA encoding = 'UTF-16le'", NULL, NULL, NULL);
	}
	if (rng_chance(&w->chance, 200)) {
		note_feature(w, F_auto_vacuum);
		sqlite3_exec(db, "PRAGMA auto_vacuum = FULL", NULL, NULL, NULL);
	}
	if (rng_chance(&w->chance, 700))
		sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
	else
		note_feature(w, F_journal_delete);
}

static void create_schema(struct world *w, struct device *d)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(d->path, &db) != SQLITE_OK) {
		torture_fail(w, "%s: %s", d->path, sqlite3_errmsg(db));
	} else {
		file_settings(w, db);
		if (sqlite3_exec(db, text_of(&w->schema), NULL, NULL, NULL) != SQLITE_OK)
			torture_fail(w, "the schema: %s", sqlite3_errmsg(db));
	}
	sqlite3_close(db);
}

static void open_world(struct world *w)
{
	testing_dir("neap-torture", w->dir, sizeof w->dir);
	for (unsigned i = 0; i < DEVICES; i++) {
		w->device[i].index = i;
		snprintf(w->device[i].name, sizeof w->device[i].name, "d%u", i);
		snprintf(w->device[i].path, sizeof w->device[i].path, "%s/d%u.db", w->dir, i);
	}
	snprintf(w->store_path, sizeof w->store_path, "%s/store.db", w->dir);
	snprintf(w->plain_path, sizeof w->plain_path, "%s/plain.db", w->dir);
	for (unsigned i = 0; i < 2; i++)
		snprintf(w->aux_path[i], sizeof w->aux_path[i], "%s/aux%u.db", w->dir, i);
	w->utf16 = rng_chance(&w->chance, 120);
	fabric_clock(w->now_ms);
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)w->seed, NULL);
	tables_make(w);
	w->has_unique = strstr(text_of(&w->schema), "UNIQUE") != NULL;
	fabric_open(w);
	for (unsigned i = 0; i < DEVICES && !w->failed; i++)
		create_schema(w, &w->device[i]);
}

/* The writer's app is older than Neap there: its rows are there when the tables are tracked. */
static void begin(struct world *w)
{
	if (!w->failed && rng_chance(&w->chance, 500)) {
		note_feature(w, F_rows_before_track);
		twin_open(w);
		for (int i = 0; i < 15 && !w->failed; i++)
			run_one(w, S_insert_rows);
		twin_close(w);
	}
	for (unsigned i = 0; i < 2 && !w->failed; i++)
		device_init(w, &w->device[i]);
	if (!w->failed)
		twin_open(w);
}

static void remove_world(struct world *w)
{
	const char *paths[DEVICES + 4] = {w->store_path, w->plain_path, w->aux_path[0],
					  w->aux_path[1]};
	static const char *const tails[] = {"", "-wal", "-shm", "-journal"};

	for (unsigned i = 0; i < DEVICES; i++)
		paths[4 + i] = w->device[i].path;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		for (size_t k = 0; k < sizeof tails / sizeof *tails; k++) {
			char name[PATH_BYTES + 16];

			snprintf(name, sizeof name, "%s%s", paths[i], tails[k]);
			unlink(name);
		}
	rmdir(w->dir);
}

static void close_world(struct world *w, bool keep)
{
	twin_close(w);
	fabric_close(w);
	if (w->failed && keep)
		fprintf(stderr, "its files are in %s\n", w->dir);
	else
		remove_world(w);
	buf_free(&w->schema);
	for (unsigned i = 0; i < w->n_migration; i++)
		buf_free(&w->migration[i]);
	buf_free(&w->log);
	buf_free(&w->why);
}

static void report_failure(struct world *w)
{
	fprintf(stderr, "%s%s\n", text_of(&w->schema), text_of(&w->log));
	fprintf(stderr, "seed %llu: %s\n", (unsigned long long)w->seed, text_of(&w->why));
}

static bool run_seed(uint64_t seed, const struct options *o, struct totals *totals)
{
	struct world *w = calloc(1, sizeof *w);
	bool good;

	if (!w)
		abort();
	*w = (struct world){.seed = seed,
			    .totals = totals,
			    .chance = {seed},
			    .ids = {~seed},
			    .now_ms = 1790000000000,
			    .verbose = o->verbose,
			    .careful = o->careful,
			    .schema = {.max = 1 << 20},
			    .log = {.max = LOG_MAX},
			    .why = {.max = 1 << 16}};
	open_world(w);
	begin(w);
	for (uint64_t n = 0; n < o->statements && !w->failed; n += SYNC_EVERY) {
		statements(w, SYNC_EVERY);
		session_end(w);
		if (!w->failed)
			twin_compare(w);
		if (!w->failed && !w->device[2].joined && rng_chance(&w->chance, 150))
			device_init(w, &w->device[2]);
		if (!w->failed)
			fabric_sync(w);
		put(&w->log, "/* all in sync */\n");
		if (!w->failed)
			check_synced(w);
	}
	good = !w->failed;
	if (!good)
		report_failure(w);
	close_world(w, o->keep);
	free(w);
	return good;
}

/* ---- the run ---- */

static bool report_kinds(const char *what, const char *const *name, const uint64_t *run,
			 const uint64_t *worked, int n, bool must)
{
	bool all = true;

	printf("%s:\n", what);
	for (int i = 0; i < n; i++) {
		printf("  %-24s %8llu", name[i], (unsigned long long)run[i]);
		if (worked)
			printf(", %llu worked", (unsigned long long)worked[i]);
		printf("\n");
		if (must && (worked ? worked[i] : run[i]) == 0) {
			fprintf(stderr, "torture: no %s was tested\n", name[i]);
			all = false;
		}
	}
	return all;
}

static bool report(struct totals *t)
{
	bool must = t->statements >= ALL_KINDS_FROM;
	bool all = report_kinds("statements", statement_name, t->run, t->worked, S_COUNT, must);

	all &= report_kinds("tables", feature_name, t->feature, NULL, F_COUNT, must);
	/* More, and something else is behind it. */
	if (t->unordered > t->statements / 200 + 5) {
		fprintf(stderr, "torture: %llu updates ended otherwise with capture\n",
			(unsigned long long)t->unordered);
		all = false;
	}
	printf("%llu updates hung on the order of rows\n", (unsigned long long)t->unordered);
	printf("%llu statements, %llu constraint errors, %llu busy, %llu other errors, %llu "
	       "syncs\n",
	       (unsigned long long)t->statements, (unsigned long long)t->constraint,
	       (unsigned long long)t->busy, (unsigned long long)t->other_errors,
	       (unsigned long long)t->syncs);
	return all;
}

static bool number(const char *text, const char **end, uint64_t *out)
{
	char *stop;

	errno = 0;
	*out = strtoull(text, &stop, 10);
	*end = stop;
	return stop != text && !errno;
}

static bool options(int argc, char **argv, struct options *o)
{
	const char *end = "";

	*o = (struct options){.first = 1, .last = 10, .statements = 250};
	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "--seeds") == 0 && more) {
			if (!number(argv[++i], &end, &o->first))
				return false;
			o->last = o->first;
			if (strncmp(end, "..", 2) == 0 && !number(end + 2, &end, &o->last))
				return false;
		} else if (strcmp(argv[i], "--statements") == 0 && more) {
			if (!number(argv[++i], &end, &o->statements))
				return false;
		} else if (strcmp(argv[i], "-v") == 0) {
			o->verbose = true;
		} else if (strcmp(argv[i], "--keep") == 0) {
			o->keep = true;
		} else if (strcmp(argv[i], "--careful") == 0) {
			o->careful = true;
		} else {
			return false;
		}
		if (*end)
			return false;
	}
	return o->first <= o->last;
}

int main(int argc, char **argv)
{
	static struct totals totals;
	struct options o;
	bool good = true;

	if (!options(argc, argv, &o)) {
		fprintf(stderr, "usage: neap_torture [--seeds A..B] [--statements N] [--careful] "
				"[--keep] [-v]\n");
		return 2;
	}
	for (uint64_t seed = o.first; seed <= o.last && good; seed++)
		good = run_seed(seed, &o, &totals);
	return report(&totals) && good ? 0 : 1;
}
