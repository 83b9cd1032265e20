#include "device/shell/bind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/core/devdb.h"
#include "device/shell/clock.h"
#include "device/shell/crypt.h"
#include "device/shell/http.h"
#include "device/shell/paths.h"

enum {
	CLOCK_RTT_MAX_MS = 5000,
	OFFSET_MIN_MS = 2000,
	LOCK_WAIT_MS = 2000,
	ATTEMPT_BYTES = 16,
	ENROL_TRIES = 3,
};

struct login {
	struct grant *grant;
	struct err end;
	bool ended;
};

static void on_login(void *ctx, const struct http_answer *a)
{
	struct login *l = ctx;

	l->ended = true;
	/* A server that says when in its own words is not repeated. */
	if (a->code == NE_BUSY && a->retry_after_ms > 0 && !strstr(a->text, "try again in"))
		(void)err_set(&l->end, a->code, "%.250s; try again in %lld s", a->text,
			      (long long)((a->retry_after_ms + 999) / 1000));
	else if (a->code)
		(void)err_set(&l->end, a->code, "%s", a->text);
	else
		(void)!grant_parse(a->body, l->grant, &l->end);
}

static int post(const struct bind_request *r, const char *path, const char *body, struct login *l,
		struct err *e)
{
	char url[LOGIN_URL_MAX + 1];
	struct http *http;

	l->ended = false;
	l->end = (struct err){0};
	TRY(login_url(r->server, path, url, e));
	TRY(http_new(&http, e));
	int rc = http_post(http, url, r->ca_pem, body, on_login, l, e);
	while (!rc && !l->ended)
		rc = http_wait(http, 1000, e);
	http_free(http);
	if (!rc && l->end.code)
		rc = err_set(e, l->end.code, "%s", l->end.text);
	return rc;
}

static int post_login(const struct bind_request *r, struct login *l, struct err *e)
{
	char *body = login_body(r->user, r->password, r->device);
	int rc = body ? post(r, "/v1/login", body, l, e)
		      : err_set(e, NE_USAGE, "the password is not valid UTF-8");

	login_body_free(body);
	return rc;
}

/* A code is spent by its first answer, which may get lost: the same attempt is answered again. */
static int post_code(const struct bind_request *r, struct login *l, struct err *e)
{
	char attempt[2 * ATTEMPT_BYTES + 1] = {0};
	uint8_t random[ATTEMPT_BYTES];
	int rc, tries = ENROL_TRIES;

	crypt_random(NULL, random, sizeof random);
	slice_hex(slice_of(random, sizeof random), attempt);
	char *body = login_enrol_body(r->code, attempt);
	do {
		rc = body ? post(r, "/v1/enrol", body, l, e)
			  : err_set(e, NE_USAGE, "the code is not valid UTF-8");
	} while ((rc == NE_UNREACHABLE || rc == NE_TIMEOUT) && --tries > 0);
	login_body_free(body);
	return rc;
}

static int check_id(const char *text, const char *what, struct err *e)
{
	if (id_valid(slice_str(text)))
		return NE_OK;
	return err_set(e, NE_USAGE,
		       "'%.80s' is not a valid %s: use 1 to 64 of A-Z a-z 0-9 . _ -, a letter or "
		       "digit first, no reserved name",
		       text, what);
}

/* Is this file someone else's? */
static int check_unbound(const struct bind_request *r, const char *user, struct err *e)
{
	struct devdb *d;
	struct paths p;

	if (access(r->db, F_OK) != 0)
		return NE_OK;
	TRY(paths_of(r->db, &p, e));
	int rc = devdb_open(&d, r->db, NULL, e);
	if (rc == NE_NOT_FOUND)
		return NE_OK; /* an app's database without Neap's tables */
	TRY(rc);
	if (strcmp(d->user.at, user) != 0)
		rc = err_set(e, NE_EXISTS,
			     "'%s' belongs to user '%s' and cannot be bound to '%s'; use another "
			     "database file%s",
			     r->db, d->user.at, user, r->code ? " and a new code" : "");
	devdb_close(d);
	return rc;
}

static uint64_t random_site(void)
{
	uint64_t site;

	do {
		crypt_random(NULL, &site, sizeof site);
		site &= INT64_MAX;
	} while (!site);
	return site;
}

static int set_clock(const char *db, int64_t offset_ms, struct err *e)
{
	struct devdb *d;

	if (offset_ms > -OFFSET_MIN_MS && offset_ms < OFFSET_MIN_MS)
		return NE_OK;
	TRY(devdb_open(&d, db, NULL, e));
	int rc = devdb_set_offset(d, offset_ms, e);
	devdb_close(d);
	return rc;
}

/* An agent that holds the file keeps its tables; it must only be the same identity. */
static int same_identity(const char *db, const struct grant *g, struct err *e)
{
	struct devdb *d;
	struct err locked = *e;

	TRY(devdb_open(&d, db, NULL, e));
	bool same = !strcmp(d->user.at, g->user.at) && !strcmp(d->device.at, g->device.at);
	devdb_close(d);
	return same ? NE_OK : err_set(e, NE_LOCKED, "%s", locked.text);
}

static int write_tables(const struct bind_request *r, const struct grant *g, int64_t offset_ms,
			struct err *e)
{
	struct paths p;
	int fd = -1;

	if (access(r->db, F_OK) == 0) {
		TRY(paths_of(r->db, &p, e));
		int rc = lock_take(&p, LOCK_WAIT_MS, &fd, e);
		if (rc == NE_LOCKED)
			return same_identity(r->db, g, e);
		TRY(rc);
	}
	int rc = devdb_init(r->db, NULL, g->user.at, g->device.at, random_site(), e);
	if (!rc)
		rc = set_clock(r->db, offset_ms, e);
	lock_drop(fd);
	return rc;
}

static int write_secret(const struct bind_request *r, const struct grant *g, struct err *e)
{
	struct paths p;
	struct secret *s = secret_new();

	if (!s)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = paths_of(r->db, &p, e);
	memcpy(s->server, r->server, strlen(r->server) + 1);
	if (r->ca_pem)
		memcpy(s->ca, r->ca_pem, strlen(r->ca_pem) + 1);
	s->got_ms = (int64_t)wall_ms();
	s->grant = *g;
	if (!rc)
		rc = secret_save(p.secret, s, e);
	secret_drop(s);
	return rc;
}

static int bind_with(const struct bind_request *r, struct login *l, struct err *e)
{
	uint64_t sent_ms = mono_ms();

	TRY(r->code ? post_code(r, l, e) : post_login(r, l, e));
	const struct grant *g = l->grant;
	if (r->code)
		TRY(check_unbound(r, g->user.at, e));
	else if (strcmp(g->user.at, r->user) != 0 || strcmp(g->device.at, r->device) != 0)
		return err_set(e, NE_PROTOCOL,
			       "the login server answered for another user or device");
	uint64_t rtt_ms = mono_ms() - sent_ms;
	int64_t offset_ms = rtt_ms > CLOCK_RTT_MAX_MS
				    ? 0
				    : g->server_ms + (int64_t)rtt_ms / 2 - (int64_t)wall_ms();
	TRY(write_tables(r, g, offset_ms, e));
	return write_secret(r, g, e);
}

/* Before anything is asked of the server: what can be refused here. */
static int check_request(const struct bind_request *r, struct err *e)
{
	char url[LOGIN_URL_MAX + 1];

	TRY(login_url(r->server, "/v1/login", url, e));
	if (r->ca_pem && strlen(r->ca_pem) > LOGIN_PEM_MAX)
		return err_set(e, NE_USAGE, "the CA is larger than %d KiB", LOGIN_PEM_MAX / 1024);
	if (r->code)
		return NE_OK;
	TRY(check_id(r->user, "user", e));
	TRY(check_id(r->device, "device", e));
	return check_unbound(r, r->user, e);
}

int bind_database(const struct bind_request *r, struct bound *bound, struct err *e)
{
	struct login l = {0};

	TRY(check_request(r, e));
	l.grant = calloc(1, sizeof *l.grant);
	if (!l.grant)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = bind_with(r, &l, e);
	if (!rc && bound)
		*bound = (struct bound){.user = l.grant->user, .device = l.grant->device};
	grant_wipe(l.grant);
	free(l.grant);
	return rc;
}
