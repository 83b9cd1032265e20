/* neapd user quota: what accounts' rows take in the store, and what they may. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cmd/cmd.h"

struct listing {
	const struct config *config;
	json_t *users; /* NULL: as text */
	size_t n;
};

/* "none", "default", or a number; of bytes also with K, M, G or T behind it. */
static int read_limit(const char *text, bool bytes, int64_t *out, struct err *e)
{
	static const char units[] = "KMGT";
	char *end;
	long long n = strtoll(text, &end, 10);
	const char *unit = bytes && *end && !end[1] ? strchr(units, *end) : NULL;
	int shift = unit ? 10 * (int)(unit - units + 1) : 0;

	if (!strcmp(text, "none")) {
		*out = STORE_QUOTA_NONE;
	} else if (!strcmp(text, "default")) {
		*out = STORE_QUOTA_DEFAULT;
	} else if (*text < '0' || *text > '9' || (*end && !unit) || n > (INT64_MAX >> shift)) {
		return err_set(e, NE_USAGE,
			       "\"%.40s\" is no limit: write a number%s, none or default", text,
			       bytes ? " (K, M, G or T behind it)" : "");
	} else {
		*out = (int64_t)n << shift;
	}
	return 0;
}

static int64_t effective(int64_t own, int64_t all)
{
	if (own != STORE_QUOTA_DEFAULT)
		return own;
	return all ? all : STORE_QUOTA_NONE;
}

static json_t *limit_json(int64_t limit)
{
	return limit == STORE_QUOTA_NONE ? json_null() : json_integer(limit);
}

static const char *limit_text(int64_t limit, char out[static 32])
{
	if (limit == STORE_QUOTA_NONE)
		return "no limit";
	snprintf(out, 32, "%lld", (long long)limit);
	return out;
}

static int print_usage(void *ctx, const struct store_user_usage *u)
{
	struct listing *l = ctx;
	int64_t rows = effective(u->quota.rows, l->config->rows_per_user);
	int64_t bytes = effective(u->quota.bytes, l->config->bytes_per_user);
	char a[32], b[32];

	l->n++;
	if (l->users)
		return json_array_append_new(
			       l->users, json_pack("{s:s, s:I, s:o, s:I, s:o}", "user", u->user.at,
						   "rows", (json_int_t)u->rows, "rows_quota",
						   limit_json(rows), "bytes", (json_int_t)u->bytes,
						   "bytes_quota", limit_json(bytes)))
			       ? NE_MEMORY
			       : 0;
	printf("%-32s %lld rows of %s, %lld bytes of %s\n", u->user.at, (long long)u->rows,
	       limit_text(rows, a), (long long)u->bytes, limit_text(bytes, b));
	return 0;
}

static int change(struct store *store, const struct args *args, const char *user, struct err *e)
{
	struct store_quota q;
	struct store_user u;

	TRY(store_user_ensure(store, user, &u, e));
	TRY(store_quota(store, user, &q, e));
	if (args->rows)
		TRY(read_limit(args->rows, false, &q.rows, e));
	if (args->bytes)
		TRY(read_limit(args->bytes, true, &q.bytes, e));
	if (args->recount)
		TRY(store_recount(store, user, e));
	return store_set_quota(store, user, &q, e);
}

static int change_in_transaction(struct store *store, const struct args *args, const char *user,
				 struct err *e)
{
	TRY(store_begin(store, e));
	int rc = change(store, args, user, e);
	if (rc) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, e);
}

static int show(struct store *store, const struct config *c, const struct args *args,
		const char *user, struct err *e)
{
	struct listing l = {.config = c, .users = args->json ? json_array() : NULL};
	int rc = store_each_usage(store, user, print_usage, &l, e);

	if (!rc && args->json) {
		json_t *out = json_pack("{s:O}", "users", l.users);
		rc = out && !json_dumpf(out, stdout, JSON_COMPACT)
			     ? 0
			     : err_set(e, NE_MEMORY, "out of memory");
		putchar('\n');
		json_decref(out);
	} else if (!rc && !l.n) {
		printf("%s%s nothing in the store yet\n", user ? user : "accounts have",
		       user ? " has" : "");
	}
	json_decref(l.users);
	return rc;
}

struct search {
	const char *user;
	bool found;
};

static int compare(void *ctx, const struct auth_user *u, struct err *e)
{
	struct search *s = ctx;

	(void)e;
	s->found = s->found || !strcmp(u->name, s->user);
	return 0;
}

int user_quota(struct auth *a, const struct config *c, const struct args *args, struct err *e)
{
	const char *user = args->operands > 1 ? args->operand[1] : NULL;
	bool changes = args->rows || args->bytes || args->recount;
	struct search account = {.user = user};
	struct store *store;

	if (changes && !user)
		return err_set(e, NE_USAGE, "usage: neapd user quota NAME [--rows N] [--bytes N]");
	if (changes)
		TRY(auth_each_user(a, compare, &account, e));
	if (changes && !account.found)
		return err_set(e, NE_NOT_FOUND, "there is no account \"%.64s\"; neapd user list",
			       user);
	TRY(cmd_open_store(c, &store, e));
	int rc = changes ? change_in_transaction(store, args, user, e) : 0;
	if (!rc)
		rc = show(store, c, args, user, e);
	store_close(store);
	return rc;
}
