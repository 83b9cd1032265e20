/*
 * A static prefix code for short texts, such as names of things in sensor data: about 5½ bits a
 * character where a general compressor has nothing to learn from. The code is canonical, given by
 * the length of each byte's word (docs/protocol.md has the table).
 */
#ifndef NEAP_PROTOCOL_COLUMN_TEXT_H
#define NEAP_PROTOCOL_COLUMN_TEXT_H

#include "common/bytes.h"

/* Bits that `text` takes. */
size_t text_code_bits(struct slice text);
/* Appends the words of `text`, padded with zero bits to whole bytes. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int text_code_put(struct buf *out, struct slice text);
/* Reads `n` characters and the padding from the head of `in`. NE_MALFORMED. */
NEAP_CHECK int text_code_get(struct slice *in, uint8_t *out, size_t n);
/* Whether `left` bytes can hold `n` characters at all: to be asked before making room for them. */
bool text_code_possible(size_t n, size_t left);

#endif
