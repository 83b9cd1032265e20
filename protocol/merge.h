/*
 * The merge rules, as pure functions used by both ends (rule J1). Existence is
 * a last-writer-wins register of its own; each cell is one; cells older than
 * the row's latest insert or delete are void.
 *
 * Columns are those of the caller's table; a row's cells are mapped to them
 * before (`cell[i].col` is the caller's column index, ascending).
 */
#ifndef NEAP_PROTOCOL_MERGE_H
#define NEAP_PROTOCOL_MERGE_H

#include "protocol/rows.h"

/* What the server holds of a row: registers of every column, also of a dead or unknown row. */
struct standing {
	bool known; /* false: no trace of this key; existence counts as dead at (0, 0) */
	bool alive;
	struct reg exist;
	uint16_t n_col;
	struct reg *cell; /* n_col; stamp 0 and site 0: no register (never written, or void) */
	bool *has;	  /* n_col; whether cell[i] is a register */
};

struct merge_result {
	bool exist_taken; /* existence moved to the incoming register */
	bool revived;	  /* … and the row became alive: the whole row is the effect */
	bool lost;	  /* something was not taken as sent: the sender is corrected (P5) */
	bool any;	  /* something was taken */
	bool *cell_taken; /* row->n_cell flags, supplied by the caller */
	/*
	 * n_col flags, supplied by the caller: the standing cell was older than the new existence,
	 * and nothing incoming took its place.
	 */
	bool *cell_voided;
};

/*
 * Joins `in` into `st` (changing its registers, not values: the caller writes
 * the values of taken cells, and clears voided ones when the row is alive).
 * `shape_has` (n_col flags) says which columns the sender's shape has: an
 * insert voids only those.
 */
void merge_server(struct standing *st, const struct row *in, const bool *shape_has,
		  struct merge_result *out);

/*
 * Refuses `in`: `st` keeps its values and its existence, but its registers move to just after the
 * writes refused (SITE_REFUSED), so that the sender gives way and nothing later does. A row that
 * nobody knows becomes a tombstone. The caller republishes the whole row.
 */
void merge_refuse(struct standing *st, const struct row *in, const bool *shape_has);

/* What a device holds: marks of pending writes only; settled cells have none. */
struct pending {
	bool row_exists;
	bool has_exist; /* a mark on existence */
	struct reg exist;
	uint16_t n_col;
	const bool *has; /* n_col: a mark on the cell */
	const struct reg *cell;
};

struct apply_plan {
	enum {
		APPLY_NONE,   /* nothing of existence: update the cells listed */
		APPLY_DELETE, /* remove the row and all its marks */
		APPLY_INSERT, /* create the row with the cells listed */
	} action;
	bool drop_exist_mark;
	bool *write;	 /* row->n_cell flags, supplied by the caller: write this cell's value */
	bool *drop_mark; /* n_col flags, supplied by the caller: this cell's mark is overtaken */
};

/* What a device does with an incoming effect or page row. */
void merge_device(const struct pending *p, const struct row *in, struct apply_plan *out);

#endif
