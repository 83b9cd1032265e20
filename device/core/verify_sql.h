/* Statements over a range of keys, for verify*.c alone. */
#ifndef NEAP_DEVICE_CORE_VERIFY_SQL_H
#define NEAP_DEVICE_CORE_VERIFY_SQL_H

#include "device/core/verify.h"

enum range_query {
	RANGE_NTH,   /* the key of the row that ?1 others come before */
	RANGE_MARKS, /* keys with a pending write, one each, at most ?1 of them */
	RANGE_ROWS,  /* key, columns */
	RANGE_KEYS,  /* keys */
};

/* The statement over `r`, bound; its keys borrow from r's. */
NEAP_CHECK int range_query(const struct verify_range *r, enum range_query q, int64_t n,
			   sqlite3_stmt **out, struct err *e);
/* Of a row of a statement: `n` values from `col` on. False if one is NULL. */
bool range_values(sqlite3_stmt *s, int col, int n, struct val *out);

#endif
