/* What the files of the apps give each other. */
#ifndef NEAP_SIM_APP_INTERNAL_H
#define NEAP_SIM_APP_INTERNAL_H

#include "tests/sim/sim.h"

enum { SQL_MAX = 600 };

/* app_sql.c */
/* Appends an INSERT (`how`: "" or " OR …") with parameters ?1… to `sql` (SQL_MAX bytes). */
void app_add_insert(char *sql, const struct sim_table *t, const char *how);
/* Keys and values for the parameters of a statement on `t`. */
void app_bind_all(struct world *w, const struct sim_table *t, sqlite3_stmt *s);
/* Runs and resets a statement; what an app may run into is no failure of the run. False: busy. */
bool app_run(struct sim_device *d, sqlite3_stmt *s);
/* Makes a statement on `t` (SQL_MAX bytes) one on its twin. */
void app_twin_sql(const struct sim_table *t, char *sql);
/* One statement on a merge table. */
void app_merge_write(struct sim_device *d, const struct sim_table *t);

/* app_append.c */
void app_append_rows(struct sim_device *d, const struct sim_table *t, unsigned n);
/* The app changes its telemetry afterwards: allowed, and it stays local once acknowledged. */
void app_append_touch(struct sim_device *d, const struct sim_table *t);

#endif
