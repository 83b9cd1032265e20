/* Keys for the broker link: derived once, kept as long as no account, epoch or revocation changed.
 */
#include <string.h>
#include <time.h>

#include "backend/auth/auth_db.h"

enum { LOOK_EVERY_MS = 20 };

static int64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * Under read_lock. A file that cannot be read moves the revision, so that nothing kept is trusted;
 * what it has moved by stays in it, else the next change of the stored one could go unseen.
 */
static uint64_t revision(struct auth *a)
{
	int64_t now = monotonic_ms(), version, stored;
	bool ours = atomic_exchange(&a->changed, false);

	if (!ours && a->looked_ms >= 0 && now - a->looked_ms < LOOK_EVERY_MS)
		return a->revision;
	a->looked_ms = now;
	if (db_int(a->read, "PRAGMA data_version", 0, &version, NULL)) {
		a->data_version = -1;
		a->unread++;
		return ++a->revision;
	}
	if (version == a->data_version)
		return a->revision;
	if (db_int(a->read, "SELECT revision FROM meta", 0, &stored, NULL)) {
		a->unread++;
		return ++a->revision;
	}
	a->data_version = version;
	a->revision = (uint64_t)stored + a->unread;
	return a->revision;
}

uint64_t auth_revision(struct auth *a)
{
	pthread_mutex_lock(&a->read_lock);
	uint64_t now = revision(a);
	pthread_mutex_unlock(&a->read_lock);
	return now;
}

static int derive(struct auth *a, enum key_purpose purpose, const char *user, const char *device,
		  uint32_t epoch, struct auth_key *out, struct err *e)
{
	uint32_t id;

	pthread_rwlock_rdlock(&a->keys_lock);
	const struct key *master = keyring_master(a->keys, epoch, &id);
	int rc = master ? key_derive(master, id, purpose, slice_str(user), slice_str(device), epoch,
				     &out->key, e)
			: err_set(e, NE_NOT_FOUND,
				  "the master key of epoch %u is missing; bring it back from a "
				  "backup",
				  epoch);
	pthread_rwlock_unlock(&a->keys_lock);
	out->epoch = epoch;
	return rc;
}

/*
 * Another process may have met a new master key before us, and moved epochs on: an older key must
 * never be taken for such an epoch.
 */
static int know_master(struct auth *a, struct err *e)
{
	int64_t known;

	TRY(db_int(a->read, "SELECT master_id FROM meta", 0, &known, e));
	if (known <= keys_newest_master(a))
		return 0;
	TRY(keys_reload(a, true, e));
	if (known <= keys_newest_master(a))
		return 0;
	return err_set(e, NE_NOT_FOUND, "the master key master-%lld is missing; bring it back",
		       (long long)known);
}

/* device "" for the group's. *prev is 0 where there is none, and below it if it ended (epoch.c). */
static int find_epoch(struct auth *a, const char *user, const char *device, int64_t *epoch,
		      int64_t *prev, struct err *e)
{
	sqlite3_stmt *st = NULL;
	bool row = false, barred;

	if (*device)
		TRY(sql_bind(a->read, &st, e,
			     "SELECT d.epoch, d.prev, d.revoked OR u.disabled FROM devices d JOIN"
			     " users u ON u.name = d.user WHERE d.user = ?1 AND d.name = ?2",
			     "ss", user, device));
	else
		TRY(sql_bind(a->read, &st, e,
			     "SELECT group_epoch, 0, disabled FROM users WHERE name = ?1", "s",
			     user));
	TRY(db_step(a->read, st, &row, e));
	*epoch = row ? sqlite3_column_int64(st, 0) : 0;
	*prev = row ? sqlite3_column_int64(st, 1) : 0;
	barred = row && sqlite3_column_int(st, 2);
	sqlite3_reset(st);
	if (!row)
		return err_set(e, NE_NOT_FOUND, "no %s \"%.64s\"", *device ? "device" : "user",
			       *device ? device : user);
	if (barred)
		return err_set(e, NE_AUTH, "user \"%.64s\", device \"%.64s\": revoked or disabled",
			       user, device);
	return 0;
}

static int find_key(struct auth *a, const char *user, const char *device, uint32_t asked,
		    struct auth_key *out, struct err *e)
{
	int64_t epoch, prev;

	TRY(find_epoch(a, user, device, &epoch, &prev, e));
	TRY(know_master(a, e));
	out->ended = asked && asked != epoch && asked == -prev;
	if (asked && asked != epoch && (!prev || asked != prev) && !out->ended)
		return err_set(e, NE_AUTH,
			       "user \"%.64s\", device \"%.64s\": epoch %u is over or never was",
			       user, device, asked);
	return derive(a, *device ? KEY_MESSAGE : KEY_GROUP, user, device,
		      asked ? asked : (uint32_t)epoch, out, e);
}

static size_t slot_of(const char *user, const char *device, uint32_t asked)
{
	uint32_t h = 2166136261U ^ asked; /* FNV-1a */

	for (; *user; user++)
		h = (h ^ (uint8_t)*user) * 16777619U;
	for (h = (h ^ '/') * 16777619U; *device; device++)
		h = (h ^ (uint8_t)*device) * 16777619U;
	return h % KEY_CACHE;
}

static int lookup(struct auth *a, const char *user, const char *device, uint32_t asked,
		  struct auth_key *out, struct err *e)
{
	struct cached_key *c = &a->cache[slot_of(user, device, asked)];
	uint64_t now = revision(a);

	if (c->revision == now && c->asked == asked && !strcmp(c->user.at, user) &&
	    !strcmp(c->device.at, device)) {
		*out = c->key;
		return 0;
	}
	TRY(find_key(a, user, device, asked, out, e));
	/* What is in auth.db was checked to be an id when it came in. */
	*c = (struct cached_key){.revision = now, .asked = asked, .key = *out};
	memcpy(c->user.at, user, strlen(user) + 1);
	memcpy(c->device.at, device, strlen(device) + 1);
	return 0;
}

int auth_device_key(struct auth *a, const char *user, const char *device, uint32_t epoch,
		    struct auth_key *out, struct err *e)
{
	if (!*device)
		return err_set(e, NE_NOT_FOUND, "no device \"\"");
	pthread_mutex_lock(&a->read_lock);
	int rc = lookup(a, user, device, epoch, out, e);
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}

int auth_group_key(struct auth *a, const char *user, uint32_t epoch, struct auth_key *out,
		   struct err *e)
{
	pthread_mutex_lock(&a->read_lock);
	int rc = lookup(a, user, "", epoch, out, e);
	pthread_mutex_unlock(&a->read_lock);
	return rc;
}
