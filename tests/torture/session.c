/* What an app does beside writing rows: transactions, settings, files, other connections. */
#include <stdio.h>
#include <string.h>

#include "tests/torture/torture.h"

static bool chance(struct world *w, unsigned per_mille)
{
	return rng_chance(&w->chance, per_mille);
}

unsigned session_connection(struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (!sqlite3_get_autocommit(w->plain[i]))
			return i;
	return rng_below(&w->chance, CONNECTIONS);
}

void session_end(struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS && !w->failed; i++) {
		if (!w->plain[i] || sqlite3_get_autocommit(w->plain[i]))
			continue;
		/* A deferred foreign key may forbid it. */
		if (chance(w, 150) || !twin_run(w, i, S_commit, "COMMIT"))
			twin_run(w, i, S_rollback, "ROLLBACK");
	}
}

static void run_on(struct world *w, unsigned c, enum statement s, const char *sql)
{
	twin_run(w, c, s, sql);
}

/* ---- transactions ---- */

static bool transaction(struct world *w, enum statement s)
{
	static const char *const sql[S_COUNT] = {[S_begin] = "BEGIN",
						 [S_begin_immediate] = "BEGIN IMMEDIATE",
						 [S_begin_exclusive] = "BEGIN EXCLUSIVE",
						 [S_commit] = "COMMIT",
						 [S_rollback] = "ROLLBACK"};
	unsigned c = session_connection(w);
	bool begins = s == S_begin || s == S_begin_immediate || s == S_begin_exclusive;

	if (begins == twin_in_transaction(w))
		return false;
	run_on(w, c, s, sql[s]);
	return true;
}

static bool savepoint(struct world *w, enum statement s)
{
	static const char *const names[] = {"one", "two", "three"};
	const char *verb = s == S_savepoint	? "SAVEPOINT"
			   : s == S_rollback_to ? "ROLLBACK TO"
						: "RELEASE";
	char sql[40];

	snprintf(sql, sizeof sql, "%s %s", verb, names[rng_below(&w->chance, 3)]);
	run_on(w, session_connection(w), s, sql);
	return true;
}

/* A second writer, or a reader, beside an open transaction. */
static bool other_connection(struct world *w)
{
	struct buf b = {.max = 1 << 20};

	if (!twin_in_transaction(w))
		return false;
	if (chance(w, 500))
		put(&b, "SELECT id, a FROM twin1");
	else
		rows_statement(w, S_insert, &b);
	run_on(w, 1 - session_connection(w), S_other_connection, text_of(&b));
	buf_free(&b);
	return true;
}

/* UNIQUE values change hands: all move by one, or two rows swap theirs. */
static bool unique_values(struct world *w, enum statement s)
{
	static const char *const fill =
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) "
		"INSERT OR IGNORE INTO main.ranked SELECT i, i, 'n' FROM n";
	static const char *const shift[] = {"UPDATE main.ranked SET rank = -100 - rank",
					    "UPDATE main.ranked SET rank = -101 - rank"};
	static const char *const swap[] = {
		"UPDATE main.ranked SET note = 'swap'",
		"UPDATE main.ranked SET note = (SELECT max(rank) FROM main.ranked) WHERE rank = "
		"(SELECT min(rank) FROM main.ranked)",
		"UPDATE main.ranked SET note = (SELECT min(rank) FROM main.ranked) WHERE rank = "
		"(SELECT max(rank) FROM main.ranked)",
		"UPDATE main.ranked SET rank = NULL WHERE rank = (SELECT min(rank) FROM "
		"main.ranked)",
		"UPDATE main.ranked SET rank = note WHERE rank = (SELECT max(rank) FROM "
		"main.ranked)",
		"UPDATE OR IGNORE main.ranked SET rank = note WHERE rank IS NULL AND note <> "
		"'swap'"};
	const char *const *sql = s == S_unique_shift ? shift : swap;
	size_t n = s == S_unique_shift ? 2 : sizeof swap / sizeof *swap;
	unsigned c = session_connection(w);
	bool begun = !twin_in_transaction(w);

	if (begun)
		run_on(w, c, s, "BEGIN");
	if (chance(w, 400))
		run_on(w, c, s, fill);
	for (size_t i = 0; i < n; i++)
		run_on(w, c, s, sql[i]);
	if (begun)
		session_end(w);
	return true;
}

/* ---- settings ---- */

static bool setting(struct world *w, enum statement s)
{
	static const char *const name[S_COUNT] = {[S_recursive_triggers] = "recursive_triggers",
						  [S_foreign_keys] = "foreign_keys",
						  [S_defer_foreign_keys] = "defer_foreign_keys",
						  [S_ignore_checks] = "ignore_check_constraints",
						  [S_trusted_schema] = "trusted_schema"};
	char sql[60];

	snprintf(sql, sizeof sql, "PRAGMA %s = %u", name[s], rng_below(&w->chance, 2));
	run_on(w, session_connection(w), s, sql);
	return true;
}

/* ---- files ---- */

static bool attach(struct world *w)
{
	unsigned c = session_connection(w);
	char sql[2][160];

	if (w->attached[c] || twin_in_transaction(w))
		return false;
	for (int i = 0; i < 2; i++)
		snprintf(sql[i], sizeof sql[i], "ATTACH '%s' AS aux", w->aux_path[i]);
	w->attached[c] = twin_run_two(w, c, S_attach, sql[0], sql[1]);
	if (w->attached[c])
		run_on(w, c, S_attach,
		       "CREATE TABLE IF NOT EXISTS aux.copy(id INTEGER PRIMARY KEY, a, b TEXT)");
	return true;
}

/* Two files in one statement, or in one transaction. */
static bool attached(struct world *w, enum statement s)
{
	unsigned c = session_connection(w);

	if (!w->attached[c])
		return false;
	switch (s) {
	case S_attach_copy_out:
		run_on(w, c, s,
		       "INSERT OR REPLACE INTO aux.copy SELECT * FROM twin1 WHERE "
		       "typeof(id) = 'integer'");
		return true;
	case S_attach_copy_in:
		run_on(w, c, s,
		       chance(w, 500) ? "INSERT OR REPLACE INTO twin2 SELECT * FROM aux.copy"
				      : "UPDATE twin1 SET a = copy.a FROM aux.copy WHERE copy.id = "
					"twin1.id");
		return true;
	case S_attach_both:
		if (twin_in_transaction(w))
			return false;
		run_on(w, c, s, "BEGIN");
		run_on(w, c, s, "REPLACE INTO aux.copy VALUES(1, 'both', 'files')");
		run_on(w, c, s, "REPLACE INTO twin1 SELECT id, b, a FROM aux.copy");
		session_end(w);
		return true;
	default:
		if (twin_in_transaction(w))
			return false;
		w->attached[c] = !twin_run(w, c, s, "DETACH aux");
		return true;
	}
}

static bool temporary(struct world *w, enum statement s)
{
	static const char *const sql[S_COUNT] = {
		[S_temp_trigger] =
			/* What fails here under OR FAIL leaves a row that no later trigger saw. */
		"CREATE TEMP TRIGGER IF NOT EXISTS passing AFTER INSERT ON main.twin1 BEGIN "
		"DELETE FROM twin2 WHERE id = NEW.id; INSERT INTO twin2(id, a) VALUES(NEW.id, "
		"'passing'); UPDATE twin1 SET b = 'passing' WHERE id = NEW.id AND b IS NULL; END",
		[S_temp_trigger_drop] = "DROP TRIGGER IF EXISTS temp.passing",
		[S_temp_table] =
			"CREATE TEMP TABLE IF NOT EXISTS twin1(id INTEGER PRIMARY KEY, a, b)",
		[S_temp_table_drop] = "DROP TABLE IF EXISTS temp.twin1"};

	run_on(w, session_connection(w), s, sql[s]);
	return true;
}

static bool upkeep(struct world *w, enum statement s)
{
	if (twin_in_transaction(w))
		return false;
	run_on(w, session_connection(w), s,
	       s == S_vacuum	? "VACUUM"
	       : s == S_reindex ? "REINDEX"
				: "ANALYZE");
	return true;
}

/* Leaving WAL needs the file alone: the agent is stopped meanwhile. */
static bool journal(struct world *w, enum statement s)
{
	static const char *const modes[] = {"DELETE", "TRUNCATE", "PERSIST", "MEMORY"};
	char sql[60];

	session_end(w);
	snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s",
		 s == S_journal_wal ? "WAL" : modes[rng_below(&w->chance, 4)]);
	if (s == S_journal_rollback) {
		device_stop(&w->device[w->writer]);
		twin_close(w);
		twin_connect(w);
	}
	run_on(w, 0, s, sql);
	if (s == S_journal_rollback && !w->failed)
		device_start(w, &w->device[w->writer]);
	return true;
}

/* ---- connections and agents ---- */

static bool life(struct world *w, enum statement s)
{
	struct device *d = &w->device[rng_below(&w->chance, DEVICES)];

	w->totals->run[s]++;
	w->totals->worked[s]++;
	switch (s) {
	case S_reconnect:
		session_end(w);
		twin_close(w);
		twin_connect(w);
		return true;
	case S_agent_restart:
		if (!d->en || twin_in_transaction(w))
			return false;
		put(&w->log, "/* agent of device %u restarted */\n", d->index);
		device_stop(d);
		device_start(w, d);
		return true;
	default:
		put(&w->log, "/* agent of device %u stopped */\n", d->index);
		device_stop(d);
		return true;
	}
}

/* Rows without a key stay behind, and would be in the way of others there. */
static void delete_keyless(struct world *w)
{
	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		const struct table *t = &w->table[i];
		struct buf sql = {.max = 1 << 16};

		put(&sql, "DELETE FROM main.");
		put_name(&sql, t->name);
		for (unsigned k = 0; k < t->n_key; k++) {
			put(&sql, k ? " OR " : " WHERE ");
			put_name(&sql, t->col[k].name);
			put(&sql, " IS NULL");
		}
		/* An app's trigger may forbid it; a key may have no NULL. */
		run_on(w, 0, S_delete_some, text_of(&sql));
		buf_free(&sql);
	}
}

static bool keyless_left(struct world *w)
{
	bool left = false;

	for (unsigned i = 0; i < w->n_table && !w->failed; i++) {
		const struct table *t = &w->table[i];
		struct buf sql = {.max = 1 << 16}, rows = {.max = 64 << 20};

		put(&sql, "SELECT 1 FROM main.");
		put_name(&sql, t->name);
		for (unsigned k = 0; k < t->n_key; k++) {
			put(&sql, k ? " OR " : " WHERE ");
			put_name(&sql, t->col[k].name);
			put(&sql, " IS NULL");
		}
		put_rows(w, w->plain[0], text_of(&sql), &rows);
		left |= rows.len > 0;
		buf_free(&sql);
		buf_free(&rows);
	}
	return left;
}

static bool writer_moves(struct world *w)
{
	unsigned to = rng_below(&w->chance, DEVICES);

	if (to == w->writer || !w->device[to].joined)
		return false;
	session_end(w);
	delete_keyless(w);
	if (keyless_left(w))
		return false;
	if (!w->failed)
		fabric_sync(w);
	/* Its rows are those of the writer now: what was made of those can be made of its own. */
	if (!w->failed && !schema_catch_up(w, &w->device[to]))
		torture_fail(w, "%s cannot migrate", w->device[to].name);
	if (!w->failed)
		fabric_sync(w);
	if (!w->failed)
		check_synced(w);
	if (w->failed)
		return true;
	check_synced(w);
	twin_close(w);
	w->writer = to;
	twin_open(w);
	w->totals->run[S_writer_moves]++;
	w->totals->worked[S_writer_moves]++;
	return true;
}

bool session_statement(struct world *w, enum statement s)
{
	switch (s) {
	case S_begin:
	case S_begin_immediate:
	case S_begin_exclusive:
	case S_commit:
	case S_rollback:
		return transaction(w, s);
	case S_savepoint:
	case S_rollback_to:
	case S_release:
		return savepoint(w, s);
	case S_other_connection:
		return other_connection(w);
	case S_unique_shift:
	case S_unique_swap:
		return unique_values(w, s);
	case S_recursive_triggers:
	case S_foreign_keys:
	case S_defer_foreign_keys:
	case S_ignore_checks:
	case S_trusted_schema:
		return setting(w, s);
	case S_vacuum:
	case S_reindex:
	case S_analyze:
		return upkeep(w, s);
	case S_attach:
		return attach(w);
	case S_attach_copy_out:
	case S_attach_copy_in:
	case S_attach_both:
	case S_detach:
		return attached(w, s);
	case S_temp_trigger:
	case S_temp_trigger_drop:
	case S_temp_table:
	case S_temp_table_drop:
		return temporary(w, s);
	case S_journal_rollback:
	case S_journal_wal:
		return journal(w, s);
	case S_reconnect:
	case S_agent_restart:
	case S_agent_away:
		return life(w, s);
	case S_writer_moves:
		return writer_moves(w);
	default:
		return false;
	}
}
