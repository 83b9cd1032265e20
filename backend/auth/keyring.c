#include "backend/auth/keyring.h"

#include <dirent.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/file.h"

enum { PATH_LEN = 2048, PEM_MAX = 4096 };

static int path_of(char out[static PATH_LEN], const char *folder, const char *name, struct err *e)
{
	int n = snprintf(out, PATH_LEN, "%s/%s", folder, name);

	if (n < 0 || n >= PATH_LEN)
		return err_set(e, NE_USAGE, "the path is too long: %.60s…", folder);
	return 0;
}

static int write_random(const char *folder, const char *name, struct err *e)
{
	uint8_t secret[KEY_LEN];
	char path[PATH_LEN];

	TRY(path_of(path, folder, name, e));
	if (RAND_bytes(secret, sizeof secret) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes for \"%s\"", path);
	int rc = file_create(path, slice_of(secret, sizeof secret), FILE_SECRET, e);
	OPENSSL_cleanse(secret, sizeof secret);
	return rc;
}

static int write_token_key(const char *keys, const char *token_keys, struct err *e)
{
	struct buf priv = {.max = PEM_MAX}, pub = {.max = PEM_MAX};
	struct jwt_signer *signer = NULL;
	char name[128], path[PATH_LEN];

	int rc = jwt_generate(&priv, &pub, e);
	if (!rc)
		rc = jwt_signer_new(&signer, buf_slice(&priv), e);
	if (!rc) {
		snprintf(name, sizeof name, "token-%s.pem", jwt_signer_kid(signer));
		rc = path_of(path, keys, name, e);
	}
	/* The public half first: a token must never be out before the broker can check it. */
	if (!rc) {
		char public_path[PATH_LEN];
		snprintf(name, sizeof name, "%s.pem", jwt_signer_kid(signer));
		rc = path_of(public_path, token_keys, name, e);
		if (!rc)
			rc = file_create(public_path, buf_slice(&pub), FILE_PUBLIC, e);
	}
	if (!rc)
		rc = file_create(path, buf_slice(&priv), FILE_SECRET, e);
	jwt_signer_free(signer);
	secret_free(&priv);
	buf_free(&pub);
	return rc;
}

int keyring_create(const char *keys, const char *token_keys, int64_t now_s, struct err *e)
{
	char name[32];

	if (now_s <= 0 || now_s >= UINT32_MAX)
		return err_set(e, NE_USAGE, "this machine's clock is wrong: set the date first");
	snprintf(name, sizeof name, "master-%lld", (long long)now_s);
	TRY(write_random(keys, name, e));
	TRY(write_random(keys, "refresh", e));
	return write_token_key(keys, token_keys, e);
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
		return err_set(e, NE_LIMIT, "more than %d master keys; remove the oldest",
			       (int)KEYRING_MASTERS);
	size_t at = k->masters;
	while (at > 0 && k->master[at - 1].id > id)
		at--;
	memmove(&k->master[at + 1], &k->master[at], (k->masters - at) * sizeof k->master[0]);
	k->masters++;
	k->master[at].id = (uint32_t)id;
	return read_key(path, &k->master[at].key, e);
}

/* The newest token key signs: the one whose file was written last. */
static int add_signer(struct keyring *k, const char *path, struct timespec *newest, struct err *e)
{
	struct buf pem = {.max = PEM_MAX};
	struct jwt_signer *signer = NULL;
	struct stat st;

	if (stat(path, &st))
		return err_set(e, NE_DISK, "cannot look at \"%s\"", path);
	if (k->signer &&
	    (st.st_mtim.tv_sec < newest->tv_sec ||
	     (st.st_mtim.tv_sec == newest->tv_sec && st.st_mtim.tv_nsec <= newest->tv_nsec)))
		return 0;
	int rc = file_read_secret(path, &pem, e);
	if (!rc && jwt_signer_new(&signer, buf_slice(&pem), e))
		rc = err_wrap(e, "\"%s\"", path);
	secret_free(&pem);
	if (rc)
		return rc;
	jwt_signer_free(k->signer);
	k->signer = signer;
	*newest = st.st_mtim;
	return 0;
}

static int add_file(struct keyring *k, const char *folder, const char *name,
		    struct timespec *newest, struct err *e)
{
	char path[PATH_LEN];
	size_t len = strlen(name);

	TRY(path_of(path, folder, name, e));
	if (!strncmp(name, "master-", 7))
		return add_master(k, path, name + 7, e);
	if (!strncmp(name, "token-", 6) && len > 10 && !strcmp(name + len - 4, ".pem"))
		return add_signer(k, path, newest, e);
	return 0;
}

int keyring_open(struct keyring *k, const char *keys, struct err *e)
{
	struct timespec newest = {0, 0};
	struct dirent *entry;
	char path[PATH_LEN];
	int rc;

	memset(k, 0, sizeof *k);
	TRY(path_of(path, keys, "refresh", e));
	DIR *dir = opendir(keys);
	if (!dir)
		return err_set(e, NE_NOT_FOUND,
			       "cannot open the folder of keys \"%s\"; neapd init writes one",
			       keys);
	rc = read_key(path, &k->refresh, e);
	while (!rc && (entry = readdir(dir)))
		rc = add_file(k, keys, entry->d_name, &newest, e);
	closedir(dir);
	if (!rc && (!k->masters || !k->signer))
		rc = err_set(e, NE_NOT_FOUND, "no %s in \"%s\"; bring it back from a backup",
			     k->masters ? "token-….pem" : "master-…", keys);
	if (rc)
		keyring_close(k);
	return rc;
}

void keyring_close(struct keyring *k)
{
	jwt_signer_free(k->signer);
	OPENSSL_cleanse(k, sizeof *k);
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
