/*
 * Epochs of keys (rule K2): the second in which one began, strictly rising,
 * over after 30 days. One counter per user (group) and one per device.
 */
#include "backend/auth/auth_db.h"

enum { EPOCH_LIFE_S = 30 * 86400 };

int epoch_next(struct auth *a, int64_t last, int64_t *out, struct err *e)
{
	int64_t next = auth_now(a), master = keys_newest_master(a);

	/* The key of an epoch comes from the newest master made before it: with a clock set back it
	 * must still not fall behind that one. */
	if (next < master)
		next = master;
	if (next <= last)
		next = last + 1;
	*out = next;
	return next < UINT32_MAX
		       ? 0
		       : err_set(e, NE_LIMIT, "this machine's clock is wrong: set the date");
}

int epoch_move_group(struct auth *a, const char *user, struct err *e)
{
	int64_t last, next;

	TRY(sql_int(a->db, 0, &last, e, "SELECT group_epoch FROM users WHERE name = ?1", "s",
		    user));
	TRY(epoch_next(a, last, &next, e));
	TRY(sql_do(a->db, e, "UPDATE users SET group_epoch = ?2 WHERE name = ?1", "si", user,
		   next));
	return auth_touch(a, e);
}

int epoch_move_device(struct auth *a, const char *user, const char *device, bool keep,
		      struct err *e)
{
	int64_t last, next;

	TRY(sql_int(a->db, 0, &last, e, "SELECT epoch FROM devices WHERE user = ?1 AND name = ?2",
		    "ss", user, device));
	TRY(epoch_next(a, last, &next, e));
	TRY(sql_do(a->db, e,
		   "UPDATE devices SET epoch = ?3, prev = ?4 WHERE user = ?1 AND name = ?2", "ssii",
		   user, device, next, keep ? last : (int64_t)0));
	return auth_touch(a, e);
}

int epoch_refresh(struct auth *a, const char *user, const char *device, struct err *e)
{
	int64_t over = auth_now(a) - EPOCH_LIFE_S, master = keys_newest_master(a);
	int64_t group, own;

	if (over < master && master <= auth_now(a))
		over = master;
	TRY(sql_int(a->db, 0, &group, e, "SELECT group_epoch FROM users WHERE name = ?1", "s",
		    user));
	TRY(sql_int(a->db, 0, &own, e, "SELECT epoch FROM devices WHERE user = ?1 AND name = ?2",
		    "ss", user, device));
	if (group < over)
		TRY(epoch_move_group(a, user, e));
	if (own < over)
		TRY(epoch_move_device(a, user, device, true, e));
	return 0;
}

int epoch_move_groups(struct auth *a, struct err *e)
{
	int64_t last, next;

	/* One number above all that were: still strictly rising for each. */
	TRY(db_int(a->db, "SELECT coalesce(max(group_epoch), 0) FROM users", 0, &last, e));
	TRY(epoch_next(a, last, &next, e));
	TRY(sql_do(a->db, e, "UPDATE users SET group_epoch = ?1", "i", next));
	return auth_touch(a, e);
}

/*
 * What devices sealed before is not for this store: recorded sets would be new to it. The epoch
 * that ended is kept below zero, so that who still uses it can be told.
 */
static int epoch_end_devices(struct auth *a, struct err *e)
{
	int64_t last, next;

	TRY(db_int(a->db, "SELECT coalesce(max(epoch), 0) FROM devices", 0, &last, e));
	TRY(epoch_next(a, last, &next, e));
	return sql_do(a->db, e, "UPDATE devices SET prev = -epoch, epoch = ?1", "i", next);
}

int epoch_end_before(struct auth *a, uint32_t master, struct err *e)
{
	int64_t next;

	TRY(epoch_next(a, master, &next, e));
	TRY(sql_do(a->db, e, "UPDATE devices SET prev = 0 WHERE prev < ?1", "i", (int64_t)master));
	TRY(sql_do(a->db, e, "UPDATE devices SET epoch = ?2 WHERE epoch < ?1", "ii",
		   (int64_t)master, next));
	TRY(sql_do(a->db, e, "UPDATE users SET group_epoch = ?2 WHERE group_epoch < ?1", "ii",
		   (int64_t)master, next));
	return auth_touch(a, e);
}

int auth_store_opened(struct auth *a, uint64_t store_id, uint64_t previous_term, uint64_t term,
		      struct err *e)
{
	int64_t same;

	TRY(auth_begin(a, e));
	int rc = sql_int(a->db, 0, &same, e, "SELECT store_id = ?1 AND term = ?2 FROM meta", "ii",
			 (int64_t)store_id, (int64_t)previous_term);
	/* Another store, or one whose newest term is not the one we saw it take: it was put back.
	 */
	if (!rc && !same)
		rc = epoch_end_devices(a, e);
	if (!rc && !same)
		rc = epoch_move_groups(a, e);
	if (!rc)
		rc = sql_do(a->db, e, "UPDATE meta SET store_id = ?1, term = ?2", "ii",
			    (int64_t)store_id, (int64_t)term);
	return auth_end(a, rc, e);
}
