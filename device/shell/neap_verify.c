/* neap_verify: a comparison with the server, and what it found. */
#include <string.h>

#include "device/shell/neap_internal.h"

struct verifying {
	neap *n;
	neap_verified_fn fn;
	void *ctx;
};

static const char *text(const json_t *t, const char *member)
{
	const char *s = json_string_value(json_object_get(t, member));

	return s ? s : "";
}

static void tell(const struct verifying *v, const json_t *t)
{
	const struct neap_verified found = {
		.size = sizeof found,
		.table = text(t, "name"),
		.outcome = text(t, "outcome"),
		.total = api_number(t, "total"),
		.rows = api_number(t, "rows"),
		.left_out = api_number(t, "left_out"),
		.differed = api_number(t, "differed"),
		.missing = api_number(t, "missing"),
		.extra = api_number(t, "extra"),
		.repaired = api_number(t, "repaired"),
	};

	api_calling(v->n, true);
	v->fn(v->ctx, &found);
	api_calling(v->n, false);
}

/* All tables at the end; before, the one that is being compared. */
static void tell_all(const struct verifying *v, const json_t *status, bool ended)
{
	const json_t *t, *tables = json_object_get(json_object_get(status, "verify"), "tables");
	size_t i;

	if (!v->fn)
		return;
	json_array_foreach(tables, i, t)
	{
		bool waits = !strcmp(text(t, "outcome"), "waits");
		if (ended || waits)
			tell(v, t);
		if (!ended && waits)
			return;
	}
}

static void on_progress(void *ctx, const json_t *status)
{
	tell_all(ctx, status, false);
}

static json_t *request(const char *table, int repair, unsigned timeout_ms)
{
	json_t *tables = json_array();

	if (tables && table && json_array_append_new(tables, json_string(table))) {
		json_decref(tables);
		return NULL;
	}
	return tables ? json_pack("{s:s, s:b, s:b, s:o}", "op", "verify", "repair", repair != 0,
				  "patient", timeout_ms > 0, "tables", tables)
		      : NULL;
}

/* By whichever engine has the database; an own one, for the time, if none has. */
static int anywhere(struct verifying *v, const json_t *want, unsigned timeout_ms,
		    const struct agent_progress *progress, struct err *e)
{
	const struct node_owner owner = api_owner(v->n);
	struct api_loop here;

	TRY(api_may_wait(v->n, e));
	api_count_syncs(v->n, 1);
	api_loop_push(&here, v->n);
	int rc = agent_verify(v->n->paths.db, want, timeout_ms, &owner, progress, e);
	tell_all(v, *progress->status, true);
	api_loop_pop(&here);
	api_count_syncs(v->n, -1);
	return rc;
}

static int in_loop(struct verifying *v, const json_t *want, unsigned timeout_ms,
		   const struct agent_progress *progress, struct err *e)
{
	if (!v->n->node)
		return err_set(e, v->n->ended.code, "%s", v->n->ended.text);
	int rc = agent_verify_node(v->n->agent, v->n->node, want, timeout_ms, progress, e);
	tell_all(v, *progress->status, true);
	return rc;
}

int neap_verify(neap *n, const char *table, int repair, unsigned timeout_ms, neap_verified_fn fn,
		void *ctx)
{
	struct verifying v = {.n = n, .fn = fn, .ctx = ctx};
	json_t *status = NULL;
	const struct agent_progress progress = {.fn = on_progress, .ctx = &v, .status = &status};
	struct api_loop *here;
	struct err e = {0};
	int rc;

	if (api_enter(n, "neap_verify", &here))
		return NEAP_USAGE;
	json_t *want = request(table, repair, timeout_ms);
	if (!want)
		rc = err_set(&e, NE_USAGE, "neap_verify: the table's name is not valid UTF-8");
	else
		rc = here ? in_loop(&v, want, timeout_ms, &progress, &e)
			  : anywhere(&v, want, timeout_ms, &progress, &e);
	json_decref(want);
	json_decref(status);
	return api_done(n, rc, &e);
}
