/*
 * What can be asked of a database, whether its agent answers (node.c) or no
 * agent runs and the asking process does it itself. A request is a JSON object:
 *
 *   {"op": "status"} | {"op": "track", "table": T, "append": bool, "direction": "up"|"down"|"both",
 *   "keep_ms": N, "keep_rows": N, "keep_bytes": N, "pending_rows": N, "pending_bytes": N,
 *   "drop_oldest": bool, "priority": N, "compress": "on"|"off"} | {"op": "untrack", "table": T} |
 *   {"op": "rejected",
 * "retry": bool, "forget": bool, "id": N} | {"op": "conflicts", "limit": N, "before": ID}
 *
 * and sync and verify, which only a node does. Members of track but the table may be left out, and
 * limit and before. rejected answers with "rows" (id, table, what, row, reason, at_ms; at most
 * OPS_ROWS of them) and their "count"; with retry or forget it does that to one rejected row or all
 * of them, and answers with done, failed and the reason of the first failure. conflicts with
 * "conflicts", the newest first, at most OPS_CONFLICTS: id, table, row, column (null: the row
 * itself), reason, at_ms, noted (the server has it); and "dropped".
 */
#ifndef NEAP_DEVICE_SHELL_OPS_H
#define NEAP_DEVICE_SHELL_OPS_H

#include <jansson.h>

#include "device/core/engine.h"
#include "device/shell/conn.h"
#include "device/shell/paths.h"

enum { OPS_ROWS = 500, OPS_CONFLICTS = 100 };

/* The connection as status shows it; NULL stands for "no agent runs". */
struct link_view {
	enum conn_state state;
	int problem;	  /* enum ne; NE_OK */
	const char *text; /* of the problem */
	uint64_t retry_in_ms;
	int blocked; /* enum ne: the database cannot be written, for another reason than a lock */
	const char *blocked_text;
	bool rival;	       /* connections were taken over, not long ago */
	uint64_t rival_ms;     /* since then */
	uint64_t bad_messages; /* that did not open: forged or damaged */
	uint64_t other_key;    /* in a group key that is not known yet, or not any more */
};

/* The answer to "rejected". NE_MALFORMED for its members, NE_NOT_FOUND for an id. */
NEAP_CHECK int ops_rejected(struct devdb *d, const json_t *request, json_t **out, bool *changed,
			    struct err *e);
/* The answer to "conflicts". NE_MALFORMED for its members. */
NEAP_CHECK int ops_conflicts(struct devdb *d, const json_t *request, json_t **out, struct err *e);

/*
 * How a verification stands: done, repair, tables[]: name, outcome ("waits", "compared", or why it
 * cannot be: "append", "up", "capture", "unknown", "failed"), total, rows, left_out, differed,
 * missing, extra, repaired. NE_MEMORY.
 */
NEAP_CHECK int ops_verify_report(const struct engine *en, json_t **out, struct err *e);
/* How one ends that is done: NE_OK, or what a person is to know. */
NEAP_CHECK int ops_verify_verdict(const struct engine *en, struct err *e);

/* The object of `neap status --json`. NE_MEMORY and the engine's errors. */
NEAP_CHECK int ops_status(struct engine *en, const char *db, const struct link_view *view,
			  json_t **out, struct err *e);

/*
 * Carries out any request but sync. *changed: the engine must be told to look
 * (EV_LOCAL). *out is the answer without "code". NE_USAGE for an unknown request.
 */
NEAP_CHECK int ops_do(struct engine *en, const char *db, const json_t *request,
		      const struct link_view *view, json_t **out, bool *changed, struct err *e);

/*
 * Asks the agent of the database if there is one, else opens it and does it here. *out (may be
 * NULL) is the whole answer. NE_LOCKED if an engine holds the file and does not answer.
 */
NEAP_CHECK int ops_ask(const char *db, const json_t *request, json_t **out, struct err *e);

#endif
