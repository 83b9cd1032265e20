/* The request "conflicts": a page of what lost on this device, the newest first. */
#include "device/shell/members.h"
#include "device/shell/ops.h"

/* Texts are cut: a page fits the socket's bound. Whole values are in neap_conflict. */
static const char conflicts_sql[] =
	"SELECT c.id, coalesce(c.tab, t.name, '?'), substr(coalesce(c.text, '?'), 1, 400), c.col,"
	" substr(ifnull(c.reason, ''), 1, 200), ifnull(c.at_ms, 0),"
	" c.id <= ifnull((SELECT value FROM neap_meta WHERE key = 'conflict_noted'), 0)"
	" FROM neap_conflict c LEFT JOIN neap_table t ON t.id = c.table_id"
	" WHERE c.id < ?1 ORDER BY c.id DESC LIMIT ?2";

static json_t *text_at(sqlite3_stmt *s, int col)
{
	const char *text = (const char *)sqlite3_column_text(s, col);
	json_t *out = text ? json_string(text) : json_null();

	return out ? out : json_string("(not text)");
}

static int add_row(sqlite3_stmt *s, json_t *rows, struct err *e)
{
	json_t *row = json_pack("{s:I, s:o, s:o, s:o, s:o, s:I, s:b}", "id",
				(json_int_t)sqlite3_column_int64(s, 0), "table", text_at(s, 1),
				"row", text_at(s, 2), "column", text_at(s, 3), "reason",
				text_at(s, 4), "at_ms", (json_int_t)sqlite3_column_int64(s, 5),
				"noted", sqlite3_column_int(s, 6));

	return !row || json_array_append_new(rows, row) ? err_set(e, NE_MEMORY, "out of memory")
							: NE_OK;
}

static int add_rows(struct devdb *d, int64_t before, int64_t limit, json_t *rows, struct err *e)
{
	sqlite3_stmt *s;
	bool more = true;
	int rc = NE_OK;

	TRY(db_prepare(d->db, conflicts_sql, &s, e));
	sqlite3_bind_int64(s, 1, before);
	sqlite3_bind_int64(s, 2, limit);
	while (!rc && more) {
		rc = db_step(d->db, s, &more, e);
		if (!rc && more)
			rc = add_row(s, rows, e);
	}
	sqlite3_reset(s);
	return rc;
}

int ops_conflicts(struct devdb *d, const json_t *request, json_t **out, struct err *e)
{
	int64_t before = INT64_MAX, limit = OPS_CONFLICTS, dropped;
	json_t *rows;

	if (json_object_get(request, "before"))
		TRY(member_int(request, "before", 0, INT64_MAX, &before, e));
	if (json_object_get(request, "limit"))
		TRY(member_int(request, "limit", 0, OPS_CONFLICTS, &limit, e));
	TRY(devdb_get(d, "conflict_dropped", &dropped, e));
	rows = json_array();
	int rc =
		rows ? add_rows(d, before, limit, rows, e) : err_set(e, NE_MEMORY, "out of memory");
	if (!rc &&
	    !(*out = json_pack("{s:O, s:I}", "conflicts", rows, "dropped", (json_int_t)dropped)))
		rc = err_set(e, NE_MEMORY, "out of memory");
	json_decref(rows);
	return rc;
}
