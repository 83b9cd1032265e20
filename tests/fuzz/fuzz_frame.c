/* Frames: whatever arrives is refused, or encodes and decodes again to the same bytes. */
#include <assert.h>

#include "protocol/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void encode(const struct frame *f, struct buf *out)
{
	int rc = frame_encode(f, out, NULL);
	assert(rc == 0);
	(void)rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	struct arena a = {.max = LIMIT_DECODED}, b = {.max = LIMIT_DECODED};
	struct buf once = {.max = LIMIT_FRAME}, twice = {.max = LIMIT_FRAME};
	struct frame f, g;

	if (!frame_decode(slice_of(at, len), &a, &f, NULL)) {
		encode(&f, &once);
		int rc = frame_decode(buf_slice(&once), &b, &g, NULL);
		assert(rc == 0);
		(void)rc;
		encode(&g, &twice);
		assert(slice_eq(buf_slice(&once), buf_slice(&twice)));
	}
	buf_free(&once);
	buf_free(&twice);
	arena_free(&a);
	arena_free(&b);
	return 0;
}
