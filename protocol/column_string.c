#include "protocol/column_string.h"

#include <string.h>

#include "protocol/column.h"
#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/column_text.h"

enum {
	/* Above this, repetition is left for zstd to find, which coded bits would hide from it. */
	CODED_MAX = 1024,
	SPLIT_LEAST = 8, /* shortest blobs looked at for a number in front */
};

int string_put_text(struct buf *out, struct slice text)
{
	size_t coded = (text_code_bits(text) + 7) / 8;
	if (text.len > 0 && text.len < COLUMN_INT - COLUMN_TEXT_CODED && coded < text.len) {
		TRY(buf_put_u8(out, (uint8_t)(COLUMN_TEXT_CODED + text.len)));
		return text_code_put(out, text);
	}
	if (text.len < COLUMN_TEXT_LONG) {
		TRY(buf_put_u8(out, (uint8_t)(COLUMN_TEXT + text.len)));
	} else {
		TRY(buf_put_u8(out, COLUMN_TEXT + COLUMN_TEXT_LONG));
		TRY(put_varint(out, text.len - COLUMN_TEXT_LONG));
	}
	return buf_put(out, text.at, text.len);
}

static size_t shared(struct slice a, struct slice b)
{
	size_t least = a.len < b.len ? a.len : b.len;
	size_t n = 0;
	while (n < least && a.at[n] == b.at[n])
		n++;
	return n;
}

/* A column in parts, before it is known how its bytes are best written. */
struct strings {
	int64_t *shared; /* bytes each has in common with the one before */
	int64_t *own;	 /* bytes after those */
	size_t sum_shared, sum_all;
	bool one_length;
};

static int measure(const struct val *v, size_t n, struct strings *s, struct arena *tmp)
{
	*s = (struct strings){
		.shared = arena_array(tmp, n, sizeof *s->shared),
		.own = arena_array(tmp, n, sizeof *s->own),
		.one_length = true,
	};
	if (!s->shared || !s->own)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++) {
		size_t common = i ? shared(v[i - 1].s, v[i].s) : 0;
		s->shared[i] = (int64_t)common;
		s->own[i] = (int64_t)(v[i].s.len - common);
		s->sum_shared += common;
		s->sum_all += v[i].s.len;
		s->one_length = s->one_length && v[i].s.len == v[0].s.len;
	}
	return 0;
}

/* What is not shared, one after the other. */
static int gather(const struct val *v, size_t n, const struct strings *s, struct arena *tmp,
		  struct slice *out)
{
	size_t len = s->sum_all - s->sum_shared;
	uint8_t *at = arena_alloc(tmp, len);
	if (!at)
		return NE_MEMORY;
	*out = slice_of(at, len);
	for (size_t i = 0; i < n; i++) {
		size_t own = (size_t)s->own[i];
		if (own)
			memcpy(at, v[i].s.at + s->shared[i], own);
		at += own;
	}
	return 0;
}

/* Takes sharing out of account: all bytes are each value's own. */
static void unshare(const struct val *v, size_t n, struct strings *s)
{
	for (size_t i = 0; i < n; i++) {
		s->shared[i] = 0;
		s->own[i] = (int64_t)v[i].s.len;
	}
	s->sum_shared = 0;
}

static bool coding_helps(enum val_type type, struct slice pool)
{
	return type == VAL_TEXT && pool.len <= CODED_MAX &&
	       (text_code_bits(pool) + 7) / 8 < pool.len;
}

static uint8_t mode_of(enum val_type type, bool front, bool coded)
{
	if (type == VAL_BLOB)
		return front ? COLUMN_BLOBS_FRONT : COLUMN_BLOBS;
	if (coded)
		return front ? COLUMN_TEXTS_FRONT_CODED : COLUMN_TEXTS_CODED;
	return front ? COLUMN_TEXTS_FRONT : COLUMN_TEXTS;
}

static int put_strings(const struct val *v, size_t n, struct strings *s, struct buf *out,
		       struct arena *tmp)
{
	/* A shared length takes about a byte. */
	bool front = s->sum_shared > n + n / 2;
	struct slice pool;
	if (!front)
		unshare(v, n, s);
	TRY(gather(v, n, s, tmp, &pool));
	bool coded = coding_helps(v->type, pool);
	TRY(buf_put_u8(out, mode_of(v->type, front, coded)));
	if (front)
		TRY(ints_encode(s->shared, n, out, tmp));
	TRY(ints_encode(s->own, n, out, tmp));
	return coded ? text_code_put(out, pool) : buf_put(out, pool.at, pool.len);
}

static int64_t front_number(struct slice s, size_t bytes)
{
	uint64_t v = 0;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | s.at[i];
	return (int64_t)v;
}

/*
 * Bytes to take as a number in front of blobs of one length, such as the time of a UUIDv7: where
 * differences are short beside the bytes themselves. 0: none.
 */
static size_t split_at(const struct val *v, size_t n)
{
	size_t best = 0;
	size_t best_bits = n * 64;
	for (size_t bytes = 4; bytes <= 8; bytes += 2) {
		size_t bits = (n - 1) * (64 - 8 * bytes);
		for (size_t i = 1; i < n; i++) {
			int64_t step = wrap_sub(front_number(v[i].s, bytes),
						front_number(v[i - 1].s, bytes));
			bits += bit_length(zigzag(step)) + 1;
		}
		if (bits < best_bits) {
			best_bits = bits;
			best = bytes;
		}
	}
	return best_bits < (n - 1) * 60 ? best : 0;
}

static int put_split(const struct val *v, size_t n, size_t front, struct buf *out,
		     struct arena *tmp)
{
	size_t len = v->s.len;
	int64_t *number = arena_array(tmp, n, sizeof *number);
	if (!number)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		number[i] = front_number(v[i].s, front);
	TRY(buf_put_u8(out, COLUMN_BLOBS_SPLIT));
	TRY(put_varint(out, len));
	TRY(buf_put_u8(out, (uint8_t)front));
	if (front)
		TRY(ints_encode(number, n, out, tmp));
	for (size_t i = 0; i < n; i++)
		TRY(buf_put(out, v[i].s.at + front, len - front));
	return 0;
}

int strings_encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	struct strings s;
	TRY(measure(v, n, &s, tmp));
	if (v->type == VAL_BLOB && s.one_length && v->s.len >= SPLIT_LEAST) {
		size_t front = split_at(v, n);
		/* What the number saves, prefixes would have to save too. */
		if (front && s.sum_shared < n * front)
			return put_split(v, n, front, out, tmp);
	}
	return put_strings(v, n, &s, out, tmp);
}
