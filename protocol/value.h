/* An SQL value as both ends hold it. Text and blobs are borrowed. */
#ifndef NEAP_PROTOCOL_VALUE_H
#define NEAP_PROTOCOL_VALUE_H

#include <sqlite3.h>

#include "common/bytes.h"

enum val_type {
	VAL_NULL,
	VAL_INT,
	VAL_REAL, /* any double but NaN, which SQLite stores as NULL; −0.0 and infinities kept */
	VAL_TEXT, /* valid UTF-8 as SQLite gave it; NULs inside are kept */
	VAL_BLOB,
};

struct val {
	enum val_type type;
	union {
		int64_t i;
		double r;
		struct slice s;
	};
};

/* Same type and same bits (1 and 1.0 differ; 'a' and 'A' differ). */
bool val_eq(const struct val *a, const struct val *b);
/* A total order of values for sorting: NULL, ints, reals, text, blob; bytes by memcmp. */
int val_cmp(const struct val *a, const struct val *b);
/* Memory the value needs: 8, or the length of its bytes. */
size_t val_size(const struct val *v);

/* Borrows from the statement's row: valid until it is stepped or reset. */
struct val val_column(sqlite3_stmt *stmt, int col);
/* Binds without copying text or blob: `v` must outlive the next step. SQLITE_* code. */
int val_bind(sqlite3_stmt *stmt, int index, const struct val *v);
/* A deep copy in the arena; false when it is full. */
NEAP_CHECK bool val_copy(struct arena *a, const struct val *v, struct val *out);

#endif
