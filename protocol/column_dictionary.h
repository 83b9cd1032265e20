/* The distinct values of a column, in the order of their first use. */
#ifndef NEAP_PROTOCOL_COLUMN_DICTIONARY_H
#define NEAP_PROTOCOL_COLUMN_DICTIONARY_H

#include "protocol/value.h"

enum { DICTIONARY_FROM = 3 }; /* values below which none is tried */

struct dictionary {
	size_t n; /* 0: the values repeat too little */
	struct val *val;
	int64_t *index; /* of each value of the column */
};

/* Memory from `tmp`. NE_MEMORY. */
NEAP_CHECK int dictionary_make(const struct val *v, size_t n, struct dictionary *out,
			       struct arena *tmp);
/* Whether the dictionary is so much smaller that nothing else need be tried. */
bool dictionary_sure(const struct dictionary *d, const struct val *v, size_t n);

#endif
