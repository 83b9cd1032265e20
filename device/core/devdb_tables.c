#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/capture.h"
#include "device/core/coverage.h"
#include "device/core/devdb_schema.h"
#include "device/core/track.h"

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool devdb_name_eq(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		if (lower(a.at[i]) != lower(b.at[i]))
			return false;
	}
	return true;
}

struct tracked *devdb_table_by_name(struct devdb *d, struct slice name)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (devdb_name_eq(d->table[i].shape.name, name))
			return &d->table[i];
	}
	return NULL;
}

struct tracked *devdb_table_by_id(struct devdb *d, int64_t id)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (d->table[i].id == id)
			return &d->table[i];
	}
	return NULL;
}

struct tracked *devdb_table_by_shape(struct devdb *d, struct shape_id id)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (shape_id_eq(d->table[i].shape.id, id))
			return &d->table[i];
	}
	return NULL;
}

static int load_one(struct devdb *d, sqlite3_stmt *s, struct err *e)
{
	struct tracked *t = &d->table[d->n_table];
	struct slice bytes =
		slice_of(sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1));

	*t = (struct tracked){.id = sqlite3_column_int64(s, 0),
			      .priority = sqlite3_column_int(s, 2),
			      .policy = {.keep_ms = sqlite3_column_int64(s, 3),
					 .keep_rows = sqlite3_column_int64(s, 4),
					 .keep_bytes = sqlite3_column_int64(s, 5),
					 .pending_rows = sqlite3_column_int64(s, 6),
					 .pending_bytes = sqlite3_column_int64(s, 7),
					 .drop_oldest = sqlite3_column_int(s, 8)}};
	snprintf(t->marks, sizeof t->marks, "neap_m%" PRId64, t->id);
	t->encoded_shape = arena_copy(&d->schema, bytes);
	if (!t->encoded_shape.at)
		return err_set(e, NE_MEMORY, "no memory for the shapes of tables");
	if (shape_decode(t->encoded_shape, &d->schema, &t->shape, e))
		return err_wrap(e, "neap_table, entry %" PRId64, t->id);
	d->n_table++;
	return NE_OK;
}

static int load_all(struct devdb *d, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	TRY(db_prepare(
		d->db,
		"SELECT t.id, shape, priority, keep_ms, keep_rows, keep_bytes, pending_rows, "
		"pending_bytes, drop_oldest FROM neap_table AS t LEFT JOIN neap_policy AS p "
		"ON p.id = t.id ORDER BY t.id",
		&s, e));
	while (!(rc = db_step(d->db, s, &row, e)) && row) {
		if (d->n_table == LIMIT_TABLES) {
			rc = err_set(e, NE_LIMIT, "more than %d tables are tracked", LIMIT_TABLES);
			break;
		}
		rc = load_one(d, s, e);
		if (rc)
			break;
	}
	sqlite3_reset(s);
	return rc;
}

static int reload(struct devdb *d, struct err *e)
{
	TRY(load_all(d, e));
	for (size_t i = 0; i < d->n_table; i++)
		TRY(devdb_check_table(d, &d->table[i], e));
	TRY(coverage_look(d, e));
	return db_int(d->db, "PRAGMA main.schema_version", 0, &d->schema_version, e);
}

int devdb_reload(struct devdb *d, struct err *e)
{
	bool own = sqlite3_get_autocommit(db_handle(d->db));
	int rc;

	if (!d->table)
		d->table = calloc(LIMIT_TABLES, sizeof *d->table);
	if (!d->table)
		return err_set(e, NE_MEMORY, "no memory for the tracked tables");
	if (own)
		TRY(devdb_begin(d, e));
	d->n_table = 0;
	arena_free(&d->schema);
	db_forget(d->db);
	rc = reload(d, e);
	if (!rc && own)
		rc = devdb_commit(d, e);
	if (rc) {
		d->n_table = 0;
		if (own)
			devdb_rollback(d);
	}
	return rc;
}
