#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cmd/cmd.h"
#include "common/duration.h"

enum { ENROL_VALID_S = 86400 };

/* What the store has of one device, which may have had several database files. */
struct heard {
	struct id device;
	uint64_t sets, rows, seen_ms;
};

/* Those of one user, in order of name as both the store and the accounts give them. */
struct heard_list {
	const char *user;
	struct heard *at;
	size_t n, cap;
	size_t printed;
};

static struct heard *heard_last(struct heard_list *l, const struct id *device)
{
	if (l->n && !strcmp(l->at[l->n - 1].device.at, device->at))
		return &l->at[l->n - 1];
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct heard *at = reallocarray(l->at, cap, sizeof *at);
		if (!at)
			return NULL;
		l->at = at;
		l->cap = cap;
	}
	l->at[l->n] = (struct heard){.device = *device};
	return &l->at[l->n++];
}

static int add_heard(void *ctx, const struct store_device_status *d)
{
	struct heard_list *l = ctx;

	if (strcmp(d->user.at, l->user))
		return 0;
	struct heard *h = heard_last(l, &d->device);
	if (!h)
		return NE_MEMORY;
	h->sets += d->sets;
	h->rows += d->rows;
	if (d->seen_ms > h->seen_ms)
		h->seen_ms = d->seen_ms;
	return 0;
}

static int by_name(const void *name, const void *heard)
{
	return strcmp(name, ((const struct heard *)heard)->device.at);
}

static int print_device(void *ctx, const struct auth_device *d, struct err *e)
{
	struct heard_list *l = ctx;
	char first[32], last[32], seen[32];

	(void)e;
	l->printed++;
	const struct heard *h = l->n ? bsearch(d->name, l->at, l->n, sizeof *l->at, by_name) : NULL;
	printf("%-24s first login %s, last login or refresh %s", d->name,
	       cmd_time(d->first_s, first), cmd_time(d->last_s, last));
	if (h)
		printf(", %llu sets and %llu rows, newest %s", (unsigned long long)h->sets,
		       (unsigned long long)h->rows, cmd_time((int64_t)(h->seen_ms / 1000), seen));
	puts(d->revoked ? ", revoked" : "");
	return 0;
}

static int list(struct auth *a, const struct config *c, const char *user, struct err *e)
{
	struct heard_list l = {.user = user};
	struct store *store = NULL;

	int rc = cmd_open_store(c, &store, e);
	if (!rc)
		rc = store_each_device(store, add_heard, &l, e);
	store_close(store);
	if (!rc || rc == NE_NOT_FOUND) /* before the first neapd serve there is no store */
		rc = auth_each_device(a, user, print_device, &l, e);
	if (!rc && !l.printed)
		printf("no device of %s has logged in yet\n", user);
	free(l.at);
	return rc;
}

static int print_code(const struct args *args, const char *code, int64_t until_s, struct err *e)
{
	char until[32];
	json_t *doc;
	char *text;

	if (!args->json) {
		printf("%s\n", code);
		fprintf(stderr,
			"once, until %s, for device %s of %s. On the device:\n"
			"  neap init DB --server URL --code %s [--ca FILE]\n",
			cmd_time(until_s, until), args->operand[2], args->operand[1], code);
		return 0;
	}
	doc = json_pack("{s:s, s:s, s:s, s:I}", "user", args->operand[1], "device",
			args->operand[2], "code", code, "until_ms", (json_int_t)until_s * 1000);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (!text)
		return err_set(e, NE_MEMORY, "out of memory");
	puts(text);
	free(text);
	return 0;
}

static int enrol(struct auth *a, const struct args *args, struct err *e)
{
	char code[ENROL_CODE_LEN + 1];
	int64_t valid_s = ENROL_VALID_S;

	if (args->valid && !duration_read(args->valid, ENROL_VALID_MAX_S, &valid_s))
		return err_set(e, NE_USAGE,
			       "\"%.40s\" is no time of 60s to 30d: give one as in 90m, 24h or 7d",
			       args->valid);
	TRY(auth_device_enrol(a, args->operand[1], args->operand[2], valid_s, code, e));
	int rc = print_code(args, code, (int64_t)time(NULL) + valid_s, e);
	explicit_bzero(code, sizeof code);
	return rc;
}

static int change(struct auth *a, const struct args *args, bool revoke, struct err *e)
{
	const char *user = args->operand[1], *device = args->operand[2];

	TRY(revoke ? auth_device_revoke(a, user, device, e)
		   : auth_device_allow(a, user, device, e));
	printf("device %s of %s %s\n", device, user,
	       revoke ? "is revoked" : "may log in again: neap init on the device");
	return 0;
}

int cmd_device(const struct command *self, int argc, char **argv, struct err *e)
{
	static const char *const verbs[] = {"list", "revoke", "allow", "enrol"};
	enum { LIST, REVOKE, ALLOW, ENROL, VERBS };
	struct config c;
	struct args args;
	struct auth *a;
	int rc, verb = 0;

	TRY(cmd_args(self, argc, argv, "jv", 1, 3, &args, e));
	const char *what = args.operand[0];
	while (verb < VERBS && strcmp(what, verbs[verb]) != 0)
		verb++;
	if (verb == VERBS)
		return err_set(e, NE_USAGE, "\"%.40s\" is none of list, enrol, revoke, allow",
			       what);
	if (args.operands != (verb == LIST ? 2 : 3))
		return err_set(e, NE_USAGE, "usage: neapd device %s USER%s", what,
			       verb == LIST ? "" : " DEVICE");
	if (verb != ENROL && (args.json || args.valid))
		return err_set(e, NE_USAGE, "--json and --valid are for neapd device enrol");
	TRY(cmd_open_auth(&args, &c, &a, e));
	if (verb == LIST)
		rc = list(a, &c, args.operand[1], e);
	else if (verb == ENROL)
		rc = enrol(a, &args, e);
	else
		rc = change(a, &args, verb == REVOKE, e);
	auth_close(a);
	return rc;
}
