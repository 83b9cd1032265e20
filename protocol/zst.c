#include "protocol/zst.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#include "protocol/limits.h"

/* Level 3 of a 4 KiB input takes 20 µs; higher levels gained under 1 % on columnar input. */
enum { LEVEL = 3 };

struct contexts {
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool key_made;

static void contexts_free(void *p)
{
	struct contexts *x = p;
	if (!x)
		return;
	ZSTD_freeCCtx(x->c);
	ZSTD_freeDCtx(x->d);
	free(x);
}

static void make_key(void)
{
	key_made = pthread_key_create(&key, contexts_free) == 0;
}

/* This thread's contexts; NULL when memory is short. */
static struct contexts *contexts(void)
{
	if (pthread_once(&once, make_key) || !key_made)
		return NULL;
	struct contexts *x = pthread_getspecific(key);
	if (x)
		return x;
	x = calloc(1, sizeof *x);
	if (!x)
		return NULL;
	x->c = ZSTD_createCCtx();
	x->d = ZSTD_createDCtx();
	if (!x->c || !x->d || pthread_setspecific(key, x)) {
		contexts_free(x);
		return NULL;
	}
	return x;
}

static int compress_slice(ZSTD_CCtx *c, struct slice in, struct buf *out)
{
	TRY(buf_reserve(out, ZSTD_compressBound(in.len)));
	size_t n =
		ZSTD_compressCCtx(c, out->at + out->len, out->cap - out->len, in.at, in.len, LEVEL);
	if (ZSTD_isError(n))
		return NE_MEMORY;
	out->len += n;
	return 0;
}

int zst_compress(struct slice in, struct buf *out)
{
	size_t before = out->len;
	struct contexts *x = contexts();
	if (!x)
		return NE_MEMORY;
	while (in.len) {
		size_t n = in.len < LIMIT_SLICE ? in.len : LIMIT_SLICE;
		int rc = compress_slice(x->c, slice_of(in.at, n), out);
		if (rc) {
			out->len = before;
			return rc;
		}
		in = slice_of(in.at + n, in.len - n);
	}
	return 0;
}

enum { MAGIC_LEN = 4, DICTIONARY_BITS = 3 };

/* The zstd frame at the head of `in`: its length and the size of its content. */
static int frame_head(struct slice in, size_t *len, size_t *content)
{
	static const uint8_t magic[MAGIC_LEN] = {0x28, 0xb5, 0x2f, 0xfd};

	if (in.len <= MAGIC_LEN ||
	    !slice_eq(slice_of(in.at, MAGIC_LEN), slice_of(magic, MAGIC_LEN)))
		return NE_MALFORMED;
	if (in.at[MAGIC_LEN] & DICTIONARY_BITS)
		return NE_MALFORMED;
	/* Unknown size and error are the two greatest numbers, so they are refused here too. */
	unsigned long long size = ZSTD_getFrameContentSize(in.at, in.len);
	if (size == 0 || size > LIMIT_SLICE)
		return NE_MALFORMED;
	*len = ZSTD_findFrameCompressedSize(in.at, in.len);
	if (ZSTD_isError(*len) || *len > in.len)
		return NE_MALFORMED;
	*content = (size_t)size;
	return 0;
}

int zst_size(struct slice in, size_t max, size_t *size)
{
	size_t sum = 0;
	if (in.len == 0)
		return NE_MALFORMED;
	while (in.len) {
		size_t len, content;
		TRY(frame_head(in, &len, &content));
		if (content > max - sum)
			return NE_LIMIT;
		sum += content;
		in = slice_of(in.at + len, in.len - len);
	}
	*size = sum;
	return 0;
}

int zst_decompress(struct slice in, uint8_t *out, size_t size)
{
	struct contexts *x = contexts();
	if (!x)
		return NE_MEMORY;
	while (in.len) {
		size_t len, content;
		TRY(frame_head(in, &len, &content));
		if (content > size)
			return NE_MALFORMED;
		size_t n = ZSTD_decompressDCtx(x->d, out, content, in.at, len);
		if (ZSTD_isError(n) || n != content)
			return NE_MALFORMED;
		out += content;
		size -= content;
		in = slice_of(in.at + len, in.len - len);
	}
	return size ? NE_MALFORMED : 0;
}
