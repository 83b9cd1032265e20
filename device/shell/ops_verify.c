/* What a verification found, as JSON, and how it ends. */
#include "device/shell/ops.h"

static const char *const outcomes[] = {
	[VERIFY_WAITS] = "waits",   [VERIFY_DONE] = "compared",	  [VERIFY_APPEND] = "append",
	[VERIFY_UP] = "up",	    [VERIFY_CAPTURE] = "capture", [VERIFY_NO_TABLE] = "unknown",
	[VERIFY_FAILED] = "failed",
};

static json_t *one_table(const struct verify_table *t)
{
	const struct verify_counts *n = &t->n;

	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", t->name,
			 "outcome", outcomes[t->outcome], "total", (json_int_t)t->total, "rows",
			 (json_int_t)n->rows, "left_out", (json_int_t)n->left_out, "differed",
			 (json_int_t)n->differed, "missing", (json_int_t)n->missing, "extra",
			 (json_int_t)n->extra, "repaired", (json_int_t)n->repaired);
}

int ops_verify_report(const struct engine *en, json_t **out, struct err *e)
{
	const struct verify_report *r = engine_verify_report(en);
	json_t *tables = json_array();

	for (size_t i = 0; tables && i < r->n; i++) {
		if (json_array_append_new(tables, one_table(&r->table[i]))) {
			json_decref(tables);
			tables = NULL;
		}
	}
	*out = tables ? json_pack("{s:b, s:b, s:o}", "done", r->done, "repair", r->repair, "tables",
				  tables)
		      : NULL;
	return *out ? NE_OK : err_set(e, NE_MEMORY, "out of memory");
}

static int cannot(const struct verify_table *t, struct err *e)
{
	switch (t->outcome) {
	case VERIFY_CAPTURE:
		return err_set(e, NE_CAPTURE,
			       "table %s was not compared: its capture is broken, or being made "
			       "good; see `neap status`",
			       t->name);
	case VERIFY_NO_TABLE:
		return err_set(e, NE_ROWS,
			       "table %s was not compared: the server does not have it; see `neap "
			       "status`",
			       t->name);
	case VERIFY_FAILED:
		return err_set(e, NE_ROWS,
			       "table %s was not compared to its end: a row of it is too large",
			       t->name);
	case VERIFY_APPEND:
		return err_set(
			e, NE_ROWS,
			"table %s was not compared: no numbers are kept of its rows, by which "
			"the server could be asked",
			t->name);
	default:
		return err_set(e, NE_ROWS,
			       "table %s was not compared: the server sends no rows of tables that "
			       "only go up",
			       t->name);
	}
}

int ops_verify_verdict(const struct engine *en, struct err *e)
{
	const struct verify_report *r = engine_verify_report(en);
	uint64_t remain = 0;

	for (size_t i = 0; i < r->n; i++) {
		const struct verify_table *t = &r->table[i];
		bool by_nature = t->outcome == VERIFY_APPEND || t->outcome == VERIFY_UP;

		if (t->outcome != VERIFY_DONE && (!by_nature || r->named))
			return cannot(t, e);
		remain += t->n.differed + t->n.missing + t->n.extra - t->n.repaired;
	}
	if (!remain)
		return NE_OK;
	if (!r->repair)
		return err_set(e, NE_ROWS,
			       "%llu rows differ from the server's; run it without --no-repair",
			       (unsigned long long)remain);
	return err_set(e, NE_ROWS,
		       "%llu rows of the server's do not fit here and are parked: see `neap "
		       "rejected`",
		       (unsigned long long)remain);
}
