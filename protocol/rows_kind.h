/* The kinds of rows in a merge table: found when encoding, written and read. */
#ifndef NEAP_PROTOCOL_ROWS_KIND_H
#define NEAP_PROTOCOL_ROWS_KIND_H

#include "protocol/rows_layout.h"

struct kinds {
	size_t n;
	struct kind *kind;
	int64_t *index; /* of each row */
};

/* Sorts the rows of a table into kinds; memory from `tmp`. NE_MEMORY. */
NEAP_CHECK int kinds_make(const struct table_rows *t, struct kinds *out, struct arena *tmp);
NEAP_CHECK int kinds_put(const struct kinds *k, size_t n_row, uint16_t n_col, struct buf *out,
			 struct arena *tmp);
/* Reads the kinds of `n_row` rows of a table with `n_col` columns. NE_MALFORMED, NE_MEMORY. */
NEAP_CHECK int kinds_get(struct slice *in, size_t n_row, uint16_t n_col, struct kinds *out,
			 struct arena *tmp);

#endif
