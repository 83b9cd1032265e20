/* Change callbacks: who wants to hear of which table. */
#include <stdlib.h>
#include <string.h>

#include "device/shell/neap_internal.h"

static bool same_table(const char *a, const char *b)
{
	return a && b ? sqlite3_stricmp(a, b) == 0 : a == b;
}

/* The loop that calls: the innermost of this thread, always one of `n`. */
static void on_changed(void *ctx, const char *db, const char *table)
{
	neap *n = ctx;

	(void)db;
	for (size_t i = 0; i < n->n_change; i++) {
		const struct api_change *c = &n->change[i];
		if (!c->table || same_table(c->table, table)) {
			api_calling(n, true);
			c->fn(c->ctx, table);
			api_calling(n, false);
		}
	}
}

struct node_owner api_owner(neap *n)
{
	struct node_owner owner = {.ctx = n, .changed = on_changed};

	api_own_conflicts(n, &owner);
	return owner;
}

static void remove_at(neap *n, size_t i)
{
	free(n->change[i].table);
	n->change[i] = n->change[--n->n_change];
}

static int append(neap *n, const struct api_change *want, struct err *e)
{
	if (n->n_change == NEAP_CHANGE_FUNCTIONS)
		return err_set(e, NE_USAGE, "neap_on_change: there are %d functions already",
			       NEAP_CHANGE_FUNCTIONS);
	struct api_change *more = realloc(n->change, (n->n_change + 1) * sizeof *more);
	if (!more)
		return err_set(e, NE_MEMORY, "out of memory");
	n->change = more;
	n->change[n->n_change] = *want;
	if (want->table && !(n->change[n->n_change].table = strdup(want->table)))
		return err_set(e, NE_MEMORY, "out of memory");
	n->n_change++;
	return NE_OK;
}

static int set(neap *n, const struct api_change *want, struct err *e)
{
	size_t i = 0;

	if (n->mode != API_IDLE || n->syncs > 0)
		return err_set(e, NE_USAGE,
			       "neap_on_change: not while it runs or syncs; neap_stop first");
	while (i < n->n_change && !same_table(n->change[i].table, want->table))
		i++;
	if (i == n->n_change)
		return want->fn ? append(n, want, e) : NE_OK;
	if (!want->fn) {
		remove_at(n, i);
		return NE_OK;
	}
	n->change[i].fn = want->fn;
	n->change[i].ctx = want->ctx;
	return NE_OK;
}

int neap_on_change(neap *n, const char *table, neap_change_fn fn, void *ctx)
{
	const struct api_change want = {.table = (char *)(uintptr_t)table, .fn = fn, .ctx = ctx};
	struct err e = {0};

	if (api_enter(n, "neap_on_change", NULL))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	int rc = set(n, &want, &e);
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}

void api_changes_free(neap *n)
{
	for (size_t i = 0; i < n->n_change; i++)
		free(n->change[i].table);
	free(n->change);
}
