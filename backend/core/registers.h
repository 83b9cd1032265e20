/*
 * How a row's registers lie in the store: existence in three integers, and a
 * blob only for cells that differ from it and for seqs that are not the row's. A
 * row written by one insert has no blob; a row that is not alive keeps values of cells later than
 * its end here.
 */
#ifndef NEAP_BACKEND_CORE_REGISTERS_H
#define NEAP_BACKEND_CORE_REGISTERS_H

#include "backend/core/store.h"

/* Columns covered and whether the row is alive. */
int64_t registers_state(const struct store_row *row);

/* Appends the blob; nothing is appended where none is needed. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int registers_encode(const struct store_row *row, struct buf *out);

/*
 * Fills row->st, row->kept and the seqs of registers (whose arrays are there) from what was stored
 * beside row->seq: `blob` empty means none. Kept text and blobs are copied into `a`. NE_CORRUPT,
 * NE_MEMORY.
 */
NEAP_CHECK int registers_decode(int64_t state, struct reg exist, struct slice blob, struct arena *a,
				struct store_row *row);

#endif
