/*
 * Which shape lies in which table (rule R3): tables are shared by all users
 * and keyed by name (case-folded), kind, key columns with collation and
 * affinity, and the affinity of every column both know. Pure functions.
 */
#ifndef NEAP_BACKEND_CORE_CATALOGUE_H
#define NEAP_BACKEND_CORE_CATALOGUE_H

#include "backend/core/store.h"

enum catalogue_limits {
	CATALOGUE_TABLES = 1000, /* of the server; LIMIT_TABLES of a user */
	/* Shapes that a user was the first to declare: each stays, as rows under it may come. */
	CATALOGUE_SHAPES_USER = 4096,
};

/* ASCII case-folded equality, as SQLite compares names. */
bool name_same(struct slice a, struct slice b);

/* Whether rows of `s` may lie in a table whose canonical shape is `table`. */
bool catalogue_fits(const struct shape *table, const struct shape *s);

/*
 * `table` with the columns of `s` that it lacks at its end; *grown tells whether there were any.
 * Memory from `a`, names borrowed. NE_LIMIT: more than LIMIT_COLUMNS; NE_MEMORY.
 */
NEAP_CHECK int catalogue_widen(const struct shape *table, const struct shape *s, struct arena *a,
			       struct shape *out, bool *grown, struct err *e);

/* Fills the maps of `sh` (shape and table set) from `a`. NE_CORRUPT: a column is missing. */
NEAP_CHECK int catalogue_map(struct store_shape *sh, struct arena *a, struct err *e);

#endif
