/*
 * Revocations: what makes tokens void, and the log of them beside auth.db. The
 * log is only ever appended to, so that an auth.db restored from a backup does
 * not bring a revoked device, or a code that was used, back to life (rule L2): what it lacks of
 * the log is done again when it is opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/auth/auth_db.h"
#include "common/file.h"
#include "protocol/jwt.h"

enum { LINE_MAX_LEN = 256 };

enum verb { REVOKE, ALLOW, PASSWD, REMOVE, ENROL, VERBS };
static const char *const verb_name[VERBS] = {"revoke", "allow", "passwd", "remove", "enrol"};

static int void_tokens(struct auth *a, const char *user, const char *device, int64_t at_s,
		       struct err *e)
{
	int64_t now = auth_now(a);
	int64_t until = at_s + JWT_LIFE_MAX_S + JWT_LEEWAY_S;

	TRY(sql_do(a->db, e, "DELETE FROM voids WHERE until_s < ?1", "i", now));
	if (until < now)
		return 0;
	return sql_do(a->db, e,
		      "INSERT INTO voids VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
		      " iat_s = max(iat_s, excluded.iat_s), until_s = max(until_s, "
		      "excluded.until_s)",
		      "ssii", user, device, at_s, until);
}

static int do_revoke(struct auth *a, const char *user, const char *device, int64_t at_s,
		     struct err *e)
{
	TRY(sql_do(a->db, e, "UPDATE devices SET revoked = 1 WHERE user = ?1 AND name = ?2", "ss",
		   user, device));
	TRY(sql_do(a->db, e, "DELETE FROM families WHERE user = ?1 AND device = ?2", "ss", user,
		   device));
	TRY(sql_do(a->db, e, "DELETE FROM codes WHERE user = ?1 AND device = ?2", "ss", user,
		   device));
	TRY(void_tokens(a, user, device, at_s, e));
	TRY(epoch_move_device(a, user, device, false, e));
	return epoch_move_group(a, user, e);
}

static int do_passwd(struct auth *a, const char *user, int64_t at_s, struct err *e)
{
	int64_t last, next;

	TRY(sql_do(a->db, e, "DELETE FROM families WHERE user = ?1", "s", user));
	TRY(sql_do(a->db, e, "DELETE FROM codes WHERE user = ?1", "s", user));
	TRY(void_tokens(a, user, "", at_s, e));
	TRY(sql_int(a->db, 0, &last, e, "SELECT max(epoch) FROM devices WHERE user = ?1", "s",
		    user));
	TRY(epoch_next(a, last, &next, e));
	TRY(sql_do(a->db, e, "UPDATE devices SET epoch = ?2, prev = 0 WHERE user = ?1", "si", user,
		   next));
	return epoch_move_group(a, user, e);
}

static int do_remove(struct auth *a, const char *user, int64_t at_s, struct err *e)
{
	/* An account of the same name later must not begin at an epoch that was used. */
	TRY(sql_do(a->db, e,
		   "UPDATE meta SET epoch_floor = max(epoch_floor,"
		   " (SELECT coalesce(max(group_epoch), 0) FROM users WHERE name = ?1),"
		   " (SELECT coalesce(max(epoch), 0) FROM devices WHERE user = ?1))",
		   "s", user));
	TRY(sql_do(a->db, e, "DELETE FROM families WHERE user = ?1", "s", user));
	TRY(sql_do(a->db, e, "DELETE FROM codes WHERE user = ?1", "s", user));
	TRY(sql_do(a->db, e, "DELETE FROM devices WHERE user = ?1", "s", user));
	TRY(sql_do(a->db, e, "DELETE FROM users WHERE name = ?1", "s", user));
	TRY(void_tokens(a, user, "", at_s, e));
	return auth_touch(a, e);
}

/* A code made after this use is another one. */
static int do_enrol(struct auth *a, const char *user, const char *device, int64_t at_s,
		    struct err *e)
{
	return sql_do(
		a->db, e,
		"UPDATE codes SET used_s = ?3 WHERE user = ?1 AND device = ?2 AND made_s <= ?3"
		" AND used_s = 0",
		"ssi", user, device, at_s);
}

static int apply(struct auth *a, enum verb verb, const char *user, const char *device, int64_t at_s,
		 struct err *e)
{
	switch (verb) {
	case REVOKE:
		return do_revoke(a, user, device, at_s, e);
	case ALLOW:
		TRY(sql_do(a->db, e, "UPDATE devices SET revoked = 0 WHERE user = ?1 AND name = ?2",
			   "ss", user, device));
		return auth_touch(a, e);
	case PASSWD:
		return do_passwd(a, user, at_s, e);
	case ENROL:
		return do_enrol(a, user, device, at_s, e);
	default:
		return do_remove(a, user, at_s, e);
	}
}

static int log_failed(struct err *e, const char *doing)
{
	return err_set(e, NE_DISK, "cannot %s revocations.log: %s", doing, strerror(errno));
}

/* The log goes first: what is in it and not in auth.db is done at the next start. */
static int append(struct auth *a, const char *line, int64_t *size, struct err *e)
{
	size_t len = strlen(line);
	struct stat st;

	if (write(a->log_fd, line, len) != (ssize_t)len || fsync(a->log_fd))
		return log_failed(e, "write");
	if (fstat(a->log_fd, &st))
		return log_failed(e, "look at");
	*size = st.st_size;
	return 0;
}

static int record(struct auth *a, enum verb verb, const char *user, const char *device,
		  struct err *e)
{
	char line[LINE_MAX_LEN];
	int64_t now = auth_now(a), size = 0;

	snprintf(line, sizeof line, "%lld %s %s %s\n", (long long)now, verb_name[verb], user,
		 *device ? device : "-");
	TRY(append(a, line, &size, e));
	TRY(apply(a, verb, user, device, now, e));
	return sql_do(a->db, e, "UPDATE meta SET log_bytes = ?1", "i", size);
}

static bool parse_line(char *line, enum verb *verb, struct id *user, struct id *device,
		       int64_t *at_s)
{
	char *word[4], *save = NULL, *end;
	int n = 0;

	for (char *w = strtok_r(line, " ", &save); w && n < 4; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	if (n != 4)
		return false;
	*at_s = strtoll(word[0], &end, 10);
	for (*verb = REVOKE; *verb < VERBS && strcmp(word[1], verb_name[*verb]); (*verb)++)
		;
	memset(device, 0, sizeof *device);
	return !*end && *verb < VERBS && !id_set(user, slice_str(word[2]), "user", NULL) &&
	       (!strcmp(word[3], "-") || !id_set(device, slice_str(word[3]), "device", NULL));
}

static int replay_from(struct auth *a, FILE *log, struct err *e)
{
	char line[LINE_MAX_LEN];
	struct id user, device;
	enum verb verb;
	int64_t at_s;

	while (fgets(line, sizeof line, log)) {
		size_t len = strlen(line);
		/* A last line cut short by a crash was never answered for. */
		if (!len || line[len - 1] != '\n')
			continue;
		line[len - 1] = 0;
		if (parse_line(line, &verb, &user, &device, &at_s))
			TRY(apply(a, verb, user.at, device.at, at_s, e));
	}
	return 0;
}

static int replay(struct auth *a, const char *path, struct err *e)
{
	struct stat st;
	int64_t done;

	TRY(db_int(a->db, "SELECT log_bytes FROM meta", 0, &done, e));
	if (fstat(a->log_fd, &st))
		return log_failed(e, "look at");
	if (done == st.st_size)
		return 0;
	FILE *log = fopen(path, "re");
	if (!log)
		return log_failed(e, "read");
	int rc = 0;
	if (done < st.st_size)
		rc = fseek(log, (long)done, SEEK_SET) ? log_failed(e, "read")
						      : replay_from(a, log, e);
	char last = '\n';
	if (!rc && st.st_size && !fseek(log, -1, SEEK_END))
		last = (char)fgetc(log);
	fclose(log);
	int64_t size = st.st_size;
	if (!rc && last != '\n')
		rc = append(a, "\n", &size, e);
	return rc ? rc : sql_do(a->db, e, "UPDATE meta SET log_bytes = ?1", "i", size);
}

int revoke_replay(struct auth *a, struct err *e)
{
	char path[CONFIG_PATH + 32];
	const char *slash = strrchr(a->config->auth_db, '/');

	snprintf(path, sizeof path, "%.*srevocations.log",
		 slash ? (int)(slash - a->config->auth_db) + 1 : 0, a->config->auth_db);
	int rc = file_create(path, slice_of(NULL, 0), FILE_SECRET, e);
	if (rc && rc != NE_EXISTS)
		return rc;
	TRY(file_check_secret(path, e));
	a->log_fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (a->log_fd < 0)
		return log_failed(e, "open");
	TRY(auth_begin(a, e));
	return auth_end(a, replay(a, path, e), e);
}

static int check_device(struct auth *a, const char *user, const char *device, struct err *e)
{
	int64_t there;

	TRY(sql_int(a->db, 0, &there, e, "SELECT 1 FROM devices WHERE user = ?1 AND name = ?2",
		    "ss", user, device));
	if (!there)
		return err_set(e, NE_NOT_FOUND,
			       "user \"%.64s\" has no device \"%.64s\"; see neapd device list",
			       user, device);
	return 0;
}

static int check_user(struct auth *a, const char *user, struct err *e)
{
	int64_t there;

	TRY(sql_int(a->db, 0, &there, e, "SELECT 1 FROM users WHERE name = ?1", "s", user));
	if (!there)
		return err_set(e, NE_NOT_FOUND, "no user \"%.64s\"; see neapd user list", user);
	return 0;
}

static int change_device(struct auth *a, enum verb verb, const char *user, const char *device,
			 struct err *e)
{
	TRY(auth_begin(a, e));
	int rc = check_user(a, user, e);
	if (!rc)
		rc = check_device(a, user, device, e);
	if (!rc)
		rc = record(a, verb, user, device, e);
	return auth_end(a, rc, e);
}

int auth_device_revoke(struct auth *a, const char *user, const char *device, struct err *e)
{
	return change_device(a, REVOKE, user, device, e);
}

int auth_device_allow(struct auth *a, const char *user, const char *device, struct err *e)
{
	return change_device(a, ALLOW, user, device, e);
}

int revoke_code(struct auth *a, const char *user, const char *device, struct err *e)
{
	return record(a, ENROL, user, device, e);
}

int auth_user_remove(struct auth *a, const char *user, struct err *e)
{
	TRY(auth_begin(a, e));
	int rc = check_user(a, user, e);
	if (!rc)
		rc = record(a, REMOVE, user, "", e);
	return auth_end(a, rc, e);
}

int account_set_hash(struct auth *a, const char *user, const char *hash, struct err *e)
{
	TRY(auth_begin(a, e));
	int rc = check_user(a, user, e);
	if (!rc)
		rc = sql_do(a->db, e, "UPDATE users SET hash = ?2 WHERE name = ?1", "ss", user,
			    hash);
	if (!rc)
		rc = record(a, PASSWD, user, "", e);
	return auth_end(a, rc, e);
}

int auth_each_void(struct auth *a, auth_void_fn fn, void *ctx, struct err *e)
{
	sqlite3_stmt *st = NULL;
	bool row;

	pthread_mutex_lock(&a->read_lock);
	int rc = sql_bind(a->read, &st, e,
			  "SELECT user, device, iat_s, until_s FROM voids WHERE until_s >= ?1"
			  " ORDER BY user, device",
			  "i", auth_now(a));
	while (!rc && !(rc = db_step(a->read, st, &row, e)) && row) {
		struct auth_void v = {
			.user = (const char *)sqlite3_column_text(st, 0),
			.device = (const char *)sqlite3_column_text(st, 1),
			.iat_s = sqlite3_column_int64(st, 2),
			.until_s = sqlite3_column_int64(st, 3),
		};
		rc = fn(ctx, &v, e);
	}
	sqlite3_reset(st); /* NULL is allowed */
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}
