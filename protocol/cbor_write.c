#include "protocol/cbor_write.h"

#include <assert.h>
#include <cbor.h>

enum { HEAD_MAX = 9 };

static int put_head(struct buf *out, size_t (*encode)(size_t, unsigned char *, size_t), size_t n)
{
	unsigned char head[HEAD_MAX];
	size_t len = encode(n, head, sizeof head);
	assert(len > 0);
	return buf_put(out, head, len);
}

int cbor_put_uint(struct buf *out, uint64_t v)
{
	unsigned char head[HEAD_MAX];
	size_t len = cbor_encode_uint(v, head, sizeof head);
	assert(len > 0);
	return buf_put(out, head, len);
}

/* Head and content go in together or not at all. */
static int put_string(struct buf *out, size_t (*encode)(size_t, unsigned char *, size_t),
		      struct slice s)
{
	if (s.len > SIZE_MAX - HEAD_MAX)
		return NE_LIMIT;
	size_t before = out->len;
	TRY(put_head(out, encode, s.len));
	int rc = buf_put(out, s.at, s.len);
	if (rc)
		out->len = before;
	return rc;
}

int cbor_put_bytes(struct buf *out, struct slice s)
{
	return put_string(out, cbor_encode_bytestring_start, s);
}

int cbor_put_text(struct buf *out, struct slice s)
{
	return put_string(out, cbor_encode_string_start, s);
}

int cbor_put_array(struct buf *out, size_t n)
{
	return put_head(out, cbor_encode_array_start, n);
}
