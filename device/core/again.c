#include "device/core/again.h"

#include <inttypes.h>

#include "device/core/apply_internal.h"
#include "device/core/cut_internal.h"

/*
 * neap_again has the rows by the round in which they go up next, from 1; neap_round how many were
 * refused in each, the first time being round 0.
 */

static const char partial[] = "backlog";

int again_partial(struct devdb *d, uint64_t number, struct err *e)
{
	return devdb_set(d, partial, (int64_t)number, e);
}

/* One integer by SQL with ?1 = the table's id and ?2; `none` if there is none. */
static int number_of(struct devdb *d, const char *sql, const struct tracked *t, int64_t two,
		     int64_t none, int64_t *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(d->db, sql, &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int64(s, 2, two);
	TRY(db_step(d->db, s, &row, e));
	*out = row && sqlite3_column_type(s, 0) != SQLITE_NULL ? sqlite3_column_int64(s, 0) : none;
	sqlite3_reset(s);
	return NE_OK;
}

static int refused_in(struct devdb *d, const struct tracked *t, int64_t round, int64_t *out,
		      struct err *e)
{
	return number_of(d, "SELECT n FROM neap_round WHERE table_id = ?1 AND round = ?2", t, round,
			 0, out, e);
}

/* ?1 table, ?2 key. */
static int by_key(struct devdb *d, const char *sql, const struct tracked *t, const struct buf *key,
		  sqlite3_stmt **out, struct err *e)
{
	TRY(db_prepare(d->db, sql, out, e));
	if (sqlite3_bind_int64(*out, 1, t->id) ||
	    sqlite3_bind_blob64(*out, 2, key->at, key->len, SQLITE_STATIC))
		return db_error(d->db, e, "a row to be sent again");
	return NE_OK;
}

/* The round in which the row went up; 0 the first time. */
static int round_of(struct devdb *d, const struct tracked *t, const struct buf *key, int64_t *out,
		    struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(by_key(d, "SELECT round FROM neap_again WHERE table_id = ?1 AND key = ?2", t, key, &s,
		   e));
	TRY(db_step(d->db, s, &row, e));
	*out = row ? sqlite3_column_int64(s, 0) : 0;
	sqlite3_reset(s);
	return NE_OK;
}

/*
 * The first time, if a backlog was cut off since the newest set that is settled. The second time
 * is the first with every other one in it. Later only where the round before got one accepted.
 */
static int may_go(struct devdb *d, const struct tracked *t, int64_t round, bool *yes, struct err *e)
{
	int64_t cut, settled, last, before;

	if (round < 2) {
		TRY(devdb_get(d, partial, &cut, e));
		TRY(devdb_get(d, "acked_number", &settled, e));
		*yes = round == 1 || (cut && cut >= settled);
		return NE_OK;
	}
	TRY(refused_in(d, t, round - 1, &last, e));
	TRY(refused_in(d, t, round - 2, &before, e));
	*yes = last < before;
	return NE_OK;
}

static int keep(struct devdb *d, const struct tracked *t, const struct buf *key, int64_t round,
		struct err *e)
{
	sqlite3_stmt *s;

	TRY(by_key(d,
		   "INSERT INTO neap_again(table_id, key, round) VALUES(?1, ?2, ?3)"
		   " ON CONFLICT DO UPDATE SET round = excluded.round",
		   t, key, &s, e));
	sqlite3_bind_int64(s, 3, round + 1);
	TRY(db_run(d->db, s, e));
	return db_execf(d->db, e,
			"INSERT INTO neap_round(table_id, round, n) VALUES(%" PRId64 ", %" PRId64
			", 1) ON CONFLICT DO UPDATE SET n = n + 1",
			t->id, round);
}

static int put_mark_anew(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out,
		       "UPDATE \"%s\" SET stamp = max(%s, stamp + 1), gen = (SELECT gen FROM "
		       "neap_clock), site = NULL WHERE ",
		       t->marks, capture_clock_sql));
	for (unsigned i = 0; i < t->shape.n_key; i++)
		TRY(buf_printf(out, "%sk%u = ?%u", i ? " AND " : "", i, i + 1));
	return NE_OK;
}

static int mark_anew(struct devdb *d, const struct tracked *t, const struct val *key, struct err *e)
{
	struct buf sql = {.max = 4096};
	sqlite3_stmt *s = NULL;
	int rc = put_mark_anew(t, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	TRY(sql_bind_key(d, s, 1, t, key, e));
	return db_run(d->db, s, e);
}

static int decide(struct devdb *d, const struct tracked *t, const struct val *key,
		  const struct buf *bytes, bool *again, struct err *e)
{
	int64_t round;
	sqlite3_stmt *s;

	TRY(round_of(d, t, bytes, &round, e));
	TRY(may_go(d, t, round, again, e));
	if (*again) {
		TRY(keep(d, t, bytes, round, e));
		return mark_anew(d, t, key, e);
	}
	TRY(by_key(d, "DELETE FROM neap_again WHERE table_id = ?1 AND key = ?2", t, bytes, &s, e));
	return db_run(d->db, s, e);
}

int again_refused(struct devdb *d, const struct tracked *t, const struct val *key, bool *again,
		  struct err *e)
{
	struct buf bytes = {.max = LIMIT_SET};
	int rc;

	*again = false;
	if (!t->shape.n_unique)
		return NE_OK;
	rc = key_put(&t->shape, key, &bytes);
	rc = rc ? err_set(e, rc, "no memory for a key") : decide(d, t, key, &bytes, again, e);
	buf_free(&bytes);
	return rc;
}

/* The round that is next for what was refused last; 0 none. */
static int newest_round(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	return number_of(d, "SELECT max(round) + ?2 FROM neap_round WHERE table_id = ?1", t, 1, 0,
			 out, e);
}

/* Whether a set in flight carries rows of the table. */
static int carries(struct slice ranges, int64_t table, bool *yes)
{
	struct range r;
	bool any = true;

	while (!*yes && any) {
		TRY(range_next(&ranges, &r, &any));
		*yes = any && r.table == table;
	}
	return NE_OK;
}

int again_waits(struct devdb *d, const struct tracked *t, bool *yes, struct err *e)
{
	int64_t round;
	sqlite3_stmt *s;
	bool row;
	int rc;

	*yes = false;
	if (!t->shape.n_unique)
		return NE_OK;
	TRY(newest_round(d, t, &round, e));
	if (!round)
		return NE_OK;
	TRY(db_prepare(d->db, "SELECT ranges FROM neap_inflight", &s, e));
	while (!(rc = db_step(d->db, s, &row, e)) && row && !*yes) {
		struct slice ranges =
			slice_of(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
		rc = carries(ranges, t->id, yes);
		if (rc) {
			rc = err_set(e, rc, "the ranges of a set cannot be read");
			break;
		}
	}
	sqlite3_reset(s);
	return rc;
}

int again_pass(struct devdb *d, const struct tracked *t, int64_t *round, struct err *e)
{
	int64_t now, before = *round;

	*round = 0;
	if (!t->shape.n_unique)
		return NE_OK;
	TRY(newest_round(d, t, &now, e));
	if (!now)
		return NE_OK;
	if (now == before) /* none was refused since */
		return db_execf(d->db, e,
				"DELETE FROM neap_again WHERE table_id = %" PRId64
				"; DELETE FROM neap_round WHERE table_id = %" PRId64,
				t->id, t->id);
	*round = now;
	return db_execf(d->db, e,
			"DELETE FROM neap_again WHERE table_id = %" PRId64 " AND round < %" PRId64,
			t->id, now);
}
