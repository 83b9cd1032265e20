#include "protocol/ranges.h"

#include <assert.h>
#include <openssl/sha.h>

#include "protocol/column_io.h"
#include "protocol/value_bytes.h"

/* Between any two numbers, the second not below the first. */
static uint64_t distance(int64_t from, int64_t to)
{
	return (uint64_t)to - (uint64_t)from;
}

static int64_t ahead(int64_t from, uint64_t by)
{
	return (int64_t)((uint64_t)from + by);
}

int run_put(struct buf *out, int64_t *at, int64_t lo, int64_t hi)
{
	size_t len = out->len;
	int rc;

	assert(*at < lo && lo <= hi);
	rc = put_varint(out, distance(*at, lo) - 1);
	rc = rc ? rc : put_varint(out, distance(lo, hi));
	if (rc) {
		out->len = len;
		return rc;
	}
	*at = hi;
	return NE_OK;
}

int run_take(struct slice *in, int64_t *at, int64_t upto, int64_t *lo, int64_t *hi, bool *any)
{
	uint64_t gap, more;

	*any = in->len > 0;
	if (!*any)
		return NE_OK;
	if (get_varint(in, &gap) || get_varint(in, &more))
		return NE_MALFORMED;
	if (*at >= upto || gap > distance(*at, upto) - 1)
		return NE_MALFORMED;
	*lo = ahead(*at, gap + 1);
	if (more > distance(*lo, upto))
		return NE_MALFORMED;
	*hi = *at = ahead(*lo, more);
	return NE_OK;
}

uint64_t key_hash_read(const uint8_t at[static KEY_HASH_BYTES])
{
	uint64_t v = 0;

	for (int i = 0; i < KEY_HASH_BYTES; i++)
		v = v << 8 | at[i];
	return v;
}

int key_hash_put(struct buf *out, uint64_t hash)
{
	uint8_t b[KEY_HASH_BYTES];

	for (int i = KEY_HASH_BYTES - 1; i >= 0; i--, hash >>= 8)
		b[i] = (uint8_t)hash;
	return buf_put(out, b, sizeof b);
}

int key_hash(uint64_t salt, const struct shape *s, const struct val *key, struct buf *scratch,
	     uint64_t *out)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	buf_clear(scratch);
	TRY(key_hash_put(scratch, salt));
	TRY(key_put_canonical(scratch, s, key));
	SHA256(scratch->at, scratch->len, digest);
	*out = key_hash_read(digest);
	return NE_OK;
}
