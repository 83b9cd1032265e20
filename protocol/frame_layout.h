/* What frame_encode.c and frame_decode.c share: the number of fields after each frame's type. */
#ifndef NEAP_PROTOCOL_FRAME_LAYOUT_H
#define NEAP_PROTOCOL_FRAME_LAYOUT_H

enum {
	/* First byte of a compressed plaintext; a plain one begins with its CBOR array, 0x82 …
	   0x8c. */
	FRAME_COMPRESSED = 1,
	/* Below this many bytes zstd gains nothing: on text, and on rows, which are packed already.
	 */
	FRAME_COMPRESS_FROM = 192,
	FRAME_COMPRESS_ROWS_FROM = 512,

	POSITION_FIELDS = 6,
	HELLO_FIELDS = 6,
	SET_SHORT_FIELDS = 4,
	SET_SEEN_FIELDS = 5,
	SET_FIELDS = 7,
	SET_CAPTURED_FIELDS = 8,
	PART_FIELDS = 6,
	PULL_FIELDS = 5,
	PULL_TABLE_FIELDS = 8,
	DECLARE_FIELDS = 1,
	VERIFY_FIELDS = 7,
	VERIFY_ABSENT_FIELDS = 8,
	CONFLICTS_FIELDS = 4,
	LOST_FIELDS = 10,
	ASK_FIELDS = 6,
	ASK_SPAN_BYTES = 16, /* after, upto */
	WELCOME_FIELDS = 11,
	ACK_FIELDS = 6,
	EXPECT_FIELDS = 5,
	BUSY_FIELDS = 1,
	PAGE_FIELDS = 9,
	RESET_FIELDS = 4,
	REFUSE_FIELDS = 11,
	KEY_FIELDS = 2,
	RECEIPT_FIELDS = 2,
	REJECT_FIELDS = 4,
	DIGEST_FIELDS = 10,
	NOTED_FIELDS = 5,
	RANGES_FIELDS = 7,
	NUMBER_BYTES = 8, /* of an append row */
	CHANGE_FIELDS = 3,
	HEAD_FIELDS = 5,
};

#endif
