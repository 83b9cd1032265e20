/* zstd: any bytes are refused or give just what their headers say; any bytes come back. */
#include <assert.h>
#include <stdlib.h>

#include "protocol/limits.h"
#include "protocol/zst.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void unpack(struct slice in)
{
	size_t size;
	if (zst_size(in, LIMIT_FRAME, &size))
		return;
	assert(size > 0 && size <= LIMIT_FRAME);
	uint8_t *out = malloc(size);
	assert(out);
	int rc = zst_decompress(in, out, size);
	assert(rc == 0 || rc == NE_MALFORMED);
	(void)rc;
	free(out);
}

/* Bytes come back; with one of them changed on the way they are refused or others. */
static void pack(struct slice in)
{
	struct buf z = {.max = LIMIT_FRAME};
	size_t size = 0;
	int rc = zst_compress(in, &z);
	assert(rc == 0);
	rc = zst_size(buf_slice(&z), LIMIT_FRAME, &size);
	assert(rc == 0 && size == in.len);
	uint8_t *out = malloc(size);
	assert(out);
	rc = zst_decompress(buf_slice(&z), out, size);
	assert(rc == 0 && slice_eq(slice_of(out, size), in));
	free(out);
	z.at[in.at[0] % z.len] ^= (uint8_t)(1 << in.len % 8);
	unpack(buf_slice(&z));
	buf_free(&z);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	unpack(slice_of(at, len));
	if (len)
		pack(slice_of(at, len));
	return 0;
}
