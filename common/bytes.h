/*
 * Bytes with their length: `struct slice` borrows, `struct buf` owns and grows
 * up to a bound, `struct arena` hands out many small pieces that are freed at
 * once and never more than its bound in all. Nothing here adds lengths before
 * comparing them.
 */
#ifndef NEAP_COMMON_BYTES_H
#define NEAP_COMMON_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/* Borrowed bytes; `at` may be NULL when `len` is 0. */
struct slice {
	const uint8_t *at;
	size_t len;
};

static inline struct slice slice_of(const void *at, size_t len)
{
	return (struct slice){(const uint8_t *)at, len};
}
struct slice slice_str(const char *s);
bool slice_eq(struct slice a, struct slice b);

/* Two lower-case hexadecimal digits a byte; `out` has room for 2 * len of them. No NUL. */
void slice_hex(struct slice s, char *out);

/* A growing buffer. Zero-initialised with a bound: `struct buf b = {.max = 4096}`. */
struct buf {
	uint8_t *at;
	size_t len, cap;
	size_t max; /* never holds more; reaching it is NE_LIMIT */
};

void buf_free(struct buf *b); /* leaves an empty buffer with the same bound */
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
}
static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(b->at, b->len);
}

/* NE_LIMIT past the bound, NE_MEMORY; the content is as before on error. */
NEAP_CHECK int buf_reserve(struct buf *b, size_t more);
NEAP_CHECK int buf_put(struct buf *b, const void *bytes, size_t len);
NEAP_CHECK int buf_put_u8(struct buf *b, uint8_t v);
/* Formatted text without its NUL. */
NEAP_CHECK int buf_printf(struct buf *b, const char *fmt, ...) NEAP_PRINTF(2, 3);
/* Two lower-case hexadecimal digits a byte. */
NEAP_CHECK int buf_put_hex(struct buf *b, struct slice s);
/* Ends the buffer with a NUL that does not count in `len`, for use as a C string. */
NEAP_CHECK int buf_terminate(struct buf *b);

/* Memory freed at once. Zero-initialised with a bound: `struct arena a = {.max = 1 << 20}`. */
struct arena {
	struct arena_block *head;
	size_t used; /* bytes handed out, counted against max */
	size_t max;
};

/* Zeroed memory aligned for any type, or NULL when the bound or memory is reached. */
void *arena_alloc(struct arena *a, size_t size);
/* `count` items of `size`: NULL also when the product overflows. */
void *arena_array(struct arena *a, size_t count, size_t size);
/* A copy that lives as long as the arena; `at` is NULL on failure (also for len 0: a valid
 * pointer). */
struct slice arena_copy(struct arena *a, struct slice s);
void arena_free(struct arena *a); /* frees all; the arena can be used again */

#endif
