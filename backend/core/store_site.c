/* Sites: one database file of a device, and the sets it had committed. */
#include "backend/core/store_sqlite.h"

const char store_site_sql[] =
	"CREATE INDEX IF NOT EXISTS neap_site_device ON neap_site(uid, device);";

int store_site_get(struct store *s, const struct store_user *u, uint64_t site,
		   struct store_site *out, bool *found, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT id, site, device, number, cut, sets, fence, noted FROM neap_site"
		       " WHERE uid = ? AND site = ?",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, site, e));
	TRY(db_step(s->db, st, found, e));
	if (*found)
		*out = (struct store_site){
			.id = sqlite3_column_int64(st, 0),
			.site = column_u64(st, 1),
			.device = column_id(st, 2),
			.number = column_u64(st, 3),
			.cut = column_u64(st, 4),
			.sets = column_u64(st, 5),
			.fence = column_u64(st, 6),
			.noted = column_u64(st, 7),
		};
	sqlite3_reset(st);
	return 0;
}

static int count(struct store *s, const char *sql, const struct store_user *u, const char *device,
		 int64_t *n, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	TRY(db_prepare(s->db, sql, &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	if (device)
		TRY(bind_text(s, st, 2, device, e));
	TRY(db_step(s->db, st, &row, e));
	*n = row ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	return 0;
}

static int forget(struct store *s, const struct store_user *u, int64_t id, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "DELETE FROM neap_cut WHERE site = ?", &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)id, e));
	TRY(db_run(s->db, st, e));
	TRY(db_prepare(s->db, "DELETE FROM neap_site WHERE uid = ? AND id = ?", &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)id, e));
	return db_run(s->db, st, e);
}

/* The device's site that was silent longest, if that is since `idle_ms`. */
static int forget_idle(struct store *s, const struct store_user *u, const char *device,
		       uint64_t idle_ms, bool *done, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT id FROM neap_site WHERE uid = ? AND device = ? AND seen_ms < ?"
		       " ORDER BY seen_ms, id LIMIT 1",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_text(s, st, 2, device, e));
	TRY(bind_int(s, st, 3, idle_ms, e));
	TRY(db_step(s->db, st, done, e));
	int64_t id = *done ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	return *done ? forget(s, u, id, e) : 0;
}

static int make_room(struct store *s, const struct store_user *u, const char *device,
		     uint64_t idle_ms, struct err *e)
{
	bool room = true;
	int64_t n;

	TRY(count(s, "SELECT count(*) FROM neap_site WHERE uid = ? AND device = ?", u, device, &n,
		  e));
	if (n >= STORE_SITES_DEVICE)
		TRY(forget_idle(s, u, device, idle_ms, &room, e));
	if (!room)
		return err_set(e, NE_LIMIT, "device %s has come as %lld databases already", device,
			       (long long)n);
	TRY(count(s, "SELECT count(*) FROM neap_site WHERE uid = ?", u, NULL, &n, e));
	if (n >= STORE_SITES_USER)
		return err_set(e, NE_LIMIT, "account %s has %lld databases of devices already",
			       u->name.at, (long long)n);
	return 0;
}

int store_site_add(struct store *s, const struct store_user *u, uint64_t site, const char *device,
		   uint64_t idle_ms, struct store_site *out, struct err *e)
{
	sqlite3_stmt *st;
	struct store_site new = {.site = site};

	TRY(make_room(s, u, device, idle_ms, e));

	TRY(id_set(&new.device, slice_str(device), "device", e));
	TRY(db_prepare(s->db, "INSERT INTO neap_site(uid, site, device) VALUES(?, ?, ?)", &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, site, e));
	TRY(bind_text(s, st, 3, device, e));
	TRY(db_run(s->db, st, e));
	new.id = sqlite3_last_insert_rowid(db_handle(s->db));
	*out = new;
	return 0;
}

static int remember(struct store *s, const struct store_site *site, uint64_t number, uint64_t cut,
		    uint64_t own, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "REPLACE INTO neap_cut(site, slot, number, cut, own) VALUES(?, ?, ?, ?, ?)",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)site->id, e));
	TRY(bind_int(s, st, 2, site->sets % LIMIT_ACK_SETS, e));
	TRY(bind_int(s, st, 3, number, e));
	TRY(bind_int(s, st, 4, cut, e));
	TRY(bind_int(s, st, 5, own, e));
	return db_run(s->db, st, e);
}

int store_site_commit(struct store *s, const struct store_user *u, struct store_site *site,
		      uint64_t number, uint64_t cut, uint64_t own, uint64_t now_ms, size_t rows,
		      struct err *e)
{
	sqlite3_stmt *st;

	TRY(remember(s, site, number, cut, own, e));
	TRY(db_prepare(s->db,
		       "UPDATE neap_site SET number = ?3, cut = ?4, sets = sets + 1,"
		       " rows = rows + ?5, seen_ms = ?6 WHERE uid = ?1 AND site = ?2",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, site->site, e));
	TRY(bind_int(s, st, 3, number, e));
	TRY(bind_int(s, st, 4, cut, e));
	TRY(bind_int(s, st, 5, rows, e));
	TRY(bind_int(s, st, 6, now_ms, e));
	TRY(db_run(s->db, st, e));
	site->number = number;
	site->cut = cut;
	site->sets++;
	return 0;
}

int store_site_fence(struct store *s, const struct store_user *u, struct store_site *site,
		     uint64_t number, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "UPDATE neap_site SET fence = ?3 WHERE uid = ?1 AND site = ?2", &st,
		       e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, site->site, e));
	TRY(bind_int(s, st, 3, number, e));
	TRY(db_run(s->db, st, e));
	site->fence = number;
	return 0;
}

int store_site_noted(struct store *s, const struct store_user *u, struct store_site *site,
		     uint64_t number, struct err *e)
{
	sqlite3_stmt *st;

	if (number <= site->noted)
		return 0;
	TRY(db_prepare(s->db, "UPDATE neap_site SET noted = ?3 WHERE uid = ?1 AND site = ?2", &st,
		       e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, site->site, e));
	TRY(bind_int(s, st, 3, number, e));
	TRY(db_run(s->db, st, e));
	site->noted = number;
	return 0;
}

int store_site_recall(struct store *s, const struct store_user *u, const struct store_site *site,
		      uint64_t number, uint64_t cut, uint64_t *own, bool *found, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "SELECT c.own FROM neap_site s JOIN neap_cut c ON c.site = s.id"
		       " WHERE s.uid = ? AND s.site = ? AND c.number = ? AND c.cut = ?",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, site->site, e));
	TRY(bind_int(s, st, 3, number, e));
	TRY(bind_int(s, st, 4, cut, e));
	TRY(db_step(s->db, st, found, e));
	*own = *found ? column_u64(st, 0) : 0;
	sqlite3_reset(st);
	return 0;
}
