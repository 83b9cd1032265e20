#include "device/core/cut.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/again.h"
#include "device/core/aware.h"
#include "device/core/cut_internal.h"

enum { RANGES_BYTES = 64 << 20, ROW_OVERHEAD = 8, PRIORITIES = 10 };

/* Where nothing was found pending: nobody has written since while these are the same. */
struct seen {
	bool idle;
	int64_t data_version;
	int64_t changes;
};

struct cutter {
	struct devdb *d;
	bool blocked; /* sets of an earlier run are in flight: what they carry is not known here */
	struct seen seen;
	size_t n;
	struct pass pass[LIMIT_TABLES];
	struct pass saved[LIMIT_TABLES];
	struct row row[LIMIT_ROWS];
};

static void pass_free(struct pass *p)
{
	segments_free(&p->before);
	segments_free(&p->now);
	*p = (struct pass){0};
}

static void forget_passes(struct cutter *c)
{
	for (size_t i = 0; i < c->n; i++)
		pass_free(&c->pass[i]);
	c->n = 0;
	c->seen.idle = false;
}

static int inflight_count(struct devdb *d, int64_t *out, struct err *e)
{
	return db_int(d->db, "SELECT count(*) FROM neap_inflight", 0, out, e);
}

int cutter_new(struct cutter **out, struct devdb *d, struct err *e)
{
	struct cutter *c = calloc(1, sizeof *c);
	int64_t n;
	int rc;

	if (!c)
		return err_set(e, NE_MEMORY, "no memory to cut sets");
	c->d = d;
	rc = inflight_count(d, &n, e);
	if (rc) {
		free(c);
		return rc;
	}
	c->blocked = n > 0;
	*out = c;
	return NE_OK;
}

void cutter_free(struct cutter *c)
{
	if (!c)
		return;
	forget_passes(c);
	free(c);
}

static int restart(struct devdb *d, struct err *e)
{
	TRY(db_exec(d->db, "DELETE FROM neap_inflight", e));
	TRY(aware_recut(d, e));
	return db_exec(d->db, "UPDATE neap_append SET cut_from = acked", e);
}

int cutter_restart(struct cutter *c, struct err *e)
{
	bool own = sqlite3_get_autocommit(db_handle(c->d->db));
	int rc;

	if (own)
		TRY(devdb_begin(c->d, e));
	rc = restart(c->d, e);
	if (!rc && own)
		rc = devdb_commit(c->d, e);
	if (rc) {
		if (own)
			devdb_rollback(c->d);
		return rc;
	}
	/* Should the caller roll back, what is in flight is cut once more: allowed, only not cheap.
	 */
	forget_passes(c);
	c->blocked = false;
	return NE_OK;
}

void cutter_wake(struct cutter *c)
{
	c->seen.idle = false;
}

bool cutting_fits(const struct cutting *c, size_t cells, size_t bytes)
{
	size_t rows = c->out->n_row + c->n_row;

	if (rows == 0)
		return true;
	return rows < c->limits->rows && rows < LIMIT_ROWS && c->cells < c->limits->cells &&
	       cells <= c->limits->cells - c->cells && c->bytes < c->limits->bytes &&
	       bytes + ROW_OVERHEAD <= c->limits->bytes - c->bytes;
}

void cutting_take(struct cutting *c, size_t cells, size_t bytes)
{
	assert(c->n_row < LIMIT_ROWS);
	c->n_row++;
	c->cells += cells;
	c->bytes += bytes + ROW_OVERHEAD;
}

int cutting_table(struct cutting *c, const struct tracked *t, struct err *e)
{
	struct table_rows *out = &c->out->rows.table[c->out->rows.n_table];
	struct row *rows;

	if (c->n_row == 0)
		return NE_OK;
	rows = arena_array(c->arena, c->n_row, sizeof *rows);
	if (!rows)
		return err_set(e, NE_MEMORY, "no memory for the rows of a set");
	memcpy(rows, c->row, c->n_row * sizeof *rows);
	*out = (struct table_rows){.shape = &t->shape, .n_row = c->n_row, .row = rows};
	c->out->rows.n_table++;
	c->out->n_row += c->n_row;
	c->n_row = 0;
	return NE_OK;
}

/* The pass over table `id`; NULL when there is no room for one more, which devdb's limit rules out.
 */
static struct pass *pass_of(struct cutter *c, int64_t id)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->pass[i].table == id)
			return &c->pass[i];
	}
	if (c->n == LIMIT_TABLES)
		forget_passes(c);
	c->pass[c->n] = (struct pass){.table = id, .lost_at = INT64_MIN};
	return &c->pass[c->n++];
}

static int segments_copy(struct segments *to, const struct segments *from)
{
	*to = (struct segments){0};
	for (size_t i = 0; i < from->n; i++)
		TRY(segments_add(to, buf_slice(&from->at[i].hi), from->at[i].gen));
	return NE_OK;
}

/* Keeps where every pass stands, for a transaction that fails. */
static int save_passes(struct cutter *c, struct err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		struct pass *to = &c->saved[i], *from = &c->pass[i];

		*to = *from;
		if (segments_copy(&to->before, &from->before) ||
		    segments_copy(&to->now, &from->now)) {
			to->now = (struct segments){0};
			return err_set(e, NE_MEMORY, "no memory to cut a set");
		}
	}
	return NE_OK;
}

static void drop_saved(struct cutter *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pass_free(&c->saved[i]);
}

static void put_back(struct cutter *c, size_t n)
{
	for (size_t i = 0; i < c->n; i++)
		pass_free(&c->pass[i]);
	memcpy(c->pass, c->saved, n * sizeof *c->pass);
	memset(c->saved, 0, n * sizeof *c->saved);
	c->n = n;
}

/* Tables that are not to be compressed are a class of their own within a priority, the first. */
static int cut_class(struct cutter *c, struct cutting *x, int priority, bool uncompressed,
		     struct err *e)
{
	for (size_t i = 0; i < c->d->n_table && !x->full; i++) {
		const struct tracked *t = &c->d->table[i];

		if (t->priority != priority || t->shape.uncompressed != uncompressed ||
		    !tracked_is_cut(t))
			continue;
		if (t->shape.kind == SHAPE_APPEND && x->limits->deletes)
			continue;
		if (t->shape.kind == SHAPE_APPEND)
			TRY(cut_append_table(x, t, pass_of(c, t->id), e));
		else
			TRY(cut_merge_table(x, t, pass_of(c, t->id), e));
	}
	return NE_OK;
}

/* The newest number that is committed or in flight. */
static int newest(struct devdb *d, uint64_t *out, struct err *e)
{
	int64_t inflight, acked;

	TRY(db_int(d->db, "SELECT max(number) FROM neap_inflight", 0, &inflight, e));
	TRY(devdb_get(d, "acked_number", &acked, e));
	*out = (uint64_t)(inflight > acked ? inflight : acked);
	return NE_OK;
}

static int store_set(struct cutting *x, struct err *e)
{
	struct cut *out = x->out;
	sqlite3_stmt *s;

	TRY(db_prepare(x->d->db,
		       "INSERT INTO neap_inflight(number, cut, prev, site, gen_hi, stamp, ranges) "
		       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
		       &s, e));
	sqlite3_bind_int64(s, 1, (int64_t)out->number);
	sqlite3_bind_int64(s, 2, (int64_t)out->cut);
	sqlite3_bind_int64(s, 3, (int64_t)out->prev);
	sqlite3_bind_int64(s, 4, (int64_t)out->site);
	sqlite3_bind_int64(s, 5, out->gen_hi);
	sqlite3_bind_int64(s, 6, (int64_t)x->stamp);
	sqlite3_bind_blob64(s, 7, x->ranges.at, x->ranges.len, SQLITE_STATIC);
	TRY(db_run(x->d->db, s, e));
	sqlite3_clear_bindings(s);
	return NE_OK;
}

static bool has_merge_rows(const struct rows *rows)
{
	bool any = false;

	for (size_t i = 0; i < rows->n_table; i++)
		any |= rows->table[i].shape->kind == SHAPE_MERGE;
	return any;
}

/* Numbers the set; from here on every write has a higher generation and a later stamp. */
static int give_out(struct cutting *x, uint64_t cut_id, struct err *e)
{
	struct cut *out = x->out;
	int64_t last;
	sqlite3_stmt *s;

	TRY(devdb_get(x->d, "last_number", &last, e));
	TRY(newest(x->d, &out->prev, e));
	if ((uint64_t)last < out->prev)
		last = (int64_t)out->prev;
	if ((uint64_t)last >= INT64_MAX - x->limits->skip)
		return err_set(e, NE_CORRUPT, "the numbers of sets are used up");
	out->number = (uint64_t)last + 1 + x->limits->skip;
	out->cut = cut_id;
	out->site = x->d->site;
	out->gen_hi = x->clock.gen;
	out->flags = x->full ? SET_PARTIAL : 0;
	if (has_merge_rows(&out->rows))
		TRY(aware_of(x->d, &out->rows, &out->seen, e));
	out->captured = x->any_append && x->captured != out->site ? x->captured : 0;
	TRY(devdb_set(x->d, "last_number", (int64_t)out->number, e));
	TRY(devdb_set(x->d, "last_cut", (int64_t)cut_id, e));
	TRY(store_set(x, e));
	if (x->full)
		TRY(again_partial(x->d, out->number, e));
	TRY(db_prepare(x->d->db, "UPDATE neap_clock SET gen = gen + 1, floor = max(floor, ?1)", &s,
		       e));
	sqlite3_bind_int64(s, 1, (int64_t)x->stamp);
	return db_run(x->d->db, s, e);
}

static int cut_in_transaction(struct cutter *c, struct cutting *x, uint64_t cut_id, struct err *e)
{
	TRY(devdb_clock(x->d, &x->clock, e));
	TRY(cut_look_for_rejects(x, e));
	x->out->rows.table = arena_array(x->arena, LIMIT_TABLES, sizeof *x->out->rows.table);
	if (!x->out->rows.table)
		return err_set(e, NE_MEMORY, "no memory for a set");
	for (int i = 0; i < 2 * PRIORITIES && x->out->n_row == 0; i++)
		TRY(cut_class(c, x, i / 2, i % 2 == 0, e));
	if (x->out->n_row)
		return give_out(x, cut_id, e);
	x->out->more = x->full;
	return x->limits->deletes ? NE_OK : aware_all_cut(x->d, e);
}

static int look(struct cutter *c, struct seen *out, struct err *e)
{
	TRY(db_int(c->d->db, "PRAGMA data_version", 0, &out->data_version, e));
	out->changes = sqlite3_total_changes64(db_handle(c->d->db));
	return NE_OK;
}

/* True while nothing can have become pending since the last look found nothing. */
static int still_idle(struct cutter *c, bool *idle, struct err *e)
{
	struct seen now;

	*idle = false;
	if (c->blocked) {
		int64_t n;

		TRY(inflight_count(c->d, &n, e));
		c->blocked = n > 0;
		*idle = c->blocked;
		return NE_OK;
	}
	if (!c->seen.idle)
		return NE_OK;
	TRY(look(c, &now, e));
	*idle = now.data_version == c->seen.data_version && now.changes == c->seen.changes;
	return NE_OK;
}

/* Remembers an empty look; `before` was seen inside its transaction, so no write falls between. */
static void remember_idle(struct cutter *c, const struct seen *before)
{
	c->seen = *before;
	c->seen.changes = sqlite3_total_changes64(db_handle(c->d->db));
	c->seen.idle = true;
}

/* Cuts in the transaction that is open; on failure every pass stands where it stood. */
static int cut_or_put_back(struct cutter *c, struct cutting *x, uint64_t cut_id, struct err *e)
{
	size_t n = c->n;
	int rc = save_passes(c, e);

	if (rc) {
		drop_saved(c, n);
		return rc;
	}
	rc = cut_in_transaction(c, x, cut_id, e);
	if (!rc)
		rc = devdb_commit(c->d, e);
	if (rc)
		put_back(c, n);
	else
		drop_saved(c, n);
	return rc;
}

int cutter_next(struct cutter *c, const struct cut_limits *limits, uint64_t cut_id, struct arena *a,
		struct cut *out, bool *any, struct err *e)
{
	struct cutting x = {.d = c->d,
			    .limits = limits,
			    .arena = a,
			    .out = out,
			    .ranges = {.max = RANGES_BYTES},
			    .row = c->row};
	struct seen before;
	bool idle;
	int rc;

	*any = false;
	*out = (struct cut){0};
	TRY(still_idle(c, &idle, e));
	if (idle)
		return NE_OK;
	TRY(devdb_begin(c->d, e));
	c->seen.idle = false;
	rc = look(c, &before, e);
	if (!rc)
		rc = cut_or_put_back(c, &x, cut_id, e);
	buf_free(&x.ranges);
	if (rc) {
		devdb_rollback(c->d);
		return rc;
	}
	*any = out->n_row > 0;
	if (!*any && !limits->deletes)
		remember_idle(c, &before);
	return NE_OK;
}

int cut_list(struct devdb *d, struct cut_inflight *out, size_t max, size_t *n, struct err *e)
{
	sqlite3_stmt *s;
	bool row;
	int rc;

	*n = 0;
	TRY(db_prepare(d->db,
		       "SELECT number, cut, prev, site, gen_hi FROM neap_inflight ORDER BY number",
		       &s, e));
	while (!(rc = db_step(d->db, s, &row, e)) && row && *n < max) {
		out[(*n)++] = (struct cut_inflight){.number = (uint64_t)sqlite3_column_int64(s, 0),
						    .cut = (uint64_t)sqlite3_column_int64(s, 1),
						    .prev = (uint64_t)sqlite3_column_int64(s, 2),
						    .site = (uint64_t)sqlite3_column_int64(s, 3),
						    .gen_hi = sqlite3_column_int64(s, 4)};
	}
	sqlite3_reset(s);
	return rc;
}
