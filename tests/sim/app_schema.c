/* New versions of apps: added, renamed and dropped columns, rebuilt tables (J5). */
#include <stdio.h>
#include <string.h>

#include "tests/sim/app_internal.h"

static void renamed(const struct sim_table *t, char *out, size_t max)
{
	snprintf(out, max, "%s2", t->added);
}

const char *app_added(const struct sim_device *d, unsigned table)
{
	static char name[40];

	if (d->added[table] == ADDED_NOT)
		return NULL;
	if (d->added[table] == ADDED)
		return d->w->table[table]->added;
	renamed(d->w->table[table], name, sizeof name);
	return name;
}

static bool has_column(struct sim_device *d, const struct sim_table *t, const char *column)
{
	char sql[SQL_MAX];
	sqlite3_stmt *s;

	snprintf(sql, sizeof sql, "SELECT %s FROM %s", column, t->name);
	bool yes = sqlite3_prepare_v2(app_connection(d), sql, -1, &s, NULL) == SQLITE_OK;
	sqlite3_finalize(s);
	return yes;
}

void app_look_at_schema(struct sim_device *d)
{
	for (unsigned i = 0; i < d->w->n_table; i++) {
		const struct sim_table *t = d->w->table[i];
		char other[40];
		if (!t->added)
			continue;
		renamed(t, other, sizeof other);
		d->added[i] = has_column(d, t, t->added) ? ADDED
			      : has_column(d, t, other)	 ? ADDED_RENAMED
							 : ADDED_NOT;
	}
}

/* Runs the statements, one after the other until one fails; what they left is looked up. */
static void change(struct sim_device *d, const char *const *sql, size_t n, enum fault f)
{
	struct world *w = d->w;
	int rc = SQLITE_OK;

	sim_clock(w, d);
	for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
		rc = sqlite3_exec(app_connection(d), sql[i], NULL, NULL, NULL) & 0xff;
		sim_trace(w, "%s   app %s: %d", d->name, sql[i], rc);
	}
	if (!sqlite3_get_autocommit(d->app))
		sqlite3_exec(d->app, "ROLLBACK", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		sim_fault(w, f);
	else if (rc != SQLITE_BUSY && rc != SQLITE_IOERR)
		sim_fail(w, "%s: a migration: %s", d->name, sqlite3_errmsg(d->app));
	if (device_struck(d) || w->failed)
		return;
	app_look_at_schema(d);
	device_step(d, &(struct event){.type = EV_LOCAL});
}

void app_upgrade(struct sim_device *d)
{
	unsigned i = rng_below(&d->w->chance, d->w->n_table);
	const struct sim_table *t = d->w->table[i];
	char sql[SQL_MAX];

	if (!t->added || d->app_tx || d->added[i])
		return;
	snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN %s TEXT%s", t->name, t->added,
		 d->w->c.defaults ? " DEFAULT 'd'" : "");
	change(d, (const char *const[]){sql}, 1, FAULT_UPGRADED);
}

/* Create, copy, drop, rename: SQLite's way to change what ALTER TABLE cannot. */
static void rebuild(struct sim_device *d, unsigned i)
{
	const struct sim_table *t = d->w->table[i];
	const char *added = app_added(d, i), *body = strchr(t->create, '(');
	char create[SQL_MAX], add[SQL_MAX], copy[SQL_MAX], drop[SQL_MAX], rename[SQL_MAX];
	char columns[SQL_MAX] = "";
	const char *const sql[] = {"BEGIN", create, add, copy, drop, rename, "COMMIT"};

	for (unsigned k = 0; k < t->n_col; k++)
		snprintf(columns + strlen(columns), SQL_MAX - strlen(columns), "%s%s", k ? "," : "",
			 t->col[k]);
	if (added)
		snprintf(columns + strlen(columns), SQL_MAX - strlen(columns), ",%s", added);
	snprintf(create, SQL_MAX, "CREATE TABLE new_%s%s", t->name, body);
	snprintf(add, SQL_MAX, added ? "ALTER TABLE new_%s ADD COLUMN %s TEXT%s" : "SELECT 1",
		 t->name, added, d->w->c.defaults ? " DEFAULT 'd'" : "");
	snprintf(copy, SQL_MAX, "INSERT INTO new_%s(%s) SELECT %s FROM %s", t->name, columns,
		 columns, t->name);
	snprintf(drop, SQL_MAX, "DROP TABLE %s", t->name);
	snprintf(rename, SQL_MAX, "ALTER TABLE new_%s RENAME TO %s", t->name, t->name);
	change(d, sql, sizeof sql / sizeof sql[0], FAULT_MIGRATED);
}

void app_migrate(struct sim_device *d)
{
	struct world *w = d->w;
	unsigned i = rng_below(&w->chance, w->n_table);
	const struct sim_table *t = w->table[i];
	uint32_t kind = rng_below(&w->chance, 100);
	char sql[SQL_MAX];

	/* Rows of an append table without a number as key wait for `neap track` then. */
	if (d->app_tx || (t->append && !t->rowid_key))
		return;
	if (d->added[i] == ADDED && kind < 25) {
		snprintf(sql, sizeof sql, "ALTER TABLE %s RENAME COLUMN %s TO %s2", t->name,
			 t->added, t->added);
		change(d, (const char *const[]){sql}, 1, FAULT_MIGRATED);
	} else if (d->added[i] && kind < 50) {
		snprintf(sql, sizeof sql, "ALTER TABLE %s DROP COLUMN %s", t->name,
			 app_added(d, i));
		change(d, (const char *const[]){sql}, 1, FAULT_MIGRATED);
	} else {
		rebuild(d, i);
	}
}
