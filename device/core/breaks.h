/*
 * Rules that a test switches off to see that the simulator notices (docs/simulator.md). All false
 * in the product.
 */
#ifndef NEAP_DEVICE_CORE_BREAKS_H
#define NEAP_DEVICE_CORE_BREAKS_H

#include <stdbool.h>

struct engine_break {
	bool no_hold;		/* P3: broadcasts at or below a page's head are applied */
	bool hold_forgotten;	/* P3: hold is not durable */
	bool clear_by_stamp;	/* M2: an ack clears marks whatever their generation */
	bool upsert;		/* J1: an update of an unknown row creates it */
	bool cells_beat_delete; /* J1: a cell mark beats an older-or-not delete */
	bool no_filler;	     /* J1: a cut with an insert carries only the columns that have marks */
	bool clear_early;    /* P4: marks are dropped at the ack, not when the cursor is there */
	bool trust_head;     /* P2: sync concludes from the retained head */
	bool skip_own;	     /* P5: an own seq is skipped even if its marks were overtaken */
	bool restamp_cut;    /* M1: a new offset moves marks that were cut, too */
	bool no_floor;	     /* M1: what comes from others does not advance the clock */
	bool no_restamp;     /* M1: a bounced mark keeps its stamp */
	bool no_skip;	     /* M3: a run's numbers follow on those of the run before */
	bool no_sync;	     /* M3: a set's number is published before it is durable */
	bool no_sweep;	     /* P7: a full pull removes nothing */
	bool no_repull;	     /* J5: a new table or column is not pulled */
	bool receipt_clears; /* M4: a receipt for parts counts as an acknowledgement */
	bool site_lost;	 /* M5, J3: what was captured under an earlier site goes by the new one */
	bool sum_marked; /* J6: rows that are pending are summed, too */
	bool no_park;	 /* J2: a row that does not fit is dropped */
	bool no_ask;	 /* P8: a server that lost append rows is not asked which */
	bool no_report;	 /* J7: what lost here before the server judged it is not reported */
};

#endif
