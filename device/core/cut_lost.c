/* Acknowledged rows of append tables that the server has lost: pending again (rule P8). */
#include "device/core/cut_internal.h"

enum { SQL_MAX_BYTES = 1 << 20 };

static int put_keys(const struct tracked *t, const char *of, struct buf *out)
{
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, ", %s", of));
		TRY(sql_put_name(out, t->shape.key[i].name));
	}
	return NE_OK;
}

/* Every row without a number gets one above all before. */
static int put_number_rows(const struct tracked *t, struct buf *out)
{
	TRY(buf_printf(out,
		       "INSERT INTO main.\"%s\" SELECT (SELECT max(ifnull((SELECT max(n) FROM "
		       "main.\"%s\"), 0), numbered) FROM neap_append WHERE id = %lld) + "
		       "row_number() OVER (ORDER BY ",
		       t->marks, t->marks, (long long)t->id));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, "%sx.", i ? ", " : ""));
		TRY(sql_put_name(out, t->shape.key[i].name));
	}
	TRY(buf_printf(out, ")"));
	TRY(put_keys(t, "x.", out));
	TRY(buf_printf(out, " FROM main."));
	TRY(sql_put_name(out, t->shape.name));
	TRY(buf_printf(out, " AS x WHERE "));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, "x."));
		TRY(sql_put_name(out, t->shape.key[i].name));
		TRY(buf_printf(out, " IS NOT NULL AND "));
	}
	TRY(buf_printf(out, "NOT EXISTS(SELECT 1 FROM main.\"%s\" WHERE ", t->marks));
	for (uint16_t i = 0; i < t->shape.n_key; i++) {
		TRY(buf_printf(out, "%sk%u = x.", i ? " AND " : "", (unsigned)i));
		TRY(sql_put_name(out, t->shape.key[i].name));
	}
	return buf_printf(out, ")");
}

static int number_rows(struct devdb *d, const struct tracked *t, struct err *e)
{
	struct buf sql = {.max = SQL_MAX_BYTES};
	sqlite3_stmt *s;
	int rc = put_number_rows(t, &sql);

	rc = rc ? err_set(e, rc, "no memory for an SQL text") : cut_prepare(d->db, &sql, &s, e);
	buf_free(&sql);
	return rc ? rc : db_run(d->db, s, e);
}

/* Keys are identities: the server recognises what it still has. */
static int forget_keys(struct devdb *d, const struct tracked *t, struct err *e)
{
	TRY(db_execf(d->db, e, "UPDATE main.\"%s\" SET n = -n WHERE n < 0", t->marks));
	return db_execf(d->db, e,
			"UPDATE neap_append SET acked = -9223372036854775807 - 1, "
			"cut_from = -9223372036854775807 - 1 WHERE id = %lld",
			(long long)t->id);
}

/* Their numbers were kept: pending again under the same. */
static int forget_numbers(struct devdb *d, const struct tracked *t, struct err *e)
{
	TRY(db_execf(d->db, e, "UPDATE main.\"%s\" SET n = -n WHERE n < 0", t->marks));
	return db_execf(d->db, e, "DELETE FROM neap_acked WHERE table_id = %lld", (long long)t->id);
}

int cut_lost(struct devdb *d, bool all, struct err *e)
{
	for (size_t i = 0; i < d->n_table; i++) {
		const struct tracked *t = &d->table[i];

		if (t->shape.kind != SHAPE_APPEND || !t->capture_ok)
			continue;
		if (policy_keeps(&t->policy))
			TRY(forget_numbers(d, t, e));
		if (t->shape.key_is_number)
			TRY(forget_keys(d, t, e));
		else if (all)
			TRY(number_rows(d, t, e));
	}
	return NE_OK;
}
