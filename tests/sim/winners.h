/*
 * Which write has to win, known beside the system: of what devices had committed, and of what the
 * server wrote itself, each cell and each row's existence keeps the one with the greatest stamp, in
 * whatever order they came (J1). A delete writes "nothing" to every column.
 *
 *   winners.c         the greatest of all writes; the sets of devices, folded in once committed
 *   winners_server.c  what the server wrote itself (J4); what its tables say at the end
 */
#ifndef NEAP_SIM_WINNERS_H
#define NEAP_SIM_WINNERS_H

#include "tests/sim/sim.h"

/* A register of a row that somebody wrote; an empty column: its existence. */
struct written {
	const char *user, *table;
	struct slice key; /* canonical */
	struct slice col; /* its name */
	struct reg reg;
	bool dead;
	const struct val *val; /* NULL: none */
};

enum { WINNERS_BYTES = 16 << 20 };

/* Whether the run's table is looked at: rows that are refused keep what stood. */
bool winners_concern(const struct world *w, const char *table);

/* Keeps it if it is greater than what is known. */
void winners_fold(struct world *w, const struct written *new);
/* What wins of the cell (or existence): its register, and its value, canonical, empty for none. */
struct reg winners_find(struct world *w, const struct written *of, bool *dead, struct buf *val);
/* Rows of a user's table that are alive. */
int64_t winners_alive(struct world *w, const char *user, const char *table);

/* winners_server.c: writes of the server itself that are new are above all known before them. */
void winners_take_server(struct world *w);

#endif
