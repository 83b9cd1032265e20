/*
 * The bounds both ends keep. Each is a number a peer can run into; what
 * happens there is written beside the code that checks it and in
 * docs/protocol.md.
 */
#ifndef NEAP_PROTOCOL_LIMITS_H
#define NEAP_PROTOCOL_LIMITS_H

enum neap_limits {
	LIMIT_ID = 64,			  /* bytes of a user or device id */
	LIMIT_NAME = 64,		  /* bytes of a table or column name */
	LIMIT_COLUMNS = 200,		  /* columns of a table, key columns included */
	LIMIT_KEY_COLUMNS = 16,		  /* columns of a key */
	LIMIT_UNIQUES = 16,		  /* declared UNIQUE constraints of a table */
	LIMIT_TABLES = 128,		  /* tables of a user */
	LIMIT_ROWS = 10000,		  /* rows of a set */
	LIMIT_CELLS = 200000,		  /* cells of a set, keys included */
	LIMIT_SITES = 4096,		  /* distinct sites named in a set or page */
	LIMIT_VALUE = 3670016,		  /* bytes of one value: 3.5 MiB */
	LIMIT_SET = 4 * 1024 * 1024,	  /* bytes of an encoded set, before compression */
	LIMIT_DECODED = 16 * 1024 * 1024, /* bytes of memory for one decoded message */
	LIMIT_FRAME = 5 * 1024 * 1024,	  /* bytes of a frame: a set and what goes with it */
	LIMIT_SLICE = 256 * 1024, /* bytes compressed at a time; what one zstd frame may hold */
	LIMIT_PIECE = 4096,	  /* bytes of a part of a set as a device sends it */
	LIMIT_MESSAGE = 61440,	  /* bytes of a sealed message; the broker takes 65536 in all */
	LIMIT_PARTS = 2048,	  /* parts of one set */
	LIMIT_ACK_SETS = 256,	  /* sets covered by one ack; cut ids remembered per site */
	LIMIT_LOST = 256,	  /* values of one conflicts frame */
	LIMIT_EXCEPT = 64,	  /* keys that a verify leaves out */
};

#endif
