#include <string.h>

#include "backend/auth/auth_db.h"

static int check_password(struct slice password, struct err *e)
{
	if (password.len < PASSWORD_MIN || password.len > PASSWORD_MAX)
		return err_set(e, NE_USAGE, "a password has %d to %d bytes, this one has %zu",
			       (int)PASSWORD_MIN, (int)PASSWORD_MAX, password.len);
	if (memchr(password.at, 0, password.len))
		return err_set(e, NE_USAGE, "a password cannot hold a NUL byte");
	return 0;
}

static int check_name(const char *user, struct err *e)
{
	if (!id_valid(slice_str(user)))
		return err_set(
			e, NE_USAGE,
			"\"%.80s\" is no user name: letters, digits, '.', '_', '-', at most %d, "
			"a letter or digit first; neapd and server are taken",
			user, (int)LIMIT_ID);
	return 0;
}

static int insert_user(struct auth *a, const char *user, const char *hash, struct err *e)
{
	int64_t floor, epoch, there;

	TRY(sql_int(a->db, 0, &there, e, "SELECT 1 FROM users WHERE name = ?1", "s", user));
	if (there)
		return err_set(
			e, NE_EXISTS,
			"there is a user \"%s\" already; neapd user passwd changes the password",
			user);
	TRY(db_int(a->db, "SELECT epoch_floor FROM meta", 0, &floor, e));
	TRY(epoch_next(a, floor, &epoch, e));
	TRY(sql_do(a->db, e, "INSERT INTO users VALUES(?1, ?2, 0, ?3, ?4)", "ssii", user, hash,
		   epoch, auth_now(a)));
	TRY(auth_touch(a, e));
	return record_user_added(a, user, e);
}

int auth_user_add(struct auth *a, const char *user, struct slice password, struct err *e)
{
	char hash[PASSWORD_HASH_MAX];

	TRY(check_name(user, e));
	TRY(check_password(password, e));
	TRY(password_hash(password, hash, e));
	TRY(auth_begin(a, e));
	return auth_end(a, insert_user(a, user, hash, e), e);
}

int auth_user_passwd(struct auth *a, const char *user, struct slice password, struct err *e)
{
	char hash[PASSWORD_HASH_MAX];

	TRY(check_password(password, e));
	TRY(password_hash(password, hash, e));
	return account_set_hash(a, user, hash, e);
}

int auth_each_user(struct auth *a, auth_user_fn fn, void *ctx, struct err *e)
{
	sqlite3_stmt *st = NULL;
	bool row;

	pthread_mutex_lock(&a->read_lock);
	int rc = sql_bind(a->read, &st, e,
			  "SELECT name, disabled, group_epoch, created_s, (SELECT count(*) FROM"
			  " devices d WHERE d.user = u.name AND NOT d.revoked) FROM users u"
			  " ORDER BY name",
			  "");
	while (!rc && !(rc = db_step(a->read, st, &row, e)) && row) {
		struct auth_user u = {
			.name = (const char *)sqlite3_column_text(st, 0),
			.disabled = sqlite3_column_int(st, 1),
			.group_epoch = (uint32_t)sqlite3_column_int64(st, 2),
			.created_s = sqlite3_column_int64(st, 3),
			.devices = sqlite3_column_int64(st, 4),
		};
		rc = fn(ctx, &u, e);
	}
	sqlite3_reset(st); /* NULL is allowed */
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}

static int each_device(struct auth *a, const char *user, auth_device_fn fn, void *ctx,
		       struct err *e)
{
	sqlite3_stmt *st;
	int64_t there;
	bool row;
	int rc = 0;

	TRY(sql_int(a->read, 0, &there, e, "SELECT 1 FROM users WHERE name = ?1", "s", user));
	if (!there)
		return err_set(e, NE_NOT_FOUND, "no user \"%.64s\"; see neapd user list", user);
	TRY(sql_bind(a->read, &st, e,
		     "SELECT name, revoked, epoch, first_s, last_s FROM devices WHERE user = ?1"
		     " ORDER BY name",
		     "s", user));
	while (!rc && !(rc = db_step(a->read, st, &row, e)) && row) {
		struct auth_device d = {
			.name = (const char *)sqlite3_column_text(st, 0),
			.revoked = sqlite3_column_int(st, 1),
			.epoch = (uint32_t)sqlite3_column_int64(st, 2),
			.first_s = sqlite3_column_int64(st, 3),
			.last_s = sqlite3_column_int64(st, 4),
		};
		rc = fn(ctx, &d, e);
	}
	sqlite3_reset(st);
	return rc;
}

int auth_each_device(struct auth *a, const char *user, auth_device_fn fn, void *ctx, struct err *e)
{
	pthread_mutex_lock(&a->read_lock);
	int rc = each_device(a, user, fn, ctx, e);
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}
