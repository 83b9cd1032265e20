#include "device/core/identity.h"

#include <inttypes.h>

#include "device/core/apply_internal.h"

enum { SQL_MAX_BYTES = 4096 };

/* The segment of neap_identity that `n` is in; *found is false above them all. */
static int segment_of(struct devdb *d, int64_t id, enum range_kind kind, int64_t n,
		      struct identity *out, bool *found, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "SELECT hi, site, gen FROM neap_identity WHERE table_id = ?1 AND kind = ?2 "
		       "AND hi >= ?3 ORDER BY hi LIMIT 1",
		       &s, e));
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_int(s, 2, (int)kind);
	sqlite3_bind_int64(s, 3, n);
	TRY(db_step(d->db, s, found, e));
	if (*found)
		*out = (struct identity){.hi = sqlite3_column_int64(s, 0),
					 .site = (uint64_t)sqlite3_column_int64(s, 1),
					 .gen = sqlite3_column_int64(s, 2)};
	sqlite3_reset(s);
	return NE_OK;
}

static int table_gen(struct devdb *d, int64_t id, int64_t *gen, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	TRY(db_prepare(d->db, "SELECT gen FROM neap_append WHERE id = ?1", &s, e));
	sqlite3_bind_int64(s, 1, id);
	TRY(db_step(d->db, s, &row, e));
	*gen = row ? sqlite3_column_int64(s, 0) : 0;
	sqlite3_reset(s);
	return row ? NE_OK : err_set(e, NE_CORRUPT, "neap_append lacks table %" PRId64, id);
}

/* What numbers above every segment have. */
static int tail_of(struct devdb *d, int64_t id, enum range_kind kind, struct identity *out,
		   struct err *e)
{
	int64_t gen;

	TRY(table_gen(d, id, &gen, e));
	*out = (struct identity){
		.site = d->site, .gen = kind == RANGE_NUMBERS ? gen + 1 : gen, .hi = INT64_MAX};
	return NE_OK;
}

static int find(struct devdb *d, int64_t id, enum range_kind kind, int64_t n, struct identity *out,
		struct err *e)
{
	bool found;

	TRY(segment_of(d, id, kind, n, out, &found, e));
	return found ? NE_OK : tail_of(d, id, kind, out, e);
}

int identity_of(struct devdb *d, const struct tracked *t, enum range_kind kind, int64_t n,
		struct identity *out, struct err *e)
{
	return find(d, t->id, kind, n, out, e);
}

int identity_new_gen(struct devdb *d, int64_t *gen, struct err *e)
{
	TRY(devdb_get(d, "append_gen", gen, e));
	*gen = *gen ? *gen : 1;
	return devdb_set(d, "append_gen", *gen + 2, e);
}

static int put_segment(struct devdb *d, int64_t id, enum range_kind kind, int64_t hi,
		       const struct identity *who, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "INSERT OR REPLACE INTO neap_identity(table_id, kind, hi, site, gen) "
		       "VALUES(?1, ?2, ?3, ?4, ?5)",
		       &s, e));
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_int(s, 2, (int)kind);
	sqlite3_bind_int64(s, 3, hi);
	sqlite3_bind_int64(s, 4, (int64_t)who->site);
	sqlite3_bind_int64(s, 5, who->gen);
	return db_run(d->db, s, e);
}

/* Numbers above every segment, up to `hi`, keep what they have now. */
static int close_tail(struct devdb *d, int64_t id, enum range_kind kind, int64_t hi, struct err *e)
{
	struct identity who;
	bool inside;

	TRY(segment_of(d, id, kind, hi, &who, &inside, e));
	if (inside)
		return NE_OK;
	TRY(tail_of(d, id, kind, &who, e));
	return put_segment(d, id, kind, hi, &who, e);
}

static int one_int(struct devdb *d, const char *sql, const struct tracked *t, int64_t *out,
		   struct err *e)
{
	struct buf text = {.max = SQL_MAX_BYTES};
	int rc = buf_printf(&text, sql, t->marks, (long long)t->id);

	rc = rc ? rc : buf_terminate(&text);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_int(d->db, (const char *)text.at, 0, out, e);
	buf_free(&text);
	return rc;
}

/* The greatest key that is here or was ever cut; without the table itself: that was cut. */
static int greatest_key(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	struct buf text = {.max = SQL_MAX_BYTES};
	int rc;

	TRY(one_int(d, "SELECT high FROM (SELECT '%s'), neap_append WHERE id = %lld", t, out, e));
	if (!t->shape.key_is_number || !t->capture_ok)
		return NE_OK;
	rc = buf_printf(&text, "SELECT max(%" PRId64 ", ifnull((SELECT max(", *out);
	rc = rc ? rc : sql_put_name(&text, t->shape.key[0].name);
	rc = rc ? rc : buf_printf(&text, ") FROM main.");
	rc = rc ? rc : sql_put_name(&text, t->shape.name);
	rc = rc ? rc : buf_printf(&text, "), %" PRId64 "))", *out);
	rc = rc ? rc : buf_terminate(&text);
	rc = rc ? err_set(e, rc, "no memory for an SQL text")
		: db_int(d->db, (const char *)text.at, 0, out, e);
	buf_free(&text);
	return rc;
}

static int greatest_number(struct devdb *d, const struct tracked *t, int64_t *out, struct err *e)
{
	return one_int(d,
		       "SELECT max(numbered, ifnull((SELECT max(n) FROM main.\"%s\"), 0)) FROM "
		       "neap_append WHERE id = %lld",
		       t, out, e);
}

static int sign_table(struct devdb *d, const struct tracked *t, struct err *e)
{
	int64_t key, number, gen;

	TRY(greatest_key(d, t, &key, e));
	TRY(greatest_number(d, t, &number, e));
	TRY(close_tail(d, t->id, RANGE_KEYS, key, e));
	TRY(close_tail(d, t->id, RANGE_NUMBERS, number, e));
	TRY(identity_new_gen(d, &gen, e));
	return db_execf(d->db, e,
			"UPDATE neap_append SET gen = %" PRId64 ", high = max(high, %" PRId64
			"), numbered = max(numbered, %" PRId64 ") WHERE id = %" PRId64,
			gen, key, number, t->id);
}

int identity_sign(struct devdb *d, struct err *e)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (d->table[i].shape.kind == SHAPE_APPEND)
			TRY(sign_table(d, &d->table[i], e));
	}
	return NE_OK;
}

/* Numbers of `kind` from `from` on are as new; those before, and the other kind's, keep theirs. */
static int renew(struct devdb *d, const struct tracked *t, enum range_kind kind, int64_t from,
		 struct err *e)
{
	struct identity who;
	int64_t key, number, gen;

	/* `from` may be the first of a segment. */
	if (from > INT64_MIN) {
		TRY(find(d, t->id, kind, from - 1, &who, e));
		TRY(put_segment(d, t->id, kind, from - 1, &who, e));
	}
	TRY(db_execf(d->db, e,
		     "DELETE FROM neap_identity WHERE table_id = %" PRId64
		     " AND kind = %d AND hi >= %" PRId64,
		     t->id, (int)kind, from));
	TRY(greatest_key(d, t, &key, e));
	TRY(greatest_number(d, t, &number, e));
	if (kind == RANGE_KEYS)
		TRY(close_tail(d, t->id, RANGE_NUMBERS, number, e));
	else
		TRY(close_tail(d, t->id, RANGE_KEYS, key, e));
	TRY(identity_new_gen(d, &gen, e));
	return db_execf(d->db, e, "UPDATE neap_append SET gen = %" PRId64 " WHERE id = %" PRId64,
			gen, t->id);
}

static int put_number_sql(const struct tracked *t, struct buf *out)
{
	const struct shape *s = &t->shape;

	TRY(buf_printf(out,
		       "INSERT INTO main.\"%s\" SELECT max(ifnull((SELECT max(n) FROM "
		       "main.\"%s\"), 0), a.numbered) + 1",
		       t->marks, t->marks));
	for (uint16_t i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, ", x."));
		TRY(sql_put_name(out, s->key[i].name));
	}
	TRY(buf_printf(out, " FROM neap_append AS a, main."));
	TRY(sql_put_name(out, s->name));
	TRY(buf_printf(out, " AS x WHERE a.id = ?%u", s->n_key + 1u));
	for (unsigned i = 0; i < s->n_key; i++) {
		TRY(buf_printf(out, " AND x."));
		TRY(sql_put_name(out, s->key[i].name));
		TRY(buf_printf(out, " = ?%u", i + 1));
	}
	TRY(buf_printf(out, " ON CONFLICT("));
	for (unsigned i = 0; i < s->n_key; i++)
		TRY(buf_printf(out, "%sk%u", i ? ", " : "", i));
	return buf_printf(out, ") DO UPDATE SET n = excluded.n");
}

int identity_renumber(struct devdb *d, const struct tracked *t, const struct val *key, bool *there,
		      struct err *e)
{
	struct buf sql = {.max = 65536};
	sqlite3_stmt *s = NULL;
	int rc = put_number_sql(t, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	TRY(rc);
	TRY(sql_bind_key(d, s, 1, t, key, e));
	sqlite3_bind_int64(s, t->shape.n_key + 1, t->id);
	TRY(db_run(d->db, s, e));
	*there = sqlite3_changes(db_handle(d->db)) > 0;
	return NE_OK;
}

static int has_site(struct devdb *d, const struct tracked *t, enum range_kind kind, uint64_t site,
		    bool *yes, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "SELECT 1 FROM neap_identity WHERE table_id = ?1 AND kind = ?2 AND site = "
		       "?3 LIMIT 1",
		       &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, (int)kind);
	sqlite3_bind_int64(s, 3, (int64_t)site);
	TRY(db_step(d->db, s, yes, e));
	sqlite3_reset(s);
	return NE_OK;
}

/* Keys that were lost and were captured under `site`: their device sends them itself. */
static int disown_lost(struct devdb *d, const struct tracked *t, uint64_t site, struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(d->db,
		       "DELETE FROM neap_lost WHERE table_id = ?1 AND kind = ?2 AND ?3 = (SELECT "
		       "site FROM neap_identity AS i WHERE i.table_id = ?1 AND i.kind = ?2 AND "
		       "i.hi > lo ORDER BY i.hi LIMIT 1)",
		       &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	sqlite3_bind_int(s, 2, RANGE_KEYS);
	sqlite3_bind_int64(s, 3, (int64_t)site);
	return db_run(d->db, s, e);
}

/* What was acknowledged is left as it was: it is not sent again. */
static int disown_in(struct devdb *d, const struct tracked *t, uint64_t site, struct err *e)
{
	int64_t acked, least;
	bool keys, numbers;

	TRY(disown_lost(d, t, site, e));
	TRY(has_site(d, t, RANGE_KEYS, site, &keys, e));
	TRY(has_site(d, t, RANGE_NUMBERS, site, &numbers, e));
	TRY(one_int(d, "SELECT acked FROM (SELECT '%s'), neap_append WHERE id = %lld", t, &acked,
		    e));
	TRY(one_int(d,
		    "SELECT ifnull((SELECT min(n) FROM main.\"%s\" WHERE n > 0), "
		    "9223372036854775807) FROM neap_append WHERE id = %lld",
		    t, &least, e));
	if (keys && acked < INT64_MAX)
		TRY(renew(d, t, RANGE_KEYS, acked + 1, e));
	return numbers && least < INT64_MAX ? renew(d, t, RANGE_NUMBERS, least, e) : NE_OK;
}

int identity_disown(struct devdb *d, uint64_t site, struct err *e)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (d->table[i].shape.kind == SHAPE_APPEND)
			TRY(disown_in(d, &d->table[i], site, e));
	}
	return NE_OK;
}
