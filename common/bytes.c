#include "common/bytes.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slice slice_str(const char *s)
{
	return slice_of(s, strlen(s));
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

void slice_hex(struct slice s, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < s.len; i++) {
		*out++ = digits[s.at[i] >> 4];
		*out++ = digits[s.at[i] & 15];
	}
}

void buf_free(struct buf *b)
{
	free(b->at);
	b->at = NULL;
	b->len = b->cap = 0;
}

int buf_reserve(struct buf *b, size_t more)
{
	if (b->cap - b->len >= more)
		return 0;
	if (b->len > b->max || more > b->max - b->len)
		return NE_LIMIT;
	size_t need = b->len + more;
	size_t cap = b->cap ? b->cap : b->max < 64 ? b->max : 64;
	while (cap < need)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	uint8_t *at = realloc(b->at, cap);
	if (!at)
		return NE_MEMORY;
	b->at = at;
	b->cap = cap;
	return 0;
}

int buf_put(struct buf *b, const void *bytes, size_t len)
{
	if (len == 0)
		return 0;
	TRY(buf_reserve(b, len));
	memcpy(b->at + b->len, bytes, len);
	b->len += len;
	return 0;
}

int buf_put_u8(struct buf *b, uint8_t v)
{
	return buf_put(b, &v, 1);
}

int buf_put_hex(struct buf *b, struct slice s)
{
	if (s.len > SIZE_MAX / 2)
		return NE_LIMIT;
	TRY(buf_reserve(b, 2 * s.len));
	if (s.len)
		slice_hex(s, (char *)b->at + b->len);
	b->len += 2 * s.len;
	return NE_OK;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		return NE_INTERNAL;
	/* vsnprintf writes a NUL too: make room for it, do not count it. */
	TRY(buf_reserve(b, (size_t)n + 1));
	va_start(args, fmt);
	vsnprintf((char *)b->at + b->len, (size_t)n + 1, fmt, args);
	va_end(args);
	b->len += (size_t)n;
	return 0;
}

int buf_terminate(struct buf *b)
{
	TRY(buf_reserve(b, 1));
	b->at[b->len] = 0;
	return 0;
}

/* Blocks grow with use; a piece larger than a block gets a block of its own. */
enum { BLOCK_MIN = 4096 };

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	alignas(max_align_t) uint8_t at[];
};

static struct arena_block *block_new(struct arena *a, size_t size)
{
	size_t room = a->head ? a->head->size : BLOCK_MIN;
	if (room < 256 * 1024 && a->head)
		room *= 2;
	if (room < size)
		room = size;
	struct arena_block *block = calloc(1, sizeof *block + room);
	if (!block)
		return NULL;
	block->size = room;
	block->next = a->head;
	a->head = block;
	return block;
}

void *arena_alloc(struct arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	if (size > a->max)
		return NULL;
	size = (size + align - 1) / align * align;
	if (size == 0)
		size = align;
	if (a->used > a->max || size > a->max - a->used)
		return NULL;
	struct arena_block *block = a->head;
	if (!block || block->size - block->used < size)
		block = block_new(a, size);
	if (!block)
		return NULL;
	void *piece = block->at + block->used;
	block->used += size;
	a->used += size;
	return piece;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	if (size != 0 && count > a->max / size)
		return NULL;
	return arena_alloc(a, count * size);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
	uint8_t *copy = arena_alloc(a, s.len);
	if (!copy)
		return slice_of(NULL, 0);
	if (s.len)
		memcpy(copy, s.at, s.len);
	return slice_of(copy, s.len);
}

void arena_free(struct arena *a)
{
	while (a->head) {
		struct arena_block *next = a->head->next;
		free(a->head);
		a->head = next;
	}
	a->used = 0;
}
