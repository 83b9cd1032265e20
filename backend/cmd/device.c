#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cmd/cmd.h"

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

int cmd_device(const struct command *self, int argc, char **argv, struct err *e)
{
	struct config c;
	struct args args;
	struct auth *a;
	int rc;

	TRY(cmd_args(self, argc, argv, "", 1, 3, &args, e));
	const char *what = args.operand[0];
	bool listing = !strcmp(what, "list"), revoke = !strcmp(what, "revoke");
	if (!listing && !revoke && strcmp(what, "allow"))
		return err_set(e, NE_USAGE, "\"%.40s\" is none of list, revoke, allow", what);
	if (args.operands != (listing ? 2 : 3))
		return err_set(e, NE_USAGE, "usage: neapd device %s USER%s", what,
			       listing ? "" : " DEVICE");
	TRY(cmd_open_auth(&args, &c, &a, e));
	if (listing)
		rc = list(a, &c, args.operand[1], e);
	else if (revoke)
		rc = auth_device_revoke(a, args.operand[1], args.operand[2], e);
	else
		rc = auth_device_allow(a, args.operand[1], args.operand[2], e);
	auth_close(a);
	if (!rc && !listing)
		printf("device %s of %s %s\n", args.operand[2], args.operand[1],
		       revoke ? "is revoked" : "may log in again: neap init on the device");
	return rc;
}
