#include "device/core/coverage.h"

#include <inttypes.h>
#include <string.h>

enum { ID_TEXT = 2 * sizeof(struct shape_id), IDS_TEXT = LIMIT_TABLES * ID_TEXT + 1 };

static int put_id(struct buf *out, struct shape_id id)
{
	return buf_put_hex(out, slice_of(id.at, sizeof id.at));
}

static size_t find_id(const struct buf *ids, const uint8_t *id)
{
	size_t i = 0;

	while (i + ID_TEXT <= ids->len && memcmp(ids->at + i, id, ID_TEXT))
		i += ID_TEXT;
	return i;
}

static void drop_id(struct buf *ids, size_t at)
{
	memmove(ids->at + at, ids->at + at + ID_TEXT, ids->len - at - ID_TEXT);
	ids->len -= ID_TEXT;
}

static int has(const struct buf *ids, struct shape_id id, bool *yes)
{
	struct buf text = {.max = ID_TEXT + 1};
	int rc = put_id(&text, id);

	*yes = !rc && find_id(ids, text.at) + ID_TEXT <= ids->len;
	buf_free(&text);
	return rc;
}

static int load(struct devdb *d, struct buf *ids, struct err *e)
{
	*ids = (struct buf){.max = IDS_TEXT};
	return devdb_get_text(d, "pulled", ids, e);
}

/* Stores `ids` and frees it. */
static int save(struct devdb *d, struct buf *ids, int rc, struct err *e)
{
	if (rc)
		rc = err_set(e, rc, "no memory for the shapes that were pulled");
	else
		rc = devdb_set_text(d, "pulled", buf_slice(ids), e);
	buf_free(ids);
	return rc;
}

/* Of the tables that are pulled. */
static int put_all(struct devdb *d, struct buf *out)
{
	for (size_t i = 0; i < d->n_table; i++) {
		if (tracked_pulls(&d->table[i]))
			TRY(put_id(out, d->table[i].shape.id));
	}
	return NE_OK;
}

static int look_at(struct devdb *d, struct tracked *t, const struct buf *ids, struct err *e)
{
	bool listed, covered = true;
	sqlite3_stmt *s;

	t->waits = t->comparing = false;
	t->known = -1;
	TRY(db_prepare(d->db, "SELECT mode, known FROM neap_catchup WHERE table_id = ?1", &s, e));
	sqlite3_bind_int64(s, 1, t->id);
	TRY(db_step(d->db, s, &listed, e));
	if (listed && sqlite3_column_int(s, 0) == CATCHUP_COMPARE) {
		t->comparing = true;
		t->known = sqlite3_column_int64(s, 1);
	}
	sqlite3_reset(s);
	if (!tracked_pulls(t) || d->broken.no_repull)
		return NE_OK;
	if (has(ids, t->shape.id, &covered))
		return err_set(e, NE_MEMORY, "no memory to look at a table");
	t->waits = listed || !covered;
	return NE_OK;
}

int coverage_look(struct devdb *d, struct err *e)
{
	struct buf ids;
	int64_t store;
	int rc = load(d, &ids, e);

	if (!rc)
		rc = devdb_get(d, "store", &store, e);
	for (size_t i = 0; !rc && i < d->n_table; i++) {
		rc = look_at(d, &d->table[i], &ids, e);
		/* The first sync pulls everything. */
		d->table[i].waits &= store != 0;
	}
	buf_free(&ids);
	return rc;
}

int coverage_all(struct devdb *d, struct err *e)
{
	struct buf ids = {.max = IDS_TEXT};

	return save(d, &ids, put_all(d, &ids), e);
}

int coverage_has(struct devdb *d, struct shape_id id, bool *yes, struct err *e)
{
	struct buf ids;
	int rc = load(d, &ids, e);

	if (!rc && has(&ids, id, yes))
		rc = err_set(e, NE_MEMORY, "no memory to look at a table");
	buf_free(&ids);
	return rc;
}

int coverage_add(struct devdb *d, const struct tracked *t, struct err *e)
{
	struct buf ids;
	bool covered = false;
	int rc = load(d, &ids, e);

	if (rc) {
		buf_free(&ids);
		return rc;
	}
	rc = has(&ids, t->shape.id, &covered);
	if (!rc && !covered)
		rc = put_id(&ids, t->shape.id);
	return save(d, &ids, rc, e);
}

int coverage_prune(struct devdb *d, struct err *e)
{
	struct buf ids, now = {.max = IDS_TEXT};
	int rc = load(d, &ids, e);
	size_t before = ids.len;

	if (!rc && put_all(d, &now))
		rc = err_set(e, NE_MEMORY, "no memory to look at the tables");
	for (size_t i = 0; !rc && i + ID_TEXT <= ids.len;) {
		if (find_id(&now, ids.at + i) + ID_TEXT <= now.len)
			i += ID_TEXT;
		else
			drop_id(&ids, i);
	}
	buf_free(&now);
	if (!rc && ids.len != before)
		return save(d, &ids, NE_OK, e);
	buf_free(&ids);
	return rc;
}

int coverage_follow(struct devdb *d, struct shape_id was, struct shape_id now, struct err *e)
{
	struct buf ids, text = {.max = ID_TEXT + 1};
	int rc = load(d, &ids, e);
	size_t at;

	if (!rc && put_id(&text, was))
		rc = err_set(e, NE_MEMORY, "no memory for the shapes that were pulled");
	at = rc ? ids.len : find_id(&ids, text.at);
	buf_free(&text);
	if (rc || at + ID_TEXT > ids.len) {
		buf_free(&ids);
		return rc;
	}
	drop_id(&ids, at);
	return save(d, &ids, put_id(&ids, now), e);
}

static int put_want(struct devdb *d, int64_t id, enum catchup_mode mode, int64_t known, bool full,
		    struct err *e)
{
	sqlite3_stmt *s;

	/* A pull of the table alone that was under way knew no more than it had brought. */
	TRY(db_prepare(
		d->db,
		"INSERT INTO neap_catchup(table_id, mode, known, begun, cursor)"
		" VALUES(?1, ?2, ?3, 0, 0) ON CONFLICT(table_id) DO UPDATE SET"
		" known = iif(mode >= ?2, known, iif(NOT begun, known, iif(?4, ?3, cursor))),"
		" mode = max(mode, ?2), begun = 0, cursor = 0",
		&s, e));
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_int(s, 2, (int)mode);
	sqlite3_bind_int64(s, 3, known);
	sqlite3_bind_int(s, 4, full);
	return db_run(d->db, s, e);
}

int coverage_want(struct devdb *d, int64_t id, struct shape_id was, enum catchup_mode mode,
		  struct err *e)
{
	int64_t store, full, cursor;
	bool covered;

	TRY(devdb_get(d, "store", &store, e));
	TRY(devdb_get(d, "full", &full, e));
	TRY(devdb_get(d, "cursor", &cursor, e));
	if (!store)
		return NE_OK;
	TRY(coverage_has(d, was, &covered, e));
	return put_want(d, id, mode, covered ? cursor : 0, full != 0, e);
}
