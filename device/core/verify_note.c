/* When a table was last compared, in neap_verify. */
#include "device/core/verify.h"

int verify_note(struct devdb *d, int64_t table, uint64_t now_ms, const struct verify_counts *n,
		struct err *e)
{
	sqlite3_stmt *s;

	TRY(db_prepare(
		d->db,
		"INSERT INTO neap_verify VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(table_id) DO "
		"UPDATE SET at_ms = excluded.at_ms, rows = excluded.rows, differed = "
		"excluded.differed, repaired = excluded.repaired",
		&s, e));
	sqlite3_bind_int64(s, 1, table);
	sqlite3_bind_int64(s, 2, (int64_t)now_ms);
	sqlite3_bind_int64(s, 3, (int64_t)n->rows);
	sqlite3_bind_int64(s, 4, (int64_t)(n->differed + n->missing + n->extra));
	sqlite3_bind_int64(s, 5, (int64_t)n->repaired);
	return db_run(d->db, s, e);
}

int verify_last(struct devdb *d, int64_t table, struct verify_last *out, struct err *e)
{
	sqlite3_stmt *s;
	bool row;

	*out = (struct verify_last){0};
	TRY(db_prepare(
		d->db,
		"SELECT at_ms, rows, differed, repaired FROM neap_verify WHERE table_id = ?1", &s,
		e));
	sqlite3_bind_int64(s, 1, table);
	TRY(db_step(d->db, s, &row, e));
	if (row)
		*out = (struct verify_last){
			.at_ms = sqlite3_column_int64(s, 0),
			.rows = sqlite3_column_int64(s, 1),
			.differed = sqlite3_column_int64(s, 2),
			.repaired = sqlite3_column_int64(s, 3),
		};
	sqlite3_reset(s);
	return NE_OK;
}
