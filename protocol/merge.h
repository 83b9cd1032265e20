/*
 * The merge rules, as pure functions used by both ends (rule J1). Existence is
 * a last-writer-wins register of its own, and so is each cell. A delete writes
 * "no value" into every column, an insert into those of its sender's shape that
 * it brings no cell of; a cell compares with what was written to its own column
 * only. So the outcome depends neither on the order in which changes come nor
 * on which columns their senders have.
 *
 * "No value" is a NULL whose register is older than the row's existence: see
 * cell_no_value.
 *
 * Columns are those of the caller's table; a row's cells are mapped to them
 * before (`cell[i].col` is the caller's column index, ascending).
 */
#ifndef NEAP_PROTOCOL_MERGE_H
#define NEAP_PROTOCOL_MERGE_H

#include "protocol/rows.h"

/*
 * Whether a cell of a whole row says that its column has no value: the row was deleted and inserted
 * again by a device that lacks the column, or replaced by one since a NULL was written. Devices
 * hold the column's DEFAULT then, as they do in a row whose column was never written.
 */
bool cell_no_value(const struct row *r, const struct cell *c);

/*
 * What the server holds of a row: registers of every column, also of a dead or unknown row. Where
 * there is no register the column of a live row was never written since the row is known; that of a
 * dead one stands at the row's end.
 */
struct standing {
	bool known; /* false: no trace of this key; existence counts as dead at (0, 0) */
	bool alive;
	struct reg exist;
	uint16_t n_col;
	struct reg *cell; /* n_col; stamp 0 and site 0: no register */
	bool *has;	  /* n_col; whether cell[i] is a register */
};

struct merge_result {
	bool exist_taken; /* existence moved to the incoming register */
	bool revived;	  /* … and the row became alive: the whole row is the effect */
	bool lost;	  /* something was not taken as sent: the sender is corrected (P5) */
	bool any;	  /* something was taken */
	bool *cell_taken; /* row->n_cell flags, supplied by the caller */
	/* n_col flags, supplied by the caller: the column has no value from now on. */
	bool *cell_voided;
};

/*
 * Joins `in` into `st` (changing its registers, not values: the caller writes
 * the values of taken cells, and NULL to voided ones when the row is alive).
 * `shape_has` (n_col flags) says which columns the sender's shape has: an
 * insert says nothing of others.
 */
void merge_server(struct standing *st, const struct row *in, const bool *shape_has,
		  struct merge_result *out);

/*
 * Refuses `in`: `st` keeps its values and its existence, but its registers move to just after the
 * writes refused (SITE_REFUSED), so that the sender gives way and nothing later does. A row that
 * nobody knows becomes a tombstone. Cells later than the end of a row that is not alive have such a
 * register and no value: the insert that revives the row brings it, and the register stays. The
 * caller republishes the whole row.
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
	/*
	 * n_col flags, supplied by the caller: the insert that was pending is overtaken, but not
	 * the value it gave this column, which stays pending as a write of the cell at the insert's
	 * version, or at that of the cell's mark if later.
	 */
	bool *keep;
};

/* What a device does with an incoming effect or page row. */
void merge_device(const struct pending *p, const struct row *in, struct apply_plan *out);

#endif
