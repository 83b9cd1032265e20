/*
 * Rules that a test switches off to see that the simulator notices (docs/simulator.md). All false
 * in the product.
 */
#ifndef NEAP_BACKEND_CORE_BREAKS_H
#define NEAP_BACKEND_CORE_BREAKS_H

#include <stdbool.h>

struct ingest_break {
	bool publish_as_sent; /* P4: the set goes out as it came */
	bool no_correct;      /* P5: what was not taken is not republished */
	bool no_join;	/* J1: a tombstone keeps no later cells; an unknown delete is not stored */
	bool last_wins; /* J1: what comes last is taken, whatever its stamp */
	bool void_all;	/* J1: an insert voids also columns its sender does not have */
	bool no_term;	/* P1: positions are not checked against terms */
	bool no_successor; /* M3: any set number is committed */
	bool no_cut_id;	   /* M3: a number at or below the newest is acknowledged, whatever it is */
	bool no_fence;	   /* M5: a hello ends no set that is still on its way */
	bool no_behind;	   /* M5: a site that has less than the server knows of it is as good */
	bool no_clash;	   /* M5: a site may come from any device */
	bool ack_own_seq;  /* P4: the ack carries the set's seq, not the user's head */
	bool ack_unsynced; /* P6: what is acknowledged is not durable yet */
	bool no_own_pull;  /* P3: pages leave out what the asking device wrote */
	bool no_gc_check;  /* P7: pages are given below removed tombstones */
	bool no_gc_base;   /* P7: a full pull's base does not matter */
	bool any_stamp;	   /* M1: stamps however far ahead are let in */
	bool no_compare;   /* J3: an identity is a duplicate, whatever its content */
	bool no_leaving;   /* J4: what an operator deletes, or gives another user, is no change */
	bool sql_by_clock; /* J4: an operator's write is stamped by the clock alone */
	bool no_unique;	   /* J2: UNIQUE constraints that devices declared are not looked at */
	bool sum_above;	   /* J6: rows newer than the cursor asked about are summed, too */
	bool no_ranges;	   /* J3: what was purged may come again */
};

#endif
