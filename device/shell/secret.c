#include "device/shell/secret.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "device/shell/members.h"

enum { SECRET_MAX = 128 * 1024, SECRET_VERSION = 1 };

struct secret *secret_new(void)
{
	return calloc(1, sizeof(struct secret));
}

void secret_drop(struct secret *s)
{
	if (s)
		OPENSSL_cleanse(s, sizeof *s);
	free(s);
}

static int from_json(const json_t *doc, struct secret *s, struct err *e)
{
	int64_t version;

	TRY(member_int(doc, "version", SECRET_VERSION, SECRET_VERSION, &version, e));
	TRY(member_text(doc, "server", s->server, sizeof s->server, e));
	TRY(member_text(doc, "ca", s->ca, sizeof s->ca, e));
	TRY(member_int(doc, "received_ms", 0, INT64_MAX / 2, &s->got_ms, e));
	return grant_from_json(json_object_get(doc, "grant"), &s->grant, e);
}

static int parse(const char *path, struct slice text, struct secret *out, struct err *e)
{
	json_error_t why;
	json_t *doc = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, &why);
	struct secret *s = secret_new();
	struct err inner = {0};
	int rc = NE_OK;

	if (!s)
		rc = err_set(&inner, NE_MEMORY, "out of memory");
	else if (!doc)
		rc = err_set(&inner, NE_MALFORMED, "%s", why.text);
	else
		rc = from_json(doc, s, &inner);
	if (!rc)
		*out = *s;
	secret_drop(s);
	json_decref(doc);
	if (rc == NE_MALFORMED)
		rc = err_set(
			e, NE_LOGIN,
			"%s is damaged (%.120s); log in again with `neap init`, pending changes "
			"are kept",
			path, inner.text);
	else if (rc)
		rc = err_set(e, rc, "%s", inner.text);
	return rc;
}

int secret_load(const char *path, struct secret *out, struct err *e)
{
	struct buf text = {.max = SECRET_MAX};
	int rc = file_read_secret(path, &text, e);

	if (rc == NE_NOT_FOUND)
		rc = err_set(e, NE_LOGIN,
			     "there is no login for this database (%s is missing); run "
			     "`neap init DB --server URL --user U --device D`",
			     path);
	if (!rc)
		rc = parse(path, buf_slice(&text), out, e);
	secret_free(&text);
	return rc;
}

int secret_save(const char *path, const struct secret *s, struct err *e)
{
	json_t *doc = json_pack("{s:i, s:s, s:s, s:I, s:o}", "version", SECRET_VERSION, "server",
				s->server, "ca", s->ca, "received_ms", (json_int_t)s->got_ms,
				"grant", grant_to_json(&s->grant));
	char *text = doc ? json_dumps(doc, JSON_INDENT(1)) : NULL;
	int rc = text ? file_replace(path, slice_str(text), FILE_SECRET, e)
		      : err_set(e, NE_MEMORY, "out of memory");

	json_decref(doc);
	login_body_free(text);
	return rc;
}
