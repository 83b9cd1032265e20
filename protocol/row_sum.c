#include "protocol/row_sum.h"

#include <openssl/sha.h>

#include "protocol/value_bytes.h"

static uint64_t get_u64(const uint8_t *b)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | b[i];
	return v;
}

static void put_u64(uint64_t v, uint8_t *b)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		b[i] = (uint8_t)v;
}

int row_sum_add(struct row_sum *sum, const struct shape *s, const struct val *key,
		const struct val *col, struct buf *scratch)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	buf_clear(scratch);
	TRY(key_put_canonical(scratch, s, key));
	for (uint16_t i = 0; i < s->n_col; i++)
		TRY(value_put_canonical(scratch, &col[i], COLL_BINARY));
	SHA256(scratch->at, scratch->len, digest);
	uint64_t lo = get_u64(digest + 8);
	sum->lo += lo;
	sum->hi += get_u64(digest) + (sum->lo < lo);
	sum->n++;
	return NE_OK;
}

bool row_sum_eq(const struct row_sum *a, const struct row_sum *b)
{
	return a->n == b->n && a->hi == b->hi && a->lo == b->lo;
}

void row_sum_put(const struct row_sum *sum, uint8_t out[static ROW_SUM_BYTES])
{
	put_u64(sum->hi, out);
	put_u64(sum->lo, out + 8);
}

void row_sum_take(const uint8_t in[static ROW_SUM_BYTES], struct row_sum *sum)
{
	sum->hi = get_u64(in);
	sum->lo = get_u64(in + 8);
}
