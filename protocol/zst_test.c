#include "protocol/zst.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include <cmocka.h>

#include "protocol/limits.h"

static void round_trip(size_t len)
{
	uint8_t *in = malloc(len), *back = malloc(len);
	struct buf z = {.max = 8 << 20};
	size_t size = 0;
	assert_non_null(in);
	assert_non_null(back);
	for (size_t i = 0; i < len; i++)
		in[i] = (uint8_t)(i * i / 97);
	assert_int_equal(zst_compress(slice_of(in, len), &z), 0);
	assert_int_equal(zst_size(buf_slice(&z), len, &size), 0);
	assert_int_equal(size, len);
	assert_int_equal(zst_size(buf_slice(&z), len - 1, &size), NE_LIMIT);
	assert_int_equal(zst_decompress(buf_slice(&z), back, len), 0);
	assert_memory_equal(in, back, len);
	for (size_t cut = 0; cut < z.len; cut += 1 + z.len / 500) {
		uint8_t *part = malloc(cut + 1);
		assert_non_null(part);
		memcpy(part, z.at, cut);
		/* Cut between two slices it is whole frames, but not all of them. */
		if (!zst_size(slice_of(part, cut), len, &size))
			assert_int_not_equal(size, len);
		free(part);
	}
	buf_free(&z);
	free(in);
	free(back);
}

static void test_round_trips(void **state)
{
	(void)state;
	round_trip(1);
	round_trip(200);
	round_trip(LIMIT_SLICE);
	round_trip(LIMIT_SLICE + 1);
	round_trip(3 * LIMIT_SLICE + 5);
}

static void *in_thread(void *ctx)
{
	(void)ctx;
	round_trip(5000);
	return NULL;
}

static void test_threads_have_their_own_contexts(void **state)
{
	pthread_t t[4];
	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, in_thread, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* One zstd frame of `len` zeros, with or without its size. */
static size_t zeros(uint8_t *out, size_t room, size_t len, int with_size)
{
	uint8_t *in = calloc(1, len);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	assert_non_null(in);
	assert_non_null(c);
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, with_size)));
	size_t n = ZSTD_compress2(c, out, room, in, len);
	assert_false(ZSTD_isError(n));
	ZSTD_freeCCtx(c);
	free(in);
	return n;
}

static void test_bombs_are_refused_by_their_headers(void **state)
{
	static uint8_t z[4096];
	size_t size, n;
	(void)state;
	n = zeros(z, sizeof z, 8 << 20, 1); /* 8 MiB in 300 bytes */
	assert_int_equal(zst_size(slice_of(z, n), 64 << 20, &size), NE_MALFORMED);
	n = zeros(z, sizeof z, LIMIT_SLICE + 1, 1);
	assert_int_equal(zst_size(slice_of(z, n), 64 << 20, &size), NE_MALFORMED);
	n = zeros(z, sizeof z, 1000, 0); /* no size */
	assert_int_equal(zst_size(slice_of(z, n), 64 << 20, &size), NE_MALFORMED);
	n = zeros(z, sizeof z, LIMIT_SLICE, 1);
	assert_int_equal(zst_size(slice_of(z, n), 64 << 20, &size), 0);
	assert_int_equal(zst_size(slice_of(z, n), LIMIT_SLICE - 1, &size), NE_LIMIT);
	z[n] = 0; /* a byte behind */
	assert_int_equal(zst_size(slice_of(z, n + 1), 64 << 20, &size), NE_MALFORMED);
	assert_int_equal(zst_size(slice_of(z, 0), 64 << 20, &size), NE_MALFORMED);
}

static void test_skippable_frames_are_refused(void **state)
{
	static const uint8_t skip[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0};
	size_t size;
	(void)state;
	assert_int_equal(zst_size(slice_of(skip, sizeof skip), 1000, &size), NE_MALFORMED);
}

static void test_a_lying_size_is_refused(void **state)
{
	static uint8_t z[4096], out[65536];
	size_t size, n = zeros(z, sizeof z, 50000, 1);
	(void)state;
	/* Magic 4, descriptor 1, then the size less 256 in two bytes. */
	z[5]++;
	assert_int_equal(zst_size(slice_of(z, n), sizeof out, &size), 0);
	assert_int_equal(size, 50001);
	assert_int_equal(zst_decompress(slice_of(z, n), out, size), NE_MALFORMED);
	z[5] -= 2;
	assert_int_equal(zst_decompress(slice_of(z, n), out, 49999), NE_MALFORMED);
	z[5]++;
	assert_int_equal(zst_decompress(slice_of(z, n), out, 50000), 0);
	assert_int_equal(zst_decompress(slice_of(z, n), out, 50001), NE_MALFORMED);
	z[4] |= 1; /* a dictionary id */
	assert_int_equal(zst_size(slice_of(z, n), sizeof out, &size), NE_MALFORMED);
}

static void test_no_room(void **state)
{
	struct buf z = {.max = 20};
	uint8_t in[100] = {0};
	(void)state;
	assert_int_equal(zst_compress(slice_of(in, sizeof in), &z), NE_LIMIT);
	assert_int_equal(z.len, 0);
	buf_free(&z);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_threads_have_their_own_contexts),
		cmocka_unit_test(test_bombs_are_refused_by_their_headers),
		cmocka_unit_test(test_skippable_frames_are_refused),
		cmocka_unit_test(test_a_lying_size_is_refused),
		cmocka_unit_test(test_no_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
