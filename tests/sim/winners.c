#include "tests/sim/winners.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "device/core/engine_internal.h"
#include "protocol/value_bytes.h"

/* Every column of the row, as a delete writes it. */
#define ALL_COLUMNS "*"

/* A set that was cut, and is not known to be committed. */
struct cut_set {
	const struct sim_user *user;
	struct buf frame;
	uint64_t site, number, cut;
};

struct winners {
	sqlite3 *db;
	sqlite3_stmt *fold, *find, *alive;
	struct cut_set *set;
	size_t n_set, cap_set;
};

static const char create_sql[] =
	"CREATE TABLE w(user, tab, key, col, stamp, site, dead, val, PRIMARY KEY(user, tab, key, "
	"col)) WITHOUT ROWID";
static const char fold_sql[] =
	"INSERT INTO w VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET stamp = "
	"excluded.stamp, site = excluded.site, dead = excluded.dead, val = excluded.val WHERE "
	"(excluded.stamp, excluded.site, excluded.dead) > (stamp, site, dead)";
static const char find_sql[] =
	"SELECT stamp, site, dead, val FROM w WHERE user = ?1 AND tab = ?2 AND key = ?3 AND col = "
	"?4";
static const char alive_sql[] =
	"SELECT count(*) FROM w WHERE user = ?1 AND tab = ?2 AND col = '' AND NOT dead";

void winners_open(struct world *w)
{
	struct winners *win = calloc(1, sizeof *win);

	assert(win);
	w->winners = win;
	if (sqlite3_open(":memory:", &win->db) != SQLITE_OK ||
	    sqlite3_exec(win->db, create_sql, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(win->db, fold_sql, -1, &win->fold, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(win->db, find_sql, -1, &win->find, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(win->db, alive_sql, -1, &win->alive, NULL) != SQLITE_OK)
		abort();
	/* Deletes that are forgotten give way to what is older. */
	if (w->c.tombstone_ms)
		winners_close(w);
}

void winners_close(struct world *w)
{
	struct winners *win = w->winners;

	if (!win)
		return;
	for (size_t i = 0; i < win->n_set; i++)
		buf_free(&win->set[i].frame);
	free(win->set);
	sqlite3_finalize(win->fold);
	sqlite3_finalize(win->find);
	sqlite3_finalize(win->alive);
	sqlite3_close(win->db);
	free(win);
	w->winners = NULL;
}

bool winners_concern(const struct world *w, const char *table)
{
	for (unsigned i = 0; i < w->n_table; i++)
		if (strcmp(w->table[i]->name, table) == 0)
			return !w->table[i]->append && !w->table[i]->unique;
	return false;
}

/* ---- the greatest of all ---- */

static void bind_cell(sqlite3_stmt *s, const struct written *of)
{
	sqlite3_bind_text(s, 1, of->user, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, of->table, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 3, of->key.at, (int)of->key.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 4, of->col.len ? (const char *)of->col.at : "", (int)of->col.len,
			  SQLITE_STATIC);
}

void winners_fold(struct world *w, const struct written *new)
{
	struct buf val = {.max = WINNERS_BYTES};
	sqlite3_stmt *s = w->winners->fold;

	if (new->val && value_put_canonical(&val, new->val, COLL_BINARY))
		abort();
	bind_cell(s, new);
	sqlite3_bind_int64(s, 5, (sqlite3_int64) new->reg.stamp);
	sqlite3_bind_int64(s, 6, (sqlite3_int64) new->reg.site);
	sqlite3_bind_int(s, 7, new->dead);
	sqlite3_bind_blob(s, 8, val.at, (int)val.len, SQLITE_STATIC);
	if (sqlite3_step(s) != SQLITE_DONE)
		abort();
	sqlite3_reset(s);
	buf_free(&val);
	/* Existence that ended: so did every column. */
	if (new->dead && !new->col.len) {
		struct written all = *new;
		all.col = slice_str(ALL_COLUMNS);
		winners_fold(w, &all);
	}
}

static struct reg find_one(struct world *w, const struct written *of, bool *dead, struct buf *val)
{
	sqlite3_stmt *s = w->winners->find;
	struct reg reg = {0, 0};

	bind_cell(s, of);
	if (sqlite3_step(s) == SQLITE_ROW) {
		reg = (struct reg){(uint64_t)sqlite3_column_int64(s, 0),
				   (uint64_t)sqlite3_column_int64(s, 1)};
		*dead = sqlite3_column_int(s, 2);
		if (buf_put(val, sqlite3_column_blob(s, 3), (size_t)sqlite3_column_bytes(s, 3)))
			abort();
	}
	sqlite3_reset(s);
	return reg;
}

struct reg winners_find(struct world *w, const struct written *of, bool *dead, struct buf *val)
{
	struct written all = *of;
	struct reg one, every;

	*dead = true;
	buf_clear(val);
	one = find_one(w, of, dead, val);
	if (!of->col.len)
		return one;
	all.col = slice_str(ALL_COLUMNS);
	size_t len = val->len;
	every = find_one(w, &all, dead, val);
	val->len = reg_cmp(every, one) < 0 ? len : 0;
	return reg_cmp(every, one) < 0 ? one : every;
}

int64_t winners_alive(struct world *w, const char *user, const char *table)
{
	sqlite3_stmt *s = w->winners->alive;
	int64_t n = -1;

	sqlite3_bind_text(s, 1, user, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, table, -1, SQLITE_STATIC);
	if (sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	sqlite3_reset(s);
	return n;
}

/* ---- sets ---- */

static void keep_cut(struct sim_device *d, const struct flight *f)
{
	struct winners *win = d->w->winners;

	if (win->n_set == win->cap_set) {
		win->cap_set = win->cap_set ? 2 * win->cap_set : 64;
		win->set = realloc(win->set, win->cap_set * sizeof *win->set);
		assert(win->set);
	}
	struct cut_set *c = &win->set[win->n_set++];
	*c = (struct cut_set){.user = d->user,
			      .frame = {.max = LIMIT_FRAME},
			      .site = d->en->d->site,
			      .number = f->number,
			      .cut = f->cut};
	if (buf_put(&c->frame, f->frame.at, f->frame.len))
		abort();
}

/* By its id: a number that did not reach the disk is given out again. */
static bool known(const struct sim_device *d, uint64_t cut)
{
	bool yes = false;

	for (size_t i = 0; i < d->n_cut; i++)
		yes |= d->cut[i] == cut;
	return yes;
}

void winners_note_cuts(struct sim_device *d)
{
	const struct engine *en = d->en;

	if (!d->w->winners || !en || en->stale)
		return;
	for (size_t i = 0; i < en->n_flight; i++)
		if (en->flight[i]->frame.len && !known(d, en->flight[i]->cut))
			keep_cut(d, en->flight[i]);
	d->n_cut = en->n_flight;
	for (size_t i = 0; i < en->n_flight; i++)
		d->cut[i] = en->flight[i]->cut;
}

static void fold_row(struct world *w, struct written *to, const struct shape *shape,
		     const struct row *r)
{
	struct buf key = {.max = WINNERS_BYTES};

	if (key_put_canonical(&key, shape, r->key))
		abort();
	to->key = buf_slice(&key);
	to->col = slice_of(NULL, 0);
	to->val = NULL;
	to->reg = r->exist_reg;
	to->dead = r->exist == EXIST_DEAD;
	if (r->exist != EXIST_NONE)
		winners_fold(w, to);
	to->dead = false;
	for (uint16_t i = 0; i < r->n_cell; i++) {
		to->col = shape->col[r->cell[i].col].name;
		to->reg = r->cell[i].reg;
		to->val = &r->cell[i].val;
		winners_fold(w, to);
	}
	buf_free(&key);
}

static void fold_set(struct world *w, const struct cut_set *c)
{
	struct arena a = {.max = 2 * LIMIT_DECODED};
	struct written to = {.user = c->user->name};
	struct frame f;
	struct rows rows;
	struct err e = {0};

	if (frame_decode(buf_slice(&c->frame), &a, &f, &e) ||
	    rows_decode(f.set.rows, f.set.site, store_shapes(w->backend.store), &a, &rows, NULL,
			&e)) {
		sim_fail(w, "a committed set does not decode: %s", e.text);
		rows.n_table = 0;
	}
	for (size_t i = 0; i < rows.n_table; i++) {
		const struct table_rows *tr = &rows.table[i];
		to.table = store_shape_find(w->backend.store, tr->shape->id)->table->name;
		for (size_t k = 0; k < tr->n_row && winners_concern(w, to.table); k++)
			fold_row(w, &to, tr->shape, &tr->row[k]);
	}
	arena_free(&a);
}

/* Whether it was committed; *over: or never will be. */
static bool committed(struct world *w, const struct cut_set *c, bool *over)
{
	struct store *store = w->backend.store;
	struct store_site site;
	struct store_user u;
	bool found = false;
	uint64_t own;
	struct err e = {0};

	*over = false;
	if (store_user_get(store, c->user->name, &u, &found, &e) ||
	    (found && store_site_get(store, &u, c->site, &site, &found, &e))) {
		sim_fail(w, "the store: %s", e.text);
		return false;
	}
	*over = found && site.number >= c->number;
	if (*over && store_site_recall(store, &u, &site, c->number, c->cut, &own, &found, &e))
		sim_fail(w, "the store: %s", e.text);
	return *over && found;
}

void winners_step(struct world *w)
{
	struct winners *win = w->winners;
	size_t kept = 0;
	bool over;

	if (!win || w->failed)
		return;
	winners_take_server(w);
	for (size_t i = 0; i < win->n_set; i++) {
		if (committed(w, &win->set[i], &over))
			fold_set(w, &win->set[i]);
		if (over)
			buf_free(&win->set[i].frame);
		else
			win->set[kept++] = win->set[i];
	}
	win->n_set = kept;
}
