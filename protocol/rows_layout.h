/* What rows_encode.c and rows_decode.c share: how a table's rows are described. */
#ifndef NEAP_PROTOCOL_ROWS_LAYOUT_H
#define NEAP_PROTOCOL_ROWS_LAYOUT_H

#include "protocol/rows.h"

enum {
	SITE_BYTES = 8,
	BITMAP_BYTES = (LIMIT_COLUMNS + 7) / 8,

	/* A table begins with its shape, then a varint: its rows << TABLE_FLAGS | flags. */
	TABLE_FLAGS = 2,
	TABLE_SITES = 1, /* merge: sites besides home are listed */
	TABLE_BARE = 1,	 /* append: keys only */
	TABLE_KEYS = 2,	 /* append: there are key columns; else the key is the row's number */

	/* The first byte of a kind: existence, then where its cells' registers are, then its
	   columns. */
	KIND_EXIST_MASK = 3,
	KIND_REGS_SHIFT = 2,
	KIND_REGS_MASK = 3,
	KIND_COLUMNS_SHIFT = 4,
	KIND_COLUMNS_MASK = 3,
	KIND_UNUSED = 0xc0,

	STAMP_COUNTER_BITS = 16,
	STAMP_COUNTER_MAX = 0xffff,
};

/* Registers of a kind's cells. */
enum kind_regs {
	REGS_EXIST, /* the same as existence */
	REGS_ONE,   /* one for all */
	REGS_EACH,
};

/* Columns of a kind. */
enum kind_columns {
	COLUMNS_NONE,
	COLUMNS_ALL,
	COLUMNS_BITMAP,
	COLUMNS_SINGLE,
};

/* What rows of a merge table have in common but for their values. */
struct kind {
	uint8_t exist; /* enum row_exist */
	uint8_t regs;  /* enum kind_regs */
	uint16_t n_cell;
	uint8_t column[BITMAP_BYTES]; /* bit c of byte c / 8: the row has column c */
};

static inline bool kind_has(const struct kind *k, size_t col)
{
	return k->column[col / 8] >> col % 8 & 1;
}

/* Registers written for one row of this kind. */
static inline size_t kind_registers(const struct kind *k)
{
	size_t cells = k->n_cell == 0 || k->regs == REGS_EXIST ? 0
		       : k->regs == REGS_ONE		       ? 1
							       : k->n_cell;
	return (k->exist != EXIST_NONE) + cells;
}

#endif
