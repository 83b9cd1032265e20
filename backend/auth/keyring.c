#include "backend/auth/keyring.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

enum { PATH_LEN = 2048, PEM_MAX = 4096 };

static int path_of(char out[static PATH_LEN], const char *folder, const char *name, struct err *e)
{
	int n = snprintf(out, PATH_LEN, "%s/%s", folder, name);

	if (n < 0 || n >= PATH_LEN)
		return err_set(e, NE_USAGE, "the path is too long: %.60s…", folder);
	return 0;
}

/* Root makes keys for the user that the folder belongs to: neapd, or the broker. */
static int create(const char *path, struct slice content, enum file_mode mode, struct err *e)
{
	TRY(file_create(path, content, mode, e));
	int rc = file_follow_folder(path, e);
	if (rc)
		unlink(path);
	return rc;
}

static int write_random(const char *folder, const char *name, struct err *e)
{
	uint8_t secret[KEY_LEN];
	char path[PATH_LEN];

	TRY(path_of(path, folder, name, e));
	if (RAND_bytes(secret, sizeof secret) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes for \"%s\"", path);
	int rc = create(path, slice_of(secret, sizeof secret), FILE_SECRET, e);
	OPENSSL_cleanse(secret, sizeof secret);
	return rc;
}

static int sync_removed(const char *path, struct err *e)
{
	if (unlink(path) && errno != ENOENT)
		return err_set(e, NE_DISK, "cannot remove \"%s\": %s", path, strerror(errno));
	return file_sync_folder(path, e);
}

static int token_path(char out[static PATH_LEN], const char *keys, int64_t from_s, const char *kid,
		      struct err *e)
{
	char name[128];

	snprintf(name, sizeof name, "token-%lld-%s.pem", (long long)from_s, kid);
	return path_of(out, keys, name, e);
}

static int public_path(char out[static PATH_LEN], const char *token_keys, const char *kid,
		       struct err *e)
{
	char name[128];

	snprintf(name, sizeof name, "%s.pem", kid);
	return path_of(out, token_keys, name, e);
}

int keyring_add_token(const char *keys, const char *token_keys, int64_t from_s, struct err *e)
{
	struct buf priv = {.max = PEM_MAX}, pub = {.max = PEM_MAX};
	struct jwt_signer *signer = NULL;
	char path[PATH_LEN], public[PATH_LEN];

	int rc = jwt_generate(&priv, &pub, e);
	if (!rc)
		rc = jwt_signer_new(&signer, buf_slice(&priv), e);
	if (!rc)
		rc = token_path(path, keys, from_s, jwt_signer_kid(signer), e);
	if (!rc)
		rc = public_path(public, token_keys, jwt_signer_kid(signer), e);
	/* The public half first: a token must never be out before the broker can check it. */
	if (!rc)
		rc = create(public, buf_slice(&pub), FILE_PUBLIC, e);
	if (!rc)
		rc = create(path, buf_slice(&priv), FILE_SECRET, e);
	jwt_signer_free(signer);
	secret_free(&priv);
	buf_free(&pub);
	return rc;
}

int keyring_remove_token(const char *keys, const char *token_keys, int64_t from_s, const char *kid,
			 struct err *e)
{
	char path[PATH_LEN];

	TRY(public_path(path, token_keys, kid, e));
	TRY(sync_removed(path, e));
	TRY(token_path(path, keys, from_s, kid, e));
	return sync_removed(path, e);
}

static int master_name(char out[static 32], int64_t from_s, struct err *e)
{
	if (from_s <= 0 || from_s >= UINT32_MAX)
		return err_set(e, NE_USAGE, "this machine's clock is wrong: set the date first");
	snprintf(out, 32, "master-%lld", (long long)from_s);
	return 0;
}

int keyring_add_master(const char *keys, int64_t from_s, struct err *e)
{
	char name[32];

	TRY(master_name(name, from_s, e));
	return write_random(keys, name, e);
}

int keyring_remove_master(const char *keys, uint32_t id, struct err *e)
{
	char name[32], path[PATH_LEN];

	TRY(master_name(name, id, e));
	TRY(path_of(path, keys, name, e));
	return sync_removed(path, e);
}

int keyring_create(const char *keys, const char *token_keys, int64_t now_s, struct err *e)
{
	TRY(keyring_add_master(keys, now_s, e));
	TRY(write_random(keys, "refresh", e));
	return keyring_add_token(keys, token_keys, now_s, e);
}

static int read_key(const char *path, struct key *out, struct err *e)
{
	struct buf b = {.max = KEY_LEN};

	int rc = file_read_secret(path, &b, e);
	if (!rc && b.len != KEY_LEN)
		rc = NE_LIMIT;
	if (!rc)
		memcpy(out->at, b.at, KEY_LEN);
	secret_free(&b);
	if (rc == NE_LIMIT)
		return err_set(e, NE_CORRUPT,
			       "\"%s\" must hold %d bytes; bring back the right file from a backup",
			       path, (int)KEY_LEN);
	return rc;
}

static int add_master(struct keyring *k, const char *path, const char *number, struct err *e)
{
	char *end;
	unsigned long id = strtoul(number, &end, 10);

	if (*number < '1' || *number > '9' || *end || id >= UINT32_MAX)
		return err_set(e, NE_CORRUPT, "\"%s\" is not named after a number of seconds",
			       path);
	if (k->masters == KEYRING_MASTERS)
		return err_set(e, NE_LIMIT,
			       "more than %d master keys; remove old ones: neapd key retire",
			       (int)KEYRING_MASTERS);
	size_t at = k->masters;
	while (at > 0 && k->master[at - 1].id > id)
		at--;
	memmove(&k->master[at + 1], &k->master[at], (k->masters - at) * sizeof k->master[0]);
	k->masters++;
	k->master[at].id = (uint32_t)id;
	return read_key(path, &k->master[at].key, e);
}

static int add_token(struct keyring *k, const char *path, const char *number, struct err *e)
{
	struct buf pem = {.max = PEM_MAX};
	struct jwt_signer *signer = NULL;
	char *end;
	long long from_s = strtoll(number, &end, 10);

	if (*number < '1' || *number > '9' || *end != '-' || from_s >= UINT32_MAX)
		return err_set(e, NE_CORRUPT, "\"%s\" is not named token-<second>-<kid>.pem", path);
	if (k->tokens == KEYRING_SIGNERS)
		return err_set(e, NE_LIMIT,
			       "more than %d token keys; remove old ones: neapd key retire",
			       (int)KEYRING_SIGNERS);
	int rc = file_read_secret(path, &pem, e);
	if (!rc && jwt_signer_new(&signer, buf_slice(&pem), e))
		rc = err_wrap(e, "\"%s\"", path);
	secret_free(&pem);
	if (rc)
		return rc;
	size_t at = k->tokens;
	while (at > 0 && k->token[at - 1].from_s > from_s)
		at--;
	memmove(&k->token[at + 1], &k->token[at], (k->tokens - at) * sizeof k->token[0]);
	k->tokens++;
	k->token[at].from_s = from_s;
	k->token[at].signer = signer;
	return 0;
}

static int add_file(struct keyring *k, const char *folder, const char *name, struct err *e)
{
	char path[PATH_LEN];
	size_t len = strlen(name);

	TRY(path_of(path, folder, name, e));
	if (!strncmp(name, "master-", 7))
		return add_master(k, path, name + 7, e);
	if (!strncmp(name, "token-", 6) && len > 10 && !strcmp(name + len - 4, ".pem"))
		return add_token(k, path, name + 6, e);
	return 0;
}

static int fill(struct keyring *k, const char *keys, struct err *e)
{
	struct dirent *entry;
	struct stat st;
	char path[PATH_LEN];

	TRY(path_of(path, keys, "refresh", e));
	DIR *dir = opendir(keys);
	if (!dir || fstat(dirfd(dir), &st)) {
		if (dir)
			closedir(dir);
		return err_set(e, NE_NOT_FOUND,
			       "cannot open the folder of keys \"%s\"; neapd init writes one",
			       keys);
	}
	k->mtime = st.st_mtim;
	int rc = read_key(path, &k->refresh, e);
	while (!rc && (entry = readdir(dir)))
		rc = add_file(k, keys, entry->d_name, e);
	closedir(dir);
	if (!rc && (!k->masters || !k->tokens))
		rc = err_set(e, NE_NOT_FOUND, "no %s in \"%s\"; bring it back from a backup",
			     k->masters ? "token-….pem" : "master-…", keys);
	return rc;
}

int keyring_open(struct keyring **out, const char *keys, struct err *e)
{
	struct keyring *k = calloc(1, sizeof *k);

	if (!k)
		return err_set(e, NE_MEMORY, "no memory for the keys");
	int rc = fill(k, keys, e);
	if (rc)
		keyring_close(k);
	else
		*out = k;
	return rc;
}

void keyring_close(struct keyring *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->tokens; i++)
		jwt_signer_free(k->token[i].signer);
	OPENSSL_cleanse(k, sizeof *k);
	free(k);
}

bool keyring_changed(const struct keyring *k, const char *keys)
{
	struct stat st;

	return !stat(keys, &st) &&
	       (st.st_mtim.tv_sec != k->mtime.tv_sec || st.st_mtim.tv_nsec != k->mtime.tv_nsec);
}

uint32_t keyring_newest(const struct keyring *k)
{
	return k->master[k->masters - 1].id;
}

size_t keyring_signs(const struct keyring *k, int64_t now_s)
{
	size_t i = k->tokens - 1;

	while (i > 0 && k->token[i].from_s > now_s)
		i--;
	return i;
}

const struct key *keyring_master(const struct keyring *k, uint32_t epoch, uint32_t *id)
{
	for (size_t i = k->masters; i-- > 0;)
		if (k->master[i].id <= epoch) {
			*id = k->master[i].id;
			return &k->master[i].key;
		}
	return NULL;
}
