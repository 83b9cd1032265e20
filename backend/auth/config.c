#include "backend/auth/config.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

enum member_type { M_PATH, M_ADDRESS, M_NUMBER, M_SHARDS };

/* One member of the file: where it goes, what it may be, what it is when absent. */
struct member {
	const char *name;
	enum member_type type;
	size_t at, port_at; /* of M_ADDRESS: host and port */
	int64_t min, max;
	const char *fallback; /* NULL: required */
};

#define AT(field) offsetof(struct config, field)
#define ADDRESS(host, port) M_ADDRESS, AT(host), AT(port), 0, 0
#define PATH(field) M_PATH, AT(field), 0, 0, 0
#define NUMBER(field, min, max) M_NUMBER, AT(field), 0, min, max

static const struct member members[] = {
	{"listen", ADDRESS(listen_host, listen_port), "127.0.0.1:8443"},
	{"login_certificate", PATH(login_cert), NULL},
	{"login_key", PATH(login_key), NULL},
	{"token_life_s", NUMBER(token_life_s, 2, 6500), "3600"},
	{"refresh_idle_s", NUMBER(refresh_idle_s, 60, 31622400), "7776000"},
	{"refresh_total_s", NUMBER(refresh_total_s, 60, 316224000), "31536000"},
	{"devices_per_user", NUMBER(devices_per_user, 1, 1000000), "10000"},
	{"connections", NUMBER(connections, 4, 10000), "1000"},
	{"connections_per_address", NUMBER(connections_per_address, 1, 10000), "50"},
	{"device_broker", ADDRESS(device_broker_host, device_broker_port), NULL},
	{"device_broker_ca", PATH(device_broker_ca), NULL},
	{"broker", ADDRESS(broker_host, broker_port), "127.0.0.1:8884"},
	{"broker_ca", PATH(broker_ca), NULL},
	{"broker_certificate", PATH(broker_cert), NULL},
	{"broker_key", PATH(broker_key), NULL},
	{"auth_db", PATH(auth_db), "auth/auth.db"},
	{"keys", PATH(keys), "auth/keys"},
	{"token_keys", PATH(token_keys), "broker/token-keys"},
	{"store", PATH(store), "data/store.db"},
	{"run", PATH(run_dir), "run"},
	{"conflict_keep_s", NUMBER(conflict_keep_s, 60, 316224000), "7776000"},
	{"conflicts_per_user", NUMBER(conflicts_per_user, 1, 100000000), "100000"},
	{"conflict_bytes_per_user", NUMBER(conflict_bytes_per_user, 65536, 1099511627776),
	 "67108864"},
	{"rows_per_user", NUMBER(rows_per_user, 0, 1000000000000), "100000000"},
	{"bytes_per_user", NUMBER(bytes_per_user, 0, 1125899906842624), "17179869184"},
	{"device_messages_per_s", NUMBER(device_messages_per_s, 0, 1000000000), "1000"},
	{"device_rows_per_s", NUMBER(device_rows_per_s, 0, 1000000000), "50000"},
	{"shards", M_SHARDS, AT(shard_lo), AT(shard_hi), 0, 0, "00-ff"},
};
enum { MEMBERS = sizeof members / sizeof members[0] };

int config_host_port(const char *text, char host[static CONFIG_HOST], uint16_t *port, struct err *e)
{
	const char *colon = strrchr(text, ':');
	const char *begin = text, *end = colon;
	char *rest;

	if (colon && text[0] == '[' && colon > text && colon[-1] == ']') {
		begin++;
		end--;
	}
	bool bad = !colon || end <= begin || (size_t)(end - begin) >= CONFIG_HOST ||
		   (begin == text && memchr(begin, ':', (size_t)(end - begin))) || colon[1] < '0' ||
		   colon[1] > '9';
	if (!bad) {
		errno = 0;
		unsigned long n = strtoul(colon + 1, &rest, 10);
		bad = errno || *rest || n > 65535;
		*port = bad ? 0 : (uint16_t)n;
	}
	if (bad)
		return err_set(e, NE_USAGE,
			       "\"%.80s\" is no address; write HOST:PORT or [IPv6]:PORT", text);
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = 0;
	return 0;
}

static int set_path(struct config *c, const struct member *m, const char *text, struct err *e)
{
	char *out = (char *)c + m->at;
	size_t folder = (size_t)(strrchr(c->file, '/') - c->file) + 1;

	if (!*text)
		return err_set(e, NE_USAGE, "\"%s\" is empty", m->name);
	if (*text == '/')
		folder = 0;
	if (strlen(text) >= CONFIG_PATH - folder)
		return err_set(e, NE_USAGE, "the path of \"%s\" is longer than %d bytes", m->name,
			       CONFIG_PATH - 1);
	memcpy(out, c->file, folder);
	memcpy(out + folder, text, strlen(text) + 1);
	return 0;
}

static int set_shards(struct config *c, const struct member *m, const char *text, struct err *e)
{
	unsigned lo, hi;
	char end;

	if (strlen(text) != 5 || sscanf(text, "%2x-%2x%c", &lo, &hi, &end) != 2 || lo > hi)
		return err_set(e, NE_USAGE,
			       "\"%s\" is \"%.40s\"; write two hex numbers as in 00-ff", m->name,
			       text);
	c->shard_lo = (uint8_t)lo;
	c->shard_hi = (uint8_t)hi;
	return 0;
}

static int set_text(struct config *c, const struct member *m, const char *text, struct err *e)
{
	switch (m->type) {
	case M_PATH:
		return set_path(c, m, text, e);
	case M_ADDRESS:
		if (config_host_port(text, (char *)c + m->at,
				     (uint16_t *)(void *)((char *)c + m->port_at), e))
			return err_wrap(e, "\"%s\"", m->name);
		return 0;
	case M_SHARDS:
		return set_shards(c, m, text, e);
	case M_NUMBER:
		break;
	}
	*(int64_t *)(void *)((char *)c + m->at) = strtoll(text, NULL, 10);
	return 0;
}

static int set_json(struct config *c, const struct member *m, const json_t *v, struct err *e)
{
	if (m->type != M_NUMBER) {
		if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
			return err_set(e, NE_USAGE, "\"%s\" must be text", m->name);
		return set_text(c, m, json_string_value(v), e);
	}
	int64_t n = json_integer_value(v);
	if (!json_is_integer(v) || n < m->min || n > m->max)
		return err_set(e, NE_USAGE, "\"%s\" must be a whole number from %lld to %lld",
			       m->name, (long long)m->min, (long long)m->max);
	*(int64_t *)(void *)((char *)c + m->at) = n;
	return 0;
}

static const struct member *member_of(const char *name)
{
	for (size_t i = 0; i < MEMBERS; i++)
		if (!strcmp(members[i].name, name))
			return &members[i];
	return NULL;
}

static int fill(struct config *c, json_t *root, struct err *e)
{
	const char *name;
	json_t *v;

	json_object_foreach(root, name, v)
	{
		if (!member_of(name))
			return err_set(e, NE_USAGE,
				       "\"%.60s\" is no setting of neapd; remove it or see "
				       "docs/operations.md",
				       name);
	}
	for (size_t i = 0; i < MEMBERS; i++) {
		const struct member *m = &members[i];
		v = json_object_get(root, m->name);
		if (v)
			TRY(set_json(c, m, v, e));
		else if (m->fallback)
			TRY(set_text(c, m, m->fallback, e));
		else
			return err_set(e, NE_USAGE, "\"%s\" is missing", m->name);
	}
	return 0;
}

static int parse(struct config *c, struct slice text, struct err *e)
{
	json_error_t bad;
	json_t *root = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, &bad);

	if (!root)
		return err_set(e, NE_USAGE, "line %d: %s", bad.line, bad.text);
	int rc = json_is_object(root) ? fill(c, root, e)
				      : err_set(e, NE_USAGE, "it must be one JSON object: { … }");
	json_decref(root);
	return rc;
}

int config_read(const char *file, struct config *out, struct err *e)
{
	struct buf text = {.max = CONFIG_FILE_MAX};

	memset(out, 0, sizeof *out);
	TRY(file_read(file, &text, e));
	char *full = realpath(file, NULL);
	int rc = 0;
	if (!full || strlen(full) >= CONFIG_PATH)
		rc = err_set(e, NE_USAGE, "the path of \"%.100s\" is too long", file);
	else
		memcpy(out->file, full, strlen(full) + 1);
	free(full);
	if (!rc && parse(out, buf_slice(&text), e))
		rc = err_wrap(e, "config \"%s\"", file);
	buf_free(&text);
	return rc;
}
