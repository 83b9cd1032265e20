/* The conflict callback and resolvers. */
#include <stdlib.h>
#include <string.h>

#include "device/shell/neap_internal.h"

static struct neap_value value_of(const struct val *v)
{
	struct neap_value out = {.type = NEAP_NULL};

	switch (v->type) {
	case VAL_NULL:
		break;
	case VAL_INT:
		out.type = NEAP_INTEGER;
		out.integer = v->i;
		break;
	case VAL_REAL:
		out.type = NEAP_REAL;
		out.real = v->r;
		break;
	case VAL_TEXT:
	case VAL_BLOB:
		out.type = v->type == VAL_TEXT ? NEAP_TEXT : NEAP_BLOB;
		out.bytes = v->s.at;
		out.len = v->s.len;
		break;
	}
	return out;
}

/* False for a type there is none of, and for more bytes than a value may have. */
static bool val_of(const struct neap_value *v, struct val *out)
{
	*out = (struct val){.type = VAL_NULL};
	switch (v->type) {
	case NEAP_NULL:
		return true;
	case NEAP_INTEGER:
		*out = (struct val){.type = VAL_INT, .i = v->integer};
		return true;
	case NEAP_REAL:
		*out = (struct val){.type = VAL_REAL, .r = v->real};
		return true;
	case NEAP_TEXT:
	case NEAP_BLOB:
		out->type = v->type == NEAP_TEXT ? VAL_TEXT : VAL_BLOB;
		out->s = slice_of(v->bytes ? v->bytes : "", v->bytes ? v->len : 0);
		return out->s.len <= LIMIT_VALUE;
	default:
		return false;
	}
}

static struct neap_conflict conflict_of(const struct engine_conflict *c)
{
	return (struct neap_conflict){
		.size = sizeof(struct neap_conflict),
		.table = c->table,
		.key = c->key,
		.column = c->column,
		.local = value_of(&c->local),
		.incoming = value_of(&c->incoming),
		.reason = c->reason,
	};
}

static void on_conflict(void *ctx, const char *db, const struct engine_conflict *c)
{
	neap *n = ctx;
	const struct neap_conflict say = conflict_of(c);

	(void)db;
	api_calling(n, true);
	n->conflict(n->conflict_ctx, &say);
	api_calling(n, false);
}

static struct api_resolver *find(neap *n, const char *table)
{
	for (size_t i = 0; i < n->n_resolver; i++)
		if (!sqlite3_stricmp(n->resolver[i].table, table))
			return &n->resolver[i];
	return NULL;
}

static enum resolution on_resolve(void *ctx, const char *db, const struct engine_conflict *c,
				  struct val *write)
{
	neap *n = ctx;
	const struct neap_conflict say = conflict_of(c);
	const struct api_resolver *r = find(n, c->table);
	struct neap_value answer = say.incoming;

	(void)db;
	if (!r)
		return RESOLVE_KEEP;
	api_calling(n, true);
	int choice = r->fn(r->ctx, &say, &answer);
	api_calling(n, false);
	return choice == NEAP_WRITE && val_of(&answer, write) ? RESOLVE_WRITE : RESOLVE_KEEP;
}

void api_own_conflicts(neap *n, struct node_owner *out)
{
	out->conflict = n->conflict ? on_conflict : NULL;
	out->resolve = n->n_resolver ? on_resolve : NULL;
}

void api_conflicts_free(neap *n)
{
	for (size_t i = 0; i < n->n_resolver; i++)
		free(n->resolver[i].table);
	free(n->resolver);
}

/* The rest are called with mode_lock held. */

static int may_change(const neap *n, const char *function, struct err *e)
{
	if (n->mode == API_IDLE && n->syncs == 0)
		return NE_OK;
	return err_set(e, NE_USAGE, "%s: not while it runs or syncs; neap_stop first", function);
}

static int append(neap *n, const char *table, neap_resolver_fn fn, void *ctx, struct err *e)
{
	if (n->n_resolver == NEAP_RESOLVERS)
		return err_set(e, NE_USAGE, "neap_set_resolver: there are %d resolvers already",
			       NEAP_RESOLVERS);
	struct api_resolver *more = realloc(n->resolver, (n->n_resolver + 1) * sizeof *more);
	if (!more)
		return err_set(e, NE_MEMORY, "out of memory");
	n->resolver = more;
	struct api_resolver *r = &more[n->n_resolver];
	*r = (struct api_resolver){.table = strdup(table), .fn = fn, .ctx = ctx};
	if (!r->table)
		return err_set(e, NE_MEMORY, "out of memory");
	n->n_resolver++;
	return NE_OK;
}

static int set_resolver(neap *n, const char *table, neap_resolver_fn fn, void *ctx, struct err *e)
{
	struct api_resolver *r = find(n, table);

	if (r && fn) {
		r->fn = fn;
		r->ctx = ctx;
	} else if (r) {
		free(r->table);
		*r = n->resolver[--n->n_resolver];
	} else if (fn) {
		return append(n, table, fn, ctx, e);
	}
	return NE_OK;
}

int neap_on_conflict(neap *n, neap_conflict_fn fn, void *ctx)
{
	struct err e = {0};

	if (api_enter(n, "neap_on_conflict", NULL))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	int rc = may_change(n, "neap_on_conflict", &e);
	if (!rc) {
		n->conflict = fn;
		n->conflict_ctx = ctx;
	}
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}

int neap_set_resolver(neap *n, const char *table, neap_resolver_fn fn, void *ctx)
{
	struct err e = {0};

	if (api_enter(n, "neap_set_resolver", NULL))
		return NEAP_USAGE;
	pthread_mutex_lock(&n->mode_lock);
	int rc = may_change(n, "neap_set_resolver", &e);
	if (!rc && !table)
		rc = err_set(&e, NE_USAGE, "neap_set_resolver: there is no table");
	if (!rc)
		rc = set_resolver(n, table, fn, ctx, &e);
	pthread_mutex_unlock(&n->mode_lock);
	return api_done(n, rc, &e);
}
