/* The request "rejected": rows that are not where they should be, and putting ours back. */
#include <string.h>

#include "device/core/rejected.h"
#include "device/shell/members.h"
#include "device/shell/ops.h"

/* Texts are cut: the answer fits the socket's bound. Parked rows have no id: nothing to do. */
static const char rejected_sql[] =
	"SELECT r.id, coalesce(t.name, '?'), 'rejected', substr(r.text, 1, 400),"
	" substr(r.reason, 1, 200), ifnull(r.at_ms, 0)"
	" FROM neap_rejected r LEFT JOIN neap_table t ON t.id = r.table_id"
	" UNION ALL "
	"SELECT 0, coalesce(t.name, '?'), 'parked', substr(p.text, 1, 400),"
	" substr(p.reason, 1, 200), ifnull(p.at_ms, 0)"
	" FROM neap_parked p LEFT JOIN neap_table t ON t.id = p.table_id LIMIT 500";

static json_t *text_at(sqlite3_stmt *s, int col)
{
	const char *text = (const char *)sqlite3_column_text(s, col);
	json_t *out = json_string(text ? text : "");

	/* What the server or a blob put there may not be UTF-8. */
	return out ? out : json_string("(not text)");
}

static int add_row(sqlite3_stmt *s, json_t *rows, struct err *e)
{
	json_t *row = json_pack("{s:I, s:o, s:o, s:o, s:o, s:I}", "id",
				(json_int_t)sqlite3_column_int64(s, 0), "table", text_at(s, 1),
				"what", text_at(s, 2), "row", text_at(s, 3), "reason",
				text_at(s, 4), "at_ms", (json_int_t)sqlite3_column_int64(s, 5));

	return !row || json_array_append_new(rows, row) ? err_set(e, NE_MEMORY, "out of memory")
							: NE_OK;
}

static int list(struct devdb *d, json_t **out, struct err *e)
{
	json_t *rows = json_array();
	sqlite3_stmt *s = NULL;
	bool more = true;
	int rc = rows ? db_prepare(d->db, rejected_sql, &s, e)
		      : err_set(e, NE_MEMORY, "out of memory");

	while (!rc && more) {
		rc = db_step(d->db, s, &more, e);
		if (!rc && more)
			rc = add_row(s, rows, e);
	}
	if (s)
		sqlite3_reset(s);
	if (!rc && !(*out = json_pack("{s:O, s:I}", "rows", rows, "count",
				      (json_int_t)json_array_size(rows))))
		rc = err_set(e, NE_MEMORY, "out of memory");
	json_decref(rows);
	return rc;
}

static int change(struct devdb *d, const json_t *request, bool retry, json_t **out, struct err *e)
{
	struct rejected_done done;
	int64_t id = 0;

	if (json_object_get(request, "id"))
		TRY(member_int(request, "id", 1, INT64_MAX, &id, e));
	TRY(retry ? rejected_retry(d, id, &done, e) : rejected_forget(d, id, &done, e));
	*out = json_pack("{s:I, s:I, s:s}", "done", (json_int_t)done.done, "failed",
			 (json_int_t)done.failed, "reason", done.first.text);
	/* The text may quote a name that is not UTF-8. */
	if (!*out)
		*out = json_pack("{s:I, s:I, s:s}", "done", (json_int_t)done.done, "failed",
				 (json_int_t)done.failed, "reason", "(not text)");
	return *out ? NE_OK : err_set(e, NE_MEMORY, "out of memory");
}

int ops_rejected(struct devdb *d, const json_t *request, json_t **out, bool *changed, struct err *e)
{
	bool retry = json_is_true(json_object_get(request, "retry"));

	if (!retry && !json_is_true(json_object_get(request, "forget")))
		return list(d, out, e);
	*changed = true;
	return change(d, request, retry, out, e);
}
