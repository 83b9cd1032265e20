/*
 * The device's own list of conflicts (J7): writes of the app that lost before they were settled,
 * one record for each register, and settled rows that a pull overwrote. In neap_conflict until
 * there are more than the bounds allow: then the oldest go, which are those the server has noted.
 *
 *   id         rises; above neap_meta's conflict_noted: the server does not know it yet
 *   table_id, key (as in neap_parked), text (JSON for a person), reason, at_ms
 *   tab, pk (key_pack), row_key (JSON), col (NULL: the row itself)
 *   value, incoming        what lost, and to what; of a whole row `text` stands for the value
 *   stamp, site, won_stamp, won_site
 *   todo       enum conflict_todo: who is still to be told or asked
 *   bytes, upto            of this record, and of all up to this one
 */
#ifndef NEAP_DEVICE_CORE_CONFLICT_H
#define NEAP_DEVICE_CORE_CONFLICT_H

#include "device/core/devdb.h"
#include "protocol/value.h"

enum conflict_bounds {
	CONFLICTS_MAX = 10000,
	CONFLICTS_BYTES = 16 << 20,
};

enum conflict_todo {
	CONFLICT_TELL = 1,
	CONFLICT_ASK = 2, /* a resolver */
};

/* Our tables of it. */
extern const char conflict_schema_sql[];

struct conflict {
	const struct tracked *t;
	const struct val *key;
	struct slice column; /* empty: the row itself */
	struct val value;    /* what lost */
	struct val incoming; /* what it lost to */
	struct reg reg, won; /* 0, 0: none, not known */
	bool row_there;	     /* a resolver may write it again */
	const char *reason;
	struct slice text; /* of a whole settled row; empty: made from key, column and value */
};

/*
 * Adds a record inside the caller's transaction; *added is false if this register's is there
 * already. A text or blob longer than a value may be (LIMIT_VALUE) is cut to that. Records that
 * fall out at the bounds before the server noted them are counted in neap_meta's conflict_dropped.
 */
NEAP_CHECK int conflict_add(struct devdb *d, const struct conflict *c, bool *added, struct err *e);

#endif
