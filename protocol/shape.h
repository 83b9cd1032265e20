/*
 * The shape of a table: what a device declares once and sets, broadcasts and
 * pages then name by an 8-byte id, the head of SHA-256 over its encoding.
 */
#ifndef NEAP_PROTOCOL_SHAPE_H
#define NEAP_PROTOCOL_SHAPE_H

#include "common/bytes.h"
#include "protocol/limits.h"

enum shape_kind {
	SHAPE_MERGE,
	SHAPE_APPEND,
};

/* Affinities as SQLite defines them (https://sqlite.org/datatype3.html section 3.1). */
enum shape_affinity {
	AFF_BLOB,
	AFF_TEXT,
	AFF_NUMERIC,
	AFF_INTEGER,
	AFF_REAL,
};

enum shape_collation {
	COLL_BINARY,
	COLL_NOCASE,
	COLL_RTRIM,
};

enum shape_direction {
	DIR_BOTH,
	DIR_UP,
	DIR_DOWN,
};

struct shape_col {
	struct slice name; /* UTF-8, as declared in the app's table */
	enum shape_affinity affinity;
	/* Outside the key: that of the UNIQUE constraints the column is in, else BINARY. */
	enum shape_collation collation;
};

/* One UNIQUE constraint besides the key: columns counted over key, then the others. */
struct shape_unique {
	uint16_t n;
	uint16_t *col;
};

struct shape_id {
	uint8_t at[8];
};

struct shape {
	struct shape_id id; /* computed by shape_encode and shape_decode */
	struct slice name;  /* the table's name, as declared */
	enum shape_kind kind;
	enum shape_direction direction;
	/* Its values are written each by itself and its frames are not compressed: sizes tell
	   nothing of what secrets have in common with text that somebody else chose. */
	bool uncompressed;
	bool key_is_number; /* append only: the key is one INTEGER PRIMARY KEY, and is the row's
			       number */
	uint16_t n_key;	    /* 1 … LIMIT_KEY_COLUMNS, in key order */
	uint16_t n_col; /* columns outside the key, in the table's order, generated ones left out */
	uint16_t n_unique;
	struct shape_col *key;
	struct shape_col *col;
	struct shape_unique *unique;
};

/*
 * A name is valid UTF-8 of 1 … LIMIT_NAME bytes without control characters, and
 * (case-folded) begins with neither "sqlite_" nor "neap_". Column names are
 * distinct when ASCII-case-folded. Errors: NE_MALFORMED, NE_LIMIT.
 */
NEAP_CHECK int shape_check(const struct shape *s, struct err *e);

/* Appends the deterministic CBOR of a valid shape and stores its id in `s->id`. */
NEAP_CHECK int shape_encode(struct shape *s, struct buf *out, struct err *e);
/* Decodes and checks one shape, all memory from `a`; sets its id. NE_MALFORMED, NE_LIMIT,
 * NE_MEMORY. */
NEAP_CHECK int shape_decode(struct slice bytes, struct arena *a, struct shape *out, struct err *e);

bool shape_id_eq(struct shape_id a, struct shape_id b);

#endif
