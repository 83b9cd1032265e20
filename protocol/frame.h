/*
 * Frames: the plaintext of every sealed message. A frame is one deterministic
 * CBOR array [type, fields…], stored plain or as one zstd frame, whichever is
 * shorter, but plain where it has rows of tables that are not to be compressed. docs/protocol.md
 * lists them field by field.
 */
#ifndef NEAP_PROTOCOL_FRAME_H
#define NEAP_PROTOCOL_FRAME_H

#include "protocol/row_sum.h"
#include "protocol/rows.h"

enum frame_type {
	/* device → backend, on <device>/up */
	FRAME_HELLO = 1,
	FRAME_SET = 2,
	FRAME_PART = 3, /* also down: a piece of a frame too large for one message */
	FRAME_PULL = 4,
	FRAME_DECLARE = 5,
	FRAME_VERIFY = 6,
	FRAME_CONFLICTS = 7,
	FRAME_ASK = 8,

	/* backend → device, on <device>/down */
	FRAME_WELCOME = 16,
	FRAME_ACK = 17,
	FRAME_EXPECT = 18,
	FRAME_BUSY = 19,
	FRAME_PAGE = 20,
	FRAME_RESET = 21,
	FRAME_REFUSE = 22,
	FRAME_KEY = 23,
	FRAME_RECEIPT = 24,
	FRAME_REJECT = 25,
	FRAME_DIGEST = 26,
	FRAME_NOTED = 27,
	FRAME_RANGES = 28,

	/* backend → every device of the user */
	FRAME_CHANGE = 32, /* on changes/<origin> */
	FRAME_HEAD = 33,   /* on head, retained */
};

/* Where a device stands. store 0: it has none yet (first sync). */
struct position {
	uint64_t store; /* random id of the data store, never 0 */
	uint64_t term;	/* random id of the committer's term, never 0 */
	uint64_t cursor;
	uint64_t hold; /* rows here may be as new as that seq, which pages brought */
	bool full;     /* a full pull is under way … */
	uint64_t base; /* … that began at this head */
};

struct f_hello {
	uint64_t nonce;
	uint64_t site;
	uint64_t last_number; /* newest set number given out; 0 none */
	uint64_t last_cut;    /* its cut id; 0 none */
	struct position at;
	size_t n_shape; /* tables it tracks */
	const struct shape_id *shape;
};

enum set_flags {
	SET_PARTIAL = 1, /* an app transaction may continue in the next set */
};

struct f_set {
	uint64_t site;
	uint64_t number; /* > prev */
	uint64_t prev;	 /* the number before it, 0 for the first */
	uint64_t cut;	 /* random, never 0 */
	uint64_t flags;
	uint64_t captured; /* site in the identity of its append rows; 0: the set's own */
	/*
	 * Of the user's seqs, the newest that its writer may have seen: what has a later one was
	 * written without knowing of it (J7).
	 */
	uint64_t seen;
	struct slice rows; /* rows_encode with home = site */
};

struct f_part {
	uint64_t cut; /* of the set; for a part going down, the nonce it answers */
	uint64_t index, count;
	uint64_t size;	    /* of the whole frame */
	uint8_t digest[32]; /* SHA-256 of the whole frame */
	struct slice bytes;
};

struct f_pull {
	uint64_t nonce;
	uint64_t number; /* rises by one with each pull of this engine run */
	struct position at;
	struct slice token; /* continues within a seq; empty at a page's start */
	uint64_t credit;    /* bytes the device takes now */
	/*
	 * Of one table alone, by name: its rows changed in (from, upto], beside the stream, whose
	 * cursor upto is not above. No name: the stream, and both are 0.
	 */
	uint64_t upto, from;
	struct slice table;
};

struct f_declare {
	size_t n;
	const struct slice *shape; /* encoded shapes */
};

/*
 * Compares a range of a merge table with the server's rows (J6). Keys are values one after the
 * other (value_bytes.h), in the shape's order of columns; the table's own order of keys counts.
 */
struct f_verify {
	uint64_t nonce;
	struct position at;
	struct shape_id shape;
	bool whole;	     /* the rows are wanted, not only their sum */
	struct slice from;   /* a key: behind it; empty: from the first on */
	struct slice to;     /* a key: up to and with it; empty: to the last */
	struct slice except; /* keys to be left out, at most LIMIT_EXCEPT: they are pending */
	/* Values, one for each column of the shape: of rows where it has none; empty: all NULL. */
	struct slice absent;
};

/* A write of this device that lost: a cell's, or the row's existence. */
struct lost_value {
	struct slice table, key; /* text; conflict_key */
	struct slice column;	 /* empty: the row itself */
	struct slice value;	 /* conflict_put_value */
	struct reg reg;		 /* that lost; 0, 0: a settled value, which has none any more */
	struct reg won;		 /* 0, 0: not known */
	uint64_t lost_ms;	 /* the device's clock */
	struct slice why;
};

/* What lost on the device; answered by noted. Sent again it changes nothing. */
struct f_conflicts {
	uint64_t nonce; /* another one for what is told anew */
	uint64_t site;
	uint64_t number; /* of the last one in it */
	size_t n;
	const struct lost_value *lost;
};

/*
 * What does the server have of the append rows (site, gen) with numbers above `after`, up to and
 * including `upto`? It had acknowledged more than it knows now (P8). Answered by ranges.
 */
struct f_ask {
	uint64_t nonce;
	struct shape_id shape;
	uint64_t site, gen;
	int64_t after, upto; /* after < upto */
	uint64_t salt;	     /* 0: the numbers are asked for; else hashes of the keys, with it */
};

enum site_status {
	SITE_OK = 0,
	SITE_CLASH = 1,	 /* known under another device of the user: take a new site */
	SITE_BEHIND = 2, /* the server has a newer number, or another cut id, for this site: a clone
			    or a restored backup; take a new site */
};

struct f_welcome {
	uint64_t nonce;
	uint64_t store, term, head;
	uint64_t server_ms;
	uint64_t site; /* the one asked for */
	enum site_status site_status;
	uint64_t last_number; /* newest number committed of that site; 0 none */
	uint64_t last_cut;
	uint64_t noted;	  /* newest number of a conflicts frame of that site that it has kept */
	size_t n_unknown; /* shapes it wants declared */
	const struct shape_id *unknown;
};

struct ack_set {
	uint64_t number;
	uint64_t own; /* own seq; 0: null, nothing stands in for the echo */
};

struct f_ack {
	uint64_t store, term;
	uint64_t site;
	uint64_t number; /* all of the site up to and including this one are committed */
	uint64_t head;	 /* the user's, in the committing transaction */
	size_t n;	 /* the sets newly covered, rising */
	const struct ack_set *set;
};

struct f_expect {
	uint64_t store, term;
	uint64_t site;
	uint64_t after;	 /* the newest number committed */
	uint64_t number; /* of the set that was not its successor */
};

struct f_busy {
	uint64_t retry_ms;
};

struct f_page {
	uint64_t nonce;
	uint64_t store, term;
	uint64_t from,
		upto;  /* takes the cursor from … to …; upto == from while token is not empty */
	uint64_t head; /* at which it was built: rule P3's H */
	struct slice token; /* not empty: the seq continues, ask again with it */
	size_t n_shape;	    /* the declaration of every table in it */
	const struct slice *shape;
	struct slice rows; /* rows_encode with home = 0; whole rows */
};

struct f_reset {
	uint64_t nonce; /* of the hello or pull it answers */
	uint64_t store, term, head;
};

enum refuse_code {
	REFUSE_UNKNOWN_SHAPE = 1, /* declare `shape` and send again */
	REFUSE_SITE_CLASH = 2,
	REFUSE_FAR_AHEAD = 3, /* stamps beyond now + limit_ms: re-stamp and cut anew */
	REFUSE_SCHEMA = 4,    /* the policy forbids this table or column */
	REFUSE_DIRECTION = 5, /* devices do not write this table */
	REFUSE_QUOTA = 6,
	REFUSE_COLLISION = 7, /* the identities of `rows` of an append table have other content */
	REFUSE_MALFORMED = 8, /* opened well but is no valid set: a defect, or a newer client */
	REFUSE_STALE = 9, /* an old number under a cut id no longer remembered: never committed */
	REFUSE_ROWS = 10, /* `rows` of an append table: leave them out and cut anew */
};

/* The set was not committed; the next one has prev = the same. */
struct f_refuse {
	uint64_t store, term;
	uint64_t site, number, cut;
	enum refuse_code code;
	uint64_t server_ms, limit_ms;
	struct slice text; /* UTF-8 for a person */
	size_t n_shape;
	const struct shape_id *shape;
	struct slice rows; /* keys only; home is site 0 */
};

struct f_key {
	uint64_t epoch; /* of the group key */
	uint8_t key[32];
};

/* Which parts of a set have arrived; clears nothing. */
struct f_receipt {
	uint64_t cut;
	size_t n_missing;
	const uint64_t *missing;
};

/* Rows of a committed set that were not taken, by key. */
struct f_reject {
	uint64_t site, number;
	struct slice text;
	struct slice rows; /* keys only */
};

enum digest_status {
	DIGEST_OK = 0,
	DIGEST_BUSY = 1,     /* nothing was looked at: ask again in a while */
	DIGEST_NO_TABLE = 2, /* the server has no such table of this user */
};

/* The server's rows of a range, as of the asked cursor. */
struct f_digest {
	uint64_t nonce;
	uint64_t store, term, head;
	enum digest_status status;
	struct slice upto;  /* a key: nothing behind it was looked at; empty: all that was asked */
	struct row_sum sum; /* of the rows alive, without those in `except` and `above` */
	struct slice above; /* keys that are left out: newer than the cursor, or not to be sent */
	struct slice rows;  /* whole: rows_encode with home = 0, dead ones as well */
};

/* The server keeps what the conflicts frame of this nonce said, up to `number`. */
struct f_noted {
	uint64_t nonce;
	uint64_t store, term;
	uint64_t site, number;
};

/* Of the numbers up to `upto`: those received, or the keys of those that are here. */
struct f_ranges {
	uint64_t nonce;
	uint64_t store, term;
	bool foreign;		 /* the site is another device's of the user */
	int64_t upto;		 /* nothing behind it was looked at: ask on */
	struct slice runs, keys; /* protocol/ranges.h; one of them is empty */
};

struct f_change {
	uint64_t term;
	uint64_t seq;
	struct slice rows; /* rows_encode with home = 0: the effect */
};

struct f_head {
	uint64_t store, term, head;
	uint64_t prev_term; /* 0 none */
	uint64_t first;	    /* first seq of this term for the user */
};

struct frame {
	enum frame_type type;
	bool uncompressed; /* for frame_encode: leave it plain; frame_decode: false */
	union {
		struct f_hello hello;
		struct f_set set;
		struct f_part part;
		struct f_pull pull;
		struct f_declare declare;
		struct f_verify verify;
		struct f_conflicts conflicts;
		struct f_ask ask;
		struct f_welcome welcome;
		struct f_ack ack;
		struct f_expect expect;
		struct f_busy busy;
		struct f_page page;
		struct f_reset reset;
		struct f_refuse refuse;
		struct f_key key;
		struct f_receipt receipt;
		struct f_reject reject;
		struct f_digest digest;
		struct f_noted noted;
		struct f_ranges ranges;
		struct f_change change;
		struct f_head head;
	};
};

/* Appends the frame's plaintext. NE_LIMIT (out->max), NE_MEMORY. */
NEAP_CHECK int frame_encode(const struct frame *f, struct buf *out, struct err *e);

/*
 * Decodes one plaintext: all memory, slices included, from `a`. The
 * decompressed size is checked before decompressing. Text is checked to be
 * UTF-8. NE_MALFORMED, NE_LIMIT, NE_MEMORY; `out` is untouched on error.
 */
NEAP_CHECK int frame_decode(struct slice plain, struct arena *a, struct frame *out, struct err *e);

/* A constant name such as "set"; "unknown" otherwise. */
const char *frame_name(enum frame_type type);

#endif
