/* The envelope: whatever arrives is refused or opens to what was sealed; nothing is half opened. */
#include <assert.h>
#include <string.h>

#include "protocol/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void fixed(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 7, n);
}

/* The first byte chooses: raw bytes, or a sealed message with the rest XORed over it. */
int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	static const struct key key = {{1}};
	struct buf message = {.max = 1 << 20}, out = {.max = 1 << 20};
	struct opener *o;
	uint32_t epoch;

	if (len < 1 || opener_new(&o, &key, 5, SEAL_DOWN, slice_str("u"), slice_str("d"), NULL))
		return 0;
	struct slice in = slice_of(at + 1, len - 1);
	bool same = false;
	if (at[0] & 1) {
		struct sealer *s;
		if (!sealer_new(&s, &key, 5, SEAL_DOWN, slice_str("u"), slice_str("d"), fixed, NULL,
				NULL) &&
		    !sealer_seal(s, slice_str("plain text"), &message, NULL)) {
			same = true;
			for (size_t i = 0; i < in.len && i < message.len; i++) {
				message.at[i] ^= in.at[i];
				same = same && in.at[i] == 0;
			}
			in = buf_slice(&message);
		}
		sealer_free(s);
	}
	int peek = seal_peek(in, &epoch, NULL);
	int rc = opener_open(o, in, &out, NULL);
	assert((rc == 0) == same);
	assert(rc == 0 || out.len == 0);
	assert(rc != 0 || (peek == 0 && epoch == 5));
	buf_free(&message);
	buf_free(&out);
	opener_free(o);
	return 0;
}
