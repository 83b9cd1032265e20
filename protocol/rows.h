/*
 * Rows on their way: the content of change sets, broadcasts and pages, and the
 * columnar codec that packs them. A row names its key, whether its existence
 * register is part of it, and some of its cells, each with the version (stamp
 * and site) of the write it comes from.
 */
#ifndef NEAP_PROTOCOL_ROWS_H
#define NEAP_PROTOCOL_ROWS_H

#include "protocol/shape.h"
#include "protocol/stamp.h"
#include "protocol/value.h"

enum row_exist {
	EXIST_NONE,  /* an update: existence is not touched */
	EXIST_ALIVE, /* an insert, or a whole row */
	EXIST_DEAD,  /* a delete: a tombstone */
};

struct cell {
	uint16_t col; /* index into shape->col; ascending within a row */
	struct reg reg;
	struct val val;
};

struct row {
	const struct val *key; /* shape->n_key values, none of them NULL */

	/* Merge tables. */
	enum row_exist exist;
	struct reg exist_reg; /* meaningful unless EXIST_NONE */
	uint16_t n_cell;
	const struct cell *cell; /* append rows: every column, reg unused */

	/* Append tables: identity is (site of the set, gen, n). */
	uint64_t gen;
	int64_t n;
};

struct table_rows {
	const struct shape *shape;
	size_t n_row;
	struct row *row;
	bool uncompressed; /* for rows_encode: as if the shape said so; rows_decode: false */
};

/* At most one entry per shape. */
struct rows {
	size_t n_table;
	struct table_rows *table;
};

/* Whether any table's rows must not be compressed: then no frame that holds them may be. */
bool rows_uncompressed(const struct rows *rows);

/*
 * Packs `rows` behind what is in `out`. `home` is the site whose registers are
 * cheapest to name: the set's own site, 0 for what the server sends.
 * Errors: NE_LIMIT (LIMIT_ROWS, LIMIT_CELLS, LIMIT_SET or out->max), NE_MEMORY.
 */
NEAP_CHECK int rows_encode(const struct rows *rows, uint64_t home, struct buf *out, struct err *e);

/* How a decoder finds a shape by id; NULL if it does not know it. */
struct shape_finder {
	const struct shape *(*find)(void *ctx, struct shape_id id);
	void *ctx;
};

/*
 * Unpacks `bytes`; every count is checked against the bytes left and the
 * limits, and the sum of what expanding would take against `a`'s bound, before
 * anything is allocated. Text and blobs point into `a`, not into `bytes`.
 * Errors: NE_MALFORMED, NE_LIMIT, NE_MEMORY; NE_UNKNOWN_SHAPE, and then
 * `*unknown` (if not NULL) is the first shape that was not found.
 */
NEAP_CHECK int rows_decode(struct slice bytes, uint64_t home, struct shape_finder shapes,
			   struct arena *a, struct rows *out, struct shape_id *unknown,
			   struct err *e);

#endif
