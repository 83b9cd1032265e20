/* Every write that a device saw lose is in the server's list, once (rule J7). */
#include <stdio.h>
#include <string.h>

#include "tests/sim/check_internal.h"

static const char listed_sql[] =
	"SELECT count(*) FROM neap_conflict WHERE user_id = ?1 AND digest = ?2";

static sqlite3_int64 on_server(struct world *w, sqlite3 *store, const char *user,
			       const void *digest, int len)
{
	sqlite3_int64 n = -1;
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(store, listed_sql, -1, &s, NULL) != SQLITE_OK) {
		sim_fail(w, "the store: %s", sqlite3_errmsg(store));
		return n;
	}
	sqlite3_bind_text(s, 1, user, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 2, digest, len, SQLITE_STATIC);
	if (sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return n;
}

void check_conflicts(struct world *w, sqlite3 *store, struct sim_device *d)
{
	sqlite3_stmt *s;

	/* A settled row that a reset overwrote has no digest; the server knows it by its value. */
	if (sqlite3_prepare_v2(app_connection(d),
			       "SELECT digest, text, reason FROM neap_conflict WHERE digest IS NOT "
			       "NULL",
			       -1, &s, NULL) != SQLITE_OK) {
		sim_fail(w, "%s: %s", d->name, sqlite3_errmsg(d->app));
		return;
	}
	while (!w->failed && sqlite3_step(s) == SQLITE_ROW) {
		sqlite3_int64 n = on_server(w, store, d->user->name, sqlite3_column_blob(s, 0),
					    sqlite3_column_bytes(s, 0));

		w->totals->conflicts++;
		if (n != 1 && !w->failed)
			sim_fail(w, "%s lost %.200s (%s): %lld times on the server's list", d->name,
				 (const char *)sqlite3_column_text(s, 1),
				 (const char *)sqlite3_column_text(s, 2), n);
	}
	sqlite3_finalize(s);
}
