#include "broker-config/neap_auth_gate.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker-config/neap_auth_table.h"
#include "protocol/jwt.h"

enum { PEM_MAX = 16384, CONTROL_MAX = LIMIT_MESSAGE };

struct gate {
	char *key_folder;
	struct timespec folder_mtime;
	struct jwt_keys *keys;
	struct table *clients, *voids;
	int64_t all_void_iat; /* tokens of anyone up to this time are void; 0: none */
	bool ready[256];      /* shards whose list is complete */
};

static int add_file(struct jwt_keys *keys, int folder, const char *name, struct err *e)
{
	uint8_t pem[PEM_MAX];
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(e, NE_NOT_FOUND, "token key %s cannot be read", name);
	ssize_t n = read(fd, pem, sizeof pem);
	close(fd);
	if (n <= 0 || (size_t)n == sizeof pem)
		return err_set(e, NE_MALFORMED, "token key %s is empty or too long", name);
	int rc = jwt_keys_add(keys, slice_of(pem, (size_t)n), e);
	if (rc)
		err_wrap(e, "token key %s", name);
	return rc;
}

/* All that can be used; an error tells of the first file that cannot. */
static int add_folder(struct jwt_keys *keys, const char *path, struct timespec *mtime,
		      struct err *e)
{
	struct stat st;
	DIR *dir = opendir(path);
	int rc = NE_OK;

	if (!dir || fstat(dirfd(dir), &st)) {
		if (dir)
			closedir(dir);
		return err_set(e, NE_NOT_FOUND, "folder of token keys %s cannot be read", path);
	}
	for (struct dirent *d; (d = readdir(dir));) {
		size_t len = strlen(d->d_name);
		if (d->d_name[0] != '.' && len > 4 && strcmp(d->d_name + len - 4, ".pem") == 0 &&
		    add_file(keys, dirfd(dir), d->d_name, rc ? NULL : e))
			rc = NE_MALFORMED;
	}
	closedir(dir);
	if (!rc && jwt_keys_count(keys) == 0)
		rc = err_set(e, NE_NOT_FOUND, "no *.pem in the folder of token keys %s", path);
	/* A file that cannot be used may be half written: it is looked at again. */
	*mtime = rc ? (struct timespec){0} : st.st_mtim;
	return rc;
}

/* What is not there any more, or cannot be read, is not trusted any more: never the old keys. */
static int load(struct gate *g, struct err *e)
{
	struct jwt_keys *keys;
	struct timespec mtime = {0};

	TRY(jwt_keys_new(&keys, e));
	int rc = add_folder(keys, g->key_folder, &mtime, e);
	jwt_keys_free(g->keys);
	g->keys = keys;
	g->folder_mtime = mtime;
	return rc;
}

int gate_new(struct gate **out, const char *key_folder, struct err *e)
{
	struct gate *g = calloc(1, sizeof *g);
	if (!g)
		return err_set(e, NE_MEMORY, "out of memory");
	g->key_folder = strdup(key_folder);
	int rc = g->key_folder ? NE_OK : NE_MEMORY;
	if (!rc)
		rc = table_new(&g->clients, GATE_CLIENTS_MAX);
	if (!rc)
		rc = table_new(&g->voids, GATE_VOIDS_MAX);
	if (rc)
		err_set(e, rc, "out of memory");
	else
		rc = load(g, e);
	if (rc)
		gate_free(g);
	else
		*out = g;
	return rc;
}

void gate_free(struct gate *g)
{
	if (!g)
		return;
	table_free(g->clients);
	table_free(g->voids);
	jwt_keys_free(g->keys);
	free(g->key_folder);
	free(g);
}

int gate_reload(struct gate *g, bool now, size_t *keys, struct err *e)
{
	struct stat st;

	*keys = 0;
	if (!now && !stat(g->key_folder, &st) && st.st_mtim.tv_sec == g->folder_mtime.tv_sec &&
	    st.st_mtim.tv_nsec == g->folder_mtime.tv_nsec)
		return NE_OK;
	int rc = load(g, e);
	*keys = jwt_keys_count(g->keys);
	return rc;
}

static bool void_covers(const struct table *voids, const char *key, int64_t iat)
{
	const struct entry *v = table_find(voids, key);
	return v && iat <= v->iat;
}

static bool is_void(const struct gate *g, const char *client_id, const char *user, int64_t iat)
{
	return iat <= g->all_void_iat || void_covers(g->voids, client_id, iat) ||
	       void_covers(g->voids, user, iat);
}

static enum gate_verdict refuse(struct err *why, const char *text)
{
	err_set(why, NE_AUTH, "%s", text);
	return GATE_REFUSE;
}

static enum gate_verdict connect_device(struct gate *g, const struct gate_connect *c, int64_t now_s,
					struct err *why)
{
	struct id user, device;
	struct jwt_claims claims;
	struct entry *entry;

	if (!policy_device(c->username, c->client_id, &user, &device))
		return refuse(why, "client id is not <username>/<device> of valid ids");
	if (!c->password)
		return refuse(why, "no access token given as password");
	if (jwt_keys_count(g->keys) == 0) {
		err_set(why, NE_BUSY, "there is no token key to check tokens with");
		return GATE_NOT_READY;
	}
	if (jwt_verify(g->keys, slice_str(c->password), now_s, &claims, why))
		return GATE_REFUSE;
	if (strcmp(claims.user.at, user.at) != 0 || strcmp(claims.device.at, device.at) != 0)
		return refuse(why, "the access token was issued to another user or device");
	if (!g->ready[id_shard(id_slice(&user))]) {
		err_set(why, NE_BUSY, "no backend has sent its list of revoked tokens yet");
		return GATE_NOT_READY;
	}
	if (is_void(g, c->client_id, user.at, claims.iat))
		return refuse(why, "the access token was revoked");
	if (table_put(g->clients, c->client_id, &entry)) {
		err_set(why, NE_LIMIT, "too many connections to keep track of");
		return GATE_NOT_READY;
	}
	entry->iat = claims.iat;
	entry->until = claims.exp + JWT_LEEWAY_S;
	entry->kick = false;
	return GATE_ALLOW;
}

enum gate_verdict gate_connect(struct gate *g, const struct gate_connect *c, int64_t now_s,
			       struct err *why)
{
	if (c->mqtt_version != 5)
		return refuse(why, "only MQTT 5 is spoken here");
	if (!c->client_id || !c->client_id[0])
		return refuse(why, "empty client id");
	if (!c->username)
		return refuse(why, "no username");
	if (policy_is_backend(c->common_name, c->username, c->client_id))
		return GATE_ALLOW;
	if (c->common_name)
		return refuse(why, "this listener is the backend's; certificate, username or "
				   "client id are not");
	return connect_device(g, c, now_s, why);
}

static bool mark_user(void *ctx, struct entry *e)
{
	const struct entry *v = ctx;
	size_t len = strlen(v->key);

	if (strncmp(e->key, v->key, len) == 0 && e->key[len] == '/' && e->iat <= v->iat)
		e->kick = true;
	return false;
}

static bool mark_upto(void *ctx, struct entry *e)
{
	const int64_t *iat = ctx;
	if (e->iat <= *iat)
		e->kick = true;
	return false;
}

/* The list is full: everything issued until now is void, which every live token survives by a
 * refresh. */
static void void_all(struct gate *g, int64_t iat)
{
	if (iat > g->all_void_iat)
		g->all_void_iat = iat;
	table_sweep(g->clients, mark_upto, &g->all_void_iat);
}

static void void_add(struct gate *g, const char *key, bool whole_user, int64_t iat, int64_t until)
{
	struct entry *v;

	if (table_put(g->voids, key, &v)) {
		void_all(g, iat);
		return;
	}
	if (iat > v->iat)
		v->iat = iat;
	if (until > v->until)
		v->until = until;
	if (whole_user) {
		table_sweep(g->clients, mark_user, v);
		return;
	}
	struct entry *client = table_find(g->clients, key);
	if (client && client->iat <= v->iat)
		client->kick = true;
}

static int control_entry(struct gate *g, json_t *item, struct err *e)
{
	const char *user = json_string_value(json_object_get(item, "user"));
	json_t *device = json_object_get(item, "device");
	json_t *iat = json_object_get(item, "iat"), *until = json_object_get(item, "until");
	char key[2 * LIMIT_ID + 2];
	struct id id;

	if (!user || !json_is_integer(iat) || !json_is_integer(until))
		return err_set(e, NE_MALFORMED, "a void entry lacks user, iat or until");
	TRY(id_set(&id, slice_str(user), "user", e));
	if (!device) {
		void_add(g, id.at, true, json_integer_value(iat), json_integer_value(until));
		return NE_OK;
	}
	if (!json_is_string(device))
		return err_set(e, NE_MALFORMED, "the device of a void entry is no text");
	TRY(id_set(&id, slice_str(json_string_value(device)), "device", e));
	snprintf(key, sizeof key, "%s/%s", user, id.at);
	void_add(g, key, false, json_integer_value(iat), json_integer_value(until));
	return NE_OK;
}

static int control_list(struct gate *g, json_t *list, struct err *e)
{
	size_t i;
	json_t *item;

	if (!json_is_object(list) || !json_is_array(json_object_get(list, "void")))
		return err_set(e, NE_MALFORMED, "not an object with a list \"void\"");
	json_array_foreach(json_object_get(list, "void"), i, item) TRY(control_entry(g, item, e));
	if (!json_is_true(json_object_get(list, "last")))
		return NE_OK;
	json_t *shards = json_object_get(list, "shards");
	json_int_t lo = json_integer_value(json_array_get(shards, 0));
	json_int_t hi = json_integer_value(json_array_get(shards, 1));
	if (json_array_size(shards) != 2 || lo < 0 || hi > 255 || lo > hi)
		return err_set(e, NE_MALFORMED, "\"shards\" is not [lo, hi] within 0 … 255");
	for (json_int_t s = lo; s <= hi; s++)
		g->ready[s] = true;
	return NE_OK;
}

int gate_control(struct gate *g, struct slice json, struct err *e)
{
	if (json.len > CONTROL_MAX)
		return err_set(e, NE_MALFORMED, "the list is too long");
	json_t *list = json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES, NULL);
	if (!list)
		return err_set(e, NE_MALFORMED, "not JSON");
	int rc = control_list(g, list, e);
	json_decref(list);
	return rc;
}

struct tick {
	int64_t now_s;
	gate_kick_fn kick;
};

static bool tick_client(void *ctx, struct entry *e)
{
	const struct tick *t = ctx;
	if (!e->kick && t->now_s <= e->until)
		return false;
	t->kick(e->key, e->kick ? "revoked" : "token_ended");
	return true;
}

static bool tick_void(void *ctx, struct entry *e)
{
	const struct tick *t = ctx;
	return t->now_s > e->until;
}

void gate_tick(struct gate *g, int64_t now_s, gate_kick_fn kick)
{
	struct tick t = {now_s, kick};
	table_sweep(g->clients, tick_client, &t);
	table_sweep(g->voids, tick_void, &t);
}
