/* For the tests of this folder: a set-up of its own in a folder of its own. */
#ifndef NEAP_BACKEND_AUTH_TESTING_H
#define NEAP_BACKEND_AUTH_TESTING_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/auth/auth.h"
#include "backend/auth/setup.h"
#include "common/file.h"
#include "common/testing_dir.h"
#include "protocol/jwt.h"

#define TEST_PASSWORD "correct horse"

struct testing {
	char dir[64];
	struct config config;
	struct auth *auth;
	int64_t now_s; /* what `auth` takes for the time */
};

static inline int64_t testing_now(void *ctx)
{
	return *(const int64_t *)ctx;
}

static inline void testing_remove(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char below[512];

	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		int n = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
		if (n < (int)sizeof below && unlink(below))
			testing_remove(below);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

static inline void testing_open(struct testing *t)
{
	struct err e;

	assert_int_equal(auth_open(&t->auth, &t->config, &e), 0);
	auth_set_clock(t->auth, testing_now, &t->now_s);
}

static inline void testing_begin(struct testing *t)
{
	struct setup s = {.bind = "127.0.0.1",
			  .broker_host = "127.0.0.1",
			  .plugin = "/nowhere/neap_auth.so",
			  .token_life_s = 3600};
	char file[128];
	struct err e = {0};

	memset(t, 0, sizeof *t);
	testing_dir("neap-auth", t->dir, sizeof t->dir);
	s.dir = t->dir;
	if (setup_write(&s, &e))
		fail_msg("%s", e.text);
	snprintf(file, sizeof file, "%s/neapd.conf", t->dir);
	assert_int_equal(config_read(file, &t->config, &e), 0);
	t->now_s = (int64_t)time(NULL);
	testing_open(t);
	assert_int_equal(auth_user_add(t->auth, "anna", slice_str(TEST_PASSWORD), &e), 0);
}

static inline void testing_end(struct testing *t)
{
	auth_close(t->auth);
	testing_remove(t->dir);
}

/* What the caller expects is checked by it; other failures are shown. */
static inline int testing_result(int rc, const struct err *e)
{
	if (rc && rc != NE_AUTH && rc != NE_BUSY)
		print_message("%s\n", e->text);
	return rc;
}

static inline int testing_login(struct testing *t, const char *device, struct auth_session *s)
{
	struct auth_denial why;
	struct err e;

	return testing_result(auth_login(t->auth, slice_str("anna"), slice_str(TEST_PASSWORD),
					 slice_str(device), s, &why, &e),
			      &e);
}

static inline int testing_refresh(struct testing *t, const char *token, struct auth_session *s)
{
	struct auth_denial why;
	struct err e;

	return testing_result(auth_refresh(t->auth, slice_str(token), s, &why, &e), &e);
}

/* The token as the broker sees it: by the public keys in its folder. */
static inline int testing_verify(const struct testing *t, const char *token,
				 struct jwt_claims *claims)
{
	struct jwt_keys *keys;
	struct dirent *entry;
	char path[2048];
	struct err e;

	DIR *dir = opendir(t->config.token_keys);
	assert_non_null(dir);
	assert_int_equal(jwt_keys_new(&keys, &e), 0);
	while ((entry = readdir(dir))) {
		struct buf pem = {.max = 4096};
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", t->config.token_keys, entry->d_name);
		assert_int_equal(file_read(path, &pem, &e), 0);
		assert_int_equal(jwt_keys_add(keys, buf_slice(&pem), &e), 0);
		buf_free(&pem);
	}
	closedir(dir);
	int rc = jwt_verify(keys, slice_str(token), t->now_s, claims, &e);
	jwt_keys_free(keys);
	return rc;
}

#endif
