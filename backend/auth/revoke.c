/*
 * Revocations: what makes tokens void, and the log of them beside auth.db. The
 * log is only ever appended to, so that an auth.db restored from a backup does
 * not bring a revoked device, or a code that was used, back to life (rule L2): what it lacks of
 * the log is done again when it is opened. A running neapd tells each entry to the audit trail.
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
#include "common/log.h"
#include "protocol/jwt.h"

enum { LINE_MAX_LEN = 256 };

/* ADD and CODE are for the audit trail alone. */
enum verb { REVOKE, ALLOW, PASSWD, REMOVE, ENROL, ADD, CODE, VERBS };
static const struct {
	const char *name, *event;
} verbs[VERBS] = {
	[REVOKE] = {"revoke", "device_revoked"},
	[ALLOW] = {"allow", "device_allowed"},
	[PASSWD] = {"passwd", "password_changed"},
	[REMOVE] = {"remove", "account_removed"},
	[ENROL] = {"enrol", "code_used"},
	[ADD] = {"add", "account_added"},
	[CODE] = {"code", "code_made"},
};

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
	case REMOVE:
		return do_remove(a, user, at_s, e);
	default:
		return 0;
	}
}

static int log_failed(struct err *e, const char *doing)
{
	return err_set(e, NE_DISK, "cannot %s revocations.log: %s", doing, strerror(errno));
}

/* A full disk or a crash left the last line without its end. */
static bool cut_short(struct auth *a)
{
	struct stat st;
	char last = '\n';

	return !fstat(a->log_fd, &st) && st.st_size > 0 &&
	       pread(a->log_fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
}

/*
 * The log goes first: what is in it and not in auth.db is done at the next start. `line` begins
 * with a line feed, which is left out behind a whole line.
 */
static int append(struct auth *a, const char *line, int64_t *size, struct err *e)
{
	struct stat st;

	if (!cut_short(a))
		line++;
	size_t len = strlen(line);
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

	snprintf(line, sizeof line, "\n%lld %s %s %s %ld\n", (long long)now, verbs[verb].name, user,
		 *device ? device : "-", (long)getuid());
	TRY(append(a, line, &size, e));
	TRY(apply(a, verb, user, device, now, e));
	return sql_do(a->db, e, "UPDATE meta SET log_bytes = ?1", "i", size);
}

struct entry {
	int64_t at_s;
	enum verb verb;
	struct id user, device;
	long uid; /* whose process it was */
};

static bool parse_line(char *line, struct entry *out)
{
	char *word[5], *save = NULL, *end, *end_uid;
	int n = 0;

	for (char *w = strtok_r(line, " ", &save); w && n < 5; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	if (n != 5)
		return false;
	memset(out, 0, sizeof *out);
	out->at_s = strtoll(word[0], &end, 10);
	out->uid = strtol(word[4], &end_uid, 10);
	while (out->verb < VERBS && strcmp(word[1], verbs[out->verb].name) != 0)
		out->verb++;
	return !*end && !*end_uid && out->verb < VERBS &&
	       !id_set(&out->user, slice_str(word[2]), "user", NULL) &&
	       (!strcmp(word[3], "-") || !id_set(&out->device, slice_str(word[3]), "device", NULL));
}

typedef int (*entry_fn)(struct auth *a, const struct entry *entry, struct err *e);

/* Calls `fn` for each whole line from `*at` on; `*at` is behind the last of them then. */
static int each_entry(struct auth *a, FILE *log, int64_t *at, entry_fn fn, struct err *e)
{
	char line[LINE_MAX_LEN];
	struct entry entry;

	if (fseek(log, (long)*at, SEEK_SET))
		return log_failed(e, "read");
	while (fgets(line, sizeof line, log)) {
		size_t len = strlen(line);
		/* A last line cut short by a crash was never answered for. */
		if (!len || line[len - 1] != '\n')
			continue;
		*at = ftell(log);
		line[len - 1] = 0;
		if (parse_line(line, &entry))
			TRY(fn(a, &entry, e));
	}
	return 0;
}

static int do_again(struct auth *a, const struct entry *entry, struct err *e)
{
	return apply(a, entry->verb, entry->user.at, entry->device.at, entry->at_s, e);
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
		rc = each_entry(a, log, &done, do_again, e);
	fclose(log);
	int64_t size = st.st_size;
	return rc ? rc : sql_do(a->db, e, "UPDATE meta SET log_bytes = ?1", "i", size);
}

static void log_path(const struct auth *a, char out[static CONFIG_PATH + 32])
{
	const char *slash = strrchr(a->config->auth_db, '/');

	snprintf(out, CONFIG_PATH + 32, "%.*srevocations.log",
		 slash ? (int)(slash - a->config->auth_db) + 1 : 0, a->config->auth_db);
}

static int tell(struct auth *a, const struct entry *entry, struct err *e)
{
	const char *device = entry->device.at;

	(void)a;
	(void)e;
	log_line(LOG_INFO, verbs[entry->verb].event, "user=%s%s%s at=%lld uid=%ld", entry->user.at,
		 *device ? " device=" : "", device, (long long)entry->at_s, entry->uid);
	return 0;
}

int auth_trail(struct auth *a, struct err *e)
{
	char path[CONFIG_PATH + 32];
	struct stat st;
	int64_t told;

	if (fstat(a->log_fd, &st))
		return log_failed(e, "look at");
	if (st.st_size == a->told)
		return 0;
	TRY(auth_begin(a, e));
	int rc = db_int(a->db, "SELECT log_bytes FROM trail", 0, &told, e);
	TRY(auth_end(a, rc, e));
	if (told > st.st_size)
		told = st.st_size; /* another log was put here: only what comes is news */
	log_path(a, path);
	FILE *log = fopen(path, "re");
	if (!log)
		return log_failed(e, "read");
	rc = each_entry(a, log, &told, tell, e);
	fclose(log);
	TRY(rc);
	TRY(auth_begin(a, e));
	TRY(auth_end(a, sql_do(a->db, e, "UPDATE trail SET log_bytes = ?1", "i", told), e));
	a->told = st.st_size;
	return 0;
}

int revoke_replay(struct auth *a, struct err *e)
{
	char path[CONFIG_PATH + 32];

	log_path(a, path);
	int rc = file_create(path, slice_of(NULL, 0), FILE_SECRET, e);
	if (!rc)
		rc = file_follow_folder(path, e);
	if (rc && rc != NE_EXISTS)
		return rc;
	TRY(file_check_secret(path, e));
	a->log_fd = open(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
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

int record_user_added(struct auth *a, const char *user, struct err *e)
{
	return record(a, ADD, user, "", e);
}

int record_code_made(struct auth *a, const char *user, const char *device, struct err *e)
{
	return record(a, CODE, user, device, e);
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
