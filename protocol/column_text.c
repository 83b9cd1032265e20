#include "protocol/column_text.h"

#include <assert.h>
#include <pthread.h>

#include "protocol/column_io.h"

enum { SHORTEST = 4, LONGEST = 12, WORDS = 1 << LONGEST };

/* clang-format off */
static const uint8_t length[256] = {
	12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 9, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
	5, 10, 9, 9, 11, 9, 10, 9, 9, 9, 10, 9, 8, 6, 6, 7, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 10, 10, 9, 10, 10,
	9, 8, 9, 9, 9, 8, 9, 9, 9, 8, 10, 9, 9, 9, 8, 8, 9, 10, 8, 8, 8, 9, 9, 9, 9, 9, 10, 10, 10, 10, 11, 6,
	11, 5, 7, 6, 6, 4, 6, 6, 6, 5, 9, 7, 5, 6, 5, 5, 6, 9, 5, 5, 4, 6, 7, 7, 8, 7, 9, 10, 10, 10, 11, 12,
	10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
	10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
	12, 12, 9, 9, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 9, 9, 9, 9, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
	12, 12, 9, 9, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
};
/* clang-format on */

/* Words with their first bit lowest, as the bit streams have them. */
static uint16_t word[256];
/* By the next LONGEST bits: the byte, and the length of its word above it. */
static uint16_t decode[WORDS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint16_t reversed(unsigned v, unsigned n)
{
	unsigned r = 0;
	for (unsigned i = 0; i < n; i++)
		r |= (v >> i & 1) << (n - 1 - i);
	return (uint16_t)r;
}

/* Words count up by length, then by byte (as in RFC 1951 section 3.2.2). */
static void make_tables(void)
{
	unsigned next = 0;
	for (unsigned len = SHORTEST; len <= LONGEST; len++, next <<= 1) {
		for (unsigned c = 0; c < 256; c++) {
			if (length[c] != len)
				continue;
			word[c] = reversed(next++, len);
			for (unsigned tail = 0; tail < WORDS; tail += 1u << len)
				decode[word[c] | tail] = (uint16_t)(c | len << 8);
		}
	}
	assert(next == WORDS << 1);
}

static void need_tables(void)
{
	int rc = pthread_once(&once, make_tables);
	assert(rc == 0);
	(void)rc;
}

size_t text_code_bits(struct slice text)
{
	size_t bits = 0;
	for (size_t i = 0; i < text.len; i++)
		bits += length[text.at[i]];
	return bits;
}

int text_code_put(struct buf *out, struct slice text)
{
	need_tables();
	size_t bytes = (text_code_bits(text) + 7) / 8;
	TRY(buf_reserve(out, bytes));
	struct bit_writer w = {.at = out->at + out->len};
	for (size_t i = 0; i < text.len; i++)
		bits_put(&w, word[text.at[i]], length[text.at[i]]);
	bits_finish(&w);
	out->len += bytes;
	return 0;
}

int text_code_get(struct slice *in, uint8_t *out, size_t n)
{
	need_tables();
	struct bit_reader r = {.in = *in};
	for (size_t i = 0; i < n; i++) {
		if (r.n < LONGEST)
			bits_refill(&r);
		uint16_t d = decode[r.acc & (WORDS - 1)];
		out[i] = (uint8_t)d;
		bits_skip(&r, d >> 8);
	}
	return bits_end(&r, in) ? 0 : NE_MALFORMED;
}

bool text_code_possible(size_t n, size_t left)
{
	/* Two of the shortest words fill a byte. */
	return n / 2 <= left;
}
